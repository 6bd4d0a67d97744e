/** A comparison and the branch behind it run as one handler: with any values it must end where the two instructions do. */
import { expect, test } from "vitest";
import { Reg } from "../../src/engine/cpu-state.ts";
import { ExitKind } from "../../src/engine/exits.ts";
import { handlerTable } from "../../src/engine/shapes.ts";
import { CODE_VA, TinyGuest } from "./tiny-guest.ts";

/** Bytes of `name rax, rcx` and its like; the second operand of memory forms is at [rbx]. */
const encodings: Readonly<Record<string, Readonly<Record<number, readonly number[]>>>> = {
  "cmp r": { 1: [0x38, 0xc8], 2: [0x66, 0x39, 0xc8], 4: [0x39, 0xc8], 8: [0x48, 0x39, 0xc8] },
  "cmp m": { 1: [0x3a, 0x03], 2: [0x66, 0x3b, 0x03], 4: [0x3b, 0x03], 8: [0x48, 0x3b, 0x03] },
  "test r": { 1: [0x84, 0xc8], 4: [0x85, 0xc8], 8: [0x48, 0x85, 0xc8] },
  "test m": { 1: [0x84, 0x0b], 4: [0x85, 0x0b], 8: [0x48, 0x85, 0x0b] },
  "dec r": { 4: [0xff, 0xc8], 8: [0x48, 0xff, 0xc8] },
  "inc r": { 4: [0xff, 0xc0], 8: [0x48, 0xff, 0xc0] },
  "add r": { 1: [0x00, 0xc8], 4: [0x01, 0xc8], 8: [0x48, 0x01, 0xc8] },
  "sub r": { 1: [0x28, 0xc8], 4: [0x29, 0xc8], 8: [0x48, 0x29, 0xc8] },
  "and r": { 1: [0x20, 0xc8], 4: [0x21, 0xc8], 8: [0x48, 0x21, 0xc8] },
  "or r": { 1: [0x08, 0xc8], 4: [0x09, 0xc8], 8: [0x48, 0x09, 0xc8] },
  "bt r": { 4: [0x0f, 0xa3, 0xc8], 8: [0x48, 0x0f, 0xa3, 0xc8] },
};
const interesting = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 63n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];

const { fused } = handlerTable();
const pairs = new Map(
  fused.map(({ shape, condition }) => {
    const key = `${shape.row.name} ${shape.memory ? "m" : "r"}`;
    return [`${key}${shape.size} j${condition}`, { bytes: encodings[key]?.[shape.size], condition }];
  }),
);
const guest = new TinyGuest(2048);

test.each([...pairs])("%s", (_name, { bytes, condition }) => {
  expect(bytes).toBeDefined();
  const { cpu, engine } = guest;
  // The branch goes 4 behind itself; INT3 both ways.
  guest.write(CODE_VA, [...bytes!, 0x70 + condition, 0x04, 0xcc, 0x90, 0x90, 0x90, 0xcc]);
  const state = (): unknown[] => [cpu.big(Reg.rip), cpu.big(Reg.rax), cpu.big(Reg.rcx), cpu.rflags];
  for (const a of interesting)
    for (const b of interesting)
      for (const rflags of [0x202, 0xad7]) {
        const prepare = (): void => {
          cpu.setNumber(Reg.rip, CODE_VA);
          cpu.setBig(Reg.rax, a);
          cpu.setBig(Reg.rcx, b);
          cpu.setNumber(Reg.rbx, 0x500000);
          guest.view.setBigUint64(0x500000, b, true);
          cpu.rflags = rflags;
        };
        prepare();
        const counted = engine.stats(0).instructions;
        expect(engine.run(0, 100)).toBe(ExitKind.softInt);
        expect(engine.stats(0).instructions - counted).toBe(3);
        const together = state();
        prepare();
        for (let i = 0; i < 3; i++) engine.step(0);
        expect(together).toEqual(state());
      }
});
