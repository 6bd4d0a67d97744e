/**
 * The 2-level ABI: a bit for each of 4096 ports in shared_info's evtchn_pending and evtchn_mask, and in each vcpu_info a selector
 * with a bit for each 64-bit word of them (xen/event_channel.h).
 */
import { Errno } from "../../abi/errno.ts";
import { EVTCHN_2L_NR_CHANNELS } from "../../abi/event-channel.ts";
import { SharedInfo, VcpuInfo } from "../../abi/xen.ts";
import type { EventAbi, EventPortState, EventTarget } from "./event-abi.ts";

const PENDING_WORD = SharedInfo.offsets.evtchnPending / 4;
const MASK_WORD = SharedInfo.offsets.evtchnMask / 4;
const SELECTOR_WORD = VcpuInfo.offsets.evtchnPendingSel / 4;

export class TwoLevelEvents implements EventAbi {
  readonly maxPorts = EVTCHN_2L_NR_CHANNELS;
  readonly #target: EventTarget;

  constructor(target: EventTarget) {
    this.#target = target;
  }

  setPending(channel: EventPortState): void {
    const { port } = channel;
    const info = this.#target.sharedInfo;
    const word = port >> 5;
    const bit = 1 << (port & 31);
    if (info[PENDING_WORD + word]! & bit) return;
    info[PENDING_WORD + word]! |= bit;
    if ((info[MASK_WORD + word]! & bit) === 0) this.#select(channel);
    this.#target.checkPollers(port);
  }

  clearPending(channel: EventPortState): void {
    this.#target.sharedInfo[PENDING_WORD + (channel.port >> 5)]! &= ~(1 << (channel.port & 31));
  }

  unmask(channel: EventPortState): void {
    const { port } = channel;
    const info = this.#target.sharedInfo;
    const word = port >> 5;
    const bit = 1 << (port & 31);
    if ((info[MASK_WORD + word]! & bit) === 0) return;
    info[MASK_WORD + word]! &= ~bit;
    if (info[PENDING_WORD + word]! & bit) this.#select(channel);
  }

  isPending(port: number): boolean {
    return ((this.#target.sharedInfo[PENDING_WORD + (port >> 5)]! >>> (port & 31)) & 1) !== 0;
  }

  isMasked(port: number): boolean {
    return ((this.#target.sharedInfo[MASK_WORD + (port >> 5)]! >>> (port & 31)) & 1) !== 0;
  }

  isBusy(): boolean {
    return false;
  }

  setPriority(): number {
    return -Errno.ENOSYS;
  }

  #select(channel: EventPortState): void {
    const info = this.#target.vcpuInfo(channel.notifyVcpu);
    const selector = channel.port >> 6;
    const word = SELECTOR_WORD + (selector >> 5);
    const bit = 1 << (selector & 31);
    if (info[word]! & bit) return;
    info[word]! |= bit;
    this.#target.markEventsPending(channel.notifyVcpu);
  }
}
