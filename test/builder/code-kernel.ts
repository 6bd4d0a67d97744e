/** A kernel with something like code in it: calls of few functions from many places, which is what the x86 filter is for. */
import { makeKernel } from "./make-kernel.ts";

export function codeKernel(): Uint8Array {
  const code = new Uint8Array(6144);
  const view = new DataView(code.buffer);
  let random = 1;
  const next = (limit: number) => {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
    return (random >>> 16) % limit;
  };
  for (let at = 0; at + 12 < code.length; ) {
    const kind = next(8);
    if (kind < 4) {
      // A call of one of 16 functions, or a jump; now and then right behind another opcode byte.
      if (next(4) === 0) code[at++] = 0xe8 + next(2);
      code[at] = 0xe8 + next(2);
      view.setInt32(at + 1, next(16) * 384 - (at + 5), true);
      at += 5;
    } else if (kind < 6) {
      code.set([0x48, 0x8b, 0x44, 0x24, next(8) * 8], at);
      at += 5;
    } else if (kind === 6) {
      at += next(8);
    } else {
      code[at++] = next(256);
    }
  }
  return makeKernel({ entry: 0x1000n, segments: [{ paddr: 0x1000n, data: code, memsz: 0x3000n }] });
}
