/** The console ring (xen/io/console.h): two byte rings in one page; indices run freely and are masked on use. */
import { bytes, struct, u32 } from "./struct.ts";

export const XENCONS_IN_SIZE = 1024;
export const XENCONS_OUT_SIZE = 2048;

/** struct xencons_interface. `in` is what the guest reads, `out` what it writes. */
export const XenconsInterface = struct({
  in: bytes(XENCONS_IN_SIZE),
  out: bytes(XENCONS_OUT_SIZE),
  inCons: u32,
  inProd: u32,
  outCons: u32,
  outProd: u32,
});
