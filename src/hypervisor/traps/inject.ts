/** Raising exceptions in the guest kernel: the processor's own, and those that an emulation comes to. */
import { Vector } from "../../engine/exits.ts";
import type { Vcpu } from "../vcpu.ts";
import { bounceToKernel } from "./bounce.ts";

/** #PF error code bits. */
export const PF = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

/** Exceptions that come behind their instruction. */
const TRAPS: readonly number[] = [Vector.debug, Vector.breakpoint, Vector.overflow];

/** Raises an exception of the instruction at rip through the guest's trap table. Without a handler the domain crashes. */
export function injectException(vcpu: Vcpu, vector: number, errorCode?: number): void {
  raise(vcpu, vector, !TRAPS.includes(vector), errorCode);
}

/** Raises what is no fault of the instruction at rip: a software interrupt, or a refusal on the way to it. */
export function injectInterrupt(vcpu: Vcpu, vector: number, errorCode?: number): void {
  raise(vcpu, vector, false, errorCode);
}

/**
 * Raises a software interrupt that has no gate of its own in the processor's table: Xen meets it as #GP and steps over it, and the flags that
 * it passes on are those of that fault.
 */
export function injectEmulatedInterrupt(vcpu: Vcpu, vector: number): void {
  raise(vcpu, vector, true, undefined);
}

function raise(vcpu: Vcpu, vector: number, restart: boolean, errorCode: number | undefined): void {
  const { traps } = vcpu;
  bounceToKernel(vcpu, {
    address: traps.address(vector),
    maskEvents: traps.masksEvents(vector),
    restart,
    what: errorCode === undefined ? `exception ${vector}` : `exception ${vector}, error code ${errorCode}`,
    ...(errorCode === undefined ? {} : { errorCode }),
  });
}

/** Raises #PF at `va`: CR2 is in vcpu_info for PV guests. The user bit of the error code says who faulted as the guest sees it. */
export function injectPageFault(vcpu: Vcpu, va: number, errorCode: number): void {
  vcpu.setCr2(va);
  const seen = vcpu.cpu.kernelMode === 1 ? errorCode & ~PF.user : errorCode | PF.user;
  const { traps } = vcpu;
  bounceToKernel(vcpu, {
    address: traps.address(Vector.pageFault),
    maskEvents: traps.masksEvents(Vector.pageFault),
    errorCode: seen,
    restart: true,
    what: `page fault at ${addressText(va)}, error code ${seen}`,
  });
}

/** A virtual address as people write it. */
export function addressText(va: number): string {
  return Number.isNaN(va) ? "a non-canonical address" : `0x${BigInt.asUintN(64, BigInt(va)).toString(16)}`;
}
