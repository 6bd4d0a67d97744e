/* Exceptions. One that a probe expects resumes it; any other is a panic with the registers, and a crash. */
#include "kernel.h"

extern const struct { u64 vector, address; } trap_entries[];
u64 probe_resume;
struct fault probe_fault;
static struct trap_info table[24];

void traps_init(void) {
  u64 n = 0;
  for (; trap_entries[n].address; n++)
    table[n] = (struct trap_info){
        .vector = (u8)trap_entries[n].vector,
        .flags = 4 | (trap_entries[n].vector == 3 ? 3 : 0),
        .cs = FLAT_KERNEL_CS,
        .address = trap_entries[n].address,
    };
  hypercall2(HC_set_trap_table, (u64)table, 0);
}

void traps_forget(void) { hypercall2(HC_set_trap_table, 0, 0); }

void shutdown(u32 reason) {
  for (;;) sched_op(SCHEDOP_shutdown, &reason);
}

void trap_dispatch(struct trap_frame *f) {
  if (probe_resume) {
    probe_fault = (struct fault){f->vector, f->error, shared->vcpu_info[0].cr2};
    f->rip = probe_resume;
    probe_resume = 0;
    return;
  }
  static const char *const names[] = {
      "#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow", "#BR bound", "#UD invalid opcode",
      "#NM no FPU", "#DF double fault", "-", "#TS invalid TSS", "#NP segment not present", "#SS stack fault",
      "#GP general protection", "#PF page fault", "-", "#MF x87", "#AC alignment", "#MC machine check", "#XM SIMD",
  };
  print("\npanic: %s, error code %lx\n", f->vector < ARRAY_SIZE(names) ? names[f->vector] : "failsafe callback", f->error);
  if (f->vector == 14) print("cr2 %016lx\n", shared->vcpu_info[0].cr2);
  print("rip %016lx  rsp %016lx  rflags %lx  cs %lx  ss %lx\n", f->rip, f->rsp, f->rflags, f->cs, f->ss);
  print("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
  print("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", f->rsi, f->rdi, f->rbp, f->r8);
  print("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", f->r9, f->r10, f->r11, f->r12);
  print("r13 %016lx  r14 %016lx  r15 %016lx\n", f->r13, f->r14, f->r15);
  shutdown(SHUTDOWN_crash);
}
