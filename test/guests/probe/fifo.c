/* Event channels: every kind bound, closed and reset within one domain, first in the 2-level ABI, then in the FIFO ABI with its words and queues as the
 * guest sees them, and back. */
#include "probe.h"

enum { BIND_INTERDOMAIN, BIND_VIRQ, BIND_PIRQ, CLOSE, SEND, STATUS, ALLOC_UNBOUND, BIND_IPI, BIND_VCPU, UNMASK, RESET, INIT_CONTROL, EXPAND_ARRAY, SET_PRIORITY };
#define PENDING (1U << 31)
#define MASKED (1U << 30)
#define LINKED (1U << 29)
#define PORTS 24

static PAGES u32 words[1024];
static PAGES u32 more_words[1024];
static PAGES u8 control_page[PAGE_SIZE];
struct control { u32 ready, pad, head[16]; };
#define CONTROL(vcpu) ((volatile struct control *)(control_page + (vcpu) * 1024))
static u32 console_remote;

static long op(u32 command, void *arg) { return call(HC_event_channel_op, command, (u64)arg, 0, 0, 0); }

struct status { u16 dom; u32 port, status, vcpu; union { struct { u16 dom; u32 port; } remote; u32 number; } u; };
static void status_told(u32 port) {
  static const char *const names[] = {"closed", "unbound", "interdomain", "pirq", "virq", "ipi"};
  struct status s = {.dom = DOMID_SELF, .port = port};
  long result = op(STATUS, &s);
  if (result) say("%u %s", port, result_text(result));
  else if (s.status == 0) say("%u closed", port);
  else {
    say("%u %s on %u", port, s.status < 6 ? names[s.status] : "?", s.vcpu);
    u16 dom = s.u.remote.dom;
    if (s.status == 1) say(" for %s", dom == own_id ? "own" : dom == 0 ? "dom0" : "other");
    if (s.status == 2) say(" with %s %u", dom == own_id ? "own" : dom == 0 ? "dom0" : "other", dom == own_id ? s.u.remote.port : 0);
    if (s.status >= 3 && s.status < 5) say(" %u", s.u.number);
  }
}

static void all_told(const char *when) {
  say("%s:", when);
  for (u32 port = 1; port < PORTS; port++) {
    struct status s = {.dom = DOMID_SELF, .port = port};
    if (op(STATUS, &s) || !s.status) continue;
    say(" [");
    status_told(port);
    say("]");
  }
  say("\n");
}

/* ---- ports of every kind ---- */

static u16 draw_domain(const char **name) {
  u32 i = draw(10);
  *name = i < 6 ? "self" : i == 6 ? "own" : i == 7 ? "dom0" : i == 8 ? "nobody" : "idle";
  return i < 6 ? DOMID_SELF : i == 6 ? own_id : i == 7 ? 0 : i == 8 ? 999 : 0x7fff;
}
static u32 draw_port(void) { return draw(12) ? 5 + draw(PORTS - 5) : draw(2) ? 0 : 4096 + draw(2) * 200000; }
static u32 draw_vcpu(void) { return draw(8) ? draw(2) : 2 + draw(1000); }

/* Ports 1 to 4 are left as they are: what the probe speaks by is among them. Closing is done by drawn ports too. */
static void drawn_port(bool fifo) {
  const char *name;
  u32 kind = draw(100);
  if (kind < 12) {
    struct { u16 dom, remote; u32 port; } a = {draw(6) ? DOMID_SELF : own_id, draw_domain(&name), 0};
    long result = op(ALLOC_UNBOUND, &a);
    say("unbound for %s: %s", name, result_text(result));
    if (!result) say(" %u", a.port);
  } else if (kind < 28) {
    struct { u16 remote; u32 remote_port, port; } b = {draw_domain(&name), draw_port(), 0};
    if (streq(name, "dom0")) b.remote_port = 100000; /* none of its ports is for us */
    say("bind to %s %u", name, b.remote_port);
    long result = op(BIND_INTERDOMAIN, &b);
    say(": %s", result_text(result));
    if (!result) say(" %u", b.port);
  } else if (kind < 38) {
    u32 virqs[] = {0, 0, 1, 1, 2, 3, 8, 9, 13, 16, 23, 24, 1000};
    struct { u32 virq, vcpu, port; } b = {virqs[draw(ARRAY_SIZE(virqs))], draw_vcpu(), 0};
    long result = op(BIND_VIRQ, &b);
    say("virq %u on %u: %s", b.virq, b.vcpu, result_text(result));
    if (!result) say(" %u", b.port);
  } else if (kind < 48) {
    struct { u32 vcpu, port; } b = {draw_vcpu(), 0};
    long result = op(BIND_IPI, &b);
    say("ipi on %u: %s", b.vcpu, result_text(result));
    if (!result) say(" %u", b.port);
  } else if (kind < 51) {
    struct { u32 pirq, flags, port; } b = {draw(300), draw(3), 0};
    say("pirq %u: %s", b.pirq, result_text(op(BIND_PIRQ, &b)));
  } else if (kind < 64) {
    u32 port = draw_port();
    say("close %u: %s", port, result_text(op(CLOSE, &port)));
  } else if (kind < 76) {
    u32 port = draw_port();
    say("send %u: %s", port, result_text(op(SEND, &port)));
  } else if (kind < 82) {
    struct { u32 port, vcpu; } b = {draw_port(), draw_vcpu()};
    say("vcpu of %u is %u: %s", b.port, b.vcpu, result_text(op(BIND_VCPU, &b)));
  } else if (kind < 90) {
    u32 port = draw_port();
    say("unmask %u: %s", port, result_text(op(UNMASK, &port)));
  } else if (kind < 95) {
    struct { u32 port, priority; } b = {draw_port(), draw(18)};
    say("priority of %u is %u: %s", b.port, b.priority, result_text(op(SET_PRIORITY, &b)));
  } else if (!fifo) {
    u32 port = 5 + draw(PORTS - 5);
    if (draw(2)) shared->evtchn_mask[0] ^= 1UL << port, say("mask of %u changed", port);
    else shared->evtchn_pending[0] &= ~(1UL << port), say("%u taken", port);
  } else {
    u32 port = 5 + draw(PORTS - 5), how = draw(3);
    if (how == 0) words[port] ^= MASKED, say("mask of %u changed", port);
    else if (how == 1) words[port] &= ~PENDING, say("%u taken", port);
    else words[port] &= ~LINKED, say("%u is linked no longer", port);
  }
}

static void two_level_told(void) {
  struct vcpu_info *v = shared->vcpu_info;
  u64 ports = (1UL << PORTS) - 32;
  say(", pending %lx, unmasked %lx", shared->evtchn_pending[0] & ports, ~shared->evtchn_mask[0] & ports);
  for (u32 i = 0; i < 2; i++) {
    if (v[i].evtchn_upcall_pending) say(", vcpu %u %lx", i, v[i].evtchn_pending_sel);
    v[i].evtchn_upcall_pending = 0, v[i].evtchn_pending_sel = 0;
  }
  say("\n");
}

static void words_told(void) {
  for (u32 port = 5; port < PORTS; port++) {
    u32 w = words[port];
    if (w == 0) continue;
    say(" %u=%s%s%s", port, w & PENDING ? "P" : "", w & MASKED ? "M" : "", w & LINKED ? "L" : "");
    if (w & 0x1ffff) say(">%u", w & 0x1ffff);
    if (w & 0x1ffe0000) say("?%x", w);
  }
  for (u32 i = 0; i < 2; i++) {
    volatile struct control *c = CONTROL(i);
    if (c->ready) say(", vcpu %u ready %x", i, c->ready);
    for (u32 q = 0; q < 16; q++)
      if (c->head[q] > 4) say(" q%u:%u", q, c->head[q]);
    if (shared->vcpu_info[i].evtchn_upcall_pending) say(" up");
    shared->vcpu_info[i].evtchn_upcall_pending = 0;
  }
  say("\n");
}

/* Takes the first event of the most urgent queue, as a kernel does. */
static void take_one(u32 vcpu) {
  volatile struct control *c = CONTROL(vcpu);
  for (u32 q = 0; q < 16; q++) {
    if (!(c->ready >> q & 1)) continue;
    u32 port = c->head[q];
    if (port == 0 || port >= 1024) {
      c->ready &= ~(1U << q);
      say("vcpu %u queue %u is empty", vcpu, q);
      return;
    }
    u32 next = words[port] & 0x1ffff;
    words[port] &= ~(LINKED | 0x1ffff);
    c->head[q] = next;
    if (!next) c->ready &= ~(1U << q);
    bool there = words[port] & PENDING && !(words[port] & MASKED);
    if (port < 5) say("vcpu %u took one of ours", vcpu);
    else say("vcpu %u took %u%s", vcpu, port, there ? "" : ", which is not there");
    if (there) words[port] &= ~PENDING;
    return;
  }
  say("vcpu %u has none", vcpu);
}

/* ---- to the FIFO ABI and back ---- */

static void init_controls(void) {
  struct { u64 gfn; u32 offset, vcpu; u8 link_bits, pad[7]; } cases[] = {
      {.gfn = va_to_mfn(control_page), .vcpu = 2}, {.gfn = va_to_mfn(control_page), .vcpu = 8192}, {.gfn = va_to_mfn(control_page), .offset = 4}, {.gfn = va_to_mfn(control_page), .offset = 4089},
      {.gfn = va_to_mfn(control_page), .offset = 4096}, {.gfn = va_to_mfn(control_page), .offset = 4032}, {.gfn = foreign}, {.gfn = ~0UL}, {.gfn = va_to_mfn((void *)start_info->pt_base)},
      {.gfn = va_to_mfn(control_page), .offset = 4028}, {.gfn = va_to_mfn(control_page), .offset = 0xfffffff8}, {.gfn = start_info->shared_info / PAGE_SIZE, .vcpu = 3}};
  for (u32 i = 0; i < ARRAY_SIZE(cases); i++) say("init_control %u: %s\n", i, result_text(op(INIT_CONTROL, &cases[i])));
}

static void to_fifo(void) {
  for (u32 vcpu = 0; vcpu < 2; vcpu++) {
    struct { u64 gfn; u32 offset, vcpu; u8 link_bits, pad[7]; } c = {.gfn = va_to_mfn(control_page), .offset = vcpu * 1024, .vcpu = vcpu};
    u64 none = va_to_mfn(words);
    if (!vcpu) say("expand_array before: %s\n", result_text(op(EXPAND_ARRAY, &none)));
    long result = op(INIT_CONTROL, &c);
    say("init_control of %u: %s, %u link bits", vcpu, result_text(result), c.link_bits);
    say(", again %s\n", result_text(op(INIT_CONTROL, &c)));
  }
  for (u32 port = 5; port < 12; port++) {
    struct { u32 port, priority; } p = {port, port};
    say("priority of %u before: %s", port, result_text(op(SET_PRIORITY, &p)));
    say(", unmask: %s", result_text(op(UNMASK, &port)));
    say(", send: %s\n", result_text(op(SEND, &port)));
  }
  u64 bad[] = {foreign, ~0UL, va_to_mfn((void *)start_info->pt_base), 0xa0, 0x7ffffffff};
  for (u32 i = 0; i < ARRAY_SIZE(bad); i++) say("expand_array %u: %s\n", i, result_text(op(EXPAND_ARRAY, &bad[i])));
  u64 good = va_to_mfn(words);
  for (u32 port = 0; port < 5; port++) words[port] = MASKED; /* Domain 0's notifications come when they will */
  say("expand_array: %s", result_text(op(EXPAND_ARRAY, &good)));
  words_told();
}

static void array_limit(void) {
  u64 page = va_to_mfn(more_words);
  u32 n = 0;
  long result;
  while (n < 300 && (result = op(EXPAND_ARRAY, &page)) == 0) n++;
  say("expand_array: %u more, then %s\n", n, result_text(result));
  say("as a table: %s\n", result_text(update_va_mapping(more_words, page * PAGE_SIZE | (DATA & ~PTE_RW), 6)));
  struct mmuext_op pin = {0, page, 0};
  say("pinned: %s\n", result_text(call(HC_mmuext_op, (u64)&pin, 1, 0, DOMID_SELF, 0)));
  update_va_mapping(more_words, page * PAGE_SIZE | DATA, 6);
}

/* Everything is closed; the console's port is bound again, and all else is new. */
static void reset(const char *when) {
  struct { u16 dom; } self = {DOMID_SELF};
  long result = op(RESET, &self);
  struct { u16 remote; u32 remote_port, port; } back = {0, console_remote, 0};
  long bound = op(BIND_INTERDOMAIN, &back);
  if (!bound) start_info->console_evtchn = back.port;
  say("reset %s: %s, console %s\n", when, result_text(result), result_text(bound));
  all_told("after it");
}

static void queues(u32 count) {
  for (u32 i = 0; i < count; i++) {
    if (draw(4) == 0) take_one(draw(2));
    else drawn_port(true);
    words_told();
  }
}

static void clear_words(void) {
  memset(words, 0, sizeof words), memset(control_page, 0, sizeof control_page);
  for (u32 i = 0; i < 2; i++) shared->vcpu_info[i].evtchn_upcall_pending = 0;
}

void section_fifo(u32 count) {
  struct status s = {.dom = DOMID_SELF, .port = start_info->console_evtchn};
  op(STATUS, &s);
  console_remote = s.u.remote.port;
  if (!count) count = 400;
  u32 third = count / 3;
  reset("at first");
  for (u32 i = 0; i < third; i++) drawn_port(false), two_level_told();
  all_told("2-level");
  init_controls();
  to_fifo();
  queues(third);
  all_told("FIFO");
  array_limit();
  queues(third / 4);
  reset("from FIFO");
  clear_words();
  for (u32 i = 0; i < third / 2; i++) drawn_port(false), two_level_told();
  to_fifo();
  queues(third / 2);
  reset("again");
  all_told("in the end");
}
