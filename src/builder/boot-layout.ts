/**
 * Where everything stands in a PV domain's memory at its first instruction ("Start-of-day memory layout" in xen/xen.h).
 *
 * One region of virtual memory begins at the kernel's VIRT_BASE, where pseudo-physical frame 0 is, and ends on a 4 MiB boundary
 * with at least 512 KiB to spare. In it, each from a page of its own:
 *
 *     kernel, [ramdisk], [P2M], start_info, xenstore ring, console ring, page tables, stack
 *
 * A ramdisk that the kernel takes by frame number (MOD_START_PFN), and a P2M that it wants elsewhere (INIT_P2M), come after the
 * region instead; such a P2M has page tables of its own behind it.
 */
import { PAGE_SHIFT, PAGE_SIZE } from "../abi/xen.ts";
import { type BootMapping, type PlannedTable, planTables } from "./boot-page-tables.ts";
import { type BuildError, hex, refuse, refused } from "./build-error.ts";
import type { KernelImage } from "./kernel-image.ts";

/** Frames [pfn, pfn + pages). */
export interface Extent {
  readonly name: string;
  readonly pfn: number;
  readonly pages: number;
}

export interface BootLayout {
  /** In order of allocation, contiguous but for alignment. */
  readonly extents: readonly Extent[];
  readonly kernel: Extent;
  readonly ramdisk?: Extent;
  readonly p2m: Extent;
  /** Frames of the P2M itself; with INIT_P2M its extent has page tables behind. */
  readonly p2mListPages: number;
  readonly startInfo: Extent;
  readonly xenstore: Extent;
  readonly console: Extent;
  /** Page tables of the boot region; the first frame is the L4. */
  readonly pageTables: Extent;
  readonly stack: Extent;
  readonly mappings: readonly BootMapping[];
  /** The first frame that nothing has a claim on. */
  readonly endPfn: number;
}

/** 512 KiB after the last element, and the stack. */
const SPARE_PAGES = 128 + 1;
const REGION_ALIGN_PAGES = 1024;

const CANONICAL_LOW_END = 1n << 47n;
/** Above the hypervisor's own part of the address space, which begins the upper half. */
const GUEST_HIGH_START = 0xffff_8800_0000_0000n;
const ADDRESS_END = 1n << 64n;

const pagesOf = (size: number) => Math.ceil(size / PAGE_SIZE);

/** Virtual page number within 48 bits. */
const vpnOf = (address: bigint) => Number(BigInt.asUintN(48, address) >> BigInt(PAGE_SHIFT));

function reachable(what: string, start: bigint, end: bigint): BuildError | undefined {
  if (end <= CANONICAL_LOW_END || (start >= GUEST_HIGH_START && end <= ADDRESS_END)) return undefined;
  if (start >= CANONICAL_LOW_END && start < ADDRESS_END - CANONICAL_LOW_END) {
    return refuse("address-not-canonical", `${what} at ${hex(start)} is at no canonical address.`);
  }
  return refuse(
    "address-reserved",
    `${what}, ${hex(start)} to ${hex(end)}, reaches into what is not the guest's to use.`,
  );
}

/**
 * Plans the layout of a domain of `pages` frames; whether it fits is the caller's to check (`endPfn`). `ramdiskBytes` of 0 is none.
 */
export function planBootLayout(image: KernelImage, pages: number, ramdiskBytes: number): BootLayout | BuildError {
  const extents: Extent[] = [];
  let next = image.start / PAGE_SIZE;
  const take = (name: string, count: number): Extent => {
    const extent = { name, pfn: next, pages: count };
    extents.push(extent);
    next += count;
    return extent;
  };

  const kernel = take("kernel", pagesOf(image.end - image.start));
  const p2mListPages = pagesOf(pages * 8);
  let ramdisk = ramdiskBytes > 0 && !image.modStartPfn ? take("ramdisk", pagesOf(ramdiskBytes)) : undefined;
  let p2m = image.initP2m === undefined ? take("p2m", p2mListPages) : undefined;
  const startInfo = take("start info", 1);
  const xenstore = take("xenstore", 1);
  const console = take("console", 1);

  // Tables for the region, the region for the tables: enlarge both until they agree.
  const baseVpn = vpnOf(image.virtBase);
  let regionPages: number;
  let tables: PlannedTable[] = [];
  do {
    // The region's end is aligned as an address; one that is aligned already gets another 4 MiB, as Xen does.
    const end = baseVpn + next + tables.length + SPARE_PAGES;
    regionPages = (Math.floor(end / REGION_ALIGN_PAGES) + 1) * REGION_ALIGN_PAGES - baseVpn;
    const virtEnd = image.virtBase + BigInt(regionPages) * BigInt(PAGE_SIZE);
    const unreachable = reachable("The boot region", image.virtBase, virtEnd);
    if (unreachable !== undefined) return unreachable;
    tables = planTables([], baseVpn, regionPages);
  } while (next + tables.length + SPARE_PAGES > regionPages);
  const pageTables = take("page tables", tables.length);
  const mappings: BootMapping[] = [{ vpn: baseVpn, pages: regionPages, pfn: 0, tables, tablesPfn: pageTables.pfn }];
  const stack = take("boot stack", 1);

  // All of the region is mapped, so all of it is there.
  next = regionPages;
  if (ramdiskBytes > 0 && image.modStartPfn) ramdisk = take("ramdisk", pagesOf(ramdiskBytes));
  if (image.initP2m !== undefined) {
    const end = image.initP2m + BigInt(p2mListPages) * BigInt(PAGE_SIZE);
    const unreachable = reachable("The P2M", image.initP2m, end);
    if (unreachable !== undefined) return unreachable;
    if (end > image.virtBase) {
      return refuse(
        "p2m-overlaps-image",
        `A P2M at ${hex(image.initP2m)} reaches into the image at ${hex(image.virtBase)}.`,
      );
    }
    const ownTables = planTables(mappings, vpnOf(image.initP2m), p2mListPages);
    p2m = take("p2m", p2mListPages + ownTables.length);
    mappings.push({
      vpn: vpnOf(image.initP2m),
      pages: p2mListPages,
      pfn: p2m.pfn,
      tables: ownTables,
      tablesPfn: p2m.pfn + p2mListPages,
    });
  }
  return {
    extents,
    kernel,
    ...(ramdisk === undefined ? {} : { ramdisk }),
    p2m: p2m as Extent,
    p2mListPages,
    startInfo,
    xenstore,
    console,
    pageTables,
    stack,
    mappings,
    endPfn: next,
  };
}

/** The smallest domain, in frames, that can hold the kernel and its ramdisk. */
export function minimumPages(image: KernelImage, ramdiskBytes: number): number | BuildError {
  // The P2M grows with the domain, so ask again with what was needed; it settles at once for all but the largest.
  for (let pages = 1; ; ) {
    const layout = planBootLayout(image, pages, ramdiskBytes);
    if (refused(layout)) return layout;
    if (layout.endPfn <= pages) return pages;
    pages = layout.endPfn;
  }
}
