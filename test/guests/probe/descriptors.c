/* Segment descriptors: which may be written, and what each does when it is loaded, looked at, or jumped to; the GDT, the LDT and the bases of FS and GS. */
#include "probe.h"

#define SET_LDT 13

static PAGES u64 gdt[512], gdt2[512], ldt[1024];
static u16 selector; /* of the descriptor in hand */
static u64 ldt_at;

static long ext(u32 command, u64 first, u64 second) {
  struct mmuext_op op = {command, first, second};
  return call(HC_mmuext_op, (u64)&op, 1, 0, DOMID_SELF, 0);
}
static void read_only(void *page) { update_va_mapping(page, va_to_mfn(page) * PAGE_SIZE | (DATA & ~PTE_RW), UVMF_INVLPG); }
static void writable(void *page) { update_va_mapping(page, va_to_mfn(page) * PAGE_SIZE | DATA, UVMF_INVLPG); }
static long describe(u64 *at, u64 value) { return call(10, machine_address(at), value, 0, 0, 0); }
static long set_gdt(u64 *page, u64 entries) {
  u64 frames[1] = {va_to_mfn(page)};
  return call(2, (u64)frames, entries, 0, 0, 0);
}

static void outcome(const char *what) {
  static const char *const names[] = {[1] = "DB", [3] = "BP", [6] = "UD", [10] = "TS", [11] = "NP", [12] = "SS", [13] = "GP", [14] = "PF"};
  say(" %s", what);
  if (trap.vector == NO_TRAP) return;
  if (trap.vector < ARRAY_SIZE(names) && names[trap.vector]) say(":#%s", names[trap.vector]);
  else say(":%lx", trap.vector);
  if (trap.has_error) say("(%lx)", trap.error);
  if (trap.vector == 14 && trap.cr2 == NOT_MAPPED && trap.rip == NOT_MAPPED) say("@target");
  else if (trap.vector == 14) say("@+%lx", trap.cr2 - ldt_at);
}

static void registers(void) { snippet_in = (struct registers){.rax = selector, .rbx = 0x1111222233334444, .rflags = 0x202}; }

#define TRY(what, ...) do { static const u8 code[] = {__VA_ARGS__}; registers(); execute(code, sizeof code); outcome(what); } while (0)

static void loads(bool all) {
  TRY("ds", 0x8e, 0xd8);
  TRY("ss", 0x8e, 0xd0);
  if (!all) return;
  TRY("es", 0x8e, 0xc0);
  TRY("fs", 0x8e, 0xe0);
  TRY("gs", 0x8e, 0xe8);
  TRY("popfs", 0x50, 0x0f, 0xa1);
  TRY("popgs", 0x50, 0x0f, 0xa9);
  static const u8 null[] = {0x31, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8};
  registers();
  execute(null, sizeof null);
}

static void queries(void) {
  static const u8 lar[] = {0x0f, 0x02, 0xd8}, lsl[] = {0x0f, 0x03, 0xd8}, verr[] = {0x0f, 0x00, 0xe0}, verw[] = {0x0f, 0x00, 0xe8};
  static const struct { const char *name; const u8 *code; } list[] = {{"lar", lar}, {"lsl", lsl}, {"verr", verr}, {"verw", verw}};
  for (u32 i = 0; i < ARRAY_SIZE(list); i++) {
    registers();
    execute(list[i].code, 3);
    if (trap.vector != NO_TRAP) outcome(list[i].name);
    else if (!(snippet_out.rflags & 0x40)) continue;
    else if (i < 2) say(" %s %lx", list[i].name, i ? snippet_out.rbx : snippet_out.rbx & 0xf0ff00); /* the rest is undefined */
    else say(" %s", list[i].name);
  }
}

/* Far transfers to it: by a return, by iretq and by a jump; what is there says where it came. Not by a call, for which QEMU cuts rsp. */
static void transfers(void) {
  static const u8 retf[] = {0x48, 0xcb}, iretq[] = {0x48, 0xcf}, jump[] = {0xff, 0x2c, 0x24};
  static const struct { const char *name; const u8 *code; u8 length; } list[] = {{"retf", retf, 2}, {"iretq", iretq, 2}, {"jmpf", jump, 3}};
  u64 *stack = (u64 *)SNIPPET_STACK;
  for (u32 i = 0; i < ARRAY_SIZE(list); i++) {
    registers();
    far_code[0] = 0xcc;
    if (i > 1) stack[0] = NOT_MAPPED | (u64)selector << 32; /* 32 bits of offset, whatever the vendor */
    else stack[0] = (u64)far_code, stack[1] = selector;
    stack[2] = 0x202, stack[3] = SNIPPET_STACK + 64, stack[4] = FLAT_KERNEL_SS;
    execute(list[i].code, list[i].length);
    outcome(list[i].name);
    if (trap.vector == 3) say("/%x", (u16)trap.cs);
  }
}

static u64 descriptor(u32 access, u32 flags) { return 0x0012345600006789UL | (u64)access << 40 | (u64)flags << 52 | 0xaUL << 48; }

/* Every access byte, with the sorts of size that there are. */
static void every_descriptor(void) {
  static const u8 sorts[] = {0, 2, 4, 6, 8, 10, 12, 1};
  for (u32 access = 0; access < 256; access++)
    for (u32 s = 0; s < ARRAY_SIZE(sorts); s++) {
      u64 value = descriptor(access, sorts[s]);
      if (s > 3 && access % 16 % 5 != 3) continue;
      describe(&gdt[1], 0);
      long result = describe(&gdt[1], value);
      say("access %x flags %x: %s", access, sorts[s], result_text(result));
      if (!result) {
        if (gdt[1] != value) say(", becomes %lx", gdt[1] >> 40);
        u64 before = gdt[1];
        selector = 8 | 3;
        loads(s == 2);
        queries();
        /* 32-bit code goes to half of an address */
        bool code32 = (gdt[1] >> 43 & 3) == 3 && !(sorts[s] & 2) && access & 0x80;
        if (!code32) transfers();
        if (gdt[1] != before) say(", then %lx", gdt[1] >> 40);
      }
      say("\n");
    }
}

/* Selectors of all privileges, for one segment of each sort, in both tables and beyond them. */
static void every_selector(void) {
  static const u64 values[] = {0x00cff3000000ffff, 0x00affb000000ffff, 0x00aff9000000ffff, 0x00affe000000ffff, 0x00cff1000000ffff, 0x00cf73000000ffff, 0x0000e2000000ffff, 0x0000ec0000330000, 0};
  static const u16 others[] = {0, 1, 2, 3, 0xfff8, 0xfffb, 0x1000, 0x1003, 0xe000, 0xe003, 0xe008, 0xe00b, 0xe010, 0xe013, 0xe018, 0xe019, 0xe01b, 0xe023, 0xe028, 0xe029, 0xe02a, 0xe02b, 0xe030, 0xe031, 0xe032, 0xe033,
                               0xe038, 0xe03b, 0xe040, 0xe043, 0xe048, 0xe050, 0xe053, 0xe058, 0xe060, 0xe068, 0xe06b, 0xe070, 0xe078, 0xe07b, 0xe080, 0xe100, 0xe103, 0xe800, 0xf000, 0xffff, 7, 4};
  for (u32 i = 0; i < ARRAY_SIZE(values); i++)
    for (u32 rpl = 0; rpl < 4; rpl++) {
      long result = describe(&gdt[2], values[i]);
      selector = (u16)(2 * 8 | rpl);
      say("descriptor %lx, selector %x: %s", values[i], selector, result_text(result));
      loads(true);
      queries();
      transfers();
      say("\n");
    }
  for (u32 i = 0; i < ARRAY_SIZE(others); i++) {
    selector = others[i];
    say("selector %x:", selector);
    loads(true);
    /* Xen's own descriptors are its own matter, but for the flat ones */
    if (selector < 0xe000 || (selector | 3) == 0xe023 || (selector | 3) == 0xe02b || (selector | 3) == 0xe033) queries();
    if ((selector | 3) != 0xe023) transfers();
    say("\n");
  }
}

static void gates(void) {
  static const u16 targets[] = {0, 3, 8, 0x10, 0xe008, 0xe010, 0xe019, 0xe023, 0xe02b, 0xe030, 0xe033, 0xe034, 0xe038, 0xfff8, 0xffff};
  for (u32 i = 0; i < ARRAY_SIZE(targets); i++)
    for (u32 counts = 0; counts < 3; counts++) {
      u64 gate = 0x1234 | (u64)targets[i] << 16 | 0xecUL << 40 | (counts == 1 ? 1UL << 32 : counts == 2 ? 1UL << 37 : 0) | 0x5678UL << 48;
      describe(&gdt[2], 0), describe(&gdt[3], 0);
      long result = describe(&gdt[2], gate);
      say("gate to %x%s: %s", targets[i], counts == 1 ? ", count 1" : counts == 2 ? ", bit 5" : "", result_text(result));
      if (!result) {
        if (gdt[2] != gate) say(", becomes %lx", gdt[2]);
        selector = 2 * 8 | 3;
        loads(false);
        queries();
        transfers();
      }
      say("\n");
    }
  describe(&gdt[2], 0);
}

static void updates(void) {
  static const u64 flat = 0x00cff3000000ffff;
  u64 base = machine_address(gdt);
  for (u64 low = 0; low < 9; low++) say("update_descriptor gdt+%lx: %s\n", low, result_text(call(10, base + low, flat, 0, 0, 0)));
  struct { const char *name; u64 at; } places[] = {
      {"data", machine_address(arena[4])}, {"read-only data", machine_address(READ_ONLY)}, {"root", machine_address((void *)start_info->pt_base)}, {"foreign", foreign * PAGE_SIZE},
      {"shared info", start_info->shared_info}, {"frame 0", 0}, {"vga", 0xa0000}, {"beyond", 0x7ffffffff000}, {"all ones", ~0xfffUL}, {"gdt2", machine_address(gdt2)}};
  for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
    say("update_descriptor %s: %s", places[i].name, result_text(call(10, places[i].at, flat, 0, 0, 0)));
    say(", of zero %s", result_text(call(10, places[i].at, 0, 0, 0, 0)));
    say(", of a TSS %s\n", result_text(call(10, places[i].at, 0x0000890000000067, 0, 0, 0)));
  }
}

/* A page with one bad descriptor becomes a GDT, or not; sizes; and what is still in it. */
static void tables(void) {
  static const u64 values[] = {0, 0x00cff3000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff, 0x0000890000000067, 0x0000820000000000, 0x00008e0000000000, 0x00008c0000000000, 0x00008c00e0080000, 0x00008c01e0330000,
                               0x0000050000000000, 0x0000800000000000, 0x0000e00012345678};
  static const u16 slots[] = {0, 1, 255, 510, 511};
  static const u64 counts[] = {0, 1, 2, 511, 512};
  set_gdt(gdt, 0);
  for (u32 v = 0; v < ARRAY_SIZE(values); v++)
    for (u32 s = 0; s < ARRAY_SIZE(slots); s++) {
      writable(gdt2);
      memset(gdt2, 0, PAGE_SIZE);
      gdt2[slots[s]] = values[v];
      say("set_gdt with %lx at %u: writable %s", values[v], slots[s], result_text(set_gdt(gdt2, 512)));
      read_only(gdt2);
      say(", read-only %s", result_text(set_gdt(gdt2, 512)));
      if (gdt2[slots[s]] != values[v]) say(", becomes %lx", gdt2[slots[s]]);
      say(", writable then %s", result_text(update_va_mapping(gdt2, va_to_mfn(gdt2) * PAGE_SIZE | DATA, UVMF_INVLPG)));
      set_gdt(gdt2, 0);
      say(", and without it %s\n", result_text(update_va_mapping(gdt2, va_to_mfn(gdt2) * PAGE_SIZE | DATA, UVMF_INVLPG)));
    }
  memset(gdt2, 0, PAGE_SIZE);
  for (u32 i = 0; i < 512; i++) gdt2[i] = 0x00cff3000000ffff;
  read_only(gdt2);
  for (u32 c = 0; c < ARRAY_SIZE(counts); c++) {
    say("set_gdt of %lu: %s", counts[c], result_text(set_gdt(gdt2, counts[c])));
    for (u32 s = 0; s < ARRAY_SIZE(slots); s++) {
      selector = (u16)(slots[s] * 8 | 3);
      say(", %u:", slots[s]);
      loads(false);
    }
    say("\n");
  }
  u64 twice[16];
  for (u32 i = 0; i < 16; i++) twice[i] = va_to_mfn(gdt2);
  static const u64 sizes[] = {513, 1024, 1025, 7167, 7168, 7169, 8192, 0xffffffff, 0x100000001};
  for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
    say("set_gdt of the same page, %lu: %s", sizes[i], result_text(call(2, (u64)twice, sizes[i], 0, 0, 0)));
    static const u16 far[] = {600, 1023, 1024, 7166, 7167};
    for (u32 f = 0; f < ARRAY_SIZE(far); f++) {
      selector = (u16)(far[f] * 8 | 3);
      say(", %u:", far[f]);
      loads(false);
    }
    say("\n");
  }
  set_gdt(gdt2, 0);
  writable(gdt2);
}

static void ldts(void) {
  static const u64 flat = 0x00cff3000000ffff;
  for (u32 i = 0; i < 1024; i++) ldt[i] = flat;
  ldt[3] = 0x00cf93000000ffff; /* of ring 0: as it comes */
  ldt[6] = 0x00affb000000ffff;
  read_only(ldt), read_only(ldt + 512);
  struct { const char *name; u64 at, entries; } cases[] = {
      {"none", 0, 0}, {"one page", (u64)ldt, 512}, {"both", (u64)ldt, 1024}, {"seven", (u64)ldt, 7}, {"one", (u64)ldt, 1}, {"8192", (u64)ldt, 8192}, {"8193", (u64)ldt, 8193}, {"all", (u64)ldt, ~0UL},
      {"wide", (u64)ldt, 0x100000001}, {"odd", (u64)ldt + 8, 8}, {"odd2", (u64)ldt + 1, 8}, {"the second", (u64)(ldt + 512), 512}, {"unmapped", NOT_MAPPED, 512}, {"missing", (u64)MISSING, 512},
      {"not canonical", NO_CANONICAL, 8}, {"no canonical, none", NO_CANONICAL, 0}, {"Xen", 0xffff830000000000, 8}, {"M2P", MACH2PHYS_VIRT_START, 8}, {"data", (u64)arena[4], 512}, {"0", 0, 8}};
  static const u16 slots[] = {0, 1, 3, 6, 7, 511, 512, 1023, 8191};
  for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
    long result = ext(SET_LDT, cases[i].at, cases[i].entries);
    if (!result) ldt_at = cases[i].entries ? cases[i].at : 0;
    say("set_ldt %s, %lx: %s", cases[i].name, cases[i].entries, result_text(result));
    for (u32 s = 0; s < ARRAY_SIZE(slots); s++) {
      selector = (u16)(slots[s] * 8 | 7);
      say(", %u:", slots[s]);
      TRY("ds", 0x8e, 0xd8);
      TRY("ss", 0x8e, 0xd0);
      if (s < 4) queries();
    }
    selector = 6 * 8 | 7;
    say(", code:");
    transfers();
    static const u8 sldt[] = {0x0f, 0x00, 0xc0};
    execute(sldt, sizeof sldt);
    say(", sldt %lx\n", snippet_out.rax);
  }
  /* A page that is in use by the LDT, and one that is written meanwhile. */
  ext(SET_LDT, (u64)ldt, 512);
  selector = 8 | 7;
  TRY("loaded", 0x8e, 0xd8);
  say(", writable: %s", result_text(update_va_mapping(ldt, va_to_mfn(ldt) * PAGE_SIZE | DATA, UVMF_INVLPG)));
  say(", a descriptor: %s", result_text(describe(&ldt[1], 0)));
  TRY("then", 0x8e, 0xd8);
  say(", another: %s", result_text(describe(&ldt[1], 0x0000890000000067)));
  say(", set again: %s", result_text(ext(SET_LDT, (u64)ldt, 512)));
  say(", writable: %s", result_text(update_va_mapping(ldt, va_to_mfn(ldt) * PAGE_SIZE | DATA, UVMF_INVLPG)));
  TRY("and loaded", 0x8e, 0xd8);
  say("\n");
  ext(SET_LDT, 0, 0);
  writable(ldt), writable(ldt + 512);
}

/* The bases of FS and GS, as the processor uses them, by every way to set them. */
static void base_of(const char *what) {
  static const u8 fs[] = {0x64, 0x48, 0x8b, 0x1c, 0x25, 0, 0, 0, 0}, gs[] = {0x65, 0x48, 0x8b, 0x1c, 0x25, 0, 0, 0, 0};
  registers();
  execute(fs, sizeof fs);
  say("%s fs %s", what, trap.vector == NO_TRAP ? snippet_out.rbx == 0x1234 ? "A" : snippet_out.rbx == 0x5678 ? "B" : "?" : trap.vector == 13 ? "#GP" : trap.vector == 14 ? "#PF" : "#");
  registers();
  execute(gs, sizeof gs);
  say(" gs %s", trap.vector == NO_TRAP ? snippet_out.rbx == 0x1234 ? "A" : snippet_out.rbx == 0x5678 ? "B" : "?" : trap.vector == 13 ? "#GP" : trap.vector == 14 ? "#PF" : "#");
  registers();
  execute_user(gs, sizeof gs);
  say(", in user mode %s\n", trap.vector == NO_TRAP ? snippet_out.rbx == 0x1234 ? "A" : snippet_out.rbx == 0x5678 ? "B" : "?" : trap.vector == 13 ? "#GP" : trap.vector == 14 ? "#PF" : "#");
}

static void bases(void) {
  u64 *a = GOOD, *b = (u64 *)arena[4];
  char what[80];
  *a = 0x1234, *b = 0x5678;
  user_mode_init();
  describe(&gdt[4], 0x0040f2000000ffff | ((u64)a & 0xffffff) << 16);
  set_gdt(gdt, 512);
  for (u32 which = 0; which < 5; which++)
    for (u32 p = 0; p < nr_places; p++) {
      for (u32 i = 0; i < 3; i++) call(25, i, (u64)b, 0, 0, 0);
      if (which == 3) continue;
      format(what, sizeof what, "set_segment_base %u %s: %s,", which, places[p].name, result_text(call(25, which, places[p].at, 0, 0, 0)));
      base_of(what);
    }
  static const u64 selectors[] = {0, 1, 3, 4, 8, 0xb, 4 * 8, 4 * 8 | 3, 5 * 8, 0xe008, 0xe02b, 0xe033, 0xfff8, 0xffff, 0x1002b, 0xe02bUL << 16};
  for (u32 i = 0; i < ARRAY_SIZE(selectors); i++) {
    for (u32 k = 0; k < 3; k++) call(25, k, (u64)b, 0, 0, 0);
    format(what, sizeof what, "set_segment_base 3 %lx: %s,", selectors[i], result_text(call(25, 3, selectors[i], 0, 0, 0)));
    base_of(what);
    static const u8 read[] = {0x8c, 0xe8};
    execute_user(read, 2);
    say("gs then %lx\n", snippet_out.rax & 0xffff);
  }
  /* The same by MSRs: FS_BASE, GS_BASE, SHADOW_GS_BASE. */
  static const u8 wrmsr[] = {0x0f, 0x30};
  for (u32 msr = 0xc0000100; msr < 0xc0000103; msr++)
    for (u32 p = 0; p < nr_places; p++) {
      for (u32 i = 0; i < 3; i++) call(25, i, (u64)b, 0, 0, 0);
      snippet_in = (struct registers){.rax = (u32)places[p].at, .rdx = places[p].at >> 32, .rcx = msr, .rflags = 0x202};
      execute(wrmsr, 2);
      format(what, sizeof what, "wrmsr %x %s: %s,", msr, places[p].name, trap.vector == NO_TRAP ? "done" : "refused");
      base_of(what);
    }
  /* What loading a selector does to the base. */
  static const u16 loaded[] = {0, 3, 4 * 8, 4 * 8 | 3, 0xe02b};
  for (u32 i = 0; i < ARRAY_SIZE(loaded); i++) {
    for (u32 k = 0; k < 3; k++) call(25, k, (u64)b, 0, 0, 0);
    static const u8 code[] = {0x8e, 0xe0, 0x8e, 0xe8};
    selector = loaded[i];
    registers();
    execute(code, sizeof code);
    format(what, sizeof what, "fs and gs loaded with %x: %s,", loaded[i], trap.vector == NO_TRAP ? "done" : "refused");
    base_of(what);
  }
  selector = 0;
  static const u8 null[] = {0x8e, 0xe0, 0x8e, 0xe8};
  registers();
  execute(null, sizeof null);
  for (u32 k = 0; k < 3; k++) call(25, k, 0, 0, 0, 0);
}

void section_descriptors(u32 count) {
  (void)count;
  for (u32 i = 0; i < 512; i++) gdt[i] = 0;
  read_only(gdt);
  say("set_gdt: %s\n", result_text(set_gdt(gdt, 512)));
  updates();
  every_descriptor();
  every_selector();
  gates();
  tables();
  ldts();
  bases();
}
