/**
 * Segment descriptors that a guest may give the processor (Intel SDM volume 3, 3.4.5 and 3.5).
 *
 * Code and data segments are made harmless: their privilege level becomes ring 3, where 64-bit PV guests run. A call gate's becomes ring 0:
 * nobody can use it then.
 */

import { FLAT } from "../../abi/arch-x86-64.ts";

const PRESENT = 1 << 15;
/** Code or data, as opposed to a system descriptor. */
const CODE_OR_DATA = 1 << 12;
const TYPE = 0xf << 8;
const CALL_GATE = 0xc << 8;
const RING_3 = 3 << 13;
/** What a 64-bit call gate must not have: its parameter count once, and the bits beside it. */
const GATE_RESERVED = 0xff;
/** Selectors from here up are Xen's own, but for its flat ring-3 ones; a gate may lead to the 64-bit code. */
const FIRST_RESERVED_SELECTOR = 14 * 512 * 8;

/**
 * Checks the 8-byte descriptor at `words[word]` and makes it harmless in place. False for what cannot be: a present system
 * descriptor other than a call gate, or a gate into the hypervisor's segments.
 */
export function checkDescriptor(words: Int32Array, word: number): boolean {
  const high = words[word + 1]!;
  if ((high & PRESENT) === 0) return true;
  if ((high & CODE_OR_DATA) !== 0) {
    words[word + 1] = high | RING_3;
    return true;
  }
  const type = high & TYPE;
  // Type 0 means nothing to the processor; the second half of a gate has it.
  if (type === 0) return true;
  if (type !== CALL_GATE || (high & GATE_RESERVED) !== 0) return false;
  const low = words[word]!;
  const selector = low >>> 16;
  const inLdt = (selector & 4) !== 0;
  if (!inLdt && selector >= FIRST_RESERVED_SELECTOR && selector !== FLAT.cs64) return false;
  words[word] = low | (3 << 16);
  words[word + 1] = high & ~RING_3;
  return true;
}
