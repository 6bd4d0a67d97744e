/** Small kernels for tests: an ELF image with Xen's notes, every part of it changeable. */
import { ELFNOTE } from "../../src/abi/elfnote.ts";

interface TestSegment {
  paddr: bigint;
  data?: Uint8Array;
  memsz?: bigint;
  flags?: number;
  /** Overrides what the file really holds. */
  filesz?: bigint;
  offset?: bigint;
}

export type TestNote = readonly [type: number, desc: Uint8Array, owner?: string];

export interface TestKernel {
  machine?: number;
  type?: number;
  entry?: bigint;
  segments?: readonly TestSegment[];
  notes?: readonly TestNote[];
  /** Where notes are: in a PT_NOTE segment, in a SHT_NOTE section, or as text in a __xen_guest section. */
  placement?: "segment" | "section";
  legacy?: string;
}

export const number = (value: bigint, bytes = 8): Uint8Array => {
  const desc = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i++) desc[i] = Number((value >> BigInt(8 * i)) & 0xffn);
  return desc;
};
export const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);

/** Notes of a kernel that is at home here. */
export const pvNotes = (more: readonly TestNote[] = []): TestNote[] => [
  [ELFNOTE.guestOs, text("test")],
  [ELFNOTE.loader, text("generic")],
  [ELFNOTE.xenVersion, text("xen-3.0")],
  ...more,
];

const EHDR = 64;
const PHDR = 56;
const SHDR = 64;
const align = (value: number, to: number) => Math.ceil(value / to) * to;

function noteBytes(notes: readonly TestNote[]): Uint8Array {
  const parts: number[] = [];
  const pad = () => {
    while (parts.length % 4 !== 0) parts.push(0);
  };
  for (const [type, desc, owner = "Xen"] of notes) {
    const name = text(owner);
    for (const word of [name.length, desc.length, type]) parts.push(...number(BigInt(word), 4));
    parts.push(...name);
    pad();
    parts.push(...desc);
    pad();
  }
  return new Uint8Array(parts);
}

/** An ELF64 image: header, program headers, sections, then the contents of segments at page offsets. */
export function makeKernel(kernel: TestKernel = {}): Uint8Array {
  const segments = kernel.segments ?? [{ paddr: 0x1000n, data: new Uint8Array(4096).fill(0x90) }];
  const notes = noteBytes(kernel.notes ?? pvNotes());
  const placement = kernel.legacy === undefined ? (kernel.placement ?? "segment") : "section";
  const phnum = segments.length + (placement === "segment" ? 1 : 0);
  const names = text("\0.shstrtab\0__xen_guest\0.note");
  const extra = kernel.legacy === undefined ? notes : text(kernel.legacy);
  const sectionsAt = align(EHDR + phnum * PHDR, 8);
  const namesAt = sectionsAt + 3 * SHDR;
  const extraAt = align(namesAt + names.length, 4);
  let end = align(extraAt + extra.length, 4096);
  const offsets = segments.map(({ data }) => {
    const offset = end;
    end = align(end + (data?.length ?? 0), 4096);
    return offset;
  });

  const file = new Uint8Array(end);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, kernel.type ?? 2, true);
  view.setUint16(18, kernel.machine ?? 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, kernel.entry ?? segments[0]?.paddr ?? 0n, true);
  view.setBigUint64(32, BigInt(EHDR), true);
  view.setBigUint64(40, BigInt(sectionsAt), true);
  view.setUint16(52, EHDR, true);
  view.setUint16(54, PHDR, true);
  view.setUint16(56, phnum, true);
  view.setUint16(58, SHDR, true);
  view.setUint16(60, 3, true);
  view.setUint16(62, 1, true);

  const phdr = (i: number, type: number, flags: number, words: readonly bigint[]) => {
    const at = EHDR + i * PHDR;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    words.forEach((word, n) => {
      view.setBigUint64(at + 8 + n * 8, BigInt.asUintN(64, word), true);
    });
  };
  segments.forEach(({ paddr, data, memsz, flags, filesz, offset }, i) => {
    const size = filesz ?? BigInt(data?.length ?? 0);
    phdr(i, 1, flags ?? 7, [offset ?? BigInt(offsets[i]), paddr, paddr, size, memsz ?? size, 0x1000n]);
    if (data !== undefined) file.set(data, offsets[i]);
  });
  if (placement === "segment") {
    phdr(segments.length, 4, 4, [BigInt(extraAt), 0n, 0n, BigInt(extra.length), 0n, 4n]);
  }

  const shdr = (i: number, name: number, type: number, offset: number, size: number) => {
    const at = sectionsAt + i * SHDR;
    view.setUint32(at, name, true);
    view.setUint32(at + 4, type, true);
    view.setBigUint64(at + 24, BigInt(offset), true);
    view.setBigUint64(at + 32, BigInt(size), true);
  };
  shdr(1, 1, 3, namesAt, names.length);
  file.set(names, namesAt);
  if (placement === "section") {
    const isLegacy = kernel.legacy !== undefined;
    shdr(2, isLegacy ? 11 : 23, isLegacy ? 1 : 7, extraAt, extra.length);
  }
  file.set(extra, extraAt);
  return file;
}
