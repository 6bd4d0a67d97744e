/**
 * Zeroes a memory that a domain has left, so that the next may have it.
 *
 * Only what is not zero is written: pages that no guest ever touched have no memory of the host behind them, and reading them
 * does not change that, while a plain fill would take the whole size.
 */

/** Host pages are 4 KiB or larger; comparing in larger steps is faster, writing in smaller ones saves memory. */
const COMPARED_BYTES = 65536;
const WRITTEN_BYTES = 4096;
const ZEROS = Buffer.alloc(COMPARED_BYTES);

/** Bytes that had to be written. */
export function scrub(buffer: ArrayBufferLike): number {
  let written = 0;
  for (let at = 0; at < buffer.byteLength; at += COMPARED_BYTES) {
    const size = Math.min(COMPARED_BYTES, buffer.byteLength - at);
    if (ZEROS.compare(new Uint8Array(buffer, at, size), 0, size, 0, size) === 0) continue;
    for (let page = at; page < at + size; page += WRITTEN_BYTES) {
      const bytes = new Uint8Array(buffer, page, Math.min(WRITTEN_BYTES, at + size - page));
      if (ZEROS.compare(bytes, 0, bytes.length, 0, bytes.length) === 0) continue;
      bytes.fill(0);
      written += bytes.length;
    }
  }
  return written;
}
