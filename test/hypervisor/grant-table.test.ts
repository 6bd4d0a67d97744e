import { describe, expect, test } from "vitest";
import { Errno } from "../../src/abi/errno.ts";
import {
  GNTCOPY,
  GNTST,
  GNTTABOP,
  GnttabCopy,
  GnttabGetVersion,
  GnttabSetVersion,
  GrantEntryV1,
  GTF,
  QuerySize,
  SetupTable,
  SwapGrantRef,
} from "../../src/abi/grant-table.ts";
import { DOMID } from "../../src/abi/xen.ts";
import { PageType } from "../../src/hypervisor/mm/frame-table.ts";
import { hypercall, type Script, type Step } from "./scripted-guest.ts";
import { SCRATCH, type TestDomain, World } from "./world.ts";

const op = (number: number, at: number, count = 1): Step => hypercall(20, number, at, count);

/** Makes the calls, each prepared when the ones before it are done; gives results. */
function run(d: TestDomain, ...steps: (() => Step)[]): number[] {
  const out: number[] = [];
  d.start(
    0,
    (function* (): Script {
      for (const step of steps) out.push(yield step());
    })(),
  );
  d.world.run(2_000_000);
  return out;
}

/** The entry of a domain's table, as the guest would write it. */
function grant(d: TestDomain, ref: number, domid: number, pfn: number, flags: number = GTF.permitAccess): void {
  const { memory, grants } = d.domain;
  const view = new DataView(memory.buffer, memory.hostOffset(grants.frames[0]!) + ref * GrantEntryV1.size);
  GrantEntryV1.flags.set(view, 0, flags);
  GrantEntryV1.domid.set(view, 0, domid);
  GrantEntryV1.frame.set(view, 0, d.mfn(pfn));
}

describe("the table", () => {
  const setup =
    (d: TestDomain, dom: number, frames: number, list = SCRATCH + 0x100) =>
    () =>
      op(
        GNTTABOP.setupTable,
        d.put(SetupTable, (v, at) => {
          SetupTable.dom.set(v, at, dom);
          SetupTable.nrFrames.set(v, at, frames);
          SetupTable.frameList.setNumber(v, at, list);
        }),
      );
  type Row = readonly [string, number, number, number];
  const rows: readonly Row[] = [
    ["one's own, by DOMID_SELF", DOMID.self, 1, GNTST.okay],
    ["one's own, by number, grown", 1, 3, GNTST.okay],
    ["up to the limit", DOMID.self, 64, GNTST.okay],
    ["beyond it", DOMID.self, 65, GNTST.generalError],
    ["another domain's", 0, 1, GNTST.permissionDenied],
    ["nobody's", 99, 1, GNTST.badDomain],
  ];
  test.each(rows)("setup_table: %s", (_name, dom, frames, status) => {
    const d = new World().domain(1);
    expect(run(d, setup(d, dom, frames))).toEqual([0]);
    expect(SetupTable.status.get(d.view, SCRATCH)).toBe(status);
    if (status !== GNTST.okay) return;
    const given = Array.from({ length: frames }, (_, i) => Number(d.view.getBigUint64(SCRATCH + 0x100 + i * 8, true)));
    expect(given).toEqual(d.domain.grants.frames.slice(0, frames));
    // The guest may map them writable.
    for (const mfn of given) expect(d.domain.memory.getPageAndType(mfn, PageType.writable)).toBe(0);
  });

  test("a frame list that cannot be written", () => {
    const d = new World().domain(1);
    expect(run(d, setup(d, DOMID.self, 1, 0x7f00_0000_0000))).toEqual([0]);
    expect(SetupTable.status.get(d.view, SCRATCH)).toBe(GNTST.badVirtAddr);
  });

  test("query_size, versions, counts", () => {
    const d = new World().domain(1);
    const version = (v: number) => () =>
      op(
        GNTTABOP.setVersion,
        d.put(GnttabSetVersion, (view, at) => GnttabSetVersion.version.set(view, at, v)),
      );
    const got = run(
      d,
      version(1),
      version(2),
      version(3),
      () =>
        op(
          GNTTABOP.getVersion,
          d.put(GnttabGetVersion, (v, at) => GnttabGetVersion.dom.set(v, at, DOMID.self)),
        ),
      () =>
        op(
          GNTTABOP.getVersion,
          d.put(GnttabGetVersion, (v, at) => GnttabGetVersion.dom.set(v, at, 0)),
        ),
      () => op(GNTTABOP.querySize, SCRATCH, 2),
      () => op(99, SCRATCH),
      () =>
        op(
          GNTTABOP.querySize,
          d.put(QuerySize, (v, at) => QuerySize.dom.set(v, at, DOMID.self)),
        ),
    );
    const { ENOSYS, EINVAL, EPERM } = Errno;
    expect(got).toEqual([0, 0, -EINVAL, 0, -EPERM, -EINVAL, -ENOSYS, 0]);
    expect([QuerySize.nrFrames.get(d.view, SCRATCH), QuerySize.maxNrFrames.get(d.view, SCRATCH)]).toEqual([1, 64]);
  });

  test("swap_grant_ref exchanges two entries", () => {
    const d = new World().domain(1);
    grant(d, 9, 2, 33);
    const swap = (a: number, b: number) => () =>
      op(
        GNTTABOP.swapGrantRef,
        d.put(SwapGrantRef, (v, at) => {
          SwapGrantRef.refA.set(v, at, a);
          SwapGrantRef.refB.set(v, at, b);
        }),
      );
    run(d, swap(9, 10));
    expect(d.domain.grants.entries.header(10)).toMatchObject({ flags: GTF.permitAccess, domid: 2 });
    expect(d.domain.grants.entries.frame(10)).toBe(d.mfn(33));
    expect(d.domain.grants.entries.header(9).word).toBe(0);
    run(d, swap(9, 100_000));
    expect(SwapGrantRef.status.get(d.view, SCRATCH)).toBe(GNTST.badGntref);
  });
});

describe.each([1, 2])("copies between domains, %s shard(s)", (shards) => {
  const OWN_PFN = 40;
  const FAR_PFN = 41;
  interface Copy {
    readonly from: readonly [domid: number, refOrPfn: number, offset: number];
    readonly to: readonly [domid: number, refOrPfn: number, offset: number];
    readonly length: number;
    readonly flags: number;
  }
  const setUp = () => {
    const world = new World({ shards });
    const near = world.domain(1);
    const far = world.domain(2, [], { shard: shards - 1 });
    for (let i = 0; i < 4096; i++) {
      near.view.setUint8(OWN_PFN * 4096 + i, i & 0xff);
      far.view.setUint8(FAR_PFN * 4096 + i, 255 - (i & 0xff));
    }
    grant(far, 8, 1, FAR_PFN);
    grant(far, 9, 1, FAR_PFN, GTF.permitAccess | GTF.readonly);
    grant(far, 10, 7, FAR_PFN);
    return { world, near, far };
  };
  const copy = (d: TestDomain, copies: readonly Copy[]) => () => {
    copies.forEach(({ from, to, length, flags }, i) => {
      d.put(
        GnttabCopy,
        (v, at) => {
          for (const [side, [domid, name, offset], isRef] of [
            [GnttabCopy.source, from, flags & GNTCOPY.sourceGref],
            [GnttabCopy.dest, to, flags & GNTCOPY.destGref],
          ] as const) {
            side.domid.set(v, at, domid);
            side.offset.set(v, at, offset);
            if (isRef !== 0) side.u.ref.set(v, at, name);
            else side.u.gmfn.setNumber(v, at, d.mfn(name));
          }
          GnttabCopy.len.set(v, at, length);
          GnttabCopy.flags.set(v, at, flags);
        },
        i * GnttabCopy.size,
      );
    });
    return op(GNTTABOP.copy, SCRATCH, copies.length);
  };
  const status = (d: TestDomain, i = 0) => GnttabCopy.status.get(d.view, SCRATCH + i * GnttabCopy.size);
  const { sourceGref, destGref } = GNTCOPY;
  const self = DOMID.self;

  type Row = readonly [string, Copy, number];
  const rows: readonly Row[] = [
    ["into a granted frame", { from: [self, OWN_PFN, 0], to: [2, 8, 16], length: 64, flags: destGref }, GNTST.okay],
    ["out of a granted frame", { from: [2, 9, 8], to: [self, OWN_PFN, 0], length: 64, flags: sourceGref }, GNTST.okay],
    ["within one's own memory", { from: [self, OWN_PFN, 0], to: [self, 42, 0], length: 4096, flags: 0 }, GNTST.okay],
    [
      "into one granted for reading",
      { from: [self, OWN_PFN, 0], to: [2, 9, 0], length: 4, flags: destGref },
      GNTST.generalError,
    ],
    [
      "of what is granted to another",
      { from: [2, 10, 0], to: [self, OWN_PFN, 0], length: 4, flags: sourceGref },
      GNTST.generalError,
    ],
    [
      "of what is not granted",
      { from: [2, 11, 0], to: [self, OWN_PFN, 0], length: 4, flags: sourceGref },
      GNTST.generalError,
    ],
    [
      "of a reference beyond the table",
      { from: [2, 9999, 0], to: [self, OWN_PFN, 0], length: 4, flags: sourceGref },
      GNTST.badGntref,
    ],
    [
      "of a domain that does not exist",
      { from: [9, 8, 0], to: [self, OWN_PFN, 0], length: 4, flags: sourceGref },
      GNTST.badDomain,
    ],
    [
      "of another domain's frame by number",
      { from: [2, FAR_PFN, 0], to: [self, OWN_PFN, 0], length: 4, flags: 0 },
      GNTST.permissionDenied,
    ],
    [
      "of a frame by number, of a domain that does not exist (as real Xen has it: who comes before how)",
      { from: [9, FAR_PFN, 0], to: [self, OWN_PFN, 0], length: 4, flags: 0 },
      GNTST.badDomain,
    ],
    [
      "of another domain's frame by number to a domain that does not exist",
      { from: [2, FAR_PFN, 0], to: [9, OWN_PFN, 0], length: 4, flags: 0 },
      GNTST.badDomain,
    ],
    [
      "over the end of a frame",
      { from: [self, OWN_PFN, 4090], to: [2, 8, 0], length: 8, flags: destGref },
      GNTST.badCopyArg,
    ],
    ["to where no memory is", { from: [self, OWN_PFN, 0], to: [self, 99_999, 0], length: 8, flags: 0 }, GNTST.badPage],
  ];
  test.each(rows)("%s", (_name, one, expected) => {
    const { near, far } = setUp();
    const before = far.view.getUint8(FAR_PFN * 4096 + 16);
    expect(run(near, copy(near, [one]))).toEqual([0]);
    expect(status(near)).toBe(expected);
    if (one.flags === destGref && expected === GNTST.okay) expect(far.view.getUint8(FAR_PFN * 4096 + 20)).toBe(4);
    else expect(far.view.getUint8(FAR_PFN * 4096 + 16)).toBe(before);
    if (one.flags === sourceGref && expected === GNTST.okay) expect(near.view.getUint8(OWN_PFN * 4096)).toBe(255 - 8);
  });

  test("several in one call, each with its status", () => {
    const { near, far } = setUp();
    const into = (ref: number): Copy => ({ from: [self, OWN_PFN, 1], to: [2, ref, 0], length: 1, flags: destGref });
    expect(run(near, copy(near, [into(8), into(9), into(8)]))).toEqual([0]);
    expect([status(near, 0), status(near, 1), status(near, 2)]).toEqual([GNTST.okay, GNTST.generalError, GNTST.okay]);
    expect(far.view.getUint8(FAR_PFN * 4096)).toBe(1);
  });

  test("never into a page table", () => {
    const { near, far } = setUp();
    far.domain.memory.frames.typeInfo[FAR_PFN] = 0;
    expect(far.domain.memory.getPageAndType(far.mfn(50), PageType.segDesc)).toBe(0);
    grant(far, 12, 1, 50);
    run(near, copy(near, [{ from: [self, OWN_PFN, 0], to: [2, 12, 0], length: 4, flags: destGref }]));
    expect(status(near)).toBe(GNTST.generalError);
  });

  test("the granting domain is destroyed", () => {
    const { world, near } = setUp();
    world.shards[shards - 1]!.destroy(2);
    run(near, copy(near, [{ from: [self, OWN_PFN, 0], to: [2, 8, 0], length: 4, flags: destGref }]));
    expect(status(near)).toBe(GNTST.badDomain);
  });
});
