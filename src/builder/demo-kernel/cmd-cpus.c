/* `cpus`: brings up the other vCPUs one after the other. Each runs on a stack of its own, counts, and takes itself down. */
#include "kernel.h"

extern char secondary_start[];
static PAGES u8 stack[PAGE_SIZE];
static PAGES struct vcpu_guest_context context;
static volatile u64 count;
static volatile bool finished;

void secondary_main(u64 vcpu) {
  for (u64 i = 0; i < 1000000; i++) count++;
  barrier();
  finished = true;
  for (;;) vcpu_op(VCPUOP_down, (u32)vcpu, NULL);
}

static void bring_up(u32 vcpu) {
  memset(&context, 0, sizeof context);
  context.flags = VGCF_in_kernel;
  context.user_regs.rip = (u64)secondary_start;
  context.user_regs.rdi = vcpu;
  context.user_regs.cs = FLAT_KERNEL_CS;
  context.user_regs.ss = FLAT_KERNEL_SS;
  context.user_regs.rsp = (u64)(stack + sizeof stack);
  context.user_regs.rflags = 0x202;
  context.kernel_ss = FLAT_KERNEL_SS;
  context.kernel_sp = (u64)(stack + sizeof stack);
  context.ctrlreg[3] = machine_address((void *)start_info->pt_base);
  count = 0;
  finished = false;
  u64 began = now_ns();
  long initialised = vcpu_op(VCPUOP_initialise, vcpu, &context);
  print("vcpu %u  initialise %s", vcpu, errno_name(initialised));
  long up = vcpu_op(VCPUOP_up, vcpu, NULL);
  print(", up %s", errno_name(up));
  if (up == 0) {
    while (!finished && now_ns() - began < 5000000000UL) sched_op(SCHEDOP_yield, NULL);
    if (!finished) {
      print(", and nothing came of it\n");
      return;
    }
    while (vcpu_op(VCPUOP_is_up, vcpu, NULL) == 1) sched_op(SCHEDOP_yield, NULL);
    print(": counted to %lu and went down, %lu us in all", count, (now_ns() - began) / 1000);
  }
  print("\n");
}

void command_cpus(int argc, char **argv) {
  (void)argc, (void)argv;
  u32 n = 1;
  for (; n < 32; n++) {
    long state = vcpu_op(VCPUOP_is_up, n, NULL);
    if (state < 0) break;
    if (state) print("vcpu %u  is up\n", n);
    else bring_up(n);
  }
  if (n == 1) print("vcpu 0 is my only one\n");
}
