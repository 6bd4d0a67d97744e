/** A vCPU's virtual interrupt descriptor table (set_trap_table): for each vector a handler, its privilege level and whether it masks events. */
import { TI } from "../../abi/arch-x86-64.ts";

export const TRAP_VECTORS = 256;

export class TrapTable {
  readonly #address = new Float64Array(TRAP_VECTORS);
  readonly #cs = new Uint16Array(TRAP_VECTORS);
  readonly #flags = new Uint8Array(TRAP_VECTORS);

  /** `address` is canonical; 0 for no handler. */
  set(vector: number, address: number, cs: number, flags: number): void {
    this.#address[vector] = address;
    this.#cs[vector] = cs;
    this.#flags[vector] = flags;
  }

  clear(): void {
    this.#address.fill(0);
    this.#cs.fill(0);
    this.#flags.fill(0);
  }

  /** The handler's address; 0 for none. */
  address(vector: number): number {
    return this.#address[vector]!;
  }

  cs(vector: number): number {
    return this.#cs[vector]!;
  }

  flags(vector: number): number {
    return this.#flags[vector]!;
  }

  /** The highest privilege number that may raise the vector with `int`. */
  dpl(vector: number): number {
    return this.#flags[vector]! & TI.dplMask;
  }

  masksEvents(vector: number): boolean {
    return (this.#flags[vector]! & TI.maskEvents) !== 0;
  }
}
