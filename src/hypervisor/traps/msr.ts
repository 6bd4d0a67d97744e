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
const PAGE_SHIFT = 12;

const canonical = (hi: number) => (hi << 16) >> 16 === hi;
const zero = (): Value => [0, 0];

/** Reads as zero, and takes only zero. */
const alwaysZero = (name: string): MsrRow => ({ name, read: zero, write: (_vcpu, lo, hi) => lo === 0 && hi === 0 });

const rows: ReadonlyMap<number, MsrRow> = new Map<number, MsrRow>([
  [
    0x10,
    {
      name: "TSC",
      read: (vcpu) => {
        const now = vcpu.domain.now();
        return [now | 0, Math.floor(now / 0x1_0000_0000) | 0];
      },
      // Xen ignores writes by guests: the TSC is the machine's.
      write: () => true,
    },
  ],
  [
    0x1b,
    {
      name: "APIC_BASE",
      read: (vcpu) => [APIC_BASE | APIC_ENABLED | (vcpu.id === 0 ? APIC_BSP : 0), 0],
    },
  ],
  [0x8b, alwaysZero("PATCH_LEVEL")],
  [0x1a0, { name: "MISC_ENABLE", read: zero }],
  [0x277, { name: "PAT", read: () => [PAT_LO, PAT_HI], write: (_vcpu, lo, hi) => lo === PAT_LO && hi === PAT_HI }],
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
  [0xc001_0015, { name: "K7_HWCR", read: zero, write: () => true }],
  [0xc001_001f, { name: "NB_CFG", read: zero }],
  [0xc001_0041, { name: "FIDVID_CTL", read: zero }],
  [0xc001_0042, { name: "FIDVID_STATUS", read: zero }],
  [0xc001_0055, { name: "K8_INT_PENDING", read: zero }],
  [0xc001_1029, { name: "DE_CFG", read: zero, write: () => true }],
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
