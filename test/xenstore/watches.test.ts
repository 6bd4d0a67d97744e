/** Who is told of what, and how paths are spelt to them. */
import { beforeEach, describe, expect, test } from "vitest";
import { XENSTORE_PAYLOAD_MAX, XS } from "../../src/abi/io-xenstore.ts";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { Store } from "../../src/xenstore/store.ts";
import { messagesIn, WireClient } from "./wire-client.ts";

let store: Store;
let dom0: LocalClient;
let guest: WireClient;

beforeEach(() => {
  store = new Store();
  dom0 = new LocalClient(store);
  store.addDomain(5);
  store.addDomain(6);
  dom0.write("/local/domain/5", "", ["n0", "r5"]);
  dom0.write("/local/domain/5/control/shutdown", "", ["n5"]);
  dom0.write("/local/domain/5/data", "", ["n5"]);
  dom0.write("/secret/deep", "", ["n0"]);
  guest = new WireClient(store, 5);
});

/** Watches without hearing of the first event. */
function watching(...watches: string[]): void {
  for (const watch of watches) expect(guest.ask(XS.watch, watch)).toBe("OK|");
  guest.heard();
}

describe("a watch", () => {
  test("is answered, and then fires once, whether the path is there or not", () => {
    guest.feed(new Uint8Array(0));
    expect(guest.ask(XS.watch, "data|token|")).toBe("OK|");
    expect(guest.heard()).toEqual(["data token"]);
    expect(guest.ask(XS.watch, "/no/such|t2|")).toBe("OK|");
    expect(guest.heard()).toEqual(["/no/such t2"]);
  });

  test("the reply comes before the first event", () => {
    const raw = new WireClient(store, 5);
    const payload = "data\0t\0";
    const bytes = new Uint8Array(16 + payload.length);
    new DataView(bytes.buffer).setUint32(0, XS.watch, true);
    new DataView(bytes.buffer).setUint32(12, payload.length, true);
    bytes.set(Buffer.from(payload), 16);
    raw.feed(bytes);
    expect(messagesIn(raw.output()).map(({ type }) => type)).toEqual([XS.watch, XS.watchEvent]);
  });

  type Row = [string, string, () => void, string[]];
  const rows: Row[] = [
    [
      "tells of a write at its path",
      "control/shutdown|t|",
      () => dom0.write("/local/domain/5/control/shutdown", "poweroff"),
      ["control/shutdown t"],
    ],
    [
      "tells of a write below its path",
      "control|t|",
      () => dom0.write("/local/domain/5/control/shutdown", "reboot"),
      ["control/shutdown t"],
    ],
    [
      "set absolutely, tells absolute paths",
      "/local/domain/5/control|t|",
      () => dom0.write("/local/domain/5/control/shutdown", "halt"),
      ["/local/domain/5/control/shutdown t"],
    ],
    [
      "tells nothing of a write above its path",
      "control/shutdown|t|",
      () => dom0.write("/local/domain/5/control", ""),
      [],
    ],
    [
      "tells nothing of a node whose name only begins alike",
      "da|t|",
      () => dom0.write("/local/domain/5/data", "v"),
      [],
    ],
    [
      "tells of new nodes once, not of the parents made with them",
      "data|t|",
      () => dom0.write("/local/domain/5/data/a/b/c", "v"),
      ["data/a/b/c t"],
    ],
    [
      "tells of a removal below it",
      "data|t|",
      () => {
        dom0.write("/local/domain/5/data/x", "");
        guest.heard();
        dom0.remove("/local/domain/5/data/x");
      },
      ["data/x t"],
    ],
    [
      "is told its own path when a parent is removed",
      "control/shutdown|t|",
      () => dom0.remove("/local/domain/5/control"),
      ["control/shutdown t"],
    ],
    [
      "is not told of a parent's removal when it was not there",
      "control/none|t|",
      () => dom0.remove("/local/domain/5/control"),
      [],
    ],
    ["is not told when nothing is removed", "data|t|", () => dom0.remove("/local/domain/5/data/none"), []],
    ["tells of new permissions", "data|t|", () => guest.ask(XS.setPerms, "data|n5|r6|"), ["data t"]],
    [
      "tells of permissions that are taken away",
      "/local/domain/5/control|t|",
      () => dom0.write("/local/domain/5/control/shutdown", "", ["n0"]),
      ["/local/domain/5/control/shutdown t"],
    ],
    ["tells nothing of what the guest may not read", "/|t|", () => dom0.write("/secret/deep", "v"), []],
    [
      "on the root tells of everything that may be read",
      "/|t|",
      () => dom0.write("/local/domain/5/data/x", "v"),
      ["/local/domain/5/data/x t"],
    ],
    ["on the root tells nothing of special events", "/|t|", () => store.fireSpecial("@introduceDomain"), []],
    [
      "tells one event once while it is unread",
      "data|t|",
      () => {
        for (let i = 0; i < 50; i++) dom0.write("/local/domain/5/data", `${i}`);
      },
      ["data t"],
    ],
    ["tells of the guest's own writes", "data|t|", () => guest.ask(XS.write, "data/own|v"), ["data/own t"]],
  ];
  test.each(rows)("%s", (_, watch, change, expected) => {
    watching(watch);
    change();
    expect(guest.heard()).toEqual(expected);
  });

  test("an event is told again after it was read", () => {
    watching("data|t|");
    dom0.write("/local/domain/5/data", "1");
    expect(guest.heard()).toEqual(["data t"]);
    dom0.write("/local/domain/5/data", "2");
    expect(guest.heard()).toEqual(["data t"]);
  });

  test("the same path may be watched with several tokens", () => {
    watching("data|a|", "data|b|", "/local/domain/5/data|c|");
    dom0.write("/local/domain/5/data", "v");
    expect(guest.heard()).toEqual(["data a", "data b", "/local/domain/5/data c"]);
  });

  test("the same path and token may not: EEXIST, also spelt otherwise", () => {
    watching("data|a|");
    expect(guest.ask(XS.watch, "data|a|")).toBe("EEXIST");
    expect(guest.ask(XS.watch, "/local/domain/5/data|a|")).toBe("EEXIST");
  });

  test("unwatch ends one watch; a second time is ENOENT", () => {
    watching("data|a|", "data|b|");
    expect(guest.ask(XS.unwatch, "data|a|")).toBe("OK|");
    expect(guest.ask(XS.unwatch, "data|a|")).toBe("ENOENT");
    dom0.write("/local/domain/5/data", "v");
    expect(guest.heard()).toEqual(["data b"]);
  });

  test("RESET_WATCHES ends all watches and transactions", () => {
    watching("data|a|", "/|b|", "@releaseDomain|c|");
    expect(guest.ask(XS.transactionStart, "|")).toBe("1|");
    expect(guest.ask(XS.resetWatches, "|")).toBe("OK|");
    dom0.write("/local/domain/5/data", "v");
    expect(guest.heard()).toEqual([]);
    expect(guest.ask(XS.transactionEnd, "T|", 1)).toBe("ENOENT");
    expect(guest.ask(XS.watch, "data|a|")).toBe("OK|");
  });

  const bad: [string, string, string][] = [
    ["needs a token", "data|", "EINVAL"],
    ["needs NULs", "data|token", "EINVAL"],
    ["needs a good path", "da ta|t|", "EINVAL"],
    ["knows two special events", "@other|t|", "EINVAL"],
    ["may have an empty token", "data||", "OK|"],
    ["may bring a reserved third string", "data|t|x|", "OK|"],
  ];
  test.each(bad)("%s", (_, payload, expected) => {
    expect(guest.ask(XS.watch, payload)).toBe(expected);
  });

  test("an event that does not fit a message is not sent", () => {
    const token = "t".repeat(XENSTORE_PAYLOAD_MAX - 8);
    expect(guest.ask(XS.watch, `data|${token}|`)).toBe("OK|");
    guest.heard();
    dom0.write("/local/domain/5/data/longer-than-that", "v");
    expect(guest.heard()).toEqual([]);
  });

  test("events of a transaction come when it is committed, in the order of its changes", () => {
    watching("data|t|");
    guest.ask(XS.transactionStart, "|");
    guest.ask(XS.write, "data/b|1", 1);
    guest.ask(XS.write, "data/a|1", 1);
    guest.ask(XS.write, "data/b|2", 1);
    expect(guest.heard()).toEqual([]);
    expect(guest.ask(XS.transactionEnd, "T|", 1)).toBe("OK|");
    expect(guest.heard()).toEqual(["data/b t", "data/a t"]);
  });

  test("an abandoned transaction tells nothing", () => {
    watching("data|t|");
    guest.ask(XS.transactionStart, "|");
    guest.ask(XS.write, "data/b|1", 1);
    expect(guest.ask(XS.transactionEnd, "F|", 1)).toBe("OK|");
    expect(guest.heard()).toEqual([]);
  });

  test("what a transaction made and removed tells nothing", () => {
    watching("data|t|");
    guest.ask(XS.transactionStart, "|");
    guest.ask(XS.write, "data/b|1", 1);
    guest.ask(XS.rm, "data/b|", 1);
    expect(guest.ask(XS.transactionEnd, "T|", 1)).toBe("OK|");
    expect(guest.heard()).toEqual([]);
  });
});

describe("special events", () => {
  test("Domain 0 is told who comes and goes", () => {
    const control = new WireClient(store, 0);
    control.ask(XS.watch, "@introduceDomain|i|");
    control.ask(XS.watch, "@releaseDomain|r|");
    expect(control.heard()).toEqual(["@introduceDomain i", "@releaseDomain r"]);
    store.fireSpecial("@introduceDomain");
    expect(control.heard()).toEqual(["@introduceDomain i"]);
    store.fireSpecial("@releaseDomain");
    expect(control.heard()).toEqual(["@releaseDomain r"]);
  });

  test("a guest may watch but is told only if Domain 0 lets it", () => {
    watching("@releaseDomain|r|");
    store.fireSpecial("@releaseDomain");
    expect(guest.heard()).toEqual([]);
    const control = new WireClient(store, 0);
    expect(control.ask(XS.setPerms, "@releaseDomain|n0|r5|")).toBe("OK|");
    expect(guest.ask(XS.getPerms, "@releaseDomain|")).toBe("n0|r5|");
    store.fireSpecial("@releaseDomain");
    expect(guest.heard()).toEqual(["@releaseDomain r"]);
  });
});

describe("Domain 0's own watches", () => {
  test("are told at delivery, once at first, and not after they ended", () => {
    const heard: string[] = [];
    const end = dom0.watch("/local/domain/5/data", (path) => heard.push(path));
    expect(heard).toEqual([]);
    expect(dom0.deliver()).toBe(true);
    expect(heard).toEqual(["/local/domain/5/data"]);
    guest.ask(XS.write, "data/x|v");
    expect(heard).toHaveLength(1);
    dom0.deliver();
    expect(heard).toEqual(["/local/domain/5/data", "/local/domain/5/data/x"]);
    guest.ask(XS.write, "data/y|v");
    end();
    dom0.deliver();
    expect(heard).toHaveLength(2);
    expect(dom0.deliver()).toBe(false);
  });

  test("a transaction of Domain 0 is seen as one", () => {
    const seen: (string | undefined)[] = [];
    dom0.watch("/a", () => seen.push(dom0.read("/a/x"), dom0.read("/a/y")));
    dom0.deliver();
    dom0.transaction((view) => {
      view.write("/a/x", "1");
      expect(dom0.read("/a/x")).toBeUndefined();
      expect(view.read("/a/x")).toBe("1");
      view.write("/a/y", "2");
    });
    dom0.deliver();
    expect(seen).toEqual([undefined, undefined, "1", "2", "1", "2"]);
  });

  test("text is kept as UTF-8", () => {
    dom0.write("/local/domain/5/data/name", "café", ["n5"]);
    expect(guest.ask(XS.read, "data/name|")).toBe("caf\xc3\xa9");
    expect(dom0.read("/local/domain/5/data/name")).toBe("café");
  });

  test("a malformed path is a bug", () => {
    expect(() => dom0.write("/a b", "")).toThrow(/malformed/);
  });
});
