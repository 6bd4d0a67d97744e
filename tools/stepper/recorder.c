/*
 * Records a native run of a static program, so that src/engine can be held against it system call by system call.
 *
 *   recorder OUT CPUID CUT TZCNT [trace K SKIP COUNT STRIDE] -- PROGRAM ARGUMENT...
 *
 * OUT: file for the recording. CPUID: answers, `leaf:eax:ebx:ecx:edx,...` in hexadecimal; any other leaf answers zeros.
 * CUT: "-", or the addresses of all `cpuid` instructions of the program, hexadecimal with commas: where the processor cannot be told to
 * fault on CPUID, they are replaced by UD2 in the native run. TZCNT: "-", or the addresses of the program's `tzcnt`, which compilers write
 * for BSF where zero cannot be or does not matter: their REP prefix goes, as it means nothing on x86-64-v1. Standard input, output and error are the program's.
 *
 * The program sees a fixed environment, no address-space randomization where that can be had, no vDSO, fixed AT_RANDOM bytes, the CPUID answers given, a
 * time-stamp counter that advances by 1000 a reading, and no rseq (the kernel would write to it at any time). Everything else is the real
 * kernel: what it answers and writes is recorded. One thread, no fork, no signals.
 *
 * `trace`: from behind the K-th system call on (0: the start) the program is single-stepped up to its next one, and state number SKIP,
 * SKIP + STRIDE... is recorded, COUNT of them at most; the state in front of that next system call always.
 *
 * OUT is a sequence of { u32 kind, u32 bytes, payload } (little endian):
 *   MAP     n x { u64 start, end; u32 PROT_ bits, is the stack }: all mappings from now on; those not there before are zero
 *   FRESH   u64 va, u64 bytes: zero from now on
 *   BYTES   u64 va, content: what the kernel wrote
 *   ENTER   user_regs_struct, 512 bytes of FXSAVE image: in front of a system call's effect
 *   LEAVE   the same: behind it, and at the start
 *   EXPECT  u64 va, content: in front of a system call, each page of writable memory that changed since the one before; in front of
 *           the last one, all of it
 *   STEP    u64 number, then as ENTER
 *   END     text: how the program ended
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAP = 1, FRESH, BYTES, ENTER, LEAVE, EXPECT, STEP, END };
enum { CANNOT_FAULT_CPUID = 3 };

#ifndef ARCH_SET_CPUID
#define ARCH_SET_CPUID 0x1012
#endif
#define PAGE 4096u
#define MAX_REGIONS 256
#define MAX_CUTS 4096
#define TSC_STEP 1000

struct region {
  uint64_t start, end;
  uint32_t access, stack;
};
struct state {
  struct user_regs_struct regs;
  struct user_fpregs_struct fx;
};

static pid_t pid;
static int memory = -1;
static FILE *out;
static struct region regions[MAX_REGIONS];
static uint8_t from_file[MAX_REGIONS];
static unsigned region_count;
/* Writable memory in front of the current system call, and behind it (or, before that, in front of the call before). */
static uint8_t *before, *after;
static size_t before_room, after_room;
static struct region before_regions[MAX_REGIONS];
static unsigned before_count;
static const char *cpuid_answers;
static uint64_t cuts[MAX_CUTS], tzcnts[MAX_CUTS];
static unsigned cut_count, tzcnt_count;
static uint64_t tsc;

static __attribute__((noreturn)) void give_up(const char *what) {
  fprintf(stderr, "recorder: %s: %s\n", what, strerror(errno));
  exit(2);
}
static void put(uint32_t kind, const void *head, uint32_t head_bytes, const void *body, uint32_t body_bytes) {
  uint32_t words[2] = {kind, head_bytes + body_bytes};
  fwrite(words, 1, sizeof words, out);
  fwrite(head, 1, head_bytes, out);
  if (body_bytes > 0) fwrite(body, 1, body_bytes, out);
}
static void put_bytes(uint32_t kind, uint64_t va, const uint8_t *bytes, size_t size) { put(kind, &va, 8, bytes, (uint32_t)size); }
static __attribute__((noreturn)) void end(const char *text) {
  put(END, text, (uint32_t)strlen(text), NULL, 0);
  if (fclose(out) != 0) give_up("cannot write the recording");
  exit(0);
}

static void read_memory(uint64_t va, void *into, size_t size) {
  if (pread(memory, into, size, (off_t)va) != (ssize_t)size) give_up("cannot read the program's memory");
}
static void write_memory(uint64_t va, const void *from, size_t size) {
  if (pwrite(memory, from, size, (off_t)va) != (ssize_t)size) give_up("cannot write the program's memory");
}
static struct state get_state(void) {
  struct state s;
  if (ptrace(PTRACE_GETREGS, pid, NULL, &s.regs) != 0) give_up("PTRACE_GETREGS");
  if (ptrace(PTRACE_GETFPREGS, pid, NULL, &s.fx) != 0) give_up("PTRACE_GETFPREGS");
  return s;
}
static void set_regs(const struct user_regs_struct *regs) {
  if (ptrace(PTRACE_SETREGS, pid, NULL, regs) != 0) give_up("PTRACE_SETREGS");
}

static void read_regions(void) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = fopen(path, "r");
  if (maps == NULL) give_up(path);
  region_count = 0;
  while (fgets(line, sizeof line, maps)) {
    unsigned long start, stop, inode;
    char access[5], name[256] = "";
    if (sscanf(line, "%lx-%lx %4s %*x %*s %lu %255s", &start, &stop, access, &inode, name) < 4) continue;
    if (strncmp(name, "[v", 2) == 0) continue;
    if (region_count == MAX_REGIONS) give_up("too many mappings");
    from_file[region_count] = inode != 0;
    regions[region_count++] = (struct region){
        start, stop, (access[0] == 'r') | (access[1] == 'w') << 1 | (access[2] == 'x') << 2, strcmp(name, "[stack]") == 0};
  }
  fclose(maps);
}
static void put_regions(void) { put(MAP, NULL, 0, regions, region_count * (uint32_t)sizeof *regions); }
/* Contents of the pages of [start, stop) that are not all zero. */
static void put_contents(uint64_t start, uint64_t stop) {
  static const uint8_t zeros[PAGE];
  uint8_t page[PAGE];
  for (uint64_t va = start; va < stop; va += PAGE) {
    read_memory(va, page, PAGE);
    if (memcmp(page, zeros, PAGE) != 0) put_bytes(BYTES, va, page, PAGE);
  }
}

static size_t snapshot(uint8_t **into, size_t *room) {
  size_t size = 0;
  for (unsigned i = 0; i < region_count; i++)
    if (regions[i].access & 2) size += regions[i].end - regions[i].start;
  if (size > *room) {
    *room = size * 2;
    *into = realloc(*into, *room);
    if (*into == NULL) give_up("no memory");
  }
  size_t at = 0;
  for (unsigned i = 0; i < region_count; i++) {
    if (!(regions[i].access & 2)) continue;
    read_memory(regions[i].start, *into + at, regions[i].end - regions[i].start);
    at += regions[i].end - regions[i].start;
  }
  return size;
}
static void put_changes(void) {
  snapshot(&after, &after_room);
  size_t at = 0;
  for (unsigned i = 0; i < region_count; i++) {
    if (!(regions[i].access & 2)) continue;
    for (uint64_t va = regions[i].start; va < regions[i].end; va += PAGE, at += PAGE) {
      if (memcmp(before + at, after + at, PAGE) == 0) continue;
      unsigned first = 0, last = PAGE - 1;
      while (before[at + first] == after[at + first]) first++;
      while (before[at + last] == after[at + last]) last--;
      put_bytes(BYTES, va + first, after + at + first, last + 1 - first);
    }
  }
}

/* Takes the snapshot in front of a system call; what changed is EXPECTed, everything when it is the last call. */
static void put_expected(int all) {
  read_regions(); /* the stack may have grown */
  uint8_t *spare = after;
  size_t spare_room = after_room;
  after = before, after_room = before_room;
  before = spare, before_room = spare_room;
  snapshot(&before, &before_room);
  all |= before_count != region_count || memcmp(before_regions, regions, region_count * sizeof *regions) != 0;
  size_t at = 0;
  for (unsigned i = 0; i < region_count; i++) {
    if (!(regions[i].access & 2)) continue;
    for (uint64_t va = regions[i].start; va < regions[i].end; va += PAGE, at += PAGE)
      if (all || memcmp(before + at, after + at, PAGE) != 0) put_bytes(EXPECT, va, before + at, PAGE);
  }
  memcpy(before_regions, regions, region_count * sizeof *regions);
  before_count = region_count;
}

/* System calls that change mappings, and those that write nothing to memory. */
static int changes_mappings(uint64_t number) {
  return number == SYS_mmap || number == SYS_munmap || number == SYS_mremap || number == SYS_mprotect || number == SYS_brk;
}
static int writes_nothing(uint64_t number) {
  switch (number) {
    case SYS_write: case SYS_writev: case SYS_close: case SYS_open: case SYS_openat: case SYS_lseek: case SYS_access: case SYS_exit:
    case SYS_exit_group: case SYS_fadvise64: case SYS_dup2: case SYS_unlink: case SYS_fcntl: case SYS_rseq: case SYS_set_robust_list:
      return 1;
    default:
      return 0;
  }
}

/* Answers CPUID and RDTSC; 0 when the signal is something else. */
static int emulate(int signal) {
  if (signal != SIGSEGV && signal != SIGILL) return 0;
  struct user_regs_struct regs;
  if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0) give_up("PTRACE_GETREGS");
  uint8_t code[2];
  if (pread(memory, code, 2, (off_t)regs.rip) != 2 || code[0] != 0x0f) return 0;
  int cut = 0;
  for (unsigned i = 0; i < cut_count; i++) cut |= cuts[i] == regs.rip;
  if (code[1] == 0xa2 || (code[1] == 0x0b && cut)) {
    uint32_t leaf = (uint32_t)regs.rax, a = 0, b = 0, c = 0, d = 0, its;
    for (const char *at = cpuid_answers; at != NULL && *at != 0; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
      uint32_t words[4];
      if (sscanf(at, "%x:%x:%x:%x:%x", &its, &words[0], &words[1], &words[2], &words[3]) != 5 || its != leaf) continue;
      a = words[0], b = words[1], c = words[2], d = words[3];
    }
    regs.rax = a, regs.rbx = b, regs.rcx = c, regs.rdx = d;
  } else if (code[1] == 0x31) {
    tsc += TSC_STEP;
    regs.rax = (uint32_t)tsc, regs.rdx = tsc >> 32;
  } else return 0;
  regs.rip += 2;
  set_regs(&regs);
  return 1;
}

/* Goes on as `request` says until the program stops for a reason of its own; its signal (SIGTRAP | 0x80 at a system call). */
static int resume(int request) {
  for (;;) {
    int status;
    if (ptrace(request, pid, NULL, NULL) != 0) give_up("ptrace");
    if (waitpid(pid, &status, 0) != pid) give_up("waitpid");
    char text[64];
    if (WIFEXITED(status)) {
      snprintf(text, sizeof text, "exit status %d", WEXITSTATUS(status));
      end(text);
    }
    if (WIFSIGNALED(status)) {
      snprintf(text, sizeof text, "killed by signal %d", WTERMSIG(status));
      end(text);
    }
    int signal = WSTOPSIG(status);
    if (signal == SIGTRAP || signal == (SIGTRAP | 0x80)) return signal;
    if (!emulate(signal)) {
      snprintf(text, sizeof text, "signal %d", signal);
      end(text);
    }
    if (request == PTRACE_SINGLESTEP) return SIGTRAP;
  }
}

/* Has the program make a system call of ours at its entry point. */
static long call(uint64_t number, uint64_t first, uint64_t second) {
  static const uint8_t code[2] = {0x0f, 0x05};
  struct state was = get_state();
  struct user_regs_struct regs = was.regs;
  uint8_t saved[2];
  read_memory(regs.rip, saved, 2);
  write_memory(regs.rip, code, 2);
  regs.rax = number, regs.rdi = first, regs.rsi = second;
  set_regs(&regs);
  if (resume(PTRACE_SINGLESTEP) != SIGTRAP) give_up("a system call of ours");
  long result = (long)get_state().regs.rax;
  write_memory(was.regs.rip, saved, 2);
  set_regs(&was.regs);
  return result;
}

/* Hides the vDSO and fixes AT_RANDOM. */
static void fix_stack(void) {
  uint64_t at = get_state().regs.rsp, word;
  read_memory(at, &word, 8);
  at += 8 + (word + 1) * 8;
  do {
    read_memory(at, &word, 8);
    at += 8;
  } while (word != 0);
  for (uint64_t pair[2];; at += 16) {
    read_memory(at, pair, 16);
    if (pair[0] == AT_NULL) break;
    if (pair[0] == AT_RANDOM) write_memory(pair[1], "sixteen bytes...", 16);
    if (pair[0] == AT_SYSINFO_EHDR || pair[0] == AT_HWCAP2) {
      pair[0] = AT_IGNORE;
      write_memory(at, pair, 8);
    }
  }
}

/* Tracer and program take turns: on one processor they do it without waking another. */
static void stay(void) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  sched_setaffinity(0, sizeof one, &one);
}

static void start(char **arguments) {
  static char *environment[] = {"PATH=/bin", "LC_ALL=C", "TZ=UTC0", NULL};
  stay();
  pid = fork();
  if (pid < 0) give_up("fork");
  if (pid == 0) {
    personality(ADDR_NO_RANDOMIZE); /* a container may forbid it: then addresses differ from run to run, no more */
    if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) != 0) give_up("cannot hide the time-stamp counter");
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    execve(arguments[0], arguments, environment);
    give_up(arguments[0]);
  }
  int status;
  if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) give_up("the program does not start");
  ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  memory = open(path, O_RDWR | O_CLOEXEC);
  if (memory < 0) give_up(path);
  if (cut_count == 0 && call(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) exit(CANNOT_FAULT_CPUID);
  fix_stack();
  read_regions();
  put_regions();
  for (unsigned i = 0; i < region_count; i++) put_contents(regions[i].start, regions[i].end);
  for (unsigned i = 0; i < cut_count; i++) write_memory(cuts[i], "\x0f\x0b", 2);
  for (unsigned i = 0; i < tzcnt_count; i++) {
    static const uint8_t ds_prefix = 0x3e;
    uint64_t at = tzcnts[i];
    uint8_t byte;
    for (read_memory(at, &byte, 1); byte == 0x66; read_memory(at, &byte, 1)) at++;
    if (byte == 0xf3) write_memory(at, &ds_prefix, 1);
  }
  struct state s = get_state();
  put(LEAVE, &s, sizeof s, NULL, 0);
}

static void record_call(void) {
  if (resume(PTRACE_SYSCALL) != (SIGTRAP | 0x80)) give_up("an unexpected trap");
  struct state s = get_state();
  uint64_t number = s.regs.orig_rax;
  put(ENTER, &s, sizeof s, NULL, 0);
  if (number == SYS_fork || number == SYS_vfork || number == SYS_clone || number == SYS_clone3 || number == SYS_execve)
    end("more than one process");
  put_expected(number == SYS_exit_group);
  if (number == SYS_rseq) {
    struct user_regs_struct none = s.regs;
    none.orig_rax = ~0ull;
    set_regs(&none);
  }
  if (resume(PTRACE_SYSCALL) != (SIGTRAP | 0x80)) give_up("an unexpected trap");
  struct state now = get_state();
  if (number == SYS_rseq) {
    now.regs.rax = (uint64_t)-ENOSYS;
    set_regs(&now.regs);
  }
  if (changes_mappings(number)) {
    read_regions();
    put_regions();
    uint64_t at = now.regs.rax, bytes = number == SYS_mremap ? s.regs.rdx : s.regs.rsi;
    if ((number == SYS_mmap || number == SYS_mremap) && at < -(uint64_t)PAGE) {
      uint64_t range[2] = {at, (bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1)};
      put(FRESH, range, sizeof range, NULL, 0);
      for (unsigned i = 0; i < region_count; i++)
        if (regions[i].start <= at && at < regions[i].end && (regions[i].access & 1) && (number == SYS_mremap || from_file[i]))
          put_contents(at, at + range[1] < regions[i].end ? at + range[1] : regions[i].end);
    }
  } else if (!writes_nothing(number)) put_changes();
  now.regs.orig_rax = number;
  put(LEAVE, &now, sizeof now, NULL, 0);
}

static void trace(uint64_t skip, uint64_t count, uint64_t stride) {
  for (uint64_t step = 0, emitted = 0;; step++) {
    uint8_t code[2] = {0, 0};
    long rip = ptrace(PTRACE_PEEKUSER, pid, (void *)offsetof(struct user, regs.rip), NULL);
    int last = pread(memory, code, 2, rip) == 2 && code[0] == 0x0f && code[1] == 0x05;
    if (last || (step >= skip && (step - skip) % stride == 0)) {
      struct state s = get_state();
      put(STEP, &step, 8, &s, sizeof s);
      emitted++;
    }
    if (last || emitted == count) end("traced");
    if (resume(PTRACE_SINGLESTEP) != SIGTRAP) give_up("an unexpected stop");
  }
}

static unsigned addresses(const char *list, uint64_t *into) {
  unsigned count = 0;
  if (strcmp(list, "-") == 0) return 0;
  for (const char *at = list; at != NULL; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
    if (count == MAX_CUTS) give_up("too many addresses");
    into[count++] = strtoull(at, NULL, 16);
  }
  return count;
}

int main(int argc, char **argv) {
  int at = 5;
  uint64_t numbers[4] = {0, 0, 0, 1};
  if (argc < 7) give_up("arguments");
  int tracing = strcmp(argv[at], "trace") == 0;
  if (tracing) {
    if (argc < at + 7) give_up("arguments");
    for (int i = 0; i < 4; i++) numbers[i] = strtoull(argv[at + 1 + i], NULL, 10);
    at += 5;
  }
  if (strcmp(argv[at], "--") != 0) give_up("arguments");
  out = fopen(argv[1], "we");
  if (out == NULL) give_up(argv[1]);
  cpuid_answers = argv[2];
  cut_count = addresses(argv[3], cuts);
  tzcnt_count = addresses(argv[4], tzcnts);
  start(argv + at + 1);
  for (uint64_t calls = 0;; calls++) {
    if (tracing && calls == numbers[0]) trace(numbers[1], numbers[2], numbers[3]);
    record_call();
  }
}
