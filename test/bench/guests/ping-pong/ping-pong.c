/* Two of these pass an event to and fro over one interdomain channel. The command line says which of the two this is:
 *
 *   listen DOMID              offers domain DOMID a port, prints `port N`, and answers each event by one, for ever
 *   ping DOMID PORT COUNT     binds that port; measures COUNT round trips, RUNS times: `COUNT round trips, T ns, E ns each`
 *
 * The port stays masked: whoever waits does so in SCHEDOP_poll, and no upcall is part of what is measured. */
#include "kernel.h"

#define SCHEDOP_poll 3
#define RUNS 5
#define WARM_UP 2000

struct sched_poll { u32 *ports; u32 nr_ports; u64 timeout; /* system time in ns; 0: none */ };

static u32 port;

static void fail(const char *what, long result) {
  print("failed: %s %s\n", what, errno_name(result));
  shutdown(SHUTDOWN_crash);
}

/* Sleeps until an event is there, and takes it. The hypervisor looks at the pending bit too: no event is slept through. */
static void await_event(void) {
  struct sched_poll poll = {&port, 1, 0};
  u64 *word = &shared->evtchn_pending[port / 64], bit = 1UL << port % 64;
  while (!(__atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST) & bit)) {
    long result = sched_op(SCHEDOP_poll, &poll);
    if (result) fail("SCHEDOP_poll", result);
  }
}

static void listen(u64 peer) {
  struct evtchn_alloc_unbound offer = {DOMID_SELF, (u16)peer, 0};
  long result = evtchn_op(EVTCHNOP_alloc_unbound, &offer);
  if (result) fail("EVTCHNOP_alloc_unbound", result);
  port = offer.port;
  print("port %u\n", port);
  for (;;) {
    await_event();
    port_notify(port);
  }
}

static u64 round_trips(u64 count) {
  u64 began = now_ns();
  for (u64 i = 0; i < count; i++) {
    port_notify(port);
    await_event();
  }
  return now_ns() - began;
}

static void ping(u64 peer, u64 remote_port, u64 count) {
  struct evtchn_bind_interdomain bind = {(u16)peer, (u32)remote_port, 0};
  long result = evtchn_op(EVTCHNOP_bind_interdomain, &bind);
  if (result) fail("EVTCHNOP_bind_interdomain", result);
  port = bind.local_port;
  await_event(); /* binding raises one */
  round_trips(WARM_UP);
  for (u32 run = 0; run < RUNS; run++) {
    u64 ns = round_trips(count);
    print("%lu round trips, %lu ns, %lu ns each\n", count, ns, ns / count);
  }
  print("the end\n");
}

/* Splits the command line at its spaces; how many words there are, `room` at most. */
static u32 words(char *line, char **word, u32 room) {
  u32 n = 0;
  while (n < room) {
    while (*line == ' ') *line++ = 0;
    if (!*line) break;
    word[n++] = line;
    while (*line && *line != ' ') line++;
  }
  return n;
}

void kernel_main(struct start_info *info) {
  static char line[sizeof info->cmd_line];
  char *word[5];
  u64 number[3];
  memory_init(info);
  traps_init();
  console_init();
  time_init();
  events_init();
  memcpy(line, info->cmd_line, sizeof line - 1);
  u32 n = words(line, word, ARRAY_SIZE(word));
  bool numbers = n >= 2 && n <= 4;
  for (u32 i = 1; numbers && i < n; i++) numbers = parse_u64(word[i], &number[i - 1]);
  if (numbers && n == 2 && streq(word[0], "listen")) listen(number[0]);
  else if (numbers && n == 4 && number[2] > 0 && streq(word[0], "ping")) ping(number[0], number[1], number[2]);
  else print("failed: the command line is neither `listen DOMID` nor `ping DOMID PORT COUNT`\n");
  for (;;) sched_op(SCHEDOP_block, NULL);
}

/* What the demo kernel's parts expect of the rest of it. */
u32 own_domid;
void learn_identity(void) {}
void secondary_main(void) {}
