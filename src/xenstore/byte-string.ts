/**
 * Byte strings: a JavaScript string whose every character is one byte, 0 to 255.
 *
 * Paths, values and payloads are octets to xenstore. Kept as one-byte strings they are immutable, compact, and compare and hash
 * natively, which a million small values need. Text of people (a domain's name) crosses as UTF-8.
 */

const ONE_BYTE = /^[\0-\xff]*$/;

/** The octets of `bytes`, copied. */
export function byteString(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** A byte string's octets, in memory of their own. */
export function bytesOf(octets: string): Uint8Array {
  const bytes = new Uint8Array(octets.length);
  for (let i = 0; i < octets.length; i++) bytes[i] = octets.charCodeAt(i);
  return bytes;
}

/** Text as UTF-8 octets. */
export function encodeText(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

export function isByteString(text: string): boolean {
  return ONE_BYTE.test(text);
}
