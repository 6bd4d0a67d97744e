/**
 * What the control plane does to domains: making, starting, looking at and tearing down. The domctl side of a shard; every answer
 * is plain data.
 */
import { FLAT, VcpuGuestContext, VGCF } from "../abi/arch-x86-64.ts";
import { Errno } from "../abi/errno.ts";
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE } from "../abi/grant-table.ts";
import { RUNSTATE } from "../abi/vcpu.ts";
import { DOMID, LEGACY_MAX_VCPUS, SharedInfo } from "../abi/xen.ts";
import { AliasFrames } from "../engine/alias-frames.ts";
import { VCPU_BYTES } from "../engine/layout.ts";
import { Domain } from "./domain.ts";
import { releaseFifoFrames } from "./event-channel/fifo-setup.ts";
import { closeAll } from "./event-channel/interdomain.ts";
import { forgetOwner } from "./grant-table/gone-owner.ts";
import { releaseMappings } from "./grant-table/grant-map.ts";
import { DomainMemory } from "./mm/domain-memory.ts";
import { PageType } from "./mm/frame-table.ts";
import type { MemoryMap } from "./mm/memory-map.ts";
import { DEFAULT_WEIGHT } from "./sched/scheduler.ts";
import type { Shard } from "./shard.ts";
import type { CrashState } from "./shard-host.ts";
import { publishTime, publishWallClock } from "./time/areas.ts";
import { setGuestContext } from "./vcpu-context.ts";

const KIB_PER_PAGE = 4;

export interface DomainCreate {
  readonly domid: number;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  /** All zeros, `map.bytes` long. */
  readonly memory: WebAssembly.Memory;
  readonly map: MemoryMap;
  readonly weight?: number;
  /** Percent of one CPU; 0 for no cap. */
  readonly cap?: number;
}

export interface DomainCreated {
  /** Frame of shared_info, for start_info. */
  readonly sharedInfoMfn: number;
}

/** Where the builder put vCPU 0's start-of-day state, and the rings (frames of the domain, by pfn). */
export interface BootContext {
  readonly l4Pfn: number;
  readonly entry: number;
  readonly startInfoVa: number;
  readonly stackVa: number;
  readonly storePfn?: number;
  readonly consolePfn?: number;
}

export interface VcpuInfoReport {
  readonly id: number;
  readonly state: "running" | "runnable" | "blocked" | "offline";
  readonly cpuTimeNs: number;
  readonly instructions: number;
}

export interface DomainInfo {
  readonly domid: number;
  readonly state: "paused" | "running" | "blocked" | "shutdown" | "dying";
  /** `SHUTDOWN` number. */
  readonly shutdownReason?: number;
  readonly crash?: CrashState;
  readonly cpuTimeNs: number;
  readonly memoryKiB: number;
  readonly maxMemoryKiB: number;
  readonly weight: number;
  readonly cap: number;
  readonly vcpus: readonly VcpuInfoReport[];
  /** Host bytes by part. */
  readonly overheadBytes: Readonly<Record<string, number>>;
}

/** Makes a domain, paused and without a state to start from. -EEXIST: the domid is taken. */
export function createDomain(shard: Shard, spec: DomainCreate): DomainCreated | number {
  const { domid, memory, map } = spec;
  if (shard.domains.has(domid)) return -Errno.EEXIST;
  if (domid <= 0 || domid >= DOMID.firstReserved) return -Errno.EINVAL;
  const { baseMfn, totalFrames: frames, ramOffset, vcpus: maxVcpus, aliasMfn, aliasFrames } = map;
  const layout = { baseMfn, frames, ramOffset, maxVcpus, aliasMfn, aliasFrames };
  const aliases = new AliasFrames();
  const engine = shard.makeEngine(memory, layout, {
    readTsc: () => domain.now(),
    ldtPage: (vcpu, page) => domain.memory.vcpuTables.ldtFrame(vcpu, page),
    log: (text) => shard.domains.get(domid)?.logGuest("warn", text),
    aliases,
  });
  const domainMemory = new DomainMemory({ memory, map, domid, caches: engine, now: () => shard.now(), aliases });
  const domain: Domain = new Domain({
    shard,
    domid,
    uuid: spec.uuid,
    engine,
    memory: domainMemory,
    sharedInfoMfn: domainMemory.allocHeapFrame("writable"),
    vcpus: map.vcpus,
    weight: spec.weight ?? DEFAULT_WEIGHT,
    cap: spec.cap ?? 0,
  });
  shard.domains.set(domid, domain);
  const view = new DataView(domain.sharedInfo.buffer, domain.sharedInfo.byteOffset, domain.sharedInfo.byteLength);
  for (let i = 0; i < LEGACY_MAX_VCPUS; i++) SharedInfo.vcpuInfo.at(i).evtchnUpcallMask.set(view, 0, 1);
  for (const vcpu of domain.vcpus) publishTime(vcpu);
  publishWallClock(domain);
  return { sharedInfoMfn: domain.sharedInfoMfn };
}

/**
 * Gives vCPU 0 its start-of-day state: flat segments, rsi = start_info, the builder's page tables, which are validated like any
 * guest's. -EINVAL: they are not valid; the domain's refusals say why.
 */
export function setBootContext(domain: Domain, boot: BootContext): number {
  const { map } = domain.memory;
  const bytes = new ArrayBuffer(VcpuGuestContext.size);
  const view = new DataView(bytes);
  const context = VcpuGuestContext;
  const regs = context.userRegs;
  regs.rip.setNumber(view, 0, boot.entry);
  regs.rsp.setNumber(view, 0, boot.stackVa);
  regs.rsi.setNumber(view, 0, boot.startInfoVa);
  regs.rflags.setNumber(view, 0, 0x200);
  regs.cs.set(view, 0, FLAT.cs64);
  regs.ss.set(view, 0, FLAT.ss64);
  context.flags.setNumber(view, 0, VGCF.inKernel | VGCF.online);
  context.kernelSs.setNumber(view, 0, FLAT.ss64);
  context.kernelSp.setNumber(view, 0, boot.stackVa);
  const root = map.baseMfn + boot.l4Pfn;
  context.ctrlreg.at(3).setNumber(view, 0, root * 4096);
  // The boot page tables are pinned, as libxenguest leaves them: guests unpin them when they have their own.
  const pinned = domain.memory.tables.pin(root, PageType.l4);
  if (pinned !== 0) return pinned;
  const rc = setGuestContext(domain.vcpus[0]!, view);
  if (rc !== 0) return rc;
  if (boot.consolePfn !== undefined) domain.grants.seed(GNTTAB_RESERVED_CONSOLE, 0, map.baseMfn + boot.consolePfn);
  if (boot.storePfn !== undefined) domain.grants.seed(GNTTAB_RESERVED_XENSTORE, 0, map.baseMfn + boot.storePfn);
  return 0;
}

/** Everything of the domain goes. What Domain 0 still has mapped holds its memory; `finishDestroy` is due when that is gone too. */
export function destroyDomain(shard: Shard, domain: Domain): void {
  if (domain.dying) return;
  domain.dying = true;
  domain.watchdogs.stop();
  for (const vcpu of domain.vcpus) {
    vcpu.timers.stopAll();
    shard.requests.abandon(vcpu);
    vcpu.reschedule();
  }
  closeAll(shard, domain);
  releaseFifoFrames(domain);
  for (const vcpu of domain.vcpus) if (vcpu.infoMfn >= 0) domain.memory.putPageAndType(vcpu.infoMfn);
  if (domain.pirqEoiMfn >= 0) domain.memory.putPageAndType(domain.pirqEoiMfn);
  domain.memory.relinquish();
  releaseMappings(domain);
  finishDestroy(shard, domain);
}

/** Forgets a dying domain once nobody, Domain 0 or another domain, holds a frame of it. */
export function finishDestroy(shard: Shard, domain: Domain): void {
  const { frames } = domain.memory;
  if (!domain.dying || domain.mappings > 0 || frames.used > 0 || shard.domains.get(domain.id) !== domain) return;
  shard.domains.delete(domain.id);
  forgetOwner(shard, domain.id);
  shard.host.send("dom0", { kind: "destroyed", domid: domain.id });
}

/** A frame that Domain 0 has mapped: it stays the domain's, with its type, until it is unmapped. */
export interface DomainMapping {
  readonly domid: number;
  readonly mfn: number;
  readonly writable: boolean;
  /** Where the frame is in the domain's memory. */
  readonly byteOffset: number;
}

/** -EINVAL: not a frame of the domain, or (writable) a page table or descriptor page. */
export function mapFrame(domain: Domain, mfn: number, writable: boolean): DomainMapping | number {
  const { memory } = domain;
  if (domain.dying) return -Errno.ESRCH;
  const taken = writable ? memory.getPageAndType(mfn, PageType.writable) === 0 : memory.getPage(mfn);
  if (!taken) return -Errno.EINVAL;
  domain.mappings++;
  if (writable) memory.addWriter(mfn);
  return { domid: domain.id, mfn, writable, byteOffset: memory.hostOffset(mfn) };
}

/** Puts what `mapFrame` took. Each mapping is to be unmapped once. */
export function unmapFrame(shard: Shard, domain: Domain, { mfn, writable }: DomainMapping): void {
  const { memory } = domain;
  if (writable) {
    memory.removeWriter(mfn);
    memory.putPageAndType(mfn);
  } else {
    memory.putPage(mfn);
  }
  domain.mappings--;
  finishDestroy(shard, domain);
}

const stateNames = ["running", "runnable", "blocked", "offline"] as const;

export function domainInfo(domain: Domain): DomainInfo {
  const { shard, memory } = domain;
  const now = shard.now();
  const vcpus = domain.vcpus.map((vcpu) => ({
    id: vcpu.id,
    state: stateNames[vcpu.runstate.state],
    cpuTimeNs: vcpu.runstate.time(RUNSTATE.running, now),
    instructions: vcpu.instructions,
  }));
  return {
    domid: domain.id,
    state: stateOf(domain),
    ...(domain.shutdownReason < 0 ? {} : { shutdownReason: domain.shutdownReason }),
    ...(domain.crash === null ? {} : { crash: domain.crash }),
    cpuTimeNs: vcpus.reduce((sum, vcpu) => sum + vcpu.cpuTimeNs, 0),
    memoryKiB: memory.frames.ownPages * KIB_PER_PAGE,
    maxMemoryKiB: memory.maxPages * KIB_PER_PAGE,
    weight: domain.sched.weight,
    cap: domain.sched.cap,
    vcpus,
    overheadBytes: overheadBytes(domain),
  };
}

/** Host bytes of a domain beyond the guest's own, by part. */
export function overheadBytes({ vcpuCount, engine, memory }: Domain): Readonly<Record<string, number>> {
  return {
    registersAndTlbs: vcpuCount * VCPU_BYTES,
    decodedCode: engine.stats(0).codeBytes,
    frameTable: frameTableBytes(memory),
    sharedFrames: (memory.map.totalFrames - memory.map.ownFrames) * 4096,
  };
}

function frameTableBytes({ frames }: DomainMemory): number {
  const { owner, refInfo, typeInfo, entriesDone, linear } = frames;
  return [owner, refInfo, typeInfo, entriesDone, linear].reduce((sum, column) => sum + column.byteLength, 0);
}

function stateOf(domain: Domain): DomainInfo["state"] {
  if (domain.dying) return "dying";
  if (domain.shutdownReason >= 0) return "shutdown";
  if (domain.pauseCount > 0) return "paused";
  return domain.vcpus.some((vcpu) => vcpu.runnable) ? "running" : "blocked";
}
