/**
 * The x86 branch filter of xz: before compression, the relative targets of CALL and JMP (e8, e9) became absolute, so that calls of
 * one function look alike. This turns them back.
 *
 * Whether four bytes behind an opcode were taken for a target depends on their top byte (00 or ff), and on opcodes among the three
 * bytes before: those are remembered as a mask, one bit each, the nearest lowest.
 */

const OPCODE_MASK = 0xfe;
const OPCODE = 0xe8;
const OPERAND_BYTES = 4;
/** By mask: may there be a target here all the same? */
const ALLOWED = [true, true, true, false, true, false, false, false];
/** By mask: how many bytes of the operand reach up to the highest remembered opcode. */
const REACH = [0, 1, 2, 2, 3, 3, 3, 3];

const isTopByte = (byte: number) => byte === 0 || byte === 0xff;

/** In place. `bytes` is one block from its start. */
export function undoBcjX86(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - OPERAND_BYTES;
  let lastOpcode = -1;
  let mask = 0;
  for (let at = 0; at < end; at++) {
    if ((bytes[at] & OPCODE_MASK) !== OPCODE) continue;
    const distance = at - lastOpcode;
    lastOpcode = at;
    mask = distance > 3 ? 0 : (mask << (distance - 1)) & 7;
    const shadowed = mask !== 0 && (!ALLOWED[mask] || isTopByte(bytes[at + OPERAND_BYTES - REACH[mask]]));
    if (shadowed || !isTopByte(bytes[at + OPERAND_BYTES])) {
      mask = (mask << 1) | 1;
      continue;
    }
    view.setInt32(at + 1, relativeTarget(view.getInt32(at + 1, true), at + 1 + OPERAND_BYTES, mask), true);
    at += OPERAND_BYTES;
  }
}

/** The operand for an absolute target, seen from `next`, the address of the next instruction. Its top byte is a sign, 25 bits count. */
function relativeTarget(target: number, next: number, mask: number): number {
  let absolute = target;
  for (;;) {
    const relative = (absolute - next) | 0;
    if (mask === 0) return (relative << 7) >> 7;
    const shift = REACH[mask] * 8;
    if (!isTopByte((relative >>> (24 - shift)) & 0xff)) return (relative << 7) >> 7;
    absolute = relative ^ ((1 << (32 - shift)) - 1);
  }
}
