/* Event channels, 2-level: a bit for each port in shared_info. Xen calls `event_upcall` (head.S) when one is pending and
 * unmasked and our vCPU's event mask is clear; the upcall counts, and the waiter looks at what it waits for. */
#include "kernel.h"

extern char event_upcall[], failsafe_upcall[];

struct port_state port_state[MAX_PORTS];
u64 upcall_count;
u32 timer_port;

static inline struct vcpu_info *vcpu(void) { return &shared->vcpu_info[0]; }

static inline void bit_set(u64 *words, u32 bit) {
  __asm__ volatile("lock btsq %1, %0" : "+m"(words[bit / 64]) : "r"((u64)bit % 64) : "memory", "cc");
}
static inline void bit_clear(u64 *words, u32 bit) {
  __asm__ volatile("lock btrq %1, %0" : "+m"(words[bit / 64]) : "r"((u64)bit % 64) : "memory", "cc");
}

void event_dispatch(void) {
  upcall_count++;
  do {
    vcpu()->evtchn_upcall_pending = 0;
    u64 selector = 0;
    __asm__ volatile("xchgq %0, %1" : "+r"(selector), "+m"(vcpu()->evtchn_pending_sel)::"memory");
    while (selector) {
      u32 word = (u32)__builtin_ctzl(selector);
      selector &= selector - 1;
      u64 ready;
      while ((ready = *(volatile u64 *)&shared->evtchn_pending[word] & ~*(volatile u64 *)&shared->evtchn_mask[word])) {
        u32 port = word * 64 + (u32)__builtin_ctzl(ready);
        bit_clear(shared->evtchn_pending, port);
        if (port < MAX_PORTS) {
          port_state[port].count++;
          port_state[port].last_ns = now_ns();
        }
      }
    }
  } while (*(volatile u8 *)&vcpu()->evtchn_upcall_pending);
}

void events_disable(void) {
  vcpu()->evtchn_upcall_mask = 1;
  barrier();
}

void events_enable(void) {
  barrier();
  vcpu()->evtchn_upcall_mask = 0;
  barrier();
  /* What came while the mask was set is delivered on the way out of any hypercall. */
  if (*(volatile u8 *)&vcpu()->evtchn_upcall_pending) xen_version(XENVER_version, NULL);
}

void port_mask(u32 port) { bit_set(shared->evtchn_mask, port); }
bool port_pending(u32 port) { return shared->evtchn_pending[port / 64] >> port % 64 & 1; }

void port_unmask(u32 port) {
  struct evtchn_port arg = {port};
  evtchn_op(EVTCHNOP_unmask, &arg);
}

void port_listen(u32 port) {
  port_state[port].count = 0;
  bit_clear(shared->evtchn_pending, port);
  port_unmask(port);
}

void port_notify(u32 port) {
  struct evtchn_port arg = {port};
  evtchn_op(EVTCHNOP_send, &arg);
}

void events_rebind(void) {
  struct evtchn_bind_virq timer = {.virq = VIRQ_TIMER, .vcpu = 0};
  memset(shared->evtchn_mask, 0xff, sizeof shared->evtchn_mask);
  vcpu_op(VCPUOP_stop_periodic_timer, 0, NULL);
  if (evtchn_op(EVTCHNOP_bind_virq, &timer) == 0) {
    timer_port = timer.port;
    port_listen(timer_port);
  }
  port_listen(start_info->store_evtchn);
  port_listen(start_info->console_evtchn);
}

void events_init(void) {
  struct callback_register event = {CALLBACKTYPE_event, CALLBACKF_mask_events, (u64)event_upcall};
  struct callback_register failsafe = {CALLBACKTYPE_failsafe, 0, (u64)failsafe_upcall};
  hypercall2(HC_callback_op, CALLBACKOP_register, (u64)&event);
  hypercall2(HC_callback_op, CALLBACKOP_register, (u64)&failsafe);
  events_rebind();
  events_enable();
}

/* The condition is looked at with the mask set, and SCHEDOP_block clears the mask as it sleeps: no wake-up is lost. */
bool wait_until(bool (*condition)(void), u64 deadline_ns) {
  for (;;) {
    events_disable();
    if (condition && condition()) {
      events_enable();
      return true;
    }
    if (deadline_ns) {
      struct vcpu_set_singleshot_timer timer = {deadline_ns, 0};
      if (now_ns() >= deadline_ns) {
        events_enable();
        return false;
      }
      vcpu_op(VCPUOP_set_singleshot_timer, 0, &timer);
    }
    sched_op(SCHEDOP_block, NULL);
  }
}
