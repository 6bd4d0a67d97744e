/** RCPPS and its kin: two approximations of the same number. */

import { Fx } from "./fx-image.ts";
import type { Outcome } from "./vector.ts";

/** Each is this near to the number itself, relatively (SDM vol. 2, RCPPS). */
const BOUND = 1.5 * 2 ** -12;

/** Whether all that the outcomes' xmm registers differ in are singles no further apart than two approximations of one number may be. */
export function areApproximations(expected: Outcome, got: Outcome): boolean {
  if (!expected.fx || !got.fx) return false;
  const [a, b] = [expected.fx, got.fx].map((image) => new DataView(image.buffer, image.byteOffset));
  for (let at: number = Fx.xmm; at < Fx.end; at += 4) {
    if (a.getUint32(at, true) === b.getUint32(at, true)) continue;
    const [x, y] = [a.getFloat32(at, true), b.getFloat32(at, true)];
    // Written so that a NaN is no approximation of anything.
    if (!(Math.abs(x - y) <= 2 * BOUND * Math.min(Math.abs(x), Math.abs(y)))) return false;
  }
  return true;
}
