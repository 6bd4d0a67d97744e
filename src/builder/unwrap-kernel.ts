/**
 * The front doors to a kernel: what an uploaded file is wrapped in, and how the ELF image inside is got out.
 *
 * A wrapper is recognized by its first bytes. Decompression is bounded by `MAX_KERNEL_BYTES`, so a small file cannot make a large one.
 */
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { type BuildError, refuse } from "./build-error.ts";
import { isElf } from "./elf.ts";

/** An unpacked kernel with all its debug sections stays below this. */
export const MAX_KERNEL_BYTES = 256 << 20;

export type KernelWrapping = "none" | "gzip" | "zstd";

export interface UnwrappedKernel {
  readonly elf: Uint8Array;
  readonly wrapping: KernelWrapping;
}

interface Wrapping {
  readonly name: string;
  readonly magic: readonly number[];
  readonly at?: number;
}

const DECOMPRESSORS: readonly (Wrapping & {
  readonly name: Exclude<KernelWrapping, "none">;
  readonly decompress: (file: Uint8Array, limits: { maxOutputLength: number }) => Uint8Array;
})[] = [
  { name: "gzip", magic: [0x1f, 0x8b], decompress: gunzipSync },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], decompress: zstdDecompressSync },
];

/** Recognized, so that the refusal can name them. */
const OTHER_WRAPPINGS: readonly Wrapping[] = [
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { name: "bzip2", magic: [0x42, 0x5a, 0x68] },
  { name: "lzma", magic: [0x5d, 0x00, 0x00] },
  { name: "lzo", magic: [0x89, 0x4c, 0x5a, 0x4f] },
  { name: "lz4", magic: [0x02, 0x21, 0x4c, 0x18] },
];

/** "HdrS" of the Linux x86 boot protocol. */
const BZIMAGE: Wrapping = { name: "bzImage", at: 0x202, magic: [0x48, 0x64, 0x72, 0x53] };

const matches = (file: Uint8Array, { magic, at = 0 }: Wrapping) => magic.every((byte, i) => file[at + i] === byte);

/** The ELF image in `file`, which is the file itself where nothing is wrapped around it. */
export function unwrapKernel(file: Uint8Array): UnwrappedKernel | BuildError {
  if (isElf(file)) return { elf: file, wrapping: "none" };
  for (const { name, decompress, ...wrapping } of DECOMPRESSORS) {
    if (!matches(file, { name, ...wrapping })) continue;
    const elf = decompressed(name, () => decompress(file, { maxOutputLength: MAX_KERNEL_BYTES }));
    if (!(elf instanceof Uint8Array)) return elf;
    if (isElf(elf)) return { elf, wrapping: name };
    return refuse("not-a-kernel", `The ${name} file does not hold an ELF image.`);
  }
  if (matches(file, BZIMAGE)) {
    return refuse(
      "bzimage-not-supported",
      "This is a Linux bzImage, which is not supported yet; the ELF image inside it (vmlinux) is.",
      BZIMAGE.at,
    );
  }
  const other = OTHER_WRAPPINGS.find((wrapping) => matches(file, wrapping));
  if (other !== undefined) {
    return refuse(
      "compression-not-supported",
      `Kernels compressed by ${other.name} are not supported; ELF, gzip and zstd are.`,
    );
  }
  return refuse(
    "not-a-kernel",
    file.length === 0 ? "The file is empty." : "The file is not a kernel: ELF images begin with 7f 45 4c 46.",
    0,
  );
}

function decompressed(name: string, decompress: () => Uint8Array): Uint8Array | BuildError {
  try {
    return decompress();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") {
      return refuse("decompressed-too-large", `The ${name} file unpacks to more than ${MAX_KERNEL_BYTES >> 20} MiB.`);
    }
    return refuse("bad-compressed-data", `The ${name} file is damaged: ${(error as Error).message}.`);
  }
}
