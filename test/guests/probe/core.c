/* The frame of the probe: output, the seeded generator, traps and the running of pieces of code, and the choice of the section.
 * The command line is SECTION [SEED [COUNT]]. Every line says what was done and what came of it, in names and differences: nothing that
 * another host, or the same one later, would give another number. */
#include "probe.h"

#define XENCONS_OUT 2048

u16 own_id;
u64 foreign;
struct trap trap;
u64 trap_entries[256];

extern char snippet_end[];

static struct xencons_interface *ring;

static void put(const char *bytes, u64 n) {
  while (n) {
    while (*(volatile u32 *)&ring->out_prod - *(volatile u32 *)&ring->out_cons == XENCONS_OUT) flush();
    u32 prod = ring->out_prod;
    ring->out[prod % XENCONS_OUT] = *bytes++;
    barrier();
    *(volatile u32 *)&ring->out_prod = prod + 1;
    n--;
  }
}

/* Tells Domain 0 that there is output; when the ring is full, lets it take some. */
void flush(void) {
  u32 port = start_info->console_evtchn;
  call(HC_event_channel_op, EVTCHNOP_send, (u64)&port, 0, 0, 0);
  if (*(volatile u32 *)&ring->out_prod - *(volatile u32 *)&ring->out_cons == XENCONS_OUT) call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
}

void say(const char *format, ...) {
  char line[700];
  va_list args;
  __builtin_va_start(args, format);
  u64 n = vformat(line, sizeof line - 2, format, args);
  __builtin_va_end(args);
  put(line, n);
  if (ring->out_prod - *(volatile u32 *)&ring->out_cons > XENCONS_OUT / 2) flush();
}

static u64 state;
u64 draw64(void) { /* xorshift64* */
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dUL;
}
u32 draw(u32 below) { return (u32)((draw64() >> 33) % below); }

const char *result_text(long result) {
  static char text[2][40];
  static u32 turn;
  static const char *const names[] = {
      [1] = "EPERM", [2] = "ENOENT", [3] = "ESRCH", [5] = "EIO", [6] = "ENXIO", [7] = "E2BIG", [9] = "EBADF", [11] = "EAGAIN",
      [12] = "ENOMEM", [13] = "EACCES", [14] = "EFAULT", [16] = "EBUSY", [17] = "EEXIST", [18] = "EXDEV", [19] = "ENODEV",
      [22] = "EINVAL", [28] = "ENOSPC", [34] = "ERANGE", [38] = "ENOSYS", [62] = "ETIME", [85] = "ERESTART", [95] = "EOPNOTSUPP"};
  char *to = text[turn++ & 1];
  if (result < 0 && (u64)-result < ARRAY_SIZE(names) && names[-result]) format(to, 40, "-%s", names[-result]);
  else if (result >= -4096 && result < 4096) format(to, 40, "%ld", result);
  else format(to, 40, "0x%lx", (u64)result);
  return to;
}

/* ---- traps ---- */

static struct vcpu_info *vcpu(void) { return &shared->vcpu_info[0]; }

struct pushed {
  u64 r15, r14, r13, r12, r10, r9, r8, rax, rdx, rbx, rbp, rsi, rdi;
  u64 kind, rcx, r11, words[12];
};


void trap_entered(struct pushed *p) {
  const u64 *words = p->words;
  trap = (struct trap){.vector = p->kind, .cr2 = vcpu()->cr2};
  if (p->kind == 0x101) {
    trap.failsafe = true;
    trap.ds = words[0], trap.es = words[1], trap.fs = words[2], trap.gs = words[3];
    words += 4;
  } else if (p->kind < 0x100) {
    /* An error code is there when the frame only then ends where a frame has to. */
    bool without = (words[3] & ~15UL) == (u64)&words[5], with = (words[4] & ~15UL) == (u64)&words[6];
    if (with && !without) trap.has_error = true, trap.error = *words++;
    else if (with == without) {
      /* From user mode: the frame begins at the stack that stack_switch named. */
      if ((u64)&words[6] == KERNEL_STACK) trap.has_error = true, trap.error = *words++;
    }
  }
  trap.rip = words[0], trap.cs = words[1], trap.rflags = words[2], trap.rsp = words[3], trap.ss = words[4];
  snippet_out = (struct registers){p->rax, p->rcx, p->rdx, p->rbx, trap.rsp, p->rbp, p->rsi, p->rdi, p->r8, p->r9, p->r10, p->r11,
                                   p->r12, p->r13, p->r14, p->r15, trap.rflags};
  vcpu()->evtchn_upcall_mask = 1;
}

static long set_traps(u8 dpl) {
  static struct trap_info table[257];
  for (u32 i = 0; i < 256; i++)
    table[i] = (struct trap_info){.vector = (u8)i, .flags = 4 | dpl, .cs = FLAT_KERNEL_CS, .address = trap_stubs + i * 16};
  return call(HC_set_trap_table, (u64)table, 0, 0, 0, 0);
}
void traps_set(void) { set_traps(0); }
void traps_set_dpl(u8 dpl);
void traps_set_dpl(u8 dpl) { set_traps(dpl); }

void callbacks_set(void) {
  static const struct { u16 type; void *at; } list[] = {
      {0, event_entry}, {1, failsafe_entry}, {2, syscall_entry}, {4, nmi_entry}, {5, sysenter_entry}, {7, syscall32_entry}};
  for (u32 i = 0; i < ARRAY_SIZE(list); i++) {
    struct callback_register one = {list[i].type, CALLBACKF_mask_events, (u64)list[i].at};
    call(HC_callback_op, CALLBACKOP_register, (u64)&one, 0, 0, 0);
  }
}

/* Copies the bytes to a page, a jump to the end behind them, and runs them. rsp is given; everything else is in snippet_in. */
void execute(const u8 *code, u64 length) {
  static const u8 end[] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp *0(%rip) */
  memcpy(code_page, code, length);
  memcpy(code_page + length, end, sizeof end);
  u64 to = (u64)snippet_end;
  memcpy(code_page + length + sizeof end, &to, 8);
  if (!snippet_in.rsp) snippet_in.rsp = (u64)snippet_stack_top - 512;
  snippet_run((u64)code_page);
}

const char *trap_text(void) {
  static char text[200];
  static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#9", "#TS", "#NP", "#SS",
                                      "#GP", "#PF", "#15", "#MF", "#AC", "#MC", "#XM"};
  static const char *const callbacks[] = {"event", "failsafe", "syscall", "syscall32", "sysenter", "nmi"};
  if (trap.vector == NO_TRAP) return "done";
  u64 n = 0;
  if (trap.vector >= 0x100) n = format(text, sizeof text, "%s callback", callbacks[trap.vector - 0x100]);
  else if (trap.vector < ARRAY_SIZE(names)) n = format(text, sizeof text, "%s", names[trap.vector]);
  else n = format(text, sizeof text, "int 0x%lx", trap.vector);
  if (trap.has_error) n += format(text + n, sizeof text - n, "(%lx)", trap.error);
  if (trap.rip - (u64)far_code < FAR_CODE) n += format(text + n, sizeof text - n, " at there+%ld", trap.rip - (u64)far_code);
  else if (trap.rip - (u64)code_page < PAGE_SIZE) n += format(text + n, sizeof text - n, " at +%ld", trap.rip - (u64)code_page);
  else if (trap.rip - (u64)snippet_end < 1 << 20) n += format(text + n, sizeof text - n, " behind it");
  else if (trap.rip >> 32 != 0xffffffff) n += format(text + n, sizeof text - n, " at %lx", trap.rip);
  else n += format(text + n, sizeof text - n, " in the kernel");
  n += format(text + n, sizeof text - n, " cs %lx ss %lx flags %lx", trap.cs, trap.ss, trap.rflags);
  long moved = (long)(trap.rsp - snippet_in.rsp);
  if (trap.rsp - (u64)GOOD < PAGE_SIZE) n += format(text + n, sizeof text - n, " rsp good+%lx", trap.rsp - (u64)GOOD);
  else if (moved) n += moved > -4096 && moved < 4096 ? format(text + n, sizeof text - n, " rsp%s%ld", moved < 0 ? "" : "+", moved)
                                                : format(text + n, sizeof text - n, " rsp %lx", trap.rsp);
  if (trap.failsafe) n += format(text + n, sizeof text - n, " ds %lx es %lx fs %lx gs %lx", trap.ds, trap.es, trap.fs, trap.gs);
  return text;
}

/* ---- places ---- */

PAGES u8 arena[5][PAGE_SIZE];
struct place places[] = {
    {"good", 0}, {"good+4", 0}, {"good+1", 0}, {"last 8", 0}, {"last 4", 0}, {"last 1", 0}, {"missing", 0}, {"read-only", 0},
    {"0", 0}, {"unmapped", NOT_MAPPED}, {"user's last", 0x00007ffffffff000}, {"hole", 0x0000800000000000}, {"not canonical", NO_CANONICAL},
    {"below Xen", 0xffff7ffffffff000}, {"M2P", MACH2PHYS_VIRT_START}, {"Xen", 0xffff830000000000}, {"Xen's last", 0xffff87fffffffff8},
    {"behind Xen", 0xffff880000000000}, {"last page", 0xfffffffffffff000}, {"-1", ~0UL}};
const u32 nr_places = ARRAY_SIZE(places);

void arena_init(void) {
  u8 *good = arena[1];
  places[0].at = (u64)good, places[1].at = (u64)good + 4, places[2].at = (u64)good + 1;
  places[3].at = (u64)good + 4088, places[4].at = (u64)good + 4092, places[5].at = (u64)good + 4095;
  places[6].at = (u64)arena[2], places[7].at = (u64)arena[3];
  update_va_mapping(arena[2], 0, UVMF_INVLPG);
  update_va_mapping(arena[3], va_to_mfn(arena[3]) * PAGE_SIZE | (DATA & ~PTE_RW), UVMF_INVLPG);
}

/* ---- sections ---- */

static const struct { const char *name; void (*run)(u32 count); u32 count; } sections[] = {
#include "sections.h"
};

static char *word(char **at) {
  while (**at == ' ') ++*at;
  char *begin = *at;
  while (**at && **at != ' ') ++*at;
  if (**at) *(*at)++ = 0;
  return begin;
}

static void learn_domid(void) {
  struct evtchn_alloc_unbound made = {DOMID_SELF, DOMID_SELF, 0};
  call(HC_event_channel_op, EVTCHNOP_alloc_unbound, (u64)&made, 0, 0, 0);
  struct evtchn_status status = {.dom = DOMID_SELF, .port = made.port};
  call(HC_event_channel_op, EVTCHNOP_status, (u64)&status, 0, 0, 0);
  own_id = status.u.unbound.dom;
  call(HC_event_channel_op, EVTCHNOP_close, (u64)&made.port, 0, 0, 0);
}

void kernel_main(struct start_info *info) {
  start_info = info;
  shared_info_map();
  vcpu()->evtchn_upcall_mask = 1;
  memset(shared->evtchn_mask, 0xff, sizeof shared->evtchn_mask);
  call(HC_vcpu_op, VCPUOP_stop_periodic_timer, 0, 0, 0, 0);
  call(HC_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables, 0, 0, 0);
  ring = pfn_to_va(mfn_to_pfn(info->console_mfn));
  traps_set();
  callbacks_set();
  call(3, FLAT_KERNEL_SS, KERNEL_STACK, 0, 0, 0); /* stack_switch */
  learn_domid();
  foreign = foreign_mfn();
  arena_init();
  char *rest = (char *)info->cmd_line, *name = word(&rest), *seed = word(&rest), *count = word(&rest);
  u64 value;
  state = (parse_u64(seed, &value) ? value : 1) * 0x9e3779b97f4a7c15UL | 1;
  for (u32 i = 0; i < 4; i++) draw64();
  for (u32 i = 0; i < ARRAY_SIZE(sections); i++)
    if (streq(name, sections[i].name)) {
      say("# %s, seed %s\n", name, seed);
      sections[i].run(parse_u64(count, &value) ? (u32)value : sections[i].count);
    }
  say("# the end\n");
  flush();
  if (streq(name, "sched")) call(6, SCHEDOP_shutdown, SHUTDOWN_poweroff, 0, 0, 0); /* the old call ends a domain too */
  u32 reason = SHUTDOWN_poweroff;
  for (;;) call(HC_sched_op, SCHEDOP_shutdown, (u64)&reason, 0, 0, 0);
}
