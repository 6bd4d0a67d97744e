/**
 * Random code that reads, jumps into and overwrites itself, by aliases too: run from the code cache it must do exactly what it does one freshly
 * decoded instruction at a time.
 */
import { expect, test } from "vitest";
import { Reg } from "../../src/engine/cpu-state.ts";
import { ExitKind, Vector } from "../../src/engine/exits.ts";
import { CODE_VA, TinyGuest } from "./tiny-guest.ts";

const PAGES = 4;
const BYTES = PAGES * 4096;
/** The same frames once more, in another order. */
const ALIAS_VA = 0x700000;

/** mulberry32 */
function random(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/**
 * Opcodes that make lively programs: arithmetic, moves, short jumps, calls and returns. No repeated string stores: one that overwrites itself goes
 * on as it was decoded, as it may, while a step decodes every iteration.
 */
const opcodes = [
  0x01, 0x03, 0x29, 0x2b, 0x31, 0x39, 0x3b, 0x85, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0xff, 0xfe, 0xc1, 0xd1, 0xd3, 0xf7,
  0x83, 0x80, 0x50, 0x5b, 0x74, 0x75, 0x72, 0x7f, 0x7c, 0xeb, 0xe2, 0xe8, 0xc3, 0x90, 0xb0, 0xb3, 0x0f, 0xc6, 0x87,
  0x04, 0x2c, 0x3c, 0xa8,
];
const prefixes = [0x48, 0x48, 0x66, 0xf0, 0x41, 0x44, 0x4c, 0x65];

function program(next: () => number): Uint8Array {
  const bytes = new Uint8Array(BYTES);
  let at = 0;
  while (at < BYTES) {
    if (next() % 3 === 0) bytes[at++] = prefixes[next() % prefixes.length]!;
    bytes[at++] = opcodes[next() % opcodes.length]!;
    bytes[at++] = next() & 255;
    if (next() % 2 === 0) bytes[at++] = next() % 4 === 0 ? next() & 255 : next() & 31;
  }
  return bytes;
}

class Machine {
  readonly guest = new TinyGuest(1280, { codeArenaBytes: 65536 });
  constructor() {
    for (let i = 0; i < PAGES; i++) this.guest.map(ALIAS_VA + i * 4096, CODE_VA / 4096 + ((i + 1) % PAGES));
    this.guest.engine.flushTlb("all");
  }
  load(bytes: Uint8Array): void {
    this.guest.write(CODE_VA, bytes);
  }
  /** Goes on elsewhere, with what is decoded kept. */
  restart(registers: readonly bigint[], rip: number): void {
    const { cpu } = this.guest;
    registers.forEach((value, i) => {
      cpu.setBig(i, value);
    });
    cpu.setNumber(Reg.rip, rip);
    cpu.rflags = 0x202;
  }
  state(): string {
    const { cpu, memory, ramOffset } = this.guest;
    const bytes = new Uint8Array(memory.buffer, ramOffset + CODE_VA, BYTES);
    let hash = 0;
    for (const b of bytes) hash = (Math.imul(hash, 31) + b) | 0;
    return `${Array.from({ length: 16 }, (_, i) => cpu.big(i).toString(16)).join()} rip ${cpu.big(Reg.rip).toString(16)} flags ${cpu.rflags.toString(16)} memory ${hash}`;
  }
}

const SEED = Number(process.env.SEED ?? 20240611);

test(`seed ${SEED}: cached code does what single steps do, whatever it overwrites`, () => {
  const next = random(SEED);
  const cached = new Machine();
  const stepped = new Machine();
  let executed = 0;
  for (let round = 0; round < 16; round++) {
    const bytes = program(next);
    const machines = [cached, stepped];
    for (const machine of machines) machine.load(bytes);
    let restart = true;
    for (let slice = 0; slice < 300; slice++) {
      if (restart) {
        const registers = Array.from({ length: 16 }, () => {
          const n = next();
          if (n % 8 === 0) return BigInt(n >>> 4);
          return BigInt((n % 3 === 0 ? ALIAS_VA : CODE_VA) + ((n >>> 3) % BYTES));
        });
        registers[1] = BigInt(next() % 40);
        const rip = (next() % 2 === 0 ? ALIAS_VA : CODE_VA) + (next() % BYTES);
        for (const machine of machines) machine.restart(registers, rip);
      }
      const { cpu, engine } = cached.guest;
      const before = engine.stats(0).instructions;
      const kind = engine.run(0, 1 + (next() % 60));
      const done = engine.stats(0).instructions - before;
      // POPF may set TF, which step() does not look at: its trap is no step of its own.
      const trapped = kind === ExitKind.exception && cpu.exitVector === Vector.debug;
      let last: ExitKind = ExitKind.budget;
      for (let i = 0; i < done; i++) last = stepped.guest.engine.step(0);
      // What faults does not count, so it is one step more.
      if (kind !== ExitKind.budget && last === ExitKind.budget && !trapped) last = stepped.guest.engine.step(0);
      executed += done;
      const where = `round ${round} slice ${slice}`;
      expect(`${where}: ${stepped.state()}`).toBe(`${where}: ${cached.state()}`);
      restart = kind !== ExitKind.budget || next() % 20 === 0;
      if (trapped || kind === ExitKind.budget) continue;
      expect([where, last]).toEqual([where, kind]);
      if (kind !== ExitKind.exception) continue;
      const other = stepped.guest.cpu;
      expect([where, other.exitVector, other.exitErrorCode]).toEqual([where, cpu.exitVector, cpu.exitErrorCode]);
    }
  }
  expect(executed).toBeGreaterThan(10_000);
});
