/**
 * Model-specific registers of a PV guest: a table by number. A register without a row is #GP, which kernels expect and catch.
 */
import { hypercallPage } from "../../abi/hypercall-page.ts";
import { Reg } from "../../engine/cpu-state.ts";
import { PageType } from "../mm/frame-table.ts";
import type { Vcpu } from "../vcpu.ts";

type Value = readonly [number, number];

interface MsrRow {
  readonly name: string;
  /** The value; undefined for #GP. */
  read?(vcpu: Vcpu): Value | undefined;
  /** False for #GP. */
  write?(vcpu: Vcpu, lo: number, hi: number): boolean;
}

const APIC_BASE = 0xfee0_0000;
const APIC_ENABLED = 1 << 11;
const APIC_BSP = 1 << 8;
/** SCE, LME, LMA, NXE. */
const EFER = 0xd01;
/** The page attribute table as Xen sets it: WB, WT, UC-, UC, WC, WP, UC, UC. */
const PAT_LO = 0x0007_0406;
const PAT_HI = 0x0000_0501;
/** Fast strings; no branch trace, no event sampling, xTPR messages off. */
const MISC_ENABLE = 0x80_1801;
const PAGE_SHIFT = 12;

const canonical = (hi: number) => (hi << 16) >> 16 === hi;
const zero = (): Value => [0, 0];

/** Reads as zero, and takes only zero. */
const alwaysZero = (name: string): MsrRow => ({ name, read: zero, write: (_vcpu, lo, hi) => lo === 0 && hi === 0 });

/** Reads as zero, and ignores what is written: registers of the machine that Xen lets an AMD processor's guests look for. */
const ignored = (name: string): MsrRow => ({ name, read: zero, write: () => true });
const readOnly = (name: string): MsrRow => ({ name, read: zero });

/** `count` registers from `first` on. */
const several = (first: number, count: number, row: MsrRow): [number, MsrRow][] =>
  Array.from({ length: count }, (_, i) => [first + i, { ...row, name: `${row.name}${i}` }]);

/** Banks of machine checks that a virtual processor has, and those whose registers at least are there. */
const MC_BANKS = 2;
const MC_BANKS_THERE = 8;
const MC0_CTL = 0x400;

/** A bank has CTL (all on, for good), STATUS, ADDR and MISC (zero, and to be zeroed); one beyond the virtual processor's has four zeros. */
const machineCheckBank = (bank: number): [number, MsrRow][] =>
  bank >= MC_BANKS
    ? several(MC0_CTL + bank * 4, 4, ignored(`MC${bank}_`))
    : [
        [MC0_CTL + bank * 4, { name: `MC${bank}_CTL`, read: () => [-1, -1], write: () => true }],
        ...several(MC0_CTL + bank * 4 + 1, 3, alwaysZero(`MC${bank}_STATUS, _ADDR, _MISC `)),
      ];

const rows: ReadonlyMap<number, MsrRow> = new Map<number, MsrRow>([
  [
    0x10,
    {
      name: "TSC",
      read: (vcpu) => {
        const now = vcpu.domain.now();
        return [now | 0, Math.floor(now / 0x1_0000_0000) | 0];
      },
    },
  ],
  [
    0x1b,
    {
      name: "APIC_BASE",
      read: (vcpu) => [APIC_BASE | APIC_ENABLED | (vcpu.id === 0 ? APIC_BSP : 0), 0],
    },
  ],
  [0x00, readOnly("P5_MC_ADDR")],
  [0x01, readOnly("P5_MC_TYPE")],
  [0x8b, readOnly("PATCH_LEVEL")],
  [0xce, readOnly("PLATFORM_INFO")],
  [0xe7, { name: "MPERF", write: () => true }],
  [0xe8, { name: "APERF", write: () => true }],
  [0x140, alwaysZero("MISC_FEATURES_ENABLES")],
  [0x179, { name: "MCG_CAP", read: () => [MC_BANKS, 0], write: () => true }],
  [
    0x17a,
    {
      name: "MCG_STATUS",
      read: (vcpu) => vcpu.mcgStatus,
      write: (vcpu, lo, hi) => {
        vcpu.mcgStatus = [lo, hi];
        return true;
      },
    },
  ],
  [0x17b, ignored("MCG_CTL")],
  [0x1a0, { name: "MISC_ENABLE", read: () => [MISC_ENABLE, 0], write: () => true }],
  [0x277, { name: "PAT", read: () => [PAT_LO, PAT_HI] }],
  ...several(0x280, 32, ignored("MC_CTL2_")),
  ...Array.from({ length: MC_BANKS_THERE }, (_, bank) => machineCheckBank(bank)).flat(),
  [0xc000_0080, { name: "EFER", read: () => [EFER, 0], write: (_vcpu, lo, hi) => lo === EFER && hi === 0 }],
  [
    0xc000_0100,
    {
      name: "FS_BASE",
      read: ({ cpu }) => [cpu.lo(Reg.fsBase), cpu.hi(Reg.fsBase)],
      write: ({ cpu }, lo, hi) => {
        if (!canonical(hi)) return false;
        cpu.setFsBase(lo, hi);
        return true;
      },
    },
  ],
  [
    0xc000_0101,
    {
      name: "GS_BASE",
      read: ({ cpu }) => cpu.gsBaseKernel,
      write: ({ cpu }, lo, hi) => {
        if (!canonical(hi)) return false;
        cpu.gsBaseKernel = [lo, hi];
        return true;
      },
    },
  ],
  [
    0xc000_0102,
    {
      name: "KERNEL_GS_BASE",
      read: ({ cpu }) => cpu.gsBaseUser,
      write: ({ cpu }, lo, hi) => {
        if (!canonical(hi)) return false;
        cpu.gsBaseUser = [lo, hi];
        return true;
      },
    },
  ],
  ...several(0xc001_0000, 8, ignored("K7_PERF_")),
  [0xc001_0015, ignored("K7_HWCR")],
  [0xc001_001f, ignored("NB_CFG")],
  [0xc001_0041, ignored("FIDVID_CTL")],
  [0xc001_0042, ignored("FIDVID_STATUS")],
  ...several(0xc001_0061, 11, ignored("PSTATE_")),
  ...several(0xc001_0200, 12, ignored("F15H_PERF_")),
  // LFENCE waits for what is before it.
  [0xc001_1029, { name: "DE_CFG", read: () => [2, 0], write: () => true }],
  [0x4000_0000, { name: "XEN_HYPERCALL_PAGE", read: zero, write: (vcpu, lo, hi) => fillHypercallPage(vcpu, lo, hi) }],
]);

export function readMsr(vcpu: Vcpu, msr: number): Value | undefined {
  const value = rows.get(msr)?.read?.(vcpu);
  if (value === undefined) vcpu.domain.logGuest("debug", `rdmsr 0x${msr.toString(16)} refused`);
  return value;
}

export function writeMsr(vcpu: Vcpu, msr: number, lo: number, hi: number): boolean {
  const done = rows.get(msr)?.write?.(vcpu, lo, hi) ?? false;
  if (!done) vcpu.domain.logGuest("debug", `wrmsr 0x${msr.toString(16)} refused`);
  return done;
}

/** Writes a hypercall page into the guest's frame named by address `lo`/`hi`; bits 11:0 number the page, of which there is one. */
function fillHypercallPage(vcpu: Vcpu, lo: number, hi: number): boolean {
  const { memory, engine } = vcpu.domain;
  if ((lo & 0xfff) !== 0) return false;
  const mfn = ((lo >>> PAGE_SHIFT) | (hi << (32 - PAGE_SHIFT))) >>> 0;
  if (memory.getPageAndType(mfn, PageType.writable) < 0) return false;
  memory.bytes.set(hypercallPage(), memory.hostOffset(mfn));
  engine.invalidateCode(mfn);
  memory.putPageAndType(mfn);
  return true;
}
