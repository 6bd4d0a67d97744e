/**
 * Writes the file of a suspended domain: to a temporary file beside it, which takes the name when all of it is on the disk. Whoever
 * finds a file under the name finds a whole one.
 */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { FRAME_OWNED, type SavedFile, type SaveJob } from "../../machine/suspended-domain.ts";
import {
  BYTES_PER_FRAME,
  EndRecord,
  FRAMES_HEAD_BYTES,
  FRAMES_PER_RECORD,
  headCrc,
  KIND,
  type Kind,
  MAGIC,
  MAX_PAYLOAD,
  PAGE_SIZE,
  PAGE_TABLE_BYTES,
  PAGES_PER_RECORD,
  Preamble,
  RecordHead,
  VERSION,
} from "./format.ts";
import { encodeState } from "./state.ts";

/** Throws what the file system throws; then there is neither a temporary file nor one of the name that was not there before. */
export async function writeSuspendImage(job: SaveJob): Promise<SavedFile> {
  const temporary = `${job.path}.tmp`;
  try {
    const file = await open(temporary, "w", 0o600);
    let saved: SavedFile;
    try {
      saved = await writeAll(file, job);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, job.path);
    await syncFolder(dirname(job.path));
    return saved;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function writeAll(file: FileHandle, job: SaveJob): Promise<SavedFile> {
  const { frames, m2p, ...rest } = job.state;
  const records = new RecordWriter(file);
  await records.preamble();
  await records.write(KIND.state, encodeState({ ...rest, uuid: job.uuid, typed: job.typed }));
  for (let first = 0; first < frames.length; first += FRAMES_PER_RECORD) {
    await records.write(KIND.frames, framesPayload(frames, m2p, first));
  }
  const written = await writePages(records, job);
  return { bytes: await records.end(), frames: written };
}

function framesPayload(frames: Uint8Array, m2p: Uint32Array, first: number): Uint8Array {
  const count = Math.min(FRAMES_PER_RECORD, frames.length - first);
  const payload = new Uint8Array(FRAMES_HEAD_BYTES + count * BYTES_PER_FRAME);
  const view = new DataView(payload.buffer);
  view.setUint32(0, first, true);
  view.setUint32(4, count, true);
  for (let i = 0; i < count * 2; i++) view.setUint32(FRAMES_HEAD_BYTES + i * 4, m2p[first * 2 + i]!, true);
  payload.set(frames.subarray(first, first + count), FRAMES_HEAD_BYTES + count * 8);
  return payload;
}

/** The domain's frames that are not zero. */
async function writePages(records: RecordWriter, { memory, ramOffset, state }: SaveJob): Promise<number> {
  const payload = Buffer.alloc(PAGE_TABLE_BYTES + PAGES_PER_RECORD * PAGE_SIZE);
  const zeros = Buffer.alloc(PAGE_SIZE);
  let count = 0;
  let written = 0;
  const flush = async () => {
    payload.writeUInt32LE(count, 0);
    payload.fill(0, 4 + count * 4, PAGE_TABLE_BYTES);
    await records.write(KIND.pages, payload.subarray(0, PAGE_TABLE_BYTES + count * PAGE_SIZE));
    written += count;
    count = 0;
  };
  for (let index = 0; index < state.frames.length; index++) {
    if ((state.frames[index]! & FRAME_OWNED) === 0) continue;
    const at = PAGE_TABLE_BYTES + count * PAGE_SIZE;
    payload.set(new Uint8Array(memory.buffer, ramOffset + index * PAGE_SIZE, PAGE_SIZE), at);
    if (payload.compare(zeros, 0, PAGE_SIZE, at, at + PAGE_SIZE) === 0) continue;
    payload.writeUInt32LE(index, 4 + count * 4);
    if (++count === PAGES_PER_RECORD) await flush();
  }
  if (count > 0) await flush();
  return written;
}

class RecordWriter {
  readonly #file: FileHandle;
  #bytes = 0;
  #records = 0;
  #headsCrc = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async preamble(): Promise<void> {
    const bytes = new Uint8Array(Preamble.size);
    const view = new DataView(bytes.buffer);
    Preamble.magic.set(view, 0, Buffer.from(MAGIC, "latin1"));
    Preamble.version.set(view, 0, VERSION);
    await this.#append(bytes);
  }

  async write(kind: Kind, payload: Uint8Array): Promise<void> {
    if (payload.length > MAX_PAYLOAD) throw new RangeError(`a record of ${payload.length} bytes`);
    const head = new Uint8Array(RecordHead.size);
    const view = new DataView(head.buffer);
    RecordHead.kind.set(view, 0, kind);
    RecordHead.length.set(view, 0, payload.length);
    RecordHead.payloadCrc.set(view, 0, crc32(payload));
    RecordHead.headCrc.set(view, 0, headCrc(head));
    await this.#append(head);
    await this.#append(payload);
    this.#records++;
    this.#headsCrc = crc32(head, this.#headsCrc);
  }

  /** Writes the end; gives the size of the file. */
  async end(): Promise<number> {
    const payload = new Uint8Array(EndRecord.size);
    const view = new DataView(payload.buffer);
    EndRecord.bytes.setNumber(view, 0, this.#bytes);
    EndRecord.records.set(view, 0, this.#records);
    EndRecord.headsCrc.set(view, 0, this.#headsCrc);
    await this.write(KIND.end, payload);
    return this.#bytes;
  }

  async #append(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) done += (await this.#file.write(bytes, done)).bytesWritten;
    this.#bytes += bytes.length;
  }
}
