/**
 * A kernel as the boot layout needs it: unpacked, its notes read and accepted, its addresses computed and checked.
 *
 * Invariant of a `KernelImage`: every segment lies within [start, end), offsets from `virtBase` in bytes; start is page aligned;
 * entry and hypercall page are inside; `virtBase` is canonical and page aligned. Pseudo-physical address 0 stands at `virtBase`.
 */
import { XENFEAT } from "../abi/features.ts";
import { PAGE_SIZE } from "../abi/xen.ts";
import { type BuildError, hex, quoted, refuse, refused } from "./build-error.ts";
import { type ElfFile, EM_386, EM_X86_64, readElf } from "./elf.ts";
import { describeNotes, type KernelNotes, readKernelNotes } from "./kernel-notes.ts";
import { type KernelWrapping, unwrapKernel } from "./unwrap-kernel.ts";

interface ImageSegment {
  /** In `KernelImage.elf`, bytes. */
  readonly fileOffset: number;
  readonly fileSize: number;
  /** From `virtBase`, bytes; the same as from pseudo-physical address 0. */
  readonly imageOffset: number;
}

export interface KernelImage {
  readonly elf: Uint8Array;
  readonly wrapping: KernelWrapping;
  readonly notes: KernelNotes;
  readonly virtBase: bigint;
  readonly entry: bigint;
  readonly start: number;
  readonly end: number;
  readonly segments: readonly ImageSegment[];
  /** Frame to fill with the hypercall page. */
  readonly hypercallPfn?: number;
  /** Where the kernel wants its P2M, outside of the boot region. */
  readonly initP2m?: bigint;
  /** The kernel takes its ramdisk by frame number, unmapped. */
  readonly modStartPfn: boolean;
}

/** No domain is larger than this, so no image is. */
const MAX_IMAGE_BYTES = 2 ** 32;
const PAGE = BigInt(PAGE_SIZE);

/** What a PV guest may require and never gets here. */
const REFUSED_FEATURES: readonly (readonly [bit: number, name: string])[] = [
  [XENFEAT.autoTranslatedPhysmap, "auto_translated_physmap"],
  [XENFEAT.supervisorModeKernel, "supervisor_mode_kernel"],
  [XENFEAT.dom0, "dom0"],
];

export function readKernelImage(file: Uint8Array): KernelImage | BuildError {
  const unwrapped = unwrapKernel(file);
  if (refused(unwrapped)) return unwrapped;
  const elf = readElf(unwrapped.elf);
  if (refused(elf)) return elf;
  const notes = readKernelNotes(elf);
  if (notes !== undefined && refused(notes)) return notes;
  const objection = objectionTo(elf, notes);
  if (objection !== undefined) return objection;
  return addressImage(elf, notes as KernelNotes, unwrapped.wrapping);
}

/** Is it a kernel that a 64-bit PV domain can run? */
function objectionTo(elf: ElfFile, notes: KernelNotes | undefined): BuildError | undefined {
  if (elf.machine !== EM_X86_64 && elf.machine !== EM_386) {
    return refuse("wrong-machine", `The image is for ELF machine ${elf.machine}, not for x86-64.`);
  }
  if (notes?.phys32Entry !== undefined && notes.xenVersion === undefined) {
    return refuse("pvh-only", "The kernel can be started as a PVH guest only (PHYS32_ENTRY); PV kernels run here.");
  }
  if (elf.bits === 32 || elf.machine === EM_386) {
    const mode = notes?.paeMode === undefined ? "" : ` (PAE_MODE ${quoted(notes.paeMode)})`;
    return refuse("32-bit-kernel", `This is a 32-bit x86 kernel${mode}; 64-bit PV kernels run here.`);
  }
  if (notes === undefined) {
    return refuse("not-a-xen-kernel", "The image has neither Xen's ELF notes nor a __xen_guest section.");
  }
  if (notes.xenVersion !== "xen-3.0") {
    return refuse("wrong-xen-version", `The kernel is made for ${quoted(notes.xenVersion ?? "")}, not for "xen-3.0".`);
  }
  if (!notes.loader?.startsWith("generic") && !notes.guestOs?.startsWith("linux")) {
    return refuse(
      "wrong-loader",
      `The kernel wants the loader ${quoted(notes.loader ?? "")}; "generic" is what there is.`,
    );
  }
  const impossible = REFUSED_FEATURES.find(([bit]) => ((notes.requiredFeatures >>> bit) & 1) === 1);
  if (impossible !== undefined) {
    return refuse("feature-not-supported", `The kernel requires ${impossible[1]}, which a PV domain does not have.`);
  }
  return undefined;
}

function addressImage(elf: ElfFile, notes: KernelNotes, wrapping: KernelWrapping): KernelImage | BuildError {
  if (elf.segments.length === 0) return refuse("no-loadable-segment", "The image has nothing to load.");
  if (notes.paddrOffset !== undefined && notes.virtBase === undefined) {
    return refuse("bad-note", "PADDR_OFFSET is given without VIRT_BASE.");
  }
  const virtBase = notes.virtBase ?? 0n;
  const paddrOffset = notes.paddrOffset ?? (notes.legacy ? virtBase : 0n);
  if (virtBase % PAGE !== 0n) {
    return refuse("kernel-misaligned", `VIRT_BASE ${hex(virtBase)} is not page aligned.`);
  }
  const last = elf.segments[elf.segments.length - 1];
  const start = elf.segments[0].paddr - paddrOffset;
  const end = last.paddr + last.memorySize - paddrOffset;
  if (start < 0n) {
    return refuse(
      "image-below-base",
      `The image at ${hex(elf.segments[0].paddr)} begins below PADDR_OFFSET ${hex(paddrOffset)}.`,
    );
  }
  if (end > MAX_IMAGE_BYTES) {
    return refuse("image-too-large", `The image reaches to pseudo-physical address ${hex(end)}; 4 GiB is the limit.`);
  }
  if (start % PAGE !== 0n) {
    return refuse("kernel-misaligned", `The image begins at ${hex(virtBase + start)}, which is not page aligned.`);
  }
  const inImage = (address: bigint) => address >= virtBase + start && address < virtBase + end;
  const entry = notes.entry ?? elf.entry;
  if (!inImage(entry)) {
    return refuse(
      "entry-outside-image",
      `The entry point ${hex(entry)} is outside of the image, ${hex(virtBase + start)} to ${hex(virtBase + end)}.`,
    );
  }
  const hypercallPage =
    notes.hypercallPageFrame === undefined ? notes.hypercallPage : virtBase + notes.hypercallPageFrame * PAGE;
  if (hypercallPage !== undefined && !inImage(hypercallPage)) {
    return refuse("hypercall-page-outside-image", `The hypercall page ${hex(hypercallPage)} is outside of the image.`);
  }
  // As Xen: a P2M address at or above the base, or not aligned, is taken for none.
  const initP2m = notes.initP2m;
  const ownP2m = initP2m !== undefined && initP2m < virtBase && initP2m % PAGE === 0n;
  return {
    elf: elf.bytes,
    wrapping,
    notes,
    virtBase,
    entry,
    start: Number(start),
    end: Number(end),
    segments: elf.segments.map(({ offset, fileSize, paddr }) => ({
      fileOffset: offset,
      fileSize,
      imageOffset: Number(paddr - paddrOffset),
    })),
    ...(hypercallPage === undefined ? {} : { hypercallPfn: Number((hypercallPage - virtBase) / PAGE) }),
    ...(ownP2m ? { initP2m } : {}),
    modStartPfn: notes.modStartPfn !== undefined && notes.modStartPfn !== 0n,
  };
}

/** What a client is told of a kernel: plain JSON. */
export interface KernelSummary {
  readonly guestOs: string;
  readonly guestVersion: string;
  readonly wrapping: KernelWrapping;
  /** Hexadecimal virtual addresses. */
  readonly virtBase: string;
  readonly entry: string;
  /** Bytes from the first to the last loaded, zero-initialized data included. */
  readonly imageBytes: number;
  readonly hasHypercallPage: boolean;
  /** Every note, by its name in camelCase. */
  readonly notes: Readonly<Record<string, string>>;
}

export function summarizeKernel(image: KernelImage): KernelSummary {
  return {
    guestOs: image.notes.guestOs ?? "",
    guestVersion: image.notes.guestVersion ?? "",
    wrapping: image.wrapping,
    virtBase: hex(image.virtBase),
    entry: hex(image.entry),
    imageBytes: image.end - image.start,
    hasHypercallPage: image.hypercallPfn !== undefined,
    notes: describeNotes(image.notes),
  };
}
