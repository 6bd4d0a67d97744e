/** GNTTABOP_copy by grants in every state (Xen 4.17's acquire_grant_for_copy; XSA-226, 255 and 268 classes): who, which part, in use or not. */
import { beforeEach, describe, expect, test } from "vitest";
import { GNTMAP, GNTST, GrantEntryV2, GTF } from "../../src/abi/grant-table.ts";
import { PIN } from "../../src/hypervisor/grant-table/active-entries.ts";
import { type GrantDomain, GrantWorld, slotVa } from "./grant-world.ts";

const REF = 11;
const FAR = 40;
const NEAR = 42;
const RO = GNTMAP.hostMap | GNTMAP.readonly;

let world: GrantWorld;
let user: GrantDomain;
let owner: GrantDomain;
let third: GrantDomain;
beforeEach(() => {
  world = new GrantWorld(3, 1);
  [user, owner, third] = world.domains as [GrantDomain, GrantDomain, GrantDomain];
  for (let i = 0; i < 4096; i++) {
    owner.test.view.setUint8(FAR * 4096 + i, 1 + (i % 100));
    user.test.view.setUint8(NEAR * 4096 + i, 200);
  }
});

const read = (length = 64, offset = 0) => user.copy(owner.id, REF, NEAR, false, length, offset);
const write = (length = 64, offset = 0) => user.copy(owner.id, REF, NEAR, true, length, offset);
const far = () => [...new Uint8Array(owner.test.view.buffer, owner.test.view.byteOffset + FAR * 4096, 4096)];
const untouched = Array.from({ length: 4096 }, (_, i) => 1 + (i % 100));
const pin = (value: number) => {
  owner.test.domain.grants.active.get(REF)!.pin = value;
};

/** Writes a version 2 entry's other layouts. */
function asV2(domain: GrantDomain, ref: number, layout: "subPage" | "transitive", first: number, second: number): void {
  const { memory, grants } = domain.test.domain;
  const at = memory.hostOffset(grants.frames[0]!) + ref * GrantEntryV2.size;
  const view = new DataView(memory.buffer);
  if (layout === "subPage") {
    GrantEntryV2.subPage.pageOff.set(view, at, first);
    GrantEntryV2.subPage.length.set(view, at, second);
  } else {
    GrantEntryV2.transitive.transDomid.set(view, at, first);
    GrantEntryV2.transitive.gref.set(view, at, second);
  }
}

describe.each([1, 2])("version %i", (version) => {
  beforeEach(() => {
    if (version === 2) expect(owner.setVersion(2)).toBe(0);
  });

  test.each([
    ["nothing", 0, GNTST.generalError],
    ["the page", GTF.permitAccess, GNTST.okay],
    ["to take a page", GTF.acceptTransfer, GNTST.generalError],
  ])("an entry that grants %s", (_what, flags, status) => {
    owner.grant(REF, user.id, FAR, flags);
    expect([read(), write()]).toEqual([status, status]);
    expect(owner.flags(REF)).toBe(flags);
    owner.grant(REF, third.id, FAR, flags);
    expect([read(), write()]).toEqual([GNTST.generalError, GNTST.generalError]);
  });

  test("the table's last entry is one, the next is none", () => {
    const { count } = owner.test.domain.grants.entries;
    owner.grant(count - 1, user.id, FAR);
    expect([count - 1, count].map((ref) => user.copy(owner.id, ref, NEAR, false))).toEqual([
      GNTST.okay,
      GNTST.badGntref,
    ]);
  });

  test("a grant that is read is marked while it is, and one of a frame that there is not leaves no mark", () => {
    owner.grantMfn(REF, user.id, 5);
    expect([read(), write()]).toEqual([GNTST.badPage, GNTST.badPage]);
    expect(owner.flags(REF)).toBe(GTF.permitAccess);
  });

  test("a copy of nothing asks whether it may", () => {
    owner.grant(REF, user.id, FAR);
    expect([read(0), write(0), read(0, 4096), far()]).toEqual([GNTST.okay, GNTST.okay, GNTST.okay, untouched]);
    owner.grant(REF, third.id, FAR);
    expect([read(0), write(0)]).toEqual([GNTST.generalError, GNTST.generalError]);
  });

  describe("of a grant that is mapped", () => {
    beforeEach(() => {
      owner.grant(REF, user.id, FAR);
      expect(user.map(owner.id, REF, slotVa(0), RO).status).toBe(GNTST.okay);
    });

    test("is its user's alone, whatever the entry says by now", () => {
      owner.grant(REF, third.id, FAR);
      expect(third.copy(owner.id, REF, NEAR, false)).toBe(GNTST.generalError);
      expect(read()).toBe(GNTST.okay);
    });

    test("is of the frame that was granted then", () => {
      owner.grant(REF, user.id, FAR + 1);
      expect(read()).toBe(GNTST.okay);
      expect(user.test.view.getUint8(NEAR * 4096 + 5)).toBe(6);
    });

    test("may be written if the entry lets it, which is asked once more", () => {
      expect(write()).toBe(GNTST.okay);
      expect(owner.flags(REF)).toBe(GTF.permitAccess | GTF.reading);
      owner.grant(REF, user.id, FAR, GTF.permitAccess | GTF.readonly | GTF.reading);
      expect([write(), read()]).toEqual([GNTST.generalError, GNTST.okay]);
    });

    test("is not asked again where it is written already", () => {
      expect(user.map(owner.id, REF, slotVa(1), GNTMAP.hostMap).status).toBe(GNTST.okay);
      owner.grant(REF, user.id, FAR, GTF.permitAccess | GTF.readonly);
      expect(write()).toBe(GNTST.okay);
    });

    test("ends where its kind of uses cannot be counted", () => {
      pin(PIN.hostRead * 128);
      expect([read(), write()]).toEqual([GNTST.generalError, GNTST.okay]);
      pin(PIN.hostRead + PIN.hostWrite * 128);
      expect([read(), write()]).toEqual([GNTST.okay, GNTST.generalError]);
      pin(PIN.hostRead);
    });

    test("may have been made one that is passed on: that does not concern what is mapped", () => {
      owner.grant(REF, user.id, FAR, GTF.transitive);
      expect(read()).toBe(GNTST.okay);
      expect(write()).toBe(version === 1 ? GNTST.okay : GNTST.generalError);
    });
  });
});

describe("version 1 knows no other entries", () => {
  test("one that would be passed on grants nothing", () => {
    owner.grant(REF, user.id, FAR, GTF.transitive);
    expect([read(), write()]).toEqual([GNTST.generalError, GNTST.generalError]);
  });

  test("a part of a page is all of it", () => {
    owner.grant(REF, user.id, FAR, GTF.permitAccess | GTF.subPage);
    expect([read(4096, 0), write(8, 4088)]).toEqual([GNTST.okay, GNTST.okay]);
  });
});

describe("version 2", () => {
  beforeEach(() => {
    for (const domain of [owner, third]) expect(domain.setVersion(2)).toBe(0);
  });

  test("without GTF_sub_page the page is granted, whatever its part would be", () => {
    owner.grant(REF, user.id, FAR);
    asV2(owner, REF, "subPage", 100, 1);
    owner.grant(REF, user.id, FAR);
    expect([read(4096, 0), write(8, 4088)]).toEqual([GNTST.okay, GNTST.okay]);
  });

  test("a part is granted to the byte: nothing outside is written, and a copy of nothing is anywhere", () => {
    owner.grant(REF, user.id, FAR, GTF.permitAccess | GTF.subPage);
    asV2(owner, REF, "subPage", 100, 64);
    for (const [length, offset] of [
      [65, 100],
      [1, 99],
      [1, 164],
      [2, 163],
    ] as const) {
      expect([length, offset, read(length, offset), write(length, offset)]).toEqual([
        length,
        offset,
        GNTST.generalError,
        GNTST.generalError,
      ]);
    }
    expect([far(), user.test.view.getUint8(NEAR * 4096)]).toEqual([untouched, 200]);
    expect([read(0, 99), write(0, 165), read(1, 163), write(64, 100)]).toEqual([0, 0, 0, 0]);
    expect(far().slice(99, 165)).toEqual([untouched[99], untouched[163], ...Array(63).fill(200), untouched[164]]);
  });

  test("a grant that is passed on is not passed on again, nor to oneself", () => {
    third.grant(10, owner.id, FAR);
    owner.grant(REF, user.id, 0, GTF.transitive);
    asV2(owner, REF, "transitive", third.id, 10);
    expect(read()).toBe(GNTST.okay);
    asV2(owner, REF, "transitive", owner.id, 12);
    owner.grant(12, owner.id, FAR);
    expect(read()).toBe(GNTST.generalError);
    asV2(owner, REF, "transitive", third.id, 10);
    third.grant(10, owner.id, 0, GTF.transitive);
    asV2(third, 10, "transitive", user.id, 9);
    user.grant(9, third.id, FAR);
    expect(read()).toBe(GNTST.generalError);
    expect([owner.flags(REF), third.flags(10)]).toEqual([GTF.transitive, GTF.transitive]);
    for (const domid of [0, 77]) {
      asV2(owner, REF, "transitive", domid, 10);
      expect(read()).toBe(GNTST.generalError);
    }
  });
});
