import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HistoryFile } from "../../src/history/history-file.ts";
import { Recorder } from "../../src/history/recorder.ts";
import type { Series } from "../../src/toolstack/ports.ts";

const STEP = 10;
const WIDTH = 2;
const COUNTER = 0;
const GAUGE = 1;
/** The beginning of a block, in seconds since 1970. */
const T0 = 1_800_000_000 - (1_800_000_000 % 900);
const HOUR = 3600;

let folder: string;
let path: string;
let said: string[];
let recorder: Recorder;

function open(stepSeconds = STEP, width = WIDTH): Recorder {
  const counters = { host: [true, false], domain: [true, false] };
  return new Recorder({
    path,
    stepSeconds,
    width,
    counters,
    host: "host",
    log: (level, text) => said.push(`${level}: ${text}`),
  });
}

/** One sample of one object. */
function record(seconds: number, counter: number, gauge: number, { object = "a", instance = 1 } = {}): void {
  recorder.record({
    time: seconds * 1000,
    objects: [object],
    instances: Float64Array.of(instance),
    values: Float64Array.of(counter, gauge),
  });
}

function read(from: number, to: number, column: number, { object = "a", step = 0 } = {}): Series {
  const query = { object, from, to, columns: [column], mostPoints: 4000, ...(step && { step }) };
  const series = recorder.read(query);
  if (series === "too-many") throw new Error("too many points");
  return series;
}

const points = (...args: Parameters<typeof read>) => read(...args).points[0];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "domzero-history-"));
  path = join(folder, "metrics.db");
  said = [];
  recorder = open();
});

afterEach(() => {
  recorder.close();
  rmSync(folder, { recursive: true });
});

describe("counters", () => {
  test("become their growth a second, and gauges stay what they are", () => {
    record(T0, 100, 7);
    record(T0 + 10, 150, 8);
    record(T0 + 20, 150, 9);
    expect(points(T0, T0 + 30, COUNTER)).toEqual([null, 5, 0]);
    expect(points(T0, T0 + 30, GAUGE)).toEqual([7, 8, 9]);
  });

  test("of another instance begin anew, though they be larger", () => {
    record(T0, 100, 1);
    record(T0 + 10, 900, 1, { instance: 2 });
    record(T0 + 20, 910, 1, { instance: 2 });
    expect(points(T0, T0 + 30, COUNTER)).toEqual([null, null, 1]);
  });

  test("that went back give no rate", () => {
    record(T0, 100, 1);
    record(T0 + 10, 20, 1);
    record(T0 + 20, 30, 1);
    expect(points(T0, T0 + 30, COUNTER)).toEqual([null, null, 1]);
  });

  test("have no rate over a gap, which stays a gap", () => {
    record(T0, 0, 1);
    record(T0 + 40, 4000, 1);
    record(T0 + 50, 4010, 1);
    expect(points(T0, T0 + 60, COUNTER)).toEqual([null, null, null, null, null, 1]);
    expect(points(T0, T0 + 60, GAUGE)).toEqual([1, null, null, null, 1, 1]);
  });

  test("have a rate when a sample is late, by the time that passed", () => {
    record(T0, 0, 1);
    record(T0 + 20, 100, 1);
    expect(points(T0, T0 + 30, COUNTER)).toEqual([null, null, 5]);
  });

  test("have no rate when the recorder begins, whatever was before", () => {
    record(T0, 0, 1);
    recorder.close();
    recorder = open();
    record(T0 + 10, 50, 1);
    record(T0 + 20, 60, 1);
    expect(points(T0, T0 + 30, COUNTER)).toEqual([null, null, 1]);
  });
});

describe("resolutions", () => {
  /** A gauge that tells the time: seconds since T0. */
  function run(from: number, to: number): void {
    for (let at = from; at < to; at += STEP) record(at, at * 2, at - T0);
  }

  test("an hour is there as it was sampled, over blocks that are over and the one that is not", () => {
    run(T0, T0 + HOUR + 100);
    const { from, step, points } = read(T0 + 50, T0 + HOUR + 50, GAUGE);
    expect([from, step, points[0]!.length]).toEqual([T0 + 50, 10, 360]);
    expect(points[0]).toEqual(Array.from({ length: 360 }, (_, i) => 50 + i * 10));
  });

  test("what is older is there by the minute, as means", () => {
    run(T0, T0 + 2 * HOUR);
    const { step, points } = read(T0, T0 + HOUR, GAUGE);
    expect(step).toBe(60);
    expect(points[0]).toEqual(Array.from({ length: 60 }, (_, i) => i * 60 + 25));
  });

  test("what is older than a day is there by the quarter of an hour", () => {
    run(T0, T0 + HOUR);
    run(T0 + 26 * HOUR, T0 + 26 * HOUR + 20);
    const { step, points } = read(T0, T0 + 2 * HOUR, GAUGE);
    expect(step).toBe(900);
    expect(points[0]).toEqual([445, 1345, 2245, 3145, null, null, null, null]);
  });

  test("what is older than 30 days is gone, and the file does not grow with it", () => {
    run(T0, T0 + HOUR);
    run(T0 + 31 * 24 * HOUR, T0 + 31 * 24 * HOUR + 1000);
    expect(points(T0, T0 + HOUR, GAUGE)).toEqual([null, null, null, null]);
    const file = new HistoryFile(path, WIDTH);
    for (const name of ["fine", "minutes", "quarters"] as const) {
      expect([...file.blocks(name, 1, T0 / 900, T0 / 900 + 4)]).toEqual([]);
    }
    file.close();
  });

  test("a larger step is asked for and made of what is kept, rounded up to a multiple of it", () => {
    run(T0, T0 + HOUR);
    expect(read(T0, T0 + 120, GAUGE, { step: 30 })).toMatchObject({ step: 30, points: [[10, 40, 70, 100]] });
    expect(read(T0, T0 + 120, GAUGE, { step: 25 })).toMatchObject({ step: 30 });
    expect(read(T0, T0 + HOUR, GAUGE, { step: 1800 })).toMatchObject({ step: 1800, points: [[895, 2695]] });
    expect(read(T0, T0 + 60, GAUGE, { step: 1 })).toMatchObject({ step: 10 });
  });

  test("a mean is of what is known", () => {
    record(T0, 0, 6);
    record(T0 + 50, 0, 8);
    expect(points(T0, T0 + 120, GAUGE, { step: 60 })).toEqual([7, null]);
  });

  test("more points than are allowed are refused", () => {
    run(T0, T0 + 60);
    expect(recorder.read({ object: "a", from: 0, to: T0, columns: [0], mostPoints: 4000 })).toBe("too-many");
  });

  test("another interval of sampling goes on after the old one", () => {
    run(T0, T0 + 900);
    recorder.close();
    recorder = open(30);
    record(T0 + 900, 0, 900);
    record(T0 + 930, 0, 930);
    // Of the block that was being filled, each new interval has its last sample.
    expect(points(T0 + 870, T0 + 960, GAUGE)).toEqual([890, 900, 930]);
  });

  test("a clock that is put back a little leaves what is over as it was", () => {
    run(T0, T0 + 910);
    record(T0 + 895, 0, -1);
    expect(points(T0 + 880, T0 + 910, GAUGE)).toEqual([880, 890, 900]);
  });
});

describe("objects", () => {
  test("have histories of their own, and one that nobody knows is all gaps", () => {
    record(T0, 0, 1, { object: "a" });
    record(T0, 0, 2, { object: "b" });
    expect(points(T0, T0 + 10, GAUGE, { object: "b" })).toEqual([2]);
    expect(points(T0, T0 + 20, GAUGE, { object: "c" })).toEqual([null, null]);
  });

  test("that are forgotten stay forgotten, also when their name comes back", () => {
    record(T0, 0, 1);
    record(T0 + 1000, 0, 1);
    recorder.forget("a");
    recorder.close();
    recorder = open();
    expect(recorder.objects()).toEqual([]);
    record(T0 + 1010, 0, 5);
    expect(points(T0, T0 + 900, GAUGE)).toEqual(new Array(90).fill(null));
    expect(points(T0 + 1000, T0 + 1020, GAUGE)).toEqual([null, 5]);
  });
});

describe("the file", () => {
  test("a killed process loses nothing of the block that was being filled", () => {
    for (let at = T0; at < T0 + 1000; at += STEP) record(at, at, at - T0);
    const killed = recorder;
    recorder = open();
    expect(points(T0 + 880, T0 + 1000, GAUGE)).toEqual([880, 890, 900, 910, 920, 930, 940, 950, 960, 970, 980, 990]);
    killed.close();
  });

  test("a block that was over while nobody ran is written at the next start's first sample", () => {
    record(T0 + 10, 0, 3);
    recorder.close();
    recorder = open();
    record(T0 + 2000, 0, 4);
    recorder.close();
    recorder = open();
    expect(points(T0, T0 + 20, GAUGE)).toEqual([null, 3]);
    expect(points(T0 + 2000, T0 + 2010, GAUGE)).toEqual([4]);
  });

  const damages: [string, () => void][] = [
    ["is no database", () => writeFileSync(path, "a".repeat(8192))],
    ["was cut off", () => truncateSync(path, statSync(path).size - 4096)],
  ];
  test.each(damages)("that %s is made anew, and that is said", (_, damage) => {
    for (let at = T0; at < T0 + 1000; at += STEP) record(at, at, 1);
    recorder.close();
    damage();
    recorder = open();
    record(T0 + 1000, 0, 5);
    record(T0 + 1010, 0, 6);
    expect(said.some((line) => line.startsWith("warn: ") && line.endsWith("is made anew"))).toBe(true);
    expect(points(T0 + 1010, T0 + 1020, GAUGE)).toEqual([6]);
  });

  test("that is of another version is made anew, and that is said", () => {
    record(T0, 0, 5);
    recorder.close();
    new HistoryFile(join(folder, "other.db"), 9).close();
    path = join(folder, "other.db");
    recorder = open();
    record(T0, 0, 6);
    expect(points(T0, T0 + 10, GAUGE)).toEqual([6]);
    expect(said).toContainEqual(expect.stringContaining("of another version of domzero) and is made anew"));
  });

  test("its beginning is said", () => {
    expect(said).toEqual(["info: a history of figures begins"]);
  });
});
