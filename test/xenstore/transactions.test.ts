/** Transactions: what they see, when they conflict, and that those that commit might as well have run alone. */
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../src/abi/errno.ts";
import { XS } from "../../src/abi/io-xenstore.ts";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { type Path, parsePath } from "../../src/xenstore/path.ts";
import { ownerOf } from "../../src/xenstore/permissions.ts";
import { Store } from "../../src/xenstore/store.ts";
import type { Transaction } from "../../src/xenstore/transaction.ts";
import { walk } from "../../src/xenstore/tree.ts";
import { NaiveStore, type Op } from "./naive-store.ts";
import { WireClient } from "./wire-client.ts";

describe("two transactions", () => {
  let store: Store;
  let dom0: LocalClient;
  let guest: WireClient;

  beforeEach(() => {
    store = new Store();
    dom0 = new LocalClient(store);
    store.addDomain(5);
    dom0.write("/t", "", ["b0"]);
    for (const name of ["a", "b", "c"]) dom0.write(`/t/${name}`, name, ["b0"]);
    guest = new WireClient(store, 5);
  });

  type Step = [type: number, payload: string];
  type Row = [string, Step[], Step[], string];
  const rows: Row[] = [
    ["commits when nothing else happened", [[XS.write, "/t/a|1"]], [], "OK|"],
    ["conflicts when what it read was written", [[XS.read, "/t/a|"]], [[XS.write, "/t/a|2"]], "EAGAIN"],
    ["conflicts even when the same value was written", [[XS.read, "/t/a|"]], [[XS.write, "/t/a|a"]], "EAGAIN"],
    ["conflicts when what it wrote was written", [[XS.write, "/t/a|1"]], [[XS.write, "/t/a|2"]], "EAGAIN"],
    [
      "commits when something else was written",
      [
        [XS.read, "/t/a|"],
        [XS.write, "/t/b|1"],
      ],
      [[XS.write, "/t/c|2"]],
      "OK|",
    ],
    ["commits when two make different children", [[XS.write, "/t/x|1"]], [[XS.write, "/t/y|2"]], "OK|"],
    ["conflicts when two make the same child", [[XS.write, "/t/x|1"]], [[XS.write, "/t/x|2"]], "EAGAIN"],
    ["conflicts when two make the same parent", [[XS.write, "/t/x/1|1"]], [[XS.write, "/t/x/2|2"]], "EAGAIN"],
    ["conflicts when what it listed has a new child", [[XS.directory, "/t|"]], [[XS.write, "/t/y|2"]], "EAGAIN"],
    ["conflicts when what it listed has lost a child", [[XS.directory, "/t|"]], [[XS.rm, "/t/b|"]], "EAGAIN"],
    ["commits when a listed child was only written", [[XS.directory, "/t|"]], [[XS.write, "/t/b|2"]], "OK|"],
    ["conflicts when what was missing has come", [[XS.read, "/t/x|"]], [[XS.mkdir, "/t/x|"]], "EAGAIN"],
    ["conflicts when a parent of what was missing has come", [[XS.read, "/t/x/y|"]], [[XS.mkdir, "/t/x|"]], "EAGAIN"],
    ["conflicts when what it removes was written below", [[XS.rm, "/t/a|"]], [[XS.write, "/t/a/deep|2"]], "EAGAIN"],
    ["conflicts when the parent of what it makes was removed", [[XS.write, "/t/a/x|1"]], [[XS.rm, "/t/a|"]], "EAGAIN"],
    [
      "conflicts when what it read was removed and made again",
      [[XS.read, "/t/a|"]],
      [
        [XS.rm, "/t/a|"],
        [XS.write, "/t/a|a"],
      ],
      "EAGAIN",
    ],
    ["commits when what it never looked at was removed", [[XS.write, "/t/a|1"]], [[XS.rm, "/t/b|"]], "OK|"],
  ];
  test.each(rows)("%s", (_, inside, meanwhile, expected) => {
    expect(guest.ask(XS.transactionStart, "|")).toBe("1|");
    for (const [type, payload] of inside) guest.ask(type, payload, 1);
    const control = new WireClient(store, 0);
    for (const [type, payload] of meanwhile) expect(control.ask(type, payload)).toBe("OK|");
    expect(guest.ask(XS.transactionEnd, "T|", 1)).toBe(expected);
    expect(guest.ask(XS.transactionEnd, "T|", 1)).toBe("ENOENT");
  });

  test("a transaction sees its own writes, others do not until it commits", () => {
    guest.ask(XS.transactionStart, "|");
    guest.ask(XS.write, "/t/a|mine", 1);
    expect(guest.ask(XS.read, "/t/a|", 1)).toBe("mine");
    expect(guest.ask(XS.read, "/t/a|")).toBe("a");
    expect(guest.ask(XS.transactionEnd, "T|", 1)).toBe("OK|");
    expect(guest.ask(XS.read, "/t/a|")).toBe("mine");
  });

  test("a transaction sees the store as it was when it began", () => {
    guest.ask(XS.transactionStart, "|");
    dom0.write("/t/a", "later");
    expect(guest.ask(XS.read, "/t/a|", 1)).toBe("a");
  });

  test("an abandoned transaction leaves nothing", () => {
    guest.ask(XS.transactionStart, "|");
    guest.ask(XS.write, "/t/a|mine", 1);
    expect(guest.ask(XS.transactionEnd, "F|", 1)).toBe("OK|");
    expect(guest.ask(XS.read, "/t/a|")).toBe("a");
  });

  test("transactions do not nest", () => {
    guest.ask(XS.transactionStart, "|");
    expect(guest.ask(XS.transactionStart, "|", 1)).toBe("EBUSY");
  });

  test("one connection's transaction is not another's", () => {
    guest.ask(XS.transactionStart, "|");
    const other = new WireClient(store, 5);
    expect(other.ask(XS.read, "/t/a|", 1)).toBe("ENOENT");
  });

  test("merged children are listed in the order of the commits", () => {
    guest.ask(XS.transactionStart, "|");
    guest.ask(XS.write, "/t/first|", 1);
    dom0.write("/t/second", "", ["b0"]);
    expect(guest.ask(XS.transactionEnd, "T|", 1)).toBe("OK|");
    expect(guest.ask(XS.directory, "/t|")).toBe("a|b|c|second|first|");
  });

  test("a domain that dies takes its open transactions' rights with it", () => {
    store.addDomain(6);
    dom0.write("/t/a", "a", ["n0", "b6"]);
    const six = new WireClient(store, 6);
    six.ask(XS.transactionStart, "|");
    expect(six.ask(XS.write, "/t/a|v", 1)).toBe("OK|");
    store.removeDomain(6);
    expect(six.ask(XS.transactionEnd, "T|", 1)).toBe("EAGAIN");
    expect(dom0.read("/t/a")).toBe("a");
  });
});

const path = (text: string): Path => {
  const parsed = parsePath(text, "");
  if (typeof parsed === "number") throw new Error(text);
  return parsed;
};

function run(transaction: Transaction, op: Op): string | number {
  const at = path(op.path);
  switch (op.kind) {
    case "read":
      return transaction.read(at);
    case "list": {
      const names = transaction.list(at);
      return typeof names === "number" ? names : names.sort().join(" ");
    }
    case "write":
      return transaction.write(at, op.value);
    case "mkdir":
      return transaction.mkdir(at);
    case "remove":
      return transaction.remove(at);
  }
}

const dump = (store: Store) => {
  const nodes: [string, string][] = [];
  walk(store.root, "/", (text, { value }) => nodes.push([text, value]));
  return nodes.sort(([a], [b]) => (a < b ? -1 : 1));
};

const names = fc.constantFrom("a", "b", "c");
const paths = fc.array(names, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join("/")}`);
const ops: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ kind: fc.constantFrom("read", "list", "mkdir", "remove"), path: paths }),
  fc.record({ kind: fc.constant("write"), path: paths, value: fc.constantFrom("0", "1", "2") }),
) as fc.Arbitrary<Op>;
/** Who does what next: four clients, each alone or in its transaction. */
const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("op" as const), client: fc.nat(3), op: ops }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("begin" as const), client: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("end" as const), client: fc.nat(3) }) },
  ),
  { maxLength: 60 },
);

const related = (a: string, b: string) => a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);

describe("against a naive model", () => {
  test("what commits might have run alone at that moment, and only related changes conflict", () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const store = new Store();
        const model = new NaiveStore();
        const open = new Map<
          number,
          { transaction: Transaction; log: { op: Op; result: string | number }[]; since: number }
        >();
        /** Paths that commits have touched with a change, in order. */
        const touched: string[] = [];
        const committed = (log: { op: Op }[]) => {
          for (const { op } of log) if (op.kind !== "read" && op.kind !== "list") touched.push(op.path);
        };
        for (const step of sequence) {
          const own = open.get(step.client);
          if (step.do === "begin") {
            if (!own) open.set(step.client, { transaction: store.begin(0, true), log: [], since: touched.length });
          } else if (step.do === "op") {
            if (own) own.log.push({ op: step.op, result: run(own.transaction, step.op) });
            else {
              const single = store.begin(0, false);
              const result = run(single, step.op);
              expect(result).toEqual(model.run(step.op));
              expect(store.commit(single)).toBe(0);
              committed([{ op: step.op }]);
            }
          } else if (own) {
            open.delete(step.client);
            const result = store.commit(own.transaction);
            if (result === 0) {
              for (const { op, result: seen } of own.log) expect(seen).toEqual(model.run(op));
              committed(own.log);
            } else {
              expect(result).toBe(-Errno.EAGAIN);
              const meanwhile = touched.slice(own.since);
              expect(own.log.some(({ op }) => meanwhile.some((other) => related(op.path, other)))).toBe(true);
            }
          }
          expect(dump(store)).toEqual(model.dump());
        }
      }),
      { seed: 20261123, numRuns: 600 },
    );
  });

  test("node counts are those of a recount, whoever makes, gives away, removes, dies and comes again", () => {
    const domids = fc.constantFrom(1, 2, 3);
    const action = fc.oneof(
      fc.record({ do: fc.constant("write" as const), domid: domids, path: paths }),
      fc.record({ do: fc.constant("remove" as const), domid: domids, path: paths }),
      fc.record({ do: fc.constant("give" as const), domid: domids, path: paths }),
      fc.record({ do: fc.constant("begin" as const), domid: domids }),
      fc.record({ do: fc.constant("end" as const), domid: domids }),
      fc.record({ do: fc.constant("reborn" as const), domid: domids }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const store = new Store();
        const dom0 = new LocalClient(store);
        const open = new Map<number, Transaction>();
        for (const domid of [1, 2, 3]) store.addDomain(domid);
        dom0.write("/a", "", ["b0"]);
        for (const act of actions) {
          const inside = open.get(act.domid);
          const transaction = inside ?? store.begin(act.domid, false);
          if (act.do === "write") transaction.write(path(act.path), "v");
          else if (act.do === "remove") transaction.remove(path(act.path));
          else if (act.do === "give") dom0.write(act.path, "", [`b${act.domid}`]);
          else if (act.do === "begin") open.set(act.domid, store.begin(act.domid, true));
          else if (act.do === "end" && inside) {
            open.delete(act.domid);
            store.commit(inside);
          } else if (act.do === "reborn") {
            open.delete(act.domid);
            store.removeDomain(act.domid);
            store.addDomain(act.domid);
          }
          if (!inside && (act.do === "write" || act.do === "remove")) store.commit(transaction);
          const counts = new Map<number, number>();
          walk(store.root, "/", (_, { permissions }) => {
            const owner = ownerOf(permissions, store.live);
            counts.set(owner, (counts.get(owner) ?? 0) + 1);
          });
          for (const domid of [1, 2, 3]) expect(store.nodesOf(domid)).toBe(counts.get(domid) ?? 0);
        }
      }),
      { seed: 20261124, numRuns: 400 },
    );
  });
});
