/** Encodes a memory operand so that it lands where it was drawn to, by every form of address that ModRM has. */

import { type Draft, drawTarget } from "./draft.ts";

const WORD = (value: bigint) => BigInt.asUintN(64, value);

/** ModRM, SIB and displacement of a memory operand, with registers set so that the address comes out as drawn. */
export function makeAddress(
  state: Draft,
  regField: number,
  rex: number,
  segmentBase: number,
  keepInLine: boolean,
): { bytes: number[]; ripTarget: number | null } {
  const { random, gpr, addr32 } = state;
  // A far pointer is read in two parts, which makes it one of the operands that stay off 4 GiB.
  const isFar = /^(callf|jmpf|l[fgs]s)$/.test(state.name);
  let linear = drawTarget(state, addr32 && segmentBase === 0, isFar ? 10 : state.targetBytes);
  if (keepInLine && (linear % 64n) + BigInt(state.targetBytes) > 64n) linear -= linear % 64n;
  const form = random.below(100);
  const low = linear >= 0n && linear < 0x7000_0000n;
  const regBits = regField << 3;
  const rexB = rex & 1 ? 8 : 0;
  const rexX = rex & 2 ? 8 : 0;

  if (form < 15 && segmentBase === 0 && low) {
    // RIP-relative. With an address-size prefix the sum is cut to 32 bits, which changes nothing down here.
    state.target = linear;
    return { bytes: [regBits | 5, 0, 0, 0, 0], ripTarget: Number(linear) };
  }

  const useSib = form >= 60 || (form < 25 && form >= 15);
  const absolute = form >= 15 && form < 25;
  let index = -1;
  let scale = 0;
  let base = -1;
  if (useSib) {
    scale = random.below(4);
    const indexField = random.below(8) | rexX;
    if (indexField !== 4) index = indexField;
    if (!absolute) base = random.below(8) | rexB;
  } else {
    do base = random.below(8) | rexB;
    while ((base & 7) === 4);
  }
  const displacementKind = absolute ? 2 : random.below(3);
  let displacement = 0n;
  if (displacementKind === 1) displacement = BigInt.asIntN(8, random.edge64());
  if (displacementKind === 2) displacement = BigInt.asIntN(32, random.edge64());
  const mod = absolute ? 0 : (base & 7) === 5 && displacementKind === 0 ? 1 : displacementKind;
  let wanted = WORD(linear - BigInt(segmentBase));
  const garbage = addr32 ? (random.chance(50) ? BigInt(random.u32()) << 32n : 0n) : 0n;
  if (addr32) wanted = BigInt.asUintN(32, wanted);

  if (index >= 0 && index !== base) {
    if (random.chance(60)) gpr[index] = WORD(BigInt(random.between(-300, 300)));
    state.pinned.add(index);
  }
  if (base < 0) {
    // Absolute: the displacement carries the address as far as 31 bits reach, an index the rest.
    if (index >= 0) {
      gpr[index] = WORD(BigInt(random.between(-300, 300)));
      const rest = WORD(wanted - (gpr[index] << BigInt(scale)));
      if (BigInt.asIntN(32, rest) === BigInt.asIntN(64, rest) || addr32) displacement = BigInt.asIntN(32, rest);
      else {
        displacement = BigInt.asIntN(32, random.edge64());
        const scaled = WORD(wanted - displacement);
        const step = 1n << BigInt(scale);
        gpr[index] = scaled / step;
        displacement += scaled % step;
        if (displacement > 0x7fff_ffffn) displacement -= step;
      }
      if (addr32) gpr[index] |= garbage;
    } else {
      displacement = BigInt.asIntN(32, wanted);
    }
  } else if (base === index) {
    const factor = (1n << BigInt(scale)) + 1n;
    const sum = WORD(wanted - displacement);
    gpr[base] = sum / factor;
    if (mod !== 0 && displacement < 100n) displacement += sum % factor;
    if (addr32) gpr[base] |= garbage;
    state.pinned.add(base);
  } else {
    const scaled = index >= 0 ? gpr[index] << BigInt(scale) : 0n;
    gpr[base] = WORD(wanted - displacement - scaled);
    if (addr32) gpr[base] = BigInt.asUintN(32, gpr[base]) | garbage;
    state.pinned.add(base);
  }

  // The address as the processor will compute it: the truth about where this lands.
  const mask = addr32 ? 32 : 64;
  const offset = BigInt.asUintN(
    mask,
    (base >= 0 ? gpr[base] : 0n) + (index >= 0 ? gpr[index] << BigInt(scale) : 0n) + displacement,
  );
  state.target = WORD(offset + BigInt(segmentBase));
  const bytes = [(mod << 6) | regBits | (useSib ? 4 : base & 7)];
  if (useSib) bytes.push((scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | (base < 0 ? 5 : base & 7));
  const count = absolute ? 4 : mod === 1 ? 1 : mod === 2 ? 4 : 0;
  const raw = BigInt.asUintN(32, displacement);
  for (let i = 0; i < count; i++) bytes.push(Number((raw >> BigInt(i * 8)) & 0xffn));
  return { bytes, ripTarget: null };
}
