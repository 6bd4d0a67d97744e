/**
 * A guest that cannot be written down: from one seed, hypercalls, stores into whatever the guest may write (page tables before they
 * are tables, grant entries, rings, event words), machine code, time, and what Domain 0 does to domains, in any order. After every step
 * all that the hypervisor keeps is recomputed (`auditShards`).
 */
import { EVTCHN_FIFO } from "../../../src/abi/event-channel.ts";
import { SHUTDOWN } from "../../../src/abi/sched.ts";
import { Reg } from "../../../src/engine/cpu-state.ts";
import type { Domain } from "../../../src/hypervisor/domain.ts";
import type { DomainMapping } from "../../../src/hypervisor/domain-control.ts";
import { dispatchHypercall } from "../../../src/hypervisor/hypercall/dispatch.ts";
import { hypercalls } from "../../../src/hypervisor/hypercall/hypercalls.ts";
import type { Vcpu } from "../../../src/hypervisor/vcpu.ts";
import { Random } from "../../engine/vectors/random.ts";
import type { Holder } from "../audit-domain.ts";
import { Arena, CODE_PFN, DOMIDS, stackTop, USER_PFN, VCPUS } from "./arena.ts";
import { Draw } from "./draw.ts";
import { type DrawnCall, drawCall } from "./hypercalls.ts";
import { drawCode } from "./instructions.ts";

const CODE = CODE_PFN * 4096;
/** A call that goes on this often never ends. */
const MOST_CONTINUATIONS = 5000;
const HISTORY = 12;

export interface FuzzReport {
  steps: number;
  /** Hypercalls made, those that were answered with 0 or more, and continuations. */
  calls: number;
  succeeded: number;
  continued: number;
  /** Domains that ended, by their own doing or Domain 0's, and were made anew. */
  ended: number;
  /** The longest that one step took, ms, and what it was. */
  longestMs: number;
  longest: string;
}

export const emptyReport = (): FuzzReport => ({
  steps: 0,
  calls: 0,
  succeeded: 0,
  continued: 0,
  ended: 0,
  longestMs: 0,
  longest: "",
});

export class FuzzFailure extends Error {}

/** Runs `steps` steps from `seed`; throws FuzzFailure, with the seed and the last steps, for anything that is wrong. Adds to `report`. */
export function fuzz(seed: number, steps: number, report = emptyReport(), holders: readonly Holder[] = []): FuzzReport {
  return new Fuzzer(seed, report, holders).run(steps);
}

class Fuzzer {
  readonly #seed: number;
  readonly #random: Random;
  readonly #arena: Arena;
  readonly #report: FuzzReport;
  readonly #history: string[] = [];
  /** Frames that Domain 0 has mapped. */
  readonly #mappings: DomainMapping[] = [];

  constructor(seed: number, report: FuzzReport, holders: readonly Holder[]) {
    this.#seed = seed;
    this.#random = new Random(seed);
    this.#report = report;
    this.#arena = new Arena([...holders, (domain) => this.#mappedByDom0(domain)]);
  }

  run(steps: number): FuzzReport {
    try {
      for (let i = 0; i < steps; i++) {
        const before = performance.now();
        this.#step();
        const took = performance.now() - before;
        if (took > this.#report.longestMs) {
          this.#report.longestMs = took;
          this.#report.longest = `seed ${this.#seed}, step ${i}: ${this.#history.at(-1)}`;
        }
        this.#report.steps++;
        this.#check();
      }
      for (const mapping of this.#mappings.splice(0)) this.#arena.shardOf(mapping.domid).unmapForDom0(mapping);
      this.#expect(this.#arena.close());
    } catch (error) {
      if (error instanceof FuzzFailure) throw error;
      this.#fail(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    return this.#report;
  }

  #check(): void {
    const arena = this.#arena;
    this.#expect(arena.inFlight.length === 0 ? arena.audit() : [...arena.defects]);
  }

  #expect(wrong: readonly string[]): void {
    if (wrong.length > 0) this.#fail(wrong.slice(0, 8).join("\n"));
  }

  #fail(what: string): never {
    const steps = this.#history.map((text) => `  ${text}`).join("\n");
    throw new FuzzFailure(`seed ${this.#seed}, step ${this.#report.steps}: ${what}\nafter\n${steps}`);
  }

  #note(text: string): void {
    this.#history.push(text);
    if (this.#history.length > HISTORY) this.#history.shift();
  }

  #mappedByDom0(domain: Domain) {
    return this.#mappings
      .filter(({ domid }) => domid === domain.id)
      .map(({ mfn, writable }) => ({ index: mfn - domain.memory.map.baseMfn, typed: writable }));
  }

  #step(): void {
    const random = this.#random;
    const domid = random.pick(DOMIDS);
    const domain = this.#arena.domains.get(domid)!;
    if (domain.shutdownReason >= 0) {
      this.#ended(domain);
      return;
    }
    const vcpu = domain.vcpus[random.below(VCPUS)]!;
    const kind = random.below(100);
    if (kind < 62) this.#hypercall(vcpu);
    else if (kind < 74) this.#store(vcpu);
    else if (kind < 80) this.#grantEntry(domain);
    else if (kind < 84) this.#sharedWords(vcpu);
    else if (kind < 90) this.#code(vcpu);
    else if (kind < 95) this.#timePasses(domain);
    else if (kind < 99) this.#dom0(domain);
    else this.#renew(domid);
    if (random.chance(75)) this.#arena.deliver();
  }

  #hypercall(vcpu: Vcpu): void {
    if (!vcpu.runnable) {
      this.#note(`${nameOf(vcpu)} is woken`);
      if (vcpu.blocked && this.#random.chance(60)) vcpu.unblock();
      return;
    }
    vcpu.cpu.kernelMode = 1;
    const call = drawCall(new Draw(this.#random, vcpu));
    this.#note(describe(vcpu, call));
    this.#make(vcpu, call);
  }

  /** Makes a call to its end, or until it waits for another shard. */
  #make(vcpu: Vcpu, { number, args }: DrawnCall): void {
    const { cpu } = vcpu;
    const registers = [Reg.rdi, Reg.rsi, Reg.rdx, Reg.r10, Reg.r8, Reg.r9];
    for (const [i, reg] of registers.entries()) cpu.setBig(reg, BigInt.asUintN(64, args[i] ?? 0n));
    cpu.setBig(Reg.rax, BigInt(number));
    cpu.setNumber(Reg.rsp, stackTop(vcpu.id) - 512);
    cpu.setNumber(Reg.rip, CODE + 2);
    this.#report.calls++;
    for (let goes = 0; ; goes++) {
      if (goes === MOST_CONTINUATIONS) this.#fail("a hypercall never ends");
      dispatchHypercall(vcpu);
      if (!vcpu.runnable || cpu.va(Reg.rip) !== CODE) break;
      this.#report.continued++;
      cpu.setNumber(Reg.rip, CODE + 2);
      if (goes < 20) this.#check();
    }
    if (vcpu.parked === null && cpu.number(Reg.rax) >= 0) this.#report.succeeded++;
  }

  /** A store by the guest's kernel, of an entry or anything, wherever it may write. */
  #store(vcpu: Vcpu): void {
    const { memory } = vcpu.domain;
    const d = new Draw(this.#random, vcpu);
    vcpu.cpu.kernelMode = 1;
    const va = d.random.chance(70) ? BigInt(d.index() * 4096 + d.random.below(24) * 8) : d.va();
    const value = d.random.chance(85) ? d.entry() : d.random.edge64();
    this.#note(`${nameOf(vcpu)} stores ${hex(value)} at ${hex(va)}`);
    memory.copyToGuest(vcpu.id, signed(va), new Uint8Array(BigUint64Array.of(value).buffer));
  }

  /** Grant entries are in frames that the guest may map, and is taken to have mapped. */
  #grantEntry(domain: Domain): void {
    const random = this.#random;
    const frame = random.pick(domain.grants.frames);
    const ref = random.below(24);
    const at = (domain.memory.hostOffset(frame) >> 2) + ref * 2;
    const flags = random.pick([0, 1, 1, 1, 5, 5, 2, 3, 0x19, random.u32() & 0xffff]);
    const grantee = 1 + random.below(4);
    const mfn = Number(new Draw(random, domain.vcpus[0]!).mfn() & 0xffff_ffffn);
    this.#note(`domain ${domain.id} grants ${hex(BigInt(mfn))} to ${grantee} by ${ref}, flags ${flags}`);
    domain.memory.words[at] = flags | (grantee << 16);
    domain.memory.words[at + 1] = mfn | 0;
  }

  /** What the hypervisor and the guest both write: shared_info, vcpu_info, the words of the FIFO ABI. */
  #sharedWords(vcpu: Vcpu): void {
    const random = this.#random;
    const { domain } = vcpu;
    const value = random.pick([0, -1, 1, 1 << EVTCHN_FIFO.linkedBit, 1 << 31, random.u32() | 0, random.below(20)]);
    const fifo = domain.fifoFrames;
    if (fifo.length > 0 && random.chance(60)) {
      const word = (domain.memory.hostOffset(random.pick(fifo)) >> 2) + random.below(32);
      domain.memory.words[word] = value;
    } else if (random.chance(50)) {
      domain.sharedInfo[random.below(1024)] = value;
    } else {
      vcpu.info[random.below(16)] = value;
      vcpu.infoBytes[1] = random.below(2);
    }
    this.#note(`${nameOf(vcpu)} writes ${value} to what it shares with the hypervisor`);
  }

  /** Machine code, in kernel or user mode. Handlers of exceptions, if there are any, are wherever the guest said. */
  #code(vcpu: Vcpu): void {
    const random = this.#random;
    const { domain } = vcpu;
    if (!vcpu.runnable) return;
    const kernel = random.chance(75) || vcpu.cpu.cr3User === 0;
    const pfn = kernel ? CODE_PFN : USER_PFN;
    const bytes = drawCode(new Draw(random, vcpu));
    this.#note(`${nameOf(vcpu)} runs ${Buffer.from(bytes).toString("hex")} in ${kernel ? "kernel" : "user"} mode`);
    vcpu.cpu.kernelMode = 1;
    if (!domain.memory.copyToGuest(vcpu.id, pfn * 4096 + random.below(32), bytes)) return;
    if (random.chance(80)) for (const vector of [1, 3, 6, 13, 14]) vcpu.traps.set(vector, CODE, 0xe033, 0);
    if (!kernel) vcpu.cpu.kernelMode = 0;
    vcpu.cpu.setNumber(Reg.rip, pfn * 4096);
    vcpu.cpu.setNumber(Reg.rsp, kernel ? stackTop(vcpu.id) - 1024 : (USER_PFN + 2) * 4096);
    domain.shard.run(domain.shard.now() + 300);
  }

  #timePasses({ shard }: Domain): void {
    const ns = this.#random.pick([100, 3000, 30_000]);
    this.#note(`shard ${shard.id} runs for ${ns} ns`);
    shard.run(shard.now() + ns);
  }

  #dom0(domain: Domain): void {
    const random = this.#random;
    const { shard } = domain;
    const draw = new Draw(random, domain.vcpus[0]!);
    switch (random.below(5)) {
      case 0: {
        const mfn = Number(draw.mfn());
        const mapping = shard.mapForDom0(domain.id, mfn, random.chance(50));
        if (typeof mapping !== "number") this.#mappings.push(mapping);
        this.#note(`Domain 0 maps ${mfn} of domain ${domain.id}: ${typeof mapping === "number" ? mapping : "mapped"}`);
        return;
      }
      case 1: {
        const [mapping] = this.#mappings.splice(random.below(this.#mappings.length), 1);
        this.#note(`Domain 0 unmaps ${mapping?.mfn} of domain ${mapping?.domid}`);
        if (mapping !== undefined) this.#arena.shardOf(mapping.domid).unmapForDom0(mapping);
        return;
      }
      case 2: {
        const port = random.below(14);
        this.#note(`Domain 0 binds and notifies port ${port} of domain ${domain.id}`);
        shard.bindDom0(domain.id, port);
        shard.notifyPort(domain.id, port);
        return;
      }
      case 3:
        this.#note(`domain ${domain.id} is paused and unpaused`);
        shard.pause(domain.id);
        shard.unpause(domain.id);
        return;
      default:
        this.#note(`domain ${domain.id} is looked at`);
        shard.domainInfo(domain.id);
        shard.refusals(domain.id);
    }
  }

  #ended(domain: Domain): void {
    if (domain.shutdownReason === SHUTDOWN.suspend && this.#random.chance(80)) {
      this.#note(`domain ${domain.id} is saved, and goes on`);
      domain.shard.saveDomain(domain.id);
      domain.shard.resumeSuspended(domain.id);
      return;
    }
    this.#renew(domain.id);
  }

  #renew(domid: number): void {
    this.#note(`domain ${domid} is destroyed and made anew`);
    this.#report.ended++;
    this.#arena.deliver();
    const domain = this.#arena.domains.get(domid)!;
    domain.shard.destroy(domid);
    // What Domain 0 has mapped keeps the memory; it lets go of it now.
    for (let i = this.#mappings.length - 1; i >= 0; i--) {
      if (this.#mappings[i]!.domid === domid) domain.shard.unmapForDom0(this.#mappings.splice(i, 1)[0]!);
    }
    this.#expect(this.#arena.destroy(domid));
    this.#arena.create(domid);
  }
}

const hex = (value: bigint): string => `0x${BigInt.asUintN(64, value).toString(16)}`;
const signed = (va: bigint): number => {
  const value = Number(BigInt.asIntN(64, va));
  return value >= -(2 ** 47) && value < 2 ** 47 ? value : Number.NaN;
};
const nameOf = (vcpu: Vcpu): string => `${vcpu.domain.id}.${vcpu.id}`;

function describe(vcpu: Vcpu, { number, args }: DrawnCall): string {
  const name = hypercalls[number]?.name ?? `hypercall ${number}`;
  return `${nameOf(vcpu)} ${name}(${args.map(hex).join(", ")})`;
}
