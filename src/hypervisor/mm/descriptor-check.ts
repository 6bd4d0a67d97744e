/**
 * Segment descriptors that a guest may give the processor (Intel SDM volume 3, 3.4.5 and 3.5).
 *
 * Descriptors are made harmless where that is possible: their privilege level is raised to ring 3, where 64-bit PV guests run.
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
 * Checks the 8-byte descriptor at `words[word]` and makes it harmless in place. False when it cannot be: a present system
 * descriptor other than a call gate, or a gate into the hypervisor's segments.
 */
export function checkDescriptor(words: Int32Array, word: number): boolean {
  let high = words[word + 1]!;
  if ((high & PRESENT) === 0) return true;
  high |= RING_3;
  if ((high & CODE_OR_DATA) === 0) {
    const type = high & TYPE;
    // Type 0 means nothing to the processor; the second half of a gate has it.
    if (type !== 0) {
      if (type !== CALL_GATE) return false;
      let low = words[word]!;
      const selector = (low >>> 16) | 3;
      const table = selector & 4;
      if (table === 0 && selector >= FIRST_RESERVED_SELECTOR && !FLAT_CODE_SELECTORS.includes(selector)) return false;
      if ((high & GATE_COUNT) !== 0) return false;
      low |= 3 << 16;
      words[word] = low;
    }
  }
  words[word + 1] = high;
  return true;
}
