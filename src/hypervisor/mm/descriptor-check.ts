/**
 * Segment descriptors that a guest may give the processor (Intel SDM volume 3, 3.4.5 and 3.5).
 *
 * Code and data segments are made harmless: their privilege level becomes ring 3, where 64-bit PV guests run. A call gate may stay
 * for ring 0: nobody can use it then.
 */

const PRESENT = 1 << 15;
/** Code or data, as opposed to a system descriptor. */
const CODE_OR_DATA = 1 << 12;
const TYPE = 0xf << 8;
const CALL_GATE = 0xc << 8;
const RING_3 = 3 << 13;
/** A call gate's parameter count. */
const GATE_COUNT = 0x1f;
/** Selectors from here up are Xen's own, but for its three flat ring-3 ones. */
const FIRST_RESERVED_SELECTOR = 14 * 512 * 8;
const FLAT_CODE_SELECTORS: readonly number[] = [0xe023, 0xe033];

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
  if (type !== CALL_GATE || (high & GATE_COUNT) !== 0) return false;
  const low = words[word]!;
  const selector = (low >>> 16) | 3;
  const inGdt = (selector & 4) === 0;
  if (inGdt && selector >= FIRST_RESERVED_SELECTOR && !FLAT_CODE_SELECTORS.includes(selector)) return false;
  words[word] = low | (3 << 16);
  return true;
}
