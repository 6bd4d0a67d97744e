/**
 * Byte strings: a JavaScript string whose every character is one byte, 0 to 255.
 *
 * Paths, values and payloads are octets to xenstore. Kept as one-byte strings they are immutable, compact, and compare and hash
 * natively, which a million small values need. Text of people (a domain's name) crosses as UTF-8.
 */

/** The octets of `bytes`, copied. */
export function byteString(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** Text as UTF-8 octets. */
export function encodeText(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}
