/**
 * Values as a guest would choose them that wants to break things: mostly ones that mean something to the domain that it is (its frames,
 * its ports, addresses that are mapped), sometimes those next to them, sometimes anything.
 */
import { DOMID } from "../../../src/abi/xen.ts";
import type { Domain } from "../../../src/hypervisor/domain.ts";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import type { Vcpu } from "../../../src/hypervisor/vcpu.ts";
import type { Random } from "../../engine/vectors/random.ts";
import { CODE_PFN, PAGES, SCRATCH_PFN, SPARE_TABLES_PFN, TABLES_PFN } from "./arena.ts";

const HYPERVISOR_VA = 0xffff_8000_0000_0000n;
const MASK = (1n << 64n) - 1n;

interface Accessor {
  readonly offset: number;
}
type Setter = Accessor & {
  set(view: DataView, base: number, value: number): void;
  setBig?(view: DataView, base: number, value: bigint): void;
};

export class Draw {
  readonly random: Random;
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  #scratch = SCRATCH_PFN * 4096;

  constructor(random: Random, vcpu: Vcpu) {
    this.random = random;
    this.vcpu = vcpu;
    this.domain = vcpu.domain;
  }

  /** A frame index of the domain: page tables and what may become one come often. */
  index(): number {
    const { random, domain } = this;
    const { map, frames } = domain.memory;
    switch (random.below(12)) {
      case 0:
        return map.ownFrames - 1 - random.below(4);
      case 1:
        return map.heapMfn - map.baseMfn + random.below(12);
      case 2:
        return map.m2pMfn - map.baseMfn;
      case 3:
      case 4:
      case 5:
        return TABLES_PFN + random.below(8);
      case 6:
      case 7:
      case 8:
        return SPARE_TABLES_PFN + random.below(16);
      case 9: {
        // A table, whatever became one.
        const from = random.below(frames.total);
        for (let i = 0; i < frames.total; i++) {
          const index = (from + i) % frames.total;
          if (frames.typeCount(index) > 0 && frames.type(index) <= PageType.segDesc && frames.type(index) > 0)
            return index;
        }
        return from;
      }
      default:
        return random.below(PAGES);
    }
  }

  mfn(): bigint {
    const { random } = this;
    const { baseMfn, totalFrames } = this.domain.memory.map;
    if (random.chance(94)) return BigInt(baseMfn + this.index());
    return random.pick([
      0n,
      0xa0n,
      BigInt(baseMfn - 1),
      BigInt(baseMfn + totalFrames),
      0xff_ffff_ffffn,
      random.edge64(),
    ]);
  }

  pfn(): bigint {
    return this.random.chance(90) ? BigInt(this.random.below(PAGES + 20)) : this.random.edge64();
  }

  /** A page-table entry. */
  entry(): bigint {
    const { random } = this;
    if (random.chance(18)) return 0n;
    if (random.chance(2)) return random.edge64();
    let flags = random.pick([0x67n, 0x67n, 0x27n, 0x25n, 0x25n, 0x5n, 0x7n, 0x3n, 0x1n, 0x65n, 0x2n]);
    if (random.chance(6)) flags |= random.pick([0x80n, 0x100n, 0x10n, 0x8n, 0x200n, 0x800n]);
    if (random.chance(8)) flags |= random.pick([1n << 63n, 1n << 52n, 1n << 58n, 1n << 51n]);
    return ((this.mfn() << 12n) | flags) & MASK;
  }

  /** A machine address of a page-table entry, with the command of mmu_update in it. */
  entryAddress(): bigint {
    const { random } = this;
    const slot = random.chance(85) ? random.below(24) : random.pick([32, 48, 64, 255, 256, 271, 272, 511]);
    const command = random.pick([0n, 0n, 0n, 0n, 2n, 2n, 3n, 1n, BigInt(random.below(8))]);
    return (this.mfn() << 12n) | BigInt(slot * 8) | command;
  }

  /** A guest virtual address. */
  va(): bigint {
    const { random } = this;
    const kind = random.below(16);
    if (kind < 8) return BigInt(random.below(PAGES)) * 4096n + BigInt(random.below(4) * 8);
    if (kind < 11) return BigInt(SCRATCH_PFN * 4096 + random.below(4096 * 3));
    switch (kind) {
      case 11:
        return BigInt((SCRATCH_PFN + 1) * 4096 - random.below(16));
      case 12:
        return HYPERVISOR_VA + BigInt(random.below(1 << 20));
      case 13:
        return BigInt(CODE_PFN * 4096);
      case 14:
        return random.pick([
          0n,
          -8n & MASK,
          0x7fff_ffff_fff8n,
          0x8000_0000_0000n,
          0xffff_8800_0000_0000n,
          HYPERVISOR_VA - 8n,
        ]);
      default:
        return random.edge64();
    }
  }

  domid(): bigint {
    const { random, domain } = this;
    return random.pick([
      BigInt(domain.id),
      0x7ff0n,
      0x7ff0n,
      0x7ff0n,
      0n,
      1n,
      2n,
      3n,
      4n,
      BigInt(DOMID.io),
      BigInt(DOMID.xen),
      999n,
      0x7ff4n,
    ]);
  }

  /** A domain that lives, this one included. */
  guest(): bigint {
    return BigInt(1 + this.random.below(4));
  }

  port(): bigint {
    const { random } = this;
    if (random.chance(90)) return BigInt(random.below(14));
    return random.pick([1023n, 1024n, 4095n, 4096n, 0x1_ffffn, 0x2_0000n, 0xffff_ffffn]);
  }

  vcpuId(): bigint {
    const { random } = this;
    return random.chance(90) ? BigInt(random.below(2)) : random.pick([2n, 31n, 32n, 0xffff_ffffn]);
  }

  small(bound: number): bigint {
    const { random } = this;
    return random.chance(95) ? BigInt(random.below(bound)) : random.edge64();
  }

  /** System time, ns: near now, or anything. */
  time(): bigint {
    const { random, domain } = this;
    if (random.chance(80)) return BigInt(domain.now() + random.below(2_000_000) - 1_000_000);
    return random.edge64();
  }

  /** Bytes for a call in the guest's memory, put there as its kernel would; the address, at which they may not be. */
  put(bytes: Uint8Array): bigint {
    const { random, domain, vcpu } = this;
    if (random.chance(3)) return this.va();
    let va = this.#scratch + random.below(64) * 8;
    // Now and then across the end of a page.
    if (random.chance(5)) va = (SCRATCH_PFN + 1) * 4096 - random.below(bytes.length + 1);
    this.#scratch += 640;
    if (this.#scratch > (SCRATCH_PFN + 2) * 4096) this.#scratch = SCRATCH_PFN * 4096;
    domain.memory.copyToGuest(vcpu.id, va, bytes);
    return BigInt(va);
  }

  /** A struct with some of its fields set. */
  struct(layout: { readonly size: number }, ...fields: readonly (readonly [field: Accessor, value: bigint])[]): bigint {
    return this.put(structBytes(layout, fields));
  }

  /** Structs one after the other. */
  array(size: number, elements: readonly Uint8Array[]): bigint {
    const bytes = new Uint8Array(size * elements.length);
    for (const [i, element] of elements.entries()) bytes.set(element, i * size);
    return this.put(bytes);
  }

  words(values: readonly bigint[]): bigint {
    return this.put(new Uint8Array(BigUint64Array.from(values.map((value) => value & MASK)).buffer));
  }
}

export function structBytes(
  { size }: { readonly size: number },
  fields: readonly (readonly [field: Accessor, value: bigint])[],
): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  for (const [field, value] of fields) {
    const setter = field as Setter;
    if (setter.setBig) setter.setBig(view, 0, BigInt.asUintN(64, value));
    else setter.set(view, 0, Number(BigInt.asUintN(32, value)));
  }
  return bytes;
}
