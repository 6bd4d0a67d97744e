/* `hypercalls`: what some cost, each the mean of many. */
#include "kernel.h"

static PAGES u8 page[PAGE_SIZE];
static u32 self_port;
static struct mmu_update same[32];
static struct multicall_entry batch[8];

static long do_xen_version(void) { return xen_version(XENVER_version, NULL) > 0 ? 0 : -1; }
static long do_yield(void) { return sched_op(SCHEDOP_yield, NULL); }
static long do_send(void) {
  struct evtchn_port arg = {self_port};
  return evtchn_op(EVTCHNOP_send, &arg);
}
static long do_update_1(void) { return mmu_update(same, 1); }
static long do_update_32(void) { return mmu_update(same, ARRAY_SIZE(same)); }
static long do_va_mapping(void) { return update_va_mapping(page, same[0].val, UVMF_INVLPG); }
static long do_flush(void) {
  struct mmuext_op op = {MMUEXT_TLB_FLUSH_LOCAL, 0, 0};
  return mmuext_op(&op, 1);
}
static long do_multicall(void) { return hypercall2(HC_multicall, (u64)batch, ARRAY_SIZE(batch)); }
static long do_unknown(void) { return hypercall2(63, 0, 0); }

static void measure(const char *name, u32 count, long (*call)(void)) {
  long result = 0;
  u64 began = now_ns();
  for (u32 i = 0; i < count; i++) result = call();
  u64 ns = (now_ns() - began) / count;
  print("  %-40s %8lu ns  -> %s\n", name, ns, errno_name(result));
}

void command_hypercalls(int argc, char **argv) {
  (void)argc, (void)argv;
  struct evtchn_bind_ipi ipi = {.vcpu = 0};
  long bound = evtchn_op(EVTCHNOP_bind_ipi, &ipi);
  if (bound) {
    print("EVTCHNOP_bind_ipi: %s\n", errno_name(bound));
    return;
  }
  self_port = ipi.port;
  for (u64 i = 0; i < ARRAY_SIZE(same); i++)
    same[i] = (struct mmu_update){machine_address(pte_of(page, 1)) | MMU_NORMAL_PT_UPDATE, *pte_of(page, 1)};
  for (u64 i = 0; i < ARRAY_SIZE(batch); i++) batch[i] = (struct multicall_entry){.op = HC_xen_version};

  measure("xen_version", 20000, do_xen_version);
  measure("sched_op yield", 5000, do_yield);
  measure("event_channel_op send to itself, masked", 5000, do_send);
  port_listen(self_port);
  measure("event_channel_op send, and its upcall", 5000, do_send);
  u64 upcalls = port_state[self_port].count;
  measure("mmu_update, 1 entry", 5000, do_update_1);
  measure("mmu_update, 32 entries", 1000, do_update_32);
  measure("update_va_mapping with INVLPG", 5000, do_va_mapping);
  measure("mmuext_op TLB_FLUSH_LOCAL", 2000, do_flush);
  measure("multicall of 8 xen_version", 5000, do_multicall);
  measure("hypercall 63, which is none", 5000, do_unknown);
  print("  %lu upcalls for 5000 sends\n", upcalls);

  struct evtchn_port port = {self_port};
  evtchn_op(EVTCHNOP_close, &port);
}
