/**
 * The front doors to a kernel: what an uploaded file is wrapped in, and how the ELF image inside is got out.
 *
 * A wrapper is recognized by its first bytes: a bzImage has a compressed image in it, and any image may be compressed as a whole.
 * What is unpacked is bounded (see decompress.ts).
 */
import { type BuildError, refuse, refused } from "./build-error.ts";
import { bzImagePayload, isBzImage } from "./bzimage.ts";
import { type CompressionName, codecOf, decompress } from "./decompress.ts";
import { isElf } from "./elf.ts";

export type KernelWrapping = "none" | CompressionName | "bzImage" | `bzImage, ${CompressionName}`;

export interface UnwrappedKernel {
  readonly elf: Uint8Array;
  readonly wrapping: KernelWrapping;
}

/** lzop's magic number: the one format of Linux's that is not unpacked here. */
const LZO = [0x89, 0x4c, 0x5a, 0x4f];

/** Whether looking into the file means unpacking it, which may take seconds. */
export const isWrapped = (file: Uint8Array): boolean => isBzImage(file) || codecOf(file) !== undefined;

/** The ELF image in `file`, which is the file itself where nothing is wrapped around it. */
export function unwrapKernel(file: Uint8Array): UnwrappedKernel | BuildError {
  if (isElf(file)) return { elf: file, wrapping: "none" };
  if (isBzImage(file)) return unwrapBzImage(file);
  const codec = codecOf(file);
  if (codec !== undefined) {
    const elf = decompress(codec, `The ${codec.name} file`, file);
    if (!(elf instanceof Uint8Array)) return elf;
    if (isElf(elf)) return { elf, wrapping: codec.name };
    return refuse("not-a-kernel", `The ${codec.name} file does not hold an ELF image.`);
  }
  if (isLzo(file)) return notSupported("The kernel");
  return refuse(
    "not-a-kernel",
    file.length === 0
      ? "The file is empty."
      : "The file is no kernel: neither an ELF image, nor a bzImage, nor compressed.",
    0,
  );
}

function unwrapBzImage(file: Uint8Array): UnwrappedKernel | BuildError {
  const payload = bzImagePayload(file, (start) => codecOf(start)?.name === "gzip");
  if (refused(payload)) return payload;
  if (isElf(payload.bytes)) return { elf: payload.bytes, wrapping: "bzImage" };
  const codec = codecOf(payload.stream);
  if (codec === undefined) {
    if (isLzo(payload.stream)) return notSupported("The bzImage's kernel");
    return refuse("bad-bzimage", "The bzImage's payload is neither compressed in a known way nor an ELF image.");
  }
  const elf = decompress(codec, `The bzImage's ${codec.name} payload`, payload.stream, payload.unpackedSize);
  if (!(elf instanceof Uint8Array)) return elf;
  if (isElf(elf)) return { elf, wrapping: `bzImage, ${codec.name}` };
  return refuse("not-a-kernel", `The bzImage's ${codec.name} payload does not hold an ELF image.`);
}

const isLzo = (data: Uint8Array) => LZO.every((byte, i) => data[i] === byte);

const notSupported = (what: string) =>
  refuse(
    "compression-not-supported",
    `${what} is compressed by LZO, which is not supported; gzip, zstd, xz, bzip2, lz4 and lzma are.`,
  );
