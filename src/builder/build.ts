/**
 * Builds a PV domain's boot image into its memory: kernel, ramdisk, P2M, page tables, start_info. The domain must not have run,
 * and its frames must be zeroed: what the layout leaves empty (rings, stack, zero-initialized data) is not written.
 *
 * Invariant: nothing outside of the domain's own `pages` frames is ever written, whatever the image contains.
 */

import { hypercallPage } from "../abi/hypercall-page.ts";
import { MAX_GUEST_CMDLINE, PAGE_SIZE, SIF, START_INFO_MAGIC, StartInfo } from "../abi/xen.ts";
import { type BootLayout, type Extent, minimumPages, planBootLayout } from "./boot-layout.ts";
import { writeTables } from "./boot-page-tables.ts";
import { type BuildError, refuse, refused } from "./build-error.ts";
import { type KernelImage, type KernelSummary, readKernelImage, summarizeKernel } from "./kernel-image.ts";
import { unwrapRamdisk } from "./ramdisk.ts";

export interface BuildRequest {
  readonly memory: { readonly buffer: ArrayBufferLike };
  /** Where frames stand: mfn `baseMfn` + i, which is pfn i, at byte `ramOffset` + i * 4096. */
  readonly map: { readonly ramOffset: number; readonly baseMfn: number };
  /** Frames of the domain. */
  readonly pages: number;
  readonly kernel: Uint8Array;
  readonly ramdisk?: Uint8Array | undefined;
  /** Written as UTF-8. */
  readonly cmdline: string;
  readonly sharedInfoMfn: number;
  /** The guest's ends of its xenstore and console event channels. */
  readonly storePort: number;
  readonly consolePort: number;
}

/** Virtual addresses are signed numbers. Survives a structured clone. */
export interface BuildResult {
  readonly ok: true;
  readonly l4Pfn: number;
  readonly entry: number;
  readonly startInfoVa: number;
  /** Top of the boot stack: the first rsp. */
  readonly stackVa: number;
  readonly startInfoPfn: number;
  readonly storePfn: number;
  readonly consolePfn: number;
  readonly guestOs: string;
  readonly kernel: KernelSummary;
  /** The guest understands a suspend that was cancelled (SUSPEND_CANCEL). */
  readonly suspendCancel: boolean;
  /** What stands where, in frames, for logs. */
  readonly extents: readonly Extent[];
}

/** What `inspectKernel` tells before there is a domain. */
export interface KernelInspection {
  readonly ok: true;
  readonly kernel: KernelSummary;
  /** Frames of the smallest domain that can boot it without a ramdisk. */
  readonly minimumPages: number;
}

/** Is this file a kernel that can be started here? For the check at upload. */
export function inspectKernel(file: Uint8Array): KernelInspection | BuildError {
  const image = readKernelImage(file);
  if (refused(image)) return image;
  const pages = minimumPages(image, 0);
  if (typeof pages === "object") return pages;
  return { ok: true, kernel: summarizeKernel(image), minimumPages: pages };
}

/** Throws RangeError for a request that contradicts itself (a memory without room for `pages`); never for what a file contains. */
export function build(request: BuildRequest): BuildResult | BuildError {
  const { pages } = request;
  const ram = new GuestRam(request);
  const cmdline = new TextEncoder().encode(request.cmdline);
  if (cmdline.length >= MAX_GUEST_CMDLINE || cmdline.includes(0)) {
    const why = cmdline.includes(0)
      ? "The command line contains a NUL."
      : `The command line has ${cmdline.length} bytes;`;
    return refuse("command-line-too-long", `${why} ${MAX_GUEST_CMDLINE - 1} bytes before the first NUL are what fits.`);
  }
  const image = readKernelImage(request.kernel);
  if (refused(image)) return image;

  const ramdisk = unwrapRamdisk(request.ramdisk ?? new Uint8Array(0), pages * PAGE_SIZE);
  const layout = planBootLayout(image, pages, ramdisk.length);
  if (refused(layout)) return layout;
  if (layout.endPfn > pages) return doesNotFit(image, pages, ramdisk.length, layout.endPfn);

  const va = (pfn: number) => Number(BigInt.asIntN(64, image.virtBase + BigInt(pfn * PAGE_SIZE)));
  for (const { fileOffset, fileSize, imageOffset } of image.segments) {
    ram.bytes(imageOffset, fileSize).set(image.elf.subarray(fileOffset, fileOffset + fileSize));
  }
  if (image.hypercallPfn !== undefined) ram.page(image.hypercallPfn).set(hypercallPage());
  if (layout.ramdisk !== undefined) ram.bytes(layout.ramdisk.pfn * PAGE_SIZE, ramdisk.length).set(ramdisk);
  writeP2m(ram.words(layout.p2m.pfn, layout.p2mListPages), pages, request.map.baseMfn);
  writeTables(
    layout.mappings,
    (pfn) => ram.words(pfn, 1),
    (pfn) => request.map.baseMfn + pfn,
  );
  writeStartInfo(ram, request, image, layout, { cmdline, ramdiskBytes: ramdisk.length, va });

  return {
    ok: true,
    l4Pfn: layout.pageTables.pfn,
    entry: Number(BigInt.asIntN(64, image.entry)),
    startInfoVa: va(layout.startInfo.pfn),
    stackVa: va(layout.stack.pfn + 1),
    startInfoPfn: layout.startInfo.pfn,
    storePfn: layout.xenstore.pfn,
    consolePfn: layout.console.pfn,
    guestOs: image.notes.guestOs ?? "",
    kernel: summarizeKernel(image),
    suspendCancel: (image.notes.suspendCancel ?? 0n) !== 0n,
    extents: layout.extents,
  };
}

function doesNotFit(image: KernelImage, pages: number, ramdiskBytes: number, needed: number): BuildError {
  const mib = (frames: number) => `${Math.ceil(frames / 256)} MiB`;
  const without = ramdiskBytes > 0 ? planBootLayout(image, pages, 0) : undefined;
  if (without !== undefined && !refused(without) && without.endPfn <= pages) {
    return refuse(
      "ramdisk-too-large",
      `With its ramdisk of ${ramdiskBytes} bytes the domain needs ${mib(needed)} to boot, and has ${mib(pages)}.`,
    );
  }
  return refuse("domain-too-small", `The kernel needs ${mib(needed)} to boot, and the domain has ${mib(pages)}.`);
}

/** The domain's frames, and nothing else: views never reach outside. */
class GuestRam {
  readonly #buffer: ArrayBufferLike;
  readonly #start: number;
  readonly #size: number;
  constructor({ memory, map, pages }: BuildRequest) {
    this.#buffer = memory.buffer;
    this.#start = map.ramOffset;
    this.#size = pages * PAGE_SIZE;
    if (!(pages > 0) || this.#start + this.#size > memory.buffer.byteLength) {
      throw new RangeError(`a memory of ${memory.buffer.byteLength} bytes has no room for ${pages} pages`);
    }
  }
  bytes(offset: number, size: number): Uint8Array {
    if (offset < 0 || offset + size > this.#size) throw new RangeError(`${size} bytes at ${offset} are outside of RAM`);
    return new Uint8Array(this.#buffer, this.#start + offset, size);
  }
  page(pfn: number): Uint8Array {
    return this.bytes(pfn * PAGE_SIZE, PAGE_SIZE);
  }
  words(pfn: number, pages: number): Uint32Array {
    const { buffer, byteOffset, byteLength } = this.bytes(pfn * PAGE_SIZE, pages * PAGE_SIZE);
    return new Uint32Array(buffer, byteOffset, byteLength / 4);
  }
}

function writeP2m(words: Uint32Array, pages: number, baseMfn: number): void {
  for (let pfn = 0; pfn < pages; pfn++) words[pfn * 2] = baseMfn + pfn;
}

interface StartInfoInputs {
  readonly cmdline: Uint8Array;
  readonly ramdiskBytes: number;
  readonly va: (pfn: number) => number;
}

function writeStartInfo(
  ram: GuestRam,
  { map, pages, sharedInfoMfn, storePort, consolePort }: BuildRequest,
  image: KernelImage,
  layout: BootLayout,
  { cmdline, ramdiskBytes, va }: StartInfoInputs,
): void {
  const page = ram.page(layout.startInfo.pfn);
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const { domU } = StartInfo.console;
  StartInfo.magic.setText(view, 0, START_INFO_MAGIC);
  StartInfo.nrPages.setNumber(view, 0, pages);
  StartInfo.sharedInfo.setNumber(view, 0, sharedInfoMfn * PAGE_SIZE);
  StartInfo.storeMfn.setNumber(view, 0, map.baseMfn + layout.xenstore.pfn);
  StartInfo.storeEvtchn.set(view, 0, storePort);
  domU.mfn.setNumber(view, 0, map.baseMfn + layout.console.pfn);
  domU.evtchn.set(view, 0, consolePort);
  StartInfo.ptBase.setNumber(view, 0, va(layout.pageTables.pfn));
  StartInfo.nrPtFrames.setNumber(view, 0, layout.pageTables.pages);
  StartInfo.cmdLine.set(view, 0, cmdline);

  // Not virtP2m4tools: Xen 4.17's toolstack does not set it, and so guests keep the P2M's tree up to date.
  let flags = 0;
  if (layout.ramdisk !== undefined) {
    StartInfo.modStart.setNumber(view, 0, image.modStartPfn ? layout.ramdisk.pfn : va(layout.ramdisk.pfn));
    StartInfo.modLen.setNumber(view, 0, ramdiskBytes);
    if (image.modStartPfn) flags |= SIF.modStartPfn;
  }
  StartInfo.flags.set(view, 0, flags);
  if (image.initP2m === undefined) {
    StartInfo.mfnList.setNumber(view, 0, va(layout.p2m.pfn));
  } else {
    StartInfo.mfnList.setNumber(view, 0, Number(BigInt.asIntN(64, image.initP2m)));
    StartInfo.firstP2mPfn.setNumber(view, 0, layout.p2m.pfn);
    StartInfo.nrP2mFrames.setNumber(view, 0, layout.p2m.pages);
  }
}
