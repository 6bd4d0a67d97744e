/** The xenstore page: protocol over the rings, and what happens to a guest that breaks it. */
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { XENSTORE_CONNECTION, XENSTORE_ERROR, XENSTORE_RING_SIZE, XS } from "../../src/abi/io-xenstore.ts";
import { XenstoreRing } from "../../src/backends/xenstore-ring.ts";
import { Connection } from "../../src/xenstore/connection.ts";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { Store } from "../../src/xenstore/store.ts";
import { encodeMessage } from "../../src/xenstore/wire.ts";
import { GuestXenstore } from "./guest-side.ts";

const PAGE = 4096;
let buffer: SharedArrayBuffer;
let dom0: LocalClient;
let connection: Connection;
let guest: GuestXenstore;

beforeEach(() => {
  buffer = new SharedArrayBuffer(3 * 4096);
  const store = new Store();
  dom0 = new LocalClient(store);
  store.addDomain(5);
  dom0.write("/local/domain/5", "", ["n5"]);
  connection = new Connection(store, 5);
  guest = new GuestXenstore(buffer, PAGE);
});

const connect = () => new XenstoreRing(buffer, PAGE, connection);

describe("the page", () => {
  test("offers reconnection and the error field before anything moves", () => {
    connect();
    expect(guest.features[0]).toBe(3);
    expect(guest.error[0]).toBe(XENSTORE_ERROR.none);
  });

  test("answers a request and asks for the guest's attention", () => {
    const ring = connect();
    expect(guest.ask(() => ring.service(), XS.read, "device/vbd|")).toBe("ENOENT");
    expect(ring.service()).toEqual({ notify: false, more: false });
  });

  test("goes on from whatever the indices are", () => {
    guest.startAt(0xffff_fff0);
    const ring = connect();
    for (let i = 0; i < 40; i++) {
      expect(guest.ask(() => ring.service(), XS.write, `key|value ${i}`)).toBe("OK|");
      expect(guest.ask(() => ring.service(), XS.read, "key|")).toBe(`value ${i}`);
    }
  });

  test("carries requests and replies larger than a ring", () => {
    const ring = connect();
    const value = "x".repeat(2040);
    expect(guest.ask(() => ring.service(), XS.write, `key|${value}`)).toBe("OK|");
    expect(guest.ask(() => ring.service(), XS.read, "key|")).toBe(value);
  });

  test("a round handles at most two rings' bytes, and says that there is more", () => {
    const ring = connect();
    const request = encodeMessage(XS.transactionEnd, 1, 9, "");
    let refilled = 0;
    const greedy = new Connection(connection.store, 5);
    const receive = greedy.receive.bind(greedy);
    greedy.receive = (bytes) => {
      receive(bytes);
      refilled += guest.requests.put(request);
      guest.received();
    };
    const busy = new XenstoreRing(buffer, PAGE, greedy);
    guest.requests.put(Buffer.concat(Array.from({ length: 64 }, () => request)));
    expect(busy.service()).toEqual({ notify: true, more: true });
    expect(refilled).toBeLessThanOrEqual(4 * XENSTORE_RING_SIZE);
    expect(ring.error).toBe(XENSTORE_ERROR.none);
  });

  test("a guest that never reads is not read from either", () => {
    const ring = connect();
    const request = encodeMessage(XS.getDomainPath, 1, 0, "5\0");
    let taken = 0;
    for (let i = 0; i < 1000; i++) {
      taken += guest.requests.put(request);
      ring.service();
    }
    expect(taken).toBeLessThan(4 * XENSTORE_RING_SIZE);
    guest.received();
    expect(ring.service().notify).toBe(true);
    expect(guest.received().length).toBeGreaterThan(0);
  });

  test("what others change is delivered without a request", () => {
    const ring = connect();
    guest.ask(() => ring.service(), XS.watch, "key|token|");
    guest.received();
    dom0.write("/local/domain/5/key", "v");
    expect(ring.deliver()).toBe(true);
    expect(guest.received().map(({ payload }) => payload)).toEqual(["key\0token\0"]);
    expect(ring.deliver()).toBe(false);
  });
});

describe("a guest that breaks the rules", () => {
  type Row = [string, (guest: GuestXenstore) => void, number];
  const rows: Row[] = [
    [
      "claims more requests than fit",
      (g) => {
        g.requests.producer[0] = 1025;
      },
      XENSTORE_ERROR.ringidx,
    ],
    [
      "moves its producer back",
      (g) => {
        g.requests.producer[0] = -1;
      },
      XENSTORE_ERROR.ringidx,
    ],
    [
      "claims to have read what was not said",
      (g) => {
        g.replies.consumer[0] = 1;
        g.requests.put(encodeMessage(XS.read, 1, 0, "a\0"));
      },
      XENSTORE_ERROR.ringidx,
    ],
    [
      "sends a message that is too long",
      (g) => {
        g.requests.put(Uint8Array.of(2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0));
      },
      XENSTORE_ERROR.proto,
    ],
  ];
  test.each(rows)("is told why and heard no more when it %s", (_, misbehave, error) => {
    const ring = connect();
    misbehave(guest);
    expect(ring.service().notify).toBe(true);
    expect(guest.error[0]).toBe(error);
    expect(ring.error).toBe(error);
    guest.startAt(0);
    guest.requests.put(encodeMessage(XS.read, 1, 0, "a\0"));
    expect(ring.service()).toEqual({ notify: false, more: false });
    expect(guest.replies.producer[0]).toBe(0);
  });

  test("may reconnect: rings, watches, transactions and partial messages are as new", () => {
    const ring = connect();
    guest.ask(() => ring.service(), XS.watch, "key|token|");
    guest.ask(() => ring.service(), XS.transactionStart, "|");
    guest.requests.put(Uint8Array.of(1, 2, 3));
    ring.service();
    guest.requests.producer[0] += 5000;
    ring.service();
    expect(guest.error[0]).toBe(XENSTORE_ERROR.ringidx);

    guest.connection[0] = XENSTORE_CONNECTION.reconnect;
    expect(ring.service()).toEqual({ notify: true, more: false });
    expect(guest.connection[0]).toBe(XENSTORE_CONNECTION.connected);
    expect(guest.error[0]).toBe(XENSTORE_ERROR.none);
    expect([guest.requests.consumer[0], guest.requests.producer[0]]).toEqual([0, 0]);
    expect([guest.replies.consumer[0], guest.replies.producer[0]]).toEqual([0, 0]);
    dom0.write("/local/domain/5/key", "v");
    expect(guest.ask(() => ring.service(), XS.read, "key|")).toBe("v");
    expect(guest.ask(() => ring.service(), XS.transactionEnd, "T|", 1)).toBe("ENOENT");
    expect(guest.received()).toEqual([]);
  });

  test("any bytes anywhere in the page never throw, and nothing outside the page changes", () => {
    const writes = fc.array(fc.record({ at: fc.nat(4095), byte: fc.nat(255) }), { maxLength: 60 });
    fc.assert(
      fc.property(fc.array(writes, { maxLength: 10 }), (rounds) => {
        const memory = new Uint8Array(buffer);
        memory.fill(0x5a);
        memory.fill(0, PAGE, PAGE + 4096);
        const ring = new XenstoreRing(buffer, PAGE, new Connection(connection.store, 5));
        for (const round of rounds) {
          for (const { at, byte } of round) memory[PAGE + at] = byte;
          // Bias towards plausible indices, so that requests do get through.
          guest.requests.producer[0] = guest.requests.consumer[0] + ((round.length * 16) % 1025);
          ring.service();
          ring.deliver();
        }
        expect(memory.subarray(0, PAGE).every((byte) => byte === 0x5a)).toBe(true);
        expect(memory.subarray(PAGE + 4096).every((byte) => byte === 0x5a)).toBe(true);
      }),
      { seed: 99, numRuns: 300 },
    );
  });
});
