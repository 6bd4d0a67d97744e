/* `events`: a channel from this domain to itself: two ports, a send on one is an event on the other. Then the masks, an IPI,
 * and what the hypervisor refuses. */
#include "kernel.h"

static void say(const char *what, long result) { print("  %-52s %s\n", what, errno_name(result)); }

static void send_and_show(u32 from, u32 to) {
  u64 count = port_state[to].count, began = now_ns();
  port_notify(from);
  print("  send on port %u: ", from);
  if (port_state[to].count == count) print("no upcall; port %u is %s\n", to, port_pending(to) ? "pending" : "not pending");
  else print("event on port %u after %lu ns\n", to, port_state[to].last_ns - began);
}

static void show_status(u32 port) {
  static const char *const kinds[] = {"closed", "unbound", "interdomain", "pirq", "virq", "ipi"};
  struct evtchn_status status = {.dom = DOMID_SELF, .port = port};
  if (evtchn_op(EVTCHNOP_status, &status)) return;
  print("  port %u  %s", port, status.status < ARRAY_SIZE(kinds) ? kinds[status.status] : "?");
  if (status.status == 1) print(", for domain %u", status.u.unbound.dom);
  if (status.status == 2) print(", domain %u port %u", status.u.interdomain.dom, status.u.interdomain.port);
  if (status.status == 4) print(", virq %u", status.u.virq);
  print("\n");
}

void command_events(int argc, char **argv) {
  (void)argc, (void)argv;
  print("open ports\n");
  for (u32 port = 1; port < 32; port++) {
    struct evtchn_status status = {.dom = DOMID_SELF, .port = port};
    if (evtchn_op(EVTCHNOP_status, &status) == 0 && status.status) show_status(port);
  }

  print("a channel to myself\n");
  struct evtchn_alloc_unbound unbound = {.dom = DOMID_SELF, .remote_dom = DOMID_SELF};
  say("alloc_unbound for myself", evtchn_op(EVTCHNOP_alloc_unbound, &unbound));
  struct evtchn_bind_interdomain bind = {.remote_dom = DOMID_SELF, .remote_port = unbound.port};
  say("bind_interdomain to that port", evtchn_op(EVTCHNOP_bind_interdomain, &bind));
  u32 one = unbound.port, two = bind.local_port;
  show_status(one);
  show_status(two);
  port_listen(one);
  port_listen(two);
  send_and_show(one, two);
  send_and_show(two, one);

  print("masks\n");
  port_mask(two);
  send_and_show(one, two);
  u64 count = port_state[two].count;
  port_unmask(two);
  print("  unmask of port %u: %lu event\n", two, port_state[two].count - count);
  events_disable();
  send_and_show(one, two);
  count = port_state[two].count;
  events_enable();
  print("  the vCPU's event mask cleared: %lu event on port %u\n", port_state[two].count - count, two);

  print("an IPI to myself\n");
  struct evtchn_bind_ipi ipi = {.vcpu = 0};
  say("bind_ipi", evtchn_op(EVTCHNOP_bind_ipi, &ipi));
  port_listen(ipi.port);
  send_and_show(ipi.port, ipi.port);

  print("what is refused\n");
  struct evtchn_port none = {4000}, zero = {0};
  struct evtchn_bind_virq timer = {.virq = VIRQ_TIMER};
  say("send on port 4000, which is not there", evtchn_op(EVTCHNOP_send, &none));
  say("close of port 0, which never is", evtchn_op(EVTCHNOP_close, &zero));
  say("bind_virq of a timer that is bound", evtchn_op(EVTCHNOP_bind_virq, &timer));
  bind.remote_port = two;
  say("bind_interdomain to a port that is not unbound", evtchn_op(EVTCHNOP_bind_interdomain, &bind));

  struct evtchn_port ports[] = {{two}, {ipi.port}, {one}};
  for (u64 i = 0; i < ARRAY_SIZE(ports); i++) evtchn_op(EVTCHNOP_close, &ports[i]);
  say("send on a port just closed", evtchn_op(EVTCHNOP_send, &ports[0]));
}
