/**
 * The event channel ports of one domain.
 *
 * Invariants: port 0 is never used; a port that is interdomain names one port of one other domain (or of this one), and that port,
 * where it is a guest's, names this one back; a vCPU's VIRQ is bound to one port at most. Ports of Domain 0 are not kept: Domain 0
 * is the service itself, and a channel to it is known by the domain's own port.
 *
 * Methods answer a port or 0, or a negative errno as Xen 4.17 gives it (common/event_channel.c's behaviour).
 */
import { Errno } from "../../abi/errno.ts";
import { EVTCHN_FIFO, EVTCHNSTAT } from "../../abi/event-channel.ts";
import { NR_VIRQS, PER_VCPU_VIRQS } from "../../abi/xen.ts";
import type { EventAbi, EventPortState, EventTarget } from "./event-abi.ts";
import { TwoLevelEvents } from "./two-level.ts";

/** libxl's default for a domain's event_channels: the highest port. */
export const DEFAULT_MAX_PORT = 1023;

/** `EVTCHNSTAT`, and `reserved`: a port that a call which is not over yet has taken. */
export const ChannelState = { ...EVTCHNSTAT, reserved: 6 } as const;
export type ChannelState = (typeof ChannelState)[keyof typeof ChannelState];

export class Channel implements EventPortState {
  readonly port: number;
  state: ChannelState = ChannelState.closed;
  notifyVcpu = 0;
  /** The other end of an interdomain channel, or who may bind an unbound one. */
  remoteDomid = -1;
  remotePort = 0;
  virq = -1;
  priority: number = EVTCHN_FIFO.priorityDefault;
  lastVcpu = 0;
  lastPriority: number = EVTCHN_FIFO.priorityDefault;
  lost = false;
  /** Another one each time that the port is freed. */
  use = 0;

  constructor(port: number) {
    this.port = port;
  }
}

/** Ports come into being by the bucket, and may be named from then on. */
const PORTS_PER_BUCKET = 64;

export class EventChannels {
  abi: EventAbi;
  readonly #target: EventTarget;
  readonly #maxPort: number;
  readonly #channels: Channel[] = [];
  /** Every port below this is in use. */
  #lowestFree = 1;
  /** Port of each VIRQ of each vCPU; 0 for none. */
  readonly #virqPorts: Uint32Array;

  constructor(target: EventTarget, maxPort = DEFAULT_MAX_PORT) {
    this.#target = target;
    this.#maxPort = maxPort;
    this.#virqPorts = new Uint32Array(target.vcpuCount * NR_VIRQS);
    this.#addBucket();
    // Port 0 is nobody's.
    this.#channels[0]!.state = ChannelState.reserved;
    this.abi = new TwoLevelEvents(target);
  }

  /** The channel of a port that a guest may name, in use or not; undefined beyond those made so far, which are whole buckets. */
  get(port: number): Channel | undefined {
    return this.#channels[port];
  }

  /** Whether a port has been given a use. */
  usable(port: number): boolean {
    const state = this.#channels[port]?.state ?? ChannelState.closed;
    return state !== ChannelState.closed && state !== ChannelState.reserved;
  }

  /** Every channel that is not closed. */
  *inUse(): Generator<Channel> {
    for (const channel of this.#channels) if (channel.port > 0 && channel.state !== ChannelState.closed) yield channel;
  }

  /** Every channel that there is, in use or not, of the `count` ports from `first` on. */
  made(first = 1, count = Number.POSITIVE_INFINITY): readonly Channel[] {
    return this.#channels.slice(first, first + count);
  }

  /** Takes the lowest free port. -ENOSPC when all are taken. */
  allocate(): Channel | number {
    let port = this.#lowestFree;
    while (port < this.#channels.length && this.#channels[port]!.state !== ChannelState.closed) port++;
    this.#lowestFree = port;
    while (port < this.#channels.length && !this.#free(port)) port++;
    if (port > this.#maxPort || port >= this.abi.maxPorts) return -Errno.ENOSPC;
    let channel = this.#channels[port];
    if (channel === undefined) {
      this.#addBucket();
      channel = this.#channels[port]!;
    }
    channel.state = ChannelState.reserved;
    channel.priority = EVTCHN_FIFO.priorityDefault;
    if (port === this.#lowestFree) this.#lowestFree = port + 1;
    return channel;
  }

  /** Whether a port can be given a use: one that is still in a queue would bring its next user the events of the last. */
  #free(port: number): boolean {
    return this.#channels[port]!.state === ChannelState.closed && !this.abi.isBusy(port);
  }

  #addBucket(): void {
    for (let i = 0; i < PORTS_PER_BUCKET; i++) this.#channels.push(new Channel(this.#channels.length));
  }

  /** A port that `remoteDomid` may bind. */
  allocUnbound(remoteDomid: number): number {
    const channel = this.allocate();
    if (typeof channel === "number") return channel;
    channel.state = ChannelState.unbound;
    channel.remoteDomid = remoteDomid;
    return channel.port;
  }

  bindVirq(virq: number, vcpu: number): number {
    if (virq >= NR_VIRQS) return -Errno.EINVAL;
    if (!PER_VCPU_VIRQS.has(virq) && vcpu !== 0) return -Errno.EINVAL;
    if (vcpu >= this.#target.vcpuCount) return -Errno.ENOENT;
    if (this.#virqPorts[vcpu * NR_VIRQS + virq] !== 0) return -Errno.EEXIST;
    const channel = this.allocate();
    if (typeof channel === "number") return channel;
    channel.state = ChannelState.virq;
    channel.notifyVcpu = vcpu;
    channel.virq = virq;
    this.#virqPorts[vcpu * NR_VIRQS + virq] = channel.port;
    return channel.port;
  }

  bindIpi(vcpu: number): number {
    if (vcpu >= this.#target.vcpuCount) return -Errno.ENOENT;
    const channel = this.allocate();
    if (typeof channel === "number") return channel;
    channel.state = ChannelState.ipi;
    channel.notifyVcpu = vcpu;
    return channel.port;
  }

  /** Sends VIRQs: to the vCPU's port, or nowhere when it has none. */
  sendVirq(vcpu: number, virq: number): void {
    const port = this.#virqPorts[vcpu * NR_VIRQS + virq]!;
    if (port !== 0) this.abi.setPending(this.#channels[port]!);
  }

  /** Where notifications of a port arrive from now on. */
  bindVcpu(port: number, vcpu: number): number {
    if (vcpu >= this.#target.vcpuCount) return -Errno.ENOENT;
    const channel = this.get(port);
    if (channel === undefined) return -Errno.EINVAL;
    switch (channel.state) {
      case ChannelState.virq:
        if (PER_VCPU_VIRQS.has(channel.virq)) return -Errno.EINVAL;
        break;
      case ChannelState.unbound:
      case ChannelState.interdomain:
      case ChannelState.pirq:
        break;
      default:
        return -Errno.EINVAL;
    }
    channel.notifyVcpu = vcpu;
    return 0;
  }

  unmask(port: number): number {
    const channel = this.get(port);
    if (channel === undefined) return -Errno.EINVAL;
    if (this.usable(port)) this.abi.unmask(channel);
    return 0;
  }

  setPriority(port: number, priority: number): number {
    const channel = this.get(port);
    if (channel === undefined) return -Errno.EINVAL;
    return this.abi.setPriority(channel, priority, this.usable(port));
  }

  /** Joins a port to its other end. */
  connect(channel: Channel, remoteDomid: number, remotePort: number): void {
    channel.state = ChannelState.interdomain;
    channel.remoteDomid = remoteDomid;
    channel.remotePort = remotePort;
  }

  /** The other end of an interdomain channel was closed: `remoteDomid` may bind anew. */
  disconnect(channel: Channel): void {
    channel.state = ChannelState.unbound;
    channel.remotePort = 0;
  }

  /** Frees the port. What the other end must learn of it is the caller's business. */
  free(channel: Channel): void {
    if (channel.state === ChannelState.virq) {
      // A global VIRQ may have been moved to another vCPU since; it is kept with vCPU 0.
      const vcpu = PER_VCPU_VIRQS.has(channel.virq) ? channel.notifyVcpu : 0;
      this.#virqPorts[vcpu * NR_VIRQS + channel.virq] = 0;
    }
    // What is pending at a port that was only reserved is an older use's, and stays.
    if (channel.state !== ChannelState.reserved) this.abi.clearPending(channel);
    channel.state = ChannelState.closed;
    channel.notifyVcpu = 0;
    channel.remoteDomid = -1;
    channel.remotePort = 0;
    channel.virq = -1;
    channel.priority = EVTCHN_FIFO.priorityDefault;
    channel.use++;
    this.#lowestFree = Math.min(this.#lowestFree, channel.port);
  }

  /** EVTCHNOP_reset is over: back to the 2-level ABI. Every port has been closed. */
  resetAbi(): void {
    this.abi = new TwoLevelEvents(this.#target);
  }
}
