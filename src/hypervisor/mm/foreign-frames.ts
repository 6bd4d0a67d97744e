/**
 * Frames of other domains in a domain's page tables: what its alias frames stand for.
 *
 * The frame numbers of every domain are its own, so a granted frame gets a number here, in the alias range of the memory map, where nothing
 * of the domain's own is and the machine-to-physical table names no pfn.
 *
 *  1. An alias frame stands for one frame of one other domain for as long as anything here refers to it: an entry of an L1 table, or a
 *     handle of maptrack. The same frame has the same number throughout.
 *  2. Each entry that names it holds a reference to the owner's frame, and a use as writable if it is writable. The owner's shard took
 *     them before the entry was stored, and the owner's memory lives until they are given back, be the owner dead or not.
 *  3. Only grant operations store such entries. Whatever else names an alias frame is told what it is told of any other owner's frame.
 *  4. What an entry held goes back to the owner only when no TLB may use it any more: with the last writable entry the write
 *     translations have gone, with the last entry all of them. So nothing is reached that is not granted at that moment.
 *
 * The engine reaches the bytes by calls (engine/alias-frames.ts): generated code has no way to another domain's memory.
 */
import { type AliasFrames, type AliasMemory, aliasMemory } from "../../engine/alias-frames.ts";
import { Bug } from "../bug.ts";
import type { MemoryMap } from "./memory-map.ts";
import { RW } from "./page-entry.ts";
import type { TranslationCaches } from "./translation-caches.ts";

/** A frame of another domain, as that domain numbers it. */
export interface ForeignFrame {
  readonly domid: number;
  /** The shard that the owner lives on. */
  readonly shard: number;
  readonly mfn: number;
}

interface Alias extends ForeignFrame {
  /** L1 entries that name it, and how many of those are writable. */
  entries: number;
  writable: number;
  /** Handles of maptrack. */
  handles: number;
}

/** Another domain whose memory is at hand, while an alias frame stands for a part of it. */
interface Peer {
  readonly memory: AliasMemory;
  frames: number;
}

const keyOf = (domid: number, mfn: number): number => domid * 2 ** 32 + mfn;

export class ForeignFrames {
  readonly #map: MemoryMap;
  readonly #caches: TranslationCaches;
  readonly #engine: AliasFrames;
  readonly #aliases = new Map<number, Alias>();
  readonly #indexOfFrame = new Map<number, number>();
  readonly #peers = new Map<number, Peer>();
  readonly #free: number[] = [];
  #next = 0;
  /** An entry is gone that held a frame: its owner has to be told. Set by the domain. */
  onPut: (frame: ForeignFrame, writable: boolean) => void = () => {
    throw new Bug("nobody takes a foreign frame back");
  };

  constructor(map: MemoryMap, caches: TranslationCaches, engine: AliasFrames) {
    this.#map = map;
    this.#caches = caches;
    this.#engine = engine;
  }

  /** Alias frames in use. */
  get count(): number {
    return this.#aliases.size;
  }

  /** Every alias frame in use, by its mfn. */
  *all(): IterableIterator<readonly [mfn: number, alias: Readonly<Alias>]> {
    for (const [index, alias] of this.#aliases) yield [this.#map.aliasMfn + index, alias];
  }

  /** Whether an alias frame stands for one of that domain. */
  refersTo(domid: number): boolean {
    return this.#peers.has(domid);
  }

  /** What an alias frame stands for. */
  get(mfn: number): ForeignFrame | undefined {
    return this.#aliases.get(mfn - this.#map.aliasMfn);
  }

  /**
   * The alias frame (mfn) for a frame that begins at byte `start` of its owner's memory `buffer`, with a handle that refers
   * to it.
   */
  refer(frame: ForeignFrame, start: number, buffer: ArrayBufferLike): number {
    const key = keyOf(frame.domid, frame.mfn);
    let index = this.#indexOfFrame.get(key);
    if (index === undefined) {
      index = this.#free.pop() ?? this.#next++;
      if (index >= this.#map.aliasFrames) throw new Bug("more alias frames than handles");
      let peer = this.#peers.get(frame.domid);
      if (peer === undefined) {
        peer = { memory: aliasMemory(buffer), frames: 0 };
        this.#peers.set(frame.domid, peer);
      }
      peer.frames++;
      const { domid, shard, mfn } = frame;
      this.#aliases.set(index, { domid, shard, mfn, entries: 0, writable: 0, handles: 0 });
      this.#indexOfFrame.set(key, index);
      this.#engine.set(index, peer.memory, start);
    }
    this.#aliases.get(index)!.handles++;
    return this.#map.aliasMfn + index;
  }

  /** A handle no longer refers to an alias frame. */
  forget(mfn: number): void {
    const alias = this.#of(mfn);
    alias.handles--;
    this.#settle(mfn, alias);
  }

  /** An L1 entry names the alias frame from now on. */
  addEntry(mfn: number, writable: boolean): void {
    const alias = this.#of(mfn);
    alias.entries++;
    if (writable) alias.writable++;
  }

  /** One does no longer; what it held is the caller's to give back. */
  removeEntry(mfn: number, writable: boolean): void {
    const alias = this.#of(mfn);
    alias.entries--;
    if (writable) alias.writable--;
    if (alias.entries === 0) this.#caches.dropAllTranslations(mfn);
    else if (writable && alias.writable === 0) this.#caches.dropWriteTranslations(mfn);
    this.#settle(mfn, alias);
  }

  /** An entry that may be an alias frame's is gone, and not by a grant operation. False when it is not. */
  putEntry(mfn: number, lo: number): boolean {
    const alias = this.#aliases.get(mfn - this.#map.aliasMfn);
    if (alias === undefined) return false;
    const writable = (lo & RW) !== 0;
    this.removeEntry(mfn, writable);
    this.onPut(alias, writable);
    return true;
  }

  #of(mfn: number): Alias {
    const alias = this.#aliases.get(mfn - this.#map.aliasMfn);
    if (alias === undefined) throw new Bug(`0x${mfn.toString(16)} is no alias frame`);
    return alias;
  }

  #settle(mfn: number, alias: Alias): void {
    if (alias.entries < 0 || alias.writable < 0 || alias.handles < 0) throw new Bug("an alias frame put twice");
    if (alias.entries > 0 || alias.handles > 0) return;
    const index = mfn - this.#map.aliasMfn;
    this.#aliases.delete(index);
    this.#indexOfFrame.delete(keyOf(alias.domid, alias.mfn));
    this.#engine.delete(index);
    this.#free.push(index);
    const peer = this.#peers.get(alias.domid)!;
    if (--peer.frames === 0) this.#peers.delete(alias.domid);
  }
}
