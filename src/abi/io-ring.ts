/** The request/response ring of block, network and other devices (xen/io/ring.h): a header, then equal slots. */
import { array, struct, u8, u32 } from "./struct.ts";

/** The header of every shared ring; slots begin at its size. */
export const SringHeader = struct({
  reqProd: u32,
  reqEvent: u32,
  rspProd: u32,
  rspEvent: u32,
  pvt: array(u8, 4),
  pad: array(u8, 44),
});

/** Slots of a ring of `bytes` bytes with slots of `slot` bytes: the largest power of two that fits (__CONST_RING_SIZE). */
export const ringSlots = (bytes: number, slot: number): number =>
  1 << (31 - Math.clz32(Math.floor((bytes - SringHeader.size) / slot)));
