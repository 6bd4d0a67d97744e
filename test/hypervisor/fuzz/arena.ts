/**
 * Where the fuzzer's guests live: two shards in one thread and in virtual time, with real engines, and four small domains, two on
 * each. A domain that ends is destroyed and made anew in the same memory, whose content is wiped.
 */
import { FLAT } from "../../../src/abi/arch-x86-64.ts";
import { GNTMAP } from "../../../src/abi/grant-table.ts";
import { Reg, SegmentRegister } from "../../../src/engine/cpu-state.ts";
import { Engine } from "../../../src/engine/engine.ts";
import { engineBytes } from "../../../src/engine/layout.ts";
import type { Domain } from "../../../src/hypervisor/domain.ts";
import { unmapOwner } from "../../../src/hypervisor/grant-table/gone-owner.ts";
import { memoryMap } from "../../../src/hypervisor/mm/memory-map.ts";
import { Shard } from "../../../src/hypervisor/shard.ts";
import type { ShardAddress, ShardMessage } from "../../../src/hypervisor/shard-host.ts";
import { auditShards, type Holder } from "../audit-domain.ts";
import { engineModule } from "../one-thread-machine.ts";

export const PAGES = 96;
/** The ceiling of the reservation: some frames more than the guest has. */
export const MAX_PAGES = PAGES + 16;
export const VCPUS = 2;
export const DOMIDS = [1, 2, 3, 4] as const;
/** Machine code is here; arguments of hypercalls; stacks of the vCPUs; user mode's code and stack. */
export const CODE_PFN = 2;
export const SCRATCH_PFN = 8;
export const STACK_PFN = 12;
export const USER_PFN = 16;
/** Kernel L4, L3, L2, L1, then the user's four; and what else may become a table. */
export const TABLES_PFN = 32;
export const SPARE_TABLES_PFN = 48;

const EXCEPTIONS = [0, 1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19];
const PRESENT = 1;
const RW = 2;
const USER = 4;
const CODE_BYTES = 1 << 20;
const layoutBytes = engineBytes(VCPUS, CODE_BYTES);
const map = memoryMap({ pages: PAGES, maxPages: MAX_PAGES, vcpus: VCPUS, engineBytes: layoutBytes });

/** Memories that earlier arenas are done with. */
const spareMemories: WebAssembly.Memory[] = [];

export class Arena {
  readonly shards: readonly Shard[];
  readonly domains = new Map<number, Domain>();
  readonly holders: readonly Holder[];
  /** Messages between shards, and lines of the log that speak of a defect. */
  readonly inFlight: { to: number; message: ShardMessage }[] = [];
  readonly defects: string[] = [];
  readonly toDom0: ShardMessage[] = [];
  readonly #memories = new Map<number, WebAssembly.Memory>();
  #now = 1_000_000;

  constructor(holders: readonly Holder[] = []) {
    this.holders = holders;
    this.shards = [0, 1].map(
      (id) =>
        new Shard({
          id,
          module: engineModule,
          makeEngine: (memory, layout, host) =>
            new Engine(engineModule, memory, { ...layout, codeArenaBytes: CODE_BYTES }, host),
          virtualTime: { nsPerInstruction: 1 },
          host: {
            now: () => this.#now,
            wallClock: () => 1_800_000_000_000_000_000,
            send: (to, message) => this.#send(to, message),
            log: (_level, domid, text) => {
              if (text.includes("defect")) this.defects.push(`domain ${domid}: ${text}`);
            },
          },
        }),
    );
    for (const domid of DOMIDS) this.create(domid);
  }

  #send(to: ShardAddress, message: ShardMessage): void {
    const copy = structuredClone(message);
    if (to !== "dom0") this.inFlight.push({ to, message: copy });
    else if (message.kind !== "destroyed") this.toDom0.push(copy);
    else {
      const own = this.shardOf(message.domid).id;
      for (const { id } of this.shards) if (id !== own) this.inFlight.push({ to: id, message: copy });
    }
  }

  /** Hands every message between shards over, and those that they cause. */
  deliver(): void {
    for (let next = this.inFlight.shift(); next !== undefined; next = this.inFlight.shift()) {
      this.shards[next.to]!.receive(next.message);
    }
    this.toDom0.length = 0;
  }

  shardOf(domid: number): Shard {
    return this.shards[domid % 2]!;
  }

  create(domid: number): Domain {
    const shard = this.shardOf(domid);
    const memory =
      this.#memories.get(domid) ??
      spareMemories.pop() ??
      new WebAssembly.Memory({ initial: map.wasmPages, maximum: map.wasmPages, shared: true });
    this.#memories.set(domid, memory);
    new Uint8Array(memory.buffer, map.ramOffset).fill(0);
    const created = shard.createDomain({ domid, uuid: new Uint8Array(16), memory, map });
    if (typeof created === "number") throw new Error(`createDomain answered ${created}`);
    for (const other of this.shards) if (other !== shard) other.receive({ kind: "located", domid, shard: shard.id });
    const domain = shard.domains.get(domid)!;
    bootPageTables(domain);
    for (const rc of [
      shard.setBootContext(domid, { l4Pfn: TABLES_PFN, entry: CODE_PFN * 4096, startInfoVa: 0, stackVa: stackTop(0) }),
      domain.memory.vcpuTables.setUserRoot(0, map.baseMfn + TABLES_PFN + 4),
      domain.memory.vcpuTables.setKernelRoot(1, map.baseMfn + TABLES_PFN),
    ]) {
      if (rc !== 0) throw new Error(`the first state is refused: ${rc} ${JSON.stringify(shard.refusals(domid))}`);
    }
    const [, second] = domain.vcpus;
    second!.cpu.setNumber(Reg.rsp, stackTop(1));
    second!.cpu.setSelector(SegmentRegister.cs, FLAT.cs64);
    second!.initialised = true;
    second!.setUp(true);
    // `syscall; jmp .`: where hypercalls are made, and where events, exceptions and system calls of user mode end.
    domain.memory.words[domain.memory.hostOffset(map.baseMfn + CODE_PFN) >> 2] = 0xfeeb_050f | 0;
    for (const vcpu of domain.vcpus) {
      vcpu.kernelSp = stackTop(vcpu.id);
      const address = CODE_PFN * 4096 + 2;
      for (const callback of [vcpu.eventCallback, vcpu.failsafeCallback, vcpu.syscallCallback])
        callback.address = address;
      for (const vector of EXCEPTIONS) vcpu.traps.set(vector, address, FLAT.cs64, 0);
    }
    this.domains.set(domid, domain);
    shard.unpause(domid);
    return domain;
  }

  /** Destroys a domain; what is left of it afterwards, which should be nothing: whoever has frames of it mapped gives them up. */
  destroy(domid: number): string[] {
    const domain = this.domains.get(domid)!;
    this.#end(domid);
    for (const holder of this.domains.values()) if (holder !== domain) giveUp(holder, domid);
    this.deliver();
    this.domains.delete(domid);
    return leftOf(domain);
  }

  #end(domid: number): void {
    const shard = this.shardOf(domid);
    shard.destroy(domid);
    for (const other of this.shards) if (other !== shard) other.receive({ kind: "gone", domid });
    this.deliver();
  }

  audit(): string[] {
    return [...auditShards(this.shards, this.holders, true), ...this.defects];
  }

  /** Destroys everything; what is left of it, which should be nothing. Its memories serve other arenas. */
  close(): string[] {
    const all = [...this.domains.values()];
    for (const { id } of all) this.#end(id);
    const left = all.flatMap(leftOf);
    this.domains.clear();
    for (const shard of this.shards) {
      if (shard.domains.size > 0) left.push(`shard ${shard.id} still has ${shard.domains.size} domains`);
      if (shard.scheduler.runnableCount > 0) left.push(`shard ${shard.id} still has vCPUs to run`);
      if (shard.timers.next !== Number.POSITIVE_INFINITY) left.push(`shard ${shard.id} still has timers`);
    }
    spareMemories.push(...this.#memories.values());
    return left;
  }
}

/** A domain overwrites its entries for frames of another, and unmaps what it has mapped for devices. */
function giveUp(domain: Domain, domid: number): void {
  const { memory, grants, shard, id: caller } = domain;
  unmapOwner(domain, domid);
  for (const [handle, mapping] of [...grants.maptrack.all()]) {
    if (mapping.domid !== domid || mapping.ownerGone || (mapping.flags & GNTMAP.deviceMap) === 0) continue;
    const { ref, ownerMfn: mfn, shard: at, flags } = mapping;
    const device = flags & (GNTMAP.deviceMap | GNTMAP.readonly);
    mapping.flags &= ~GNTMAP.deviceMap;
    if ((mapping.flags & GNTMAP.hostMap) === 0) {
      grants.maptrack.put(handle);
      memory.foreign.forget(mapping.mfn);
    }
    shard.grants.tell(at, { kind: "grant-unmap", owner: domid, caller, ref, mfn, flags: device, putsHost: true });
  }
}

export const stackTop = (vcpu: number): number => (STACK_PFN + vcpu + 1) * 4096;

function bootPageTables({ memory }: Domain): void {
  const entry = (table: number, slot: number, pfn: number, flags: number) => {
    const word = memory.types.wordOf(TABLES_PFN + table, slot);
    memory.words[word] = ((map.baseMfn + pfn) << 12) | flags;
    memory.words[word + 1] = 0;
  };
  for (const root of [0, 4]) {
    for (let level = 0; level < 3; level++) entry(root + level, 0, TABLES_PFN + root + level + 1, PRESENT | RW | USER);
    for (let pfn = 0; pfn < PAGES; pfn++) {
      const isTable = pfn >= TABLES_PFN && pfn < TABLES_PFN + 8;
      // Some frames are mapped nowhere: they may become anything at once.
      const isSpare = pfn >= SPARE_TABLES_PFN && pfn < SPARE_TABLES_PFN + 16;
      const isUser = pfn >= USER_PFN && pfn < USER_PFN + 4;
      if ((root === 0 && !isSpare) || isUser) entry(root + 3, pfn, pfn, PRESENT | USER | (isTable ? 0 : RW));
    }
  }
}

/** Frames, ports, timers and waiting calls of a destroyed domain. */
function leftOf(domain: Domain): string[] {
  const left: string[] = [];
  const { frames } = domain.memory;
  let held = 0;
  for (let index = 0; index < frames.total; index++) if (!frames.isFree(index) || frames.refInfo[index] !== 0) held++;
  if (held > 0) left.push(`${held} frames are still held`);
  if (frames.typeInfo.some((info) => info !== 0)) left.push("frames still have types");
  if (frames.ownPages !== 0) left.push(`${frames.ownPages} pages are still counted`);
  const ports = [...domain.events.inUse()].length;
  if (ports > 0) left.push(`${ports} ports are still in use`);
  for (const vcpu of domain.vcpus) {
    if (vcpu.slot >= 0) left.push(`vCPU ${vcpu.id} is still in the scheduler`);
    if (vcpu.parked !== null) left.push(`vCPU ${vcpu.id} still waits for an answer`);
  }
  if (domain.shard.domains.has(domain.id)) left.push("its shard still knows it");
  return left.map((text) => `domain ${domain.id}, destroyed: ${text}`);
}
