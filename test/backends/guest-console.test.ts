/** A guest's console: printing, typing, flooding, and indices that make no sense. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GuestConsole, INPUT_QUEUE_BYTES } from "../../src/backends/console/guest-console.ts";
import { ConsoleLogs } from "../../src/backends/console/log.ts";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import { TokenBucket } from "../../src/backends/console/token-bucket.ts";
import { GuestConsoleSide } from "./guest-side.ts";

const UUID = "11111111-2222-3333-4444-555555555555";
const PAGE = 4096;
const rate = { bytesPerSecond: 100_000, burst: 8_000 };
let dir: string;
let buffer: SharedArrayBuffer;
let guest: GuestConsoleSide;
let console: GuestConsole;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "guest-console-"));
  buffer = new SharedArrayBuffer(3 * 4096);
  guest = new GuestConsoleSide(buffer, PAGE);
  console = new GuestConsole(buffer, PAGE, new ConsoleLogs(dir).open(UUID), rate, 0);
});
afterEach(() => rmSync(dir, { recursive: true }));

const logged = () => Buffer.from(new ConsoleLogReader(dir).read(UUID, 0, 1 << 20).bytes).toString("latin1");

describe("output", () => {
  test("goes to the log, and the guest is told that there is room", () => {
    guest.print("Welcome to GRUB!\r\n");
    expect(console.service(0)).toEqual({ notify: true, again: 0 + Number.POSITIVE_INFINITY });
    expect(logged()).toBe("Welcome to GRUB!\r\n");
    expect(console.service(0).notify).toBe(false);
  });

  test("keeps every octet", () => {
    const all = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));
    guest.print(all);
    console.service(0);
    expect(logged()).toBe(all);
  });

  test("of a flood passes at the bucket's rate and loses nothing", () => {
    let printed = "";
    let passed = 0;
    for (let now = 0; now <= 1e9; now += 1e6) {
      const text = `${now} `.repeat(300);
      printed += text.slice(0, guest.print(text));
      const { again } = console.service(now);
      expect(again).toBeGreaterThan(0);
      passed = logged().length;
    }
    expect(passed).toBeGreaterThan(rate.bytesPerSecond * 0.9);
    expect(passed).toBeLessThanOrEqual(rate.bytesPerSecond + rate.burst);
    console.drain();
    expect(logged()).toBe(printed);
  });

  test("a drain at the end takes what is left, whatever the rate", () => {
    for (let i = 0; i < 20; i++) {
      guest.print("x".repeat(2048));
      console.service(0);
    }
    const before = logged().length;
    guest.print("y".repeat(2048));
    console.drain();
    expect(logged().length).toBe(before + 2048);
  });
});

describe("input", () => {
  test("is typed into the ring, and the guest is told", () => {
    expect(console.type(Buffer.from("ls\r"))).toBe(3);
    expect(console.service(0).notify).toBe(true);
    expect(guest.typed()).toBe("ls\r");
  });

  test("waits for room, and looks again even without an event", () => {
    const text = "0123456789".repeat(300);
    expect(console.type(Buffer.from(text))).toBe(3000);
    let typed = "";
    let now = 0;
    for (let turns = 0; typed.length < text.length; turns++) {
      expect(turns).toBeLessThan(10);
      const { again } = console.service(now);
      typed += guest.typed();
      if (typed.length < text.length) expect(again).toBeGreaterThan(now);
      now = again;
    }
    expect(typed).toBe(text);
    expect(now).toBe(Number.POSITIVE_INFINITY);
  });

  test("beyond 64 KiB is not taken", () => {
    expect(console.type(new Uint8Array(INPUT_QUEUE_BYTES - 1))).toBe(INPUT_QUEUE_BYTES - 1);
    expect(console.type(new Uint8Array(100))).toBe(1);
    expect(console.type(new Uint8Array(100))).toBe(0);
    console.service(0);
    expect(console.type(new Uint8Array(5000))).toBe(1024);
  });
});

describe("a guest that breaks the rules", () => {
  type Row = [string, () => void];
  const rows: Row[] = [
    [
      "claims more output than fits",
      () => {
        guest.output.producer[0] = 2049;
      },
    ],
    [
      "moves its output producer back",
      () => {
        guest.output.producer[0] = -1;
      },
    ],
    [
      "claims to have read what was not typed",
      () => {
        guest.input.consumer[0] = 7;
        console.type(Buffer.from("a"));
      },
    ],
  ];
  test.each(rows)("has its console stopped when it %s", (_, misbehave) => {
    misbehave();
    console.service(0);
    expect(console.fault).toMatch(/indices/);
    guest.output.producer[0] = 5;
    expect(console.service(0)).toEqual({ notify: false, again: Number.POSITIVE_INFINITY });
    console.drain();
    expect(logged()).toBe("");
    expect(console.type(Buffer.from("a"))).toBe(0);
  });

  test("any bytes in the page never throw, and nothing outside the page changes", () => {
    const writes = fc.array(fc.record({ at: fc.nat(4095), byte: fc.nat(255) }), { maxLength: 30 });
    fc.assert(
      fc.property(fc.array(writes, { maxLength: 8 }), (rounds) => {
        const memory = new Uint8Array(buffer);
        memory.fill(0x5a);
        memory.fill(0, PAGE, PAGE + 4096);
        const victim = new GuestConsole(buffer, PAGE, new ConsoleLogs(dir).open(UUID), rate, 0);
        for (const [now, round] of rounds.entries()) {
          for (const { at, byte } of round) memory[PAGE + at] = byte;
          victim.type(Buffer.from("typed"));
          victim.service(now);
        }
        victim.drain();
        expect(memory.subarray(0, PAGE).every((byte) => byte === 0x5a)).toBe(true);
        expect(memory.subarray(PAGE + 4096).every((byte) => byte === 0x5a)).toBe(true);
      }),
      { seed: 6, numRuns: 100 },
    );
  });
});

describe("a token bucket", () => {
  test("lets a burst through, then the rate", () => {
    const bucket = new TokenBucket(1000, 500, 0);
    expect(bucket.take(800, 0)).toBe(500);
    expect(bucket.take(800, 0)).toBe(0);
    expect(bucket.readyAt(100, 0)).toBe(100e6);
    expect(bucket.take(800, 100e6)).toBe(100);
  });

  test("never holds more than a burst, and a clock that stands still gives nothing", () => {
    const bucket = new TokenBucket(1000, 500, 0);
    expect(bucket.take(9999, 1e15)).toBe(500);
    expect(bucket.take(1, 1e15)).toBe(0);
    expect(bucket.readyAt(9999, 1e15)).toBe(1e15 + 500e6);
  });
});
