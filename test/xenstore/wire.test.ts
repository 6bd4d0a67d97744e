/** The connection as a state machine over bytes, in the hands of a client that does not mean well. */
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { XENSTORE_ERROR, XENSTORE_PAYLOAD_MAX, XS } from "../../src/abi/io-xenstore.ts";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { Store } from "../../src/xenstore/store.ts";
import { encodeMessage } from "../../src/xenstore/wire.ts";
import { messagesIn, WireClient } from "./wire-client.ts";

let store: Store;
let dom0: LocalClient;
let guest: WireClient;

beforeEach(() => {
  store = new Store();
  dom0 = new LocalClient(store);
  store.addDomain(5);
  dom0.write("/local/domain/5", "", ["n5"]);
  guest = new WireClient(store, 5);
});

const read = (reqId: number) => encodeMessage(XS.read, reqId, 0, "name\0");

describe("a connection", () => {
  test("answers with the request's type, id and transaction", () => {
    guest.feed(encodeMessage(XS.getDomainPath, 0xdeadbeef, 0, "5\0"));
    expect(messagesIn(guest.output())).toEqual([
      { type: XS.getDomainPath, reqId: 0xdeadbeef, txId: 0, payload: "/local/domain/5\0" },
    ]);
  });

  test("an error has type ERROR, the same ids, and the error's name", () => {
    guest.feed(encodeMessage(XS.read, 7, 99, "name\0"));
    expect(messagesIn(guest.output())).toEqual([{ type: XS.error, reqId: 7, txId: 99, payload: "ENOENT\0" }]);
  });

  test("a message may come byte by byte", () => {
    for (const byte of read(3)) {
      expect(guest.output()).toHaveLength(0);
      guest.feed(Uint8Array.of(byte));
    }
    expect(messagesIn(guest.output())).toHaveLength(1);
  });

  test("an empty payload is a whole message", () => {
    guest.feed(encodeMessage(XS.transactionStart, 1, 0, ""));
    expect(messagesIn(guest.output())[0].payload).toBe("1\0");
  });

  test("the largest payload is answered", () => {
    guest.feed(encodeMessage(XS.write, 1, 0, `name\0${"x".repeat(XENSTORE_PAYLOAD_MAX - 5)}`));
    expect(messagesIn(guest.output())[0].payload).toBe("ENOSPC\0");
  });

  test("a longer one ends the connection, whatever its type", () => {
    const header = encodeMessage(XS.read, 1, 0, "");
    new DataView(header.buffer).setUint32(12, XENSTORE_PAYLOAD_MAX + 1, true);
    guest.feed(header);
    expect(guest.connection.error).toBe(XENSTORE_ERROR.proto);
    expect(guest.connection.wanted()).toBe(0);
    expect(guest.output()).toHaveLength(0);
    expect(() => guest.connection.receive(Uint8Array.of(1))).toThrow(RangeError);
  });

  test("one that has ended hears nothing of its watches", () => {
    guest.ask(XS.watch, "name|t|");
    guest.heard();
    guest.connection.fail(XENSTORE_ERROR.ringidx);
    dom0.write("/local/domain/5/name", "v");
    expect(guest.output()).toHaveLength(0);
    guest.connection.reset();
    dom0.write("/local/domain/5/name", "w");
    expect(guest.output()).toHaveLength(0);
    expect(guest.ask(XS.read, "name|")).toBe("w");
  });

  test("takes no request beyond twenty unread replies, and goes on when they are read", () => {
    const requests = Buffer.concat(Array.from({ length: 50 }, (_, i) => read(i)));
    const taken = guest.feed(requests);
    expect(taken).toBe(20 * read(0).length);
    expect(messagesIn(guest.output())).toHaveLength(20);
    guest.feed(requests.subarray(taken));
    expect(messagesIn(guest.output())).toHaveLength(20);
  });

  test("keeps a bounded number of unread events, and counts what is lost", () => {
    guest.ask(XS.watch, "/local/domain/5|t|");
    guest.heard();
    for (let i = 0; i < 2000; i++) dom0.write(`/local/domain/5/n${i}`, "");
    expect(guest.connection.lostEvents).toBe(2000 - 1024);
    expect(guest.heard()).toHaveLength(1024);
    dom0.write("/local/domain/5/after", "");
    expect(guest.heard()).toEqual(["/local/domain/5/after t"]);
  });

  test("output may be taken in pieces of any size", () => {
    guest.ask(XS.write, "name|value");
    guest.feed(Buffer.concat([read(1), read(2), read(3)]));
    const bytes: number[] = [];
    for (let size = 1; guest.connection.hasOutput; size = (size % 5) + 1) {
      const part = new Uint8Array(size);
      bytes.push(...part.subarray(0, guest.connection.take(part)));
    }
    expect(messagesIn(Uint8Array.from(bytes)).map(({ reqId, payload }) => [reqId, payload])).toEqual([
      [1, "value"],
      [2, "value"],
      [3, "value"],
    ]);
  });

  test("transaction ids are per connection and never 0", () => {
    const other = new WireClient(store, 5);
    expect(guest.ask(XS.transactionStart, "|")).toBe("1|");
    expect(other.ask(XS.transactionStart, "|")).toBe("1|");
    expect(guest.ask(XS.transactionStart, "|")).toBe("2|");
  });
});

describe("fuzz", () => {
  const text = fc.oneof(
    fc.constantFrom("name", "/", "/local/domain/5", "data/a", "@introduceDomain", "T", "5", "n5", "", "//", "a b"),
    fc.string({ maxLength: 30, unit: "binary" }).map((unit) => unit.replaceAll(/[^\0-\xff]/g, "?")),
  );
  const payload = fc
    .tuple(fc.array(text, { maxLength: 4 }), fc.boolean())
    .map(([parts, end]) => parts.join("\0") + (end ? "\0" : ""));
  const type = fc.oneof(fc.integer({ min: 0, max: 24 }), fc.nat(0xffff_ffff));
  const tx = fc.oneof(fc.constantFrom(0, 1, 2), fc.nat(0xffff_ffff));
  const message = fc.record({ type, reqId: fc.nat(0xffff_ffff), txId: tx, payload });

  test("every well-formed request is answered exactly once, in order, whatever it says", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 40 }), (messages) => {
        const client = new WireClient(store, 5);
        for (const sent of messages) {
          client.feed(encodeMessage(sent.type, sent.reqId, sent.txId, sent.payload));
          const got = messagesIn(client.output()).filter((one) => one.type !== XS.watchEvent || one.reqId !== 0);
          expect(got).toHaveLength(1);
          expect(got[0].reqId).toBe(sent.reqId);
          expect(got[0].txId).toBe(sent.txId);
          expect([sent.type, XS.error]).toContain(got[0].type);
          expect(got[0].payload.length).toBeLessThanOrEqual(XENSTORE_PAYLOAD_MAX);
        }
      }),
      { seed: 4711, numRuns: 400 },
    );
  });

  test("random bytes never throw, and what is said stays well-formed", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), (chunks) => {
        const client = new WireClient(store, 5);
        for (const chunk of chunks) {
          client.feed(chunk);
          messagesIn(client.output());
        }
      }),
      { seed: 4712, numRuns: 400 },
    );
  });

  test("the same requests cut anywhere get the same answers", () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 10 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (messages, cuts) => {
          const answers = [1 << 20, 0].map((whole) => {
            const fresh = new Store();
            new LocalClient(fresh).write("/local/domain/5", "", ["b0"]);
            fresh.addDomain(5);
            const client = new WireClient(fresh, 5);
            const bytes = Buffer.concat(messages.map((m) => encodeMessage(m.type, m.reqId, m.txId, m.payload)));
            const said: Buffer[] = [];
            for (let at = 0, i = 0; at < bytes.length; i++) {
              const size = whole || cuts[i % cuts.length];
              client.feed(bytes.subarray(at, at + size));
              at += size;
              said.push(Buffer.from(client.output()));
            }
            return Buffer.concat(said).toString("latin1");
          });
          expect(answers[1]).toBe(answers[0]);
        },
      ),
      { seed: 4713, numRuns: 200 },
    );
  });
});
