/** Floating point where no processor judges the rows: CR0.TS, pending exceptions, vendor-specific and transcendental results, fast paths. */

import { readFileSync } from "node:fs";
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { Reg } from "../../src/engine/cpu-state.ts";
import { ExitKind, Vector } from "../../src/engine/exits.ts";
import { Fx, State } from "../../src/engine/layout.ts";
import { SseOp, SseUnit, sseArgument } from "../../src/engine/soft/sse.ts";
import { reciprocal, reciprocalRoot } from "../../src/engine/soft/sse-approximate.ts";
import { CODE_VA, TinyGuest } from "./tiny-guest.ts";

const INT3 = 0xcc;
const guest = new TinyGuest(1100);
const fx = new Uint8Array(512);
const fxView = new DataView(fx.buffer);

/** Runs code to its exit from a fresh FPU with this control state; the exit's vector. */
function run(
  code: readonly number[],
  state: { fcw?: number; fsw?: number; mxcsr?: number; ts?: boolean } = {},
): number {
  guest.write(CODE_VA, [...code, INT3]);
  fx.fill(0);
  fxView.setUint16(Fx.fcw, state.fcw ?? 0x37f, true);
  fxView.setUint16(Fx.fsw, state.fsw ?? 0, true);
  fxView.setUint32(Fx.mxcsr, state.mxcsr ?? 0x1f80, true);
  guest.cpu.setFxImage(fx);
  return go(state.ts ?? false);
}
function go(ts = false): number {
  guest.cpu.tsFlag = ts;
  guest.cpu.setNumber(Reg.rip, CODE_VA);
  const kind = guest.engine.run(0, 1000);
  guest.cpu.tsFlag = false;
  guest.cpu.getFxImage(fx);
  expect([ExitKind.exception, ExitKind.softInt]).toContain(kind);
  return guest.cpu.exitVector;
}
const DONE = Vector.breakpoint;

describe("CR0.TS set", () => {
  test.for<[string, number[]]>([
    ["addsd", [0xf2, 0x0f, 0x58, 0xc1]],
    ["movaps", [0x0f, 0x28, 0xc1]],
    ["paddb mm", [0x0f, 0xfc, 0xc1]],
    ["emms", [0x0f, 0x77]],
    ["fld1", [0xd9, 0xe8]],
    ["fninit", [0xdb, 0xe3]],
    ["fnstsw ax", [0xdf, 0xe0]],
    ["fwait", [0x9b]],
    ["fxsave", [0x0f, 0xae, 0x04, 0x25, 0x00, 0x10, 0x00, 0x00]],
    ["stmxcsr", [0x0f, 0xae, 0x1c, 0x25, 0x00, 0x10, 0x00, 0x00]],
  ])("%s is #NM, and runs when it is clear", ([, code]) => {
    expect(run(code, { ts: true })).toBe(Vector.deviceNotAvailable);
    expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA);
    expect(run(code)).toBe(DONE);
  });
  test("what is no floating-point instruction does not care", () => {
    // nop; mfence; prefetcht0 [rax]; movnti [0x1000], eax
    expect(run([0x90, 0x0f, 0xae, 0xf0, 0x0f, 0x18, 0x08, 0x0f, 0xc3, 0x04, 0x25, 0, 0x10, 0, 0], { ts: true })).toBe(
      DONE,
    );
  });
});

describe("an unmasked x87 exception", () => {
  const FLD1_FLDZ_FDIVP = [0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9];
  test("waits for the next waiting instruction, which does not execute", () => {
    expect(run([...FLD1_FLDZ_FDIVP, 0x90, 0xd9, 0xe8], { fcw: 0x37b })).toBe(Vector.x87);
    expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA + 7);
    expect(fxView.getUint16(Fx.fsw, true) & 0x80ff).toBe(0x8084);
  });
  test("leaves the operands as they were", () => {
    run([...FLD1_FLDZ_FDIVP, 0x9b], { fcw: 0x37b });
    expect(fx[Fx.ftw]).toBe(0xc0);
  });
  test("is raised by MMX too, but not by FNSTSW, FNSTENV, FXSAVE and SSE", () => {
    expect(run([...FLD1_FLDZ_FDIVP, 0x0f, 0xef, 0xc0], { fcw: 0x37b })).toBe(Vector.x87);
    expect(
      run(
        [
          ...FLD1_FLDZ_FDIVP,
          0xdf,
          0xe0,
          0x0f,
          0xae,
          0x04,
          0x25,
          0,
          0x10,
          0,
          0,
          0x0f,
          0x57,
          0xc0,
          0xd9,
          0x34,
          0x25,
          0,
          0x10,
          0,
          0,
        ],
        {
          fcw: 0x37b,
        },
      ),
    ).toBe(DONE);
  });
  test("is forgotten by FNCLEX and FNINIT", () => {
    expect(run([...FLD1_FLDZ_FDIVP, 0xdb, 0xe2, 0x9b], { fcw: 0x37b })).toBe(DONE);
    expect(run([...FLD1_FLDZ_FDIVP, 0xdb, 0xe3, 0x9b], { fcw: 0x37b })).toBe(DONE);
  });
  test("appears when a control word unmasks a flag that is set", () => {
    // fldcw [0x1000] with ZE unmasked; fwait
    guest.view.setUint16(0x1000, 0x37b, true);
    expect(run([0xd9, 0x2c, 0x25, 0, 0x10, 0, 0, 0x9b], { fsw: 4 })).toBe(Vector.x87);
  });
});

describe("an unmasked SSE exception", () => {
  test("is #XM at the instruction, with the flag and without the result", () => {
    // pcmpeqd xmm1, xmm1; xorps xmm0, xmm0; psrlq xmm1, 2; divsd xmm1, xmm0
    const code = [0x66, 0x0f, 0x76, 0xc9, 0x0f, 0x57, 0xc0, 0x66, 0x0f, 0x73, 0xd1, 2, 0xf2, 0x0f, 0x5e, 0xc8];
    expect(run(code, { mxcsr: 0x1d80 })).toBe(Vector.simd);
    expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA + 12);
    expect(guest.cpu.mxcsr).toBe(0x1d84);
    expect(fxView.getBigUint64(Fx.xmm + 16, true)).toBe(0x3fff_ffff_ffff_ffffn);
  });
  test("LDMXCSR refuses reserved bits", () => {
    guest.view.setUint32(0x1000, 0x11f80, true);
    expect(run([0x0f, 0xae, 0x14, 0x25, 0, 0x10, 0, 0])).toBe(Vector.generalProtection);
  });
});

test("what software does weighs on the budget, not on the count", () => {
  // fsin; dec ecx; jnz
  guest.write(CODE_VA, [0xd9, 0xfe, 0xff, 0xc9, 0x75, 0xfa, INT3]);
  fx.fill(0);
  fxView.setUint16(Fx.fcw, 0x37f, true);
  fxView.setUint8(Fx.ftw, 1);
  fxView.setUint16(Fx.st + 8, 0x3fff, true);
  fxView.setBigUint64(Fx.st, 1n << 63n, true);
  guest.cpu.setFxImage(fx);
  guest.cpu.setNumber(Reg.rip, CODE_VA);
  guest.cpu.setNumber(Reg.rcx, 100);
  const before = guest.engine.stats(0).instructions;
  let runs = 1;
  while (guest.engine.run(0, 10_000) === ExitKind.budget) runs++;
  expect(guest.engine.stats(0).instructions - before).toBe(301);
  expect(runs).toBeGreaterThan(20);
});

test("Linux's check for the FDIV bug finds none", () => {
  // fninit; fld x; fdiv y; fmul y; fld x; fsubp; fistp [0x1010]; fwait; fninit (arch/x86/kernel/fpu/bugs.c)
  guest.view.setFloat64(0x1000, 4195835, true);
  guest.view.setFloat64(0x1008, 3145727, true);
  guest.view.setInt32(0x1010, 99, true);
  const at = (digit: number, address: number): number[] => [
    0x04 | (digit << 3),
    0x25,
    address & 255,
    address >> 8,
    0,
    0,
  ];
  const code = [
    0xdb,
    0xe3,
    0xdd,
    ...at(0, 0x1000),
    0xdc,
    ...at(6, 0x1008),
    0xdc,
    ...at(1, 0x1008),
    0xdd,
    ...at(0, 0x1000),
  ];
  expect(run([...code, 0xde, 0xe9, 0xdb, ...at(3, 0x1010), 0x9b, 0xdb, 0xe3])).toBe(DONE);
  expect(guest.view.getInt32(0x1010, true)).toBe(0);
});

describe("what CPUID does not offer", () => {
  test.for<[string, number[]]>([
    ["haddpd (SSE3)", [0x66, 0x0f, 0x7c, 0xc1]],
    ["movddup (SSE3)", [0xf2, 0x0f, 0x12, 0xc1]],
    ["movsldup (SSE3)", [0xf3, 0x0f, 0x12, 0xc1]],
    ["lddqu (SSE3)", [0xf2, 0x0f, 0xf0, 0x00]],
    ["fisttp (SSE3)", [0xdb, 0x08]],
    ["pshufb (SSSE3)", [0x66, 0x0f, 0x38, 0x00, 0xc1]],
    ["pmulld (SSE4.1)", [0x66, 0x0f, 0x38, 0x40, 0xc1]],
    ["xsave", [0x0f, 0xae, 0x20]],
  ])("%s is #UD, with a line in the log", ([, code]) => {
    guest.log.length = 0;
    expect(run(code)).toBe(Vector.invalidOpcode);
    expect(guest.log).toHaveLength(1);
  });
});

/** Operand, RCPSS, RSQRTSS: bits, as an Intel processor gives them. */
const APPROXIMATIONS: readonly (readonly [number, number, number])[] = [
  // biome-ignore format: a table
  [0x00000000, 0x7f800000, 0x7f800000],
  [0x80000001, 0xff800000, 0xff800000],
  [0x7f800000, 0x00000000, 0x00000000],
  [0xff800000, 0x80000000, 0xffc00000],
  [0x7f800001, 0x7fc00001, 0x7fc00001],
  [0x00800000, 0x7e7ff000, 0x5efff000],
  [0x7e7fffff, 0x00800800, 0x20000800],
  [0x7f7fffff, 0x00000000, 0x1f800800],
  [0x989ec0bc, 0xe64e6000, 0xffc00000],
  [0xc896705a, 0xb659c800, 0xffc00000],
  [0x0a33b5e1, 0x74b65800, 0x5a18c800],
  [0xbe6c328b, 0xc08ab800, 0xffc00000],
  [0xf738f19a, 0x87b12800, 0xffc00000],
  [0x12db76e0, 0x6c155000, 0x55c38800],
  [0xb31ce859, 0xcbd0d800, 0xffc00000],
  [0x75d67867, 0x0918c800, 0x2445c800],
  [0x657cda6b, 0x19819800, 0x2c80d000],
  [0xf5a482fa, 0x89472800, 0xffc00000],
  [0x67f4ec58, 0x1705d000, 0x2b391000],
  [0xf3efc54f, 0x8b08a800, 0xffc00000],
  [0xfe664705, 0x808e4800, 0xffc00000],
  [0xa9ed0885, 0xd50a4000, 0xffc00000],
  [0x6c41806d, 0x12a95000, 0x29133800],
  [0x7ff8f049, 0x7ff8f049, 0x7ff8f049],
  [0x4989cfe0, 0x356dd000, 0x3a76b800],
  [0x6c5ee907, 0x12930000, 0x29092800],
  [0xace4d743, 0xd20f3000, 0xffc00000],
  [0x27c0c55a, 0x5729f800, 0x4b509800],
  [0x16b9217c, 0x6830f800, 0x53d4d800],
  [0xda4f7202, 0xa49df000, 0xffc00000],
  [0x4fc0ef76, 0x2f29e000, 0x37508000],
  [0x01cf6f22, 0x7d1e0000, 0x5e491800],
  [0x7672e96e, 0x0886e800, 0x24036800],
  [0x4aa93da8, 0x3441a800, 0x39dea800],
  [0x92ab8cce, 0xec3f0800, 0xffc00000],
  [0xf6507723, 0x889d3000, 0xffc00000],
  [0x03f595f4, 0x7b057000, 0x5d38d000],
  [0xc7983527, 0xb7574800, 0xffc00000],
  [0x4d62764a, 0x3190b000, 0x38881800],
  [0x52377d8e, 0x2cb29800, 0x36173800],
];
test("RCPSS and RSQRTSS are Intel's", () => {
  const ours = APPROXIMATIONS.map(([x]) => [x, reciprocal(x), reciprocalRoot(x)]);
  expect(ours).toEqual(APPROXIMATIONS);
});

describe("transcendental instructions are within a unit in the last place of a processor's", () => {
  type Golden = [name: string, control: number, st1: string, st0: string, after0: string, after1: string];
  const golden = JSON.parse(
    readFileSync(new URL("golden/x87-transcendental.json", import.meta.url), "utf8"),
  ) as Golden[];
  const opcodes: Record<string, number> = {
    f2xm1: 0xf0,
    fyl2x: 0xf1,
    fptan: 0xf2,
    fpatan: 0xf3,
    fyl2xp1: 0xf9,
    fsincos: 0xfb,
    fsin: 0xfe,
    fcos: 0xff,
  };
  const ordinal = (hex: string): bigint => {
    const exponent = BigInt(`0x${hex.slice(0, 4)}`) & 0x7fffn;
    const magnitude = (exponent << 63n) | (BigInt(`0x${hex.slice(4)}`) & 0x7fff_ffff_ffff_ffffn);
    return hex[0]! >= "8" ? -magnitude : magnitude;
  };
  const register = (i: number): string =>
    [...fx.subarray(Fx.st + i * 16, Fx.st + i * 16 + 10)]
      .toReversed()
      .map((b) => b.toString(16).padStart(2, "0"))
      .join("");
  test.for(Object.entries(opcodes))("%s", ([name, opcode]) => {
    const cases = golden.filter((g) => g[0] === name);
    expect(cases.length).toBeGreaterThan(20);
    for (const [, control, st1, st0, after0, after1] of cases) {
      guest.write(CODE_VA, [0xd9, opcode, INT3]);
      fx.fill(0);
      fxView.setUint16(Fx.fcw, (control << 8) | 0x7f, true);
      fxView.setUint16(Fx.fsw, 6 << 11, true);
      fx[Fx.ftw] = 0xc0;
      for (const [i, hex] of [st0, st1].entries()) {
        fxView.setBigUint64(Fx.st + i * 16, BigInt(`0x${hex.slice(4)}`), true);
        fxView.setUint16(Fx.st + i * 16 + 8, Number(`0x${hex.slice(0, 4)}`), true);
      }
      guest.cpu.setFxImage(fx);
      expect(go()).toBe(DONE);
      const pushed = name === "fptan" || name === "fsincos";
      const popped = ["fyl2x", "fpatan", "fyl2xp1"].includes(name);
      const pairs = popped
        ? [[register(0), after0]]
        : [[register(0), after0], ...(pushed ? [[register(1), after1]] : [])];
      for (const [ours, theirs] of pairs) {
        const distance = ordinal(ours!) - ordinal(theirs!);
        expect(distance >= -1n && distance <= 1n, `${name} ${st0} ${st1}: ${ours} for ${theirs}`).toBe(true);
      }
    }
  });
});

describe("fast paths give what the software gives, flags included", () => {
  const soft = new SseUnit(guest.memory, guest.cpu.address + 8192);
  const block = new DataView(guest.memory.buffer, guest.cpu.address);
  /** Doubles whose sums, products, quotients and roots are often exact, near a limit, or neither. */
  const numbers = fc.oneof(
    fc.integer({ min: -(2 ** 20), max: 2 ** 20 }).map(Number),
    fc
      .tuple(fc.integer({ min: -(2 ** 27), max: 2 ** 27 }), fc.integer({ min: -1074, max: 970 }))
      .map(([m, e]) => m * 2 ** e),
    fc.double({ noDefaultInfinity: true }),
    fc.double({ min: 0.5, max: 4 }),
    fc.constantFrom(0, -0, 2 ** -1022, 2 ** 900, 2 ** -900, 1.7e308, 2 ** 53 - 1, Number.POSITIVE_INFINITY),
  );
  const ops: readonly [name: string, opcode: number, op: (typeof SseOp)[keyof typeof SseOp]][] = [
    ["add", 0x58, SseOp.add],
    ["mul", 0x59, SseOp.mul],
    ["sub", 0x5c, SseOp.sub],
    ["div", 0x5e, SseOp.div],
    ["sqrt", 0x51, SseOp.sqrt],
    ["min", 0x5d, SseOp.min],
    ["max", 0x5f, SseOp.max],
  ];
  const bitsOf = (isDouble: boolean, n: number): bigint => {
    const view = new DataView(new ArrayBuffer(8));
    if (isDouble) view.setFloat64(0, n, true);
    else view.setFloat32(0, n, true);
    return view.getBigUint64(0, true);
  };
  for (const [name, opcode, op] of ops)
    for (const isDouble of [true, false])
      property.prop([numbers, numbers, fc.boolean()], { numRuns: 400 })(
        `${name}${isDouble ? "sd" : "ss"}`,
        (a, b, sticky) => {
          const mxcsr = sticky ? 0x1fa0 : 0x1f80;
          const [bitsA, bitsB] = [bitsOf(isDouble, a), bitsOf(isDouble, b)];
          block.setUint32(State.fx + Fx.mxcsr, mxcsr, true);
          for (const [at, bits] of [
            [State.floatA, bitsA],
            [State.floatB, bitsB],
          ] as const) {
            block.setBigUint64(at, bits, true);
            block.setBigUint64(at + 8, 0n, true);
          }
          soft.run(guest.cpu.address, sseArgument(op, isDouble, 1));
          const expected = [block.getBigUint64(State.floatA, true), guest.cpu.mxcsr];

          guest.write(CODE_VA, [isDouble ? 0xf2 : 0xf3, 0x0f, opcode, 0xc1, INT3]);
          fx.fill(0);
          fxView.setUint32(Fx.mxcsr, mxcsr, true);
          fxView.setUint16(Fx.fcw, 0x37f, true);
          fxView.setBigUint64(Fx.xmm, bitsA, true);
          fxView.setBigUint64(Fx.xmm + 16, bitsB, true);
          guest.cpu.setFxImage(fx);
          expect(go()).toBe(DONE);
          expect([fxView.getBigUint64(Fx.xmm, true), guest.cpu.mxcsr]).toEqual(expected);
        },
      );
});
