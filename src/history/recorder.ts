/**
 * The history itself, on whatever thread it runs: takes samples, fills a block of a quarter of an hour in memory, puts it into the file when it
 * is over, and answers with what both hold.
 *
 * A file that is missing, damaged or of another version is made anew, and that is said: no history is worth an outage.
 */

import { existsSync, rmSync } from "node:fs";
import type { Sample, Series, SeriesQuery } from "../toolstack/ports.ts";
import { ARCHIVES, type Archive, BLOCK_MS, blockOf, consolidate } from "./archives.ts";
import { HistoryFile, isDamage, type StoredSample } from "./history-file.ts";
import { Rates } from "./rates.ts";
import { SeriesBuilder } from "./series.ts";

export interface RecorderOptions {
  readonly path: string;
  /** Seconds from sample to sample; divides a minute. */
  readonly stepSeconds: number;
  /** Numbers of an object in a sample. */
  readonly width: number;
  /** Which columns are counters, of the host and of domains. */
  readonly counters: { readonly host: readonly boolean[]; readonly domain: readonly boolean[] };
  /** The name that is the host's. */
  readonly host: string;
  readonly log: (level: "info" | "warn", text: string) => void;
}

export class Recorder {
  readonly #options: RecorderOptions;
  readonly #slots: number;
  readonly #rates: Rates;
  #file: HistoryFile;
  #objects: Map<string, number>;
  /** Number of the block that is being filled, and its points by object. */
  #block = -1;
  /** The last write failed, and that was said. */
  #failing = false;
  #open = new Map<number, Float32Array<ArrayBuffer>>();

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#slots = BLOCK_MS / (options.stepSeconds * 1000);
    this.#rates = new Rates(options.stepSeconds * 1000);
    this.#file = this.#openFile();
    this.#objects = this.#file.objects();
    this.#guarded(() => {
      const samples = [...this.#file.samples()];
      for (const sample of samples) this.#place(sample);
      // Samples of an earlier block that was never closed went into the file as blocks, and those of this one with them.
      for (const sample of samples) if (blockOf(sample.time) === this.#block) this.#file.addSample(sample);
    });
  }

  record({ time, objects, instances, values }: Sample): void {
    this.#guarded(() => {
      const numbers = this.#numbersOf(objects);
      const { width, counters, host } = this.#options;
      const points = new Float32Array(numbers.length * width);
      for (let i = 0; i < numbers.length; i++) {
        const given = values.subarray(i * width, (i + 1) * width);
        const isCounter = objects[i] === host ? counters.host : counters.domain;
        points.set(this.#rates.next(numbers[i]!, time, instances[i]!, given, isCounter), i * width);
      }
      this.#rates.dropBefore(time - BLOCK_MS);
      const sample = { time, objects: numbers, points };
      this.#place(sample);
      this.#file.addSample(sample);
    });
  }

  /** At the finest resolution that is kept of all of the time asked for and is no finer than `step`. */
  read({ object, from, to, step, columns, mostPoints }: SeriesQuery): Series | "too-many" {
    const number = this.#objects.get(object);
    const newest = this.#block >= 0 ? this.#block : blockOf(to * 1000 - 1);
    const covering = ARCHIVES.filter(({ blocks }) => blockOf(from * 1000) >= newest - blocks);
    const usable = covering.length > 0 ? covering : ARCHIVES.slice(-1);
    const fitting = usable.filter((archive) => step === undefined || this.#stepOf(archive) <= step);
    const archive = step === undefined ? usable[0]! : (fitting.at(-1) ?? usable[0]!);
    const finest = this.#stepOf(archive);
    const seconds = Math.ceil((step ?? finest) / finest) * finest;
    const { width } = this.#options;
    if ((to - from) / seconds > mostPoints) return "too-many";
    const series = new SeriesBuilder(from * 1000, to * 1000, seconds * 1000, width, columns);
    if (number !== undefined) this.#guarded(() => this.#fill(series, archive, number, to));
    return { from: series.from / 1000, step: seconds, points: series.result() };
  }

  forget(object: string): void {
    const number = this.#objects.get(object);
    if (number === undefined) return;
    this.#objects.delete(object);
    this.#open.delete(number);
    this.#rates.forget(number);
    this.#guarded(() => this.#file.removeObject(object));
  }

  objects(): readonly string[] {
    return [...this.#objects.keys()];
  }

  size(): number {
    return this.#file.size();
  }

  close(): void {
    this.#file.close();
  }

  #stepOf({ points }: Archive): number {
    return points === undefined ? this.#options.stepSeconds : BLOCK_MS / 1000 / points;
  }

  #fill(series: SeriesBuilder, { name, points, blocks }: Archive, object: number, to: number): void {
    const last = blockOf(to * 1000 - 1);
    const first = Math.max(blockOf(series.from), this.#block - blocks);
    for (const [number, block] of this.#file.blocks(name, object, first, last)) {
      if (number !== this.#block) series.add(number, block);
    }
    const open = this.#open.get(object);
    if (open && this.#block >= first && this.#block <= last)
      series.add(this.#block, points === undefined ? open : consolidate(open, this.#options.width, points));
  }

  #numbersOf(names: readonly string[]): Int32Array<ArrayBuffer> {
    const fresh = names.filter((name) => !this.#objects.has(name));
    if (fresh.length > 0) {
      for (const [index, number] of this.#file.addObjects(fresh).entries()) this.#objects.set(fresh[index]!, number);
    }
    return Int32Array.from(names, (name) => this.#objects.get(name)!);
  }

  /** Into the block of its time; the one before is over when it begins. */
  #place({ time, objects, points }: StoredSample): void {
    const { width } = this.#options;
    const number = blockOf(time);
    // A clock that was put back a little must not begin anew what is over.
    if (number === this.#block - 1) return;
    if (number !== this.#block) {
      this.#closeBlock();
      this.#block = number;
      this.#open = new Map();
    }
    const slot = Math.floor((time - number * BLOCK_MS) / (BLOCK_MS / this.#slots));
    for (let i = 0; i < objects.length; i++) {
      let block = this.#open.get(objects[i]!);
      if (!block) {
        block = new Float32Array(this.#slots * width).fill(Number.NaN);
        this.#open.set(objects[i]!, block);
      }
      block.set(points.subarray(i * width, (i + 1) * width), slot * width);
    }
  }

  #closeBlock(): void {
    if (this.#open.size === 0) return;
    const { width } = this.#options;
    const blocks = new Map(
      ARCHIVES.map(({ name, points }) => {
        const byObject = [...this.#open].map(
          ([object, block]) => [object, points === undefined ? block : consolidate(block, width, points)] as const,
        );
        return [name, new Map(byObject)] as const;
      }),
    );
    this.#file.putBlocks(this.#block, blocks);
  }

  /** Work on the file; a damaged one is made anew, and this much of the history is lost. */
  #guarded(work: () => void): void {
    try {
      work();
      this.#failing = false;
    } catch (error) {
      if (!isDamage(error)) {
        if (!this.#failing) this.#options.log("warn", `the history cannot be written: ${(error as Error).message}`);
        this.#failing = true;
        return;
      }
      this.#options.log("warn", `the history's file is damaged (${error.message}) and is made anew`);
      this.#file.close();
      removeFile(this.#options.path);
      this.#file = this.#openFile();
      this.#objects = new Map();
      this.#open = new Map();
    }
  }

  #openFile(): HistoryFile {
    const { path, width, log } = this.#options;
    if (!existsSync(path)) log("info", "a history of figures begins");
    try {
      return new HistoryFile(path, width);
    } catch (error) {
      log("warn", `the history's file cannot be used (${(error as Error).message}) and is made anew`);
      removeFile(path);
      return new HistoryFile(path, width);
    }
  }
}

function removeFile(path: string): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
}
