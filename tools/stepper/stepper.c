/*
 * Runs single instructions on this machine's processor and reports what they did.
 *
 * The judge of src/engine: every vector names the whole state before one instruction; the answer is the whole state after it, or
 * the fault exactly as the processor raised it (vector, error code, CR2).
 *
 * How: a forked child keeps one signal handler on a stack of its own. The handler turns the interrupted context into the next
 * vector's state with TF set and returns; the processor executes one instruction and traps, which brings the handler back with the
 * state after it. So a vector costs one signal. REG_TRAPNO, REG_ERR and REG_CR2 are the processor's own words. The handler uses
 * nothing of the C library that needs FS, because FS belongs to the vector while it runs.
 *
 * stdin (little endian):
 *   u32 magic 'STP1', u32 frames, u32 mappings, u32 vectors, u64 fsBase, u64 gsBase
 *   mappings x { u64 va, u32 frame, u32 access: 1 writable, 2 executable }   (always readable)
 *   frames x 4096 bytes: contents. Frames 0 and 1 are the code frames, mapped one after the other.
 *   vectors x {
 *     u16 bytes of this record, u8 want (WANT_*), u8 code length, u16 code offset in the code frames, u8 patches, u8 max steps,
 *     u64 code va, u64 gpr[16] (encoding order), u32 rflags, u32 zero, code bytes,
 *     patches x { u16 frame * 4096 + offset, u8 length, bytes }, [512 bytes FXSAVE image when WANT_FX] }
 * stdout:
 *   per vector { u16 bytes, u8 kind (KIND_*), u8 trap number, u32 error code, u64 cr2, u64 gpr[16], u64 rip, u32 rflags,
 *     u16 changes, u16 steps, changes x { u16 frame * 4096 + offset, u16 length, bytes },
 *     [u16 ds es fs gs, u64 fs base, gs base when WANT_SEGMENTS], [512 bytes FXSAVE image when WANT_FX] }
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { WANT_REPEAT = 1, WANT_FX = 2, WANT_SEGMENTS = 4 };
enum { KIND_STEPPED = 0, KIND_FAULT = 1, KIND_UNFINISHED = 2, KIND_DIED = 3 };

#define PAGE 4096u
#define MAX_FRAMES 16
#define MAX_ANSWER 40000u
#define TF 0x100u

struct header {
  uint32_t magic, frames, mappings, vectors;
  uint64_t fs_base, gs_base;
};
struct mapping {
  uint64_t va;
  uint32_t frame, access;
};
struct request {
  uint16_t bytes;
  uint8_t want, code_length;
  uint16_t code_offset;
  uint8_t patches, max_steps;
  uint64_t code_va;
  uint64_t gpr[16];
  uint32_t rflags, zero;
} __attribute__((packed));
struct answer {
  uint16_t bytes;
  uint8_t kind, trap;
  uint32_t error_code;
  uint64_t cr2;
  uint64_t gpr[16];
  uint64_t rip;
  uint32_t rflags;
  uint16_t changes, steps;
} __attribute__((packed));
struct segments {
  uint16_t ds, es, fs, gs;
  uint64_t fs_base, gs_base;
} __attribute__((packed));

/* What the parent reads when a child died. */
struct progress {
  volatile uint32_t done;
  volatile uint64_t request_offset, answer_offset;
};

static const int greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static struct header head;
static const struct mapping *mappings;
static uint8_t *input, *answers;
static struct progress *progress;
static uint8_t *memory; /* the frames, writable */
static uint8_t *before; /* the same with the current vector's patches */
static uint8_t *pristine;
static uint8_t frame_writable[MAX_FRAMES];

static struct request *current;
static uint32_t steps;
static uint64_t next_request, next_answer;
static uint32_t done;
static uint64_t libc_fs;
static ucontext_t home;
static uint8_t home_fx[512];

static long raw_syscall2(long number, long a, long b) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
  return result;
}
static void set_bases(uint64_t fs, uint64_t gs) {
  raw_syscall2(SYS_arch_prctl, ARCH_SET_FS, (long)fs);
  raw_syscall2(SYS_arch_prctl, ARCH_SET_GS, (long)gs);
}
static __attribute__((noreturn)) void give_up(const char *what) {
  if (write(2, what, strlen(what)) < 0 || write(2, "\n", 1) < 0) _exit(3);
  _exit(2);
}

/* The extended state in a signal frame follows the 512 bytes of FXSAVE: its first word tells which parts are not in their initial state. */
static void read_fx(const ucontext_t *uc, uint8_t *out) {
  const uint8_t *fx = (const uint8_t *)uc->uc_mcontext.fpregs;
  memcpy(out, fx, 512);
  if (*(const uint32_t *)(fx + 464) != 0x46505853u) return; /* no XSAVE: the image is complete */
  uint64_t present = *(const uint64_t *)(fx + 512);
  if (!(present & 1)) {
    memset(out, 0, 24);
    memset(out + 32, 0, 128);
    out[0] = 0x7f;
    out[1] = 0x03;
  }
  if (!(present & 2)) memset(out + 160, 0, 256);
}
static void write_fx(ucontext_t *uc, const uint8_t *image) {
  uint8_t *fx = (uint8_t *)uc->uc_mcontext.fpregs;
  uint32_t mask = *(uint32_t *)(fx + 28);
  memcpy(fx, image, 416);
  *(uint32_t *)(fx + 28) = mask;
  if (*(uint32_t *)(fx + 464) == 0x46505853u) *(uint64_t *)(fx + 512) |= 3;
}

static void load(ucontext_t *uc) {
  if (done == head.vectors) {
    set_bases(libc_fs, 0);
    memcpy(uc->uc_mcontext.gregs, home.uc_mcontext.gregs, sizeof(gregset_t));
    write_fx(uc, home_fx);
    return;
  }
  current = (struct request *)(input + next_request);
  steps = 0;
  const uint8_t *at = (const uint8_t *)(current + 1);
  memcpy(memory + current->code_offset, at, current->code_length);
  at += current->code_length;
  for (unsigned i = 0; i < current->patches; i++) {
    uint16_t offset;
    memcpy(&offset, at, 2);
    unsigned length = at[2];
    memcpy(memory + offset, at + 3, length);
    memcpy(before + offset, at + 3, length);
    at += 3 + length;
  }
  greg_t *g = uc->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) g[greg_of[i]] = (greg_t)current->gpr[i];
  g[REG_RIP] = (greg_t)current->code_va;
  g[REG_EFL] = current->rflags | TF | 0x202;
  if (current->want & WANT_FX) write_fx(uc, at);
}

static void finish(ucontext_t *uc, int kind) {
  const greg_t *g = uc->uc_mcontext.gregs;
  struct answer *a = (struct answer *)(answers + next_answer);
  uint8_t *out = (uint8_t *)(a + 1);
  a->kind = (uint8_t)kind;
  a->trap = (uint8_t)g[REG_TRAPNO];
  a->error_code = kind == KIND_FAULT ? (uint32_t)g[REG_ERR] : 0;
  a->cr2 = kind == KIND_FAULT && g[REG_TRAPNO] == 14 ? (uint64_t)g[REG_CR2] : 0;
  for (int i = 0; i < 16; i++) a->gpr[i] = (uint64_t)g[greg_of[i]];
  a->rip = (uint64_t)g[REG_RIP];
  a->rflags = (uint32_t)g[REG_EFL];
  a->changes = 0;
  a->steps = (uint16_t)steps;
  for (unsigned frame = 2; frame < head.frames; frame++) {
    if (!frame_writable[frame]) continue;
    uint8_t *now = memory + frame * PAGE;
    const uint8_t *was = before + frame * PAGE;
    if (memcmp(now, was, PAGE) == 0) continue;
    for (unsigned i = 0; i < PAGE;) {
      if (now[i] == was[i]) {
        i++;
        continue;
      }
      unsigned end = i + 1, last = i;
      while (end < PAGE && end - last < 8) {
        if (now[end] != was[end]) last = end;
        end++;
      }
      uint16_t offset = (uint16_t)(frame * PAGE + i), length = (uint16_t)(last + 1 - i);
      memcpy(out, &offset, 2);
      memcpy(out + 2, &length, 2);
      memcpy(out + 4, now + i, length);
      out += 4 + length;
      a->changes++;
      i = last + 1;
    }
    memcpy(now, pristine + frame * PAGE, PAGE);
  }
  memcpy(memory + current->code_offset, pristine + current->code_offset, current->code_length);
  const uint8_t *at = (const uint8_t *)(current + 1) + current->code_length;
  for (unsigned i = 0; i < current->patches; i++) {
    uint16_t offset;
    memcpy(&offset, at, 2);
    unsigned length = at[2];
    memcpy(memory + offset, pristine + offset, length);
    memcpy(before + offset, pristine + offset, length);
    at += 3 + length;
  }
  if (current->want & WANT_SEGMENTS) {
    struct segments *s = (struct segments *)out;
    __asm__ volatile("mov %%ds, %0" : "=r"(s->ds));
    __asm__ volatile("mov %%es, %0" : "=r"(s->es));
    __asm__ volatile("mov %%fs, %0" : "=r"(s->fs));
    __asm__ volatile("mov %%gs, %0" : "=r"(s->gs));
    uint64_t base = 0;
    raw_syscall2(SYS_arch_prctl, ARCH_GET_FS, (long)&base);
    s->fs_base = base;
    raw_syscall2(SYS_arch_prctl, ARCH_GET_GS, (long)&base);
    s->gs_base = base;
    out += sizeof *s;
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(0));
    set_bases(head.fs_base, head.gs_base);
  }
  if (current->want & WANT_FX) {
    read_fx(uc, out);
    out += 512;
  }
  a->bytes = (uint16_t)(out - (uint8_t *)a);
  next_answer += a->bytes;
  next_request += current->bytes;
  done++;
  progress->request_offset = next_request;
  progress->answer_offset = next_answer;
  progress->done = done;
}

__attribute__((used)) static void on_signal(int signal, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  (void)info;
  if (current == NULL) { /* the first, raised by main */
    memcpy(&home, uc, sizeof home);
    read_fx(uc, home_fx);
    set_bases(head.fs_base, head.gs_base);
    load(uc);
    return;
  }
  greg_t trap = uc->uc_mcontext.gregs[REG_TRAPNO];
  int kind = signal == SIGTRAP && trap == 1 ? KIND_STEPPED : KIND_FAULT;
  if (kind == KIND_STEPPED) {
    steps++;
    if (current->want & WANT_REPEAT && (uint64_t)uc->uc_mcontext.gregs[REG_RIP] == current->code_va) {
      if (steps < current->max_steps) return;
      kind = KIND_UNFINISHED;
    }
  }
  finish(uc, kind);
  load(uc);
}

/* AC, NT and DF of the vector end here, before any compiled code runs. */
extern void signal_entry(int, siginfo_t *, void *);
__asm__(".text\n"
        "signal_entry:\n"
        "  pushq $2\n"
        "  popfq\n"
        "  jmp on_signal\n");

static void child(void) {
  static uint8_t stack[1 << 17] __attribute__((aligned(4096)));
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  if (sigaltstack(&alternate, NULL) != 0) give_up("sigaltstack");
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = signal_entry;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
    if (sigaction(signals[i], &action, NULL) != 0) give_up("sigaction");
  /* A fork leaves shared pages out of the page tables; an absent entry would show in error codes. */
  for (uint32_t i = 0; i < head.mappings; i++) {
    volatile uint8_t *page = (volatile uint8_t *)mappings[i].va;
    uint8_t byte = *page;
    if (mappings[i].access & 1) *page = byte;
  }
  raw_syscall2(SYS_arch_prctl, ARCH_GET_FS, (long)&libc_fs);
  current = NULL;
  raise(SIGTRAP);
  _exit(0);
}

static uint8_t *read_all(size_t *size) {
  size_t room = 1u << 30, used = 0;
  uint8_t *bytes = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bytes == MAP_FAILED) give_up("no memory for the input");
  for (;;) {
    ssize_t got = read(0, bytes + used, room - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) give_up("cannot read stdin");
    if (got == 0) break;
    used += (size_t)got;
  }
  *size = used;
  return bytes;
}
static void write_all(const uint8_t *bytes, size_t size) {
  while (size > 0) {
    ssize_t wrote = write(1, bytes, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) give_up("cannot write stdout");
    bytes += wrote;
    size -= (size_t)wrote;
  }
}

int main(void) {
  size_t size;
  uint8_t *all = read_all(&size);
  if (size < sizeof head) give_up("no header");
  memcpy(&head, all, sizeof head);
  if (head.magic != 0x31505453u || head.frames > MAX_FRAMES) give_up("bad header");
  mappings = (const struct mapping *)(all + sizeof head);
  const uint8_t *contents = (const uint8_t *)(mappings + head.mappings);
  size_t bytes = (size_t)head.frames * PAGE;
  input = (uint8_t *)contents + bytes;

  int fd = memfd_create("frames", 0);
  if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) give_up("memfd");
  memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  before = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED || before == MAP_FAILED) give_up("mmap");
  pristine = (uint8_t *)contents;
  memcpy(memory, contents, bytes);
  memcpy(before, contents, bytes);
  for (uint32_t i = 0; i < head.mappings; i++) {
    const struct mapping *m = &mappings[i];
    int access = PROT_READ | (m->access & 1 ? PROT_WRITE : 0) | (m->access & 2 ? PROT_EXEC : 0);
    void *at = mmap((void *)m->va, PAGE, access, MAP_SHARED | MAP_POPULATE | MAP_FIXED_NOREPLACE, fd, (off_t)m->frame * PAGE);
    if (at != (void *)m->va) give_up("an address of the layout is taken");
    if (m->access & 1) frame_writable[m->frame] = 1;
  }

  size_t room = (size_t)head.vectors * 4096 + MAX_ANSWER;
  answers = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  progress = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (answers == MAP_FAILED || progress == MAP_FAILED) give_up("no memory for the answers");

  while (progress->done < head.vectors) {
    done = progress->done;
    next_request = progress->request_offset;
    next_answer = progress->answer_offset;
    memcpy(memory, pristine, bytes);
    pid_t pid = fork();
    if (pid < 0) give_up("fork");
    if (pid == 0) child();
    uint32_t seen = done;
    for (int idle = 0, status; waitpid(pid, &status, WNOHANG) == 0;) {
      struct timespec pause = {0, 500000};
      nanosleep(&pause, NULL);
      idle = progress->done == seen ? idle + 1 : 0;
      seen = progress->done;
      if (idle == 400) kill(pid, SIGKILL);
    }
    if (progress->done == head.vectors) break;
    /* This vector killed its child, or never came back. */
    struct answer *a = (struct answer *)(answers + progress->answer_offset);
    memset(a, 0, sizeof *a);
    a->bytes = sizeof *a;
    a->kind = KIND_DIED;
    progress->answer_offset += sizeof *a;
    progress->request_offset += ((struct request *)(input + progress->request_offset))->bytes;
    progress->done++;
  }
  write_all(answers, progress->answer_offset);
  return 0;
}
