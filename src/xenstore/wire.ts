/**
 * Messages of xenstore's wire protocol (xen/io/xs_wire.h): a header of four little-endian words, then the payload.
 *
 * Payloads are byte strings here. Strings in a payload end with a NUL each.
 */
import { Errno } from "../abi/errno.ts";
import { XENSTORE_PAYLOAD_MAX, XSD_ERRORS, XsdSockmsg } from "../abi/io-xenstore.ts";

export interface Header {
  readonly type: number;
  readonly reqId: number;
  readonly txId: number;
  /** Bytes of payload that follow. */
  readonly len: number;
}

export const HEADER_BYTES = XsdSockmsg.size;

export function decodeHeader(bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    type: XsdSockmsg.type.get(view, 0),
    reqId: XsdSockmsg.reqId.get(view, 0),
    txId: XsdSockmsg.txId.get(view, 0),
    len: XsdSockmsg.len.get(view, 0),
  };
}

/** A whole message. The payload must not be longer than XENSTORE_PAYLOAD_MAX. */
export function encodeMessage(type: number, reqId: number, txId: number, payload: string): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  XsdSockmsg.type.set(view, 0, type);
  XsdSockmsg.reqId.set(view, 0, reqId);
  XsdSockmsg.txId.set(view, 0, txId);
  XsdSockmsg.len.set(view, 0, payload.length);
  for (let i = 0; i < payload.length; i++) bytes[HEADER_BYTES + i] = payload.charCodeAt(i);
  return bytes;
}

/** The strings of a payload in which every string ends with a NUL; undefined if the last does not. */
export function terminatedStrings(payload: string): string[] | undefined {
  if (!payload.endsWith("\0")) return undefined;
  return payload.slice(0, -1).split("\0");
}

/** The one string of a payload, with its NUL; undefined if there is more or less. */
export function onlyString(payload: string): string | undefined {
  const end = payload.indexOf("\0");
  return end >= 0 && end === payload.length - 1 ? payload.slice(0, end) : undefined;
}

export function withNuls(strings: readonly string[]): string {
  return strings.map((text) => `${text}\0`).join("");
}

export const PAYLOAD_MAX = XENSTORE_PAYLOAD_MAX;

const NAMES = new Map(XSD_ERRORS.map((name) => [Errno[name] as number, name]));

/** The name of a negative errno as an XS_ERROR reply carries it; what has no name there is EINVAL. */
export function errorName(errno: number): string {
  return NAMES.get(-errno) ?? "EINVAL";
}
