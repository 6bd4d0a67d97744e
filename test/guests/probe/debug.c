/* Debug registers at work: breakpoints on instructions, data and ports, single steps; and CR0.TS and the faults of the FPU. */
#include "probe.h"

#define CODE(...) (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__})
#define DR6_CLEAR 0xffff0ff0
#define DR7_NONE 0x400

static u64 *data; /* 16-byte aligned, with room on both sides */

static long set_dr(u64 n, u64 value) { return call(8, n, value, 0, 0, 0); }
static u64 get_dr(u64 n) { return (u64)call(9, n, 0, 0, 0, 0); }
static void forget(void) {
  set_dr(7, DR7_NONE);
  for (u64 i = 0; i < 4; i++) set_dr(i, 0);
  set_dr(6, DR6_CLEAR);
}

static void fill(void) {
  u64 at = (u64)data;
  for (u32 i = 0; i < 512; i++) ((u64 *)GOOD)[i] = (u64)far_code;
  far_code[0] = 0xcc;
  snippet_in = (struct registers){.rax = at, .rbx = 0x1111222233334444, .rcx = 3, .rdx = 0x80, .rsi = at, .rdi = at, .rflags = 0x202};
}

/* Runs it with DR7 as `armed` says, and only then: what the probe itself touches is not to be met. */
static const char *run(u64 armed, const u8 *code, u64 length) {
  static char text[120];
  fill();
  set_dr(7, armed);
  execute(code, length);
  set_dr(7, DR7_NONE);
  u64 dr6 = get_dr(6);
  format(text, sizeof text, "%s, dr6 %lx", trap_text(), dr6);
  set_dr(6, DR6_CLEAR);
  return text;
}

/* DR7's fields for breakpoint 0. */
static u64 dr7(u32 kind, u32 length) { return 0x401 | (u64)(kind | length << 2) << 16; }

struct piece { const char *name; const u8 *code; u64 length; };

static void data_breakpoints(void) {
  static const char *const kinds[] = {"execute", "write", "io", "read/write"};
  static const u8 bytes[] = {1, 2, 8, 4};
  const struct piece pieces[] = {
      {"mov ebx, [rax]", CODE(0x8b, 0x18)}, {"mov [rax], ebx", CODE(0x89, 0x18)}, {"mov [rax+4], ebx", CODE(0x89, 0x58, 0x04)}, {"mov [rax-1], bx", CODE(0x66, 0x89, 0x58, 0xff)},
      {"mov [rax-8], rbx", CODE(0x48, 0x89, 0x58, 0xf8)}, {"mov bl, [rax+3]", CODE(0x8a, 0x58, 0x03)}, {"add [rax], ebx", CODE(0x01, 0x18)}, {"cmp [rax], ebx", CODE(0x39, 0x18)}, {"xchg [rax], ebx", CODE(0x87, 0x18)},
      {"lock cmpxchg [rax], rbx", CODE(0xf0, 0x48, 0x0f, 0xb1, 0x18)}, {"lock cmpxchg16b [rax]", CODE(0xf0, 0x48, 0x0f, 0xc7, 0x08)}, {"push [rax]", CODE(0xff, 0x30)}, {"pop [rax]", CODE(0x50, 0x8f, 0x00)},
      {"mov rsp, rax; push; pop", CODE(0x48, 0x89, 0xc4, 0x53, 0x5b)}, {"movsb", CODE(0xa4)}, {"stosd", CODE(0xab)}, {"lodsb", CODE(0xac)}, {"rep stosb", CODE(0xf3, 0xaa)}, {"rep lodsb", CODE(0xf3, 0xac)},
      {"bts [rax], 1", CODE(0x0f, 0xba, 0x28, 0x01)}, {"movups [rax], xmm0", CODE(0x0f, 0x11, 0x00)}, {"movups xmm0, [rax]", CODE(0x0f, 0x10, 0x00)}, {"fild [rax]", CODE(0xdb, 0x00, 0xdd, 0xd8)}, {"fnstcw [rax]", CODE(0xd9, 0x38)},
      {"lea rbx, [rax]", CODE(0x48, 0x8d, 0x18)}, {"nop [rax]", CODE(0x0f, 0x1f, 0x00)}, {"prefetchnta [rax]", CODE(0x0f, 0x18, 0x00)}, {"clflush [rax]", CODE(0x0f, 0xae, 0x38)}, {"mov rcx, 0; rep stosb", CODE(0x31, 0xc9, 0xf3, 0xaa)},
      {"jmp [rax]", CODE(0xff, 0x20)}, {"call [rax]", CODE(0xff, 0x10)}, {"verr [rax]", CODE(0x0f, 0x00, 0x20)}, {"verw [rax-8]", CODE(0x0f, 0x00, 0x68, 0xf8)}, {"mov [rax], ds", CODE(0x8c, 0x18)}, {"sidt [rax]", CODE(0x0f, 0x01, 0x08)},
      {"mov dword [rax], 0; mov fs, [rax]", CODE(0xc7, 0x00, 0, 0, 0, 0, 0x8e, 0x20)}, {"mov byte [rax], 90; jmp rax", CODE(0x48, 0xb9, 0x90, 0x90, 0xcc, 0, 0, 0, 0, 0, 0x48, 0x89, 0x08, 0xff, 0xe0)},
      {"retf 200", CODE(0x48, 0xc7, 0x40, 0x08, 0x33, 0xe0, 0, 0, 0x48, 0x89, 0xc4, 0x48, 0xca, 0, 2)},
      {"iretq", CODE(0x48, 0xc7, 0x40, 0x08, 0x33, 0xe0, 0, 0, 0x48, 0xc7, 0x40, 0x10, 0x02, 0x02, 0, 0, 0x48, 0x89, 0x40, 0x18, 0x48, 0xc7, 0x40, 0x20, 0x2b, 0xe0, 0, 0, 0x48, 0x89, 0xc4, 0x48, 0xcf)},
      {"mov ss, [rax]; nop; nop", CODE(0x66, 0xc7, 0x40, 0x00, 0x2b, 0xe0, 0x8e, 0x10, 0x90, 0x90)},
      {"lss ebx, [rax]", CODE(0x66, 0xc7, 0x40, 0x04, 0x2b, 0xe0, 0x0f, 0xb2, 0x18, 0x90)},
      {"mov [rax], ebx; mov [rax], ecx", CODE(0x89, 0x18, 0x89, 0x08)}, {"mov rbx, [1000]", CODE(0x48, 0x8b, 0x1c, 0x25, 0, 0x10, 0, 0)}};
  const struct { u32 kind, length; long offset; } points[] = {{1, 0, 0}, {1, 1, 0}, {1, 3, 0}, {1, 2, 0}, {3, 0, 0}, {3, 1, 0}, {3, 3, 0}, {3, 2, 0}, {3, 0, 3}, {1, 3, 2}, {3, 2, 7}, {3, 1, -1}};
  for (u32 b = 0; b < ARRAY_SIZE(points); b++) {
    set_dr(0, (u64)data + (u64)points[b].offset);
    u64 armed = dr7(points[b].kind, points[b].length);
    for (u32 i = 0; i < ARRAY_SIZE(pieces); i++) say("%s of %u at %ld: %s: %s\n", kinds[points[b].kind], bytes[points[b].length], points[b].offset, pieces[i].name, run(armed, pieces[i].code, pieces[i].length));
  }
  forget();
}

static void instruction_breakpoints(void) {
  const struct piece pieces[] = {
      {"nops", CODE(0x90, 0x90, 0x90)}, {"mov eax, 5; nop", CODE(0xb8, 5, 0, 0, 0, 0x90)}, {"rep stosb", CODE(0xf3, 0xaa, 0x90)}, {"ud2", CODE(0x0f, 0x0b)}, {"nop; ud2", CODE(0x90, 0x0f, 0x0b)}, {"nop; int3", CODE(0x90, 0xcc)},
      {"nop; icebp", CODE(0x90, 0xf1)}, {"nop; int 90", CODE(0x90, 0xcd, 0x90)}, {"nop; clts", CODE(0x90, 0x0f, 0x06)}, {"mov eax, 17; xor edi, edi; syscall; nop", CODE(0xb8, 17, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, 0x90)},
      {"jmp +0; nop", CODE(0xeb, 0x00, 0x90)}, {"nop; mov ebx, [1000]", CODE(0x90, 0x8b, 0x1c, 0x25, 0, 0x10, 0, 0)}, {"nop; mov ds, eax", CODE(0x90, 0x31, 0xc0, 0x8e, 0xd8)}, {"pushf; pop rbx; nop", CODE(0x9c, 0x5b, 0x90)}};
  for (u64 at = 0; at < 4; at++)
    for (u32 length = 0; length < 4; length++) {
      set_dr(0, (u64)code_page + at);
      u64 armed = dr7(0, length);
      for (u32 i = 0; i < ARRAY_SIZE(pieces); i++) say("execute at +%lu, length %u: %s: %s\n", at, length, pieces[i].name, run(armed, pieces[i].code, pieces[i].length));
    }
  /* All four, and which of them DR6 names; enabled locally, globally, not at all. */
  for (u32 enables = 0; enables < 256; enables += 1 + enables % 3) {
    for (u64 i = 0; i < 4; i++) set_dr(i, (u64)code_page + 1);
    say("enabled %x at +1: %s\n", enables, run(0x400 | enables, CODE(0x90, 0x90)));
  }
  for (u32 enables = 1; enables < 256; enables = enables * 3 + 1) {
    for (u64 i = 0; i < 4; i++) set_dr(i, (u64)data + i);
    say("all write 1, enabled %x, mov [rax], rbx: %s\n", enables, run(0x11110400 | enables, CODE(0x48, 0x89, 0x18)));
  }
  /* In user mode, and with RF from the return. */
  user_mode_init();
  for (u64 rf = 0; rf < 2; rf++)
    for (u64 at = 0; at < 3; at++)
      for (u32 user = 0; user < 2; user++) {
        forget();
        set_dr(0, (u64)far_code + at);
        fill();
        struct iret_frame frame = {0, (u64)far_code, user ? USER_CS : KERNEL_CS, 0x202 | rf << 16, SNIPPET_STACK + 256, user ? USER_SS : KERNEL_SS};
        far_code[0] = far_code[1] = 0x90, far_code[2] = 0xcc;
        set_dr(7, dr7(0, 0));
        iret_from(&frame);
        set_dr(7, DR7_NONE);
        say("iret %s, RF %lu, breakpoint at there+%lu: %s", user ? "user" : "kernel", rf, at, trap_text());
        say(", dr6 %lx\n", get_dr(6));
      }
  forget();
}

/* Ports, as far as CR4.DE lets them be watched. */
static void port_breakpoints(void) {
  const struct piece pieces[] = {{"in al, dx", CODE(0xec)}, {"in eax, dx", CODE(0xed)}, {"out dx, al", CODE(0xee)}, {"in al, 80", CODE(0xe4, 0x80)}, {"out 81, al", CODE(0xe6, 0x81)}, {"outsb", CODE(0x6e)}, {"insw", CODE(0x66, 0x6d)}, {"rep outsb", CODE(0xf3, 0x6e)}};
  static const u8 to_cr4[] = {0x0f, 0x22, 0xe0};
  u64 iopl = 1;
  call(33, 6, (u64)&iopl, 0, 0, 0);
  for (u32 de = 0; de < 2; de++) {
    fill();
    snippet_in.rax = 0x660 | de << 3;
    execute(to_cr4, 3);
    for (u64 at = 0x7e; at < 0x84; at++)
      for (u32 length = 0; length < 4; length++) {
        set_dr(7, DR7_NONE);
        set_dr(0, at);
        u64 armed = dr7(2, length);
        long result = set_dr(7, armed);
        say("DE %u, io at %lx, length %u: %s, dr7 %lx\n", de, at, length, result_text(result), get_dr(7));
        if (!result) for (u32 i = 0; i < ARRAY_SIZE(pieces); i++) say("io at %lx, length %u: %s: %s\n", at, length, pieces[i].name, run(armed, pieces[i].code, pieces[i].length));
      }
  }
  forget();
  fill();
  snippet_in.rax = 0x660;
  execute(to_cr4, 3);
  iopl = 0;
  call(33, 6, (u64)&iopl, 0, 0, 0);
}

void section_breakpoints(u32 count) {
  (void)count;
  data = (u64 *)GOOD + 256;
  forget();
  for (u32 n = 0; n < 4; n += 3)
    for (u32 field = 0; field < 16; field++)
      for (u32 enable = 0; enable < 4; enable++) {
        u64 value = 0x400 | (u64)enable << n * 2 | (u64)field << (16 + n * 4);
        say("set_debugreg 7 %lx: %s", value, result_text(set_dr(7, value)));
        say(", then %lx\n", get_dr(7));
        set_dr(7, DR7_NONE);
      }
  for (u32 bit = 0; bit < 64; bit++) {
    say("set_debugreg 7, bit %u: %s", bit, result_text(set_dr(7, DR7_NONE ^ 1UL << bit)));
    say(", then %lx", get_dr(7));
    set_dr(7, DR7_NONE);
    say("; 6: %s", result_text(set_dr(6, DR6_CLEAR ^ 1UL << bit)));
    say(", then %lx\n", get_dr(6));
    set_dr(6, DR6_CLEAR);
  }
  data_breakpoints();
  instruction_breakpoints();
  port_breakpoints();
}

/* ---- single steps ---- */

static void steps(const char *name, const u8 *code, u64 length, bool user) {
  /* push 0x302; popf goes before it */
  u8 all[100] = {0x68, 0x02, 0x03, 0, 0, 0x9d};
  memcpy(all + 6, code, length);
  step_count = 0;
  fill();
  u64 end = length + 6;
  (user ? execute_user : execute)(all, end);
  say("%s%s:", user ? "user: " : "", name);
  for (u64 i = 0; i < step_count; i++) say(step_log[i] >= FAR_CODE ? " there+%ld" : " +%ld", (long)step_log[i] % FAR_CODE - 6);
  say(", dr6 %lx", get_dr(6));
  set_dr(6, DR6_CLEAR);
  if (trap.vector != NO_TRAP) say(", %s", trap_text());
  else if (snippet_out.rbx != snippet_in.rbx) say(", rbx %lx", snippet_out.rbx);
  say("\n");
}

static PAGES u64 table[512];

/* The trap behind the first instruction that TF is set for, and what DR6 has of it. */
static void first_step(const char *name, const u8 *code, u64 length) {
  u8 all[40] = {0x68, 0x02, 0x03, 0, 0, 0x9d};
  memcpy(all + 6, code, length);
  set_dr(6, DR6_CLEAR);
  fill();
  snippet_in.rbx = (u64)&table[3], snippet_in.rcx = 2, snippet_in.rax = 17;
  execute(all, length + 6);
  say("first: %s: %s", name, trap_text());
  say(", dr6 %lx\n", get_dr(6));
}

static void first_steps(void) {
  const struct piece pieces[] = {{"nop", CODE(0x90, 0x90)}, {"clts", CODE(0x0f, 0x06, 0x90)}, {"cpuid", CODE(0x0f, 0xa2, 0x90)}, {"ud2; xen; cpuid", CODE(0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2, 0x90)}, {"wbinvd", CODE(0x0f, 0x09, 0x90)},
                                 {"mov rax, dr6", CODE(0x0f, 0x21, 0xf0, 0x90)}, {"in al, dx", CODE(0xec, 0x90)}, {"outsb", CODE(0x6e, 0x90)}, {"rep outsb", CODE(0xf3, 0x6e, 0x90)}, {"cli", CODE(0xfa, 0x90)}, {"sti", CODE(0xfb, 0x90)},
                                 {"mov [table], 0", CODE(0x48, 0xc7, 0x03, 0, 0, 0, 0, 0x90)}, {"xchg [table], r9", CODE(0x4c, 0x87, 0x0b, 0x90)}, {"syscall", CODE(0x0f, 0x05, 0x90)}, {"int3", CODE(0xcc, 0x90)}, {"icebp", CODE(0xf1, 0x90)},
                                 {"int 90", CODE(0xcd, 0x90, 0x90)}, {"ud2", CODE(0x0f, 0x0b)}, {"hlt", CODE(0xf4)}};
  for (u32 i = 0; i < ARRAY_SIZE(pieces); i++) first_step(pieces[i].name, pieces[i].code, pieces[i].length);
}

void section_steps(u32 count) {
  (void)count;
  data = (u64 *)GOOD + 256;
  forget();
  struct trap_info gate[2] = {{.vector = 1, .flags = 4, .cs = FLAT_KERNEL_CS, .address = (u64)step_entry}};
  call(HC_set_trap_table, (u64)gate, 0, 0, 0, 0);
  const struct piece pieces[] = {
      {"nops", CODE(0x90, 0x90, 0x90)}, {"pushf; pop rbx", CODE(0x9c, 0x5b)}, {"popf of none", CODE(0x6a, 0x02, 0x9d, 0x90, 0x90)}, {"popf of TF again", CODE(0x68, 0x02, 0x03, 0, 0, 0x9d, 0x90)},
      {"rep stosb of 3", CODE(0xf3, 0xaa, 0x90)}, {"rep movsb of 0", CODE(0x31, 0xc9, 0xf3, 0xa4, 0x90)}, {"repe cmpsb", CODE(0xf3, 0xa6, 0x90)}, {"stosb", CODE(0xaa, 0x90)}, {"mov ds", CODE(0x31, 0xc0, 0x8e, 0xd8, 0x90)},
      {"mov ss", CODE(0xb8, 0x2b, 0xe0, 0, 0, 0x8e, 0xd0, 0x90, 0x90)}, {"mov ss twice", CODE(0xb8, 0x2b, 0xe0, 0, 0, 0x8e, 0xd0, 0x8e, 0xd0, 0x90, 0x90)}, {"sti", CODE(0xfb, 0x90)},
      {"jmp", CODE(0xeb, 0x00, 0x90)}, {"jcc not taken", CODE(0x31, 0xc0, 0x75, 0x00, 0x90)}, {"call; ret", CODE(0xe8, 0x02, 0, 0, 0, 0xeb, 0x01, 0xc3, 0x90)}, {"lock add", CODE(0xf0, 0x01, 0x18, 0x90)},
      {"cpuid", CODE(0x31, 0xc0, 0x0f, 0xa2, 0x31, 0xdb, 0x90)}, {"ud2; xen; cpuid", CODE(0x31, 0xc0, 0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2, 0x31, 0xdb, 0x90)}, {"rdtsc", CODE(0x0f, 0x31, 0x90)},
      {"clts", CODE(0x0f, 0x06, 0x90)}, {"mov rax, cr0", CODE(0x0f, 0x20, 0xc0, 0x90)}, {"mov rax, cr2", CODE(0x0f, 0x20, 0xd0, 0x90)}, {"mov rax, dr7", CODE(0x0f, 0x21, 0xf8, 0x90)}, {"mov rbx, dr6", CODE(0x90, 0x0f, 0x21, 0xf3, 0x90)},
      {"rdmsr", CODE(0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x90)}, {"wbinvd", CODE(0x0f, 0x09, 0x90)}, {"syscall", CODE(0xb8, 17, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05, 0x90, 0x90)},
      {"syscall, a multicall of none", CODE(0xb8, 13, 0, 0, 0, 0x31, 0xf6, 0x0f, 0x05, 0x90, 0x90)}, {"smsw", CODE(0x0f, 0x01, 0xe0, 0x90)}, {"fnop", CODE(0xd9, 0xd0, 0x90)}, {"movups", CODE(0x0f, 0x10, 0x00, 0x90)},
      {"int3", CODE(0xcc, 0x90)}, {"ud2", CODE(0x0f, 0x0b)}, {"icebp", CODE(0xf1, 0x90)}, {"hlt", CODE(0x90, 0x0f, 0x01, 0xf8)}, {"mov rbx, [1000]", CODE(0x48, 0x8b, 0x1c, 0x25, 0, 0x10, 0, 0)},
      {"retf", CODE(0x8c, 0xc8, 0x50, 0x48, 0x8d, 0x05, 0x03, 0, 0, 0, 0x50, 0x48, 0xcb, 0x90, 0x90)},
      {"iretq to TF", CODE(0x48, 0x89, 0xe1, 0x8c, 0xd0, 0x50, 0x51, 0x68, 0x02, 0x03, 0, 0, 0x8c, 0xc8, 0x50, 0x48, 0x8d, 0x05, 0x03, 0, 0, 0, 0x50, 0x48, 0xcf, 0x90, 0x90)},
      {"iretq to none", CODE(0x48, 0x89, 0xe1, 0x8c, 0xd0, 0x50, 0x51, 0x68, 0x02, 0x02, 0, 0, 0x8c, 0xc8, 0x50, 0x48, 0x8d, 0x05, 0x03, 0, 0, 0, 0x50, 0x48, 0xcf, 0x90, 0x90)}};
  for (u32 i = 0; i < ARRAY_SIZE(pieces); i++) steps(pieces[i].name, pieces[i].code, pieces[i].length, false);
  /* Ports, by an I/O privilege that lets them through. */
  u64 iopl = 1;
  call(33, 6, (u64)&iopl, 0, 0, 0);
  steps("in al, dx", CODE(0xec, 0x90), false);
  steps("out dx, al", CODE(0xee, 0x90), false);
  steps("rep outsb", CODE(0xf3, 0x6e, 0x90), false);
  steps("cli", CODE(0xfa, 0x90), false);
  /* An entry of a page table that is written with emulation. */
  update_va_mapping(table, va_to_mfn(table) * PAGE_SIZE | (DATA & ~PTE_RW), UVMF_INVLPG);
  struct mmuext_op pin = {0, va_to_mfn(table), 0}, unpin = {4, va_to_mfn(table), 0};
  say("pin: %s\n", result_text(call(HC_mmuext_op, (u64)&pin, 1, 0, DOMID_SELF, 0)));
  u8 store[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x31, 0xc9, 0x48, 0x89, 0x08, 0x90, 0x90};
  u64 at = (u64)&table[3];
  memcpy(store + 2, &at, 8);
  steps("a page-table entry", store, sizeof store, false);
  traps_set();
  first_steps();
  iopl = 0;
  call(33, 6, (u64)&iopl, 0, 0, 0);
  call(HC_mmuext_op, (u64)&unpin, 1, 0, DOMID_SELF, 0);
  user_mode_init();
  call(HC_set_trap_table, (u64)gate, 0, 0, 0, 0);
  for (u32 i = 0; i < ARRAY_SIZE(pieces); i++) {
    if (i == 14 || i > 36) continue;
    /* At its own place: the same bytes behind the two that set TF. */
    steps(pieces[i].name, pieces[i].code, pieces[i].length, true);
  }
  traps_set();
  forget();
}

/* ---- the FPU ---- */

static void fpu(const char *name, const u8 *code, u64 length) {
  static const u8 read[] = {0x0f, 0x20, 0xc0};
  for (u32 user = 0; user < 2; user++) {
    call(5, 1, 0, 0, 0, 0);
    fill();
    (user ? execute_user : execute)(code, length);
    say("%s%s: %s", user ? "user " : "TS, ", name, trap_text());
    fill();
    execute(read, 3);
    say(", cr0 then %lx%s", snippet_out.rax, user ? "\n" : "; ");
  }
}

void section_fpu(u32 count) {
  (void)count;
  data = (u64 *)GOOD + 256;
  user_mode_init();
  const struct piece pieces[] = {
      {"fnop", CODE(0xd9, 0xd0)}, {"fwait", CODE(0x9b)}, {"fninit", CODE(0xdb, 0xe3)}, {"fld1", CODE(0xd9, 0xe8)}, {"fnstcw", CODE(0xd9, 0x38)}, {"fnstsw ax", CODE(0xdf, 0xe0)}, {"emms", CODE(0x0f, 0x77)}, {"movq mm0, [rax]", CODE(0x0f, 0x6f, 0x00)},
      {"movaps xmm0, [rax]", CODE(0x0f, 0x28, 0x00)}, {"movaps xmm0, [rax+1]", CODE(0x0f, 0x28, 0x40, 0x01)}, {"movups xmm0, [1000]", CODE(0x0f, 0x10, 0x04, 0x25, 0, 0x10, 0, 0)}, {"addsd", CODE(0xf2, 0x0f, 0x58, 0xc0)}, {"ldmxcsr", CODE(0x0f, 0xae, 0x10)},
      {"stmxcsr", CODE(0x0f, 0xae, 0x18)}, {"fxsave", CODE(0x0f, 0xae, 0x00)}, {"fxrstor", CODE(0x0f, 0xae, 0x08)}, {"prefetchnta", CODE(0x0f, 0x18, 0x00)}, {"movnti", CODE(0x0f, 0xc3, 0x18)}, {"sfence", CODE(0x0f, 0xae, 0xf8)}, {"pause", CODE(0xf3, 0x90)},
      {"clflush", CODE(0x0f, 0xae, 0x38)}, {"clts; fnop", CODE(0x0f, 0x06, 0xd9, 0xd0)}, {"femms", CODE(0x0f, 0x0e)}, {"fld tword", CODE(0xdb, 0x28)}, {"no such FPU instruction", CODE(0xd9, 0xd1)}, {"no such SSE instruction", CODE(0x0f, 0x39)}, {"crc32", CODE(0xf2, 0x0f, 0x38, 0xf1, 0xc0)}};
  for (u32 i = 0; i < ARRAY_SIZE(pieces); i++) fpu(pieces[i].name, pieces[i].code, pieces[i].length);
  call(5, 0, 0, 0, 0, 0);
  static const u64 values[] = {0, 1, 2, 0xffffffff, 0x100000000, ~0UL};
  static const u8 read[] = {0x0f, 0x20, 0xc0};
  for (u32 i = 0; i < ARRAY_SIZE(values); i++) {
    say("fpu_taskswitch %lx: %s", values[i], result_text(call(5, values[i], 0, 0, 0, 0)));
    fill();
    execute(read, 3);
    say(", cr0 %lx\n", snippet_out.rax);
  }
  call(5, 0, 0, 0, 0, 0);
  /* Exceptions that are not masked. */
  const struct piece raises[] = {
      {"fldcw 0; 1/0; fwait", CODE(0xdb, 0xe3, 0x6a, 0, 0xd9, 0x2c, 0x24, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b)}, {"1/0; fnop", CODE(0xdb, 0xe3, 0x6a, 0, 0xd9, 0x2c, 0x24, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xd9, 0xd0)},
      {"1/0; fnclex", CODE(0xdb, 0xe3, 0x6a, 0, 0xd9, 0x2c, 0x24, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xdb, 0xe2)}, {"ldmxcsr 0; divss", CODE(0xdb, 0xe3, 0x6a, 0, 0x0f, 0xae, 0x14, 0x24, 0x0f, 0x57, 0xc9, 0xf3, 0x0f, 0x5e, 0xc9)},
      {"ldmxcsr ffff0000", CODE(0x68, 0, 0, 0xff, 0xff, 0x0f, 0xae, 0x14, 0x24)}, {"ldmxcsr 1f80; divss", CODE(0x68, 0x80, 0x1f, 0, 0, 0x0f, 0xae, 0x14, 0x24, 0x0f, 0x57, 0xc9, 0xf3, 0x0f, 0x5e, 0xc9)}};
  for (u32 i = 0; i < ARRAY_SIZE(raises); i++)
    for (u32 user = 0; user < 2; user++) {
      fill();
      (user ? execute_user : execute)(raises[i].code, raises[i].length);
      say("%s%s: %s\n", user ? "user " : "", raises[i].name, trap_text());
    }
  fill();
  execute(CODE(0xdb, 0xe3));
  /* The assists, by number. */
  for (u64 command = 0; command < 4; command++)
    for (u64 type = 0; type < 68; type++) {
      if (type == 2 && command == 1) continue;
      say("vm_assist %lu %lu: %s\n", command, type, result_text(call(HC_vm_assist, command, type, 0, 0, 0)));
    }
}
