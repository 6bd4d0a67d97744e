/**
 * The FIFO ABI (xen/event_channel.h): an event word for each port in pages of the guest, linked into queues by priority whose heads
 * are in a control block for each vCPU.
 *
 * The words are the guest's to write: a link it has broken loses its own events, no more. Queue tails and which queue a port was
 * linked to are kept here.
 */
import { Errno } from "../../abi/errno.ts";
import { EVTCHN_FIFO, EvtchnFifoControlBlock } from "../../abi/event-channel.ts";
import type { EventAbi, EventPortState, EventTarget } from "./event-abi.ts";

const PENDING = 1 << EVTCHN_FIFO.pendingBit;
const MASKED = 1 << EVTCHN_FIFO.maskedBit;
const LINKED = 1 << EVTCHN_FIFO.linkedBit;
const { linkMask, maxQueues, priorityMin, wordsPerPage } = EVTCHN_FIFO;

const READY_WORD = EvtchnFifoControlBlock.offsets.ready / 4;
const HEAD_WORD = EvtchnFifoControlBlock.offsets.head / 4;
/** Words of a control block. */
export const CONTROL_BLOCK_WORDS = EvtchnFifoControlBlock.size / 4;
/** Pages that an event array may have. */
export const MAX_ARRAY_PAGES = EVTCHN_FIFO.nrChannels / wordsPerPage;

export class FifoEvents implements EventAbi {
  readonly maxPorts = EVTCHN_FIFO.nrChannels;
  readonly #target: EventTarget;
  /** Of each vCPU, once the guest has named it. */
  readonly #controlBlocks: (Int32Array | undefined)[];
  readonly #pages: Int32Array[] = [];
  /** Last port of each queue of each vCPU; 0 for none. */
  readonly #tails: Uint32Array;

  constructor(target: EventTarget) {
    this.#target = target;
    this.#controlBlocks = new Array(target.vcpuCount).fill(undefined);
    this.#tails = new Uint32Array(target.vcpuCount * maxQueues);
  }

  hasControlBlock(vcpu: number): boolean {
    return this.#controlBlocks[vcpu] !== undefined;
  }

  setControlBlock(vcpu: number, block: Int32Array): void {
    this.#controlBlocks[vcpu] = block;
  }

  get arrayPages(): number {
    return this.#pages.length;
  }

  /** Adds a page of event words: 1024 more ports can be delivered. */
  addPage(words: Int32Array): void {
    this.#pages.push(words);
  }

  setPending(channel: EventPortState): void {
    const { port } = channel;
    const page = this.#pages[port >> 10];
    if (page === undefined) {
      channel.lost = true;
      return;
    }
    const slot = port & (wordsPerPage - 1);
    const wasPending = (page[slot]! & PENDING) !== 0;
    page[slot]! |= PENDING;
    if ((page[slot]! & (MASKED | LINKED)) === 0) this.#link(channel, page, slot);
    if (!wasPending) this.#target.checkPollers(port);
  }

  clearPending(channel: EventPortState): void {
    const page = this.#pages[channel.port >> 10];
    if (page !== undefined) page[channel.port & (wordsPerPage - 1)]! &= ~PENDING;
  }

  unmask(channel: EventPortState): void {
    const page = this.#pages[channel.port >> 10];
    if (page === undefined) return;
    const slot = channel.port & (wordsPerPage - 1);
    page[slot]! &= ~MASKED;
    if ((page[slot]! & PENDING) !== 0) this.setPending(channel);
  }

  isPending(port: number): boolean {
    return (this.#word(port) & PENDING) !== 0;
  }

  isMasked(port: number): boolean {
    return this.#pages[port >> 10] === undefined || (this.#word(port) & MASKED) !== 0;
  }

  isBusy(port: number): boolean {
    return (this.#word(port) & LINKED) !== 0;
  }

  setPriority(channel: EventPortState, priority: number, usable = true): number {
    if (!usable) return -Errno.EACCES;
    if (priority > priorityMin) return -Errno.EINVAL;
    channel.priority = priority;
    return 0;
  }

  /** Puts an event at the end of its queue, and makes the queue ready when it was empty. */
  #link(channel: EventPortState, page: Int32Array, slot: number): void {
    const { port, notifyVcpu, priority } = channel;
    const block = this.#controlBlocks[notifyVcpu];
    if (block === undefined) return;
    const queue = notifyVcpu * maxQueues + priority;
    const old = channel.lastVcpu * maxQueues + channel.lastPriority;
    channel.lastVcpu = notifyVcpu;
    channel.lastPriority = priority;
    page[slot]! |= LINKED;
    // An event that was the tail of a queue has left it empty.
    if (this.#tails[old] === port) this.#tails[old] = 0;
    const tail = this.#tails[queue]!;
    const linked = tail !== 0 && this.#linkFrom(tail, port);
    this.#tails[queue] = port;
    if (linked) return;
    block[HEAD_WORD + priority] = port;
    const ready = 1 << priority;
    if ((block[READY_WORD]! & ready) !== 0) return;
    block[READY_WORD]! |= ready;
    this.#target.markEventsPending(notifyVcpu);
  }

  /** Makes `from`, which was linked once, point to `port`, if it still is in a queue. */
  #linkFrom(from: number, port: number): boolean {
    const page = this.#pages[from >> 10]!;
    const slot = from & (wordsPerPage - 1);
    if ((page[slot]! & LINKED) === 0) return false;
    page[slot] = (page[slot]! & ~linkMask) | port;
    return true;
  }

  #word(port: number): number {
    return this.#pages[port >> 10]?.[port & (wordsPerPage - 1)] ?? 0;
  }
}
