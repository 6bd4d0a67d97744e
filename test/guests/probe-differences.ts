/**
 * Where domzero answers the probe otherwise than the recorded Xen, and why that is so. A line that differs and is in no row here fails the
 * test, and so does a row that no line needs.
 */
export interface Difference {
  readonly why: string;
  /** Xen's line. */
  readonly xen: RegExp;
  /** Ours, in its place. */
  readonly ours: RegExp;
}

export const differences: readonly Difference[] = [
  {
    why: "domzero tells its own version, and hosts no HVM domains",
    xen: /^xen_version (extraversion|capabilities): 0, (16|1024) bytes: /,
    ours: /^xen_version (extraversion|capabilities): 0, (16 bytes: \.0-domzero|1024 bytes: xen-3\.0-x86_64)$/,
  },
  {
    why: "xenoprof is an option of Xen's build (CONFIG_XENOPROF), which domzero is without",
    xen: /^(xenoprof_op|call 31 op|call 0x1f )/,
    ours: /^(xenoprof_op|call 31 op|call 0x1f ).*: -ENOSYS$/,
  },
  {
    why: "the recorded machine has a host bridge at 00:00.0; here are no PCI devices at all",
    xen: /^(physdev_op\.restore_msi(_ext)?|call 33 op (19|27) of zeros|physdev_op_compat).*: -EPERM$/,
    ours: /: -ENODEV$/,
  },
  {
    why: "how many frames the machine-to-physical table has is the machine's size",
    xen: /^memory_op\.machphys_mfn_list .*: (0(, nr=[0-9]+)?|-EFAULT)$/,
    ours: /^memory_op\.machphys_mfn_list .*: 0, nr=[0-9]+$/,
  },
  {
    why: "the counter was laid over the request itself, and its frame number shows",
    xen: /^mmu_update .*, ptr=0x[0-9a-f]{9}$/,
    ours: /^mmu_update .*, ptr=0x[0-9a-f]{9}$/,
  },
  {
    why: "xl gives PV guests no timer chip; ours has one, and the speaker's port",
    xen: /^mode [1-3], port (42|60|61), in /,
    ours: /^mode [1-3], port (42|60|61), in /,
  },
  {
    why: "the recorded processor has SVM, ours has not: its instructions are invalid",
    xen: /^(vmrun|stgi|clgi|invlpga): #GP\(0\)/,
    ours: /^(vmrun|stgi|clgi|invlpga): #UD/,
  },
  {
    why: "QEMU executes aam and into in 64-bit mode, and cuts rsp to 32 bits for a 32-bit iret; the manuals have #UD, and 64-bit stacks",
    xen: /^((aam|into): done|into, gate [0-3]: kernel done|iretd: #PF)/,
    ours: /^((aam|into): #UD|into, gate [0-3]: kernel #UD|iretd: #GP\(0\))/,
  },
  {
    why: "a near jump to no canonical address faults at the jump (AMD APM volume 3, JMP); QEMU faults at its target",
    xen: /^(jmp not canonical: #GP\(0\) at 8000000000000000 |kernel jump (hole|not canonical|below Xen): #GP\(0\) at the place;)/,
    ours: /^(jmp not canonical: #GP\(0\) at \+0 |kernel jump (hole|not canonical|below Xen): #GP\(0\);)/,
  },
  {
    why: "QEMU reports #SS as #GP",
    xen: /^(mov rbx, \[rbp\], not canonical|; user push on .*): #GP\(0\)/,
    ours: /^(mov rbx, \[rbp\], not canonical|; user push on .*): #SS\(0\)/,
  },
  {
    why: "QEMU reads before it locks where an operand crosses pages; a processor asks for the write at once",
    xen: /^kernel exchange last [14]: #PF\(0\) .*#PF\(4\)/,
    ours: /^kernel exchange last [14]: #PF\(2\) .*#PF\(6\)/,
  },
  {
    why: "the engine keeps RF only while breakpoints are watched; int3 as the first instruction behind a return would show it, and so does QEMU's sysret, which in a processor clears it",
    xen: /^iret .*(rflags|RF 1).*: #(BP|DB) at there\+[013] cs e03[03] ss e02b flags (10|25[0-9a-f])[0-9a-f]{3} /,
    ours: /^iret .*(rflags|RF 1).*: #(BP|DB) at there\+[013] cs e03[03] ss e02b flags (24[0-9a-f])?[0-9a-f]{3} /,
  },
  {
    why: "QEMU leaves code unmarked as accessed that a far transfer loads (APM volume 2, 4.7.1: it is marked)",
    xen: /^access [89a-f][0-9a-f] flags .* retf:#BP\/8 .*$/,
    ours: /^access [89a-f][0-9a-f] flags .* retf:#BP\/8 .*, then [0-9a-f]{3,4}$/,
  },
  {
    why: "QEMU tells of a watched operand of a repeated instruction when all of it is done; a processor behind the iteration (SDM volume 3, 18.3.1.2)",
    xen: /^(write|read\/write) of . at (0|7|-1): rep (stosb|lodsb): #DB at \+2 /,
    ours: /^(write|read\/write) of . at (0|7|-1): rep (stosb|lodsb): (#DB at \+0 |done)/,
  },
  {
    why: "QEMU does not watch what clflush names, which counts as a read (SDM volume 2, CLFLUSH)",
    xen: /^read\/write of . at .*: clflush \[rax\]: done/,
    ours: /^read\/write of . at .*: clflush \[rax\]: #DB at \+3 /,
  },
  {
    why: "QEMU takes a breakpoint's address as it is; a processor leaves out the bits that the length covers (SDM volume 3, 18.2.5)",
    xen: /^(write|read\/write) of [248] at (2|7|-1): /,
    ours: /^(write|read\/write) of [248] at (2|7|-1): /,
  },
  {
    why: "DR6 names the breakpoints that are enabled and met (APM volume 2, 13.1.1.3); QEMU names those of instructions enabled or not, and the first one alone of data",
    xen: /^(enabled|all write 1, enabled) .*: #DB at \+[13] .*, dr6 ffff0ff[0-9a-f]$/,
    ours: /^(enabled|all write 1, enabled) .*: #DB at \+[13] .*, dr6 ffff0ff[0-9a-f]$/,
  },
  {
    why: "QEMU steps once more behind the last iteration of a repeated instruction",
    xen: /^(user: )?rep.*: (there)?\+0 (there)?\+0 (there)?\+0 (there)?\+2 /,
    ours: /^(user: )?rep.*: (there)?\+0 (there)?\+0 (there)?\+2 /,
  },
  {
    why: "QEMU executes emms whatever TS says (APM volume 5: #NM), and asks for TS before it knows that an x87 instruction is none; the manuals leave that open",
    xen: /^TS, (emms: done|no such FPU instruction: #NM)/,
    ours: /^TS, (emms: #NM|no such FPU instruction: #UD)/,
  },
  {
    why: "QEMU raises no #XM, and takes any MXCSR",
    xen: /^(user )?ldmxcsr (0; divss|ffff0000): done/,
    ours: /^(user )?ldmxcsr (0; divss: #XM|ffff0000: #GP\(0\))/,
  },
  {
    why: "Xen marks a vCPU up whose context says that it is online, and wakes nobody: it runs when it was taken down and up again; ours runs at once",
    xen: /^online: initialise 0, it did not run, is_up 1, up 0, it did not run, down 0, up 0, it ran$/,
    ours: /^online: initialise 0, it ran, /,
  },
  {
    why: "QEMU does not check alignment: no #AC",
    xen: /^(user: popf with AC; )?mov rax, \[rsp\+1\]( with AC)?: done/,
    ours: /^(user: popf with AC; )?mov rax, \[rsp\+1\]( with AC)?: #AC\(0\)/,
  },
  {
    why: "smsw shows Xen's own TS, set until a vCPU uses its FPU",
    xen: /^smsw eax: done rax=8005003b$/,
    ours: /^smsw eax: done$/,
  },
  {
    why: "the processor's model, its clock and what it has are the host's (src/hypervisor/traps/cpuid.ts says what ours is)",
    xen: /^cpuid (0|1|40000003|40000005|8000000[0-8]|80000021) [0-3]: done /,
    ours: /^cpuid (0|1|40000003|40000005|8000000[0-8]|80000021) [0-3]: done /,
  },
];
