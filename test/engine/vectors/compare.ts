/** What an outcome must have in common with the processor's: everything but what the manuals leave undefined. */

import { FX_BYTES, Fx } from "./fx-image.ts";
import { initialFrames } from "./layout.ts";
import { Flag, GPR_NAMES, type Outcome, type Patch, type Vector } from "./vector.ts";

/** Linux hides whether kernel addresses are present: it sets P in the error codes of faults from here up (arch/x86/mm/fault.c). */
const LINUX_TASK_END = 0x7fff_ffff_f000n;
/** FOP, FIP and FDP: processors differ in when they keep them, and Linux's guests do not look. */
const FX_IGNORED: readonly (readonly [number, number])[] = [
  [5, 24],
  [Fx.mxcsrMask, Fx.st],
  [Fx.end, FX_BYTES],
];

export interface Difference {
  readonly what: string;
  readonly expected: string;
  readonly got: string;
}

export function compareOutcomes(vector: Vector, expected: Outcome, got: Outcome, ignoredFlags: number): Difference[] {
  const differences: Difference[] = [];
  const differ = (what: string, a: string, b: string) => {
    if (a !== b) differences.push({ what, expected: a, got: b });
  };
  differ("fault", faultText(expected.fault), faultText(got.fault));
  for (let i = 0; i < 16; i++) {
    if (expected.gpr[i] !== got.gpr[i]) differ(GPR_NAMES[i], hex64(expected.gpr[i]), hex64(got.gpr[i]));
  }
  if (expected.rip !== got.rip) differ("rip", hex64(expected.rip), hex64(got.rip));
  const flags = ~(ignoredFlags | Flag.rf);
  if ((expected.rflags & flags) !== (got.rflags & flags)) {
    differ("rflags", flagsText(expected.rflags & flags), flagsText(got.rflags & flags));
  }
  if (expected.changes.length > 0 || got.changes.length > 0) {
    const [a, b] = [memoryAfter(vector, expected.changes), memoryAfter(vector, got.changes)];
    for (const [offset, value] of a)
      if (value !== b.get(offset)) differ(...changeText(vector, offset, value, b.get(offset)));
    for (const [offset, value] of b) if (!a.has(offset)) differ(...changeText(vector, offset, undefined, value));
  }
  if (expected.fx && got.fx) compareFx(expected.fx, got.fx, differ);
  if (expected.segments && got.segments) {
    for (const key of ["ds", "es", "fs", "gs"] as const) {
      differ(key, selectorText(expected.segments[key]), selectorText(got.segments[key]));
    }
    for (const key of ["fsBase", "gsBase"] as const)
      differ(key, hex64(expected.segments[key]), hex64(got.segments[key]));
  }
  return differences;
}

function compareFx(expected: Uint8Array, got: Uint8Array, differ: (what: string, a: string, b: string) => void): void {
  const ignored = new Set(FX_IGNORED.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i)));
  for (let i = 0; i < 8; i++) for (let j = 10; j < 16; j++) ignored.add(Fx.st + i * 16 + j);
  const part = (name: string, from: number, to: number) => {
    for (let i = from; i < to; i++) {
      if (expected[i] !== got[i] && !ignored.has(i))
        return differ(name, bytesText(expected, from, to), bytesText(got, from, to));
    }
  };
  part("fcw", Fx.fcw, Fx.fsw);
  part("fsw", Fx.fsw, Fx.ftw);
  part("ftw", Fx.ftw, Fx.ftw + 1);
  part("mxcsr", Fx.mxcsr, Fx.mxcsrMask);
  for (let i = 0; i < 8; i++) part(`st${i}`, Fx.st + i * 16, Fx.st + i * 16 + 10);
  for (let i = 0; i < 16; i++) part(`xmm${i}`, Fx.xmm + i * 16, Fx.xmm + i * 16 + 16);
}

function memoryAfter(vector: Vector, changes: readonly Patch[]): Map<number, number> {
  const before = memoryBefore(vector);
  const map = new Map<number, number>();
  for (const { offset, bytes } of changes) {
    for (const [i, value] of bytes.entries()) if (before(offset + i) !== value) map.set(offset + i, value);
  }
  return map;
}

const pristine = initialFrames();

/** The byte at an offset in the frames when the vector starts; code bytes excepted. */
export function memoryBefore(vector: Vector): (offset: number) => number {
  return (offset) => {
    for (const patch of vector.patches.toReversed()) {
      if (offset >= patch.offset && offset < patch.offset + patch.bytes.length)
        return patch.bytes[offset - patch.offset];
    }
    return pristine[offset];
  };
}

function changeText(
  vector: Vector,
  offset: number,
  expected: number | undefined,
  got: number | undefined,
): [string, string, string] {
  const byte = (value: number | undefined) => (value ?? memoryBefore(vector)(offset)).toString(16).padStart(2, "0");
  return [`frame ${offset >> 12}+${(offset & 0xfff).toString(16).padStart(3, "0")}`, byte(expected), byte(got)];
}

export function faultText(fault: Outcome["fault"]): string {
  if (!fault) return "none";
  const hidden = fault.vector === 14 && fault.cr2 >= LINUX_TASK_END ? 1 : 0;
  return `#${fault.vector} error ${(fault.errorCode & ~hidden).toString(16)}${fault.vector === 14 ? ` cr2 ${hex64(fault.cr2)}` : ""}`;
}

export function hex64(value: bigint): string {
  return BigInt.asUintN(64, value).toString(16).padStart(16, "0");
}

/** The processor clears the RPL of null selectors when the kernel returns to ring 3 (SDM, IRET), so it is not seen. */
function selectorText(selector: number): string {
  return (selector < 4 ? 0 : selector).toString(16);
}

export function flagsText(rflags: number): string {
  const names = Object.entries(Flag).filter(([, bit]) => rflags & bit);
  return `${(rflags >>> 0).toString(16)} [${names.map(([name]) => name).join(" ")}]`;
}

export function bytesText(bytes: Uint8Array, from = 0, to = bytes.length): string {
  return Buffer.from(bytes.subarray(from, to)).toString("hex");
}
