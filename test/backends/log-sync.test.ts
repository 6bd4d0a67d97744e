/** What was written to console logs reaches the disk: soon, at a bounded rate, and at once when it has to. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { ConsoleLogs } from "../../src/backends/console/log.ts";
import { LogSync } from "../../src/backends/console/log-sync.ts";

const SECOND = 1e9;
let asked: string[];
let finish: (() => void)[];
let faults: string[];
let sync: LogSync;

beforeEach(() => {
  asked = [];
  finish = [];
  faults = [];
  sync = new LogSync({
    sync: (path) => {
      asked.push(path);
      return new Promise((resolve) => finish.push(resolve));
    },
    onFault: (text) => faults.push(text),
  });
});

/** Everything that is ready has happened. */
const settled = () => new Promise((resolve) => setImmediate(resolve));
async function finished(): Promise<void> {
  finish.shift()!();
  await settled();
}

describe("a written file", () => {
  test("is synced a second after the first write, once however often it was written to", async () => {
    expect(sync.run(0)).toBe(Number.POSITIVE_INFINITY);
    for (let i = 0; i < 10; i++) sync.written("a", i);
    expect(sync.run(10)).toBe(SECOND);
    await settled();
    expect(asked).toEqual([]);
    expect(sync.run(SECOND)).toBe(Number.POSITIVE_INFINITY);
    await settled();
    expect(asked).toEqual(["a"]);
  });

  test("that is written to while it is synced is synced again", async () => {
    sync.written("a", 0);
    sync.run(SECOND);
    await settled();
    sync.written("a", SECOND + 5);
    expect(sync.run(SECOND + 5)).toBe(2 * SECOND + 5);
    await finished();
    sync.run(2 * SECOND + 5);
    await settled();
    expect(asked).toEqual(["a", "a"]);
  });

  test("waits its turn: a disk that is slow gets one at a time", async () => {
    for (const path of ["a", "b", "c"]) sync.written(path, 0);
    sync.run(SECOND);
    await settled();
    expect(asked).toEqual(["a"]);
    sync.written("d", SECOND);
    expect(sync.run(2 * SECOND)).toBe(3 * SECOND);
    await finished();
    await finished();
    expect(asked).toEqual(["a", "b", "c"]);
    await finished();
    sync.run(3 * SECOND);
    await settled();
    expect(asked).toEqual(["a", "b", "c", "d"]);
  });

  test("that cannot be synced is told of, and does not hold up the others", async () => {
    const failing = new LogSync({
      sync: async (path) => {
        asked.push(path);
        if (path === "a") throw new Error("EIO: i/o error");
      },
      onFault: (text) => faults.push(text),
    });
    for (const path of ["a", "b"]) failing.written(path, 0);
    await failing.flush();
    expect([asked, faults]).toEqual([["a", "b"], ["EIO: i/o error"]]);
  });
});

describe("a flush", () => {
  test("waits for what is under way, and for what has not waited long", async () => {
    sync.written("a", 0);
    sync.run(SECOND);
    await settled();
    sync.written("b", SECOND);
    let done = false;
    const flushed = sync.flush().then(() => {
      done = true;
    });
    await settled();
    expect([asked, done]).toEqual([["a"], false]);
    await finished();
    expect([asked, done]).toEqual([["a", "b"], false]);
    await finished();
    await flushed;
    expect(sync.run(9 * SECOND)).toBe(Number.POSITIVE_INFINITY);
  });

  test("of a folder leaves the files of others for later", async () => {
    for (const path of ["/logs", "/logs/one", "/logs/one/0.log", "/logs/two/0.log"]) sync.written(path, 0);
    const flushed = sync.flush("/logs/one");
    for (let i = 0; i < 3; i++) {
      await settled();
      await finished();
    }
    await flushed;
    expect(asked).toEqual(["/logs", "/logs/one", "/logs/one/0.log"]);
    expect(sync.run(0)).toBe(SECOND);
  });
});

test("every segment of a real log is synced, the new files' names too, and removed ones are no fault", async () => {
  const dir = mkdtempSync(join(tmpdir(), "log-sync-"));
  try {
    const real = new LogSync({ onFault: (text) => faults.push(text) });
    const written: string[] = [];
    const logs = new ConsoleLogs(join(dir, "logs"), { segmentBytes: 10, keepBytes: 20, openFiles: 2 }, (path) => {
      written.push(path.slice(dir.length));
      real.written(path, 0);
    });
    const uuid = "11111111-2222-3333-4444-555555555555";
    logs.open(uuid).append(Buffer.from("0123456789".repeat(5)));
    const folder = `/logs/${uuid}`;
    const segments = ["00", "10", "20", "30", "40"].map((at) => `${folder}/00000000000000${at}.log`);
    expect(new Set(written)).toEqual(new Set(["/logs", folder, ...segments]));
    await real.flush();
    expect(faults).toEqual([]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
