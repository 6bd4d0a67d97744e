/**
 * What a kernel says of itself to Xen: ELF notes (xen/elfnote.h) in note segments or sections, or the older `__xen_guest`
 * section, a string of NAME=VALUE pairs.
 */
import { ELFNOTE } from "../abi/elfnote.ts";
import { XENFEAT_NAMES } from "../abi/features.ts";
import { struct, u32 } from "../abi/struct.ts";
import { type BuildError, hex, quoted, refuse, refused } from "./build-error.ts";
import { type ElfFile, type FileRange, readSections, viewOf } from "./elf.ts";

/** Numbers are as in the note: addresses are unsigned 64-bit. Absent notes are absent. */
export interface KernelNotes {
  entry?: bigint;
  /** Virtual address; in a legacy section a frame number counted from `virtBase` (`hypercallPageFrame`). */
  hypercallPage?: bigint;
  hypercallPageFrame?: bigint;
  virtBase?: bigint;
  paddrOffset?: bigint;
  xenVersion?: string;
  guestOs?: string;
  guestVersion?: string;
  loader?: string;
  paeMode?: string;
  /** Feature bits that the kernel cannot do without. */
  requiredFeatures: number;
  /** Feature bits that the kernel can make use of. */
  supportedFeatures: number;
  hvStartLow?: bigint;
  suspendCancel?: bigint;
  initP2m?: bigint;
  modStartPfn?: bigint;
  phys32Entry?: bigint;
  /** PADDR_OFFSET defaults to 0 with notes, to VIRT_BASE in a legacy section. */
  legacy: boolean;
}

const NoteHeader = struct({ nameSize: u32, descSize: u32, type: u32 });
/** Kernels have a few hundred bytes of notes; a debug build some KiB. */
const MAX_NOTE_BYTES = 1 << 20;
const MAX_TEXT = 64;
const MAX_FEATURES_TEXT = 1024;
const LEGACY_SECTION = "__xen_guest";

type NumberNote =
  | "entry"
  | "hypercallPage"
  | "virtBase"
  | "paddrOffset"
  | "hvStartLow"
  | "suspendCancel"
  | "initP2m"
  | "modStartPfn"
  | "phys32Entry";
type TextNote = "xenVersion" | "guestOs" | "guestVersion" | "loader" | "paeMode";

const NUMBER_NOTES: ReadonlyMap<number, NumberNote> = new Map([
  [ELFNOTE.entry, "entry"],
  [ELFNOTE.hypercallPage, "hypercallPage"],
  [ELFNOTE.virtBase, "virtBase"],
  [ELFNOTE.paddrOffset, "paddrOffset"],
  [ELFNOTE.hvStartLow, "hvStartLow"],
  [ELFNOTE.suspendCancel, "suspendCancel"],
  [ELFNOTE.initP2m, "initP2m"],
  [ELFNOTE.modStartPfn, "modStartPfn"],
  [ELFNOTE.phys32Entry, "phys32Entry"],
]);
const TEXT_NOTES: ReadonlyMap<number, TextNote> = new Map([
  [ELFNOTE.xenVersion, "xenVersion"],
  [ELFNOTE.guestOs, "guestOs"],
  [ELFNOTE.guestVersion, "guestVersion"],
  [ELFNOTE.loader, "loader"],
  [ELFNOTE.paeMode, "paeMode"],
]);
const LEGACY_NUMBERS: ReadonlyMap<string, NumberNote | "hypercallPageFrame"> = new Map([
  ["VIRT_BASE", "virtBase"],
  ["VIRT_ENTRY", "entry"],
  ["ELF_PADDR_OFFSET", "paddrOffset"],
  ["HYPERCALL_PAGE", "hypercallPageFrame"],
]);
const LEGACY_TEXTS: ReadonlyMap<string, TextNote> = new Map([
  ["XEN_VER", "xenVersion"],
  ["GUEST_OS", "guestOs"],
  ["GUEST_VER", "guestVersion"],
  ["LOADER", "loader"],
  ["PAE", "paeMode"],
]);

/** Notes of segments; without any, of sections; without any, the legacy section; without that, `undefined`. */
export function readKernelNotes(elf: ElfFile): KernelNotes | BuildError | undefined {
  const notes: KernelNotes = { requiredFeatures: 0, supportedFeatures: 0, legacy: false };
  const fromSegments = readAll(elf, elf.noteSegments, notes);
  if (typeof fromSegments === "object") return fromSegments;
  if (fromSegments > 0) return notes;

  const sections = readSections(elf);
  if (refused(sections)) return sections;
  const fromSections = readAll(
    elf,
    sections.filter((section) => section.isNote),
    notes,
  );
  if (typeof fromSections === "object") return fromSections;
  if (fromSections > 0) return notes;

  const legacy = sections.find((section) => section.name === LEGACY_SECTION);
  return legacy === undefined ? undefined : readLegacy(elf, legacy, notes);
}

/** How many of Xen's notes the ranges hold. */
function readAll(elf: ElfFile, ranges: readonly FileRange[], notes: KernelNotes): number | BuildError {
  let budget = MAX_NOTE_BYTES;
  let found = 0;
  for (const range of ranges) {
    budget -= range.size;
    if (budget < 0)
      return refuse("too-many-headers", `The image has more than ${MAX_NOTE_BYTES} bytes of notes.`, range.offset);
    const count = readRange(elf, range, notes);
    if (typeof count === "object") return count;
    found += count;
  }
  return found;
}

const padded = (size: number) => Math.ceil(size / 4) * 4;

function readRange(elf: ElfFile, range: FileRange, notes: KernelNotes): number | BuildError {
  const view = viewOf(elf.bytes);
  const end = range.offset + range.size;
  let found = 0;
  for (let at = range.offset; at + NoteHeader.size <= end; ) {
    const nameSize = NoteHeader.nameSize.get(view, at);
    const descSize = NoteHeader.descSize.get(view, at);
    const type = NoteHeader.type.get(view, at);
    const name = at + NoteHeader.size;
    const desc = name + padded(nameSize);
    if (desc > end) return refuse("truncated", "A note reaches beyond its segment.", at);
    // GRUB's 32-bit image ends in a text note that claims more than it has; Xen takes what is there.
    const present = Math.min(descSize, end - desc);
    if (nameSize === 4 && textAt(elf.bytes, name, 4) === "Xen") {
      const fault = readNote(elf.bytes, type, { offset: desc, size: present }, notes);
      if (fault !== undefined) return fault;
      found++;
    }
    at = desc + padded(descSize);
  }
  return found;
}

function readNote(file: Uint8Array, type: number, desc: FileRange, notes: KernelNotes): BuildError | undefined {
  const numberNote = NUMBER_NOTES.get(type);
  if (numberNote !== undefined || type === ELFNOTE.supportedFeatures) {
    const value = numberAt(file, desc);
    if (value === undefined) {
      return refuse(
        "bad-note",
        `Xen note ${type} must be a number of 1, 2, 4 or 8 bytes, not ${desc.size}.`,
        desc.offset,
      );
    }
    if (numberNote !== undefined) notes[numberNote] = value;
    else notes.supportedFeatures |= Number(value & 0xffff_ffffn);
    return undefined;
  }
  const textNote = TEXT_NOTES.get(type);
  if (textNote !== undefined) notes[textNote] = textAt(file, desc.offset, Math.min(desc.size, MAX_TEXT));
  if (type === ELFNOTE.features) {
    return readFeatures(textAt(file, desc.offset, Math.min(desc.size, MAX_FEATURES_TEXT)), desc.offset, notes);
  }
  return undefined;
}

function numberAt(file: Uint8Array, { offset, size }: FileRange): bigint | undefined {
  if (size !== 1 && size !== 2 && size !== 4 && size !== 8) return undefined;
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(file[offset + i]);
  return value;
}

function textAt(file: Uint8Array, offset: number, size: number): string {
  let end = offset;
  while (end < offset + size && file[end] !== 0) end++;
  return String.fromCharCode(...file.subarray(offset, end));
}

/** "!name|name": a `!` marks what the kernel cannot do without. Unknown optional features are passed over, as Xen does. */
function readFeatures(list: string, offset: number, notes: KernelNotes): BuildError | undefined {
  for (const item of list.split("|")) {
    const required = item.startsWith("!");
    const name = required ? item.slice(1) : item;
    const bit = XENFEAT_NAMES.get(name);
    if (bit !== undefined) {
      notes.supportedFeatures |= 1 << bit;
      if (required) notes.requiredFeatures |= 1 << bit;
    } else if (required) {
      return refuse("feature-not-supported", `The kernel requires the unknown feature ${quoted(name)}.`, offset);
    }
  }
  return undefined;
}

function readLegacy(elf: ElfFile, section: FileRange, notes: KernelNotes): KernelNotes | BuildError {
  notes.legacy = true;
  const text = textAt(elf.bytes, section.offset, Math.min(section.size, MAX_FEATURES_TEXT));
  for (const pair of text.split(",")) {
    const [name, value = ""] = pair.split("=", 2).map((part) => part.trim());
    const textNote = LEGACY_TEXTS.get(name);
    if (textNote !== undefined) notes[textNote] = value.slice(0, MAX_TEXT);
    const numberNote = LEGACY_NUMBERS.get(name);
    if (numberNote !== undefined) {
      if (!/^(0x[0-9a-fA-F]{1,16}|[0-9]{1,19})$/.test(value)) {
        return refuse("bad-note", `${name}=${quoted(value)} in ${LEGACY_SECTION} is not a number.`, section.offset);
      }
      notes[numberNote] = BigInt.asUintN(64, BigInt(value));
    }
    if (name === "FEATURES") {
      const fault = readFeatures(value, section.offset, notes);
      if (fault !== undefined) return fault;
    }
  }
  return notes;
}

/** Notes as plain text, for people and JSON. */
export function describeNotes(notes: KernelNotes): Record<string, string> {
  const described: Record<string, string> = {};
  for (const [name, value] of Object.entries(notes)) {
    if (typeof value === "bigint") described[name] = hex(value);
    else if (typeof value === "string") described[name] = value;
    else if (typeof value === "number" && value !== 0) described[name] = hex(value >>> 0);
  }
  return described;
}
