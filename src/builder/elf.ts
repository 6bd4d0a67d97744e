/**
 * ELF files as a loader sees them: the header, what is to be loaded, and where notes are (System V ABI, chapters 4 and 5).
 *
 * Invariant: every range an `ElfFile` names lies within the file, loadable segments do not overlap in physical memory, and none
 * wraps. Files of 32 bits are read as far as their notes, to say what they are.
 */
import { bytes, struct, type U32, type U64, u16, u32, u64, type View } from "../abi/struct.ts";
import { type BuildError, hex, refuse, refused } from "./build-error.ts";

const header = <Word extends typeof u32 | typeof u64>(word: Word) =>
  struct({
    ident: bytes(16),
    type: u16,
    machine: u16,
    version: u32,
    entry: word,
    phoff: word,
    shoff: word,
    flags: u32,
    ehsize: u16,
    phentsize: u16,
    phnum: u16,
    shentsize: u16,
    shnum: u16,
    shstrndx: u16,
  });

const section = <Word extends typeof u32 | typeof u64>(word: Word) =>
  struct({
    name: u32,
    type: u32,
    flags: word,
    addr: word,
    offset: word,
    length: word,
    link: u32,
    info: u32,
    addralign: word,
    entsize: word,
  });

const FORMATS = {
  32: {
    header: header(u32),
    section: section(u32),
    segment: struct({
      type: u32,
      offset: u32,
      vaddr: u32,
      paddr: u32,
      filesz: u32,
      memsz: u32,
      flags: u32,
      alignment: u32,
    }),
  },
  64: {
    header: header(u64),
    section: section(u64),
    segment: struct({
      type: u32,
      flags: u32,
      offset: u64,
      vaddr: u64,
      paddr: u64,
      filesz: u64,
      memsz: u64,
      alignment: u64,
    }),
  },
} as const;

const ELFCLASS = { 1: 32, 2: 64 } as const;
const ELFDATA_LSB = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const PT_LOAD = 1;
const PT_NOTE = 4;
const SHT_NOTE = 7;
const SHT_NOBITS = 8;
/** Any of execute, write, read. */
const PF_ANY = 7;

export const EM_386 = 3;
export const EM_X86_64 = 62;

const MAX_PROGRAM_HEADERS = 128;
const MAX_SECTION_HEADERS = 4096;

/** A range of the file, in bytes. */
export interface FileRange {
  readonly offset: number;
  readonly size: number;
}

/** A loadable segment: `fileSize` bytes of the file from `offset`, then zeros up to `memorySize`, at `paddr`. */
interface Segment {
  readonly offset: number;
  readonly fileSize: number;
  readonly paddr: bigint;
  readonly memorySize: bigint;
}

export interface ElfFile {
  readonly bytes: Uint8Array;
  readonly bits: 32 | 64;
  /** e_machine. */
  readonly machine: number;
  readonly entry: bigint;
  /** In order of physical address; never overlapping. */
  readonly segments: readonly Segment[];
  readonly noteSegments: readonly FileRange[];
}

export interface Section extends FileRange {
  readonly name: string;
  readonly isNote: boolean;
}

const wide = (field: U32 | U64, view: View, base: number): bigint =>
  "big" in field ? field.big(view, base) : BigInt(field.get(view, base));

export const viewOf = (file: Uint8Array): DataView => new DataView(file.buffer, file.byteOffset, file.byteLength);

export const isElf = (file: Uint8Array): boolean =>
  file.length >= 4 && file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;

/** `undefined` when [offset, offset + size) is not within the file. */
function within(file: Uint8Array, offset: bigint, size: bigint): FileRange | undefined {
  if (offset > file.length || size > file.length || offset + size > file.length) return undefined;
  return { offset: Number(offset), size: Number(size) };
}

function bitsOf(file: Uint8Array): 32 | 64 | BuildError {
  if (!isElf(file)) return refuse("not-a-kernel", "The file is not an ELF image.", 0);
  if (file.length < FORMATS[32].header.size) return refuse("truncated", "The file ends within its ELF header.", 0);
  const bits = ELFCLASS[file[4] as 1 | 2];
  if (bits === undefined) return refuse("bad-elf-header", `ELF class ${file[4]} does not exist.`, 4);
  if (file[5] !== ELFDATA_LSB) return refuse("wrong-machine", "The image is not little-endian.", 5);
  return bits;
}

/** Reads headers and segments. Sections are read by `readSections`, and only when notes are not found otherwise. */
export function readElf(file: Uint8Array): ElfFile | BuildError {
  const bits = bitsOf(file);
  if (typeof bits === "object") return bits;
  const { header: Header, segment: ProgramHeader } = FORMATS[bits];
  if (file.length < Header.size) return refuse("truncated", "The file ends within its ELF header.", 0);
  const view = viewOf(file);
  const type = Header.type.get(view, 0);
  if (type !== ET_EXEC && type !== ET_DYN) {
    return refuse("bad-elf-header", `ELF type ${type} is not an executable.`, Header.offsets.type);
  }
  const count = Header.phnum.get(view, 0);
  if (count > MAX_PROGRAM_HEADERS) {
    return refuse(
      "too-many-headers",
      `${count} program headers; ${MAX_PROGRAM_HEADERS} are allowed.`,
      Header.offsets.phnum,
    );
  }
  const stride = Header.phentsize.get(view, 0);
  if (count > 0 && stride < ProgramHeader.size) {
    return refuse("bad-elf-header", `Program headers of ${stride} bytes are too short.`, Header.offsets.phentsize);
  }
  const table = within(file, wide(Header.phoff, view, 0), BigInt(count * stride));
  if (table === undefined) {
    return refuse("truncated", "The program headers reach beyond the end of the file.", Header.offsets.phoff);
  }

  const segments: Segment[] = [];
  const noteSegments: FileRange[] = [];
  for (let i = 0; i < count; i++) {
    const base = table.offset + i * stride;
    const kind = ProgramHeader.type.get(view, base);
    if (kind === PT_LOAD) {
      const segment = readSegment(file, view, base, bits);
      if (segment === undefined) continue;
      if (refused(segment)) return segment;
      segments.push(segment);
    } else if (kind === PT_NOTE) {
      const range = within(file, wide(ProgramHeader.offset, view, base), wide(ProgramHeader.filesz, view, base));
      if (range === undefined) {
        return refuse("truncated", "A note segment reaches beyond the end of the file.", base);
      }
      noteSegments.push(range);
    }
  }
  const overlap = sortAndFindOverlap(segments);
  if (overlap !== undefined) return overlap;
  const entry = wide(Header.entry, view, 0);
  return { bytes: file, bits, machine: Header.machine.get(view, 0), entry, segments, noteSegments };
}

function readSegment(file: Uint8Array, view: View, base: number, bits: 32 | 64): Segment | BuildError | undefined {
  const { segment: ProgramHeader } = FORMATS[bits];
  const fileSize = wide(ProgramHeader.filesz, view, base);
  const memorySize = wide(ProgramHeader.memsz, view, base);
  const paddr = wide(ProgramHeader.paddr, view, base);
  if ((ProgramHeader.flags.get(view, base) & PF_ANY) === 0 || (memorySize === 0n && fileSize === 0n)) return undefined;
  if (fileSize > memorySize) {
    return refuse(
      "bad-segment",
      `A segment has ${hex(fileSize)} bytes in the file, and room for ${hex(memorySize)} in memory.`,
      base,
    );
  }
  if (paddr + memorySize > 1n << BigInt(bits)) {
    return refuse(
      "segment-wraps",
      `A segment of ${hex(memorySize)} bytes at ${hex(paddr)} wraps around the end of the address space.`,
      base,
    );
  }
  const range = within(file, wide(ProgramHeader.offset, view, base), fileSize);
  if (range === undefined) return refuse("truncated", "A segment reaches beyond the end of the file.", base);
  return { offset: range.offset, fileSize: range.size, paddr, memorySize };
}

function sortAndFindOverlap(segments: Segment[]): BuildError | undefined {
  segments.sort((a, b) => (a.paddr < b.paddr ? -1 : a.paddr > b.paddr ? 1 : 0));
  for (let i = 1; i < segments.length; i++) {
    const [before, after] = [segments[i - 1], segments[i]];
    if (before.paddr + before.memorySize > after.paddr) {
      return refuse(
        "segments-overlap",
        `Segments at ${hex(before.paddr)} and ${hex(after.paddr)} overlap.`,
        after.offset,
      );
    }
  }
  return undefined;
}

/** Sections that have bytes in the file. Names are cut at 64 characters; an image without a section table has none. */
export function readSections(elf: ElfFile): Section[] | BuildError {
  const { header: Header, section: SectionHeader } = FORMATS[elf.bits];
  const view = viewOf(elf.bytes);
  const count = Header.shnum.get(view, 0);
  const start = wide(Header.shoff, view, 0);
  if (count === 0 || start === 0n) return [];
  if (count > MAX_SECTION_HEADERS) {
    return refuse(
      "too-many-headers",
      `${count} section headers; ${MAX_SECTION_HEADERS} are allowed.`,
      Header.offsets.shnum,
    );
  }
  const stride = Header.shentsize.get(view, 0);
  if (stride < SectionHeader.size) {
    return refuse("bad-elf-header", `Section headers of ${stride} bytes are too short.`, Header.offsets.shentsize);
  }
  const table = within(elf.bytes, start, BigInt(count * stride));
  if (table === undefined) {
    return refuse("truncated", "The section headers reach beyond the end of the file.", Header.offsets.shoff);
  }
  const rangeOf = (i: number) => {
    const base = table.offset + i * stride;
    return within(elf.bytes, wide(SectionHeader.offset, view, base), wide(SectionHeader.length, view, base));
  };
  const namesIndex = Header.shstrndx.get(view, 0);
  const names = namesIndex < count ? rangeOf(namesIndex) : undefined;
  const sections: Section[] = [];
  for (let i = 0; i < count; i++) {
    const base = table.offset + i * stride;
    const type = SectionHeader.type.get(view, base);
    const range = rangeOf(i);
    if (type === 0 || type === SHT_NOBITS || range === undefined) continue;
    const name = nameAt(elf.bytes, names, SectionHeader.name.get(view, base));
    sections.push({ ...range, name, isNote: type === SHT_NOTE });
  }
  return sections;
}

function nameAt(file: Uint8Array, table: FileRange | undefined, at: number): string {
  if (table === undefined || at >= table.size) return "";
  const start = table.offset + at;
  const limit = Math.min(start + 64, table.offset + table.size);
  let end = start;
  while (end < limit && file[end] !== 0) end++;
  return String.fromCharCode(...file.subarray(start, end));
}
