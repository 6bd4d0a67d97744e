/** Shards with scripted domains, in one thread and with a clock of their own: what the tests of the hypervisor stand on. */
import { FLAT } from "../../src/abi/arch-x86-64.ts";
import type { Struct } from "../../src/abi/struct.ts";
import { Reg, SegmentRegister } from "../../src/engine/cpu-state.ts";
import { engineBytes } from "../../src/engine/layout.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { memoryMap } from "../../src/hypervisor/mm/memory-map.ts";
import { Shard, type VirtualTime } from "../../src/hypervisor/shard.ts";
import type { ShardAddress, ShardMessage } from "../../src/hypervisor/shard-host.ts";
import { CALLBACK_VA, CODE_VA, SCRIPTED_PAGES, type Script, ScriptedEngine, STACK_TOP } from "./scripted-guest.ts";

/** The smallest module there is: a scripted engine needs none. */
const emptyModule = new WebAssembly.Module(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));

/** First byte that scripts may use for arguments: identity-mapped guest memory above the stacks. */
export const SCRATCH = 0x20_000;

export interface WorldOptions {
  readonly shards?: number;
  readonly virtualTime?: VirtualTime;
}

export class World {
  readonly shards: readonly Shard[];
  /** Messages for Domain 0, oldest first. */
  readonly toDom0: ShardMessage[] = [];
  readonly log: string[] = [];
  /** Messages between shards that have not been delivered. */
  readonly inFlight: { to: number; message: ShardMessage }[] = [];
  now = 1_000_000;

  constructor({ shards = 1, virtualTime = { nsPerInstruction: 1 } }: WorldOptions = {}) {
    this.shards = Array.from(
      { length: shards },
      (_, id) =>
        new Shard({
          id,
          module: emptyModule,
          makeEngine: (memory, layout, host) => new ScriptedEngine(memory, layout, host),
          virtualTime,
          host: {
            now: () => this.now,
            wallClock: () => 1_800_000_000_000_000_000,
            send: (to, message) => this.#send(to, message),
            log: (level, domid, text) => this.log.push(`${level} ${domid}: ${text}`),
          },
        }),
    );
  }

  get shard(): Shard {
    return this.shards[0]!;
  }

  #send(to: ShardAddress, message: ShardMessage): void {
    // What does not survive a structured clone must not be in a message.
    const copy = structuredClone(message);
    if (to === "dom0") this.toDom0.push(copy);
    else this.inFlight.push({ to, message: copy });
  }

  /** Delivers every message between shards, and those that they cause. */
  deliver(): void {
    for (let next = this.inFlight.shift(); next !== undefined; next = this.inFlight.shift()) {
      this.shards[next.to]!.receive(next.message);
    }
  }

  /** A domain, unpaused, whose vCPUs run scripts. vCPU 0 is up; the others are initialised and up where they have a script. */
  domain(
    domid: number,
    scripts: readonly Script[] = [],
    { shard = 0, vcpus = 0, weight = 256, cap = 0 } = {},
  ): TestDomain {
    const count = Math.max(1, vcpus, scripts.length);
    const bytes = engineBytes(count, 65536);
    const map = memoryMap({ pages: SCRIPTED_PAGES, maxPages: SCRIPTED_PAGES, vcpus: count, engineBytes: bytes });
    const memory = new WebAssembly.Memory({ initial: map.wasmPages, maximum: map.wasmPages, shared: true });
    const created = this.shards[shard]!.createDomain({ domid, uuid: new Uint8Array(16), memory, map, weight, cap });
    if (typeof created === "number") throw new Error(`createDomain answered ${created}`);
    const domain = this.shards[shard]!.domains.get(domid)!;
    for (const other of this.shards) if (other.id !== shard) other.receive({ kind: "located", domid, shard });
    const test = new TestDomain(this, domain);
    scripts.forEach((script, i) => {
      test.start(i, script);
    });
    domain.unpause();
    return test;
  }

  /** Runs every shard for `ns`, delivering messages between slices. */
  run(ns: number): void {
    const end = this.shards.map((shard) => shard.now() + ns);
    for (let turn = 0; turn < 10_000; turn++) {
      this.deliver();
      let idle = true;
      this.shards.forEach((shard, i) => {
        shard.run(Math.min(end[i]!, shard.now() + 50_000));
        if (shard.now() < end[i]!) idle = false;
      });
      if (idle && this.inFlight.length === 0) return;
    }
    throw new Error("the world never comes to rest");
  }
}

export class TestDomain {
  readonly world: World;
  readonly domain: Domain;
  readonly engine: ScriptedEngine;
  /** Guest memory from pfn 0 on; guest virtual addresses are offsets here. */
  readonly view: DataView;

  constructor(world: World, domain: Domain) {
    this.world = world;
    this.domain = domain;
    this.engine = domain.engine as ScriptedEngine;
    this.view = new DataView(domain.memory.buffer, domain.memory.map.ramOffset);
    this.engine.afterUpcall = (vcpu) => {
      domain.vcpus[vcpu]!.upcallMasked = false;
    };
  }

  start(vcpu: number, script: Script): void {
    this.engine.script(vcpu, script);
    const target = this.domain.vcpus[vcpu]!;
    const { cpu } = target;
    cpu.setNumber(Reg.rip, CODE_VA + 2);
    cpu.setNumber(Reg.rsp, STACK_TOP - vcpu * 4096);
    cpu.setSelector(SegmentRegister.cs, FLAT.cs64);
    target.eventCallback.address = CALLBACK_VA;
    target.initialised = true;
    target.setUp(true);
  }

  /** mfn of a pfn of the domain. */
  mfn(pfn: number): number {
    return this.domain.memory.map.baseMfn + pfn;
  }

  /** Writes a struct's fields at `SCRATCH` + `at` by a callback; gives its guest address. */
  put(struct: Struct<never> | { readonly size: number }, fill: (view: DataView, base: number) => void, at = 0): number {
    const va = SCRATCH + at;
    for (let i = 0; i < struct.size; i++) this.view.setUint8(va + i, 0);
    fill(this.view, va);
    return va;
  }
}
