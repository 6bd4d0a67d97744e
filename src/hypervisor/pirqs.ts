/** The numbers of physical interrupts that a domain may reserve. None of them is ever bound: there are no physical devices. */
import { Errno } from "../abi/errno.ts";

/** Interrupts of the machine's I/O APIC. */
export const NR_GSIS = 24;
/** PIRQ numbers of an unprivileged domain: those of the GSIs, and 32 more. */
export const NR_PIRQS = NR_GSIS + 32;
/** Where GSIs begin that are not a PC's fixed ones. */
const FIRST_GSI = 16;

export class Pirqs {
  readonly #taken = new Set<number>();

  /** A number that is free from now on no more: the lowest for a GSI, the highest for an MSI. -ENOSPC. */
  allocate(gsi: boolean): number {
    if (gsi) {
      for (let pirq = FIRST_GSI; pirq < NR_GSIS; pirq++) if (this.#take(pirq)) return pirq;
    } else {
      for (let pirq = NR_PIRQS - 1; pirq >= NR_GSIS; pirq--) if (this.#take(pirq)) return pirq;
    }
    return -Errno.ENOSPC;
  }

  reserved(pirq: number): boolean {
    return this.#taken.has(pirq);
  }

  #take(pirq: number): boolean {
    if (this.#taken.has(pirq)) return false;
    this.#taken.add(pirq);
    return true;
  }
}
