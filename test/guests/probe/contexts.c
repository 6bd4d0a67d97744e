/* vCPUs by their contexts: what VCPUOP_initialise takes, what then runs, and up, down and is_up around it. The count on the command line says
 * which group of fields is tried, for a domain has only so many vCPUs. */
#include "probe.h"

static PAGES struct vcpu_guest_context context;
static PAGES u64 gdt_page[512], table_page[512], user_page[512];
static u32 next = 1;

static long vcpu(u32 op, u32 id, const void *arg) { return call(HC_vcpu_op, op, id, (u64)arg, 0, 0); }

static void base(void) {
  struct cpu_user_regs *regs = &context.user_regs;
  memset(&context, 0, sizeof context);
  context.flags = VGCF_in_kernel;
  *regs = (struct cpu_user_regs){.rax = 0xa, .rcx = 0xc, .rdx = 0xd, .rbx = 0xb, .rbp = 0xbb, .rsi = 0x51, .rdi = 0xd1, .r8 = 8, .r15 = 15,
                                 .rip = (u64)secondary_entry, .cs = FLAT_KERNEL_CS, .ss = FLAT_KERNEL_SS, .rsp = (u64)secondary_stack_top - 64, .rflags = 0x202};
  for (u32 i = 0; i < 256; i++)
    context.trap_ctxt[i] = (struct trap_info){.vector = (u8)i, .flags = 4, .cs = FLAT_KERNEL_CS, .address = (u64)secondary_stubs + i % 32 * 16};
  context.kernel_ss = FLAT_KERNEL_SS;
  context.kernel_sp = (u64)secondary_stack_top;
  context.ctrlreg[3] = machine_address((void *)start_info->pt_base);
}

static void told(const char *name, u64 is, u64 was) {
  if (is == was) return;
  if (is - (u64)secondary_entry < 4096) say(" %s entry+%lx", name, is - (u64)secondary_entry);
  else if (is - (u64)secondary_stack_top + 4096 < 4097) say(" %s top-%lx", name, (u64)secondary_stack_top - is);
  else say(" %s %lx", name, is);
}

/* Tries the context for the next vCPU, and has it run when it is taken. */
static void attempt(const char *what, u64 value) {
  u32 id = next;
  secondary = (struct secondary){0};
  secondary_id = id;
  say("%s %lx: %s", what, value, result_text(vcpu(VCPUOP_initialise, id, &context)));
  long up = vcpu(VCPUOP_up, id, NULL);
  say(", up %s", result_text(up));
  if (up) {
    say("\n");
    return;
  }
  for (u32 i = 0; i < 200 && !*(volatile u64 *)&secondary.kind; i++) call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
  for (u32 i = 0; i < 200 && vcpu(VCPUOP_is_up, id, NULL) > 0; i++) call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
  const u64 *w = secondary.words;
  if (!secondary.kind) say(": nothing came");
  else if (secondary.kind == 1) {
    const struct cpu_user_regs *r = &context.user_regs;
    say(": runs, flags %lx cs %lx ss %lx", w[16], w[17], w[18]);
    told("rax", w[0], r->rax), told("rcx", w[1], r->rcx), told("rdx", w[2], r->rdx), told("rbx", w[3], r->rbx), told("rsp", w[4], r->rsp), told("rbp", w[5], r->rbp);
    told("rsi", w[6], r->rsi), told("rdi", w[7], r->rdi), told("r8", w[8], r->r8), told("r15", w[15], r->r15);
    told("ds", w[19], 0), told("es", w[20], 0), told("fs", w[21], 0), told("gs", w[22], 0);
  } else {
    say(": trap %lu", w[0]);
    for (u32 i = 1; i < 9; i++) told("", w[i], 0);
  }
  say(", is_up %s\n", result_text(vcpu(VCPUOP_is_up, id, NULL)));
  next++;
}

/* A value in a field, and all else as it should be. */
#define TRY(name, field, value) do { base(); context.field = (value); attempt(name, (u64)(value)); } while (0)

static void group_flags(void) {
  base();
  for (u32 i = 0; i < 4; i++) {
    static const u32 ids[] = {32, 33, 8192, ~0U};
    say("vCPU %x: initialise %s", ids[i], result_text(vcpu(VCPUOP_initialise, ids[i], &context)));
    say(", up %s", result_text(vcpu(VCPUOP_up, ids[i], NULL)));
    say(", down %s", result_text(vcpu(VCPUOP_down, ids[i], NULL)));
    say(", is_up %s\n", result_text(vcpu(VCPUOP_is_up, ids[i], NULL)));
  }
  say("not initialised: up %s", result_text(vcpu(VCPUOP_up, 1, NULL)));
  say(", down %s", result_text(vcpu(VCPUOP_down, 1, NULL)));
  say(", is_up %s", result_text(vcpu(VCPUOP_is_up, 1, NULL)));
  say(", itself: initialise %s", result_text(vcpu(VCPUOP_initialise, 0, &context)));
  say(", up %s", result_text(vcpu(VCPUOP_up, 0, NULL)));
  say(", is_up %s\n", result_text(vcpu(VCPUOP_is_up, 0, NULL)));
  for (u32 p = 0; p < nr_places; p++)
    if (p > 5) say("initialise from %s: %s\n", places[p].name, result_text(vcpu(VCPUOP_initialise, 1, (void *)places[p].at)));
  attempt("base", 0);
  say("again: initialise %s", result_text(vcpu(VCPUOP_initialise, 1, &context)));
  say(", up %s", result_text(vcpu(VCPUOP_up, 1, NULL)));
  for (u32 i = 0; i < 200 && vcpu(VCPUOP_is_up, 1, NULL) > 0; i++) call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
  say(", down %s", result_text(vcpu(VCPUOP_down, 1, NULL)));
  say(", is_up %s\n", result_text(vcpu(VCPUOP_is_up, 1, NULL)));
  static const u64 flags[] = {0, 1, 2, 8 | 4, 0x10 | 4, 0x40 | 4, 0x100 | 4, 0x80000004, 0x100000004, 5};
  for (u32 i = 0; i < ARRAY_SIZE(flags); i++) TRY("flags", flags, flags[i]);
  static const u64 rflags[] = {0, 0x302, 0x602, 0x3202, 0x4202, 0x10202, 0x20202, 0x40202, 0x200202, 0xffffffff & ~0x100UL};
  for (u32 i = 0; i < ARRAY_SIZE(rflags); i++) TRY("rflags", user_regs.rflags, rflags[i]);
  base();
  context.flags = 0x24;
  secondary = (struct secondary){0};
  secondary_id = next;
  say("online: initialise %s", result_text(vcpu(VCPUOP_initialise, next, &context)));
  for (u32 i = 0; i < 200 && !*(volatile u64 *)&secondary.kind; i++) call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
  say(", %s", secondary.kind == 1 ? "it ran" : "it did not run");
  say(", is_up %s", result_text(vcpu(VCPUOP_is_up, next, NULL)));
  say(", up %s", result_text(vcpu(VCPUOP_up, next, NULL)));
  for (u32 i = 0; i < 200 && !*(volatile u64 *)&secondary.kind; i++) call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
  say(", %s", secondary.kind == 1 ? "it ran" : "it did not run");
  say(", down %s", result_text(vcpu(VCPUOP_down, next, NULL)));
  say(", up %s", result_text(vcpu(VCPUOP_up, next, NULL)));
  for (u32 i = 0; i < 200 && !*(volatile u64 *)&secondary.kind; i++) call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
  say(", %s\n", secondary.kind == 1 ? "it ran" : "it did not run");
}

static void group_selectors(void) {
  static const u16 code[] = {0, 3, 8, 0xe008, 0xe010, 0xe02b, 0xe030, 0xe033, 0xe034, 0xffff}, stack[] = {0, 3, 8, 0xe010, 0xe028, 0xe02b, 0xe033, 0xffff};
  for (u32 i = 0; i < ARRAY_SIZE(code); i++) TRY("cs", user_regs.cs, code[i]);
  for (u32 i = 0; i < ARRAY_SIZE(stack); i++) TRY("ss", user_regs.ss, stack[i]);
}

static void group_data_selectors(void) {
  static const u16 others[] = {0, 1, 3, 4, 7, 8, 0xb, 0xe000, 0xe008, 0xe00b, 0xe010, 0xe013, 0xe018, 0xe019, 0xe01b, 0xe020, 0xe023, 0xe028, 0xe02b, 0xe02c, 0xe030, 0xe033, 0xe038, 0xe03b, 0xe040, 0xe050, 0xe060, 0xffff};
  for (u32 i = 0; i < ARRAY_SIZE(others); i++) {
    base();
    context.failsafe_callback_eip = (u64)secondary_stubs + 31 * 16;
    context.flags |= i & 1 ? 8 : 0;
    context.user_regs.ds = context.user_regs.es = context.user_regs.fs = context.user_regs.gs = others[i];
    attempt("ds, es, fs, gs", others[i]);
  }
}

static void group_addresses(void) {
  static const u64 bad[] = {0x0000800000000000, NO_CANONICAL, 0xffff7fffffffffff};
  for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
    TRY("rip", user_regs.rip, bad[i]);
    TRY("kernel_sp", kernel_sp, bad[i]);
    TRY("event callback", event_callback_eip, bad[i]);
    TRY("failsafe callback", failsafe_callback_eip, bad[i]);
    TRY("syscall callback", syscall_callback_eip, bad[i]);
    TRY("fs_base", fs_base, bad[i]);
    TRY("gs_base_kernel", gs_base_kernel, bad[i]);
    TRY("gs_base_user", gs_base_user, bad[i]);
    TRY("trap 0", trap_ctxt[0].address, bad[i]);
    TRY("trap 255", trap_ctxt[255].address, bad[i]);
    TRY("ldt_base, none", ldt_base, bad[i]);
    base();
    context.ldt_base = bad[i], context.ldt_ents = 8;
    attempt("ldt_base, 8", bad[i]);
  }
  static const u64 counts[] = {8193, 65536, 1UL << 32, ~0UL};
  for (u32 i = 0; i < ARRAY_SIZE(counts); i++) {
    TRY("ldt_ents", ldt_ents, counts[i]);
    TRY("gdt_ents", gdt_ents, counts[i]);
  }
  TRY("ldt_base, none", ldt_base, 8);
  TRY("ldt_base, none", ldt_base, 0xffff830000000000);
  base();
  context.ldt_base = 0x00007ffffffff000, context.ldt_ents = 8192;
  attempt("ldt_base, 8192", context.ldt_base);
  base();
  context.ldt_base = 8, context.ldt_ents = 1;
  attempt("ldt_base, 1", 8);
  base();
  context.ldt_base = 0xffff830000000000, context.ldt_ents = 1;
  attempt("ldt_base, 1", context.ldt_base);
  static const u64 debug[] = {0, 0x400, 0x401, 0x2400, 0x20401, 0x100000400, ~0UL};
  for (u32 i = 0; i < ARRAY_SIZE(debug); i++) TRY("dr7", debugreg[7], debug[i]);
  TRY("dr6", debugreg[6], ~0UL);
  TRY("dr0", debugreg[0], 0xffff830000000000);
  TRY("dr0", debugreg[0], NO_CANONICAL);
  TRY("dr5", debugreg[5], ~0UL);
  TRY("cr0", ctrlreg[0], 0);
  TRY("cr0", ctrlreg[0], 8);
  TRY("cr0", ctrlreg[0], ~0UL);
  TRY("cr2", ctrlreg[2], ~0UL);
  TRY("cr4", ctrlreg[4], ~0UL);
  TRY("vm_assist", vm_assist, ~0UL);
  TRY("kernel_ss", kernel_ss, 0);
  TRY("kernel_ss", kernel_ss, 0xe010);
}

static void group_tables(void) {
  u64 root = machine_address((void *)start_info->pt_base);
  struct { const char *name; u64 mfn; } frames[] = {
      {"zero", 0}, {"data", va_to_mfn(arena[4])}, {"read-only data", va_to_mfn(READ_ONLY)}, {"foreign", foreign}, {"shared info", start_info->shared_info / PAGE_SIZE}, {"vga", 0xa0}, {"beyond", 0x7ffffffff},
      {"all ones", 0xffffffffffff}, {"an L1", 0}, {"an empty L4", va_to_mfn(table_page)}};
  update_va_mapping(table_page, va_to_mfn(table_page) * PAGE_SIZE | (DATA & ~PTE_RW), UVMF_INVLPG);
  update_va_mapping(user_page, va_to_mfn(user_page) * PAGE_SIZE | (DATA & ~PTE_RW), UVMF_INVLPG);
  frames[8].mfn = (*pte_of((void *)VIRT_BASE, 2) & PTE_FRAME) / PAGE_SIZE;
  for (u32 i = 0; i < ARRAY_SIZE(frames); i++) {
    if (i == 2 || i == ARRAY_SIZE(frames) - 1) continue; /* the vCPU would find nothing there, and the domain end */
    base();
    context.ctrlreg[3] = frames[i].mfn * PAGE_SIZE;
    say("cr3, ");
    attempt(frames[i].name, 0);
  }
  for (u32 i = 0; i < ARRAY_SIZE(frames); i++) {
    base();
    context.ctrlreg[1] = frames[i].mfn * PAGE_SIZE | (frames[i].mfn ? 1 : 0);
    say("cr1, ");
    attempt(frames[i].name, 0);
  }
  static const u64 lows[] = {1, 8, 0x18, 0xfff, 1UL << 63, 1UL << 52};
  for (u32 i = 0; i < ARRAY_SIZE(lows); i++) {
    base();
    context.ctrlreg[3] = root | lows[i];
    attempt("cr3 with", lows[i]);
  }
  for (u32 i = 0; i < ARRAY_SIZE(frames); i++) {
    base();
    context.gdt_frames[0] = frames[i].mfn, context.gdt_ents = 1;
    say("gdt, ");
    attempt(frames[i].name, 1);
  }
  for (u32 i = 0; i < 512; i++) gdt_page[i] = i == 3 ? 0x0000890000000067 : 0x00cff3000000ffff;
  static const u64 entries[] = {0, 1, 512, 513};
  update_va_mapping(gdt_page, va_to_mfn(gdt_page) * PAGE_SIZE | (DATA & ~PTE_RW), UVMF_INVLPG);
  for (u32 bad = 0; bad < 2; bad++) {
    for (u32 i = 0; i < ARRAY_SIZE(entries); i++) {
      base();
      context.gdt_frames[0] = va_to_mfn(gdt_page), context.gdt_ents = entries[i];
      context.user_regs.ds = 8 | 3;
      attempt(bad ? "gdt of good ones" : "gdt with a TSS", entries[i]);
    }
    call(10, machine_address(&gdt_page[3]), 0, 0, 0, 0);
  }
}

static void group_areas(void) {
  /* Areas that the hypervisor writes to, at addresses where it may not, and what is in them. */
  static const u32 ops[] = {5, 13};
  for (u32 o = 0; o < ARRAY_SIZE(ops); o++)
    for (u32 p = 0; p < nr_places; p++)
      for (u32 id = 0; id < 2; id++) {
        memset(GOOD, 0x5a, PAGE_SIZE);
        say("%s of %u at %s: %s", o ? "time" : "runstate", id, places[p].name, result_text(vcpu(ops[o], id, &places[p].at)));
        call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
        u32 written = 0;
        for (u32 i = 0; i < PAGE_SIZE; i++) written += ((u8 *)GOOD)[i] != 0x5a;
        say(", %s\n", written ? "written" : "not written");
      }
  u64 there = (u64)arena[4];
  for (u32 id = 0; id < 2; id++) vcpu(5, id, &there), vcpu(13, id, &there);
  struct { u64 mfn; u32 offset, rsvd; } info;
  struct { const char *name; u64 mfn; } frames[] = {{"read-only data", va_to_mfn(READ_ONLY)}, {"foreign", foreign}, {"root", va_to_mfn((void *)start_info->pt_base)}, {"shared info", start_info->shared_info / PAGE_SIZE}, {"beyond", 0x7ffffffff}, {"all ones", ~0UL}, {"zero", 0}, {"data", va_to_mfn(arena[4])}};
  static const u32 offsets[] = {1, 4, 32, 4033, 4036, 4040, 4064, 4096, ~0U, 4032, 0, 64};
  for (u32 f = 0; f < ARRAY_SIZE(frames); f++)
    for (u32 o = 0; o < ARRAY_SIZE(offsets); o++) {
      info.mfn = frames[f].mfn, info.offset = offsets[o], info.rsvd = o & 1;
      say("vcpu_info of 1 in %s+%x: %s\n", frames[f].name, offsets[o], result_text(vcpu(10, 1, &info)));
    }
  base();
  attempt("with its vcpu_info there", 0);
}

void section_contexts(u32 count) {
  static void (*const groups[])(void) = {group_flags, group_selectors, group_addresses, group_tables, group_areas, group_data_selectors};
  groups[count % ARRAY_SIZE(groups)]();
}

/* ---- what ends a domain ---- */

/* The count says which deed; none comes back. */
void section_deaths(u32 count) {
  static struct trap_info none[257];
  static const u8 ud2[] = {0x0f, 0x0b}, int3[] = {0xcc}, user_syscall[] = {0x0f, 0x05};
  static const u64 stacks[] = {NOT_MAPPED, NO_CANONICAL, 0xffff830000000000, 8};
  user_mode_init();
  snippet_in = (struct registers){.rflags = 0x202};
  say("deed %u\n", count);
  flush();
  struct iret_frame frame = {0, (u64)far_code, USER_CS, 0x202, SNIPPET_STACK, USER_SS};
  far_code[0] = 0xcc;
  if (count < 4) iret_at(stacks[count]);
  else if (count == 4) iret_at((u64)MISSING + 24); /* the hypercall page's pushes fault */
  else if (count == 5) user_root_set(false), iret_from(&frame);
  else if (count == 6) call(HC_set_trap_table, 0, 0, 0, 0, 0), execute(ud2, 2);
  else if (count == 7) call(HC_set_trap_table, 0, 0, 0, 0, 0), execute_user(ud2, 2);
  else if (count < 12) {
    call(3, FLAT_KERNEL_SS, count == 8 ? NOT_MAPPED : count == 9 ? (u64)READ_ONLY + 512 : count == 10 ? (u64)MISSING + 32 : 0xffff830000000100, 0, 0, 0);
    execute_user(int3, 1);
  } else if (count == 12) call(3, FLAT_KERNEL_SS, NO_CANONICAL, 0, 0, 0), execute_user(int3, 1);
  else if (count == 13) { /* the handler's page is not there: its first instruction faults, and so on, down the stack */
    for (u32 i = 0; i < 256; i++) none[i] = (struct trap_info){.vector = (u8)i, .flags = 4, .cs = FLAT_KERNEL_CS, .address = NOT_MAPPED};
    call(HC_set_trap_table, (u64)none, 0, 0, 0, 0);
    execute(ud2, 2);
  } else if (count == 14) {
    struct callback_register one = {2, 0, 0};
    call(HC_callback_op, CALLBACKOP_register, (u64)&one, 0, 0, 0);
    call(HC_set_trap_table, 0, 0, 0, 0, 0);
    execute_user(user_syscall, 2);
  } else if (count == 15) { /* the last vCPU goes down */
    call(HC_vcpu_op, VCPUOP_down, 0, 0, 0, 0);
  } else if (count == 16) {
    struct callback_register one = {0, 0, 0};
    say("no event callback: %s\n", result_text(call(HC_callback_op, CALLBACKOP_register, (u64)&one, 0, 0, 0)));
    flush();
    shared->vcpu_info[0].evtchn_upcall_pending = 1;
    shared->vcpu_info[0].evtchn_upcall_mask = 0;
    call(HC_sched_op, SCHEDOP_yield, 0, 0, 0, 0);
  } else if (count == 17) {
    u32 reason = SHUTDOWN_crash;
    call(HC_sched_op, SCHEDOP_shutdown, (u64)&reason, 0, 0, 0);
  }
  say("it lives\n");
}
