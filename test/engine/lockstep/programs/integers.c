/* Sorting, searching, strings of every size and alignment, wide arithmetic, printf of integers. */
#include <regex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

static uint64_t state = 88172645463325252ull;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}
static int by_value(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}
static uint64_t digest(const void *bytes, size_t size) {
  uint64_t sum = 14695981039346656037ull;
  for (size_t i = 0; i < size; i++) sum = (sum ^ ((const uint8_t *)bytes)[i]) * 1099511628211ull;
  return sum;
}

static void strings(void) {
  static char from[9000], into[9000], plain[9000];
  for (unsigned i = 0; i < sizeof from; i++) from[i] = (char)('a' + next() % 26);
  for (size_t size = 0; size < 8000; size = size < 140 ? size + 7 : size * 3 / 2) {
    for (size_t shift = 0; shift < 17; shift += 5) {
      memset(into, '.', sizeof into);
      memcpy(into + shift, from + 3, size);
      memmove(into + shift + 2, into + shift, size);
      memset(into + size, '!', shift);
      memcpy(plain, from + shift, size);
      plain[size] = 0;
      char *found = strstr(plain, "xyz");
      printf("%zu %zu %016lx %zu %d %ld %ld %zu\n", size, shift, digest(into, sizeof into), strlen(plain), memcmp(from + shift, from, size) > 0,
             found ? (long)(found - plain) : -1, strchr(plain, 'q') ? (long)(strchr(plain, 'q') - plain) : -1, strcspn(plain, "zx"));
    }
  }
}

int main(int argc, char **argv) {
  (void)argv;
  setvbuf(stdout, NULL, _IOLBF, 0); /* a system call a line */
  static int64_t numbers[3000];
  for (int i = 0; i < 3000; i++) numbers[i] = (int64_t)next() >> (i % 60);
  qsort(numbers, 3000, sizeof *numbers, by_value);
  int64_t key = numbers[1234];
  printf("%016lx %d\n", digest(numbers, sizeof numbers), bsearch(&key, numbers, 3000, 8, by_value) != NULL);
  strings();
  for (int i = 0; i < 200; i++) {
    int64_t x = (int64_t)next() >> (i % 50), y = ((int64_t)next() >> (i % 60)) | 1;
    unsigned __int128 wide = (unsigned __int128)(uint64_t)x * (uint64_t)y + (uint64_t)argc;
    __int128 quotient = ((__int128)x << 40) / y;
    printf("%ld %lx %lx%016lx %lx%016lx %ld %ld %d %d %d %x\n", x / y, (uint64_t)x % (uint64_t)y, (uint64_t)(wide >> 64), (uint64_t)wide,
           (uint64_t)((unsigned __int128)quotient >> 64), (uint64_t)quotient, x % y, (int64_t)((uint64_t)x << (y & 63)) >> (x & 31),
           __builtin_popcountl((uint64_t)x), __builtin_clzl((uint64_t)x | 1), __builtin_ctzl((uint64_t)y), __builtin_bswap32((uint32_t)x));
  }
  regex_t expression;
  regcomp(&expression, "^([a-z]+)-([0-9]{2,4})(\\.[xyz])*$", REG_EXTENDED);
  static const char *const lines[] = {"abc-12", "abc-12.x.y", "-12", "abc-12345", "q-999.z", "q-999.w"};
  for (int i = 0; i < 6; i++) {
    regmatch_t match[4];
    int no = regexec(&expression, lines[i], 4, match, 0);
    printf("%s %d %d\n", lines[i], no, no ? 0 : (int)match[2].rm_so);
  }
  regfree(&expression);
  time_t when = 1700000000;
  char text[100];
  strftime(text, sizeof text, "%A %c %j", gmtime(&when));
  void *large = malloc(1 << 20);
  memset(large, 7, 1 << 20);
  large = realloc(large, 3 << 20);
  printf("%s %016lx %ls\n", text, digest(large, 1 << 20), L"wide");
  free(large);
  return 3;
}
