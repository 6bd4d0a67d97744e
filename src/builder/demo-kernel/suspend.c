/* Suspend and resume by the PV protocol. Before: the frames that start_info names become pfns (the toolstack puts the new
 * frames in), shared_info leaves our page tables. SCHEDOP_shutdown(suspend) carries the frame of start_info; it returns
 * 0 in a new domain, whose event channels are all to be bound again, or 1 when the suspend was cancelled in this one. */
#include "kernel.h"

void suspend(void) {
  u32 reason = SHUTDOWN_suspend;
  u64 before = now_ns();
  if (!p2m_publish()) {
    print("suspend: my frame lists are too short for so much memory\n");
    return;
  }
  events_disable();
  start_info->store_mfn = mfn_to_pfn(start_info->store_mfn);
  start_info->console_mfn = mfn_to_pfn(start_info->console_mfn);
  shared_info_unmap();

  long cancelled = hypercall3(HC_sched_op, SCHEDOP_shutdown, (u64)&reason, va_to_mfn(start_info));

  if (cancelled) {
    start_info->store_mfn = pfn_to_mfn(start_info->store_mfn);
    start_info->console_mfn = pfn_to_mfn(start_info->console_mfn);
    shared_info_map();
    events_enable();
    print("Suspend cancelled: still domain %u.\n", own_domid);
    return;
  }
  shared_info_map();
  events_disable();
  events_rebind();
  events_enable();
  time_resumed(before);
  p2m_publish();
  xs_watch_again();
  learn_identity();
  print("Resumed as domain %u, ", own_domid);
  print_date();
  print(".\n");
}
