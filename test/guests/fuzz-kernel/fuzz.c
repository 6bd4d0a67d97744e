/* A guest that does everything wrong, for ever, from the seed on its command line: `MODE SEED`.
 *
 *   calls      hypercalls with arguments that mean something, or nearly: frames of its own that may become page tables, ports, addresses
 *   code       instructions that trap, are emulated or reach what the hypervisor keeps, with registers at random
 *   xenstore   requests to xenstore, well formed or not
 *   storm      events to Domain 0 as fast as they go
 *   all        a little of each
 *
 * It tries on sacrificial pages and leaves the pages that it lives in alone, so that it lives long; when it has killed itself all the same,
 * it is as good as a guest that crashes. Every ROUND tries it says so: `round N, M of K answered 0 or more`. */
#include "kernel.h"

#define ROUND 2000
#define SACRIFICED 48
#define XENMEM_OPS 29
#define SCHEDOP_poll 3

/* What the tries are made on. Pages, so that each has a frame of its own. */
static PAGES u8 sacrificed[SACRIFICED][PAGE_SIZE];
/* Arguments of hypercalls. */
static PAGES u64 arguments[8][PAGE_SIZE / 8];
PAGES u8 code_page[PAGE_SIZE];

static u64 state;
static u64 answered, tried;

/* xorshift64*: the same on every host. */
static u64 random64(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dUL;
}
static u64 below(u64 bound) { return (random64() >> 16) % bound; }
static bool chance(u32 percent) { return below(100) < percent; }

static u64 edge(void) {
  static const u64 edges[] = {0, 1, 2, 0x7f, 0xfff, 0x1000, 0x7fffffff, 0xffffffff, 1UL << 47, ~0UL, 1UL << 63, MACH2PHYS_VIRT_START};
  return chance(70) ? edges[below(ARRAY_SIZE(edges))] : random64() >> below(64);
}

static u64 sacrificed_mfn(void) { return va_to_mfn(sacrificed[below(SACRIFICED)]); }

/* A frame: mostly one that may be lost; now and then one of the tables that we run on, of Xen's, of nobody's. */
static u64 any_mfn(void) {
  switch (below(20)) {
    case 0: return va_to_mfn((void *)start_info->pt_base);
    case 1: return start_info->shared_info / PAGE_SIZE + below(8);
    case 2: return mfn_to_pfn(sacrificed_mfn()) + below(4096);
    case 3: return edge();
    default: return sacrificed_mfn();
  }
}

static u64 any_entry(void) {
  static const u64 flags[] = {0x67, 0x65, 0x27, 0x25, 0x5, 0x7, 0x1, 0x3, 0, 0xe7, 0x165, 0x1f};
  if (chance(15)) return 0;
  if (chance(3)) return edge();
  return any_mfn() * PAGE_SIZE | flags[below(ARRAY_SIZE(flags))] | (chance(10) ? 1UL << 63 : 0);
}

static u64 any_va(void) {
  switch (below(12)) {
    case 0: return edge();
    case 1: return MACH2PHYS_VIRT_START + below(1 << 20);
    case 2: return (u64)arguments[7] + PAGE_SIZE - below(32);
    case 3: case 4: return (u64)sacrificed[below(SACRIFICED)] + below(PAGE_SIZE);
    case 5: return 0xffff880000000000UL + below(1UL << 40);
    default: return (u64)arguments[below(8)] + below(512) * 8;
  }
}

static u64 any_domid(void) {
  static const u16 domids[] = {DOMID_SELF, DOMID_SELF, DOMID_SELF, 0, 1, 2, 3, 4, 5, 0x7ff1, 0x7ff2, 0x7ff4, 999};
  return domids[below(ARRAY_SIZE(domids))];
}

static u64 any_word(void) {
  switch (below(10)) {
    case 0: return any_entry();
    case 1: return any_mfn();
    case 2: return any_va();
    case 3: return any_domid();
    case 4: return edge();
    case 5: return any_domid() | below(16) << 32;
    default: return below(20);
  }
}

/* Hypercall by a number that is not a constant. */
static long call(u64 number, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) {
  long result;
  register u64 r10 __asm__("r10") = a4;
  register u64 r8 __asm__("r8") = a5;
  __asm__ volatile("syscall" : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10), "+r"(r8)
                   : "0"(number) : "rcx", "r11", "r9", "memory");
  tried++;
  if (result >= 0) answered++;
  return result;
}

/* Words of the argument pages, so that a struct anywhere in them holds something. */
static void refill(void) {
  u64 page = below(8);
  for (u32 i = 0; i < 16; i++) arguments[page][below(512)] = any_word();
}

static void try_page_tables(void) {
  struct mmu_update update[4];
  struct mmuext_op op[3];
  u64 n = 1 + below(4);
  switch (below(4)) {
    case 0:
      for (u64 i = 0; i < n; i++)
        update[i] = (struct mmu_update){sacrificed_mfn() * PAGE_SIZE + below(512) * 8 + (chance(10) ? below(8) : 0), any_entry()};
      call(HC_mmu_update, (u64)update, n, 0, chance(95) ? DOMID_SELF : any_domid(), 0);
      return;
    case 1:
      n = 1 + below(3);
      for (u64 i = 0; i < n; i++) {
        static const u8 commands[] = {0, 1, 2, 3, 4, 4, 4, 6, 7, 10, 11, 12, 16, 17, 18, 19, 20, 21, 255};
        op[i] = (struct mmuext_op){commands[below(ARRAY_SIZE(commands))], chance(90) ? sacrificed_mfn() : any_word(), any_word()};
      }
      call(HC_mmuext_op, (u64)op, n, 0, chance(95) ? DOMID_SELF : any_domid(), 0);
      return;
    case 2:
      call(HC_update_va_mapping, (u64)sacrificed[below(SACRIFICED)], any_entry(), below(4), 0, 0);
      return;
    default: {
      /* A plain store to where a table may be. */
      probe_write((u64 *)sacrificed[below(SACRIFICED)] + below(512), any_entry());
    }
  }
}

static void try_events(void) {
  u64 *arg = arguments[0];
  u32 op = (u32)below(14);
  /* Ports of the console, xenstore and the timer are low: those that are closed are from 8 on. */
  arg[0] = chance(60) ? 8 + below(40) : any_word();
  arg[1] = any_word();
  if (op == 6) arg[0] = DOMID_SELF | any_domid() << 16;
  if (op == 0) arg[0] = (1 + below(12)) | below(40) << 32;
  if (op == 3 && (u32)arg[0] < 8) return;
  if (op == 10 || op == 11 || op == 12) return; /* these would take our own upcalls away */
  call(HC_event_channel_op, op, (u64)arg, 0, 0, 0);
}

static void try_call(void) {
  refill();
  switch (below(12)) {
    case 0: case 1: case 2: case 3: try_page_tables(); return;
    case 4: case 5: try_events(); return;
    case 6: {
      /* memory_op: exchanges and populates with lists anywhere; decreases of sacrificed frames alone. */
      u64 op = below(XENMEM_OPS + 2), *list = arguments[1], *reservation = arguments[2];
      for (u32 i = 0; i < 8; i++) list[i] = sacrificed_mfn();
      reservation[0] = chance(90) || op == 1 ? (u64)list : any_va();
      reservation[1] = op == 1 ? 1 : below(8);
      reservation[2] = chance(90) ? 0 : below(12);
      reservation[3] = DOMID_SELF;
      for (u32 i = 4; i < 9; i++) reservation[i] = reservation[i - 4];
      if (op == 13) return; /* set_memory_map */
      call(HC_memory_op, op | (chance(5) ? below(64) << 6 : 0), (u64)reservation, 0, 0, 0);
      return;
    }
    case 7: {
      /* grant_table_op: statuses are written all over a long array, which must end before the pages that we live in. */
      bool one = chance(80);
      call(20, below(14), one ? any_va() : (u64)sacrificed[below(SACRIFICED - 8)], one ? 1 : below(600), 0, 0);
      return;
    }
    case 8: {
      struct multicall_entry *list = (struct multicall_entry *)arguments[3];
      u64 n = 1 + below(8);
      for (u64 i = 0; i < n; i++) {
        static const u8 numbers[] = {1, 12, 14, 17, 18, 20, 26, 33, 13, 23, 40};
        list[i].op = numbers[below(ARRAY_SIZE(numbers))];
        for (u32 a = 0; a < 6; a++) list[i].args[a] = any_word();
        if (list[i].op == 12) list[i].args[0] = 2 + below(3);
        if (list[i].op == 20) list[i].args[2] = below(3);
        if (list[i].op == 23) list[i].op = 17;
        if (list[i].op == 14) list[i].args[0] = (u64)sacrificed[below(SACRIFICED)];
        if (list[i].op == 1 || list[i].op == 26) list[i].args[0] = edge();
      }
      call(HC_multicall, (u64)list, n, 0, 0, 0);
      return;
    }
    case 9: {
      static const u8 numbers[] = {7, 9, 15, 17, 18, 21, 25, 33, 34, 35, 36, 37, 39, 40, 41, 42, 48, 55, 63, 64, 200};
      u64 number = numbers[below(ARRAY_SIZE(numbers))];
      if (number == 21) call(number, below(2), chance(50) ? 4 : 99, 0, 0, 0);
      else call(number, any_word(), any_word(), any_word(), any_word(), any_word());
      return;
    }
    case 10: {
      u64 op = 3 + below(11);
      if (op == 10) return; /* register_vcpu_info: once, and the demo kernel's parts look in shared_info */
      call(HC_vcpu_op, op, below(3), any_va(), 0, 0);
      return;
    }
    default:
      call(8, below(8), any_word(), 0, 0, 0); /* set_debugreg */
      call(10, sacrificed_mfn() * PAGE_SIZE + below(512) * 8, random64(), 0, 0, 0);
  }
}

extern u64 run_code(u64 a, u64 c, u64 d, u64 si, u64 di);

static void try_code(void) {
  static const struct { u8 bytes[10]; u8 n; } pieces[] = {
      {{0x0f, 0x0b}, 2}, {{0x0f, 0xa2, 0x31, 0xc9}, 4}, {{0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2, 0x31, 0xc9}, 9}, {{0xfa}, 1}, {{0xfb}, 1}, {{0xcc}, 1},
      {{0xcd, 0x80}, 2}, {{0xcd, 0x0e}, 2}, {{0xe4, 0x60}, 2}, {{0xe6, 0x43}, 2}, {{0xec}, 1}, {{0xee}, 1}, {{0x0f, 0x20, 0xc0}, 3},
      {{0x0f, 0x20, 0xd8}, 3}, {{0x0f, 0x22, 0xe0}, 3}, {{0x0f, 0x21, 0xf8}, 3}, {{0x0f, 0x06}, 2}, {{0x0f, 0x32}, 2}, {{0x0f, 0x31}, 2},
      {{0x0f, 0x01, 0xf8}, 3}, {{0x0f, 0x01, 0x3f}, 3}, {{0x0f, 0x00, 0xd0}, 3}, {{0x8e, 0xd8}, 2}, {{0x8e, 0xe0}, 2}, {{0x48, 0x89, 0x07}, 3},
      {{0xf0, 0x48, 0x0f, 0xb1, 0x07}, 5}, {{0x48, 0x87, 0x07}, 3}, {{0xf3, 0xa4}, 2}, {{0xf3, 0x48, 0xab}, 3}, {{0x0f, 0xae, 0x07}, 3},
      {{0x0f, 0xae, 0x0f}, 3}, {{0xdd, 0x37}, 2}, {{0xd9, 0x3f}, 2}, {{0xf0, 0x48, 0x0f, 0xc7, 0x0f}, 5}, {{0xff, 0x37}, 2}, {{0x48, 0xff, 0x07}, 3},
      {{0x0f, 0x6f, 0x07}, 3}, {{0x66, 0x0f, 0x7f, 0x07}, 4}, {{0xdb, 0x2f}, 2}, {{0xf3, 0x0f, 0x10, 0x07}, 4}, {{0x48, 0xf7, 0xf1}, 3},
      {{0x0f, 0x01, 0xd0}, 3}, {{0x0f, 0xc7, 0xf0}, 3}, {{0xc5, 0xf8, 0x77}, 3}, {{0x67, 0x8b, 0x07}, 3}, {{0x64, 0x8b, 0x07}, 3},
  };
  u32 at = 0;
  for (u64 left = 1 + below(6); left; left--) {
    u64 which = below(ARRAY_SIZE(pieces));
    memcpy(code_page + at, pieces[which].bytes, pieces[which].n);
    at += pieces[which].n;
  }
  code_page[at] = 0x0f;
  code_page[at + 1] = 0x0b;
  static const u32 msrs[] = {0xc0000080, 0xc0000100, 0x10, 0x40000000, 0x1b, 0xe7, 0xc0000081};
  /* Repeated stores must not reach the pages that we live in: where rcx is an MSR, rdi points nowhere. */
  bool msr = chance(30);
  run_code(any_word(), msr ? msrs[below(ARRAY_SIZE(msrs))] : below(100), any_word(), (u64)sacrificed[below(SACRIFICED - 1)],
           !msr && chance(80) ? (u64)sacrificed[below(SACRIFICED - 1)] + below(3000) : below(4000));
  tried++;
}

static void try_xenstore(void) {
  static const char *const paths[] = {"fuzz", "fuzz/a", "fuzz/b/c/d", "/local/domain/0", "/local/domain/1/fuzz", "data", "/", "", "../x", "/tool", "@releaseDomain"};
  char path[160], value[64], reply[4096];
  u64 n = format(path, sizeof path, "%s/%lu", paths[below(ARRAY_SIZE(paths))], below(2000));
  while (chance(30) && n < sizeof path - 8) path[n++] = (char)(1 + below(254));
  path[n] = 0;
  format(value, sizeof value, "%lx", random64());
  long rc;
  switch (below(4)) {
    case 0: rc = xs_read(path, reply, sizeof reply); break;
    case 1: rc = xs_directory(path, reply, sizeof reply); break;
    default: rc = xs_write(path, value, reply, sizeof reply);
  }
  tried++;
  if (rc >= 0) answered++;
}

static void storm(void) {
  for (u32 i = 0; i < 64; i++) {
    port_notify(chance(50) ? start_info->console_evtchn : start_info->store_evtchn);
    tried++, answered++;
  }
}

static void try_all(void) {
  if (chance(2)) storm();
  else if (chance(5)) try_xenstore();
  else if (chance(40)) try_code();
  else try_call();
}

void kernel_main(struct start_info *info) {
  static const struct { const char *name; void (*once)(void); } modes[] = {
      {"calls", try_call}, {"code", try_code}, {"xenstore", try_xenstore}, {"storm", storm}, {"all", try_all},
  };
  static char line[128];
  memory_init(info);
  traps_init();
  console_init();
  time_init();
  events_init();
  xs_init();
  memcpy(line, info->cmd_line, sizeof line - 1);
  char *seed = line;
  while (*seed && *seed != ' ') seed++;
  if (*seed) *seed++ = 0;
  for (u32 mode = 0; mode < ARRAY_SIZE(modes); mode++) {
    if (!streq(line, modes[mode].name) || !parse_u64(seed, &state)) continue;
    print("fuzz %s, seed %lu\n", line, state);
    state = state * 0x9e3779b97f4a7c15UL + 1;
    for (u64 round = 1;; round++) {
      for (u64 start = tried; tried - start < ROUND;) modes[mode].once();
      print("round %lu, %lu of %lu answered 0 or more\n", round, answered, tried);
    }
  }
  print("failed: the command line is not `calls|code|xenstore|storm|all SEED`\n");
  for (;;) sched_op(SCHEDOP_block, NULL);
}

/* What the demo kernel's parts expect of the rest of it. */
u32 own_domid;
void learn_identity(void) {}
void secondary_main(void) {}
