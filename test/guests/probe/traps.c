/* How the kernel is entered and returns: software interrupts by their gates' privilege, faults and system calls of user mode, and the frames
 * that the iret hypercall takes back. */
#include "probe.h"

#define RUN_USER(what, ...) do { static const u8 code[] = {__VA_ARGS__}; user(what, code, sizeof code); } while (0)

static void registers(u64 rax) {
  snippet_in = (struct registers){.rax = rax, .rcx = 0xc1, .rdx = 0xd1, .rbx = 0xb1, .rbp = 0xb2, .rsi = 0x51, .rdi = 0xd2, .r8 = 8, .r11 = 0x11, .rflags = 0x202};
}

/* What of the registers is not as it was. */
static void changed(void) {
  static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
  const u64 *before = (u64 *)&snippet_in, *after = (u64 *)&snippet_out;
  for (u32 i = 0; i < 16; i++) {
    if (i == 4 || before[i] == after[i]) continue;
    if (after[i] - (u64)far_code < FAR_CODE) say(" %s there+%ld", names[i], after[i] - (u64)far_code);
    else say(" %s %lx", names[i], after[i]);
  }
  if (trap.vector == 14) say(" cr2 %s%lx", trap.cr2 - (u64)arena < sizeof(u8[5][PAGE_SIZE]) ? "arena+" : "", trap.cr2 - (u64)arena < sizeof(u8[5][PAGE_SIZE]) ? trap.cr2 - (u64)arena : trap.cr2);
  say("\n");
}

/* ---- software interrupts ---- */

static void set_gate(u8 vector, u8 flags, u16 cs, u64 address) {
  struct trap_info table[2] = {{.vector = vector, .flags = flags, .cs = cs, .address = address}};
  call(HC_set_trap_table, (u64)table, 0, 0, 0, 0);
}

static void interrupt(const char *mode, void (*run)(const u8 *code, u64 length), u8 vector) {
  u8 code[2] = {0xcd, vector};
  registers(0);
  run(code, sizeof code);
  say(" %s %s, mask %u;", mode, trap_text(), (u32)(trap.cs >> 32));
}

void section_interrupts(u32 count) {
  (void)count;
  user_mode_init();
  for (u32 vector = 0; vector < 256; vector++)
    for (u8 flags = 0; flags < 8; flags++) {
      if (vector == 0xe1 || (vector > 0x24 && vector < 0x7e) || (vector > 0x86 && vector < 0xee && vector % 16)) continue;
      if (flags > 3 && vector % 8) continue; /* with events masked on entry, or not */
      set_gate((u8)vector, flags, FLAT_KERNEL_CS, trap_stubs + vector * 16);
      say("int %x, gate %x:", vector, flags);
      interrupt("kernel", execute, (u8)vector);
      interrupt("user", execute_user, (u8)vector);
      say("\n");
    }
  /* Selectors in the gate, and other ways to the same vectors. */
  static const u16 selectors[] = {0, 3, 8, 0xe008, 0xe019, 0xe02b, FLAT_KERNEL_CS, KERNEL_CS, 0xffff};
  for (u32 i = 0; i < ARRAY_SIZE(selectors); i++) {
    set_gate(0x90, 7, selectors[i], trap_stubs + 0x90 * 16);
    say("gate of selector %x:", selectors[i]);
    interrupt("kernel", execute, 0x90);
    interrupt("user", execute_user, 0x90);
    say("\n");
  }
  static const u8 int3[] = {0xcc}, int1[] = {0xf1}, into[] = {0xce}, ud2[] = {0x0f, 0x0b}, locked[] = {0xf0, 0xcd, 0x90}, sized[] = {0x66, 0xcd, 0x90}, wide[] = {0x48, 0xcc};
  static const struct { const char *name; const u8 *code; u8 length; } ways[] = {
      {"int3", int3, 1}, {"icebp", int1, 1}, {"into", into, 1}, {"ud2", ud2, 2}, {"lock int 90", locked, 3}, {"66 int 90", sized, 3}, {"48 int3", wide, 2}};
  for (u8 dpl = 0; dpl < 4; dpl++) {
    static struct trap_info table[34];
    for (u32 i = 0; i < 33; i++) table[i] = (struct trap_info){.vector = i == 32 ? 0x90 : (u8)i, .flags = dpl, .cs = FLAT_KERNEL_CS, .address = trap_stubs + (i == 32 ? 0x90 : i) * 16};
    call(HC_set_trap_table, (u64)table, 0, 0, 0, 0);
    for (u32 i = 0; i < ARRAY_SIZE(ways); i++) {
      registers(0);
      execute(ways[i].code, ways[i].length);
      say("%s, gate %u: kernel %s", ways[i].name, dpl, trap_text());
      registers(0);
      execute_user(ways[i].code, ways[i].length);
      say("; user %s\n", trap_text());
    }
  }
  traps_set();
}

/* ---- user mode ---- */

static void user(const char *what, const u8 *code, u64 length) {
  execute_user(code, length);
  say("user: %s: %s", what, trap_text());
  changed();
}

static void user_instructions(void) {
  registers(0);
  RUN_USER("nop", 0x90);
  RUN_USER("mov eax, cs; mov ebx, ss", 0x8c, 0xc8, 0x8c, 0xd3);
  RUN_USER("pushf; pop rax", 0x9c, 0x58);
  RUN_USER("cli", 0xfa);
  RUN_USER("sti", 0xfb);
  RUN_USER("hlt", 0xf4);
  RUN_USER("clts", 0x0f, 0x06);
  RUN_USER("invd", 0x0f, 0x08);
  RUN_USER("wbinvd", 0x0f, 0x09);
  RUN_USER("swapgs", 0x0f, 0x01, 0xf8);
  RUN_USER("mov rax, cr0", 0x0f, 0x20, 0xc0);
  RUN_USER("mov rax, cr2", 0x0f, 0x20, 0xd0);
  RUN_USER("mov rax, cr3", 0x0f, 0x20, 0xd8);
  RUN_USER("mov cr0, rax", 0x0f, 0x22, 0xc0);
  RUN_USER("mov cr3, rax", 0x0f, 0x22, 0xd8);
  RUN_USER("mov rax, dr7", 0x0f, 0x21, 0xf8);
  RUN_USER("mov dr0, rax", 0x0f, 0x23, 0xc0);
  RUN_USER("rdmsr", 0x0f, 0x32);
  RUN_USER("wrmsr", 0x0f, 0x30);
  RUN_USER("rdpmc", 0x0f, 0x33);
  RUN_USER("in al, dx", 0xec);
  RUN_USER("out dx, al", 0xee);
  RUN_USER("insb", 0x6c);
  RUN_USER("lgdt [rsp]", 0x0f, 0x01, 0x14, 0x24);
  RUN_USER("lidt [rsp]", 0x0f, 0x01, 0x1c, 0x24);
  RUN_USER("lldt ax", 0x0f, 0x00, 0xd0);
  RUN_USER("ltr ax", 0x0f, 0x00, 0xd8);
  RUN_USER("lmsw ax", 0x0f, 0x01, 0xf0);
  RUN_USER("invlpg [rsp]", 0x0f, 0x01, 0x3c, 0x24);
  RUN_USER("xgetbv", 0x0f, 0x01, 0xd0);
  RUN_USER("xsetbv", 0x0f, 0x01, 0xd1);
  RUN_USER("ud2", 0x0f, 0x0b);
  RUN_USER("ud2; xen; nop", 0x0f, 0x0b, 'x', 'e', 'n', 0x90);
  RUN_USER("rdtscp", 0x0f, 0x01, 0xf9);
  RUN_USER("vmcall", 0x0f, 0x01, 0xc1);
  RUN_USER("sysret", 0x48, 0x0f, 0x07);
  RUN_USER("sysexit", 0x0f, 0x35);
  RUN_USER("sysenter", 0x0f, 0x34);
  RUN_USER("syscall", 0x0f, 0x05);
  registers(HC_xen_version);
  RUN_USER("syscall, xen_version", 0x0f, 0x05);
  RUN_USER("int 80", 0xcd, 0x80);
  RUN_USER("int 82", 0xcd, 0x82);
  registers(0);
  RUN_USER("div by zero", 0x31, 0xc9, 0xf7, 0xf1);
  RUN_USER("push 0; pop ss", 0x6a, 0x00, 0x17);
  RUN_USER("xor eax, eax; mov ss, eax", 0x31, 0xc0, 0x8e, 0xd0);
  RUN_USER("mov eax, 8; mov ds, eax", 0xb8, 8, 0, 0, 0, 0x8e, 0xd8);
  RUN_USER("mov eax, e008; mov ds, eax", 0xb8, 8, 0xe0, 0, 0, 0x8e, 0xd8);
  RUN_USER("mov eax, e02b; mov ds, eax", 0xb8, 0x2b, 0xe0, 0, 0, 0x8e, 0xd8);
  snippet_in.rflags = 0x302;
  RUN_USER("nop with TF", 0x90);
  registers(0);
  RUN_USER("popf with TF; nop", 0x68, 0x02, 0x03, 0, 0, 0x9d, 0x90);
  RUN_USER("syscall with TF", 0x68, 0x02, 0x03, 0, 0, 0x9d, 0x0f, 0x05);
  RUN_USER("int3 with TF", 0x68, 0x02, 0x03, 0, 0, 0x9d, 0xcc);
  RUN_USER("popf with AC; mov rax, [rsp+1]", 0x68, 0x02, 0x02, 0x04, 0, 0x9d, 0x48, 0x8b, 0x44, 0x24, 0x01);
  RUN_USER("popf with NT; nop", 0x68, 0x02, 0x42, 0, 0, 0x9d, 0x90);
  RUN_USER("popf with NT; syscall", 0x68, 0x02, 0x42, 0, 0, 0x9d, 0x0f, 0x05);
  RUN_USER("popf with DF; syscall", 0x68, 0x02, 0x06, 0, 0, 0x9d, 0x0f, 0x05);
  RUN_USER("popf with AC; syscall", 0x68, 0x02, 0x02, 0x04, 0, 0x9d, 0x0f, 0x05);
}

static void callback(u16 type, u16 flags, u64 at) {
  struct callback_register one = {type, flags, at};
  say("callback %u flags %x: %s\n", type, flags, result_text(call(HC_callback_op, CALLBACKOP_register, (u64)&one, 0, 0, 0)));
}

void section_user(u32 count) {
  (void)count;
  say("user page tables: none: %s\n", result_text(user_root_set(false)));
  user_mode_init();
  say("user page tables: %s\n", result_text(user_root_set(true)));
  user_instructions();
  /* Accesses to each place: read, write, execute; from both modes. */
  static const u8 read[] = {0x48, 0x8b, 0x18}, write[] = {0x88, 0x18}, jump[] = {0xff, 0xe0}, push[] = {0xff, 0x30}, exchange[] = {0x48, 0x87, 0x18}, stack[] = {0x48, 0x89, 0xc4, 0x50};
  static const struct { const char *name; const u8 *code; u8 length; } accesses[] = {
      {"read", read, 3}, {"write", write, 2}, {"jump", jump, 2}, {"push from", push, 2}, {"exchange", exchange, 3}, {"push on", stack, 4}};
  const u32 in_user = ARRAY_SIZE(accesses) - 1; /* a kernel without a stack dies */
  for (u32 p = 0; p < nr_places; p++)
    for (u32 a = 0; a < ARRAY_SIZE(accesses); a++) {
      for (u32 mode = a == in_user; mode < 2; mode++) {
        memset(GOOD, 0x90, PAGE_SIZE);
        ((u8 *)GOOD)[8] = 0xcc, ((u8 *)GOOD)[4095] = 0xcc;
        registers(places[p].at);
        (mode ? execute_user : execute)(accesses[a].code, accesses[a].length);
        const char *how = trap.vector == NO_TRAP ? "done" : trap.vector == 14 ? "#PF" : trap.vector == 13 ? "#GP" : trap.vector == 12 ? "#SS" : trap.vector == 3 ? "#BP" : "another";
        say("%s%s %s: %s", mode ? "; user " : "kernel ", accesses[a].name, places[p].name, how);
        if (trap.vector != NO_TRAP && trap.has_error) say("(%lx)", trap.error);
        if (trap.vector != NO_TRAP && trap.rip - (u64)code_page >= PAGE_SIZE && trap.vector != 3) say(" at %s", trap.rip == places[p].at ? "the place" : "another");
        if (trap.vector == 14) say(" cr2 +%ld", trap.cr2 - places[p].at);
      }
      say("\n");
    }
  /* System calls by what is registered. */
  static const u8 system_call[] = {0x0f, 0x05}, enter[] = {0x0f, 0x34}, int80[] = {0xcd, 0x80};
  extern char syscall_entry[], sysenter_entry[];
  for (u32 flags = 0; flags < 2; flags++) {
    callback(2, (u16)flags, (u64)syscall_entry);
    callback(5, (u16)flags, (u64)sysenter_entry);
    set_gate(0x80, flags ? 7 : 3, FLAT_KERNEL_CS, trap_stubs + 0x80 * 16);
    for (u32 masked = 0; masked < 2; masked++) {
      registers(0x1234);
      snippet_in.rflags = masked ? 2 : 0x202; /* whether events are masked in user mode */
      user("syscall", system_call, 2);
      user("sysenter", enter, 2);
      user("int 80", int80, 2);
    }
  }
  callback(2, 0, 0);
  callback(5, 0, 0);
  registers(0x1234);
  user("syscall without a callback", system_call, 2);
  user("sysenter without a callback", enter, 2);
  callbacks_set();
  static struct trap_info none[1];
  say("set_trap_table none: %s\n", result_text(call(HC_set_trap_table, (u64)none, 0, 0, 0, 0)));
  /* The stack for entries from user mode, however it lies. */
  static const u8 trap3[] = {0xcc};
  for (u64 low = 0; low < 17; low++) {
    say("stack_switch +%lu: %s", low, result_text(call(3, FLAT_KERNEL_SS, KERNEL_STACK + low, 0, 0, 0)));
    registers(0);
    execute_user(trap3, 1);
    say(", %s\n", trap_text());
  }
  static const u64 stacks[] = {0, 3, 8, 0xe02b, 0xe028, 0xe033, 0xe010, 0xffff, 0x1e02b, 0xffffffff0000e02b};
  for (u32 i = 0; i < ARRAY_SIZE(stacks); i++) {
    say("stack_switch ss %lx: %s", stacks[i], result_text(call(3, stacks[i], KERNEL_STACK, 0, 0, 0)));
    registers(0);
    execute_user(trap3, 1);
    say(", %s\n", trap_text());
  }
  call(3, FLAT_KERNEL_SS, KERNEL_STACK, 0, 0, 0);
}

/* ---- iret ---- */

static struct iret_frame base(bool user) {
  return (struct iret_frame){0, (u64)far_code, user ? USER_CS : KERNEL_CS, 0x202, SNIPPET_STACK + 256, user ? USER_SS : KERNEL_SS};
}

static void iret(bool user, const char *what, u64 value, const struct iret_frame *frame) {
  static const u8 target[] = {0xcc, 0x90, 0xcc};
  memcpy(far_code, target, sizeof target);
  registers(0xaa);
  snippet_in.rflags = 2;
  iret_from(frame);
  say("iret %s, %s %lx: %s", user ? "user" : "kernel", what, value, trap_text());
  changed();
}

/* Not with 32-bit code, 0xe020 to 0xe023: it would begin at half of the address, and the kernel is not there. */
static void iret_mode(bool user, u64 flags) {
  static const u64 rips[] = {0, 1, NOT_MAPPED, 0x00007ffffffff000, 0x00007fffffffffff, 0x0000800000000000, NO_CANONICAL, 0xffff7fffffffffff, MACH2PHYS_VIRT_START, 0xffff830000000000, 0xffff880000000000, ~0UL};
  static const u16 selectors[] = {0, 1, 2, 3, 4, 7, 8, 9, 0xa, 0xb, 0xe000, 0xe003, 0xe008, 0xe00b, 0xe010, 0xe013, 0xe018, 0xe019, 0xe01b, 0xe028, 0xe029, 0xe02a, 0xe02b, 0xe02c, 0xe02f,
                                  0xe030, 0xe031, 0xe032, 0xe033, 0xe034, 0xe037, 0xe038, 0xe03b, 0xe040, 0xe043, 0xffff};
  char text[32];
  struct iret_frame frame;
  for (u32 i = 0; i < ARRAY_SIZE(rips); i++) {
    frame = base(user), frame.flags = flags, frame.rip = rips[i];
    iret(user, "rip", rips[i], &frame);
  }
  for (u32 i = 0; i < ARRAY_SIZE(rips); i++) {
    frame = base(user), frame.flags = flags, frame.rsp = rips[i];
    if (!user && i == 4) continue;
    if (user) iret(user, "rsp", rips[i], &frame);
  }
  for (u64 low = 1; low < 16; low++) {
    frame = base(user), frame.flags = flags, frame.rsp += low;
    iret(user, "rsp +", low, &frame);
  }
  for (u32 i = 0; i < ARRAY_SIZE(selectors); i++) {
    frame = base(user), frame.flags = flags, frame.cs = selectors[i];
    iret(user, "cs", selectors[i], &frame);
    frame = base(user), frame.flags = flags, frame.ss = selectors[i];
    iret(user, "ss", selectors[i], &frame);
  }
  for (u32 bit = 16; bit < 64; bit++) {
    frame = base(user), frame.flags = flags, frame.cs |= 1UL << bit;
    iret(user, "cs with", 1UL << bit, &frame);
    frame = base(user), frame.flags = flags, frame.ss |= 1UL << bit;
    iret(user, "ss with", 1UL << bit, &frame);
  }
  for (u32 bit = 0; bit < 64; bit++) {
    frame = base(user), frame.flags = flags, frame.rflags ^= 1UL << bit;
    format(text, sizeof text, "rflags 202 ^");
    iret(user, text, 1UL << bit, &frame);
  }
  static const u64 values[] = {0, 2, 0x3202, 0x1202, 0x2202, 0x4302, 0x23302, 0x10302, 0xcd7, 0xed7, 0xffffffff & ~0x100UL, ~0x100UL};
  for (u32 i = 0; i < ARRAY_SIZE(values); i++) {
    frame = base(user), frame.flags = flags, frame.rflags = values[i];
    iret(user, "rflags", values[i], &frame);
  }
}

void section_iret(u32 count) {
  (void)count;
  user_mode_init();
  struct iret_frame frame;
  for (u32 user = 0; user < 2; user++) {
    iret_mode(user, 0);
    iret_mode(user, 0x100);
    for (u32 bit = 0; bit < 64; bit++) {
      frame = base(user), frame.flags = 1UL << bit;
      iret(user, "flags", frame.flags, &frame);
    }
    frame = base(user), frame.flags = ~0UL;
    iret(user, "flags", frame.flags, &frame);
  }
  /* The I/O privilege that an iret sets, by whether it is architectural. */
  for (u32 architectural = 0; architectural < 2; architectural++) {
    say("vm_assist %s architectural_iopl: %s\n", architectural ? "enable" : "disable", result_text(call(HC_vm_assist, architectural ? 0 : 1, 4, 0, 0, 0)));
    for (u32 mode = 0; mode < 2; mode++)
      for (u64 iopl = 0; iopl < 4; iopl++) {
        frame = base(mode), frame.rflags |= iopl << 12;
        iret(mode, "iopl", iopl, &frame);
        static const u8 cli[] = {0xfa};
        registers(0);
        execute(cli, 1);
        say("cli then: kernel %s", trap_text());
        registers(0);
        snippet_in.rflags |= iopl << 12;
        execute_user(cli, 1);
        say("; user %s\n", trap_text());
      }
  }
  call(HC_vm_assist, 1, 4, 0, 0, 0);
  u64 none = 0;
  call(33, 6, (u64)&none, 0, 0, 0);
}
