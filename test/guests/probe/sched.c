/* Waiting, waking, timers and events as they come: SCHEDOP_block and poll, the timers of vcpu_op, virtual interrupts and IPIs. */
#include "probe.h"

static u32 virq_port, ipi_port;

static bool pending(u32 port) { return shared->evtchn_pending[port / 64] >> port % 64 & 1; }
static void reset_port(u32 port) {
  __asm__ volatile("lock btrq %1, %0" : "+m"(shared->evtchn_pending[port / 64]) : "r"((u64)port % 64) : "memory", "cc");
}
static void mask(u32 port, bool on) {
  if (on) __asm__ volatile("lock btsq %1, %0" : "+m"(shared->evtchn_mask[port / 64]) : "r"((u64)port % 64) : "memory", "cc");
  else __asm__ volatile("lock btrq %1, %0" : "+m"(shared->evtchn_mask[port / 64]) : "r"((u64)port % 64) : "memory", "cc");
}

static u64 now(void) {
  const volatile struct vcpu_time_info *t = &shared->vcpu_info[0].time;
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  u64 delta = ((u64)high << 32 | low) - t->tsc_timestamp;
  if (t->tsc_shift < 0) delta >>= -t->tsc_shift;
  else delta <<= t->tsc_shift;
  return t->system_time + (u64)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
}

static long vcpu(u32 op, u32 id, const void *arg) { return call(HC_vcpu_op, op, id, (u64)arg, 0, 0); }
static long poll(u32 *ports, u32 count, u64 timeout) {
  struct { u64 ports; u32 count; u64 timeout; } arg = {(u64)ports, count, timeout};
  return call(HC_sched_op, 3, (u64)&arg, 0, 0, 0);
}

static void state(const char *what, long result, u64 before) {
  struct vcpu_info *v = &shared->vcpu_info[0];
  say("%s: %s, %lu upcalls, timer %d, ipi %d, mask %u, pending %u, selector %lx\n", what, result_text(result), upcalls - before, pending(virq_port), pending(ipi_port),
      v->evtchn_upcall_mask, v->evtchn_upcall_pending, v->evtchn_pending_sel);
  call(HC_vcpu_op, 9, 0, 0, 0, 0); /* what a call that came back at once has left */
  reset_port(virq_port), reset_port(ipi_port);
  v->evtchn_upcall_pending = 0, v->evtchn_pending_sel = 0, v->evtchn_upcall_mask = 1;
}

static void singleshot(u64 after) {
  struct vcpu_set_singleshot_timer timer = {now() + after, 0};
  vcpu(8, 0, &timer);
}

void section_sched(u32 count) {
  struct evtchn_bind_virq virq = {.virq = VIRQ_TIMER, .vcpu = 0};
  struct evtchn_bind_ipi ipi = {.vcpu = 0};
  (void)count;
  call(HC_event_channel_op, EVTCHNOP_bind_virq, (u64)&virq, 0, 0, 0);
  call(HC_event_channel_op, EVTCHNOP_bind_ipi, (u64)&ipi, 0, 0, 0);
  virq_port = virq.port, ipi_port = ipi.port;
  for (u32 unmasked = 0; unmasked < 2; unmasked++) {
    mask(virq_port, !unmasked), mask(ipi_port, !unmasked);
    say("ports %smasked\n", unmasked ? "un" : "");
    u64 before = upcalls;
    u32 ports[3] = {virq_port, ipi_port, 50}, far[1] = {4096}, farther[1] = {131072};
    singleshot(2000000);
    if (unmasked) state("block until the timer", call(HC_sched_op, 1, 0, 0, 0, 0), before);
    before = upcalls, singleshot(2000000);
    if (unmasked) state("the old block until the timer", call(6, 1, 0, 0, 0, 0), before);
    before = upcalls, singleshot(2000000);
    state("poll for the timer", poll(ports, 1, 0), before);
    before = upcalls, singleshot(2000000);
    state("poll for three", poll(ports, 3, 0), before);
    before = upcalls;
    state("poll, timeout", poll(ports, 2, now() + 1000000), before);
    before = upcalls;
    state("poll, timeout long ago", poll(ports, 2, 1), before);
    before = upcalls;
    state("poll for nothing, timeout", poll(ports, 0, now() + 1000000), before);
    before = upcalls;
    state("poll for 4096", poll(far, 1, now() + 1000000), before);
    before = upcalls;
    state("poll for 131072", poll(farther, 1, now() + 1000000), before);
    before = upcalls;
    state("poll for 129", poll(ports, 129, now() + 1000000), before);
    before = upcalls;
    state("poll for what cannot be read", poll((u32 *)MISSING, 1, now() + 1000000), before);
    before = upcalls;
    call(HC_event_channel_op, EVTCHNOP_send, (u64)&ipi_port, 0, 0, 0);
    state("IPI sent", 0, before);
    before = upcalls;
    call(HC_event_channel_op, EVTCHNOP_send, (u64)&ipi_port, 0, 0, 0);
    state("poll with an IPI there", poll(ports, 2, 0), before);
    before = upcalls;
    call(HC_event_channel_op, EVTCHNOP_send, (u64)&ipi_port, 0, 0, 0);
    shared->vcpu_info[0].evtchn_upcall_mask = 0;
    state("IPI sent, then events enabled", call(HC_xen_version, 0, 0, 0, 0, 0), before);
    before = upcalls;
    shared->vcpu_info[0].evtchn_upcall_mask = 0;
    state("IPI sent with events enabled", call(HC_event_channel_op, EVTCHNOP_send, (u64)&ipi_port, 0, 0, 0), before);
    before = upcalls;
    mask(ipi_port, true);
    call(HC_event_channel_op, EVTCHNOP_send, (u64)&ipi_port, 0, 0, 0);
    shared->vcpu_info[0].evtchn_upcall_mask = 0;
    state("a masked IPI, then unmasked", call(HC_event_channel_op, EVTCHNOP_unmask, (u64)&ipi_port, 0, 0, 0), before);
    mask(ipi_port, !unmasked);
    before = upcalls;
    struct vcpu_set_singleshot_timer past = {1, 1}, unflagged = {1, 0}, flags = {now() + 1000000000, 6};
    state("singleshot in the past, future flag", vcpu(8, 0, &past), before);
    before = upcalls;
    state("singleshot in the past", vcpu(8, 0, &unflagged), before);
    before = upcalls;
    state("singleshot, other flags", vcpu(8, 0, &flags), before);
    vcpu(9, 0, NULL);
    u64 periods[] = {0, 1, 999999, 1000000, 10000000, 0x7fffffffffffffff, ~0UL};
    for (u32 i = 0; i < ARRAY_SIZE(periods); i++) {
      long result = vcpu(6, 0, &periods[i]);
      vcpu(7, 0, NULL);
      say("period %lx: %s\n", periods[i], result_text(result));
    }
    before = upcalls;
    call(15, now() + 1000000, 0, 0, 0, 0);
    state("poll for set_timer_op", poll(ports, 1, 0), before);
  }
  /* NMIs, and watchdogs by their numbers. */
  u64 was = nmis;
  say("NMI to itself: %s", result_text(vcpu(11, 0, NULL)));
  say(", %lu came\n", nmis - was);
  for (u32 i = 0; i < 4; i++) {
    u32 arm[2] = {0, 30000}, again[2] = {i, 30000}, off[2] = {i, 0};
    say("watchdog set: %s", result_text(call(HC_sched_op, 6, (u64)arm, 0, 0, 0)));
    if (i) say(", %u again: %s", i, result_text(call(HC_sched_op, 6, (u64)again, 0, 0, 0)));
    if (i == 3) for (off[0] = 1; off[0] < 5; off[0]++) say(", %u off: %s", off[0], result_text(call(HC_sched_op, 6, (u64)off, 0, 0, 0)));
    say("\n");
  }
}
