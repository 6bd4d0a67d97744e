/** LZ4's legacy frame, which Linux uses for kernels: a magic number, then blocks of a length and at most 8 MiB of content each. */
import { Damaged, type Limits, Output } from "./codec.ts";

const MAGIC_BYTES = 4;
const BLOCK_BYTES = 8 << 20;
/** No match is shorter. */
const MIN_MATCH = 4;

export function decompressLz4Legacy(data: Uint8Array, limits: Limits): Uint8Array {
  const output = new Output(limits);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = MAGIC_BYTES; at < data.length; ) {
    if (at + 4 > data.length) throw new Damaged("it ends within the length of a block");
    const size = view.getUint32(at, true);
    at += 4;
    if (size > data.length - at) throw new Damaged("a block reaches beyond the end");
    decodeBlock(data, at, at + size, output);
    at += size;
  }
  return output.finish();
}

/** One block: sequences of literals and a match in what came before, the last without a match. */
function decodeBlock(data: Uint8Array, start: number, end: number, output: Output): void {
  const blockStart = output.length;
  let at = start;
  // A length of 15 goes on in the bytes that follow, up to one that is not 255.
  const lengthFrom = (nibble: number): number => {
    let length = nibble;
    if (nibble === 15) {
      let more: number;
      do {
        if (at >= end) throw new Damaged("a length runs out of its block");
        more = data[at++];
        length += more;
      } while (more === 255);
    }
    return length;
  };
  while (at < end) {
    const token = data[at++];
    const literals = lengthFrom(token >>> 4);
    if (literals > end - at) throw new Damaged("literals run out of their block");
    claim(literals);
    output.append(data.subarray(at, at + literals));
    at += literals;
    if (at === end) return;
    if (at + 2 > end) throw new Damaged("a block ends within a match");
    const distance = data[at] | (data[at + 1] << 8);
    at += 2;
    const length = lengthFrom(token & 15) + MIN_MATCH;
    if (distance === 0 || distance > output.length - blockStart) {
      throw new Damaged("a match begins before its block");
    }
    claim(length);
    output.repeat(distance, length);
  }

  function claim(count: number): void {
    if (output.length + count - blockStart > BLOCK_BYTES) throw new Damaged("a block holds more than 8 MiB");
    output.claim(count);
  }
}
