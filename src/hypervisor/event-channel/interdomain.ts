/**
 * Event channels that have two ends: binding, closing and notifying, where the other end is on this shard, on another, or
 * Domain 0's.
 *
 * The end that is here changes at once when the other one is here too. Where it is on another shard the caller is parked: its own
 * port stays reserved (bind) or bound (close) until the other shard has answered, so that a channel is never half made in a
 * guest's eyes.
 */
import { Errno } from "../../abi/errno.ts";
import { DOMID } from "../../abi/xen.ts";
import type { Domain } from "../domain.ts";
import type { parked } from "../hypercall/result.ts";
import type { HypercallContext } from "../hypercall/table.ts";
import type { Shard } from "../shard.ts";
import type { PortAddress } from "../shard-host.ts";
import { type Channel, ChannelState } from "./event-channels.ts";

/** Domain 0 is the service itself: no shard has it. */
const DOM0 = 0;

/** Domain `domid` as `domain` sees it. */
export function resolveDomid(domain: Domain, domid: number): number {
  return domid === DOMID.self ? domain.id : domid;
}

/**
 * EVTCHNOP_bind_interdomain. `bound` gets the local port and gives the hypercall's value.
 * -ESRCH: no such domain. -EINVAL: no such port, or not one that is unbound and meant for the caller. -ENOSPC: no local port.
 */
export function bindInterdomain(
  context: HypercallContext,
  remoteDomid: number,
  remotePort: number,
  bound: (port: number) => number,
): number | typeof parked {
  const { shard, domain, vcpu } = context;
  const domid = resolveDomid(domain, remoteDomid);
  const remoteShard = shard.shardOf(domid);
  if (domid === DOM0) return bindAnewToDom0(domain, remotePort, bound);
  if (remoteShard === undefined) return -Errno.ESRCH;
  const channel = domain.events.allocate();
  if (typeof channel === "number") return channel;
  const local: PortAddress = { domid: domain.id, port: channel.port };
  const remote: PortAddress = { domid, port: remotePort };
  const finish = (answer: number | "gone"): number => {
    if (answer === "gone" || answer < 0) {
      domain.events.free(channel);
      return answer === "gone" ? -Errno.ESRCH : answer;
    }
    domain.events.connect(channel, domid, remotePort);
    // Notifications that the other end sent before now were lost: this one stands for them all.
    domain.events.abi.setPending(channel);
    return bound(channel.port);
  };
  if (remoteShard === shard.id) return finish(acceptBind(shard, local, remote));
  channel.remoteDomid = domid;
  channel.remotePort = remotePort;
  return shard.requests.park(vcpu, { shard: remoteShard, domid }, { kind: "evtchn-bind", local, remote }, finish);
}

/** Domain 0 offers no ports of its own, its services bind what guests offer; but an end of its that the domain has left is there again. */
function bindAnewToDom0(domain: Domain, end: number, bound: (port: number) => number): number {
  if (!domain.dom0Ends.offered(end)) return -Errno.EINVAL;
  const channel = domain.events.allocate();
  if (typeof channel === "number") return channel;
  joinDom0(domain, channel, end);
  domain.events.abi.setPending(channel);
  return bound(channel.port);
}

function joinDom0(domain: Domain, channel: Channel, end: number): void {
  domain.events.connect(channel, DOM0, end);
  domain.dom0Ends.join(end, channel);
}

/** The other end's part of a bind: 0 or -errno. */
export function acceptBind(shard: Shard, local: PortAddress, remote: PortAddress): number {
  const domain = shard.domains.get(remote.domid);
  if (domain === undefined || domain.dying) return -Errno.ESRCH;
  const channel = domain.events.get(remote.port);
  if (channel?.state !== ChannelState.unbound || channel.remoteDomid !== local.domid) return -Errno.EINVAL;
  domain.events.connect(channel, local.domid, local.port);
  return 0;
}

/** EVTCHNOP_close. -EINVAL for a port that is not in use. */
export function closePort(context: HypercallContext, port: number): number | typeof parked {
  const { shard, domain, vcpu } = context;
  const channel = domain.events.get(port);
  if (channel === undefined || channel.state === ChannelState.closed || channel.state === ChannelState.reserved) {
    return -Errno.EINVAL;
  }
  const away = otherEndAway(shard, channel);
  if (away === undefined) {
    closeHere(shard, domain, channel);
    return 0;
  }
  const { use } = channel;
  return shard.requests.park(vcpu, { shard: away, domid: channel.remoteDomid }, closeRequest(domain, channel), () => {
    // A reset may have closed it meanwhile, and the port have another use. The other end may have been closed too, and this one bound
    // anew, be it by a port of the same number: whoever is joined now is told.
    if (channel.use === use) closeNow(shard, domain, channel);
    return 0;
  });
}

/** Closes without waiting for anyone: the domain is going away, or resets. */
export function closeAll(shard: Shard, domain: Domain): void {
  for (const channel of [...domain.events.inUse()]) {
    if (channel.state === ChannelState.reserved) {
      // A bind is under way at another shard: it comes after a reset.
      if (!domain.dying) continue;
      // Messages keep their order, so this undoes it there.
      const remoteShard = shard.shardOf(channel.remoteDomid);
      if (remoteShard !== undefined) shard.requests.tell(remoteShard, closeRequest(domain, channel));
      domain.events.free(channel);
      continue;
    }
    closeNow(shard, domain, channel);
  }
}

function closeNow(shard: Shard, domain: Domain, channel: Channel): void {
  const away = otherEndAway(shard, channel);
  if (away !== undefined) shard.requests.tell(away, closeRequest(domain, channel));
  closeHere(shard, domain, channel);
}

/** The other end's part of a close. */
export function acceptClose(shard: Shard, local: PortAddress, remote: PortAddress): number {
  const { events } = shard.domains.get(remote.domid) ?? {};
  const channel = events?.get(remote.port);
  if (joins(channel, local)) events!.disconnect(channel);
  return 0;
}

/** EVTCHNOP_send. -EINVAL for a port that is neither unbound, interdomain nor an IPI. */
export function send(shard: Shard, domain: Domain, port: number): number {
  const channel = domain.events.get(port);
  if (channel === undefined) return -Errno.EINVAL;
  switch (channel.state) {
    case ChannelState.interdomain:
      domain.activity.eventsSent++;
      notifyOtherEnd(shard, domain, channel);
      return 0;
    case ChannelState.ipi:
      domain.activity.eventsSent++;
      domain.events.abi.setPending(channel);
      return 0;
    case ChannelState.unbound:
      return 0;
    default:
      return -Errno.EINVAL;
  }
}

/** A notification of `remote` has arrived from `local`: dropped unless the two are joined. */
export function acceptNotify(shard: Shard, local: PortAddress, remote: PortAddress): void {
  const { events } = shard.domains.get(remote.domid) ?? {};
  const channel = events?.get(remote.port);
  if (joins(channel, local)) events!.abi.setPending(channel);
}

/** Domain 0's services bind a port that the domain offered Domain 0. False when there is none such. */
export function bindDom0(domain: Domain, port: number): boolean {
  const channel = domain.events.get(port);
  if (channel?.remoteDomid !== DOM0) return false;
  if (channel.state === ChannelState.unbound) joinDom0(domain, channel, port);
  return channel.state === ChannelState.interdomain;
}

/** Domain 0 notifies the domain by its end of a channel. */
export function notifyFromDom0(domain: Domain, end: number): void {
  const channel = domain.dom0Ends.channelOf(end);
  if (channel !== undefined) domain.events.abi.setPending(channel);
}

function notifyOtherEnd(shard: Shard, domain: Domain, channel: Channel): void {
  if (channel.remoteDomid === DOM0) {
    shard.host.send("dom0", { kind: "event", domid: domain.id, port: channel.remotePort });
    return;
  }
  const local = { domid: domain.id, port: channel.port };
  const remote = remoteOf(channel);
  const away = otherEndAway(shard, channel);
  if (away === undefined) acceptNotify(shard, local, remote);
  else shard.host.send(away, { kind: "notify", local, remote });
}

function closeHere(shard: Shard, domain: Domain, channel: Channel): void {
  const local = { domid: domain.id, port: channel.port };
  const remote = remoteOf(channel);
  if (channel.state === ChannelState.interdomain && channel.remoteDomid === DOM0)
    domain.dom0Ends.leave(channel.remotePort);
  domain.events.free(channel);
  // Only of an interdomain channel does another port name this one back.
  acceptClose(shard, local, remote);
}

function closeRequest(domain: Domain, channel: Channel) {
  return { kind: "evtchn-close", local: { domid: domain.id, port: channel.port }, remote: remoteOf(channel) } as const;
}

const remoteOf = (channel: Channel): PortAddress => ({ domid: channel.remoteDomid, port: channel.remotePort });

const joins = (channel: Channel | undefined, peer: PortAddress): channel is Channel =>
  channel?.state === ChannelState.interdomain && channel.remoteDomid === peer.domid && channel.remotePort === peer.port;

/** The shard of an interdomain channel's other end, when that is another one. */
function otherEndAway(shard: Shard, channel: Channel): number | undefined {
  if (channel.state !== ChannelState.interdomain) return undefined;
  const where = shard.shardOf(channel.remoteDomid);
  return where === shard.id ? undefined : where;
}
