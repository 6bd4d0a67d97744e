/* The console: the xencons ring, shared with Domain 0. `\n` goes out as `\r\n`. A full ring makes the writer sleep
 * until the other side has taken something. */
#include "kernel.h"

static struct xencons_interface *ring;

void console_init(void) {
  ring = pfn_to_va(mfn_to_pfn(start_info->console_mfn));
}

static bool has_room(void) {
  return *(volatile u32 *)&ring->out_prod - *(volatile u32 *)&ring->out_cons < sizeof ring->out;
}

static void put_raw(const char *bytes, u64 n) {
  while (n) {
    if (!has_room()) {
      port_notify(start_info->console_evtchn);
      wait_until(has_room, 0);
    }
    u32 prod = ring->out_prod;
    u32 room = (u32)sizeof ring->out - (prod - *(volatile u32 *)&ring->out_cons);
    for (; room && n; room--, n--) ring->out[prod++ % sizeof ring->out] = *bytes++;
    barrier(); /* the bytes before the index: x86 keeps the order of stores */
    *(volatile u32 *)&ring->out_prod = prod;
  }
}

void console_write(const char *bytes, u64 n) {
  while (n) {
    u64 run = 0;
    while (run < n && bytes[run] != '\n') run++;
    put_raw(bytes, run);
    if (run < n) put_raw("\r\n", 2), run++;
    bytes += run;
    n -= run;
  }
  port_notify(start_info->console_evtchn);
}

void print(const char *format, ...) {
  char line[512];
  va_list args;
  __builtin_va_start(args, format);
  u64 n = vformat(line, sizeof line, format, args);
  __builtin_va_end(args);
  console_write(line, n);
}

bool console_has_input(void) {
  return *(volatile u32 *)&ring->in_prod != ring->in_cons;
}

int console_getc(void) {
  if (!console_has_input()) return -1;
  u32 cons = ring->in_cons;
  int c = (u8)ring->in[cons % sizeof ring->in];
  barrier();
  *(volatile u32 *)&ring->in_cons = cons + 1;
  if (!console_has_input()) port_notify(start_info->console_evtchn);
  return c;
}

bool console_interrupted(void) {
  bool interrupted = false;
  for (int c; (c = console_getc()) >= 0;) interrupted |= c == 3;
  return interrupted;
}
