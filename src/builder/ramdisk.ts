/** Ramdisks are unpacked before the guest sees them, as Xen's toolstack does: the guest need not spend its own time on it. */
import { gunzipSync, type InputType } from "node:zlib";

/**
 * What to load: `file` itself, or its content where it is one whole gzip stream that unpacks to at most `limit` bytes.
 * Anything else (several streams, an archive before or after, another compression) is the guest's to understand.
 */
export function unwrapRamdisk(file: Uint8Array, limit: number): Uint8Array {
  if (file.length < 18 || file[0] !== 0x1f || file[1] !== 0x8b) return file;
  const end = file.length;
  const declared = (file[end - 4] | (file[end - 3] << 8) | (file[end - 2] << 16) | (file[end - 1] << 24)) >>> 0;
  if (declared === 0 || declared > limit) return file;
  try {
    const { buffer, engine } = gunzipSync(
      file as InputType,
      { maxOutputLength: declared, info: true } as object,
    ) as unknown as {
      buffer: Uint8Array;
      engine: { bytesWritten: number };
    };
    return buffer.length === declared && engine.bytesWritten === end ? buffer : file;
  } catch {
    return file;
  }
}
