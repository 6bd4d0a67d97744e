/* Two of these share a page by a grant. The command line says which of the two this is:
 *
 *   offer DOMID COUNT   grants domain DOMID some pages, prints `ready`, and talks over one of them
 *   use DOMID COUNT     shows what grant operations on those pages answer, a line each, and then talks
 *
 * To talk is to send COUNT messages each way through two rings in the page, with nothing but loads and stores: whoever finds nothing to do
 * yields. Both ends check what they got, message by message. Nothing that differs from host to host is shown. */
#include "kernel.h"

#define HC_grant_table_op 20
enum { MAP, UNMAP, SETUP, DUMP, TRANSFER, COPY, QUERY_SIZE, UNMAP_AND_REPLACE, SET_VERSION, GET_STATUS_FRAMES, GET_VERSION, SWAP, CACHE_FLUSH };
enum { DEVICE_MAP = 1, HOST_MAP = 2, READONLY = 4, APPLICATION_MAP = 8, CONTAINS_PTE = 16 };
enum { PERMIT = 1, ACCEPT_TRANSFER = 2, TRANSITIVE = 3, GTF_READONLY = 4, SUB_PAGE = 0x100 };
enum { RING = 8, RO = 9, NOT = 10, OTHERS = 11, TABLE = 12, FIRST_PLAIN = 16 };
#define SCHEDOP_yield 0
#define DATA (PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D)
#define NOT_MAPPED 0x1000UL

struct grant_entry_v1 { u16 flags, domid; u32 frame; };
struct grant_entry_v2 { u16 flags, domid, offset, length; u64 frame; };
struct map_op { u64 host_addr; u32 flags, ref; u16 dom; short status; u32 handle; u64 bus; };
struct unmap_op { u64 host_addr, bus; u32 handle; short status; };
struct replace_op { u64 host_addr, new_addr; u32 handle; short status; };
struct setup_op { u16 dom; u32 frames; short status; u64 *list; };
struct query_op { u16 dom; u32 frames, max; short status; };
struct copy_ptr { u64 u; u16 domid, offset; };
struct copy_op { struct copy_ptr source, dest; u16 len, flags; short status; };
struct transfer_op { u64 mfn; u16 domid; u32 ref; short status; };
struct swap_op { u32 a, b; short status; };
struct flush_op { u64 bus; u16 offset, length; u32 op; };
struct status_op { u32 frames; u16 dom; short status; u64 *list; };
struct get_version_op { u16 dom, pad; u32 version; };

#define SLOTS 64
struct way { volatile u32 head; u32 pad0[15]; volatile u32 tail; u32 pad1[15]; volatile u64 slot[SLOTS]; };
struct ring { struct way there, back; volatile u32 asked, done; };

static PAGES u64 window[512], window2[512], ring_page[512], plain[512], table_window[512], given[512], spare[512];
static u16 peer;

static long op(u32 command, void *array, u32 count) { return hypercall3(HC_grant_table_op, command, (u64)array, count); }

static void fail(const char *what, long result) {
  print("failed: %s %s\n", what, errno_name(result));
  shutdown(SHUTDOWN_crash);
}
static void answer(const char *what, long status) { print("%-58s %ld\n", what, status); }
static void result(const char *what, long rc) { print("%-58s %s\n", what, errno_name(rc)); }

/* Talking. */

static u64 next(u64 *state) { return *state = *state * 6364136223846793005UL + 1442695040888963407UL; }

static void talk(struct way *out, struct way *in, u64 out_seed, u64 in_seed, u64 count) {
  u64 sent = 0, received = 0, checksum = 0;
  while (sent < count || received < count) {
    bool idle = true;
    while (sent < count && (u32)sent - out->tail < SLOTS) {
      out->slot[sent % SLOTS] = next(&out_seed);
      barrier();
      out->head = (u32)++sent;
      idle = false;
    }
    while (received < count && in->head != (u32)received) {
      barrier();
      u64 message = in->slot[received % SLOTS];
      if (message != next(&in_seed)) fail("a message is not what was sent", (long)received);
      checksum = checksum * 31 + message;
      barrier();
      in->tail = (u32)++received;
      idle = false;
    }
    if (idle) sched_op(SCHEDOP_yield, NULL);
  }
  print("%lu messages each way, checksum %016lx\n", count, checksum);
}

/* The table. */

static struct grant_entry_v1 *own_table(void) {
  static u64 list[1];
  struct setup_op setup = {DOMID_SELF, 1, 0, list};
  long rc = op(SETUP, &setup, 1);
  if (rc || setup.status) fail("setup_table", rc ? rc : setup.status);
  rc = update_va_mapping(table_window, list[0] * PAGE_SIZE | DATA, UVMF_INVLPG);
  if (rc) fail("mapping the table", rc);
  return (void *)table_window;
}

static void give(struct grant_entry_v1 *table, u32 ref, u16 domid, u64 mfn, u16 flags) {
  table[ref].domid = domid;
  table[ref].frame = (u32)mfn;
  barrier();
  table[ref].flags = flags;
}

static void offer(u64 count) {
  struct grant_entry_v1 *table = own_table();
  struct ring *ring = (void *)ring_page;
  memset(ring_page, 0, PAGE_SIZE);
  for (u32 i = 0; i < 512; i++) plain[i] = i;
  give(table, RING, peer, va_to_mfn(ring_page), PERMIT);
  give(table, RO, peer, va_to_mfn(plain), PERMIT | GTF_READONLY);
  give(table, NOT, peer, va_to_mfn(plain), 0);
  give(table, OTHERS, 0x7000, va_to_mfn(plain), PERMIT);
  give(table, TABLE, peer, machine_address(pte_of(plain, 1)) / PAGE_SIZE, PERMIT);
  print("ready\n");
  while (!ring->asked) sched_op(SCHEDOP_yield, NULL);
  print("flags while it is mapped: %x, read-only %x\n", table[RING].flags, table[RO].flags);
  ring->asked = 0;
  talk(&ring->there, &ring->back, 1, 2, count);
  while (!ring->done) sched_op(SCHEDOP_yield, NULL);
  /* The peer has overwritten an entry of the ring's: that handle is its own until it dies, and the grant in use. */
  print("flags when all is unmapped but for what was overwritten: %x, read-only %x\n", table[RING].flags, table[RO].flags);
  print("the end\n");
}

/* Questions. */

static struct map_op last;
static long map(u16 dom, u32 ref, u64 address, u32 flags) {
  struct map_op m = {.host_addr = address, .flags = flags, .ref = ref, .dom = dom, .status = 99};
  long rc = op(MAP, &m, 1);
  if (rc) fail("map_grant_ref", rc);
  last = m;
  return m.status;
}
static long unmap(u32 handle, u64 address, u64 bus) {
  struct unmap_op u = {address, bus, handle, 99};
  long rc = op(UNMAP, &u, 1);
  if (rc) fail("unmap_grant_ref", rc);
  return u.status;
}
static long replace(u32 handle, u64 address, u64 new_address) {
  struct replace_op r = {address, new_address, handle, 99};
  long rc = op(UNMAP_AND_REPLACE, &r, 1);
  if (rc) fail("unmap_and_replace", rc);
  return r.status;
}
static void show_entry(const char *what) {
  u64 entry = *pte_of(window, 1);
  print("%-58s flags %016lx\n", what, entry & ~PTE_FRAME);
}
static long copy(u16 from, u64 source, u16 source_offset, u16 to, u64 dest, u16 dest_offset, u16 length, u16 flags) {
  struct copy_op c = {{source, from, source_offset}, {dest, to, dest_offset}, length, flags, 99};
  long rc = op(COPY, &c, 1);
  if (rc) fail("copy", rc);
  return c.status;
}
static u64 w(void) { return (u64)window; }
static void window_back(void) { update_va_mapping(window, va_to_mfn(window) * PAGE_SIZE | DATA, UVMF_INVLPG); }

static void maps(void) {
  u64 value;
  print("# map_grant_ref\n");
  answer("neither host nor device", map(peer, RING, w(), 0));
  answer("of nobody", map(999, RING, w(), HOST_MAP));
  answer("of DOMID_SELF", map(DOMID_SELF, RING, w(), HOST_MAP));
  answer("a reference beyond the table", map(peer, 1000000, w(), HOST_MAP));
  answer("what is not granted", map(peer, NOT, w(), HOST_MAP));
  answer("what is granted to another", map(peer, OTHERS, w(), HOST_MAP));
  answer("for writing what is granted for reading", map(peer, RO, w(), HOST_MAP));
  answer("a page table, for writing", map(peer, TABLE, w(), HOST_MAP));
  answer("at an address without a page table", map(peer, RING, NOT_MAPPED, HOST_MAP));
  answer("at an address of Xen's", map(peer, RING, 0xffff800000000000UL, HOST_MAP));
  answer("at an address that is none", map(peer, RING, 0x8000000000000000UL, HOST_MAP));
  answer("by an entry's address that is not aligned", map(peer, RING, machine_address(pte_of(window, 1)) + 4, HOST_MAP | CONTAINS_PTE));
  answer("by the address of no entry", map(peer, RING, va_to_mfn(spare) * PAGE_SIZE, HOST_MAP | CONTAINS_PTE));
  answer("by an address of no memory", map(peer, RING, 1UL << 50, HOST_MAP | CONTAINS_PTE));
  answer("for reading", map(peer, RO, w(), HOST_MAP | READONLY));
  show_entry("its entry");
  print("%-58s %s\n", "its content", probe_read(&window[7], &value) ? "faults" : value == 7 ? "is right" : "is wrong");
  print("%-58s %s\n", "a store to it", probe_write(&window[7], 1) ? "faults" : "is done");
  print("%-58s %lx\n", "with error", probe_fault.error);
  result("a hypercall that writes to it", xen_version(3, window));
  u32 handle = last.handle;
  answer("  unmapped at another address", unmap(handle, (u64)window2, 0));
  answer("  unmapped by a bus address that is none", unmap(handle, 0, PAGE_SIZE));
  answer("  unmapped at no address", unmap(handle, 0, 0));
  answer("  unmapped", unmap(handle, w(), 0));
  answer("  unmapped again", unmap(handle, w(), 0));
  answer("a handle that never was", unmap(123456, w(), 0));
  show_entry("its entry then");
  print("%-58s %s\n", "a load from it", probe_read(&window[7], &value) ? "faults" : "is done");
  answer("for an application, with bits of one's own", map(peer, RING, w(), HOST_MAP | APPLICATION_MAP | 5 << 16));
  show_entry("its entry");
  answer("  unmapped", unmap(last.handle, w(), 0));
  answer("by an entry's address", map(peer, RING, machine_address(pte_of(window, 1)), HOST_MAP | CONTAINS_PTE));
  show_entry("its entry");
  answer("  unmapped by its virtual address", unmap(last.handle, w(), 0));
  answer("  unmapped", unmap(last.handle, machine_address(pte_of(window, 1)), 0));
  answer("for a device", map(peer, RING, 0, DEVICE_MAP));
  answer("  unmapped without its bus address", unmap(last.handle, w(), 0));
  answer("  unmapped by a wrong bus address", unmap(last.handle, 0, PAGE_SIZE));
  answer("  unmapped", unmap(last.handle, 0, last.bus));
  answer("for both", map(peer, RING, w(), HOST_MAP | DEVICE_MAP));
  answer("  unmapped for the host", unmap(last.handle, w(), 0));
  answer("  unmapped for the host again", unmap(last.handle, w(), 0));
  answer("  unmapped for the device", unmap(last.handle, 0, last.bus));
  answer("  unmapped again", unmap(last.handle, 0, last.bus));
}

static void entries(void) {
  print("# entries of granted frames\n");
  answer("map", map(peer, RING, w(), HOST_MAP));
  u64 entry = *pte_of(window, 1);
  result("copied to another address", update_va_mapping(window2, entry, UVMF_INVLPG));
  result("copied read-only", update_va_mapping(window2, entry & ~PTE_RW, UVMF_INVLPG));
  result("the same again, not accessed", update_va_mapping(window, entry & ~(PTE_A | PTE_D), UVMF_INVLPG));
  show_entry("its entry then");
  result("the same, read-only", update_va_mapping(window, entry & ~PTE_RW, UVMF_INVLPG));
  result("overwritten by one's own frame", update_va_mapping(window, va_to_mfn(window) * PAGE_SIZE | DATA, UVMF_INVLPG));
  answer("  unmapped", unmap(last.handle, w(), 0));
  answer("mapped again", map(peer, RING, w(), HOST_MAP));
  answer("  unmapped by the new handle", unmap(last.handle, w(), 0));
  window_back();
  answer("map", map(peer, RING, w(), HOST_MAP));
  answer("  replaced by an entry that is not there", replace(last.handle, w(), NOT_MAPPED));
  answer("  replaced by another page", replace(last.handle, w(), (u64)window2));
  print("%-58s %s\n", "its entry then", (*pte_of(window, 1) & PTE_FRAME) == va_to_mfn(window2) * PAGE_SIZE ? "is the other's" : "is another");
  print("%-58s %lx\n", "the other's entry", *pte_of(window2, 1));
  update_va_mapping(window2, va_to_mfn(window2) * PAGE_SIZE | DATA, UVMF_INVLPG);
  window_back();
  answer("map", map(peer, RING, machine_address(pte_of(window, 1)), HOST_MAP | CONTAINS_PTE));
  answer("  replaced", replace(last.handle, machine_address(pte_of(window, 1)), (u64)window2));
  answer("  replaced by nothing", replace(last.handle, machine_address(pte_of(window, 1)), 0));
  window_back();
  u32 n = 0;
  static u32 handles[1024];
  static PAGES u64 space[512];
  u64 bus = 0;
  while (n < ARRAY_SIZE(handles) && !map(peer, RO, 0, DEVICE_MAP | READONLY)) handles[n++] = last.handle, bus = last.bus;
  print("%-58s %u, then %d\n", "one reference, mapped for a device", n, last.status);
  answer("  and for the host", map(peer, RO, (u64)space, HOST_MAP | READONLY));
  if (!last.status) unmap(last.handle, (u64)space, 0);
  for (u32 i = 0; i < n; i++) {
    struct unmap_op u = {0, bus, handles[i], 99};
    op(UNMAP, &u, 1);
    if (u.status) fail("unmapping", u.status);
  }
}

static void copies(void) {
  u64 mine = va_to_mfn(spare);
  print("# copy\n");
  answer("out of a grant", copy(peer, RO, 8, DOMID_SELF, mine, 0, 16, 1));
  print("%-58s %lu %lu\n", "what came", spare[0], spare[1]);
  answer("into one for reading", copy(DOMID_SELF, mine, 0, peer, RO, 0, 8, 2));
  answer("of what is not granted", copy(peer, NOT, 0, DOMID_SELF, mine, 0, 8, 1));
  answer("beyond the page", copy(peer, RO, 4090, DOMID_SELF, mine, 0, 8, 1));
  answer("of what is not granted, beyond the page", copy(peer, NOT, 4090, DOMID_SELF, mine, 0, 8, 1));
  answer("of another's frame by number", copy(peer, mine, 0, DOMID_SELF, mine, 0, 8, 0));
  answer("of nobody", copy(999, RO, 0, DOMID_SELF, mine, 0, 8, 1));
  answer("into a page table", copy(DOMID_SELF, mine, 0, DOMID_SELF, machine_address(pte_of(spare, 1)) / PAGE_SIZE, 0, 8, 0));
  answer("out of one", copy(DOMID_SELF, machine_address(pte_of(spare, 1)) / PAGE_SIZE, 0, DOMID_SELF, mine, 0, 8, 0));
  answer("to no frame", copy(DOMID_SELF, mine, 0, DOMID_SELF, 1UL << 40, 0, 8, 0));
  answer("of a grant to a grant", copy(peer, RO, 8, peer, RING, 4000, 16, 3));
  answer("of nothing", copy(peer, RO, 0, DOMID_SELF, mine, 0, 0, 1));
}

static void table_calls(void) {
  static u64 list[64];
  struct query_op query = {DOMID_SELF, 0, 0, 99};
  struct setup_op setup = {DOMID_SELF, 1000, 99, list};
  struct swap_op swap = {20, 21, 99};
  struct transfer_op transfer = {va_to_mfn(given), peer, 30, 99};
  struct status_op status = {1, DOMID_SELF, 99, list};
  struct get_version_op version = {DOMID_SELF, 0, 0};
  u32 wanted;
  print("# the table\n");
  result("query_size", op(QUERY_SIZE, &query, 1));
  print("%-58s %d, %u frames, at most %u\n", "its answer", query.status, query.frames, query.max);
  result("query_size of two", op(QUERY_SIZE, &query, 2));
  query.dom = peer;
  op(QUERY_SIZE, &query, 1);
  answer("query_size of another's", query.status);
  query.dom = 999;
  op(QUERY_SIZE, &query, 1);
  answer("query_size of nobody's", query.status);
  op(SETUP, &setup, 1);
  answer("setup_table beyond the most", setup.status);
  setup = (struct setup_op){DOMID_SELF, 1, 99, (u64 *)0xffff800000000000UL};
  result("setup_table with a list in Xen's range", op(SETUP, &setup, 1));
  setup = (struct setup_op){DOMID_SELF, 1, 99, (u64 *)NOT_MAPPED};
  result("setup_table with a list that is not mapped", op(SETUP, &setup, 1));
  answer("  its answer", setup.status);
  struct grant_entry_v1 *table = own_table();
  give(table, 20, 7, 0x1234, PERMIT);
  give(table, 21, 8, 0x5678, PERMIT | GTF_READONLY);
  op(SWAP, &swap, 1);
  answer("swap_grant_ref", swap.status);
  print("%-58s %x %u %x, %x %u %x\n", "the entries", table[20].flags, table[20].domid, table[20].frame, table[21].flags, table[21].domid, table[21].frame);
  swap.b = 100000;
  op(SWAP, &swap, 1);
  answer("swap_grant_ref beyond the table", swap.status);
  result("dump_table", op(DUMP, &query, 1));
  result("a sub-operation that is none", op(13, &query, 1));
  result("one with bits above", op(QUERY_SIZE | 0x1000, &query, 1));
  result("a negative count", op(QUERY_SIZE, &query, 0x80000000));
  result("maps at an address of Xen's", op(MAP, (void *)0xffff800000000000UL, 1));
  result("maps at an address that is not mapped", op(MAP, (void *)NOT_MAPPED, 1));
  result("no maps at all", op(MAP, &query, 0));
  op(TRANSFER, &transfer, 1);
  answer("transfer of a page that is mapped", transfer.status);
  transfer.mfn = 1UL << 40;
  op(TRANSFER, &transfer, 1);
  answer("transfer of no frame", transfer.status);
  update_va_mapping(given, 0, UVMF_INVLPG);
  transfer.mfn = pfn_to_mfn(va_to_pfn(given));
  op(TRANSFER, &transfer, 1);
  answer("transfer to who does not take it", transfer.status);
  op(TRANSFER, &transfer, 1);
  answer("  and again", transfer.status);

  print("# cache_flush\n");
  struct flush_op flush = {va_to_mfn(spare) * PAGE_SIZE, 0, 64, 1};
  result("clean one's own", op(CACHE_FLUSH, &flush, 1));
  flush.op = 2;
  result("invalidate", op(CACHE_FLUSH, &flush, 1));
  flush.op = 3;
  result("both", op(CACHE_FLUSH, &flush, 1));
  flush.op = 4;
  result("something else", op(CACHE_FLUSH, &flush, 1));
  flush.op = 0x80000001;
  result("by a reference", op(CACHE_FLUSH, &flush, 1));
  flush = (struct flush_op){va_to_mfn(spare) * PAGE_SIZE, 4000, 200, 1};
  result("beyond the page", op(CACHE_FLUSH, &flush, 1));
  flush = (struct flush_op){1UL << 50, 0, 0, 1};
  result("nothing", op(CACHE_FLUSH, &flush, 1));
  flush.length = 8;
  result("no frame", op(CACHE_FLUSH, &flush, 1));

  print("# versions\n");
  result("get_status_frames in version 1", op(GET_STATUS_FRAMES, &status, 1));
  answer("  its answer", status.status);
  wanted = 3;
  result("set_version 3", op(SET_VERSION, &wanted, 1));
  print("%-58s %u\n", "  in force", wanted);
  wanted = 2;
  result("set_version 2", op(SET_VERSION, &wanted, 1));
  print("%-58s %u\n", "  in force", wanted);
  result("get_version", op(GET_VERSION, &version, 1));
  print("%-58s %u\n", "  its answer", version.version);
  version.dom = peer;
  result("get_version of another's", op(GET_VERSION, &version, 1));
  result("get_status_frames", op(GET_STATUS_FRAMES, &status, 1));
  answer("  its answer", status.status);
  status.frames = 9;
  op(GET_STATUS_FRAMES, &status, 1);
  answer("get_status_frames beyond", status.status);
  struct grant_entry_v2 *v2 = (void *)table_window;
  print("%-58s %x %u\n", "an entry of version 1, then", v2[20].flags, v2[20].domid);
  /* A grant to oneself, of a part of a page. */
  u16 me = (u16)own_domid;
  v2[20] = (struct grant_entry_v2){PERMIT | SUB_PAGE, me, 8, 16, va_to_mfn(plain)};
  for (u32 i = 0; i < 512; i++) plain[i] = i;
  answer("copy of the granted part", copy(me, 20, 8, DOMID_SELF, va_to_mfn(spare), 0, 16, 1));
  print("%-58s %lu %lu\n", "what came", spare[0], spare[1]);
  answer("copy of more", copy(me, 20, 8, DOMID_SELF, va_to_mfn(spare), 0, 24, 1));
  answer("copy of what lies before", copy(me, 20, 0, DOMID_SELF, va_to_mfn(spare), 0, 8, 1));
  answer("map of a part", map(me, 20, w(), HOST_MAP | READONLY));
  v2[21] = (struct grant_entry_v2){PERMIT, me, 0, 0, va_to_mfn(plain)};
  answer("map of one's own page", map(me, 21, w(), HOST_MAP));
  u32 handle = last.handle;
  print("%-58s %s\n", "the bus address", last.bus == va_to_mfn(plain) * PAGE_SIZE ? "is the page's" : "is another");
  wanted = 1;
  result("set_version 1 meanwhile", op(SET_VERSION, &wanted, 1));
  print("%-58s %u\n", "  in force", wanted);
  swap.a = 21, swap.b = 22;
  op(SWAP, &swap, 1);
  answer("swap meanwhile", swap.status);
  answer("  unmapped", unmap(handle, w(), 0));
  window_back();
  /* Passed on: what the peer grants for reading, granted to oneself. */
  v2[22].flags = 0, v2[22].domid = me, *(u16 *)((char *)&v2[22] + 4) = peer, *(u32 *)((char *)&v2[22] + 8) = RO;
  barrier();
  v2[22].flags = TRANSITIVE;
  answer("copy of a grant passed on", copy(me, 22, 16, DOMID_SELF, va_to_mfn(spare), 0, 8, 1));
  print("%-58s %lu\n", "what came", spare[0]);
  answer("copy into it", copy(DOMID_SELF, va_to_mfn(spare), 0, me, 22, 16, 8, 2));
  *(u16 *)((char *)&v2[22] + 4) = me;
  answer("one that passes on one's own", copy(me, 22, 16, DOMID_SELF, va_to_mfn(spare), 0, 8, 1));
  *(u16 *)((char *)&v2[22] + 4) = 999;
  answer("one of nobody", copy(me, 22, 16, DOMID_SELF, va_to_mfn(spare), 0, 8, 1));
  v2[22].flags = 0;
  wanted = 1;
  result("set_version 1", op(SET_VERSION, &wanted, 1));
  print("%-58s %u\n", "  in force", wanted);
}

static void use(u64 count) {
  maps();
  entries();
  copies();
  table_calls();
  print("# talking\n");
  if (map(peer, RING, w(), HOST_MAP)) fail("mapping the ring", last.status);
  u32 handle = last.handle;
  if (map(peer, RO, (u64)window2, HOST_MAP | READONLY)) fail("mapping the other", last.status);
  struct ring *ring = (void *)window;
  ring->asked = 1;
  while (ring->asked) sched_op(SCHEDOP_yield, NULL);
  answer("  unmapped", unmap(last.handle, (u64)window2, 0));
  talk(&ring->back, &ring->there, 2, 1, count);
  ring->done = 1;
  answer("  unmapped", unmap(handle, w(), 0));
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
  char *word[4], domid[16];
  u64 number[2], own;
  memory_init(info);
  traps_init();
  console_init();
  time_init();
  events_init();
  xs_init();
  memcpy(line, info->cmd_line, sizeof line - 1);
  u32 n = words(line, word, ARRAY_SIZE(word));
  bool right = n == 3 && parse_u64(word[1], &number[0]) && parse_u64(word[2], &number[1]);
  if (xs_read("domid", domid, sizeof domid) <= 0 || !parse_u64(domid, &own)) fail("reading domid", 0);
  own_domid = (u32)own;
  peer = (u16)number[0];
  if (right && streq(word[0], "offer")) offer(number[1]);
  else if (right && streq(word[0], "use")) use(number[1]);
  else print("failed: the command line is neither `offer DOMID COUNT` nor `use DOMID COUNT`\n");
  for (;;) sched_op(SCHEDOP_block, NULL);
}

/* What the demo kernel's parts expect of the rest of it. */
u32 own_domid;
void learn_identity(void) {}
void secondary_main(void) {}
