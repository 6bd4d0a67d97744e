/** What a guest may ask of xenstore, and what it is answered. `|` is a NUL. Domain 5 is the caller unless a row says 0. */
import { beforeEach, describe, expect, test } from "vitest";
import { XS } from "../../src/abi/io-xenstore.ts";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { Store } from "../../src/xenstore/store.ts";
import { WireClient } from "./wire-client.ts";

let store: Store;
let dom0: LocalClient;
let guest: WireClient;
let other: WireClient;

beforeEach(() => {
  store = new Store();
  dom0 = new LocalClient(store);
  for (const domid of [5, 6]) {
    store.addDomain(domid);
    dom0.write(`/local/domain/${domid}`, "", ["n0", `r${domid}`]);
    dom0.write(`/local/domain/${domid}/name`, `guest${domid}`, ["n0", `r${domid}`]);
    dom0.write(`/local/domain/${domid}/data`, "", [`n${domid}`]);
  }
  dom0.write("/secret", "x", ["n0"]);
  dom0.write("/secret/deep", "y", ["n0"]);
  dom0.write("/open", "o", ["b0"]);
  dom0.write("/public", "p", ["r0"]);
  dom0.write("/writeonly", "w", ["w0"]);
  guest = new WireClient(store, 5);
  other = new WireClient(store, 6);
});

describe("one request", () => {
  const rows: [string, number, string, string][] = [
    ["a guest reads its own node by a relative path", XS.read, "name|", "guest5"],
    ["a guest reads by an absolute path", XS.read, "/local/domain/5/name|", "guest5"],
    ["a value comes without a NUL, and may be empty", XS.read, "data|", ""],
    ["what is not there is ENOENT where the guest may look", XS.read, "device/vbd|", "ENOENT"],
    ["a directory that is not there is ENOENT (GRUB asks so for its disks)", XS.directory, "device/vbd|", "ENOENT"],
    ["another domain's node is EACCES", XS.read, "/local/domain/6/name|", "EACCES"],
    ["what is not there under a hidden node is EACCES too", XS.read, "/secret/no|", "EACCES"],
    ["everybody may read where others may", XS.read, "/public|", "p"],
    ["write access alone does not read", XS.read, "/writeonly|", "EACCES"],
    ["write access alone writes", XS.write, "/writeonly|v", "OK|"],
    ["children are listed in the order they were made", XS.directory, "/local/domain/5|", "name|data|"],
    ["a node without children lists nothing", XS.directory, "name|", ""],
    ["a guest may not write its own read-only node", XS.write, "name|new", "EACCES"],
    ["a guest may not make nodes in its read-only home", XS.write, "mine|v", "EACCES"],
    ["a guest may not write Domain 0's node", XS.write, "/secret|v", "EACCES"],
    ["a guest writes where it owns", XS.write, "data|v", "OK|"],
    ["writing makes missing parents", XS.write, "data/a/b/c|v", "OK|"],
    ["a value may hold any octet", XS.write, "data|a|b\xff", "OK|"],
    ["a value of 2048 bytes is the largest", XS.write, `data/v|${"x".repeat(2048)}`, "OK|"],
    ["a larger value is ENOSPC", XS.write, `data/v|${"x".repeat(2049)}`, "ENOSPC"],
    ["a write needs a NUL after its path", XS.write, "data", "EINVAL"],
    ["mkdir makes a node", XS.mkdir, "data/dir|", "OK|"],
    ["mkdir of what is there is fine", XS.mkdir, "data|", "OK|"],
    ["mkdir without the right to is EACCES", XS.mkdir, "/secret/dir|", "EACCES"],
    ["rm of what is not there is fine if its parent is", XS.rm, "data/none|", "OK|"],
    ["rm without a parent is ENOENT", XS.rm, "data/none/none|", "ENOENT"],
    ["rm of what others own is EACCES", XS.rm, "/public|", "EACCES"],
    ["nobody removes the root", XS.rm, "/|", "EINVAL"],
    ["permissions are owner and default, then grants", XS.getPerms, "name|", "n0|r5|"],
    ["a guest sets permissions of its node", XS.setPerms, "data|n5|r6|", "OK|"],
    ["a guest does not give its node away", XS.setPerms, "data|n6|", "EPERM"],
    ["a guest does not set permissions of another's node", XS.setPerms, "/open|n5|", "EACCES"],
    ["more than five permission entries are ENOSPC", XS.setPerms, "data|n5|r1|r2|r3|r4|r6|", "ENOSPC"],
    ["a permission has a letter and a number", XS.setPerms, "data|x5|", "EINVAL"],
    ["a domid is at most 65535", XS.setPerms, "data|n5|r65536|", "EINVAL"],
    ["setting no permissions is EINVAL", XS.setPerms, "data|", "EINVAL"],
    ["a path must end with a NUL", XS.read, "name", "EINVAL"],
    ["one path means one", XS.read, "name|name|", "EINVAL"],
    ["an empty payload has no path", XS.read, "", "EINVAL"],
    ["a bad character is EINVAL", XS.read, "na me|", "EINVAL"],
    ["special nodes are not read", XS.read, "@introduceDomain|", "EINVAL"],
    ["a domain's path is told for any number", XS.getDomainPath, "77|", "/local/domain/77|"],
    ["a domain's path needs a number", XS.getDomainPath, "x|", "EINVAL"],
    ["only Domain 0 asks who is introduced (XSA-115)", XS.isDomainIntroduced, "5|", "EACCES"],
    ["only Domain 0 introduces", XS.introduce, "7|1|1|", "EACCES"],
    ["only Domain 0 releases", XS.release, "5|", "EACCES"],
    ["only Domain 0 resumes", XS.resume, "5|", "EACCES"],
    ["only Domain 0 sets targets", XS.setTarget, "5|6|", "EACCES"],
    ["only Domain 0 controls", XS.control, "print|x|", "EACCES"],
    ["a reply type is no request", XS.error, "EINVAL|", "ENOSYS"],
    ["a watch event is no request", XS.watchEvent, "a|b|", "ENOSYS"],
    ["the removed RESTRICT is unknown", 20, "5|", "ENOSYS"],
    ["a type beyond the last is unknown", XS.typeCount, "", "ENOSYS"],
    ["the invalid type is unknown", XS.invalid, "", "ENOSYS"],
    ["an unknown transaction is ENOENT", XS.transactionEnd, "T|", "ENOENT"],
    ["a transaction ends with T or F", XS.transactionEnd, "X|", "EINVAL"],
    ["a guest may not see who comes", XS.getPerms, "@introduceDomain|", "EACCES"],
    ["a guest may not decide who sees who comes", XS.setPerms, "@introduceDomain|r0|", "EACCES"],
    ["there are two special nodes only", XS.getPerms, "@other|", "ENOENT"],
  ];
  test.each(rows)("%s", (_, type, payload, expected) => {
    expect(guest.ask(type, payload)).toBe(expected);
  });

  test("Domain 0 asks who is introduced", () => {
    const control = new WireClient(store, 0);
    expect(control.ask(XS.isDomainIntroduced, "5|")).toBe("F|");
    store.setIntroduced(5, true);
    expect(control.ask(XS.isDomainIntroduced, "5|")).toBe("T|");
    expect(control.ask(XS.isDomainIntroduced, "0|")).toBe("T|");
  });
});

describe("nodes", () => {
  test("a guest owns what it makes, wherever it makes it", () => {
    expect(guest.ask(XS.write, "/open/mine/leaf|v")).toBe("OK|");
    expect(guest.ask(XS.getPerms, "/open/mine|")).toBe("b5|");
    expect(guest.ask(XS.getPerms, "/open/mine/leaf|")).toBe("b5|");
  });

  test("what Domain 0 makes has its parent's owner", () => {
    dom0.write("/local/domain/5/data/from-dom0", "v");
    expect(guest.ask(XS.getPerms, "data/from-dom0|")).toBe("n5|");
  });

  test("a grant lets one domain in and no other", () => {
    guest.ask(XS.write, "data/shared|v");
    guest.ask(XS.setPerms, "data/shared|n5|r6|");
    expect(other.ask(XS.read, "/local/domain/5/data/shared|")).toBe("v");
    expect(other.ask(XS.write, "/local/domain/5/data/shared|w")).toBe("EACCES");
  });

  test("removing a node removes all below it", () => {
    guest.ask(XS.write, "data/a/b/c|v");
    expect(guest.ask(XS.rm, "data/a|")).toBe("OK|");
    expect(guest.ask(XS.read, "data/a/b/c|")).toBe("ENOENT");
    expect(guest.ask(XS.directory, "data|")).toBe("");
  });

  test("the error of a write names the nearest parent's right", () => {
    expect(guest.ask(XS.write, "/open/x/y|v")).toBe("OK|");
    expect(guest.ask(XS.write, "/public/x/y|v")).toBe("EACCES");
  });
});

describe("a domid that is used again (XSA-322)", () => {
  test("a grant to a dead domain does not let its successor in", () => {
    guest.ask(XS.setPerms, "data|n5|r6|");
    expect(other.ask(XS.read, "/local/domain/5/data|")).toBe("");
    store.removeDomain(6);
    store.addDomain(6);
    expect(other.ask(XS.read, "/local/domain/5/data|")).toBe("EACCES");
    expect(guest.ask(XS.getPerms, "data|")).toBe("n5|r6|");
  });

  test("a dead domain's node goes with it, whoever has nodes below", () => {
    guest.ask(XS.write, "/open/left|v");
    other.ask(XS.write, "/open/left/below|v");
    store.removeDomain(5);
    store.addDomain(5);
    expect(guest.ask(XS.read, "/open/left|")).toBe("ENOENT");
    expect(dom0.list("/open")).toEqual([]);
    expect([store.nodesOf(5), store.nodesOf(6)]).toEqual([0, 1]);
  });

  test("a grant that is inherited stays void", () => {
    guest.ask(XS.setPerms, "data|n5|r6|");
    store.removeDomain(6);
    store.addDomain(6);
    dom0.write("/local/domain/5/data/new", "v");
    expect(other.ask(XS.read, "/local/domain/5/data/new|")).toBe("EACCES");
  });
});

describe("long directories", () => {
  const names = Array.from({ length: 900 }, (_, i) => `child-${i}`);
  beforeEach(() => {
    for (const name of names) dom0.write(`/local/domain/5/data/${name}`, "");
  });

  test("a list longer than a message is E2BIG", () => {
    expect(guest.ask(XS.directory, "data|")).toBe("E2BIG");
  });

  test("it is read in parts, by byte offsets, up to an empty name", () => {
    let list = "";
    let generation: string | undefined;
    for (let part = 0; !list.endsWith("||"); part++) {
      expect(part).toBeLessThan(10);
      const answer = guest.ask(XS.directoryPart, `data|${list.length}|`);
      const [told] = answer.split("|");
      expect(generation ?? told).toBe(told);
      generation = told;
      list += answer.slice(told.length + 1);
    }
    expect(list.slice(0, -2).split("|")).toEqual(names);
  });

  test("its generation changes when a child comes, and not when a child is written", () => {
    const generation = () => guest.ask(XS.directoryPart, "data|0|").split("|")[0];
    const before = generation();
    guest.ask(XS.write, "data/child-3|v");
    expect(generation()).toBe(before);
    guest.ask(XS.write, "data/one-more|v");
    expect(generation()).not.toBe(before);
  });

  const bad: [string, string, string][] = [
    ["an offset beyond the end answers the end", "data|999999|", "end"],
    ["an offset must be a number", "data|x|", "EINVAL"],
    ["an offset must be there", "data|", "EINVAL"],
    ["an offset may not be negative", "data|-1|", "EINVAL"],
    ["the node must be there", "none|0|", "ENOENT"],
  ];
  test.each(bad)("%s", (_, payload, expected) => {
    const answer = guest.ask(XS.directoryPart, payload);
    if (expected === "end") expect(answer).toMatch(/^\d+\|\|$/);
    else expect(answer).toBe(expected);
  });
});

describe("quotas", () => {
  test("a guest owns a thousand nodes and no more", () => {
    for (let i = 1; i < 1000; i++) expect(guest.ask(XS.write, `data/n${i}|`)).toBe("OK|");
    expect(store.nodesOf(5)).toBe(1000);
    expect(guest.ask(XS.write, "data/more|")).toBe("ENOSPC");
    expect(guest.ask(XS.write, "data/n1|again")).toBe("OK|");
    expect(guest.ask(XS.rm, "data/n1|")).toBe("OK|");
    expect(guest.ask(XS.write, "data/a/b|")).toBe("ENOSPC");
    expect(guest.ask(XS.write, "data/more|")).toBe("OK|");
  });

  test("a transaction does not get round it", () => {
    const txs = [0, 1].map(() => Number(guest.ask(XS.transactionStart, "|").slice(0, -1)));
    for (const [i, tx] of txs.entries()) {
      for (let n = 0; n < 510; n++) expect(guest.ask(XS.write, `data/t${i}-${n}|`, tx)).toBe("OK|");
    }
    expect(guest.ask(XS.transactionEnd, "T|", txs[0])).toBe("OK|");
    expect(guest.ask(XS.transactionEnd, "T|", txs[1])).not.toBe("OK|");
    expect(store.nodesOf(5)).toBe(511);
  });

  test("Domain 0 may give a guest more", () => {
    for (let i = 0; i < 1200; i++) dom0.write(`/local/domain/5/data/n${i}`, "");
    expect(store.nodesOf(5)).toBe(1201);
    expect(guest.ask(XS.write, "data/more|")).toBe("ENOSPC");
  });

  test("a guest has 128 watches", () => {
    for (let i = 0; i < 128; i++) expect(guest.ask(XS.watch, `data|t${i}|`)).toBe("OK|");
    expect(guest.ask(XS.watch, "data|t128|")).toBe("E2BIG");
  });

  test("a guest has ten open transactions", () => {
    for (let i = 1; i <= 10; i++) expect(guest.ask(XS.transactionStart, "|")).toBe(`${i}|`);
    expect(guest.ask(XS.transactionStart, "|")).toBe("ENOSPC");
    expect(guest.ask(XS.transactionEnd, "F|", 3)).toBe("OK|");
    expect(guest.ask(XS.transactionStart, "|")).toBe("11|");
  });

  test("a transaction touches 1024 paths", () => {
    const tx = Number(guest.ask(XS.transactionStart, "|").slice(0, -1));
    let answer = "";
    let reads = 0;
    for (; answer !== "ENOSPC" && reads < 2000; reads++) answer = guest.ask(XS.read, `data/no${reads}|`, tx);
    expect(reads).toBe(1024);
  });

  test("a transaction makes as many changes, even of one node", () => {
    const tx = Number(guest.ask(XS.transactionStart, "|").slice(0, -1));
    for (let i = 0; i < 1024; i++) expect(guest.ask(XS.write, `data|${i}`, tx)).toBe("OK|");
    expect(guest.ask(XS.write, "data|x", tx)).toBe("ENOSPC");
  });
});
