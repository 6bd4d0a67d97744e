/* A xenstore client over the ring shared with Domain 0: one request at a time, an answer found by its id, watch events
 * taken whenever they come. A store that does not answer in five seconds is called silent; its late answer is dropped. */
#include "kernel.h"

#define TIMEOUT_NS 5000000000UL
#define TOKEN "shutdown"

static struct xenstore_domain_interface *ring;
static u32 last_id;
static bool shutdown_fired;
static char payload[XENSTORE_PAYLOAD_MAX + 1];

static bool can_write(void) {
  return *(volatile u32 *)&ring->req_prod - *(volatile u32 *)&ring->req_cons < sizeof ring->req;
}
static bool can_read(void) { return *(volatile u32 *)&ring->rsp_prod != *(volatile u32 *)&ring->rsp_cons; }

bool xs_has_events(void) { return can_read() || shutdown_fired; }

static bool put(const void *from, u64 n, u64 deadline) {
  const char *bytes = from;
  while (n) {
    if (!can_write()) {
      port_notify(start_info->store_evtchn);
      if (!wait_until(can_write, deadline)) return false;
    }
    u32 prod = ring->req_prod;
    ring->req[prod % sizeof ring->req] = *bytes++;
    barrier();
    *(volatile u32 *)&ring->req_prod = prod + 1;
    n--;
  }
  return true;
}

/* A message that began will end: once its first byte is here the rest is waited for without a limit. */
static bool take(void *to, u64 n, u64 deadline) {
  char *bytes = to;
  while (n) {
    if (!can_read() && !wait_until(can_read, deadline)) return false;
    deadline = 0;
    u32 cons = ring->rsp_cons;
    *bytes++ = ring->rsp[cons % sizeof ring->rsp];
    barrier();
    *(volatile u32 *)&ring->rsp_cons = cons + 1;
    n--;
    if (*(volatile u32 *)&ring->rsp_prod - (cons + 1) == sizeof ring->rsp - 1) port_notify(start_info->store_evtchn);
  }
  return true;
}

static bool receive(struct xsd_sockmsg *header, u64 deadline) {
  if (!take(header, sizeof *header, deadline)) return false;
  u64 length = header->len < XENSTORE_PAYLOAD_MAX ? header->len : XENSTORE_PAYLOAD_MAX;
  take(payload, length, 0);
  payload[length] = 0;
  port_notify(start_info->store_evtchn);
  if (header->type == XS_WATCH_EVENT && streq(payload + strlen(payload) + 1, TOKEN)) shutdown_fired = true;
  return true;
}

/* The reply is copied as far as it fits and terminated; the length is its full one, or XS_SILENT or XS_REFUSED. */
static long request(u32 type, const void *body, u64 length, char *reply, u64 room) {
  struct xsd_sockmsg header = {type, ++last_id, 0, (u32)length};
  u64 deadline = now_ns() + TIMEOUT_NS;
  if (!put(&header, sizeof header, deadline) || !put(body, length, 0)) return XS_SILENT;
  port_notify(start_info->store_evtchn);
  do
    if (!receive(&header, deadline)) return XS_SILENT;
  while (header.type == XS_WATCH_EVENT || header.req_id != last_id);
  u64 kept = header.len < room - 1 ? header.len : room - 1;
  memcpy(reply, payload, kept);
  reply[kept] = 0;
  return header.type == XS_ERROR ? XS_REFUSED : (long)header.len;
}

long xs_directory(const char *path, char *reply, u64 room) {
  return request(XS_DIRECTORY, path, strlen(path) + 1, reply, room);
}

long xs_read(const char *path, char *reply, u64 room) {
  return request(XS_READ, path, strlen(path) + 1, reply, room);
}

long xs_write(const char *path, const char *value, char *reply, u64 room) {
  char body[512];
  u64 n = format(body, sizeof body, "%s", path) + 1;
  n += format(body + n, sizeof body - n, "%s", value);
  return request(XS_WRITE, body, n, reply, room);
}

void xs_watch_again(void) {
  static const char body[] = "control/shutdown\0" TOKEN;
  char reply[32];
  request(XS_WATCH, body, sizeof body, reply, sizeof reply);
}

void xs_init(void) {
  ring = pfn_to_va(mfn_to_pfn(start_info->store_mfn));
  xs_watch_again();
  static const char *const can[] = {"control/feature-poweroff", "control/feature-reboot", "control/feature-suspend"};
  char reply[32];
  for (u64 i = 0; i < ARRAY_SIZE(can); i++) xs_write(can[i], "1", reply, sizeof reply);
}

static bool act_on_shutdown(void) {
  char why[32], reply[32];
  if (xs_read("control/shutdown", why, sizeof why) <= 0) return false; /* a watch fires once as it is set */
  xs_write("control/shutdown", "", reply, sizeof reply); /* taken: the toolstack waits for this */
  print("\ncontrol/shutdown: %s\n", why);
  if (streq(why, "poweroff") || streq(why, "halt")) shutdown(SHUTDOWN_poweroff);
  if (streq(why, "reboot")) shutdown(SHUTDOWN_reboot);
  if (streq(why, "crash")) shutdown(SHUTDOWN_crash);
  if (streq(why, "suspend")) suspend();
  else print("I do not know how to do that.\n");
  return true;
}

bool xs_poll(void) {
  struct xsd_sockmsg header;
  bool acted = false;
  while (can_read()) receive(&header, 0);
  while (shutdown_fired) {
    shutdown_fired = false;
    acted |= act_on_shutdown();
  }
  return acted;
}
