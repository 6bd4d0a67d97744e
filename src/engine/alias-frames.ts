/**
 * Alias frames: frame numbers of a domain that stand for frames of other domains (granted pages).
 *
 * Their bytes are in another domain's memory, which generated code cannot name: it has one memory, its own. So an access to an alias frame
 * takes the slow path (tlb-entry.ts, ALIAS) and ends here, with the frame's index and the offset in the page: an alias address. Whatever
 * generated code asks for, nothing but the page that the owner of this object has put behind an index is ever reached.
 *
 * The other domain may run at the same time on another thread. An aligned access of 1, 2, 4 or 8 bytes is one atomic access, in the order
 * that the program makes them (stronger than the processor's); 16 bytes are two of 8; an unaligned one is byte by byte, lowest first. A
 * locked update of aligned bytes is a compare-and-exchange.
 */
const PAGE_SIZE = 4096;

/** What translations to host offsets add to the alias address of a byte in an alias frame. */
export const ALIAS_BASE = 2 ** 32;

/** Views of one other domain's memory. */
export interface AliasMemory {
  readonly bytes: Uint8Array;
  readonly halves: Uint16Array;
  readonly words: Int32Array;
  readonly quads: BigInt64Array;
}

export function aliasMemory(buffer: ArrayBufferLike): AliasMemory {
  return {
    bytes: new Uint8Array(buffer),
    halves: new Uint16Array(buffer),
    words: new Int32Array(buffer),
    quads: new BigInt64Array(buffer),
  };
}

interface AliasFrame {
  readonly memory: AliasMemory;
  /** Where the page begins. */
  readonly start: number;
}

export class AliasFrames {
  readonly #frames = new Map<number, AliasFrame>();

  /** Puts the page at byte offset `start` behind an index. */
  set(index: number, memory: AliasMemory, start: number): void {
    this.#frames.set(index, { memory, start });
  }

  /** From here on an access by that index is a defect: it throws. No TLB may have a translation any more. */
  delete(index: number): void {
    this.#frames.delete(index);
  }

  #at(address: number, length: number): AliasFrame {
    const frame = this.#frames.get(address >>> 12);
    if (frame === undefined) throw new Error(`alias frame ${address >>> 12} stands for nothing`);
    if ((address & (PAGE_SIZE - 1)) + length > PAGE_SIZE) throw new Error("an access leaves its alias frame");
    return frame;
  }

  /** Fills `view` from `offset` on with `length` bytes; within one page. */
  read(address: number, view: DataView, offset: number, length: number): void {
    const { memory, start } = this.#at(address, length);
    const at = start + (address & (PAGE_SIZE - 1));
    if ((at & 7) === 0) {
      let done = 0;
      for (; done + 8 <= length; done += 8)
        view.setBigInt64(offset + done, Atomics.load(memory.quads, (at + done) / 8), true);
      if (done === length) return;
    }
    if (length === 4 && (at & 3) === 0) view.setInt32(offset, Atomics.load(memory.words, at >>> 2), true);
    else if (length === 2 && (at & 1) === 0) view.setUint16(offset, Atomics.load(memory.halves, at >>> 1), true);
    else for (let i = 0; i < length; i++) view.setUint8(offset + i, Atomics.load(memory.bytes, at + i));
  }

  /** The other way round. */
  write(address: number, view: DataView, offset: number, length: number): void {
    const { memory, start } = this.#at(address, length);
    const at = start + (address & (PAGE_SIZE - 1));
    if ((at & 7) === 0) {
      let done = 0;
      for (; done + 8 <= length; done += 8)
        Atomics.store(memory.quads, (at + done) / 8, view.getBigInt64(offset + done, true));
      if (done === length) return;
    }
    if (length === 4 && (at & 3) === 0) Atomics.store(memory.words, at >>> 2, view.getInt32(offset, true));
    else if (length === 2 && (at & 1) === 0) Atomics.store(memory.halves, at >>> 1, view.getUint16(offset, true));
    else for (let i = 0; i < length; i++) Atomics.store(memory.bytes, at + i, view.getUint8(offset + i));
  }

  /**
   * Stores `length` bytes (1, 2, 4 or 8) if they still are as at `original` of `view`. True when they were; else `offset` and `original`
   * both get what is there now. Unaligned bytes are stored whatever they are: no processor of ours updates those in one go.
   */
  exchange(address: number, view: DataView, offset: number, original: number, length: number): boolean {
    const { memory, start } = this.#at(address, length);
    const at = start + (address & (PAGE_SIZE - 1));
    if ((at & (length - 1)) !== 0) {
      this.write(address, view, offset, length);
      return true;
    }
    if (length === 8) {
      const wanted = view.getBigInt64(original, true);
      const seen = Atomics.compareExchange(memory.quads, at / 8, wanted, view.getBigInt64(offset, true));
      if (seen === wanted) return true;
      view.setBigInt64(offset, seen, true);
      view.setBigInt64(original, seen, true);
      return false;
    }
    if (length === 4) {
      const wanted = view.getInt32(original, true);
      const seen = Atomics.compareExchange(memory.words, at >>> 2, wanted, view.getInt32(offset, true));
      if (seen === wanted) return true;
      view.setInt32(offset, seen, true);
      view.setInt32(original, seen, true);
      return false;
    }
    const narrow = length === 2 ? memory.halves : memory.bytes;
    const get = (i: number): number => (length === 2 ? view.getUint16(i, true) : view.getUint8(i));
    const wanted = get(original);
    const seen = Atomics.compareExchange(narrow, at / length, wanted, get(offset));
    if (seen === wanted) return true;
    for (const i of [offset, original]) {
      if (length === 2) view.setUint16(i, seen, true);
      else view.setUint8(i, seen);
    }
    return false;
  }
}
