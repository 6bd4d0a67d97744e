/**
 * FNINIT, FLDCW, and the x87 environment and state as memory images (Intel SDM vol. 1, 8.1.10): FCW FSW FTW FIP FCS/FOP FDP FDS, then for the
 * whole state the eight registers of ten bytes. Fields have four bytes, two under an operand-size prefix. Images are built and taken apart in floatA.
 */
import { Fx, State } from "../layout.ts";
import { decodeExtended, type Float, Kind } from "./float.ts";
import type { X87State } from "./x87-state.ts";

const FIELDS = 7;
const SELECTOR_FIELDS = 4;

export function initialize(x: X87State): void {
  x.fcw = 0x37f;
  x.fsw = 0;
  x.tags = 0;
  setPointers(x, 0, 0n, 0n);
}

export function loadControl(x: X87State): void {
  x.fcw = x.u32[(x.s + State.floatA) >> 2] & 0xffff;
  x.updateSummary();
}

/** The 16-bit tag word: valid, zero, special or empty for each physical register. */
function tagWord(x: X87State): number {
  let word = 0;
  for (let n = 0; n < 8; n++) {
    const { signExponent, significand } = x.slot(n);
    const tag = ((x.tags >> n) & 1) === 0 ? 3 : tagOf(decodeExtended(signExponent, significand));
    word |= tag << (2 * n);
  }
  return word;
}
function tagOf(f: Float): number {
  if (f.kind === Kind.zero) return 1;
  return f.kind === Kind.finite && !f.denormal ? 0 : 2;
}
function setTagWord(x: X87State, word: number): void {
  let tags = 0;
  for (let n = 0; n < 8; n++) if (((word >> (2 * n)) & 3) !== 3) tags |= 1 << n;
  x.tags = tags;
}

function pointers(x: X87State): { opcode: number; instruction: bigint; data: bigint } {
  const at = x.s + State.fx;
  return {
    opcode: x.u32[(at + 4) >> 2] >>> 16,
    instruction: x.big[(at + Fx.fip) >> 3],
    data: x.big[(at + Fx.fdp) >> 3],
  };
}
function setPointers(x: X87State, opcode: number, instruction: bigint, data: bigint): void {
  const at = x.s + State.fx;
  x.u32[(at + 4) >> 2] = (x.u32[(at + 4) >> 2] & 0xffff) | ((opcode & 0x7ff) << 16);
  x.big[(at + Fx.fip) >> 3] = instruction;
  x.big[(at + Fx.fdp) >> 3] = data;
}

/** Then masks all exceptions. */
export function storeEnvironment(x: X87State, width: 2 | 4): void {
  writeEnvironment(x, width);
  x.fcw = x.fcw | 0x3f;
  x.updateSummary();
}
function writeEnvironment(x: X87State, width: 2 | 4): void {
  const { opcode, instruction, data } = pointers(x);
  const low = (n: bigint) => Number(BigInt.asUintN(32, n));
  const fields = [x.fcw, x.fsw, tagWord(x), low(instruction), 0, low(data), 0];
  const bytes = new DataView(x.big.buffer, x.s + State.floatA, 32);
  for (const [n, value] of fields.entries()) {
    if (width === 2) bytes.setUint16(n * 2, value & 0xffff, true);
    // Words in fields of four bytes have ones above; pointers are whole, and the code selector has the opcode above.
    else if (n === 3 || n === 5) bytes.setUint32(n * 4, value, true);
    else if (n === SELECTOR_FIELDS) bytes.setUint32(n * 4, opcode << 16, true);
    else bytes.setUint32(n * 4, (0xffff0000 | value) >>> 0, true);
  }
}

export function loadEnvironment(x: X87State, width: 2 | 4): void {
  const bytes = new DataView(x.big.buffer, x.s + State.floatA, 32);
  const field = (n: number) => (width === 2 ? bytes.getUint16(n * 2, true) : bytes.getUint32(n * 4, true));
  x.fcw = field(0) & 0xffff;
  x.fsw = field(1) & 0xffff;
  setTagWord(x, field(2) & 0xffff);
  const opcode = width === 2 ? 0 : field(SELECTOR_FIELDS) >>> 16;
  setPointers(x, opcode, BigInt(field(3)), BigInt(field(5)));
  x.updateSummary();
}

/** Then initializes. */
export function saveState(x: X87State, width: 2 | 4): void {
  writeEnvironment(x, width);
  const bytes = new DataView(x.big.buffer, x.s + State.floatA, 128);
  for (let i = 0; i < 8; i++) {
    const { signExponent, significand } = x.raw(i);
    const at = FIELDS * width + i * 10;
    bytes.setBigUint64(at, significand, true);
    bytes.setUint16(at + 8, signExponent, true);
  }
  initialize(x);
}

export function restoreState(x: X87State, width: 2 | 4): void {
  loadEnvironment(x, width);
  const { tags } = x;
  const bytes = new DataView(x.big.buffer, x.s + State.floatA, 128);
  for (let i = 0; i < 8; i++) {
    const at = FIELDS * width + i * 10;
    x.setRaw(i, { significand: bytes.getBigUint64(at, true), signExponent: bytes.getUint16(at + 8, true) });
  }
  x.tags = tags;
}
