/** Console logs: bounded, and whole whenever the writing process ends. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConsoleLogs, type LogLimits } from "../../src/backends/console/log.ts";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";

const UUID = "11111111-2222-3333-4444-555555555555";
const limits: LogLimits = { segmentBytes: 10, keepBytes: 30, openFiles: 2 };
let dir: string;
let reader: ConsoleLogReader;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "console-log-"));
  reader = new ConsoleLogReader(dir);
});
afterEach(() => rmSync(dir, { recursive: true }));

const open = () => new ConsoleLogs(dir, limits).open(UUID);
const bytes = (text: string) => Buffer.from(text, "latin1");
const text = (offset: number, max = 1000) => {
  const { start, bytes: got, end } = reader.read(UUID, offset, max);
  return [start, Buffer.from(got).toString("latin1"), end];
};

describe("a console log", () => {
  test("that does not exist is empty", () => {
    expect(text(0)).toEqual([0, "", 0]);
    expect(text(50)).toEqual([0, "", 0]);
    expect(reader.list()).toEqual([]);
  });

  test("is read from any offset, across segments", () => {
    const log = open();
    log.append(bytes("0123456789abcdefghijklmno"));
    expect(log.end).toBe(25);
    expect(text(0)).toEqual([0, "0123456789abcdefghijklmno", 25]);
    expect(text(8, 4)).toEqual([8, "89ab", 25]);
    expect(text(20)).toEqual([20, "klmno", 25]);
    expect(text(25)).toEqual([25, "", 25]);
    expect(reader.list()).toEqual([UUID]);
  });

  test("beyond its end answers its end", () => {
    open().append(bytes("abc"));
    expect(text(99)).toEqual([3, "", 3]);
  });

  test("from an offset that was cut off begins with the oldest byte kept", () => {
    const log = open();
    for (let i = 0; i < 10; i++) log.append(bytes(`line ${i}...\n`));
    const [start, kept, end] = text(0) as [number, string, number];
    expect(end).toBe(100);
    expect(start).toBeGreaterThan(0);
    expect(kept.length).toBeGreaterThanOrEqual(limits.keepBytes);
    expect(kept.length).toBeLessThanOrEqual(limits.keepBytes + limits.segmentBytes);
    expect(
      "line 0...\nline 1...\nline 2...\nline 3...\nline 4...\nline 5...\nline 6...\nline 7...\nline 8...\nline 9...\n".slice(
        start,
      ),
    ).toBe(kept);
  });

  test("goes on at its end when opened again, as after a kill", () => {
    open().append(bytes("first boot, "));
    const again = open();
    expect(again.end).toBe(12);
    again.append(bytes("second boot"));
    expect(text(0)).toEqual([0, "first boot, second boot", 23]);
  });

  test("is removed with its folder, and may begin anew", () => {
    const logs = new ConsoleLogs(dir, limits);
    logs.open(UUID).append(bytes("abc"));
    logs.close(UUID);
    reader.remove(UUID);
    expect(reader.list()).toEqual([]);
    expect(text(0)).toEqual([0, "", 0]);
    logs.open(UUID).append(bytes("new"));
    expect(text(0)).toEqual([0, "new", 3]);
  });

  test("begins after a gap that a power failure left", () => {
    open().append(bytes("0123456789abcdefghijklmno"));
    const names = readdirSync(join(dir, UUID)).sort();
    truncateSync(join(dir, UUID, names[1]), 4);
    expect(text(0)).toEqual([20, "klmno", 25]);
    open().append(bytes("pq"));
    expect(text(0)).toEqual([20, "klmnopq", 27]);
    expect(readdirSync(join(dir, UUID))).toHaveLength(1);
  });

  test("minds only files with a segment's name", () => {
    open().append(bytes("abc"));
    writeFileSync(join(dir, UUID, "notes.txt"), "x");
    writeFileSync(join(dir, "not-a-uuid"), "x");
    mkdirSync(join(dir, UUID, "0000000000000009.log"));
    expect(text(0)).toEqual([0, "abc", 3]);
    expect(reader.list()).toEqual([UUID]);
  });

  const names = ["../../etc", "", "11111111-2222-3333-4444-55555555555A", "11111111222233334444555555555555"];
  test.each(names)("belongs to a uuid: %j is none", (name) => {
    expect(() => reader.read(name, 0, 1)).toThrow(RangeError);
    expect(() => new ConsoleLogs(dir).open(name)).toThrow(RangeError);
  });

  test("many logs share a few open files", () => {
    const logs = new ConsoleLogs(dir, limits);
    const uuids = Array.from({ length: 8 }, (_, i) => UUID.replace(/.$/, String(i)));
    for (let round = 0; round < 3; round++) for (const uuid of uuids) logs.open(uuid).append(bytes(`${round}`));
    for (const uuid of uuids) expect(Buffer.from(reader.read(uuid, 0, 9).bytes).toString()).toBe("012");
  });

  test("keeps what a plain string would, over any appends and reopenings", () => {
    const pieces = fc.array(fc.tuple(fc.stringMatching(/^[a-z]{0,35}$/), fc.boolean()), { maxLength: 25 });
    fc.assert(
      fc.property(pieces, fc.nat(200), (list, offset) => {
        rmSync(join(dir, UUID), { recursive: true, force: true });
        let log = open();
        let all = "";
        for (const [piece, reopen] of list) {
          if (reopen) log = open();
          log.append(bytes(piece));
          all += piece;
          expect(log.end).toBe(all.length);
        }
        log.closeFile();
        const [start, got, end] = text(offset) as [number, string, number];
        expect(end).toBe(all.length);
        expect(all.slice(start)).toBe(got);
        if (start !== Math.min(offset, all.length))
          expect(got.length).toBeGreaterThanOrEqual(Math.min(limits.keepBytes, all.length));
      }),
      { seed: 5, numRuns: 60 },
    );
  });
});
