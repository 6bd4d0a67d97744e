/* The reservation: frames (but shared_info: Xen takes that back too, and is the worse for it) given back, taken, put under a pfn and exchanged, in lists that are good, bad in the middle, or not all there; what
 * stays while it is mapped; and the machine-to-physical table as a guest reads and changes it. */
#include "probe.h"

enum { INCREASE = 0, DECREASE = 1, CURRENT = 3, MAXIMUM = 4, POPULATE = 6, EXCHANGE = 11 };
struct reservation { u64 start, extents; u32 order, flags; u16 domid; };
struct exchange { struct reservation in, out; u64 done; };

#define POOL 12
static PAGES u8 pool[POOL][PAGE_SIZE];
static u64 mfns[POOL];      /* 0: none is known */
static PAGES u64 lists[2][512];
static long at_start;

static long reservation(u32 op) {
  u16 domid = DOMID_SELF;
  return call(HC_memory_op, op, (u64)&domid, 0, 0, 0);
}
static long map(u32 i, u64 mfn, u64 flags) { return update_va_mapping(pool[i], flags ? mfn * PAGE_SIZE | flags : 0, 6); }
static void more(void) { say(", %ld\n", reservation(CURRENT) - at_start); }

static long adjust(u32 op, u64 *list, u64 extents, u32 order, u32 flags, u64 from) {
  struct reservation r = {(u64)list, extents, order, flags, DOMID_SELF};
  return call(HC_memory_op, op | from << 6, (u64)&r, 0, 0, 0);
}

/* What the list says of a frame afterwards: whose pfn it is, and whether it can be mapped. */
static void frame_told(u64 mfn, u64 pfn) {
  u64 held;
  bool read = !fault_on_read((u64 *)MACH2PHYS_VIRT_START + mfn, &held);
  say(" %s", !read ? "no M2P" : held == pfn ? "M2P right" : held == ~0UL ? "no pfn" : "M2P else");
}

/* ---- chosen sequences ---- */

static void given(u32 i) { mfns[i] = 0; }

/* Every page has a frame again, and is mapped. */
static void refill(void) {
  for (u32 i = 0; i < POOL; i++) {
    u64 mfn = va_to_pfn(pool[i]);
    if (!mfns[i]) {
      if (adjust(POPULATE, &mfn, 1, 0, 0, 0) != 1) say("no frame for %u\n", i);
      else ((u64 *)start_info->mfn_list)[va_to_pfn(pool[i])] = mfns[i] = mfn;
    }
    long result = map(i, mfns[i], DATA);
    if (result) say("page %u: %s\n", i, result_text(result));
  }
}

static void bad_in_the_middle(void) {
  static const char *const kinds[] = {"another's", "I/O", "beyond", "all ones", "M2P", "the same again", "a mapped one", "a pinned table"};
  enum { MAPPED = 6, PINNED = 7 };
  for (u32 kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
    u64 bad[] = {foreign, 0xa0, 0x7ffffffff, ~0UL, (*pte_of((void *)MACH2PHYS_VIRT_START, 4) & PTE_FRAME) / PAGE_SIZE, mfns[0], mfns[2], mfns[2]};
    for (u32 i = 0; i < 4; i++) map(i, 0, 0);
    if (kind == MAPPED) map(2, mfns[2], DATA);
    if (kind == PINNED) {
      struct mmuext_op pin = {0, mfns[2], 0};
      say("pin: %s, ", result_text(call(HC_mmuext_op, (u64)&pin, 1, 0, DOMID_SELF, 0)));
    }
    lists[0][0] = mfns[0], lists[0][1] = bad[kind], lists[0][2] = mfns[3];
    long result = adjust(DECREASE, lists[0], 3, 0, 0, 0);
    say("decrease with %s: %s", kinds[kind], result_text(result));
    for (u32 i = 0; i < 4; i++) say(", frame %u %s", i, result_text(map(i, mfns[i], PTE_P | PTE_US)));
    more();
    for (u32 i = 0; i < 4; i++) say("%sunmapped: %s", i ? ", " : "", result_text(map(i, 0, 0)));
    more();
    if (kind == PINNED) {
      struct mmuext_op unpin = {4, mfns[2], 0};
      say("unpinned: %s", result_text(call(HC_mmuext_op, (u64)&unpin, 1, 0, DOMID_SELF, 0)));
      say(", frame 2 %s", result_text(map(2, mfns[2], PTE_P | PTE_US)));
      more();
      map(2, 0, 0);
    }
    if (result > 0) given(0);
    if (result > 1 && kind >= MAPPED) given(2);
    if (result > 2) given(3);
    refill();
  }
}

static void partial_lists(void) {
  static const u8 ops[] = {DECREASE, INCREASE, POPULATE};
  static const char *const names[] = {"decrease", "increase", "populate"};
  /* The list ends at the end of a page, and behind it there is nothing. */
  for (u32 op = 0; op < 3; op++) {
    u64 *list = (u64 *)((u8 *)arena[1] + PAGE_SIZE - 16);
    for (u32 i = 0; i < 3; i++) map(i, 0, 0);
    list[0] = op == 0 ? mfns[0] : va_to_pfn(pool[0]), list[1] = op == 0 ? mfns[1] : va_to_pfn(pool[1]);
    long result = adjust(ops[op], list, 3, 0, 0, 0);
    say("%s, two of a list of three: %s", names[op], result_text(result));
    more();
    if (op) {
      u64 back[2] = {list[0], list[1]};
      say("and back: %s", result_text(adjust(DECREASE, back, 2, 0, 0, 0)));
      more();
    } else for (u32 i = 0; i < 2; i++) given(i);
    refill();
  }
  /* Where a continuation would go on. */
  for (u64 from = 0; from < 5; from++) {
    for (u32 i = 0; i < 3; i++) map(i, 0, 0), lists[1][i] = mfns[i];
    long result = adjust(DECREASE, lists[1], 3, 0, 0, from);
    say("decrease of three from %lu: %s", from, result_text(result));
    more();
    for (long i = (long)from; i < 3 && i < result; i++) given((u32)i);
    refill();
  }
  static const u64 sizes[] = {0, 1, 2, 1UL << 20, 1UL << 26, (1UL << 26) - 1, 1UL << 32, 1UL << 58, ~0UL >> 6, ~0UL};
  for (u32 i = 0; i < ARRAY_SIZE(sizes); i++)
    for (u32 op = 0; op < 3; op++) {
      u64 *list = op == 0 || sizes[i] <= 2 ? lists[1] : (u64 *)0xffff800000000000;
      lists[1][0] = lists[1][1] = op ? 0x12345678 : foreign;
      long result = adjust(ops[op], list, sizes[i], 0, 0, 0);
      say("%s of %lx: %s", names[op], sizes[i], result_text(result));
      if (op && result > 0 && result <= 2) adjust(DECREASE, lists[1], result, 0, 0, 0);
      more();
    }
}

static void orders(void) {
  for (u32 order = 0; order < 26; order += order < 11 ? 1 : 7)
    for (u32 op = 0; op < 2; op++) {
      u32 kind = op ? POPULATE : INCREASE;
      lists[1][0] = lists[1][1] = 0x100000;
      u64 extents = order < 7 ? 2 : 1;
      long result = adjust(kind, lists[1], extents, order, 0, 0);
      say("%s of order %u: %s", op ? "populate" : "increase", order, result_text(result));
      for (long i = 0; i < result; i++) {
        say(", %saligned", lists[1][i] % (1UL << order) ? "not " : "");
        if (op) frame_told(lists[1][i] + (1UL << order) - 1, 0x100000 + (1UL << order) - 1);
      }
      more();
      if (result > 0) {
        say("back: %s", result_text(adjust(DECREASE, lists[1], result, order, 0, 0)));
        more();
      }
    }
  static const u32 flags[] = {0, 8, 12, 16, 20, 32, 40, 52, 64, 65, 128, 255, 0x100, 0x200, 0x10000, 0x20000, 0x20100, 0x60100, 0x2ff00, 0x40000, 0x80000, 0x100000, 0x80000000};
  for (u32 i = 0; i < ARRAY_SIZE(flags); i++)
    for (u32 op = 0; op < 2; op++) {
      lists[1][0] = 0x100000;
      long result = adjust(op ? POPULATE : INCREASE, lists[1], 1, 0, flags[i], 0);
      say("%s with flags %x: %s", op ? "populate" : "increase", flags[i], result_text(result));
      if (result > 0) say(", back %s", result_text(adjust(DECREASE, lists[1], 1, 0, 0xffffffff, 0)));
      more();
    }
  say("increase without a list: %s", result_text(adjust(INCREASE, NULL, 1, 0, 0, 0)));
  more();
  say("populate without a list: %s", result_text(adjust(POPULATE, NULL, 1, 0, 0, 0)));
  more();
  /* To the ceiling, and one more. */
  long room = reservation(MAXIMUM) - reservation(CURRENT);
  long result = adjust(INCREASE, lists[0], 511, 0, 0, 0);
  say("increase beyond the maximum: %s of room", result == room ? "all" : result < room ? "less" : "more");
  say(", one more %s", result_text(adjust(INCREASE, lists[1], 1, 0, 0, 0)));
  say(", back: %s", result == adjust(DECREASE, lists[0], result, 0, 0, 0) ? "all" : "less");
  more();
}

static long exchange(u64 in, u64 in_order, u64 out, u64 out_order, u64 done, u64 *after) {
  struct exchange e = {{(u64)lists[0], in, in_order, 0, DOMID_SELF}, {(u64)lists[1], out, out_order, 0, DOMID_SELF}, done};
  long result = call(HC_memory_op, EXCHANGE, (u64)&e, 0, 0, 0);
  *after = e.done;
  return result;
}

static void exchanges(void) {
  static const struct { u32 in, in_order, out, out_order, done; const char *what; } cases[] = {
      {1, 0, 1, 0, 0, "one"}, {2, 0, 2, 0, 0, "two"}, {4, 0, 4, 0, 0, "four"}, {4, 0, 1, 2, 0, "four for one of order 2"}, {4, 0, 2, 1, 0, "four for two of order 1"},
      {2, 0, 4, 0, 0, "two for four"}, {4, 0, 4, 0, 2, "four, two done"}, {4, 0, 4, 0, 4, "four, all done"}, {4, 0, 4, 0, 5, "four, five done"}, {4, 0, 1, 2, 1, "order 2, one done"},
      {4, 0, 2, 1, 1, "order 1, one done"}, {0, 0, 0, 0, 0, "none"}, {3, 0, 1, 2, 0, "three for order 2"}, {6, 0, 2, 2, 0, "six for two of order 2"}, {1, 10, 1, 10, 0, "order 10"},
      {1, 9, 512, 0, 0, "order 9"}, {1, 20, 1, 20, 0, "order 20"}};
  static const char *const spoils[] = {"", ", one mapped", ", one another's", ", one twice", ", out list missing", ", in list missing"};
  for (u32 c = 0; c < ARRAY_SIZE(cases); c++)
    for (u32 spoil = 0; spoil < ARRAY_SIZE(spoils); spoil++) {
      u64 after;
      for (u32 i = 0; i < POOL; i++) map(i, 0, 0);
      for (u32 i = 0; i < 8; i++) lists[0][i] = mfns[i], lists[1][i] = va_to_pfn(pool[i]);
      u32 last = cases[c].in > 1 ? cases[c].in - 1 : 0;
      if (cases[c].in > 8) last = 0;
      if (spoil == 1) map(last, mfns[last], DATA);
      if (spoil == 2) lists[0][last] = foreign;
      if (spoil == 3) lists[0][last] = lists[0][last ? last - 1 : 1];
      if ((cases[c].in_order > 8 && spoil) || (spoil == 3 && cases[c].in < 2)) continue;
      struct exchange e = {{spoil == 5 ? (u64)MISSING : (u64)lists[0], cases[c].in, cases[c].in_order, 0, DOMID_SELF},
                           {spoil == 4 ? (u64)MISSING : (u64)lists[1], cases[c].out, cases[c].out_order, 0, DOMID_SELF}, cases[c].done};
      long result = call(HC_memory_op, EXCHANGE, (u64)&e, 0, 0, 0);
      after = e.done;
      say("exchange %s%s: %s, %lu done", cases[c].what, spoils[spoil], result_text(result), after);
      /* Who can be mapped now, and what each extent has become. */
      /* (what the second of two chunks brought may be what the first has given) */
      for (u32 i = 0; i < 4 && after <= cases[c].done; i++) say(" %s", result_text(map(i, mfns[i], PTE_P | PTE_US)));
      u64 size = 1UL << (cases[c].out_order & 7);
      if (!result && cases[c].out_order < 3)
        for (u64 i = cases[c].done * (1UL << cases[c].in_order) / size; i < cases[c].out; i++) {
          if (lists[1][i] % size) say(", not aligned");
          frame_told(lists[1][i] + size - 1, va_to_pfn(pool[i]) + size - 1);
        }
      more();
      for (u32 i = 0; i < POOL; i++) map(i, 0, 0);
      /* A chunk that was begun is done again from its start. One that fails at its end has changed hands, and is not counted. */
      u64 base = cases[c].done & ~(size - 1), came = spoil != 4 && after > base ? after - base : 0;
      if (result == -14 && spoil == 4 && after == base) for (u64 i = 0; i < size; i++) given((u32)(base + i));
      for (u64 i = 0; i < came && !cases[c].in_order; i++) given((u32)(base + i));
      for (u64 i = 0; i < came / size && !cases[c].in_order; i++) adjust(DECREASE, &lists[1][base / size + i], 1, cases[c].out_order, 0, 0);
      refill();
    }
}

static void m2p(void) {
  static const u64 values[] = {0, 1, 0x1234, 0xffffffff, 0x5555555555555555, 1UL << 63, ~0UL};
  u64 held;
  for (u32 i = 0; i < ARRAY_SIZE(values); i++) {
    struct mmu_update one = {mfns[0] * PAGE_SIZE | 1, values[i]};
    say("M2P entry %lx: %s", values[i], result_text(call(HC_mmu_update, (u64)&one, 1, 0, DOMID_SELF, 0)));
    say(", %s\n", fault_on_read((u64 *)MACH2PHYS_VIRT_START + mfns[0], &held) ? "fault" : held == values[i] ? "as set" : "else");
  }
  struct mmu_update right = {mfns[0] * PAGE_SIZE | 1, va_to_pfn(pool[0])};
  call(HC_mmu_update, (u64)&right, 1, 0, DOMID_SELF, 0);
  u64 *table = (u64 *)MACH2PHYS_VIRT_START;
  u64 places_of[] = {0, mfns[0], 0x100000000, 0x1000000000, 0x7ffffffff};
  for (u32 i = 0; i < ARRAY_SIZE(places_of); i++) {
    u64 fault = fault_on_write(&table[places_of[i]], 1);
    say("write to M2P %u: %s", i, fault ? "fault" : "done");
    if (fault) say(" #%lu(%lx)", trap.vector, i < 2 ? trap.error : trap.error & ~1UL);
    say("\n");
  }
  for (u32 i = 0; i < 4; i++) {
    const u64 *entry = pte_of(table + mfns[0], 4 - i);
    say("M2P's L%u entry: %s", 4 - i, entry ? "" : "none");
    if (i == 0) say("%lx", *entry & ~PTE_FRAME);
    say("\n");
    if (i == 0) break; /* the tables below are the hypervisor's, and not mapped */
  }
}

/* ---- drawn sequences ---- */

static u64 draw_frame(u32 *which, char *text) {
  if (draw(10)) {
    u32 i = draw(POOL);
    *which = i;
    format(text, 12, "P%u", i);
    return mfns[i] ? mfns[i] : foreign;
  }
  u64 others[] = {foreign, 0xa0, 0x7ffffffff, ~0UL};
  static const char *const names[] = {"foreign", "vga", "beyond", "all ones"};
  u32 i = draw(ARRAY_SIZE(others));
  *which = POOL;
  format(text, 12, "%s", names[i]);
  return others[i];
}

static bool kept[POOL];     /* given back, and ours for as long as it is mapped */

static bool mapped(u32 i) {
  u64 *entry = pte_of(pool[i], 1);
  return entry && (*entry & PTE_P);
}

static void drawn(void) {
  u32 kind = draw(100), which[4], n = 1 + draw(4);
  char text[12];
  if (kind < 30) {
    u32 i = draw(POOL);
    static const u64 flags[] = {DATA, DATA & ~PTE_RW, 0, 0, PTE_P};
    u64 how = flags[draw(ARRAY_SIZE(flags))];
    if (!mfns[i]) return;
    say("map P%u %lx: %s", i, how, result_text(map(i, mfns[i], how)));
    more();
    if (kept[i] && !mapped(i)) mfns[i] = 0, kept[i] = false;
  } else if (kind < 55) {
    say("decrease");
    bool again = false;
    for (u32 i = 0; i < n; i++) {
      lists[0][i] = draw_frame(&which[i], text);
      for (u32 j = 0; j < i; j++) again |= lists[0][j] == lists[0][i];
      if (again) { n = i; break; }
      say(" %s", text);
    }
    long result = adjust(DECREASE, lists[0], n, 0, draw(3) ? 0 : draw(0x10000), 0);
    say(": %s", result_text(result));
    more();
    for (long i = 0; i < result; i++)
      if (which[i] < POOL) {
        /* While it is mapped it is ours. Its number is good as long as nobody else can have it. */
        if (mapped(which[i])) kept[which[i]] = true;
        else mfns[which[i]] = 0;
      }
  } else if (kind < 75) {
    bool populate = draw(2);
    say("%s of %u:", populate ? "populate" : "increase", n);
    for (u32 i = 0; i < n; i++) lists[0][i] = 0x200000 + i;
    long result = adjust(populate ? POPULATE : INCREASE, lists[0], n, 0, 0, 0);
    say(" %s", result_text(result));
    for (long i = 0; i < result; i++) frame_told(lists[0][i], 0x200000 + i);
    more();
    long used = 0;
    for (u32 i = 0; i < POOL && used < result; i++)
      if (!mfns[i] && !mapped(i)) mfns[i] = lists[0][used++];
    if (used < result) adjust(DECREASE, &lists[0][used], result - used, 0, 0, 0);
  } else if (kind < 92) {
    u32 order = draw(4) ? 0 : 1 + draw(2);
    if (order) n = 1U << order << draw(2);
    if (n > 4) n = 4;
    say("exchange");
    for (u32 i = 0; i < n; i++) {
      lists[0][i] = draw_frame(&which[i], text);
      lists[1][i] = 0x300000 + i;
      /* The same frame twice in one extent only: what comes for the first may be the frame itself. */
      for (u32 j = 0; j < i; j++)
        if (!order && lists[0][j] == lists[0][i]) lists[0][i] = foreign, which[i] = POOL;
      say(" %s", text);
    }
    u64 done;
    long result = exchange(n, 0, n >> order, order, 0, &done);
    say(" for order %u: %s, %lu done", order, result_text(result), done);
    for (u64 i = 0; i < done >> order; i++) frame_told(lists[1][i], 0x300000 + i);
    more();
    for (u64 i = 0; i < done; i++)
      if (which[i] < POOL) kept[which[i]] = false, mfns[which[i]] = lists[1][i >> order] + i % (1UL << order);
  } else {
    u64 mfn = draw_frame(which, text), pfn = draw(2) ? 0x400000 : draw64();
    struct mmu_update one = {mfn * PAGE_SIZE | 1, pfn};
    say("m2p of %s: %s\n", text, result_text(call(HC_mmu_update, (u64)&one, 1, 0, DOMID_SELF, 0)));
  }
}

void section_memory(u32 count) {
  at_start = reservation(CURRENT);
  for (u32 i = 0; i < POOL; i++) mfns[i] = va_to_mfn(pool[i]);
  if (!count) {
    bad_in_the_middle();
    partial_lists();
    orders();
    exchanges();
    m2p();
  }
  for (u32 i = 0; i < count; i++) drawn();
}
