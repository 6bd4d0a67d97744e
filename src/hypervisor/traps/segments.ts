/**
 * Segment registers from selectors that a guest names in a hypercall, with the checks of the processor (AMD APM volume 2, 4.8).
 */
import { FIRST_RESERVED_GDT_ENTRY, FLAT } from "../../abi/arch-x86-64.ts";
import { Reg, SegmentRegister } from "../../engine/cpu-state.ts";
import { Vector } from "../../engine/exits.ts";
import type { Domain } from "../domain.ts";
import type { Vcpu } from "../vcpu.ts";
import { CODE64, DATA, FLAT_LIMIT } from "./flat-segments.ts";
import { injectException } from "./inject.ts";

const PRESENT = 0x80;
const USER_SEGMENT = 0x10;
const CODE = 0x08;
const CONFORMING = 0x04;
const WRITABLE = 0x02;
const LONG = 0x2000;
const GRANULAR = 0x8000;
const DPL_SHIFT = 5;
const DESCRIPTORS_PER_FRAME = 512;

interface Descriptor {
  readonly attributes: number;
  readonly limit: number;
  readonly base: number;
}

/** The descriptor of a selector, as the guest's tables or Xen's own hold it; undefined when there is none. */
function descriptorOf(domain: Domain, vcpu: Vcpu, selector: number): Descriptor | undefined {
  const { cpu } = vcpu;
  const { memory } = domain;
  const index = selector >> 3;
  const bytes = new Uint8Array(8);
  if ((selector & 4) !== 0) {
    if (index >= cpu.ldtEntries || !memory.copyFromGuest(vcpu.id, cpu.ldtBase + index * 8, bytes)) return undefined;
  } else if (index >= FIRST_RESERVED_GDT_ENTRY) {
    const flat = selector | 3;
    if (flat === FLAT.cs64) return { attributes: CODE64, limit: FLAT_LIMIT, base: 0 };
    if (flat === FLAT.ss64) return { attributes: DATA, limit: FLAT_LIMIT, base: 0 };
    return undefined;
  } else {
    const mfn = index < cpu.gdtEntries ? cpu.gdtMfns[Math.floor(index / DESCRIPTORS_PER_FRAME)] : undefined;
    const offset = mfn === undefined ? -1 : memory.hostOffset(mfn);
    if (offset < 0) return undefined;
    const at = offset + (index % DESCRIPTORS_PER_FRAME) * 8;
    bytes.set(memory.bytes.subarray(at, at + 8));
  }
  const view = new DataView(bytes.buffer);
  const lo = view.getUint32(0, true);
  const hi = view.getUint32(4, true);
  const limit = (lo & 0xffff) | (hi & 0xf_0000);
  const attributes = (hi >>> 8) & 0xf0ff;
  return {
    attributes,
    limit: (attributes & GRANULAR) !== 0 ? (limit << 12) | 0xfff : limit,
    base: ((lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff00_0000)) >>> 0,
  };
}

const dpl = (attributes: number) => (attributes >> DPL_SHIFT) & 3;

/** Whether CS may hold this at privilege 3: 64-bit code only, 32-bit code is not supported. */
const isCode64 = ({ attributes }: Descriptor) =>
  (attributes & (PRESENT | USER_SEGMENT | CODE | LONG)) === (PRESENT | USER_SEGMENT | CODE | LONG) &&
  ((attributes & CONFORMING) !== 0 || dpl(attributes) === 3);

const isStack = ({ attributes }: Descriptor) =>
  (attributes & (PRESENT | USER_SEGMENT | CODE | WRITABLE)) === (PRESENT | USER_SEGMENT | WRITABLE) &&
  dpl(attributes) === 3;

/**
 * Loads CS and SS on the way back to the guest. A selector that the processor would refuse raises #GP in the guest kernel, with the
 * state that was to be returned to as the interrupted one.
 */
export function loadReturnSegments(vcpu: Vcpu, cs: number, ss: number): void {
  const { cpu, domain } = vcpu;
  const code = descriptorOf(domain, vcpu, cs);
  const stack = descriptorOf(domain, vcpu, ss);
  const refused = code === undefined || !isCode64(code) ? cs : stack === undefined || !isStack(stack) ? ss : -1;
  if (refused < 0) {
    cpu.setSegment(SegmentRegister.cs, cs, code!.attributes, code!.limit, 0, 0);
    cpu.setSegment(SegmentRegister.ss, ss, stack!.attributes, stack!.limit, 0, 0);
    return;
  }
  if (refused === cs && code !== undefined && (code.attributes & CODE) !== 0 && (code.attributes & LONG) === 0) {
    domain.logGuest("warn", `32-bit code segments are not supported yet: selector 0x${cs.toString(16)} refused`);
  }
  cpu.setSelector(SegmentRegister.cs, cs);
  cpu.setSelector(SegmentRegister.ss, ss);
  injectException(vcpu, Vector.generalProtection, refused & 0xfffc);
}

/**
 * SEGBASE_GS_USER_SEL: user mode's GS selector and, from its descriptor, base. A null selector, or one that cannot be loaded, leaves GS
 * null with base 0.
 */
export function loadUserGs(domain: Domain, vcpu: Vcpu, asked: number): void {
  const { cpu } = vcpu;
  const selector = asked > 3 ? asked | 3 : asked;
  const descriptor = selector > 3 ? descriptorOf(domain, vcpu, selector) : undefined;
  const usable =
    descriptor !== undefined &&
    (descriptor.attributes & (PRESENT | USER_SEGMENT)) === (PRESENT | USER_SEGMENT) &&
    // Data, or code that can be read.
    (descriptor.attributes & (CODE | WRITABLE)) !== CODE &&
    dpl(descriptor.attributes) === 3;
  // Setting the register goes through the active base, which is the kernel's: it is put back.
  const { gsBaseKernel } = cpu;
  cpu.setSegment(
    SegmentRegister.gs,
    usable ? selector : 0,
    usable ? descriptor.attributes : 0,
    usable ? descriptor.limit : 0,
    cpu.lo(Reg.gsBase),
    cpu.hi(Reg.gsBase),
  );
  cpu.gsBaseKernel = gsBaseKernel;
  cpu.gsBaseUser = [usable ? descriptor.base | 0 : 0, 0];
}
