/**
 * rflags between its architectural image and the lazy form (see flags.ts), in TypeScript.
 *
 * Lazy form: `res` (result, sign-extended to 64 bits) and `aux`: CF at bit 63, CF^OF at bit 62, AF at bit 3, a parity delta in bits 8..15, a sign delta at bit 0.
 */
import { State } from "./layout.ts";

/** What popf, iret and the hypervisor may change besides the arithmetic flags: TF DF IOPL NT AC ID. */
const OTHER_WRITABLE = 0x100 | 0x400 | 0x3000 | 0x4000 | 0x40000 | 0x200000;

export function rflagsOf(resLo: number, resHi: number, auxLo: number, auxHi: number, other: number): number {
  let p = (resLo ^ (auxLo >> 8)) & 0xff;
  p ^= p >> 4;
  p ^= p >> 2;
  p ^= p >> 1;
  const cf = auxHi >>> 31;
  const of = cf ^ ((auxHi >>> 30) & 1);
  const zf = (resLo | resHi) === 0 ? 1 : 0;
  const sf = (resHi >>> 31) ^ (auxLo & 1);
  return other | cf | ((p & 1) === 0 ? 4 : 0) | ((auxLo & 8) << 1) | (zf << 6) | (sf << 7) | (of << 11);
}

/** Writes the three flag words of a vCPU block, given as the block's i32 view. */
export function fromRflags(rflags: number, block: Int32Array): void {
  const cf = rflags & 1;
  const zf = (rflags >> 6) & 1;
  const sf = (rflags >> 7) & 1;
  const of = (rflags >> 11) & 1;
  const evenWanted = (rflags >> 2) & 1;
  block[State.flagRes / 4] = zf ^ 1;
  block[State.flagRes / 4 + 1] = 0;
  // A result of 1 has odd parity, 0 has even: the delta turns it where the image says otherwise.
  block[State.flagAux / 4] = sf | ((rflags >> 1) & 8) | ((evenWanted ^ zf) << 8);
  block[State.flagAux / 4 + 1] = (cf << 31) | ((cf ^ of) << 30);
  block[State.flagsOther / 4] = (rflags & OTHER_WRITABLE) | 0x202;
}
