/**
 * Guest memory as the hypervisor reads and writes it: through the page tables of the vCPU that asked, never around them.
 *
 * Nothing here throws for anything a guest did: an address that does not translate, or lies in the hypervisor's range, is a `false`
 * or -1, which callers answer with -EFAULT. A copy that fails half way has copied what lies before the fault.
 */
import { HYPERVISOR_VIRT_END } from "../../abi/arch-x86-64.ts";
import { ALIAS_BASE, type AliasFrames } from "../../engine/alias-frames.ts";
import type { MemoryMap } from "./memory-map.ts";
import { PAGE_SIZE } from "./memory-map.ts";
import type { TranslationCaches } from "./translation-caches.ts";

const PAGE_MASK = PAGE_SIZE - 1;
/** End of the lower half of the address space. */
const LOW_END = 0x8000_0000_0000;
/** Copies up to this many bytes go word by word; a call into the runtime costs more. */
const SMALL = 64;

/** Whether a guest may hand this address to a hypercall: canonical, and not the hypervisor's own range, where the upper half begins. */
export function accessOk(va: number): boolean {
  return va >= HYPERVISOR_VIRT_END && va < LOW_END;
}

export class GuestMemory {
  readonly buffer: ArrayBufferLike;
  /** The whole linear memory. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly #caches: TranslationCaches;
  readonly #aliases: AliasFrames;
  readonly #ramOffset: number;
  readonly #baseMfn: number;
  readonly #totalFrames: number;

  constructor(buffer: ArrayBufferLike, map: MemoryMap, caches: TranslationCaches, aliases: AliasFrames) {
    this.#aliases = aliases;
    this.buffer = buffer;
    this.bytes = new Uint8Array(buffer);
    this.words = new Int32Array(buffer);
    this.#caches = caches;
    this.#ramOffset = map.ramOffset;
    this.#baseMfn = map.baseMfn;
    this.#totalFrames = map.totalFrames;
  }

  /** Byte offset of a frame in linear memory; -1 for a frame without memory. */
  hostOffset(mfn: number): number {
    const index = mfn - this.#baseMfn;
    return index >= 0 && index < this.#totalFrames ? this.#ramOffset + index * PAGE_SIZE : -1;
  }

  /** The frame that a byte offset of linear memory lies in. */
  mfnAt(offset: number): number {
    return this.#baseMfn + Math.floor((offset - this.#ramOffset) / PAGE_SIZE);
  }

  /** Byte offset of what the vCPU reads at `va`, or ALIAS_BASE + its alias address; -1 when it may not. Good up to the end of that page. */
  offsetForRead(vcpu: number, va: number): number {
    return accessOk(va) ? this.#caches.translate(vcpu, va, "read") : -1;
  }

  /** As `offsetForRead`, for a write that follows at once: decoded code of the frame is forgotten. */
  offsetForWrite(vcpu: number, va: number): number {
    if (!accessOk(va)) return -1;
    const offset = this.#caches.translate(vcpu, va, "write");
    if (offset >= 0 && offset < ALIAS_BASE) this.#caches.invalidateCode(this.mfnAt(offset));
    return offset;
  }

  /** Fills `into` from `va` on. False at the first byte that cannot be read. */
  copyFromGuest(vcpu: number, va: number, into: Uint8Array): boolean {
    for (let done = 0; done < into.length; ) {
      const offset = this.offsetForRead(vcpu, va + done);
      if (offset < 0) return false;
      const length = Math.min(into.length - done, PAGE_SIZE - (offset & PAGE_MASK));
      if (offset >= ALIAS_BASE) this.#aliases.read(offset - ALIAS_BASE, viewOf(into), done, length);
      else if (length <= SMALL && ((offset | length) & 3) === 0) this.#readWords(offset >>> 2, into, done, length);
      else into.set(this.bytes.subarray(offset, offset + length), done);
      done += length;
    }
    return true;
  }

  /** Writes `from` at `va`. False at the first byte that cannot be written; what lies before it is written. */
  copyToGuest(vcpu: number, va: number, from: Uint8Array): boolean {
    for (let done = 0; done < from.length; ) {
      const offset = this.offsetForWrite(vcpu, va + done);
      if (offset < 0) return false;
      const length = Math.min(from.length - done, PAGE_SIZE - (offset & PAGE_MASK));
      if (offset >= ALIAS_BASE) this.#aliases.write(offset - ALIAS_BASE, viewOf(from), done, length);
      else this.bytes.set(length === from.length ? from : from.subarray(done, done + length), offset);
      done += length;
    }
    return true;
  }

  #readWords(word: number, into: Uint8Array, at: number, length: number): void {
    for (let i = 0; i < length; i += 4) {
      const value = this.words[word + (i >> 2)]!;
      into[at + i] = value;
      into[at + i + 1] = value >> 8;
      into[at + i + 2] = value >> 16;
      into[at + i + 3] = value >> 24;
    }
  }

  /** Writes a number of up to 2^53 as 8 bytes. */
  writeU64(vcpu: number, va: number, value: number): boolean {
    eightView.setUint32(0, value, true);
    eightView.setUint32(4, Math.floor(value / 0x1_0000_0000), true);
    return this.copyToGuest(vcpu, va, eight);
  }

  /** Reads 8 bytes as an unsigned number, rounded above 2^53; -1 when they cannot be read. */
  readU64(vcpu: number, va: number): number {
    if (!this.copyFromGuest(vcpu, va, eight)) return -1;
    return eightView.getUint32(4, true) * 0x1_0000_0000 + eightView.getUint32(0, true);
  }

  /** Writes 4 bytes. */
  writeU32(vcpu: number, va: number, value: number): boolean {
    fourView.setUint32(0, value, true);
    return this.copyToGuest(vcpu, va, four);
  }

  /** Reads 4 bytes as an unsigned number; -1 when they cannot be read. */
  readU32(vcpu: number, va: number): number {
    return this.copyFromGuest(vcpu, va, four) ? fourView.getUint32(0, true) : -1;
  }

  /** Fills a frame with zeros. */
  clearFrame(mfn: number): void {
    const word = this.hostOffset(mfn) >>> 2;
    this.words.fill(0, word, word + PAGE_SIZE / 4);
    this.#caches.invalidateCode(mfn);
  }

  copyFrame(toMfn: number, fromMfn: number): void {
    const from = this.hostOffset(fromMfn) >>> 2;
    this.words.copyWithin(this.hostOffset(toMfn) >>> 2, from, from + PAGE_SIZE / 4);
    this.#caches.invalidateCode(toMfn);
  }
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength);

const eight = new Uint8Array(8);
const eightView = new DataView(eight.buffer);
const four = new Uint8Array(4);
const fourView = new DataView(four.buffer);
