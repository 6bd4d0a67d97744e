/**
 * Reads the file of a suspended domain, record by record, and believes nothing: lengths are checked before they are used, every checksum
 * before its payload is, and pages go only to frames that are the domain's. What is wrong is named with its byte offset.
 */
import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import type { DomctlRefusal, DomctlResult } from "../../machine/domctl.ts";
import { FRAME_OWNED, type LoadedDomain, type LoadJob, type SuspendedHead } from "../../machine/suspended-domain.ts";
import {
  BYTES_PER_FRAME,
  EndRecord,
  FRAMES_HEAD_BYTES,
  headCrc,
  KIND,
  MAGIC,
  MAX_PAYLOAD,
  PAGE_SIZE,
  PAGE_TABLE_BYTES,
  PAGES_PER_RECORD,
  Preamble,
  RecordHead,
  VERSION,
} from "./format.ts";
import { decodeState, StateError, type StateRecord } from "./state.ts";

/** Whose state it is and what memory it needs: the first record only. */
export function readSuspendHead(path: string): Promise<DomctlResult<SuspendedHead>> {
  return reading(path, async (records) => {
    const { uuid, pages, mapMaxPages, vcpus } = await readState(records);
    return { uuid, pages, maxPages: mapMaxPages, vcpus: vcpus.length };
  });
}

/** Fills a zeroed memory, and gives the state. What was refused may have filled some of it. */
export function readSuspendImage(job: LoadJob): Promise<DomctlResult<LoadedDomain>> {
  return reading(job.path, async (records) => {
    const state = await readState(records);
    const { frames, m2p, next } = await readFrames(records, job.ownFrames);
    await readPages(records, next, frames, job);
    return { ...state, frames, m2p };
  });
}

/** Why a file is refused. */
class Damaged extends Error {}

async function reading<T>(path: string, read: (records: RecordReader) => Promise<T>): Promise<DomctlResult<T>> {
  const refuse = (code: DomctlRefusal["code"], detail: string): DomctlRefusal => ({ ok: false, code, detail });
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    return refuse("bad-image", `The file of the suspended domain cannot be opened: ${(error as Error).message}.`);
  }
  try {
    const records = new RecordReader(file, (await file.stat()).size);
    await records.preamble();
    return { ok: true, value: await read(records) };
  } catch (error) {
    if (error instanceof Damaged)
      return refuse("bad-image", `The file of the suspended domain is damaged: ${error.message}.`);
    return refuse("internal", `The file of the suspended domain cannot be read: ${(error as Error).message}.`);
  } finally {
    await file.close();
  }
}

interface FileRecord {
  readonly kind: number;
  readonly payload: Buffer;
  /** Where it begins in the file. */
  readonly at: number;
}

async function readState(records: RecordReader): Promise<StateRecord> {
  const { kind, payload, at } = await records.next();
  if (kind !== KIND.state) throw new Damaged(`the record at byte ${at} is of kind ${kind}, the state is missing`);
  try {
    return decodeState(payload);
  } catch (error) {
    if (error instanceof StateError) throw new Damaged(`the state record at byte ${at}: ${error.message}`);
    throw error;
  }
}

/** The whole frame table, and the record after it. */
async function readFrames(
  records: RecordReader,
  ownFrames: number,
): Promise<{ frames: Uint8Array; m2p: Uint32Array; next: FileRecord }> {
  const frames = new Uint8Array(ownFrames);
  const m2p = new Uint32Array(ownFrames * 2);
  let have = 0;
  for (;;) {
    const record = await records.next();
    if (record.kind !== KIND.frames) {
      if (have === ownFrames) return { frames, m2p, next: record };
      throw new Damaged(`the frame table has ${have} frames before byte ${record.at}, the domain has ${ownFrames}`);
    }
    const { payload, at } = record;
    const first = payload.length < FRAMES_HEAD_BYTES ? -1 : payload.readUInt32LE(0);
    const count = first < 0 ? 0 : payload.readUInt32LE(4);
    const fits = first === have && count > 0 && count <= ownFrames - have;
    if (!fits || payload.length !== FRAMES_HEAD_BYTES + count * BYTES_PER_FRAME) {
      throw new Damaged(`the frames record at byte ${at} does not continue the table of ${ownFrames} at ${have}`);
    }
    for (let i = 0; i < count * 2; i++) m2p[first * 2 + i] = payload.readUInt32LE(FRAMES_HEAD_BYTES + i * 4);
    frames.set(payload.subarray(FRAMES_HEAD_BYTES + count * 8), first);
    have += count;
  }
}

/** From the record after the frame table to the end of the file. */
async function readPages(
  records: RecordReader,
  first: FileRecord,
  frames: Uint8Array,
  { memory, ramOffset }: LoadJob,
): Promise<void> {
  let last = -1;
  let record = first;
  for (; record.kind === KIND.pages; record = await records.next()) {
    const { payload, at } = record;
    const count = payload.length < PAGE_TABLE_BYTES ? 0 : payload.readUInt32LE(0);
    if (count < 1 || count > PAGES_PER_RECORD || payload.length !== PAGE_TABLE_BYTES + count * PAGE_SIZE) {
      throw new Damaged(
        `the pages record at byte ${at} has ${payload.length} bytes, which is not right for ${count} pages`,
      );
    }
    for (let i = 0; i < count; i++) {
      const index = payload.readUInt32LE(4 + i * 4);
      if (index <= last) throw new Damaged(`the pages record at byte ${at} goes back from frame ${last} to ${index}`);
      if (index >= frames.length || (frames[index]! & FRAME_OWNED) === 0) {
        throw new Damaged(`the pages record at byte ${at} has frame ${index}, which is not the domain's`);
      }
      last = index;
      const from = PAGE_TABLE_BYTES + i * PAGE_SIZE;
      new Uint8Array(memory.buffer, ramOffset + index * PAGE_SIZE, PAGE_SIZE).set(
        payload.subarray(from, from + PAGE_SIZE),
      );
    }
  }
  records.finish(record);
}

class RecordReader {
  readonly #file: FileHandle;
  readonly #size: number;
  readonly #buffer = Buffer.alloc(MAX_PAYLOAD);
  readonly #head = Buffer.alloc(RecordHead.size);
  #at = 0;
  #records = 0;
  #headsCrc = 0;
  /** What the end record has to say: as it was before the latest record. */
  #before = { bytes: 0, records: 0, headsCrc: 0 };

  constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.#size = size;
  }

  async preamble(): Promise<void> {
    const bytes = Buffer.alloc(Preamble.size);
    await this.#read(bytes, "the preamble");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.toString("latin1", 0, MAGIC.length) !== MAGIC) throw new Damaged("it does not begin with its magic word");
    const version = Preamble.version.get(view, 0);
    if (version !== VERSION) throw new Damaged(`its version is ${version}, and only version ${VERSION} is known`);
    if (Preamble.reserved.get(view, 0) !== 0) throw new Damaged("its preamble is not as it should be");
  }

  /** The payload is valid until the next call. */
  async next(): Promise<FileRecord> {
    const at = this.#at;
    await this.#read(this.#head, "a record's head");
    const view = new DataView(this.#head.buffer, this.#head.byteOffset, this.#head.length);
    if (RecordHead.headCrc.get(view, 0) !== headCrc(this.#head)) {
      throw new Damaged(`the head of the record at byte ${at} has a wrong checksum`);
    }
    const length = RecordHead.length.get(view, 0);
    if (length > MAX_PAYLOAD) throw new Damaged(`the record at byte ${at} would have ${length} bytes`);
    const payload = this.#buffer.subarray(0, length);
    await this.#read(payload, `the record that begins at byte ${at}`);
    if (RecordHead.payloadCrc.get(view, 0) !== crc32(payload)) {
      throw new Damaged(`the record at byte ${at}, of ${length} bytes, has a wrong checksum`);
    }
    this.#before = { bytes: at, records: this.#records, headsCrc: this.#headsCrc };
    this.#records++;
    this.#headsCrc = crc32(this.#head, this.#headsCrc);
    return { kind: RecordHead.kind.get(view, 0), payload, at };
  }

  /** This is the last record, and a right one. */
  finish({ kind, payload, at }: FileRecord): void {
    if (kind !== KIND.end)
      throw new Damaged(`the record at byte ${at} is of kind ${kind}, which does not belong there`);
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const { bytes, records, headsCrc } = this.#before;
    const right =
      payload.length === EndRecord.size &&
      EndRecord.bytes.number(view, 0) === bytes &&
      EndRecord.records.get(view, 0) === records &&
      EndRecord.headsCrc.get(view, 0) === headsCrc;
    if (!right) throw new Damaged(`the end record at byte ${at} does not agree with what is before it`);
    if (this.#at !== this.#size) throw new Damaged(`something follows its end, from byte ${this.#at}`);
  }

  async #read(into: Buffer, what: string): Promise<void> {
    if (into.length > this.#size - this.#at) {
      throw new Damaged(`it ends at byte ${this.#size}, in ${what}: it has been cut off`);
    }
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await this.#file.read(into, done, into.length - done, this.#at + done);
      if (bytesRead === 0) throw new Damaged(`it was cut off at byte ${this.#at + done} while it was read`);
      done += bytesRead;
    }
    this.#at += into.length;
  }
}
