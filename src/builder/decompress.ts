/**
 * Compressed data of every kind that kernels come in, recognized by their first bytes.
 *
 * Bounded: nothing unpacks to more than `MAX_KERNEL_BYTES`, nor to more than `MAX_RATIO` times its size once that is above
 * `FREE_BYTES`; so a small file cannot cost much memory, or time.
 */
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { type BuildError, refuse } from "./build-error.ts";
import { decompressBzip2 } from "./codecs/bzip2.ts";
import { Damaged, type Decompress, TooLarge } from "./codecs/codec.ts";
import { decompressLz4Legacy } from "./codecs/lz4-legacy.ts";
import { decompressLzma } from "./codecs/lzma.ts";
import { decompressXz } from "./codecs/xz.ts";

/** An unpacked kernel with all its debug sections stays below this. */
export const MAX_KERNEL_BYTES = 256 << 20;
/** Kernels shrink to between a quarter and an eighth. */
const USUAL_RATIO = 4;
const MAX_RATIO = 100;
/** An image of mostly zeros may shrink to anything, if it is small. */
const FREE_BYTES = 16 << 20;

const zlib =
  (decompress: typeof gunzipSync | typeof zstdDecompressSync): Decompress =>
  (data, { maxBytes }) => {
    try {
      return decompress(data, { maxOutputLength: maxBytes });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw new TooLarge();
      throw error;
    }
  };

export interface Codec {
  readonly name: CompressionName;
  readonly magic: readonly number[];
  readonly decompress: Decompress;
}

export type CompressionName = "gzip" | "zstd" | "xz" | "bzip2" | "lz4" | "lzma";

const CODECS: readonly Codec[] = [
  { name: "gzip", magic: [0x1f, 0x8b], decompress: zlib(gunzipSync) },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], decompress: zlib(zstdDecompressSync) },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], decompress: decompressXz },
  { name: "bzip2", magic: [0x42, 0x5a, 0x68], decompress: decompressBzip2 },
  { name: "lz4", magic: [0x02, 0x21, 0x4c, 0x18], decompress: decompressLz4Legacy },
  { name: "lzma", magic: [0x5d, 0x00, 0x00], decompress: decompressLzma },
];

/** What could have compressed these data; `undefined` when they begin like nothing known. */
export const codecOf = (data: Uint8Array): Codec | undefined =>
  CODECS.find(({ magic }) => magic.every((byte, i) => data[i] === byte));

/**
 * Unpacks `data`. `what` names them in a refusal ("The gzip file"); `size` is what they must unpack to, where that is known from
 * outside. Never throws.
 */
export function decompress(codec: Codec, what: string, data: Uint8Array, size?: number): Uint8Array | BuildError {
  const maxBytes = Math.min(MAX_KERNEL_BYTES, Math.max(FREE_BYTES, data.length * MAX_RATIO));
  const mib = Math.floor(maxBytes / 2 ** 20);
  const tooLarge = () =>
    refuse(
      "decompressed-too-large",
      `${what} is a decompression bomb, or no kernel: it unpacks to more than ${mib} MiB from ${data.length} bytes.`,
    );
  if (size !== undefined && size > maxBytes) return tooLarge();
  try {
    const unpacked = codec.decompress(data, {
      maxBytes,
      expectedBytes: Math.min(size ?? data.length * USUAL_RATIO, maxBytes),
    });
    if (size === undefined || unpacked.length === size) return unpacked;
    return refuse("bad-compressed-data", `${what} is damaged: it unpacks to ${unpacked.length} bytes, not ${size}.`);
  } catch (error) {
    if (error instanceof TooLarge) return tooLarge();
    const why = error instanceof Damaged ? error.message : `${(error as Error).message}`.replace(/[^\x20-\x7e]/g, "?");
    return refuse("bad-compressed-data", `${what} is damaged: ${why}.`);
  }
}
