/** The start-of-day layout, as Xen's own toolstack lays it out and as xen/xen.h describes it. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { ELFNOTE } from "../../src/abi/elfnote.ts";
import { hypercallPage } from "../../src/abi/hypercall-page.ts";
import { SIF, StartInfo } from "../../src/abi/xen.ts";
import { planBootLayout } from "../../src/builder/boot-layout.ts";
import { type BuildResult, inspectKernel } from "../../src/builder/build.ts";
import { refused } from "../../src/builder/build-error.ts";
import { readKernelImage } from "../../src/builder/kernel-image.ts";
import { BASE_MFN, SHARED_INFO_MFN, TestDomain } from "./guest-memory.ts";
import { makeKernel, number, pvNotes } from "./make-kernel.ts";

const HIGH = 0xffff_ffff_8000_0000n;
const signed = (va: bigint) => Number(BigInt.asIntN(64, va));

/** Debian's cloud kernel as the recording describes it, without its bytes. */
const linux = makeKernel({
  entry: 0x1000000n,
  segments: [
    { paddr: 0x1000000n, memsz: 0x1826634n, flags: 5 },
    { paddr: 0x2a00000n, memsz: 0x61a000n },
    { paddr: 0x301a000n, memsz: 0x34000n },
    { paddr: 0x304e000n, memsz: 0xdb2000n },
  ],
  notes: pvNotes([
    [ELFNOTE.virtBase, number(HIGH)],
    [ELFNOTE.initP2m, number(0x8000000000n)],
    [ELFNOTE.entry, number(0xffff_ffff_8304_e1c0n)],
    [ELFNOTE.supportedFeatures, number(0x8801n, 4)],
    [ELFNOTE.suspendCancel, number(1n, 4)],
    [ELFNOTE.modStartPfn, number(1n, 4)],
    [ELFNOTE.hvStartLow, number(0xffff_8000_0000_0000n)],
    [ELFNOTE.paddrOffset, number(0n)],
    [ELFNOTE.phys32Entry, number(0x1000850n, 4)],
  ]),
});

const recording = readFileSync(new URL("../golden/xl-create-linux-xen417.txt", import.meta.url), "utf8");
const ALLOCATED =
  /xc_dom_alloc_(?:segment|page) *: +([a-z0-9 ]+?) *: .*\(pfn (0x[0-9a-f]+)(?: \+ (0x[0-9a-f]+) pages)?\)/g;
const NAMES: Record<string, string> = { module0: "ramdisk", phys2mach: "p2m" };
const recordedExtents = [...recording.matchAll(ALLOCATED)].map(([, name, pfn, pages]) => ({
  name: NAMES[name] ?? name,
  pfn: Number(pfn),
  pages: Number(pages ?? 1),
}));

describe("Linux, as recorded on Xen 4.17", () => {
  test("every element stands in the frames where Xen's toolstack put it", () => {
    const image = readKernelImage(linux);
    if (refused(image)) throw new Error(image.detail);
    const layout = planBootLayout(image, 0x10000, 0x213810);
    if (refused(layout)) throw new Error(layout.detail);
    expect(recordedExtents).toHaveLength(8);
    expect(layout.extents).toEqual(recordedExtents);
    expect(layout.mappings[0].pages).toBe(0x4000);
  });

  test("start_info tells of it", () => {
    const domain = new TestDomain(0x10000);
    const ramdisk = new Uint8Array(0x213810).fill(7);
    const built = domain.built(linux, { ramdisk: gzipSync(ramdisk), cmdline: "console=hvc0" });
    const info = startInfo(domain, built);
    expect(info).toMatchObject({
      magic: "xen-3.0-x86_64",
      flags: SIF.modStartPfn,
      modStart: 0x4000,
      modLen: 0x213810,
      mfnList: 0x80_0000_0000,
      firstP2mPfn: 0x4214,
      nrP2mFrames: 0x83,
      nrPtFrames: 0x23,
      ptBase: signed(HIGH + 0x3e03000n),
      cmdLine: "console=hvc0",
    });
    expect(built).toMatchObject({
      entry: signed(0xffff_ffff_8304_e1c0n),
      l4Pfn: 0x3e03,
      startInfoVa: signed(HIGH + 0x3e00000n),
      stackVa: signed(HIGH + 0x3e27000n),
      suspendCancel: true,
    });
    expect(Buffer.from(domain.bytes(0x4000, ramdisk.length)).equals(ramdisk)).toBe(true);
    checkTables(domain, built, HIGH, 0x4000, { va: 0x80_0000_0000n, pfn: 0x4214, pages: 0x80 });
  });
});

const cloudKernel = new URL("../../.guests/vmlinuz-cloud-amd64", import.meta.url);
if (!existsSync(cloudKernel) && process.env.CI === "true")
  throw new Error("Debian's kernel is missing: npm run guests:debian");

describe.runIf(existsSync(cloudKernel))("Debian's cloud kernel itself", () => {
  const kernel = existsSync(cloudKernel) ? readFileSync(cloudKernel) : new Uint8Array(0);

  test("its notes and its size are those of the recording", () => {
    expect(inspectKernel(kernel)).toMatchObject({
      ok: true,
      kernel: {
        guestOs: "linux",
        wrapping: "bzImage, lz4",
        virtBase: "0xffffffff80000000",
        hasHypercallPage: false,
        notes: { initP2m: "0x8000000000", modStartPfn: "0x1", suspendCancel: "0x1", paddrOffset: "0x0" },
      },
    });
  });

  // A later build of the kernel may be larger; what stands behind it then moves as a whole.
  test("in 256 MiB, every element stands where Xen's toolstack put it", () => {
    const domain = new TestDomain(0x10000);
    const built = domain.built(kernel, { ramdisk: new Uint8Array(0x213810) });
    const [first, ...others] = built.extents;
    const [recordedKernel, ...recordedOthers] = recordedExtents;
    expect(first).toMatchObject({ name: "kernel", pfn: recordedKernel.pfn });
    const shift = first.pages - recordedKernel.pages;
    if (shift === 0) expect(others).toEqual(recordedOthers);
    else expect(others.map(({ name }) => name)).toEqual(recordedOthers.map(({ name }) => name));
    expect(domain.guardsIntact()).toBe(true);
  });
});

describe("a kernel at VIRT_BASE 0 without notes on placement", () => {
  const data = Uint8Array.from({ length: 5000 }, (_, i) => i & 0xff);
  const kernel = makeKernel({
    entry: 0x100010n,
    segments: [{ paddr: 0x100000n, data, memsz: 0x3000n }],
    notes: pvNotes([[ELFNOTE.hypercallPage, number(0x102000n)]]),
  });
  const domain = new TestDomain(1024 * 4);
  const ramdisk = new Uint8Array([1, 2, 3]);
  const built = domain.built(kernel, { ramdisk, cmdline: "a=1 ü" });
  const info = startInfo(domain, built);

  test("elements are packed in the order of xen/xen.h", () => {
    expect(built.extents.map(({ name, pfn, pages }) => [name, pfn, pages])).toEqual([
      ["kernel", 0x100, 3],
      ["ramdisk", 0x103, 1],
      ["p2m", 0x104, 8],
      ["start info", 0x10c, 1],
      ["xenstore", 0x10d, 1],
      ["console", 0x10e, 1],
      ["page tables", 0x10f, 5],
      ["boot stack", 0x114, 1],
    ]);
  });

  test("the image is loaded, what it leaves out is zero, and the hypercall page is filled", () => {
    expect(Buffer.from(domain.bytes(0x100, 5000)).equals(data)).toBe(true);
    expect(
      domain
        .bytes(0x100, 8192)
        .subarray(5000)
        .every((byte) => byte === 0),
    ).toBe(true);
    expect(Buffer.from(domain.bytes(0x102, 4096)).equals(hypercallPage())).toBe(true);
  });

  test("start_info gives addresses where no note asks for frames", () => {
    expect(info).toMatchObject({
      nrPages: 4096,
      sharedInfo: SHARED_INFO_MFN * 4096,
      flags: 0,
      storeMfn: BASE_MFN + 0x10d,
      storeEvtchn: 1,
      consoleMfn: BASE_MFN + 0x10e,
      consoleEvtchn: 2,
      ptBase: 0x10f000,
      nrPtFrames: 5,
      mfnList: 0x104000,
      modStart: 0x103000,
      modLen: 3,
      firstP2mPfn: 0,
      nrP2mFrames: 0,
    });
    expect(info.cmdLine).toBe(Buffer.from("a=1 ü").toString("latin1"));
    expect(built).toMatchObject({
      entry: 0x100010,
      startInfoVa: 0x10c000,
      stackVa: 0x115000,
      storePfn: 0x10d,
      consolePfn: 0x10e,
    });
  });

  test("the P2M lists every frame", () => {
    for (let pfn = 0; pfn < 4096; pfn++) expect(domain.word(0x104, pfn)).toBe(BigInt(BASE_MFN + pfn));
  });

  test("the region ends on 4 MiB, is mapped whole, and no page table is mapped writable", () => {
    checkTables(domain, built, 0n, 1024);
  });

  test("nothing outside of the domain's frames is written", () => {
    expect(domain.guardsIntact()).toBe(true);
  });
});

test.each([
  ["less than 512 KiB are left of the 4 MiB: another 4 MiB", 0x380000n, 2048],
  ["more are left: the region ends there", 0x340000n, 1024],
])("%s", (_, memsz, pages) => {
  const domain = new TestDomain(2048);
  const built = domain.built(makeKernel({ segments: [{ paddr: 0n, memsz }] }));
  expect(domain.walk(built.l4Pfn).mapped.size).toBe(pages);
});

test("PADDR_OFFSET moves the image down to pseudo-physical 0", () => {
  const domain = new TestDomain(1024);
  const base = 0xffff_ffff_c000_0000n;
  const built = domain.built(
    makeKernel({
      entry: base + 0x1000n,
      segments: [{ paddr: base + 0x1000n, data: new Uint8Array([0xaa]) }],
      notes: pvNotes([
        [ELFNOTE.virtBase, number(base)],
        [ELFNOTE.paddrOffset, number(base)],
      ]),
    }),
  );
  expect(built).toMatchObject({ ok: true });
  expect(domain.bytes(1, 1)[0]).toBe(0xaa);
});

describe("Debian's GRUB", () => {
  const path = grubPath();
  test.runIf(path !== undefined || process.env.CI)(
    "stands where real Xen put it: page tables from 0x637 in a domain of 64 MiB",
    () => {
      const kernel = readFileSync(path as string);
      expect(inspectKernel(kernel)).toMatchObject({
        ok: true,
        kernel: { guestOs: "GRUB", virtBase: "0x0", entry: "0x0" },
        minimumPages: 2048,
      });
      const domain = new TestDomain(0x4000);
      const built = domain.built(kernel);
      expect(built).toMatchObject({ l4Pfn: 0x637, storePfn: 0x635, consolePfn: 0x636, startInfoPfn: 0x634 });
      checkTables(domain, built, 0n, 2048);
      expect(domain.guardsIntact()).toBe(true);
    },
  );
});

test("the demo kernel is one that is accepted", () => {
  const kernel = readFileSync(new URL("../../src/builder/demo-kernel/demo.elf", import.meta.url));
  expect(inspectKernel(kernel)).toMatchObject({ ok: true, kernel: { guestOs: "domzero-demo" } });
  const domain = new TestDomain(4096);
  const built = domain.built(kernel);
  checkTables(domain, built, BigInt(built.startInfoVa) - BigInt(built.startInfoPfn * 4096), undefined);
});

function grubPath(): string | undefined {
  const guests = new URL("../../.guests", import.meta.url).pathname;
  const fetched = existsSync(guests)
    ? readdirSync(guests, { recursive: true, encoding: "utf8" }).find((name) => name.endsWith("grub-x86_64-xen.bin"))
    : undefined;
  if (fetched !== undefined) return `${guests}/${fetched}`;
  const installed = "/usr/lib/grub-xen/grub-x86_64-xen.bin";
  return existsSync(installed) ? installed : undefined;
}

function startInfo(domain: TestDomain, { startInfoPfn }: BuildResult) {
  const { view } = domain;
  const at = domain.at(startInfoPfn);
  return {
    magic: StartInfo.magic.text(view, at),
    nrPages: StartInfo.nrPages.number(view, at),
    sharedInfo: StartInfo.sharedInfo.number(view, at),
    flags: StartInfo.flags.get(view, at),
    storeMfn: StartInfo.storeMfn.number(view, at),
    storeEvtchn: StartInfo.storeEvtchn.get(view, at),
    consoleMfn: StartInfo.console.domU.mfn.number(view, at),
    consoleEvtchn: StartInfo.console.domU.evtchn.get(view, at),
    ptBase: StartInfo.ptBase.signed(view, at),
    nrPtFrames: StartInfo.nrPtFrames.number(view, at),
    mfnList: StartInfo.mfnList.signed(view, at),
    modStart: StartInfo.modStart.signed(view, at),
    modLen: StartInfo.modLen.number(view, at),
    cmdLine: StartInfo.cmdLine.text(view, at),
    firstP2mPfn: StartInfo.firstP2mPfn.number(view, at),
    nrP2mFrames: StartInfo.nrP2mFrames.number(view, at),
  };
}

/** The region maps pfn i at base + i, a P2M of its own where it wants to be, nothing else; tables are never writable. */
function checkTables(
  domain: TestDomain,
  built: BuildResult,
  base: bigint,
  pages: number | undefined,
  p2m?: { va: bigint; pfn: number; pages: number },
): void {
  const { mapped, tables } = domain.walk(built.l4Pfn);
  const size = pages ?? mapped.size;
  expect(size % 1024).toBe(0);
  expect(mapped.size).toBe(size + (p2m?.pages ?? 0));
  const wrong: string[] = [];
  const check = (va: bigint, pfn: number) => {
    const found = mapped.get(BigInt.asIntN(64, va));
    if (found?.pfn !== pfn || found.flags !== (tables.has(pfn) ? 0x21 : 0x23)) {
      wrong.push(`${va.toString(16)}: ${JSON.stringify(found)}, pfn ${pfn} expected`);
    }
  };
  for (let pfn = 0; pfn < size; pfn++) check(base + BigInt(pfn * 4096), pfn);
  for (let i = 0; i < (p2m?.pages ?? 0); i++)
    check((p2m as { va: bigint }).va + BigInt(i * 4096), (p2m as { pfn: number }).pfn + i);
  expect(wrong).toEqual([]);
}
