/**
 * The history's database: blocks that are over, one row for each object, resolution and quarter of an hour; and the samples of the
 * block that is being filled, as they came, so that a killed process loses none.
 *
 * Rows are ordered by block first: they are written, and dropped when they are old, in a row. A name that is forgotten leaves nameless
 * rows behind, which go with their time; numbers are never given twice.
 */

import Database from "better-sqlite3";
import { ARCHIVES, type Archive } from "./archives.ts";

/** Grows when what is in the file means something else. A file of another version is made anew. */
const VERSION = 1;

const SCHEMA = `
CREATE TABLE objects (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE samples (time INTEGER PRIMARY KEY, objects BLOB NOT NULL, points BLOB NOT NULL) STRICT;
${ARCHIVES.map(
  ({ name }) =>
    `CREATE TABLE ${name} (block INTEGER, object INTEGER, points BLOB NOT NULL, PRIMARY KEY (block, object)) STRICT, WITHOUT ROWID;`,
).join("\n")}`;

export interface StoredSample {
  readonly time: number;
  /** Numbers of objects, and their points one after the other. */
  readonly objects: Int32Array<ArrayBuffer>;
  readonly points: Float32Array<ArrayBuffer>;
}

interface SampleRow {
  readonly time: number;
  readonly objects: Buffer;
  readonly points: Buffer;
}

export class HistoryFile {
  readonly #database: Database.Database;
  readonly #prepared = new Map<string, Database.Statement>();

  /** Makes the file where it is missing. Throws for one that is damaged, or of another version or width. */
  constructor(path: string, width: number) {
    this.#database = new Database(path);
    try {
      this.#database.pragma("journal_mode = wal");
      // What was acknowledged to nobody may be lost with the machine's power; the file is whole all the same.
      this.#database.pragma("synchronous = normal");
      const version = this.#database.pragma("user_version", { simple: true }) as number;
      const expected = VERSION * 1000 + width;
      if (version === 0) {
        this.#database.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${expected}; COMMIT`);
      } else if (version !== expected) throw new Error("it is of another version of domzero");
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  objects(): Map<string, number> {
    const rows = this.#statement("SELECT id, name FROM objects").all() as { id: number; name: string }[];
    return new Map(rows.map(({ id, name }) => [name, id]));
  }

  /** Numbers for new names, in order. */
  addObjects(names: readonly string[]): number[] {
    const insert = this.#statement("INSERT INTO objects (name) VALUES (?)");
    return this.#database.transaction(() => names.map((name) => Number(insert.run(name).lastInsertRowid)))();
  }

  removeObject(name: string): void {
    this.#statement("DELETE FROM objects WHERE name = ?").run(name);
  }

  addSample({ time, objects, points }: StoredSample): void {
    const sql = "INSERT OR REPLACE INTO samples VALUES (?, ?, ?)";
    this.#statement(sql).run(time, bytesOf(objects), bytesOf(points));
  }

  *samples(): Generator<StoredSample> {
    const rows = this.#statement("SELECT * FROM samples ORDER BY time").iterate() as IterableIterator<SampleRow>;
    for (const { time, objects, points } of rows)
      yield { time, objects: new Int32Array(copyOf(objects)), points: floatsOf(points) };
  }

  /** Writes blocks that are over, each by object, and drops the samples that they were made of and blocks that are too old. */
  putBlocks(
    number: number,
    blocks: ReadonlyMap<Archive["name"], ReadonlyMap<number, Float32Array<ArrayBuffer>>>,
  ): void {
    this.#database.transaction(() => {
      for (const [name, byObject] of blocks) {
        const insert = this.#statement(`INSERT OR REPLACE INTO ${name} VALUES (?, ?, ?)`);
        for (const [object, points] of byObject) insert.run(number, object, bytesOf(points));
      }
      for (const { name, blocks: kept } of ARCHIVES) {
        // Times ahead of now are of a clock that was wrong.
        this.#statement(`DELETE FROM ${name} WHERE block < ? OR block > ?`).run(number - kept, number);
      }
      this.#statement("DELETE FROM samples").run();
    })();
  }

  /** An object's blocks of an archive, from number `first` to `last`. */
  *blocks(name: Archive["name"], object: number, first: number, last: number): Generator<[number, Float32Array]> {
    const get = this.#statement(`SELECT points FROM ${name} WHERE block = ? AND object = ?`);
    for (let number = first; number <= last; number++) {
      const row = get.get(number, object) as { points: Buffer } | undefined;
      if (row) yield [number, floatsOf(row.points)];
    }
  }

  /** Bytes of the file. */
  size(): number {
    const pages = this.#database.pragma("page_count", { simple: true }) as number;
    return pages * (this.#database.pragma("page_size", { simple: true }) as number);
  }

  close(): void {
    this.#database.close();
  }

  #statement(sql: string): Database.Statement {
    let statement = this.#prepared.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      this.#prepared.set(sql, statement);
    }
    return statement;
  }
}

/** The database itself is not what it was: no other one is hit by the same error. */
export function isDamage(error: unknown): error is Error {
  return (
    error instanceof Database.SqliteError && /^SQLITE_(CORRUPT|NOTADB|IOERR_SHORT_READ|SCHEMA|ERROR)/.test(error.code)
  );
}

function bytesOf(array: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

/** The bytes at the beginning of a buffer of their own: SQLite's are not aligned. */
function copyOf(buffer: Buffer): ArrayBuffer {
  return new Uint8Array(buffer).buffer;
}

function floatsOf(buffer: Buffer): Float32Array<ArrayBuffer> {
  return new Float32Array(copyOf(buffer));
}
