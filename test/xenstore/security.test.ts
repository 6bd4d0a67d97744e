/**
 * Quotas, failed writes and the nodes of the dead (the classes of XSA-414, XSA-415 and XSA-419).
 *
 *  - Making a node makes its parents too. A request that fails half way, for a quota or a right, left some of them behind, or used what
 *    it had freed (414). The invariant: a request is done or leaves the tree as it was, the same tree.
 *  - In a transaction a failed request left nodes in the tree that no parent had, counted for nobody and never removed (415). The
 *    invariant: what a domain is charged for is what a walk over the tree finds, after every commit.
 *  - A node whose owner was gone became Domain 0's, which has no quota: two guests that write into each other's nodes and reboot in turn
 *    could make as many as they liked (419). The invariant: a domain's nodes go with it.
 *
 * Without them a guest fills the memory of the service that all other guests need to boot, or ends it.
 */
import { beforeEach, describe, expect, test } from "vitest";
import { XS } from "../../src/abi/io-xenstore.ts";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { ownerOf } from "../../src/xenstore/permissions.ts";
import { Store } from "../../src/xenstore/store.ts";
import { walk } from "../../src/xenstore/tree.ts";
import { WireClient } from "./wire-client.ts";

const QUOTA = 1000;
let store: Store;
let dom0: LocalClient;
let guest: WireClient;

/** A domain with a home where it may write, and its client. */
function domain(domid: number): WireClient {
  store.addDomain(domid);
  dom0.write(`/local/domain/${domid}`, "", ["n0", `r${domid}`]);
  dom0.write(`/local/domain/${domid}/data`, "", [`n${domid}`]);
  return new WireClient(store, domid);
}

/** Nodes that each domain owns, by a walk over everything. */
function found(): { total: number; of: (domid: number) => number } {
  const counts = new Map<number, number>();
  let total = 0;
  walk(store.root, "/", (_path, { permissions }) => {
    const owner = ownerOf(permissions, store.live);
    counts.set(owner, (counts.get(owner) ?? 0) + 1);
    total++;
  });
  return { total, of: (domid) => counts.get(domid) ?? 0 };
}

beforeEach(() => {
  store = new Store();
  dom0 = new LocalClient(store);
  guest = domain(5);
});

describe("a write that fails", () => {
  test.each([
    ["for its value's length", (path: string) => `${path}|${"x".repeat(2049)}`, "ENOSPC"],
    ["for a right on the nearest parent", () => "/local/domain/5/forbidden/a/b/c|v", "EACCES"],
    ["for a path that is too long", (path: string) => `${path}/${"x".repeat(3000)}|v`, "EINVAL"],
  ])("%s leaves the tree as it was", (_why, payload, error) => {
    const before = store.root;
    expect(guest.ask(XS.write, payload("data/a/b/c/d"))).toBe(error);
    expect(store.root).toBe(before);
    expect(store.nodesOf(5)).toBe(1);
  });

  test("for the quota, in the middle of the parents that it wants, makes none of them", () => {
    for (let i = store.nodesOf(5); i < QUOTA - 2; i++) expect(guest.ask(XS.write, `data/n${i}|v`)).toBe("OK|");
    const before = store.root;
    for (const type of [XS.write, XS.mkdir])
      expect(guest.ask(type, type === XS.write ? "data/p/q/r|v" : "data/p/q/r|")).toBe("ENOSPC");
    expect(store.root).toBe(before);
    expect(guest.ask(XS.write, "data/p/q|v")).toBe("OK|");
    expect([store.nodesOf(5), found().of(5)]).toEqual([QUOTA, QUOTA]);
  });
});

describe("a transaction with a write that fails", () => {
  test.each(["T|", "F|"])("ended with %s leaves no node without a parent, and none uncounted", (end) => {
    const id = Number(guest.ask(XS.transactionStart, "|").replace("|", ""));
    expect(guest.ask(XS.write, "data/good/one|v", id)).toBe("OK|");
    expect(guest.ask(XS.write, `data/good/two/three|${"x".repeat(2049)}`, id)).toBe("ENOSPC");
    expect(guest.ask(XS.write, "/local/domain/5/bad/deep|v", id)).toBe("EACCES");
    expect(guest.ask(XS.rm, "data/good|", id)).toBe("OK|");
    expect(guest.ask(XS.write, "data/good/four|v", id)).toBe("OK|");
    expect(guest.ask(XS.transactionEnd, end, id)).toBe("OK|");
    const names = guest.ask(XS.directory, "data|");
    expect(names).toBe(end === "T|" ? "good|" : "");
    expect(store.nodesOf(5)).toBe(found().of(5));
    expect(store.nodesOf(5)).toBe(end === "T|" ? 3 : 1);
  });

  test("that would exceed the quota at its end is refused whole", () => {
    for (let i = store.nodesOf(5); i < QUOTA - 10; i++) guest.ask(XS.write, `data/n${i}|v`);
    const first = Number(guest.ask(XS.transactionStart, "|").replace("|", ""));
    const second = Number(guest.ask(XS.transactionStart, "|").replace("|", ""));
    for (let i = 0; i < 8; i++) {
      expect(guest.ask(XS.write, `data/a${i}|v`, first)).toBe("OK|");
      expect(guest.ask(XS.write, `data/b${i}|v`, second)).toBe("OK|");
    }
    expect(guest.ask(XS.transactionEnd, "T|", first)).toBe("OK|");
    const before = store.root;
    expect(guest.ask(XS.transactionEnd, "T|", second)).not.toBe("OK|");
    expect(store.root).toBe(before);
    expect([store.nodesOf(5), found().of(5)]).toEqual([QUOTA - 2, QUOTA - 2]);
  });
});

describe("guests that work together", () => {
  test("own no more for writing into each other's nodes", () => {
    const other = domain(6);
    expect(guest.ask(XS.setPerms, "data|b5|")).toBe("OK|");
    let made = 0;
    while (other.ask(XS.write, `/local/domain/5/data/of-six-${made}|v`) === "OK|") made++;
    expect(made).toBe(QUOTA - 1);
    expect(other.ask(XS.write, "data/x|v")).toBe("ENOSPC");
    expect([store.nodesOf(5), store.nodesOf(6), found().of(6)]).toEqual([1, QUOTA, QUOTA]);
  });

  test("and reboot in turn leave no more nodes each time", () => {
    expect(guest.ask(XS.setPerms, "data|b5|")).toBe("OK|");
    const totals: number[] = [];
    for (let domid = 10; domid < 15; domid++) {
      const other = domain(domid);
      for (let i = 0; i < 300; i++) expect(other.ask(XS.write, `/local/domain/5/data/${domid}-${i}|v`)).toBe("OK|");
      dom0.remove(`/local/domain/${domid}`);
      store.removeDomain(domid);
      totals.push(found().total);
    }
    expect(new Set(totals).size).toBe(1);
    expect(guest.ask(XS.directory, "data|")).toBe("");
  });

  test("and watch what the dead had are told that it is gone", () => {
    const other = domain(6);
    guest.ask(XS.setPerms, "data|b5|");
    other.ask(XS.write, "/local/domain/5/data/left|v");
    other.ask(XS.setPerms, "/local/domain/5/data/left|b6|");
    guest.ask(XS.watch, "data/left|token|");
    guest.heard();
    store.removeDomain(6);
    expect(guest.heard()).toEqual(["data/left token"]);
  });
});
