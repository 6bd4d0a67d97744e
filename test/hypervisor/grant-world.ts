/** Scripted domains that have page tables, and grant operations as their guests make them: what the tests of grants stand on. */
import {
  GNTCOPY,
  GNTTABOP,
  GnttabCopy,
  GnttabSetVersion,
  GnttabTransfer,
  GrantEntryV1,
  GrantEntryV2,
  GTF,
  MapGrantRef,
  UnmapAndReplace,
  UnmapGrantRef,
} from "../../src/abi/grant-table.ts";
import { DOMID, HYPERVISOR } from "../../src/abi/xen.ts";
import { auditShards } from "./audit-domain.ts";
import { hypercall, SCRIPTED_PAGES, type Script, type Step } from "./scripted-guest.ts";
import { SCRATCH, type TestDomain, World } from "./world.ts";

/** Page tables: L4, L3, L2, and the L1 that maps the first 2 MiB one to one as far as there is memory. */
const FIRST_TABLE = 48;
export const L1_PFN = FIRST_TABLE + 3;
/** Where grants are mapped: addresses behind the memory, by slot of the L1. */
export const slotVa = (i: number): number => (SCRIPTED_PAGES + i) * 4096;
const PRESENT = 1;
const RW = 2;
const USER = 4;

export interface MapResult {
  readonly status: number;
  readonly handle: number;
  readonly busAddr: number;
}

export class GrantDomain {
  readonly test: TestDomain;

  constructor(test: TestDomain) {
    this.test = test;
    const { memory } = test.domain;
    for (let level = 0; level < 3; level++) this.#entry(FIRST_TABLE + level, 0, FIRST_TABLE + level + 1, RW);
    for (let pfn = 0; pfn < SCRIPTED_PAGES; pfn++) {
      this.#entry(L1_PFN, pfn, pfn, pfn >= FIRST_TABLE && pfn <= L1_PFN ? 0 : RW);
    }
    const root = test.mfn(FIRST_TABLE);
    for (const rc of [memory.tables.pin(root, 4), memory.vcpuTables.setKernelRoot(0, root)]) {
      if (rc !== 0) throw new Error(`page tables: ${rc} ${memory.refusals.last?.text}`);
    }
  }

  #entry(table: number, slot: number, pfn: number, flags: number): void {
    const entry = BigInt(this.test.mfn(pfn)) * 4096n + BigInt(PRESENT | USER | flags);
    this.test.view.setBigUint64(table * 4096 + slot * 8, entry, true);
  }

  get id(): number {
    return this.test.domain.id;
  }

  /** The L1 entry of a slot, as it stands. */
  pte(i: number): bigint {
    return this.test.view.getBigUint64(L1_PFN * 4096 + (SCRIPTED_PAGES + i) * 8, true);
  }

  /** The machine address of a slot's entry: what GNTMAP_contains_pte names. */
  pteAddress(i: number): number {
    return this.test.mfn(L1_PFN) * 4096 + (SCRIPTED_PAGES + i) * 8;
  }

  /** Makes a hypercall and gives its result. */
  call(step: Step): number {
    const [result] = this.calls([step]);
    return result!;
  }

  /** Makes them in one script. Those that are not answered in time are left out. */
  calls(steps: readonly Step[]): number[] {
    const out: number[] = [];
    this.test.start(
      0,
      (function* (): Script {
        for (const step of steps) out.push(yield step);
      })(),
    );
    this.test.world.run(200_000);
    return out;
  }

  /** Starts one and does not wait for it. */
  begin(step: Step): void {
    this.test.start(
      0,
      (function* (): Script {
        yield step;
      })(),
    );
  }

  /** Writes an entry of the table, in its version's layout. */
  grant(ref: number, domid: number, pfn: number, flags: number = GTF.permitAccess): void {
    this.grantMfn(ref, domid, this.test.mfn(pfn), flags);
  }

  grantMfn(ref: number, domid: number, mfn: number, flags: number = GTF.permitAccess): void {
    const { memory, grants } = this.test.domain;
    const view = new DataView(memory.buffer);
    const size = grants.version === 1 ? GrantEntryV1.size : GrantEntryV2.size;
    const per = 4096 / size;
    const at = memory.hostOffset(grants.frames[Math.floor(ref / per)]!) + (ref % per) * size;
    if (grants.version === 1) {
      GrantEntryV1.domid.set(view, at, domid);
      GrantEntryV1.frame.set(view, at, mfn);
      GrantEntryV1.flags.set(view, at, flags);
    } else {
      GrantEntryV2.hdr.domid.set(view, at, domid);
      GrantEntryV2.fullPage.frame.setNumber(view, at, mfn);
      GrantEntryV2.hdr.flags.set(view, at, flags);
    }
  }

  /** The entry's flags; those of use from the status words in version 2. */
  flags(ref: number): number {
    const { entries } = this.test.domain.grants;
    return entries.header(ref).flags | entries.status(ref);
  }

  mapStep(dom: number, ref: number, hostAddr: number, flags: number, at = 0): Step {
    const va = this.test.put(
      MapGrantRef,
      (v, base) => {
        MapGrantRef.hostAddr.setNumber(v, base, hostAddr);
        MapGrantRef.flags.set(v, base, flags);
        MapGrantRef.ref.set(v, base, ref);
        MapGrantRef.dom.set(v, base, dom);
        MapGrantRef.status.set(v, base, 99);
      },
      at,
    );
    return hypercall(HYPERVISOR.grantTableOp, GNTTABOP.mapGrantRef, va, 1);
  }

  map(dom: number, ref: number, hostAddr: number, flags: number): MapResult {
    const result = this.call(this.mapStep(dom, ref, hostAddr, flags));
    if (result !== 0) throw new Error(`map_grant_ref: ${result}`);
    return this.mapped();
  }

  /** What the last map answered. */
  mapped(): MapResult {
    const { view } = this.test;
    return {
      status: MapGrantRef.status.get(view, SCRATCH),
      handle: MapGrantRef.handle.get(view, SCRATCH),
      busAddr: MapGrantRef.devBusAddr.number(view, SCRATCH),
    };
  }

  unmapStep(handle: number, hostAddr: number, busAddr = 0): Step {
    const va = this.test.put(UnmapGrantRef, (v, base) => {
      UnmapGrantRef.hostAddr.setNumber(v, base, hostAddr);
      UnmapGrantRef.devBusAddr.setNumber(v, base, busAddr);
      UnmapGrantRef.handle.set(v, base, handle);
      UnmapGrantRef.status.set(v, base, 99);
    });
    return hypercall(HYPERVISOR.grantTableOp, GNTTABOP.unmapGrantRef, va, 1);
  }

  unmap(handle: number, hostAddr: number, busAddr = 0): number {
    this.call(this.unmapStep(handle, hostAddr, busAddr));
    return UnmapGrantRef.status.get(this.test.view, SCRATCH);
  }

  unmapAndReplace(handle: number, hostAddr: number, newAddr: number): number {
    const va = this.test.put(UnmapAndReplace, (v, base) => {
      UnmapAndReplace.hostAddr.setNumber(v, base, hostAddr);
      UnmapAndReplace.newAddr.setNumber(v, base, newAddr);
      UnmapAndReplace.handle.set(v, base, handle);
    });
    this.call(hypercall(HYPERVISOR.grantTableOp, GNTTABOP.unmapAndReplace, va, 1));
    return UnmapAndReplace.status.get(this.test.view, SCRATCH);
  }

  /** update_va_mapping of a slot. */
  setSlot(i: number, entry: bigint): number {
    return this.call(hypercall(HYPERVISOR.updateVaMapping, slotVa(i), Number(entry), 0));
  }

  setVersion(version: number): number {
    const va = this.test.put(GnttabSetVersion, (v, base) => GnttabSetVersion.version.set(v, base, version));
    return this.call(hypercall(HYPERVISOR.grantTableOp, GNTTABOP.setVersion, va, 1));
  }

  /** Copies between a frame of its own (pfn) and a grant of `dom`. */
  copy(dom: number, ref: number, pfn: number, into: boolean, length = 64, offset = 0): number {
    const va = this.test.put(GnttabCopy, (v, base) => {
      const [own, other] = into ? [GnttabCopy.source, GnttabCopy.dest] : [GnttabCopy.dest, GnttabCopy.source];
      own.domid.set(v, base, DOMID.self);
      own.u.gmfn.setNumber(v, base, this.test.mfn(pfn));
      other.domid.set(v, base, dom);
      other.u.ref.set(v, base, ref);
      other.offset.set(v, base, offset);
      GnttabCopy.len.set(v, base, length);
      GnttabCopy.flags.set(v, base, into ? GNTCOPY.destGref : GNTCOPY.sourceGref);
    });
    this.call(hypercall(HYPERVISOR.grantTableOp, GNTTABOP.copy, va, 1));
    return GnttabCopy.status.get(this.test.view, SCRATCH);
  }

  transfer(pfnOrMfn: number, dom: number, ref: number): number {
    const va = this.test.put(GnttabTransfer, (v, base) => {
      GnttabTransfer.mfn.setNumber(v, base, this.test.mfn(pfnOrMfn));
      GnttabTransfer.domid.set(v, base, dom);
      GnttabTransfer.ref.set(v, base, ref);
    });
    this.call(hypercall(HYPERVISOR.grantTableOp, GNTTABOP.transfer, va, 1));
    return GnttabTransfer.status.get(this.test.view, SCRATCH);
  }
}

export class GrantWorld {
  readonly world: World;
  readonly domains: readonly GrantDomain[];
  /** Domains 1 to `count`, dealt to the shards in turn. */
  constructor(count: number, shards: number) {
    this.world = new World({ shards });
    this.domains = Array.from(
      { length: count },
      (_, i) => new GrantDomain(this.world.domain(i + 1, [], { shard: i % shards })),
    );
  }

  /** Every domain that some shard still has. */
  living(): GrantDomain[] {
    return this.domains.filter((d) => this.world.shards.some((shard) => shard.domains.get(d.id) === d.test.domain));
  }

  destroy(d: GrantDomain): void {
    const { shard } = d.test.domain;
    for (const other of this.world.shards) if (other !== shard) other.receive({ kind: "gone", domid: d.id });
    shard.destroy(d.id);
    this.world.deliver();
  }

  audit(): string[] {
    return auditShards(this.world.shards);
  }
}
