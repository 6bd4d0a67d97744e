/* The processor as a PV kernel finds it: privileged instructions, control and debug registers, MSRs, CPUID, ports. */
#include "probe.h"

/* Runs an instruction and says what came of it, with every register that it changed. */
static void run(const char *what, const u8 *code, u64 length) {
  static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"};
  char line[600];
  u64 n = 0, cr2 = trap.cr2;
  execute(code, length);
  n += format(line, sizeof line, "%s: %s", what, trap_text());
  const u64 *before = (u64 *)&snippet_in, *after = (u64 *)&snippet_out;
  for (u32 i = 0; i < ARRAY_SIZE(names); i++)
    if (before[i] != after[i] && i != 4) n += format(line + n, sizeof line - n, after[i] - (u64)GOOD < PAGE_SIZE ? " %s=good+%lx" : " %s=%lx", names[i], after[i] - (after[i] - (u64)GOOD < PAGE_SIZE ? (u64)GOOD : 0));
  if (trap.vector == 14) n += format(line + n, sizeof line - n, " cr2 %lx", trap.cr2);
  (void)cr2;
  say("%s\n", line);
}

static void fill(u64 rax, u64 rcx, u64 rdx) {
  snippet_in = (struct registers){.rax = rax, .rcx = rcx, .rdx = rdx, .rbx = 0x1111222233334444, .rsi = 0x5555, .rdi = 0x6666, .rflags = 0x202};
}

#define RUN(what, ...) do { static const u8 code[] = {__VA_ARGS__}; run(what, code, sizeof code); } while (0)

static void instructions(void) {
  fill(0, 0, 0);
  RUN("clts", 0x0f, 0x06);
  RUN("invd", 0x0f, 0x08);
  RUN("wbinvd", 0x0f, 0x09);
  RUN("hlt", 0xf4);
  RUN("cli", 0xfa);
  RUN("sti", 0xfb);
  RUN("pushf; pop rax", 0x9c, 0x58);
  RUN("iretd", 0xcf);
  RUN("sysret", 0x48, 0x0f, 0x07);
  RUN("sysexit", 0x0f, 0x35);
  RUN("sysenter", 0x0f, 0x34);
  RUN("swapgs", 0x0f, 0x01, 0xf8);
  RUN("rdtscp", 0x0f, 0x01, 0xf9);
  RUN("monitor", 0x0f, 0x01, 0xc8);
  RUN("mwait", 0x0f, 0x01, 0xc9);
  RUN("vmcall", 0x0f, 0x01, 0xc1);
  RUN("vmlaunch", 0x0f, 0x01, 0xc2);
  RUN("vmmcall", 0x0f, 0x01, 0xd9);
  RUN("vmrun", 0x0f, 0x01, 0xd8);
  RUN("stgi", 0x0f, 0x01, 0xdc);
  RUN("clgi", 0x0f, 0x01, 0xdd);
  RUN("skinit", 0x0f, 0x01, 0xde);
  RUN("invlpga", 0x0f, 0x01, 0xdf);
  RUN("xgetbv", 0x0f, 0x01, 0xd0);
  RUN("xsetbv", 0x0f, 0x01, 0xd1);
  RUN("rdpmc", 0x0f, 0x33);
  RUN("rsm", 0x0f, 0xaa);
  RUN("clac", 0x0f, 0x01, 0xca);
  RUN("stac", 0x0f, 0x01, 0xcb);
  RUN("invlpg [rsp]", 0x0f, 0x01, 0x3c, 0x24);
  RUN("lgdt [rsp]", 0x0f, 0x01, 0x14, 0x24);
  RUN("lidt [rsp]", 0x0f, 0x01, 0x1c, 0x24);
  RUN("lmsw ax", 0x0f, 0x01, 0xf0);
  RUN("lldt ax", 0x0f, 0x00, 0xd0);
  RUN("ltr ax", 0x0f, 0x00, 0xd8);
  RUN("ud0", 0x0f, 0xff, 0xc0);
  RUN("ud1", 0x0f, 0xb9, 0xc0);
  RUN("ud2", 0x0f, 0x0b);
  RUN("ud2; xen", 0x0f, 0x0b, 'x', 'e', 'n');
  RUN("ud2; xen; nop", 0x0f, 0x0b, 'x', 'e', 'n', 0x90);
  RUN("ud2; xen; rdtsc", 0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0x31);
  RUN("push es", 0x06);
  RUN("aam", 0xd4, 0x0a);
  RUN("into", 0xce);
  RUN("jmp far", 0xea, 0, 0, 0, 0, 0, 0);
  RUN("call far", 0x9a, 0, 0, 0, 0, 0, 0);
  RUN("lock nop", 0xf0, 0x90);
  RUN("lock mov", 0xf0, 0x89, 0xc0);
  RUN("fifteen prefixes", 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90);
  RUN("int3", 0xcc);
  RUN("int1", 0xf1);
  RUN("int 3", 0xcd, 3);
  RUN("div by zero", 0xf7, 0xf1);
  RUN("idiv by zero", 0x48, 0xf7, 0xf9);
  RUN("mov rax, [0]", 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0);
  RUN("mov [0], rax", 0x48, 0x89, 0x04, 0x25, 0, 0, 0, 0);
  fill(NO_CANONICAL, 0, 0);
  RUN("mov rbx, [not canonical]", 0x48, 0x8b, 0x18);
  RUN("jmp not canonical", 0xff, 0xe0);
  RUN("push [not canonical]", 0xff, 0x30);
  fill(NOT_MAPPED, 0, 0);
  RUN("jmp unmapped", 0xff, 0xe0);
  RUN("call unmapped", 0xff, 0xd0);
  fill(MACH2PHYS_VIRT_START, 0, 0);
  RUN("mov [M2P], rbx", 0x48, 0x89, 0x18);
  RUN("jmp M2P", 0xff, 0xe0);
  fill(0xffff830000000000, 0, 0);
  RUN("mov rbx, [Xen]", 0x48, 0x8b, 0x18);
  RUN("mov [Xen], rbx", 0x48, 0x89, 0x18);
  RUN("jmp Xen", 0xff, 0xe0);
  fill(0, 0, 0);
  snippet_in.rbp = NO_CANONICAL;
  RUN("mov rbx, [rbp], not canonical", 0x48, 0x8b, 0x5d, 0x00);
  fill(0, 0, 0);
  snippet_in.rflags = 0x40202;
  RUN("mov rax, [rsp+1] with AC", 0x48, 0x8b, 0x44, 0x24, 0x01);
  snippet_in.rflags = 0x202;
}

static void control_registers(void) {
  static const u64 values[] = {0, 1, 0x80050033, 0x8005003b, 0x80010033, 0x8000002b, 0x8001003b, 0x20, 0x6f0, 0x2660, 0x660, 0x668, 0x664, 0x760, 0x100000000, ~0UL};
  char what[64];
  for (u8 n = 0; n < 16; n++) {
    u8 read[] = {0x0f, 0x20, (u8)(0xc0 | (n & 7) << 3)}, read8[] = {0x44, 0x0f, 0x20, (u8)(0xc0 | (n & 7) << 3)};
    format(what, sizeof what, "mov rax, cr%u", n);
    fill(0x1234, 0, 0);
    if (n == 3) {
      execute(read, sizeof read);
      say("%s: %s, %s\n", what, trap_text(), snippet_out.rax == va_to_mfn((void *)start_info->pt_base) * PAGE_SIZE ? "the root" : "another");
    } else if (n == 2) continue;
    else run(what, n < 8 ? read : read8, n < 8 ? sizeof read : sizeof read8);
    u8 write[] = {0x0f, 0x22, (u8)(0xc0 | (n & 7) << 3)}, write8[] = {0x44, 0x0f, 0x22, (u8)(0xc0 | (n & 7) << 3)};
    for (u32 v = 0; v < ARRAY_SIZE(values); v++) {
      format(what, sizeof what, "mov cr%u, %lx", n, values[v]);
      fill(values[v], 0, 0);
      run(what, n < 8 ? write : write8, n < 8 ? sizeof write : sizeof write8);
      if (n != 0 && n != 4) continue;
      format(what, sizeof what, "mov rax, cr%u then", n);
      fill(0, 0, 0);
      run(what, read, sizeof read);
    }
  }
  static const u8 clts[] = {0x0f, 0x06};
  execute(clts, sizeof clts);
  fill(0x80050033, 0, 0);
  static const u8 smsw[] = {0x0f, 0x01, 0xe0}, str[] = {0x0f, 0x00, 0xc8}, sldt[] = {0x0f, 0x00, 0xc0};
  run("smsw eax", smsw, sizeof smsw);
  execute(sldt, sizeof sldt);
  say("sldt: %s, %lx\n", trap_text(), snippet_out.rax);
  execute(str, sizeof str);
  say("str: %s\n", trap_text());
}

static void debug_registers(void) {
  static const u64 values[] = {0, 1, 0x1000, 0x00007fffffffffff, 0x0000800000000000, 0xffff7fffffffffff, 0xffff800000000000, 0xffff87ffffffffff, 0xffff880000000000,
                               0xffffffff80000000, 0x400, 0x2400, 0x4ff, 0x755, 0x10755, 0xffff0ff0, 0x20401, 0x20001, 0xf0403, 0x100000000, 0xffffffff, ~0UL};
  char what[64];
  for (u8 n = 0; n < 9; n++)
    for (u32 v = 0; v < ARRAY_SIZE(values); v++) {
      u64 value = values[v];
      if (n == 7 && (value & 0xff)) value &= ~0xffUL; /* nothing is enabled that the probe would run into */
      long result = call(8, n, value, 0, 0, 0);
      say("set_debugreg %u %lx: %s", n, value, result_text(result));
      say(", then %lx\n", (u64)call(9, n, 0, 0, 0, 0));
      if (n > 7) continue;
      u8 write[] = {0x0f, 0x23, (u8)(0xc0 | n << 3)}, read[] = {0x0f, 0x21, (u8)(0xc0 | n << 3)};
      fill(value ^ (v & 1), 0, 0);
      if (n == 7) snippet_in.rax = value;
      format(what, sizeof what, "mov dr%u, %lx", n, snippet_in.rax);
      run(what, write, sizeof write);
      format(what, sizeof what, "mov rax, dr%u", n);
      fill(0x99, 0, 0);
      run(what, read, sizeof read);
    }
  for (u64 n = 0; n < 8; n++) call(8, n, n == 7 ? 0x400 : 0, 0, 0, 0);
}

void section_privileged(u32 count) {
  (void)count;
  instructions();
  control_registers();
  debug_registers();
}

static const u8 rdmsr[] = {0x0f, 0x32}, wrmsr[] = {0x0f, 0x30};

/* What is the machine's own, or runs on. */
static bool masked(u32 msr) { return msr == 0x10 || msr == 0x8b || msr == 0xe7 || msr == 0xe8 || msr == 0x6e0 || msr == 0xc0000103; }

static void one_msr(u32 msr) {
  fill(0, msr, 0);
  execute(rdmsr, sizeof rdmsr);
  bool readable = trap.vector == NO_TRAP;
  u64 value = (u32)snippet_out.rax | snippet_out.rdx << 32;
  say("rdmsr %x: %s", msr, trap_text());
  if (readable && !masked(msr)) say(" %lx", value);
  u64 writes[] = {0, 1, value, ~0UL, 0x00007fffffffffff, 0x0000800000000000};
  say("; wrmsr");
  bool same = true;
  char outcomes[ARRAY_SIZE(writes) + 1] = "";
  for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
    fill((u32)writes[i], msr, writes[i] >> 32);
    execute(wrmsr, sizeof wrmsr);
    outcomes[i] = trap.vector == NO_TRAP ? '.' : trap.vector == 13 && trap.error == 0 ? 'G' : '?';
    if (!readable || masked(msr)) continue;
    fill(0, msr, 0);
    execute(rdmsr, sizeof rdmsr);
    same &= value == ((u32)snippet_out.rax | snippet_out.rdx << 32);
  }
  say(" %s%s\n", outcomes, same ? "" : ", it changes");
  if (readable && !same) {
    fill((u32)value, msr, value >> 32);
    execute(wrmsr, sizeof wrmsr);
  }
}

/* Reads every register of the ranges that Xen looks at, and tries to write each. */
void section_msrs(u32 count) {
  static const struct { u32 from, to; } ranges[] = {{0, 0x340}, {0x380, 0x3a0}, {0x3b0, 0x3c0}, {0x3f0, 0x420}, {0x480, 0x4a0}, {0x560, 0x5a0}, {0x600, 0x660}, {0x6a0, 0x6c0}, {0x6e0, 0x6e4}, {0x770, 0x778},
                                                    {0x800, 0x840}, {0x8ff, 0x902}, {0xc80, 0xc90}, {0xd90, 0xda8}, {0x1000, 0x1004}, {0x40000000, 0x40000010}, {0x40000020, 0x40000024}, {0x40000073, 0x40000078}, {0x40000100, 0x40000110},
                                                    {0x40000200, 0x40000202}, {0x80000000, 0x80000002}, {0xc0000080, 0xc0000088}, {0xc0000100, 0xc0000108}, {0xc00000e0, 0xc00000f0}, {0xc0010000, 0xc0010070}, {0xc0010110, 0xc0010120},
                                                    {0xc0010140, 0xc0010144}, {0xc0010200, 0xc0010210}, {0xc0011000, 0xc0011040}, {0xfffffff0, 0xffffffff}};
  (void)count;
  for (u32 r = 0; r < ARRAY_SIZE(ranges); r++)
    for (u32 msr = ranges[r].from; msr < ranges[r].to; msr++) {
      if (msr == 0x40000000) { /* the hypercall page: written by its own lines */
        static const u64 pages[] = {0, 0xa0000, ~0UL};
        for (u32 i = 0; i < ARRAY_SIZE(pages) + 3; i++) {
          u64 to = i < 3 ? pages[i] : machine_address(GOOD) + (i - 3) * 0x801;
          fill((u32)to, msr, to >> 32);
          memset(GOOD, 0, PAGE_SIZE);
          execute(wrmsr, sizeof wrmsr);
          say("wrmsr 40000000, page %u: %s, %x %x\n", i, trap_text(), *(u32 *)GOOD, ((u32 *)GOOD)[8]);
        }
        continue;
      }
      one_msr(msr);
    }
}

void section_cpuid(u32 count) {
  static const u8 forced[] = {0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2};
  static const struct { u32 from, to; } ranges[] = {{0, 0x28}, {0x40000000, 0x40000008}, {0x40000080, 0x40000082}, {0x40000100, 0x40000108}, {0x80000000, 0x80000024}, {0xc0000000, 0xc0000002}, {0xfffffffe, 0xffffffff}};
  (void)count;
  for (u32 r = 0; r < ARRAY_SIZE(ranges); r++)
    for (u32 leaf = ranges[r].from; leaf < ranges[r].to; leaf++)
      for (u32 sub = 0; sub < 4; sub++) {
        u64 first[4];
        fill(leaf, sub, 0);
        execute(forced, sizeof forced);
        struct registers asked = snippet_out;
        first[0] = asked.rax, first[1] = asked.rbx, first[2] = asked.rcx, first[3] = asked.rdx;
        say("cpuid %x %x: %s %lx %lx %lx %lx\n", leaf, sub, trap_text(), first[0], first[1], first[2], first[3]);
      }
}

void section_ports(u32 count) {
  static const u16 ports[] = {0, 0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0xa0, 0xcf8, 0xcf9, 0xcfa, 0xcfc, 0xcfe, 0x3f8, 0x3fd, 0x1f0, 0x8000, 0xfffe, 0xffff};
  static const u8 codes[][3] = {{0xec}, {0xed}, {0x66, 0xed}, {0xee}, {0xef}, {0x66, 0xef}, {0x6c}, {0x6d}, {0x6e}, {0x6f}, {0x66, 0x6d}, {0xe4, 0x20}, {0xe6, 0x80}};
  static const u8 lengths[] = {1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 2, 2, 2};
  static const char *const names[] = {"in al, dx", "in eax, dx", "in ax, dx", "out dx, al", "out dx, eax", "out dx, ax", "insb", "insd", "outsb", "outsd", "insw", "in al, 20", "out 80, al"};
  char what[80];
  (void)count;
  for (u32 mode = 0; mode < 5; mode++) {
    /* Privilege 0, 1 and 3; then 0 with a bitmap that permits all, and one that permits every other. */
    u64 iopl = mode == 1 ? 1 : mode == 2 ? 3 : 0;
    struct { u64 at; u32 ports; } bitmap = {mode > 2 ? (u64)arena[0] : 0, mode > 2 ? 65536 : 0};
    memset(arena[0], mode == 4 ? 0x55 : 0, PAGE_SIZE);
    call(33, 6, (u64)&iopl, 0, 0, 0);
    call(33, 7, (u64)&bitmap, 0, 0, 0);
    for (u32 p = 0; p < ARRAY_SIZE(ports); p++)
      for (u32 c = 0; c < ARRAY_SIZE(codes); c++) {
        bool pit = (ports[p] & ~3) == 0x40 || ports[p] == 0x61;
        if (mode > 0 && pit && c < 3 && !(mode == 1 && c == 0)) continue; /* it counts */
        if (c > 10 && p) continue;
        fill(0x1234567800000000 | (ports[p] == 0x61 || ports[p] == 0x43 ? 0 : 0x80000000), 1, ports[p]);
        snippet_in.rsi = snippet_in.rdi = (u64)GOOD;
        memset(GOOD, 0x11, 16);
        format(what, sizeof what, "mode %u, port %x, %s", mode, ports[p], names[c]);
        run(what, codes[c], lengths[c]);
      }
  }
  u64 none[2] = {0, 0};
  call(33, 6, (u64)none, 0, 0, 0);
  call(33, 7, (u64)none, 0, 0, 0);
}
