/**
 * The file of a suspended domain, version 1. All numbers are little-endian.
 *
 *     preamble   16 bytes   "DZSUSPND", u32 version, u32 0
 *     record     16 bytes   u32 kind, u32 length of the payload, u32 CRC-32 of the payload, u32 CRC-32 of the 12 bytes before
 *                payload
 *
 * Records follow each other without a gap, in this order:
 *
 *     state      one        JSON (state.ts): registers, reservation, assists, times; `uuid` says whose, `typed` is console input
 *                           that the guest has not seen
 *     frames     some       u32 first, u32 count, then for each frame a u64 of the machine-to-physical table, then for each a byte:
 *                           bit 0 the domain's, bits 3:1 level of its pin. Consecutive from frame 0 to the last RAM frame
 *     pages      any        1 KiB: u32 count (1 to 255), 255 u32 frame numbers; then 4 KiB for each frame. Frame numbers rise through the
 *                           whole file; frames that are the domain's and not here are zero
 *     end        one        u64 bytes before this record, u32 records before it, u32 CRC-32 of their 16-byte heads in order
 *
 * Frame numbers count from the domain's first machine frame. Nothing follows the end.
 */
import { crc32 } from "node:zlib";
import { struct, bytes as text, u32, u64 } from "../../abi/struct.ts";

export const MAGIC = "DZSUSPND";
export const VERSION = 1;

export const Preamble = struct({ magic: text(8), version: u32, reserved: u32 });
export const RecordHead = struct({ kind: u32, length: u32, payloadCrc: u32, headCrc: u32 });
export const EndRecord = struct({ bytes: u64, records: u32, headsCrc: u32 });

export const KIND = { state: 1, frames: 2, pages: 3, end: 4 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** No payload is longer: what a reader has to hold at once. */
export const MAX_PAYLOAD = 4 * 1024 * 1024;

export const PAGE_SIZE = 4096;
/** Before the pages of a record: how many there are, and their frame numbers. */
export const PAGE_TABLE_BYTES = 1024;
export const PAGES_PER_RECORD = PAGE_TABLE_BYTES / 4 - 1;

export const FRAMES_HEAD_BYTES = 8;
export const FRAMES_PER_RECORD = 65_536;
export const BYTES_PER_FRAME = 9;

/** CRC-32 of a record's head without the last word. */
export function headCrc(head: Uint8Array): number {
  return crc32(head.subarray(0, RecordHead.offsets.headCrc));
}
