/**
 * Branded ids: plain numbers at run time, different types to the compiler, so that a frame number of one address space never
 * passes for one of another.
 */

declare const brand: unique symbol;
type Branded<Name extends string> = number & { readonly [brand]: Name };

/** A domain's id (domid_t), 0 to 0x7fef, or one of the reserved ones in `DOMID`. */
export type Domid = Branded<"Domid">;
/** A machine frame number: what page tables of a PV guest hold. */
export type Mfn = Branded<"Mfn">;
/** A pseudo-physical frame number: a guest's own contiguous numbering. */
export type Pfn = Branded<"Pfn">;
/** An index into a domain's grant table (grant_ref_t). */
export type GrantRef = Branded<"GrantRef">;
/** An event channel port of one domain (evtchn_port_t); 0 is never one. */
export type Port = Branded<"Port">;
/** Number of a vCPU within its domain. */
export type VcpuId = Branded<"VcpuId">;
