/**
 * Page-table entries as two 32-bit halves, and what Xen makes of a guest's flags.
 *
 * Bits 11:0 are in the low half; the frame number is bits 51:12; NX is bit 31 of the high half. In 64-bit PV guest user and
 * guest kernel both run in ring 3, so the hypervisor asserts USER on everything and remembers in bit 52 which entries were
 * the kernel's (AMD APM volume 2, 5.3 for the format).
 */
import { PTE } from "../../abi/arch-x86-64.ts";

export const PRESENT = PTE.present;
export const RW = PTE.rw;
export const USER = PTE.user;
/** What the hypervisor adds to the present upper entries of a level: an L4's are ACCESSED from the start, as if its processor saw a copy. */
export const upperFlags = (level: number): number => (level === 4 ? USER | PTE.accessed : USER);
const GLOBAL = PTE.global;
export const ACCESSED = PTE.accessed;
export const DIRTY = PTE.dirty;
export const PSE = PTE.pse;

/** Flags an L1 entry of an unprivileged domain may not have: anything but write-back caching. */
export const L1_DISALLOWED = PTE.pat | PTE.pcd | PTE.pwt;
/** Flags an L2, L3 or L4 entry may not have: caching attributes, superpages and GLOBAL. */
export const UPPER_DISALLOWED = PTE.pse | PTE.global | PTE.pcd | PTE.pwt;

/** Bit 52 of an entry: the guest's kernel wrote it without USER. */
export const GUEST_KERNEL_HI = 1 << 20;
/** The frame number's part of the high half. */
export const FRAME_HI = 0x000f_ffff;

/** What may change in an entry without touching any count: NX, the available bits, GLOBAL, DIRTY, ACCESSED and USER. */
const SIMILAR_LO = ~(PTE.avail | PTE.global | PTE.dirty | PTE.accessed | PTE.user);

/** Whether two present entries name the same frame with the same rights, as far as counts go. */
export function sameMapping(oldLo: number, oldHi: number, newLo: number, newHi: number): boolean {
  return ((oldLo ^ newLo) & SIMILAR_LO) === 0 && ((oldHi ^ newHi) & FRAME_HI) === 0;
}

/** The low half that is stored for a guest's present L1 entry. */
export function adjustL1Lo(lo: number, hi: number): number {
  return (lo & USER) !== 0 && (hi & GUEST_KERNEL_HI) === 0 ? lo | GLOBAL : lo | USER;
}

/** The high half that is stored for a guest's present L1 entry. */
export function adjustL1Hi(lo: number, hi: number): number {
  return (lo & USER) === 0 ? hi | GUEST_KERNEL_HI : hi;
}

/** The frame number of an entry, 40 bits, as a double. */
export function mfnOfEntry(lo: number, hi: number): number {
  return (hi & FRAME_HI) * 0x10_0000 + (lo >>> 12);
}

/** An entry as people write it. */
export function entryText(lo: number, hi: number): string {
  return `0x${(hi >>> 0).toString(16).padStart(8, "0")}${(lo >>> 0).toString(16).padStart(8, "0")}`;
}
