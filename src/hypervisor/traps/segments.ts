/**
 * Segment registers from selectors that a guest names in a hypercall, with the checks of the processor (AMD APM volume 2, 4.8).
 */
import { FIRST_RESERVED_GDT_ENTRY, FLAT } from "../../abi/arch-x86-64.ts";
import { SegmentRegister } from "../../engine/cpu-state.ts";
import { Vector } from "../../engine/exits.ts";
import type { Vcpu } from "../vcpu.ts";
import { bounceToKernel } from "./bounce.ts";
import { injectInterrupt } from "./inject.ts";

const ACCESSED = 1 << 8;
const PRESENT = 0x80;
const USER_SEGMENT = 0x10;
const CODE = 0x08;
const CONFORMING = 0x04;
const WRITABLE = 0x02;
const LONG = 0x2000;
const GRANULAR = 0x8000;
const DPL_SHIFT = 5;
const DESCRIPTORS_PER_FRAME = 512;

/** A descriptor as two words of memory. */
interface Descriptor {
  readonly lo: number;
  readonly hi: number;
  /** Where it stands; none for Xen's own. */
  readonly word?: number;
}

/** Xen's own, above the guest's part of the GDT (FLAT_RING3_*). 32-bit code can be loaded as data alone. */
const flatCode32: Descriptor = { lo: 0xffff, hi: 0x00cf_fb00 };
const flatCode: Descriptor = { lo: 0xffff, hi: 0x00af_fb00 };
const flatData: Descriptor = { lo: 0xffff, hi: 0x00cf_f300 };

/** The descriptor of a selector, as the guest's tables or Xen's own hold it; undefined when there is none. */
function descriptorOf({ cpu, domain, id }: Vcpu, selector: number): Descriptor | undefined {
  const { memory } = domain;
  const index = selector >> 3;
  const page = Math.floor(index / DESCRIPTORS_PER_FRAME);
  let mfn = -1;
  if ((selector & 4) !== 0) {
    if (index < cpu.ldtEntries) mfn = memory.vcpuTables.ldtFrame(id, page);
  } else if (index >= FIRST_RESERVED_GDT_ENTRY) {
    const flat = selector | 3;
    return flat === FLAT.cs64 ? flatCode : flat === FLAT.ss64 ? flatData : flat === FLAT.cs32 ? flatCode32 : undefined;
  } else {
    mfn = cpu.gdtMfns[page] ?? -1;
  }
  const offset = memory.hostOffset(mfn);
  if (offset < 0) return undefined;
  const word = offset / 4 + (index % DESCRIPTORS_PER_FRAME) * 2;
  return { lo: memory.words[word]!, hi: memory.words[word + 1]!, word };
}

/** A descriptor that is loaded is marked accessed in its table. */
function accessed({ domain: { memory } }: Vcpu, descriptor: Descriptor): Descriptor {
  const { word, hi } = descriptor;
  if (word === undefined || (hi & ACCESSED) !== 0) return descriptor;
  memory.words[word + 1] = hi | ACCESSED;
  memory.caches.invalidateCode(memory.mfnAt(word * 4));
  return { ...descriptor, hi: hi | ACCESSED };
}

const attributesOf = ({ hi }: Descriptor) => (hi >>> 8) & 0xf0ff;
const baseOf = ({ lo, hi }: Descriptor) => (lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff00_0000);
function limitOf({ lo, hi }: Descriptor): number {
  const limit = (lo & 0xffff) | (hi & 0xf_0000);
  return (attributesOf({ lo, hi }) & GRANULAR) !== 0 ? (limit << 12) | 0xfff : limit;
}

const dpl = (attributes: number) => (attributes >> DPL_SHIFT) & 3;

/** Whether CS may hold this at privilege 3: 64-bit code only, 32-bit code is not supported. */
const isCode64 = (attributes: number) =>
  (attributes & (PRESENT | USER_SEGMENT | CODE | LONG)) === (PRESENT | USER_SEGMENT | CODE | LONG) &&
  ((attributes & CONFORMING) !== 0 || dpl(attributes) === 3);

const isStack = (attributes: number) =>
  (attributes & (PRESENT | USER_SEGMENT | CODE | WRITABLE)) === (PRESENT | USER_SEGMENT | WRITABLE) &&
  dpl(attributes) === 3;

/**
 * Loads CS and SS on the way back to the guest. A selector that the processor would refuse raises #GP in the guest kernel, with the
 * state that was to be returned to as the interrupted one.
 */
export function loadReturnSegments(vcpu: Vcpu, cs: number, ss: number): void {
  const { cpu, domain } = vcpu;
  const code = descriptorOf(vcpu, cs);
  const stack = descriptorOf(vcpu, ss);
  const codeOk = code !== undefined && isCode64(attributesOf(code));
  if (codeOk && stack !== undefined && isStack(attributesOf(stack))) {
    cpu.setSegment(SegmentRegister.cs, cs, attributesOf(accessed(vcpu, code)), limitOf(code), 0, 0);
    cpu.setSegment(SegmentRegister.ss, ss, attributesOf(accessed(vcpu, stack)), limitOf(stack), 0, 0);
    return;
  }
  if (code !== undefined && (attributesOf(code) & (CODE | LONG)) === CODE) {
    domain.logGuest("warn", `32-bit code segments are not supported yet: selector 0x${cs.toString(16)} refused`);
  }
  cpu.setSelector(SegmentRegister.cs, cs);
  cpu.setSelector(SegmentRegister.ss, ss);
  injectInterrupt(vcpu, Vector.generalProtection, (codeOk ? ss : cs) & 0xfffc);
}

/** Xen's segments of privilege 0 that are data for itself: it can load them, and the way back to ring 3 leaves the register null. */
const XENS_OWN_DATA: readonly number[] = [0xe008, 0xe010, 0xe060];

/**
 * DS, ES, FS and GS as a context names them, loaded as Xen does before a vCPU runs: with the base of FS and GS as it is. When one cannot be
 * loaded it is null, and the vCPU goes to its failsafe callback.
 */
export function loadDataSegments(
  vcpu: Vcpu,
  selectors: readonly [ds: number, es: number, fs: number, gs: number],
): void {
  const { ds, es, fs, gs } = SegmentRegister;
  const loaded = [ds, es, fs, gs].map((segment, i) => loadDataSegment(vcpu, segment, selectors[i]!));
  if (loaded.every((ok) => ok)) return;
  bounceToKernel(vcpu, { ...vcpu.failsafeCallback, failsafe: selectors, what: "failsafe callback" });
}

function loadDataSegment(vcpu: Vcpu, segment: SegmentRegister, selector: number): boolean {
  const { cpu } = vcpu;
  const isNull = selector <= 3 || XENS_OWN_DATA.includes(selector);
  const named = isNull ? undefined : descriptorOf(vcpu, selector);
  const ownBase = segment === SegmentRegister.fs || segment === SegmentRegister.gs;
  const [baseLo, baseHi] = cpu.segmentBase(segment);
  if (named === undefined || !isUsable(attributesOf(named))) {
    cpu.setSegment(segment, 0, 0, 0, ownBase ? baseLo : 0, ownBase ? baseHi : 0);
    return isNull;
  }
  const descriptor = accessed(vcpu, named);
  const [lo, hi] = ownBase ? [baseLo, baseHi] : [baseOf(descriptor), 0];
  cpu.setSegment(segment, selector, attributesOf(descriptor), limitOf(descriptor), lo, hi);
  return true;
}

/**
 * SEGBASE_GS_USER_SEL: user mode's GS selector and, from its descriptor, base. A null selector, as it comes, or one that cannot be loaded
 * leaves GS null with base 0.
 */
export function loadUserGs(vcpu: Vcpu, asked: number): void {
  const { cpu } = vcpu;
  const selector = asked > 3 ? asked | 3 : asked;
  const named = selector > 3 ? descriptorOf(vcpu, selector) : undefined;
  const descriptor = named !== undefined && isUsable(attributesOf(named)) ? accessed(vcpu, named) : undefined;
  // The register's active base is the kernel's: it stays.
  const [lo, hi] = cpu.gsBaseKernel;
  cpu.setSegment(
    SegmentRegister.gs,
    descriptor !== undefined || selector <= 3 ? selector : 0,
    descriptor === undefined ? 0 : attributesOf(descriptor),
    descriptor === undefined ? 0 : limitOf(descriptor),
    lo,
    hi,
  );
  cpu.gsBaseUser = [descriptor === undefined ? 0 : baseOf(descriptor), 0];
}

/** Data, or code that can be read, for privilege 3. */
const isUsable = (attributes: number) =>
  (attributes & (PRESENT | USER_SEGMENT)) === (PRESENT | USER_SEGMENT) &&
  (attributes & (CODE | WRITABLE)) !== CODE &&
  dpl(attributes) === 3;
