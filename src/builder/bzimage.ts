/**
 * Linux's bzImage: a real-mode part that begins with a boot sector, then the program that would unpack the kernel, with the
 * compressed kernel in it. The setup header tells where (Linux, Documentation/arch/x86/boot.rst; the payload's fields came with
 * protocol 2.08).
 */
import { bytes, struct, u8, u16, u32 } from "../abi/struct.ts";
import { type BuildError, hex, refuse } from "./build-error.ts";
import { viewOf } from "./elf.ts";

/** The file from its first byte to the payload's fields. */
const Setup = struct({
  bootSector: bytes(0x1f1),
  setupSects: u8,
  sizesAndModes: bytes(0x1fe - 0x1f2),
  bootFlag: u16,
  jumpOpcode: u8,
  /** Where the header ends, counted from `magic`. */
  jumpDistance: u8,
  magic: bytes(4),
  version: u16,
  loader: bytes(0x248 - 0x208),
  /** From the end of the real-mode part. */
  payloadOffset: u32,
  payloadLength: u32,
});

const BOOT_FLAG = 0xaa55;
const MAGIC = [0x48, 0x64, 0x72, 0x53]; // "HdrS"
const PAYLOAD_PROTOCOL = 0x0208;
const SECTOR = 512;
/** What a `setupSects` of 0 stands for. */
const OLD_SETUP_SECTS = 4;
const SIZE_BYTES = 4;

export const isBzImage = (file: Uint8Array): boolean =>
  file.length >= Setup.offsets.version && MAGIC.every((byte, i) => file[Setup.offsets.magic + i] === byte);

export interface Payload {
  readonly ok: true;
  /** As it stands in the file, with what the kernel's build appended. */
  readonly bytes: Uint8Array;
  /** The compressed data alone. */
  readonly stream: Uint8Array;
  /** Bytes that it unpacks to: the last word of every payload says it (in gzip's own format, appended to others). */
  readonly unpackedSize: number;
}

/** The payload of a file that `isBzImage`. `ownSize` says of its first bytes whether they begin a format that ends in its size. */
export function bzImagePayload(file: Uint8Array, ownSize: (start: Uint8Array) => boolean): Payload | BuildError {
  if (file.length < Setup.size) return refuse("truncated", "The bzImage ends within its setup header.", 0);
  const view = viewOf(file);
  const bootFlag = Setup.bootFlag.get(view, 0);
  if (bootFlag !== BOOT_FLAG) {
    return refuse(
      "bad-bzimage",
      `The boot sector ends in ${hex(bootFlag)}, not ${hex(BOOT_FLAG)}.`,
      Setup.offsets.bootFlag,
    );
  }
  const version = Setup.version.get(view, 0);
  if (version < PAYLOAD_PROTOCOL) {
    return refuse(
      "boot-protocol-too-old",
      `The bzImage has boot protocol ${version >>> 8}.${String(version & 0xff).padStart(2, "0")}; 2.08 is the first that tells where its kernel is.`,
      Setup.offsets.version,
    );
  }
  const headerEnd = Setup.offsets.magic + Setup.jumpDistance.get(view, 0);
  if (headerEnd < Setup.size) {
    return refuse(
      "bad-bzimage",
      `The setup header ends at ${hex(headerEnd)}, before its payload fields.`,
      Setup.offsets.jumpDistance,
    );
  }
  const setupSects = Setup.setupSects.get(view, 0) || OLD_SETUP_SECTS;
  const start = (setupSects + 1) * SECTOR + Setup.payloadOffset.get(view, 0);
  const length = Setup.payloadLength.get(view, 0);
  if (length <= SIZE_BYTES) {
    return refuse("bad-bzimage", `A payload of ${length} bytes holds no kernel.`, Setup.offsets.payloadLength);
  }
  if (start + length > file.length) {
    return refuse(
      "truncated",
      `The payload, ${length} bytes at ${hex(start)}, reaches beyond the end of the file.`,
      Setup.offsets.payloadOffset,
    );
  }
  const payload = file.subarray(start, start + length);
  return {
    ok: true,
    bytes: payload,
    stream: ownSize(payload) ? payload : payload.subarray(0, -SIZE_BYTES),
    unpackedSize: view.getUint32(start + length - SIZE_BYTES, true),
  };
}
