/**
 * Random code of two vCPUs that reads, jumps into and overwrites itself and the other's, by aliases too: run from the code cache, in slices of any
 * length, with TF, with breakpoints or with neither, it must do exactly what it does one freshly decoded instruction at a time.
 */
import { Reg } from "../../src/engine/cpu-state.ts";
import { ExitKind, Vector } from "../../src/engine/exits.ts";
import { CODE_VA, TinyGuest } from "./tiny-guest.ts";

const PAGES = 4;
const BYTES = PAGES * 4096;
const VCPUS = 2;
/** The same frames once more, in another order. */
const ALIAS_VA = 0x700000;
const TF = 0x100;
const AC = 0x4_0000;
/** DR7: the first breakpoint, for execution, for writes of 4 bytes, for reads and writes of 8. */
const BREAKPOINTS = [0x1, 0xd_0001, 0xb_0001];

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
  0x04, 0x2c, 0x3c, 0xa8, 0x9c, 0x9d,
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
  readonly guest = new TinyGuest(1280, { codeArenaBytes: 65536, vcpus: VCPUS });
  constructor() {
    for (let i = 0; i < PAGES; i++) this.guest.map(ALIAS_VA + i * 4096, CODE_VA / 4096 + ((i + 1) % PAGES));
    this.guest.engine.flushTlb("all");
  }
  load(bytes: Uint8Array): void {
    this.guest.write(CODE_VA, bytes);
  }
  /** A vCPU goes on elsewhere, with what is decoded kept. */
  restart(vcpu: number, registers: readonly bigint[], rip: number, rflags: number): void {
    const cpu = this.guest.engine.vcpus[vcpu]!;
    registers.forEach((value, i) => {
      cpu.setBig(i, value);
    });
    cpu.setNumber(Reg.rip, rip);
    cpu.rflags = rflags;
  }
  get code(): Uint8Array {
    const { memory, ramOffset } = this.guest;
    return new Uint8Array(memory.buffer, ramOffset + CODE_VA, BYTES);
  }
  /** A vCPU's registers, but DR6. */
  state(vcpu: number): string {
    const cpu = this.guest.engine.vcpus[vcpu]!;
    return `${Array.from({ length: 16 }, (_, i) => cpu.big(i).toString(16)).join()} rip ${cpu.big(Reg.rip).toString(16)} flags ${cpu.rflags.toString(16)}`;
  }
  exit(vcpu: number, kind: ExitKind): string {
    const cpu = this.guest.engine.vcpus[vcpu]!;
    return kind === ExitKind.exception ? `exception ${cpu.exitVector} error ${cpu.exitErrorCode}` : `exit ${kind}`;
  }
}

export interface LivelyReport {
  /** Instructions executed either way. */
  instructions: number;
  /** #DB: single steps, breakpoints. */
  traps: number;
  faults: number;
}

/**
 * @param rounds programs to run
 * @throws where the two part ways, with the seed's round and slice
 */
export function runLivelyCode(seed: number, rounds: number): LivelyReport {
  const next = random(seed);
  const cached = new Machine();
  const stepped = new Machine();
  const machines = [cached, stepped];
  const report: LivelyReport = { instructions: 0, traps: 0, faults: 0 };
  const restart = (vcpu: number): void => {
    const registers = Array.from({ length: 16 }, () => {
      const n = next();
      if (n % 8 === 0) return BigInt(n >>> 4);
      return BigInt((n % 3 === 0 ? ALIAS_VA : CODE_VA) + ((n >>> 3) % BYTES));
    });
    registers[1] = BigInt(next() % 40);
    const rip = (next() % 2 === 0 ? ALIAS_VA : CODE_VA) + (next() % BYTES);
    const rflags = 0x202 | (next() % 6 === 0 ? TF : 0) | (next() % 12 === 0 ? AC : 0);
    for (const machine of machines) machine.restart(vcpu, registers, rip, rflags);
    const { engine } = cached.guest;
    // Those of the other machine stay off: step() would tell of nothing anyway.
    engine.vcpus[vcpu]!.setDebugRegister(0, CODE_VA + (next() % BYTES), 0);
    engine.vcpus[vcpu]!.setDebugRegister(7, next() % 4 === 0 ? BREAKPOINTS[next() % 3]! : 0, 0);
  };
  for (let round = 0; round < rounds; round++) {
    const bytes = program(next);
    for (const machine of machines) machine.load(bytes);
    for (let vcpu = 0; vcpu < VCPUS; vcpu++) restart(vcpu);
    for (let slice = 0; slice < 300; slice++) {
      const vcpu = next() % VCPUS;
      const { engine } = cached.guest;
      const before = engine.stats(vcpu).instructions;
      const kind = engine.run(vcpu, 1 + (next() % 60));
      const done = engine.stats(vcpu).instructions - before;
      // Traps are no steps of their own, and come where no step can tell of them.
      const isTrap = kind === ExitKind.exception && engine.vcpus[vcpu]!.exitVector === Vector.debug;
      let last: ExitKind = ExitKind.budget;
      for (let i = 0; i < done; i++) last = stepped.guest.engine.step(vcpu);
      // What faults does not count, so it is one step more.
      if (kind !== ExitKind.budget && last === ExitKind.budget && !isTrap) last = stepped.guest.engine.step(vcpu);
      report.instructions += done;
      if (isTrap) report.traps++;
      else if (kind === ExitKind.exception) report.faults++;
      const where = `seed ${seed} round ${round} slice ${slice} vcpu ${vcpu}`;
      if (Buffer.compare(cached.code, stepped.code) !== 0) throw new Error(`${where}: what is in memory differs`);
      for (let i = 0; i < VCPUS; i++) {
        const ends = machines.map((machine) => machine.state(i));
        if (ends[0] !== ends[1]) throw new Error(`${where}: vcpu ${i}\ncached  ${ends[0]}\nstepped ${ends[1]}`);
      }
      if (!isTrap && kind !== ExitKind.budget) {
        const [a, b] = [cached.exit(vcpu, kind), stepped.exit(vcpu, last)];
        if (a !== b) throw new Error(`${where}: ${a}, stepped ${b}`);
      }
      if ((kind !== ExitKind.budget && !isTrap) || next() % 20 === 0) restart(vcpu);
    }
  }
  return report;
}
