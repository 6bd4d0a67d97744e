/* Page tables: a pool of frames is made tables and data again at random, by every route, and each step's result is told. */
#include "probe.h"

#define POOL 8
static PAGES u64 pool[POOL][512];
static PAGES u64 window[512];
static u64 *root;

enum { PIN_L1, PIN_L4 = 3, UNPIN, NEW_BASE, FLUSH, FLUSH_ALL = 10, NEW_USER_BASE = 15, CLEAR, COPY };

static long ext(u32 command, u64 first, u64 second) {
  struct mmuext_op op = {command, first, second};
  return call(HC_mmuext_op, (u64)&op, 1, 0, DOMID_SELF, 0);
}
static long update(u64 pointer, u64 value, u64 domain) {
  struct mmu_update request = {pointer, value};
  return call(HC_mmu_update, (u64)&request, 1, 0, domain, 0);
}
static long map_own(u32 i, u64 flags) { return update_va_mapping(pool[i], flags ? va_to_mfn(pool[i]) * PAGE_SIZE | flags : 0, 6); }

/* Everything is data again, and zero. */
static void clean(void) {
  ext(NEW_USER_BASE, 0, 0);
  call(2, 0, 0, 0, 0, 0);
  for (u32 round = 0; round < 6; round++)
    for (u32 i = 0; i < POOL; i++) {
      ext(UNPIN, va_to_mfn(pool[i]), 0);
      map_own(i, DATA & ~PTE_RW);
    }
  update(machine_address(&root[300]), 0, DOMID_SELF);
  update_va_mapping(window, va_to_mfn(window) * PAGE_SIZE | DATA, 6);
  ext(FLUSH_ALL, 0, 0);
  for (u32 i = 0; i < POOL; i++) {
    long result = map_own(i, DATA);
    if (result) say("cleaning %u: %s\n", i, result_text(result));
    else memset(pool[i], 0, PAGE_SIZE);
  }
}

/* In every second batch there are L4 tables, P0 to P3, and they name the other frames of the pool. A frame that has been an L4 keeps the
 * hypervisor's own entries, which no other table may have, until it is cleared: it is made another table only where all is mixed. */
static bool upper, mixed;

static u64 draw_frame(char *text) {
  static const char *const names[] = {"foreign", "shared", "vga", "root", "m2p", "beyond", "all ones", "window"};
  u64 mfns[] = {foreign, start_info->shared_info / PAGE_SIZE, 0xa0, va_to_mfn(root), (root[256] & PTE_FRAME) / PAGE_SIZE, 0x7ffffffff, 0xffffffffff, va_to_mfn(window)};
  if (draw(8)) {
    u32 i = upper && !mixed ? 4 + draw(4) : draw(POOL);
    format(text, 16, "P%u", i);
    return va_to_mfn(pool[i]);
  }
  u32 i = draw(ARRAY_SIZE(names));
  format(text, 16, "%s", names[i]);
  return mfns[i];
}

static u64 draw_flags(void) {
  static const u64 usual[] = {DATA, DATA & ~PTE_RW, TABLE, TABLE, PTE_P, PTE_P | PTE_US, PTE_P | PTE_RW, 0, PTE_A};
  u64 flags = usual[draw(ARRAY_SIZE(usual))];
  if (draw(3) == 0) flags ^= 1UL << draw(12);
  if (draw(12) == 0) flags ^= 1UL << (52 + draw(12));
  return flags;
}

static u64 draw_entry(char *text, u64 size) {
  char frame[16];
  if (draw(10) == 0) {
    format(text, size, "0");
    return 0;
  }
  u64 mfn = draw_frame(frame), flags = draw_flags();
  format(text, size, "%s|%lx", frame, flags);
  return mfn * PAGE_SIZE | flags;
}

static u32 draw_slot(void) {
  static const u16 slots[] = {0, 0, 1, 1, 2, 3, 255, 256, 257, 271, 272, 300, 510, 511};
  return slots[draw(ARRAY_SIZE(slots))];
}

static void stored(const u64 *at, u64 wanted) {
  const char *frame = !(*at & PTE_FRAME) ? "" : (*at ^ wanted) & PTE_FRAME ? " of another frame" : " of it";
  say(", holds %lx%s", *at & ~PTE_FRAME, frame);
}

static void step(void) {
  char entry[40], frame[16];
  u32 i = draw(POOL), slot = draw_slot(), kind = draw(100);
  u64 *at = &pool[i][slot], value;
  if (kind < 14) { /* how a page of the pool is mapped */
    static const u64 flags[] = {DATA, DATA & ~PTE_RW, DATA & ~PTE_RW, DATA & ~PTE_RW, PTE_P, 0};
    u64 how = flags[draw(ARRAY_SIZE(flags))];
    say("map P%u %lx: %s\n", i, how, result_text(map_own(i, how)));
  } else if (kind < 34) { /* an entry, by mmu_update */
    u32 command = draw(12) ? draw(2) * 2 : draw(8);
    u64 domain = draw(16) ? DOMID_SELF : draw(2) ? DOMID_IO : draw(2) ? 0 : own_id;
    value = draw_entry(entry, sizeof entry);
    u64 whose = command == 1 ? draw_frame(frame) : va_to_mfn(pool[i]);
    if (command == 1) {
      if (streq(frame, "window") || streq(frame, "root") || frame[0] == 'P') value = mfn_to_pfn(whose); /* what is right stays so */
      say("m2p of %s for %s: %s\n", frame, domain == DOMID_SELF ? "self" : "another", result_text(update(whose * PAGE_SIZE | 1, value, domain)));
      return;
    }
    u64 low = draw(30) ? slot * 8UL : slot * 8UL & 0xff8;
    say("mmu_update %u P%u[%u] = %s for %s: %s\n", command, i, slot, entry, domain == DOMID_SELF ? "self" : domain == DOMID_IO ? "io" : domain ? "own" : "dom0",
        result_text(update(va_to_mfn(pool[i]) * PAGE_SIZE | low | command, value, domain)));
  } else if (kind < 54) { /* the same by a plain store */
    value = draw_entry(entry, sizeof entry);
    u64 fault = fault_on_write(at, value);
    say("store P%u[%u] = %s: %s", i, slot, entry, fault ? "fault" : "done");
    if (fault) say(" #%lu(%lx)%s", trap.vector, trap.error, trap.cr2 == (u64)at ? "" : " elsewhere");
    else {
      u64 held;
      if (!fault_on_read(at, &held)) stored(at, value);
    }
    say("\n");
  } else if (kind < 70) {
    u32 level = mixed ? draw(4) : upper ? PIN_L4 : draw(3);
    u64 mfn = draw_frame(frame);
    if (upper && !mixed) {
      if (streq(frame, "window")) return;
      if (frame[0] == 'P') mfn = va_to_mfn(pool[i % 4]), format(frame, sizeof frame, "P%u", i % 4);
    }
    say("pin L%u %s: %s\n", level + 1, frame, result_text(ext(level, mfn, 0)));
  } else if (kind < 80) {
    u64 mfn = draw_frame(frame);
    if (streq(frame, "root")) return;
    if (upper && !mixed && frame[0] == 'P') mfn = va_to_mfn(pool[i]), format(frame, sizeof frame, "P%u", i);
    say("unpin %s: %s\n", frame, result_text(ext(UNPIN, mfn, 0)));
  } else if (kind < 84) {
    u64 mfn = draw_frame(frame);
    if (streq(frame, "window") || (!upper && frame[0] == 'P')) return;
    if (frame[0] == 'P' && !mixed) mfn = va_to_mfn(pool[i % 4]), format(frame, sizeof frame, "P%u", i % 4);
    if (draw(3) == 0) mfn = 0, format(frame, sizeof frame, "none");
    say("user base %s: %s\n", frame, result_text(ext(NEW_USER_BASE, mfn, 0)));
  } else if (kind < 86) {
    u64 mfn = draw_frame(frame);
    /* Only what cannot be a root is tried as the kernel's: it would have to map us. */
    if (frame[0] != 'P') say("base %s: %s\n", frame, streq(frame, "shared") || streq(frame, "window") ? "left out" : result_text(ext(NEW_BASE, mfn, 0)));
    else {
      say("root[300] = %s: %s\n", frame, result_text(update(machine_address(&root[300]), mfn * PAGE_SIZE | (draw(2) ? PTE_P : TABLE), DOMID_SELF)));
    }
  } else if (kind < 90) {
    u64 to = draw_frame(frame);
    if (streq(frame, "window") || streq(frame, "shared")) return;
    if (draw(2)) say("clear %s: %s\n", frame, result_text(ext(CLEAR, to, 0)));
    else {
      char source[16];
      u64 from = draw_frame(source);
      say("copy %s to %s: %s\n", source, frame, result_text(ext(COPY, to, from)));
    }
  } else if (kind < 93) {
    u64 frames[1] = {draw_frame(frame)};
    u64 entries = draw(3) * 256;
    say("gdt %s, %lu: %s\n", frame, entries, result_text(call(2, (u64)frames, entries, 0, 0, 0)));
  } else if (kind < 95) {
    value = draw(4) ? draw64() & draw64() : 0x00cff3000000ffff;
    u64 address = va_to_mfn(pool[i]) * PAGE_SIZE + (draw(8) ? slot * 8UL : draw(4096));
    say("descriptor P%u+%lx = %lx: %s\n", i, address % PAGE_SIZE, value, result_text(call(10, address, value, 0, 0, 0)));
  } else { /* the window's entry */
    value = draw_entry(entry, sizeof entry);
    u64 flags = draw(8) ? 2 : draw(8);
    long result = call(HC_update_va_mapping, (u64)window, value, flags, 0, 0);
    say("window = %s: %s", entry, result_text(result));
    if (!result) stored(pte_of(window, 1), value);
    say("\n");
    ext(FLUSH_ALL, 0, 0);
  }
}

void section_mmu(u32 count) {
  root = (u64 *)start_info->pt_base;
  for (u32 i = 0; i < count; i++) {
    if (i % 96 == 0) upper = false, clean(), upper = i / 96 % 2;
    step();
  }
}

/* The same with frames that become tables of every level, one after another. */
void section_mixed(u32 count) {
  mixed = true;
  section_mmu(count);
}

/* Every single flag and some pairs of an entry of every level, by the three routes, for a frame of each kind. */
void section_entries(u32 count) {
  static const char *const routes[] = {"update", "store", "va"};
  static const u64 bases[] = {DATA, TABLE, PTE_P, PTE_P | PTE_US, 0};
  (void)count;
  root = (u64 *)start_info->pt_base;
  for (u32 level = 1; level <= 4; level++)
    for (u32 route = 0; route < (level == 1 ? 3U : 2U); route++)
      for (u32 b = 0; b < ARRAY_SIZE(bases); b++)
        for (u32 bit = 0; bit < 65; bit++) {
          if (bit >= 12 && bit < 52) continue;
          u64 flags = bit == 64 ? bases[b] : bases[b] ^ 1UL << bit;
          clean();
          /* P0 is a table of the level, P1 one of the level below, or data. */
          map_own(0, DATA & ~PTE_RW);
          if (level > 1) map_own(1, DATA & ~PTE_RW);
          long pinned = ext(level - 1, va_to_mfn(pool[0]), 0);
          u64 value = va_to_mfn(pool[1]) * PAGE_SIZE | flags;
          say("L%u %s %lx (%ld): ", level, routes[route], flags, pinned);
          u64 *at = &pool[0][5];
          if (route == 0) say("%s", result_text(update(machine_address(at), value, DOMID_SELF)));
          else if (route == 1) say("%s", fault_on_write(at, value) ? "fault" : "done");
          else {
            say("%s", result_text(update_va_mapping(window, value, 2)));
            at = pte_of(window, 1);
          }
          stored(at, value);
          say("\n");
        }
  clean();
}
