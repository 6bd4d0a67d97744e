/**
 * What interrupts a vCPU on its way into the guest: a pending NMI, and the upcall for pending events that are not masked.
 */
import type { Vcpu } from "../vcpu.ts";
import { bounceToKernel } from "./bounce.ts";

/** Delivers what is due. */
export function deliverEvents(vcpu: Vcpu): void {
  const { infoBytes } = vcpu;
  if (vcpu.nmiPending && !vcpu.nmiMasked && vcpu.nmiCallback !== 0) {
    vcpu.nmiPending = false;
    vcpu.nmiMasked = true;
    bounceToKernel(vcpu, { address: vcpu.nmiCallback, maskEvents: true, what: "NMI" });
    return;
  }
  if (infoBytes[0] === 0 || infoBytes[1] !== 0) return;
  vcpu.domain.activity.upcalls++;
  bounceToKernel(vcpu, { address: vcpu.eventCallback.address, maskEvents: true, what: "event upcall" });
}
