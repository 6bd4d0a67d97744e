/**
 * Recomputes what the hypervisor keeps of whole domains from scratch: types and counts of frames with everything outside of memory
 * management that holds some, what the vCPUs' translation caches may do, event channels and their other ends, and who may run.
 * The property tests and the fuzzer run it after every operation. It leaves everything as it found it, but for the pending bit of a
 * port that is free.
 */
import { Errno } from "../../src/abi/errno.ts";
import { NR_VIRQS, PER_VCPU_VIRQS } from "../../src/abi/xen.ts";
import { Engine } from "../../src/engine/engine.ts";
import { regionsOf, State, TLB_ENTRIES, TLB_ENTRY_BYTES, VCPU_BYTES } from "../../src/engine/layout.ts";
import { ALIAS } from "../../src/engine/tlb-entry.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { type Channel, ChannelState } from "../../src/hypervisor/event-channel/event-channels.ts";
import { PageType } from "../../src/hypervisor/mm/frame-table.ts";
import type { Shard } from "../../src/hypervisor/shard.ts";
import { audit, type Hold } from "./mm/audit.ts";
import { auditGrants, grantHolds } from "./mm/audit-grants.ts";

/** Frames that a part of the hypervisor outside of memory management holds. A new kind of holder is one more of these. */
export type Holder = (domain: Domain) => Hold[];

const typed = (domain: Domain, mfns: readonly number[]): Hold[] =>
  mfns.filter((mfn) => mfn >= 0).map((mfn) => ({ index: mfn - domain.memory.map.baseMfn, typed: true }));

/** Registered vcpu_infos, the frames of the FIFO event ABI, the frame of pirq_eoi_gmfn. */
export const ownHolders: readonly Holder[] = [
  (domain) =>
    typed(
      domain,
      domain.vcpus.map(({ infoMfn }) => infoMfn),
    ),
  (domain) => typed(domain, domain.fifoFrames),
  (domain) => typed(domain, [domain.pirqEoiMfn]),
  // What others have mapped of it, and it of itself for devices.
  grantHolds,
];

/** What is wrong with one domain; empty when nothing is. `holders` are those beyond `ownHolders`. */
export function auditDomain(domain: Domain, holders: readonly Holder[] = []): string[] {
  const holds = [...ownHolders, ...holders].flatMap((holder) => holder(domain));
  return [
    ...audit(domain.memory, null, holds),
    ...auditTranslations(domain),
    ...auditEvents(domain),
    ...auditVcpus(domain),
  ].map((text) => `domain ${domain.id}: ${text}`);
}

/** What is wrong with all domains of some shards, and between them. Messages between shards have been delivered. `hostile`: see `auditGrants`. */
export function auditShards(shards: readonly Shard[], holders: readonly Holder[] = [], hostile = false): string[] {
  const domains = shards.flatMap((shard) => [...shard.domains.values()]);
  return [
    ...domains.filter(({ dying }) => !dying).flatMap((domain) => auditDomain(domain, holders)),
    ...auditGrants(domains, hostile),
    ...auditChannelEnds(domains),
  ];
}

/** A TLB entry of the real engine that lets its vCPU write needs a frame that may be written; any entry, a frame that is there. */
function auditTranslations({ engine, memory, vcpus }: Domain): string[] {
  const { frames, map } = memory;
  const wrong: string[] = [];
  if (!(engine instanceof Engine)) return wrong;
  const words = new Int32Array(memory.buffer);
  const aliases = new Map(memory.foreign.all());
  for (const { id } of vcpus) {
    const first = regionsOf(map.vcpus).vcpus + id * VCPU_BYTES + State.kernelTlb;
    for (let i = 0; i < 2 * TLB_ENTRIES; i++) {
      const word = (first + i * TLB_ENTRY_BYTES) >> 2;
      const readLo = words[word]!;
      if (readLo === -1 && words[word + 1] === -1) continue;
      const canWrite = words[word + 2] !== -1 || words[word + 3] !== -1;
      if ((readLo & Number(ALIAS)) !== 0) {
        const mfn = map.aliasMfn + (((readLo + words[word + 6]!) >>> 12) & 0xf_ffff);
        const alias = aliases.get(mfn);
        if (alias === undefined || alias.entries === 0)
          wrong.push(`vCPU ${id} can reach alias ${mfn}, which it has not mapped`);
        else if (canWrite && alias.writable === 0) wrong.push(`vCPU ${id} can write alias ${mfn}, mapped to be read`);
        continue;
      }
      const index = Math.floor((((readLo + words[word + 6]!) >>> 0) - map.ramOffset) / 4096);
      if (index < 0 || index >= frames.total || frames.isFree(index)) {
        wrong.push(`vCPU ${id} can reach frame ${index}, which is nobody's, through its TLB`);
        continue;
      }
      const writable = frames.type(index) === PageType.writable || frames.typeCount(index) === 0;
      if (canWrite && !writable)
        wrong.push(`vCPU ${id} can write ${frames.heldAs(index)}, frame ${index}, through its TLB`);
      if (canWrite && !frames.owned(index)) wrong.push(`vCPU ${id} can write frame ${index} of the hypervisor`);
    }
  }
  return wrong;
}

function auditEvents({ events, vcpuCount }: Domain): string[] {
  const wrong: string[] = [];
  const used = new Map([...events.inUse()].map((channel) => [channel.port, channel]));
  const virqs = new Map<number, Channel>();
  for (const channel of used.values()) {
    const { port, state, notifyVcpu, virq } = channel;
    if (port === 0 || events.get(port) !== channel) wrong.push(`port ${port} is not where it says`);
    if (notifyVcpu >= vcpuCount) wrong.push(`port ${port} notifies vCPU ${notifyVcpu}`);
    if (virq >= 0 !== (state === ChannelState.virq)) wrong.push(`port ${port} in state ${state} has VIRQ ${virq}`);
    if (state === ChannelState.virq) {
      const key = (PER_VCPU_VIRQS.has(virq) ? notifyVcpu : 0) * NR_VIRQS + virq;
      if (virqs.has(key)) wrong.push(`VIRQ ${virq} of vCPU ${notifyVcpu} has two ports`);
      virqs.set(key, channel);
    }
  }
  // Whoever asks for a port gets the lowest that is free and in no queue, and a VIRQ is free exactly when no port has it.
  let lowest = 1;
  while (used.has(lowest) || (events.get(lowest) !== undefined && events.abi.isBusy(lowest))) lowest++;
  const taken = events.allocate();
  if (typeof taken !== "number") {
    if (taken.port !== lowest) wrong.push(`port ${taken.port} is given out before ${lowest}`);
    events.free(taken);
    for (let key = 0; key < vcpuCount * NR_VIRQS; key++) {
      const [vcpu, virq] = [Math.floor(key / NR_VIRQS), key % NR_VIRQS];
      const port = events.bindVirq(virq, vcpu);
      if (port > 0 && virqs.has(key)) wrong.push(`VIRQ ${virq} of vCPU ${vcpu} can be bound twice`);
      if (port === -Errno.EEXIST && !virqs.has(key)) wrong.push(`VIRQ ${virq} of vCPU ${vcpu} is bound to no port`);
      if (port > 0) events.free(events.get(port)!);
    }
  }
  return wrong;
}

/** A vCPU waits in the scheduler exactly when it may run, and in one way at a time when it may not. */
function auditVcpus({ vcpus }: Domain): string[] {
  const wrong: string[] = [];
  for (const vcpu of vcpus) {
    const { id, slot, runnable, pollPort, blocked, parked } = vcpu;
    if (slot >= 0 !== runnable) wrong.push(`vCPU ${id} is ${runnable ? "" : "not "}runnable and in slot ${slot}`);
    if (pollPort !== 0 && !blocked) wrong.push(`vCPU ${id} polls port ${pollPort} and does not wait`);
    if (parked !== null && blocked) wrong.push(`vCPU ${id} waits in a hypercall and in SCHEDOP_block`);
  }
  return wrong;
}

/** An interdomain port of a guest names one that names it back; what names a domain that is gone names nobody. */
function auditChannelEnds(domains: readonly Domain[]): string[] {
  const wrong: string[] = [];
  const byId = new Map(domains.map((domain) => [domain.id as number, domain]));
  for (const domain of domains) {
    for (const { port, state, remoteDomid, remotePort } of domain.events.inUse()) {
      if (state !== ChannelState.interdomain || remoteDomid === 0) continue;
      const end = byId.get(remoteDomid)?.events.get(remotePort);
      const back = end?.state === ChannelState.interdomain && end.remoteDomid === domain.id && end.remotePort === port;
      if (!back)
        wrong.push(`port ${port} of domain ${domain.id} is joined to ${remoteDomid}.${remotePort}, not joined to it`);
    }
  }
  return wrong;
}
