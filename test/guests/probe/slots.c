/* What Xen keeps in an L4: its sixteen slots, before, while and after the frame is one, and what the frame can become then. And what is lost
 * sight of when a validation fails three tables deep. */
#include "probe.h"

enum { PIN_L1, PIN_L2, PIN_L3, PIN_L4, UNPIN, NEW_BASE, FLUSH_ALL = 10, NEW_USER_BASE = 15, CLEAR, COPY };
#define FIRST 256
#define LAST 271
static PAGES u64 frame[8][512];
static PAGES u64 window[512];

static long ext(u32 command, u64 first, u64 second) {
  struct mmuext_op op = {command, first, second};
  return call(HC_mmuext_op, (u64)&op, 1, 0, DOMID_SELF, 0);
}
static u64 mfn(u32 i) { return va_to_mfn(frame[i]); }
static long map(u32 i, u64 flags) { return update_va_mapping(frame[i], mfn(i) * PAGE_SIZE | flags, 6); }
static void strict(bool on) { call(HC_vm_assist, on ? 0 : 1, 32, 0, 0, 0); }

/* Runs of the same slots are told as one. */
static void show(const char *when, const u64 *table, u64 of) {
  u64 m2p = *pte_of((void *)MACH2PHYS_VIRT_START, 4);
  say("%s:", when);
  for (u32 i = FIRST; i <= LAST; i++) {
    const char *what = (table[i] & PTE_FRAME) / PAGE_SIZE == of ? " itself" : ((table[i] ^ m2p) & PTE_FRAME) == 0 ? " M2P" : table[i] & PTE_FRAME ? "" : " none";
    say(" %u=%lx%s", i, table[i] & ~PTE_FRAME, what);
  }
  say("\n");
}

static void become(u32 i, const char *what) {
  static const char *const kinds[] = {"an L1", "an L2", "an L3", "an L4"};
  for (u32 level = PIN_L1; level <= PIN_L4; level++) {
    long result = ext(level, mfn(i), 0);
    say("%s as %s: %s\n", what, kinds[level], result_text(result));
    if (!result) ext(UNPIN, mfn(i), 0);
  }
  for (u32 entries = 256; entries <= 512; entries += 256) {
    u64 list[1] = {mfn(i)};
    say("%s as a GDT of %u: %s\n", what, entries, result_text(call(2, (u64)list, entries, 0, 0, 0)));
    call(2, 0, 0, 0, 0, 0);
  }
}

static void one_life(bool with_strict, bool fill) {
  const char *how = with_strict ? "strict" : "usual";
  map(0, DATA);
  memset(frame[0], 0, PAGE_SIZE);
  for (u32 i = FIRST; fill && i <= LAST; i++) frame[0][i] = mfn(1) * PAGE_SIZE | TABLE;
  map(0, DATA & ~PTE_RW);
  strict(with_strict);
  say("%s, pin: %s\n", how, result_text(ext(PIN_L4, mfn(0), 0)));
  show("pinned", frame[0], mfn(0));
  say("%s, user base: %s\n", how, result_text(ext(NEW_USER_BASE, mfn(0), 0)));
  show("user's root", frame[0], mfn(0));
  ext(NEW_USER_BASE, 0, 0);
  map(1, DATA);
  say("copied: %s\n", result_text(ext(COPY, mfn(1), mfn(0))));
  show("copy", frame[1], mfn(0));
  map(1, DATA & ~PTE_RW);
  become(1, "copy");
  map(1, DATA);
  memset(frame[1], 0, PAGE_SIZE);
  say("unpin: %s\n", result_text(ext(UNPIN, mfn(0), 0)));
  show("no L4 any more", frame[0], mfn(0));
  become(0, "was an L4");
  strict(false);
  show("in the end", frame[0], mfn(0));
}

/* A copy of the kernel's own root becomes the root, and the old one comes back. */
static void kernel_root(bool with_strict) {
  u64 *root = (u64 *)start_info->pt_base, old = va_to_mfn(root);
  show("kernel's root", root, old);
  strict(with_strict);
  map(2, DATA);
  memcpy(frame[2], root, PAGE_SIZE);
  map(2, DATA & ~PTE_RW);
  say("pin of a copy: %s\n", result_text(ext(PIN_L4, mfn(2), 0)));
  show("copy", frame[2], mfn(2));
  say("new base: %s\n", result_text(ext(NEW_BASE, mfn(2), 0)));
  show("root", frame[2], mfn(2));
  say("user base too: %s\n", result_text(ext(NEW_USER_BASE, mfn(2), 0)));
  show("both", frame[2], mfn(2));
  u64 value;
  say("M2P: %s\n", fault_on_read((u64 *)MACH2PHYS_VIRT_START + mfn(2), &value) ? "fault" : value == va_to_pfn(frame[2]) ? "right" : "wrong");
  ext(NEW_USER_BASE, 0, 0);
  say("and back: %s\n", result_text(ext(NEW_BASE, old, 0)));
  say("unpin: %s\n", result_text(ext(UNPIN, mfn(2), 0)));
  show("was the root", frame[2], mfn(2));
  show("kernel's root", root, old);
  strict(false);
  become(2, "was the root");
}

/* An L4 whose L3 in slot `l4` has an L2 in slot `l3` with a bad entry in slot `l2`. What of the three can be written after the refusal? */
static void deep_failure(u32 l4, u32 l3, u32 l2, bool by_update) {
  for (u32 i = 3; i < 7; i++) {
    map(i, DATA);
    memset(frame[i], 0, PAGE_SIZE);
  }
  frame[3][l4] = by_update ? 0 : mfn(4) * PAGE_SIZE | TABLE;
  frame[4][l3] = mfn(5) * PAGE_SIZE | TABLE;
  if (l2) frame[5][0] = mfn(6) * PAGE_SIZE | TABLE;
  frame[5][l2] = foreign * PAGE_SIZE | TABLE;
  for (u32 i = 3; i < 7; i++) map(i, DATA & ~PTE_RW);
  long result = ext(PIN_L4, mfn(3), 0);
  if (by_update) {
    struct mmu_update request = {machine_address(&frame[3][l4]), mfn(4) * PAGE_SIZE | TABLE};
    result = call(HC_mmu_update, (u64)&request, 1, 0, DOMID_SELF, 0);
  }
  say("L4[%u] L3[%u] L2[%u] bad%s: %s, writable:", l4, l3, l2, by_update ? ", by update" : "", result_text(result));
  for (u32 i = 3; i < 7; i++) say(" %s", result_text(map(i, DATA)));
  map(5, DATA & ~PTE_RW);
  say(", as L1 %s", result_text(ext(PIN_L1, mfn(5), 0)));
  say(", again %s", result_text(ext(PIN_L2, mfn(5), 0)));
  say(", writable %s", result_text(map(5, DATA)));
  map(5, DATA & ~PTE_RW);
  /* The bad entry goes by the one way that there is. */
  struct mmu_update mend = {machine_address(&frame[5][l2]), 0};
  say(", mended %s", result_text(call(HC_mmu_update, (u64)&mend, 1, 0, DOMID_SELF, 0)));
  result = ext(PIN_L2, mfn(5), 0);
  say(", pinned %s", result_text(result));
  if (!result) say(", unpinned %s", result_text(ext(UNPIN, mfn(5), 0)));
  say(", writable %s\n", result_text(map(5, DATA)));
  ext(UNPIN, mfn(3), 0);
}

void section_slots(u32 count) {
  (void)count;
  for (u32 i = 0; i < 4; i++) one_life(i & 1, i & 2);
  kernel_root(false);
  kernel_root(true);
  static const u16 places[] = {0, 1, 300, 511};
  for (u32 i = 0; i < 64; i++) deep_failure(places[i / 16], places[i / 4 % 4], places[i % 4], false);
  for (u32 i = 0; i < 64; i++) deep_failure(places[i / 16], places[i / 4 % 4], places[i % 4], true);
  update_va_mapping(window, 0, 0);
}
