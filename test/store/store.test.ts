import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { migrate, SchemaTooNew } from "../../src/store/migrator.ts";
import { domainShape } from "../../src/store/rows.ts";
import { SqliteStore, StateDamaged } from "../../src/store/sqlite-store.ts";
import type { DomainRecord, EventRecord } from "../../src/toolstack/model.ts";
import { refuse } from "../../src/toolstack/refusal.ts";

const migrationsDir = resolve(import.meta.dirname, "../../migrations");

const record = (name: string): DomainRecord => ({
  uuid: `uuid-of-${name}`,
  name,
  description: "",
  kernel: "builtin:demo",
  ramdisk: null,
  cmdline: "",
  memoryMiB: 16,
  maxMemoryMiB: 16,
  vcpus: 1,
  cpuWeight: 512,
  cpuCap: 20,
  cpuAffinity: [0, 3],
  onCrash: "destroy",
  onHostCrash: "off",
  stopPriority: 0,
  configVersion: 1,
  state: "halted",
  runtimeVersion: 1,
  domid: null,
  bootEpoch: null,
  startedAt: null,
  createdAt: 1,
  createdBy: "root",
  project: "default",
  changedAt: 1,
  lastStop: { reason: "crash", time: 1, domid: 7 },
  lastCrash: null,
});

const event = (id: string): Omit<EventRecord, "sequence"> => ({
  time: 1,
  class: "domain",
  operation: "add",
  reason: "created",
  id,
  project: "default",
  object: "{}",
});

let stateDir: string;
let store: SqliteStore;
const open = (eventsKept = 1000) => new SqliteStore({ stateDir, migrationsDir, eventsKept, now: () => 5 });
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "domzero-store-"));
  store = open();
});
afterEach(() => {
  store.close();
  rmSync(stateDir, { recursive: true });
});

describe("a commit", () => {
  test("is acknowledged when another connection sees it", async () => {
    const other = new Database(join(stateDir, "domzero.db"), { readonly: true });
    const count = () => (other.prepare("SELECT count(*) AS count FROM domains").get() as { count: number }).count;
    const committed = store.commit((writer) => writer.putDomain(record("a")));
    expect(count()).toBe(0);
    await committed;
    expect(count()).toBe(1);
    other.close();
  });

  test("shares its transaction with the others of its tick, and their order", async () => {
    const seen: string[][] = [];
    store.onEvents((events) => void seen.push(events.map(({ id }) => id)));
    await Promise.all(["a", "b", "c"].map((id) => store.commit((writer) => writer.appendEvent(event(id)))));
    await store.commit((writer) => writer.appendEvent(event("d")));
    expect(seen).toEqual([["a", "b", "c"], ["d"]]);
  });

  test("that refuses or throws is undone alone, with its events", async () => {
    const seen: string[] = [];
    store.onEvents((events) => void seen.push(...events.map(({ id }) => id)));
    const put = (name: string) =>
      store.commit((writer) => {
        writer.putDomain(record(name));
        writer.appendEvent(event(name));
      });
    const outcomes = await Promise.allSettled([
      put("a"),
      store.commit((writer) => {
        writer.putDomain(record("refused"));
        writer.appendEvent(event("refused"));
        return refuse("bad-value", "No.");
      }),
      store.commit((writer) => {
        writer.putDomain(record("threw"));
        throw new Error("a bug");
      }),
      put("b"),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    expect(store.domains({ after: 0, limit: 9 }).items.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(seen).toEqual(["a", "b"]);
  });

  test("sees what earlier ones of its tick wrote, so that two cannot take one name", async () => {
    const take = (uuid: string) =>
      store.commit((writer) => {
        if (writer.domainByName("a")) return refuse("name-taken", "Taken.");
        writer.putDomain({ ...record("a"), uuid });
        return uuid;
      });
    expect(await Promise.all([take("1"), take("2")])).toMatchObject(["1", { code: "name-taken" }]);
  });

  test("keeps the database's own rules: a domid names one live domain", async () => {
    const live = (name: string) => ({ ...record(name), state: "running" as const, domid: 3 });
    await store.commit((writer) => writer.putDomain(live("a")));
    await expect(store.commit((writer) => writer.putDomain(live("b")))).rejects.toThrow(/UNIQUE/);
  });

  test("that is pending when the store closes is kept", () => {
    void store.commit((writer) => writer.putDomain(record("late")));
    store.close();
    store = open();
    expect(store.domainByName("late")).toEqual(record("late"));
  });
});

describe("a full disk", () => {
  class BoundedStore extends SqliteStore {
    /** How many pages the file may still grow by. */
    leave(pages: number): void {
      const { page_count: now } = this.statements.prepare("PRAGMA page_count").get() as { page_count: number };
      this.statements.prepare(`PRAGMA max_page_count = ${now + pages}`).get();
    }
  }
  const PLENTY = 100_000;
  let bounded: BoundedStore;
  beforeEach(() => {
    store.close();
    bounded = new BoundedStore({ stateDir, migrationsDir, now: () => 5 });
    store = bounded;
  });

  const put = (name: string, description = "") =>
    store.commit((writer) => {
      writer.putDomain({ ...record(name), description });
      writer.appendEvent(event(name));
      return name;
    });
  const full = refuse("storage-full", "The disk of the state folder is full; nothing was changed.");
  const names = () => store.domains({ after: 0, limit: 1000 }).items.map(({ name }) => name);
  const told = () => store.events(0, 10_000).map(({ id }) => id);

  test("refuses what does not fit, changes nothing, and takes it when there is room", async () => {
    await put("before");
    bounded.leave(0);
    const large = "x".repeat(100_000);
    expect(await put("large", large)).toEqual(full);
    expect([names(), told()]).toEqual([["before"], ["before"]]);
    bounded.leave(PLENTY);
    expect(await put("large", large)).toBe("large");
    expect([names(), told()]).toEqual([
      ["before", "large"],
      ["before", "large"],
    ]);
  });

  test("leaves of many changes of one tick exactly those that were acknowledged, events too, and the file sound", async () => {
    bounded.leave(20);
    const wanted = Array.from({ length: 100 }, (_, index) => `d${String(index).padStart(3, "0")}`);
    const acknowledged: string[] = [];
    // Some at a time: a tick that does not fit as a whole is refused as a whole.
    for (let at = 0; at < wanted.length; at += 5) {
      const answers = await Promise.all(wanted.slice(at, at + 5).map((name) => put(name, "x".repeat(3000))));
      for (const answer of answers) {
        if (typeof answer === "string") acknowledged.push(answer);
        else expect(answer).toEqual(full);
      }
    }
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(acknowledged.length).toBeLessThan(wanted.length);
    expect([names(), told()]).toEqual([acknowledged, acknowledged]);
    store.close();
    store = open();
    expect([names(), told()]).toEqual([acknowledged, acknowledged]);
    expect(await put("after")).toBe("after");
  });
});

describe("a domain that is read again", () => {
  const memory = () => store.domain("uuid-of-a")?.memoryMiB;
  const all = () => store.domains({ after: 0, limit: 10 }).items.map(({ memoryMiB }) => memoryMiB);
  const put = (memoryMiB: number) => store.commit((writer) => writer.putDomain({ ...record("a"), memoryMiB }));

  test("is the same object until it is changed, by whatever it was found", async () => {
    await put(16);
    const first = store.domain("uuid-of-a");
    expect(store.domain("uuid-of-a")).toBe(first);
    expect(store.domainByName("a")).toBe(first);
    expect(store.domains({ after: 0, limit: 10 }).items[0]).toBe(first);
    await put(32);
    expect(store.domain("uuid-of-a")).not.toBe(first);
    expect([memory(), store.domainByName("a")?.memoryMiB, ...all()]).toEqual([32, 32, 32]);
  });

  test("is what its own change made of it, and what it was when that is taken back", async () => {
    await put(16);
    expect(memory()).toBe(16);
    let seen: (number | undefined)[] = [];
    await store.commit((writer) => {
      writer.putDomain({ ...record("a"), memoryMiB: 64 });
      seen = [memory(), writer.domainByName("a")?.memoryMiB, ...all()];
      return refuse("no-memory", "not so much");
    });
    expect(seen).toEqual([64, 64, 64]);
    expect([memory(), ...all()]).toEqual([16, 16]);
  });

  test("is gone when it was removed, and there again when that is taken back", async () => {
    await put(16);
    expect(memory()).toBe(16);
    await store.commit((writer) => {
      writer.removeDomain("uuid-of-a");
      expect(memory()).toBeUndefined();
      return refuse("wrong-state", "not now");
    });
    expect(memory()).toBe(16);
    await store.commit((writer) => writer.removeDomain("uuid-of-a"));
    expect([memory(), store.domainByName("a"), ...all()]).toEqual([undefined, undefined]);
  });

  test("is not what a transaction made of it that failed as a whole", async () => {
    await put(16);
    const commits: Promise<unknown>[] = [];
    commits.push(store.commit((writer) => writer.putDomain({ ...record("a"), memoryMiB: 64 })));
    commits.push(
      store.commit((writer) => {
        expect(writer.domain("uuid-of-a")?.memoryMiB).toBe(64);
        // As SQLite does by itself where the disk is full.
        (store as unknown as { statements: { prepare(sql: string): { run(): void } } }).statements
          .prepare("ROLLBACK")
          .run();
        throw new Error("rolled back as a whole");
      }),
    );
    await expect(Promise.all(commits)).rejects.toThrow("rolled back as a whole");
    expect([memory(), ...all()]).toEqual([16, 16]);
  });
});

test("a change of one statement that fails leaves nothing, and takes nobody along", async () => {
  await store.commit((writer) => writer.putDomain(record("a")));
  const [failed, done] = await Promise.allSettled([
    store.commitStatement((writer) => writer.putDomain({ ...record("b"), name: "a" })),
    store.commitStatement((writer) => writer.putDomain(record("c"))),
  ]);
  expect([failed.status, done.status]).toEqual(["rejected", "fulfilled"]);
  expect([store.domain("uuid-of-b"), store.domain("uuid-of-c")?.name]).toEqual([undefined, "c"]);
});

describe("a change that nobody waits for", () => {
  test("goes with the next transaction, in order", async () => {
    const soon = store.commitStatement((writer) => writer.putDomain(record("a")), true);
    const batches: number[] = [];
    store.onCommit((_seconds, changes) => batches.push(changes));
    expect(store.domain("uuid-of-a")).toBeUndefined();
    expect(await store.commit((writer) => writer.domain("uuid-of-a")?.name)).toBe("a");
    await soon;
    expect(batches).toEqual([2]);
  });

  test("is done by itself when nothing else comes, and when the store closes", async () => {
    await store.commitStatement((writer) => writer.putDomain(record("a")), true);
    expect(store.domain("uuid-of-a")?.name).toBe("a");
    void store.commitStatement((writer) => writer.putDomain(record("b")), true);
    store.close();
    store = open();
    expect(store.domain("uuid-of-b")?.name).toBe("b");
  });
});

test("records come back as they were put", async () => {
  await store.commit((writer) => writer.putDomain(record("a")));
  expect(store.domain("uuid-of-a")).toEqual(record("a"));
  expect(store.highestDomid()).toBe(7);
  expect(store.domainCounts()).toEqual({ halted: 1 });
});

describe("events", () => {
  test("are numbered without a gap over restarts, in one log", async () => {
    const { logEpoch } = store;
    await store.commit((writer) => writer.appendEvent(event("a")));
    store.close();
    store = open();
    await store.commit((writer) => writer.appendEvent(event("b")));
    expect(store.events(0, 9).map(({ sequence, id }) => [sequence, id])).toEqual([
      [1, "a"],
      [2, "b"],
    ]);
    expect([store.logEpoch, store.bootEpoch]).toEqual([logEpoch, 2]);
  });

  test("are compacted from the oldest, in bounds", async () => {
    store.close();
    store = open(100);
    for (let index = 0; index < 30; index++)
      await store.commit((writer) => {
        for (let more = 0; more < 70; more++) writer.appendEvent(event("x"));
      });
    const { first, last } = store.eventRange();
    expect(last).toBe(2100);
    expect(last - first).toBeGreaterThanOrEqual(100);
    expect(last - first).toBeLessThan(100 + 500 + 70);
  });

  test("of another state are another log", () => {
    const otherDir = mkdtempSync(join(tmpdir(), "domzero-store-"));
    const other = new SqliteStore({ stateDir: otherDir, migrationsDir, now: () => 0 });
    expect(other.logEpoch).not.toBe(store.logEpoch);
    other.close();
    rmSync(otherDir, { recursive: true });
  });
});

test("what a creator's domains come to is kept by every change, and taken back with one that is refused", async () => {
  let seed = 7;
  const random = (most: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed % most;
  };
  for (let step = 0; step < 300; step++) {
    await store.commit((writer) => {
      const name = `d${random(12)}`;
      const known = writer.domain(`uuid-of-${name}`);
      const createdBy = known?.createdBy ?? `token-${random(3)}`;
      if (known && random(3) === 0) writer.removeDomain(known.uuid);
      else writer.putDomain({ ...record(name), createdBy, vcpus: 1 + random(4), maxMemoryMiB: 16 + random(64) });
      return random(4) === 0 ? refuse("wrong-state", "no") : undefined;
    });
  }
  for (const creator of ["token-0", "token-1", "token-2", "nobody"]) {
    const theirs = store.domains({ after: 0, limit: 100 }).items.filter(({ createdBy }) => createdBy === creator);
    const sum = (of: (domain: DomainRecord) => number) => theirs.reduce((total, domain) => total + of(domain), 0);
    expect(store.access.usage(creator)).toEqual({
      domains: theirs.length,
      vcpus: sum(({ vcpus }) => vcpus),
      memoryMiB: sum(({ maxMemoryMiB }) => maxMemoryMiB),
    });
  }
});

describe("at start", () => {
  test("the file is its owner's alone, and every commit is synced", () => {
    expect(statSync(join(stateDir, "domzero.db")).mode & 0o777).toBe(0o600);
  });

  test("a newer schema is refused untouched", () => {
    store.close();
    const path = join(stateDir, "domzero.db");
    const database = new Database(path);
    const newest = database.pragma("user_version", { simple: true });
    database.pragma("user_version = 999");
    database.close();
    expect(open).toThrow(SchemaTooNew);
    const after = new Database(path);
    expect(after.pragma("user_version", { simple: true })).toBe(999);
    after.pragma(`user_version = ${newest}`);
    after.close();
    store = open();
  });

  test("domains of the first schema are kept, and can be suspended", async () => {
    const folder = mkdtempSync(join(tmpdir(), "domzero-migrations-"));
    copyFileSync(join(migrationsDir, "0001-first-light.sql"), join(folder, "0001-first-light.sql"));
    const first = new Database(join(folder, "domzero.db"));
    migrate(first, folder, () => "");
    const columns = first.pragma("table_info(domains)") as { name: string }[];
    const insert = first.prepare(
      `INSERT INTO domains (${columns.map(({ name }) => name)}) VALUES (${columns.map(({ name }) => `@${name}`)})`,
    );
    for (const name of ["a", "b", "gone"]) insert.run({ ...domainShape.toRow(record(name)), position: null });
    first.exec("DELETE FROM domains WHERE name = 'gone'");
    first.close();
    const next = new SqliteStore({ stateDir: folder, migrationsDir, now: () => 5 });
    const defaults = { cpuWeight: 256, cpuCap: 0, cpuAffinity: null };
    expect(next.domains({ after: 0, limit: 10 }).items).toEqual([
      { ...record("a"), ...defaults },
      { ...record("b"), ...defaults },
    ]);
    await next.commit((writer) => writer.putDomain({ ...record("c"), state: "suspended" }));
    expect(next.domains({ after: 3, limit: 10 }).items).toEqual([{ ...record("c"), state: "suspended" }]);
    expect(next.liveDomains()).toEqual([]);
    next.close();
    rmSync(folder, { recursive: true });
  });

  test("an older schema is migrated, with a copy of what was there before", () => {
    const folder = mkdtempSync(join(tmpdir(), "domzero-migrations-"));
    writeFileSync(join(folder, "0001-one.sql"), "CREATE TABLE t (a INTEGER) STRICT;");
    const database = new Database(join(folder, "db"));
    const backup = join(folder, "backup");
    expect(migrate(database, folder, () => backup)).toBeUndefined();
    database.exec("INSERT INTO t VALUES (1)");
    writeFileSync(join(folder, "0002-two.sql"), "ALTER TABLE t ADD COLUMN b TEXT;");
    expect(migrate(database, folder, () => backup)).toBe(backup);
    expect(database.prepare("SELECT * FROM t").get()).toEqual({ a: 1, b: null });
    const old = new Database(backup);
    expect([old.pragma("user_version", { simple: true }), old.prepare("SELECT * FROM t").get()]).toEqual([1, { a: 1 }]);
    old.close();
    database.close();
    rmSync(folder, { recursive: true });
  });

  test("a migration that fails leaves the schema before it", () => {
    const folder = mkdtempSync(join(tmpdir(), "domzero-migrations-"));
    writeFileSync(join(folder, "0001-one.sql"), "CREATE TABLE t (a INTEGER) STRICT; CREATE TABLE t (a INTEGER);");
    const database = new Database(join(folder, "db"));
    expect(() => migrate(database, folder, () => "")).toThrow(/already exists/);
    expect(database.pragma("user_version", { simple: true })).toBe(0);
    expect(database.prepare("SELECT count(*) AS count FROM sqlite_master").get()).toEqual({ count: 0 });
    database.close();
    rmSync(folder, { recursive: true });
  });

  test("a damaged database is refused with what to do", async () => {
    await store.commit((writer) => {
      for (let index = 0; index < 200; index++) writer.putDomain(record(`d${index}`));
    });
    store.close();
    const path = join(stateDir, "domzero.db");
    const damaged = new Database(path);
    damaged.pragma("wal_checkpoint(truncate)");
    damaged.close();
    truncateSync(path, Math.floor(statSync(path).size / 2 / 4096) * 4096);
    expect(open).toThrow(StateDamaged);
    for (const file of readdirSync(stateDir)) rmSync(join(stateDir, file));
    store = open();
  });

  test("a database that is missing beside what it knew of is not made anew", () => {
    store.close();
    for (const file of readdirSync(stateDir)) rmSync(join(stateDir, file));
    mkdirSync(join(stateDir, "images"));
    store = open();
    store.close();
    rmSync(join(stateDir, "domzero.db"));
    writeFileSync(join(stateDir, "images", "a"), "");
    expect(open).toThrow(/images has files, and .*domzero\.db is missing: restore a backup/);
    rmSync(join(stateDir, "images"), { recursive: true });
    store = open();
  });
});
