/* Bytes, strings, and the little printf. */
#include "kernel.h"

void *memcpy(void *to, const void *from, u64 n) {
  void *d = to;
  __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n)::"memory");
  return to;
}

void *memset(void *to, int byte, u64 n) {
  void *d = to;
  __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
  return to;
}

u64 strlen(const char *s) {
  u64 n = 0;
  while (s[n]) n++;
  return n;
}

bool streq(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

bool parse_u64(const char *s, u64 *value) {
  u64 v = 0;
  if (!*s) return false;
  for (; *s; s++) {
    if (*s < '0' || *s > '9' || v > 100000000000UL) return false;
    v = v * 10 + (u64)(*s - '0');
  }
  *value = v;
  return true;
}

struct sink { char *to; u64 room, n; };

static void put(struct sink *sink, char c) {
  if (sink->n + 1 < sink->room) sink->to[sink->n++] = c;
}

/** %s %c %d %u %x with `l`, width, `0` and `-`; always terminated, cut to the room. Returns the length written. */
u64 vformat(char *to, u64 room, const char *format, va_list args) {
  struct sink sink = {to, room, 0};
  for (; *format; format++) {
    if (*format != '%') {
      put(&sink, *format);
      continue;
    }
    bool left = false, zero = false, wide = false;
    u64 width = 0;
    format++;
    for (;; format++) {
      if (*format == '-') left = true;
      else if (*format == '0') zero = true;
      else break;
    }
    while (*format >= '0' && *format <= '9') width = width * 10 + (u64)(*format++ - '0');
    while (*format == 'l') wide = true, format++;

    char digits[24];
    const char *text = digits;
    u64 length = 0;
    if (*format == 's') {
      text = __builtin_va_arg(args, const char *);
      length = strlen(text);
    } else if (*format == 'c') {
      digits[length++] = (char)__builtin_va_arg(args, int);
    } else if (*format == 'd' || *format == 'u' || *format == 'x') {
      u64 v, base = *format == 'x' ? 16 : 10;
      if (wide) v = __builtin_va_arg(args, u64);
      else if (*format == 'd') v = (u64)(s64)__builtin_va_arg(args, int);
      else v = __builtin_va_arg(args, u32);
      bool negative = *format == 'd' && (s64)v < 0;
      if (negative) v = -v;
      char *end = digits + sizeof digits, *p = end;
      do *--p = "0123456789abcdef"[v % base];
      while (v /= base);
      if (negative) *--p = '-';
      text = p;
      length = (u64)(end - p);
    } else {
      put(&sink, *format);
      continue;
    }
    u64 padding = width > length ? width - length : 0;
    if (!left) while (padding) put(&sink, zero ? '0' : ' '), padding--;
    for (u64 i = 0; i < length; i++) put(&sink, text[i]);
    while (padding) put(&sink, ' '), padding--;
  }
  if (room) to[sink.n] = 0;
  return sink.n;
}

u64 format(char *to, u64 room, const char *fmt, ...) {
  va_list args;
  __builtin_va_start(args, fmt);
  u64 n = vformat(to, room, fmt, args);
  __builtin_va_end(args);
  return n;
}
