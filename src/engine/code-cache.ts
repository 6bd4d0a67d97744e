/**
 * Decoded code, keyed by frame, in a bounded arena of the domain's memory (record.ts has the layouts). Records grow from the arena's bottom, line
 * tables and code pages from its top.
 *
 * Invariants:
 * - an instruction's address within its frame has at most one live record; what jumps to it, or falls into it, uses that one;
 * - a frame with live records has no write tag in any TLB (mmu.ts), so whoever writes to it poisons what it overwrites;
 * - records and tables are never reused until the whole arena is emptied, which happens only while the loop is between two instructions (in a
 *   look-up) and holds no record.
 */
import type { AliasFrames } from "./alias-frames.ts";
import type { CpuState } from "./cpu-state.ts";
import { Decoded, decode, Instruction } from "./decoder.ts";
import type { EngineExports } from "./engine.ts";
import {
  ALIAS_HOST,
  type EngineLayout,
  Header,
  PAGE_SIZE,
  type Regions,
  State,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  VCPU_BYTES,
} from "./layout.ts";
import { CodePage, LINE_TABLE_BYTES, Pseudo, RECORD_BYTES, Rec } from "./record.ts";
import { writeRecord } from "./record-writer.ts";
import { fusion, NO_HANDLER } from "./shapes.ts";
import { ALIAS } from "./tlb-entry.ts";

/** Instructions decoded in one go. */
const MAX_BLOCK = 48;
/** A look-up needs at most this much of the arena: a block, two code pages, all the lines a block may touch. */
const RESERVE = (MAX_BLOCK + 4) * RECORD_BYTES + 2 * CodePage.bytes + 16 * LINE_TABLE_BYTES;
const EXECUTE = 2;
/** Exit of the generated code that only the engine sees: the code at rip is not kept, and is to be executed an instruction at a time. */
export const UNCACHED = 64;
/** Bytes of the longest instruction, and what is fetched of one at most. */
const LONGEST = 15;

export class CodeCache {
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #i32: Int32Array;
  readonly #memory: WebAssembly.Memory;
  readonly #layout: EngineLayout;
  readonly #regions: Regions;
  readonly #exports: EngineExports;
  readonly #insn = new Instruction();
  readonly #crossing = new Uint8Array(32);
  readonly #fetched = new Uint8Array(LONGEST);
  readonly #fetchedView = new DataView(this.#fetched.buffer);
  /** Frames (relative to baseMfn) that have a code page. */
  readonly #frames: number[] = [];
  readonly #aliases: AliasFrames;
  readonly #uncached = new Set<number>();
  /** Free arena: [bottom, top). */
  #bottom: number;
  #top: number;

  constructor(
    memory: WebAssembly.Memory,
    layout: EngineLayout,
    regions: Regions,
    exports: EngineExports,
    aliases: AliasFrames,
  ) {
    this.#aliases = aliases;
    this.#memory = memory;
    this.#layout = layout;
    this.#regions = regions;
    this.#exports = exports;
    this.#u8 = new Uint8Array(memory.buffer, 0, regions.arenaEnd);
    this.#u16 = new Uint16Array(memory.buffer, 0, regions.arenaEnd / 2);
    this.#i32 = new Int32Array(memory.buffer, 0, regions.arenaEnd / 4);
    this.#bottom = regions.arena;
    this.#top = regions.arenaEnd;
  }

  get bytesUsed(): number {
    return this.#bottom - this.#regions.arena + (this.#regions.arenaEnd - this.#top);
  }
  get pages(): number {
    return this.#frames.length;
  }

  /**
   * The `decode` import: decodes at `State.jumpTarget`, whose page has an execute tag.
   * @returns the record, or 0 with a fault or UNCACHED recorded
   */
  decodeForLookup(cpu: CpuState): number {
    const vaLo = this.#i32[(cpu.address + State.jumpTarget) >> 2]!;
    if (this.#top - this.#bottom < RESERVE) {
      this.#empty();
      // The flush took the execute tag with it.
      if (this.#exports.translate(cpu.address, cpu.number(State.jumpTarget / 8), EXECUTE) === 0) return 0;
    }
    const entry = this.#entry(cpu, vaLo);
    const host = this.#hostPage(entry, vaLo);
    if (this.#isUncached(entry, host)) return this.#refuse(cpu);
    const page = this.#codePage(entry, host);
    return this.#decodeBlock(cpu, host, page, vaLo & (PAGE_SIZE - 1));
  }

  /**
   * Decodes the instruction at rip alone, into the vCPU's step records.
   * @returns the record, or 0 with a fault recorded
   */
  decodeStep(cpu: CpuState): number {
    const rip = cpu.va(State.rip / 8);
    const offset = cpu.lo(State.rip / 8) & (PAGE_SIZE - 1);
    const host = this.#exports.translate(cpu.address, rip, EXECUTE) >>> 0;
    if (host === 0) return 0;
    const insn = this.#insn;
    const bytes = this.#fetched;
    const inPage = Math.min(LONGEST, PAGE_SIZE - offset);
    this.#fetch(cpu, host, 0, inPage);
    let result = decode(bytes, 0, inPage, insn);
    if (result === Decoded.truncated && inPage < LONGEST) {
      const second = this.#exports.translate(cpu.address, rip + inPage, EXECUTE) >>> 0;
      if (second === 0) return 0;
      this.#fetch(cpu, second, inPage, LONGEST - inPage);
      result = decode(bytes, 0, LONGEST, insn);
    }
    const s = cpu.address >> 2;
    const pageLo = cpu.lo(State.rip / 8) & -PAGE_SIZE;
    this.#i32[s + State.vpage / 4] = pageLo;
    this.#i32[s + State.vpage / 4 + 1] = cpu.hi(State.rip / 8);
    const record = cpu.address + State.step;
    writeRecord(this.#u8, this.#u16, this.#i32, record, offset, insn, result);
    this.#pseudo(record + RECORD_BYTES, Pseudo.stop, offset + insn.length, 0);
    return record;
  }

  /** Code bytes at a host address of `translate` (ALIAS_HOST too), to `at` of what is fetched. */
  #fetch(cpu: CpuState, host: number, at: number, length: number): void {
    if (host !== ALIAS_HOST) {
      this.#fetched.set(new Uint8Array(this.#memory.buffer, host, length), at);
      return;
    }
    const address = this.#i32[(cpu.address + State.aliasAddress) >> 2]! >>> 0;
    this.#aliases.read(address, this.#fetchedView, at, length);
  }

  /** Keeps code of a frame (relative to baseMfn) no longer, or again. No TLB has a translation of it. */
  setUncached(frame: number, uncached: boolean): void {
    const slot = (this.#regions.frameTable >> 2) + frame;
    if (uncached) {
      if (this.#i32[slot] !== 0 && !this.#uncached.has(frame)) this.#frames.splice(this.#frames.indexOf(frame), 1);
      this.#uncached.add(frame);
      this.#i32[slot] = Header.uncachedPage;
    } else if (this.#uncached.delete(frame)) {
      this.#i32[slot] = 0;
    }
  }
  #isUncached(entry: number, host: number): boolean {
    if ((this.#i32[entry]! & Number(ALIAS)) !== 0) return true;
    const frame = (host - this.#layout.ramOffset) / PAGE_SIZE;
    return this.#i32[(this.#regions.frameTable >> 2) + frame] === Header.uncachedPage;
  }
  #refuse(cpu: CpuState): number {
    this.#i32[(cpu.address + State.exitKind) >> 2] = UNCACHED;
    return 0;
  }

  /** Empties the arena. Only between instructions. */
  #empty(): void {
    for (const frame of this.#frames) this.#i32[(this.#regions.frameTable >> 2) + frame] = 0;
    this.#frames.length = 0;
    this.#bottom = this.#regions.arena;
    this.#top = this.#regions.arenaEnd;
    for (let s = this.#regions.vcpus; s < this.#regions.frameTable; s += VCPU_BYTES) {
      this.#exports.flush(s);
      this.#i32[(s + State.linkFrom) >> 2] = 0;
    }
  }

  /** Index (in words) of the TLB entry of va in the vCPU's active TLB. */
  #entry(cpu: CpuState, vaLo: number): number {
    const tlb = this.#i32[(cpu.address + State.tlb) >> 2]!;
    return (tlb + ((vaLo >>> 7) & ((TLB_ENTRIES - 1) * TLB_ENTRY_BYTES))) >> 2;
  }
  #hostPage(entry: number, vaLo: number): number {
    return ((vaLo & -PAGE_SIZE) + this.#i32[entry + 6]!) >>> 0;
  }

  /** The code page of the frame at `host`, made if need be, and noted in the TLB entry. From here on nothing writes to the frame unseen. */
  #codePage(entry: number, host: number): number {
    const frame = (host - this.#layout.ramOffset) / PAGE_SIZE;
    const slot = (this.#regions.frameTable >> 2) + frame;
    let page = this.#i32[slot]!;
    if (page === 0) {
      page = this.#table(CodePage.bytes);
      this.#i32.fill(Header.nullLine, page >> 2, (page >> 2) + 64);
      this.#i32[slot] = page;
      this.#frames.push(frame);
    }
    if (this.#i32[(page + CodePage.lines) >> 2] === 0 && this.#i32[(page + CodePage.crossRecord) >> 2] === 0)
      this.#exports.dropFrame(host, 0);
    this.#i32[entry + 7] = page;
    return page;
  }
  /** Zeroed bytes from the arena's top. */
  #table(bytes: number): number {
    this.#top -= bytes;
    this.#i32.fill(0, this.#top >> 2, (this.#top + bytes) >> 2);
    return this.#top;
  }
  #record(): number {
    const at = this.#bottom;
    this.#bottom += RECORD_BYTES;
    return at;
  }

  #decodeBlock(cpu: CpuState, host: number, page: number, start: number): number {
    const bytes = new Uint8Array(this.#memory.buffer, host, PAGE_SIZE);
    const first = this.#bottom;
    const insn = this.#insn;
    let offset = start;
    /** The record before this one, when it is of the same run. */
    let previous = 0;
    for (let count = 0; ; count++) {
      if (count > 0) {
        // Falls into what is decoded already?
        const known = this.#recordAt(page, offset);
        if (known !== 0 || count === MAX_BLOCK) {
          this.#pseudo(this.#record(), Pseudo.goto, offset, known);
          return first;
        }
      }
      const result = decode(bytes, offset, PAGE_SIZE, insn);
      if (result === Decoded.truncated) {
        if (count === 0) return this.#decodeCrossing(cpu, host, page, offset);
        // Only its own look-up decodes an instruction that crosses pages: the second page may be missing.
        this.#pseudo(this.#record(), Pseudo.goto, offset, 0);
        return first;
      }
      const at = this.#record();
      const goesOn = writeRecord(this.#u8, this.#u16, this.#i32, at, offset, insn, result);
      this.#register(page, offset, at);
      if (previous !== 0) this.#fuse(previous, at);
      previous = at;
      if (!goesOn) return first;
      offset += insn.length;
      if (offset >= PAGE_SIZE) {
        this.#pseudo(this.#record(), Pseudo.nextPage, offset, 0);
        return first;
      }
    }
  }

  /**
   * Lets the first of two records do both when the second is a conditional branch it can take over. The second stays as it is for what jumps to it.
   * Whoever overwrites a byte of the pair poisons the first too, as they are shorter together than one instruction may be.
   */
  #fuse(first: number, second: number): void {
    if (this.#u8[first + Rec.length]! + this.#u8[second + Rec.length]! > 15) return;
    const handler = fusion(this.#u16[first >> 1]!, this.#u16[second >> 1]!);
    if (handler !== NO_HANDLER) this.#u16[first >> 1] = handler;
  }

  /**
   * An instruction that goes on in the next page: a `cross` record that checks the second page, then the instruction, then a look-up. The second
   * page's code page knows of it, so a write to either page poisons it.
   */
  #decodeCrossing(cpu: CpuState, host: number, page: number, offset: number): number {
    const s = cpu.address >> 2;
    const nextLo = (this.#i32[s + State.vpage / 4]! + PAGE_SIZE) | 0;
    const second = this.#exports.translate(cpu.address, cpu.number(State.vpage / 8) + PAGE_SIZE, EXECUTE) >>> 0;
    if (second === 0) return 0;
    const secondEntry = this.#entry(cpu, nextLo);
    if (second === ALIAS_HOST || this.#isUncached(secondEntry, second)) return this.#refuse(cpu);
    const secondPage = this.#codePage(secondEntry, second);
    const result = this.#decodeAcross(host, second, offset);
    const cross = this.#record();
    this.#pseudo(cross, Pseudo.cross, offset, secondPage);
    const insn = this.#insn;
    const at = this.#record();
    writeRecord(this.#u8, this.#u16, this.#i32, at, offset, insn, result);
    this.#pseudo(this.#record(), Pseudo.nextPage, offset + insn.length, 0);
    const slot = this.#register(page, offset, cross);
    const known = this.#i32[(secondPage + CodePage.crossRecord) >> 2]!;
    if (known !== 0) {
      const knownSlot = this.#i32[(secondPage + CodePage.crossSlot) >> 2]!;
      this.#u16[(known + Rec.handler) >> 1] = Pseudo.lookup;
      if (this.#i32[knownSlot >> 2] === known) this.#i32[knownSlot >> 2] = 0;
    }
    this.#i32[(secondPage + CodePage.crossRecord) >> 2] = cross;
    this.#i32[(secondPage + CodePage.crossSlot) >> 2] = slot;
    return cross;
  }
  #decodeAcross(host: number, second: number, offset: number): Decoded {
    const bytes = this.#crossing;
    const n = PAGE_SIZE - offset;
    bytes.set(new Uint8Array(this.#memory.buffer, host + offset, n));
    bytes.set(new Uint8Array(this.#memory.buffer, second, bytes.length - n), n);
    return decode(bytes, 0, bytes.length, this.#insn);
  }

  /** Record at an offset of a page, or 0. */
  #recordAt(page: number, offset: number): number {
    const line = this.#i32[(page >> 2) + (offset >> 6)]!;
    return this.#i32[(line >> 2) + (offset & 63)]!;
  }
  /** Makes a record the one of its address. Returns the address of the slot that points to it. */
  #register(page: number, offset: number, record: number): number {
    const at = (page >> 2) + (offset >> 6);
    let line = this.#i32[at]!;
    if (line === Header.nullLine) {
      line = this.#table(LINE_TABLE_BYTES);
      this.#i32[at] = line;
      const lines = (page + CodePage.lines) >> 2;
      this.#i32[lines] = this.#i32[lines]! + 1;
    }
    const slot = line + (offset & 63) * 4;
    this.#i32[slot >> 2] = record;
    return slot;
  }
  #pseudo(at: number, handler: number, offset: number, link: number): void {
    this.#u16[(at + Rec.handler) >> 1] = handler;
    this.#u16[(at + Rec.offset) >> 1] = offset;
    this.#u8[at + Rec.length] = 0;
    this.#u8[at + Rec.flags] = 0;
    this.#i32[(at + Rec.link) >> 2] = link;
  }
}
