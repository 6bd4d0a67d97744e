/**
 * FXSAVE images (Intel SDM vol. 1, 10.5.1; 64-bit form): the x87 and SSE state before and after a vector.
 *
 * 0 FCW u16, 2 FSW u16, 4 abridged tags u8, 6 FOP u16, 8 FIP u64, 16 FDP u64, 24 MXCSR u32, 28 MXCSR mask u32, 32 eight registers ST(i)
 * of 10 bytes in 16, 160 sixteen XMM registers.
 */

import { Random } from "./random.ts";

export const FX_BYTES = 512;
export const Fx = {
  fcw: 0,
  fsw: 2,
  ftw: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  mxcsrMask: 28,
  st: 32,
  xmm: 160,
  end: 416,
} as const;

/** The image that a vector of this seed starts from unless it says otherwise. The order of draws must never change. */
export function drawFx(seed: number): Uint8Array {
  const random = new Random(seed ^ 0x0f50_0f50);
  const image = new Uint8Array(FX_BYTES);
  const view = new DataView(image.buffer);
  view.setUint16(Fx.fcw, 0x037f, true);
  view.setUint32(Fx.mxcsr, 0x1f80, true);
  // Mostly an empty stack at TOP = 0; else a stack of some depth.
  if (random.chance(70)) {
    const depth = random.below(9);
    view.setUint16(Fx.fsw, ((8 - depth) & 7) << 11, true);
    image[Fx.ftw] = depth === 0 ? 0 : (0xff << (8 - depth)) & 0xff;
  }
  for (let i = 0; i < 8; i++) {
    const exact = drawExtended(random);
    view.setBigUint64(Fx.st + i * 16, exact.significand, true);
    view.setUint16(Fx.st + i * 16 + 8, exact.signExponent, true);
  }
  for (let i = 0; i < 16; i++) drawXmm(random, view, Fx.xmm + i * 16);
  return image;
}

export interface Extended {
  readonly signExponent: number;
  readonly significand: bigint;
}

const INTEGER_BIT = 1n << 63n;

/** An 80-bit number: ones near 1, integers, huge, tiny, infinities, NaNs, denormals and, rarely, unsupported encodings. */
export function drawExtended(random: Random): Extended {
  const sign = random.chance(50) ? 0x8000 : 0;
  const kind = random.below(20);
  if (kind < 3) return { signExponent: sign, significand: 0n };
  if (kind < 7)
    return { signExponent: sign | (0x3fff + random.between(-3, 3)), significand: INTEGER_BIT | roundish(random) };
  if (kind < 11) {
    const bits = random.between(1, 63);
    const integer = (1n << BigInt(bits - 1)) | (random.bits64() >> BigInt(64 - bits));
    return { signExponent: sign | (0x3fff + bits - 1), significand: BigInt.asUintN(64, integer << BigInt(64 - bits)) };
  }
  if (kind < 15)
    return { signExponent: sign | (0x3fff + random.between(-70, 70)), significand: INTEGER_BIT | roundish(random) };
  if (kind === 15)
    return { signExponent: sign | random.between(1, 0x7ffe), significand: INTEGER_BIT | random.bits64() };
  if (kind === 16) return { signExponent: sign | 0x7fff, significand: INTEGER_BIT };
  if (kind === 17) return { signExponent: sign | 0x7fff, significand: INTEGER_BIT | random.bits64() };
  if (kind === 18) return { signExponent: sign, significand: random.bits64() & ~INTEGER_BIT };
  return { signExponent: sign | random.below(0x8000), significand: random.bits64() };
}

/** Significand bits that make ties and near ties when rounded to 53 or 24 bits. */
function roundish(random: Random): bigint {
  const kind = random.below(5);
  if (kind === 0) return 0n;
  if (kind === 1) return (random.bits64() >> 1n) & ~0x7ffn;
  if (kind === 2) return ((random.bits64() >> 1n) & ~0x7ffn) | 0x400n;
  if (kind === 3) return (random.bits64() >> 1n) & ~0xff_ffff_ffffn;
  return random.bits64() >> 1n;
}

/** One XMM register: integers near borders, or singles and doubles of every class. */
export function drawXmm(random: Random, view: DataView, at: number): void {
  const kind = random.below(4);
  if (kind === 0) {
    view.setBigUint64(at, random.edge64(), true);
    view.setBigUint64(at + 8, random.edge64(), true);
  } else if (kind === 1) {
    for (let i = 0; i < 4; i++) view.setUint32(at + i * 4, drawSingle(random), true);
  } else if (kind === 2) {
    for (let i = 0; i < 2; i++) view.setBigUint64(at + i * 8, drawDouble(random), true);
  } else {
    for (let i = 0; i < 4; i++) view.setUint32(at + i * 4, random.u32(), true);
  }
}

export function drawSingle(random: Random): number {
  const sign = random.chance(50) ? 0x8000_0000 : 0;
  const fraction = random.chance(30) ? 0 : random.u32() >>> 9;
  const kind = random.below(10);
  if (kind === 0) return sign;
  if (kind === 1) return (sign | 0x7f80_0000) >>> 0;
  if (kind === 2) return (sign | 0x7f80_0000 | fraction) >>> 0;
  if (kind === 3) return (sign | fraction) >>> 0;
  if (kind === 4) return random.u32();
  return (sign | ((127 + random.between(-30, 33)) << 23) | fraction) >>> 0;
}

export function drawDouble(random: Random): bigint {
  const sign = random.chance(50) ? 1n << 63n : 0n;
  const fraction = random.chance(30) ? BigInt(random.below(16)) << 48n : random.bits64() >> 12n;
  const kind = random.below(10);
  if (kind === 0) return sign;
  if (kind === 1) return sign | (0x7ffn << 52n);
  if (kind === 2) return sign | (0x7ffn << 52n) | fraction;
  if (kind === 3) return sign | fraction;
  if (kind === 4) return random.bits64();
  return sign | (BigInt(1023 + random.between(-64, 66)) << 52n) | fraction;
}
