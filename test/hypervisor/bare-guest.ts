/**
 * A guest of a few bytes of machine code on the real engine: 2 MiB, mapped one to one at address 0 in kernel mode, and user pages in
 * a root of their own. Tests put code into it, run it, and look at what is there afterwards.
 */
import { Reg } from "../../src/engine/cpu-state.ts";
import { engineBytes } from "../../src/engine/layout.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { memoryMap } from "../../src/hypervisor/mm/memory-map.ts";
import { Shard } from "../../src/hypervisor/shard.ts";
import type { ShardMessage } from "../../src/hypervisor/shard-host.ts";
import type { Vcpu } from "../../src/hypervisor/vcpu.ts";
import { engineModule } from "./one-thread-machine.ts";

const PAGES = 512;
/** Page tables: kernel L4, L3, L2, L1; then the user's four. */
const FIRST_TABLE = 0x100;
const TABLES = 8;
const PRESENT = 1;
const RW = 2;
const USER = 4;

export const CODE = 0x1000;
export const DATA = 0x4000;
export const HANDLER = 0x6000;
export const CALLBACK = 0x7000;
export const BOOT_STACK = 0x9000;
/** What stack_switch names: the kernel's stack for entries from user mode. */
export const KERNEL_STACK = 0xb000;
export const USER_CODE = 0x10_000;
export const USER_STACK = 0x13_000;

/** `jmp .`: where a test wants a guest to stay. */
export const STAY = [0xeb, 0xfe];

export class BareGuest {
  readonly shard: Shard;
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  readonly view: DataView;
  readonly messages: ShardMessage[] = [];
  readonly log: string[] = [];

  constructor() {
    this.shard = new Shard({
      id: 0,
      module: engineModule,
      virtualTime: { nsPerInstruction: 1 },
      host: {
        now: () => 1_000_000,
        wallClock: () => 0,
        send: (_to, message) => this.messages.push(message),
        log: (level, _domid, text) => this.log.push(`${level}: ${text}`),
      },
    });
    const map = memoryMap({ pages: PAGES, maxPages: PAGES, vcpus: 1, engineBytes: engineBytes(1) });
    const memory = new WebAssembly.Memory({ initial: map.wasmPages, maximum: map.wasmPages, shared: true });
    const created = this.shard.createDomain({ domid: 1, uuid: new Uint8Array(16), memory, map });
    if (typeof created === "number") throw new Error(`createDomain: ${created}`);
    this.domain = this.shard.domains.get(1)!;
    this.vcpu = this.domain.vcpus[0]!;
    this.view = new DataView(memory.buffer, map.ramOffset);
    const { baseMfn } = map;
    const entry = (table: number, slot: number, pfn: number, flags: number) =>
      this.view.setBigUint64(
        (FIRST_TABLE + table) * 4096 + slot * 8,
        BigInt(baseMfn + pfn) * 4096n + BigInt(flags),
        true,
      );
    for (const root of [0, 4]) {
      for (let level = 0; level < 3; level++)
        entry(root + level, 0, FIRST_TABLE + root + level + 1, PRESENT | RW | USER);
      for (let pfn = 0; pfn < PAGES; pfn++) {
        const isTable = pfn >= FIRST_TABLE && pfn < FIRST_TABLE + TABLES;
        const isUser = pfn >= USER_CODE >> 12 && pfn < USER_STACK >> 12;
        if (root === 0 || isUser) entry(root + 3, pfn, pfn, PRESENT | USER | (isTable ? 0 : RW));
      }
    }
    const rc = this.shard.setBootContext(1, {
      l4Pfn: FIRST_TABLE,
      entry: CODE,
      startInfoVa: 0,
      stackVa: BOOT_STACK,
    });
    if (rc !== 0) throw new Error(`setBootContext: ${rc} ${JSON.stringify(this.shard.refusals(1))}`);
    const user = this.domain.memory.vcpuTables.setUserRoot(0, baseMfn + FIRST_TABLE + 4);
    if (user !== 0) throw new Error(`setUserRoot: ${user}`);
    this.vcpu.kernelSp = KERNEL_STACK;
    this.vcpu.kernelSs = 0xe02b;
    for (const at of [HANDLER, CALLBACK]) this.code(at, STAY);
    this.domain.unpause();
  }

  code(at: number, bytes: readonly number[]): this {
    bytes.forEach((byte, i) => {
      this.view.setUint8(at + i, byte);
    });
    return this;
  }

  /** Sends a vector to `HANDLER` + 16 * vector, where it stays. */
  handle(vector: number, flags = 0): this {
    this.code(handlerOf(vector), STAY);
    this.vcpu.traps.set(vector, handlerOf(vector), 0xe033, flags);
    return this;
  }

  /** Starts in user mode, at USER_CODE, as after an `iret` of the kernel. */
  inUserMode(): this {
    const { cpu } = this.vcpu;
    cpu.kernelMode = 0;
    cpu.setNumber(Reg.rip, USER_CODE);
    cpu.setNumber(Reg.rsp, USER_STACK);
    return this;
  }

  /** Runs for so many instructions. */
  run(instructions = 2000): this {
    this.shard.run(this.shard.now() + instructions);
    return this;
  }

  get rip(): number {
    return this.vcpu.cpu.va(Reg.rip);
  }

  get rsp(): number {
    return this.vcpu.cpu.va(Reg.rsp);
  }

  reg(name: keyof typeof Reg): number {
    return this.vcpu.cpu.number(Reg[name]);
  }

  /** A 64-bit word of guest memory, as a signed number. */
  word(at: number): number {
    return this.view.getInt32(at + 4, true) * 2 ** 32 + this.view.getUint32(at, true);
  }

  /** The words at rsp. */
  frame(words: number): number[] {
    return Array.from({ length: words }, (_, i) => this.word(this.rsp + i * 8));
  }
}

export const handlerOf = (vector: number) => HANDLER + vector * 16;

/** mov r64, imm32 (sign-extended) for rax rcx rdx rbx rsp rbp rsi rdi r8 to r15 by number. */
export const movImm = (reg: number, value: number): number[] => [
  reg < 8 ? 0x48 : 0x49,
  0xc7,
  0xc0 | (reg & 7),
  value & 0xff,
  (value >> 8) & 0xff,
  (value >> 16) & 0xff,
  (value >> 24) & 0xff,
];

const ARGUMENTS = [7, 6, 2, 10, 8, 9];

/** A hypercall with its arguments as immediates. */
export const call = (number: number, ...args: number[]): number[] => [
  ...args.flatMap((value, i) => movImm(ARGUMENTS[i]!, value)),
  ...movImm(0, number),
  0x0f,
  0x05,
];

/** push imm32. */
export const push = (value: number): number[] => [
  0x68,
  value & 0xff,
  (value >> 8) & 0xff,
  (value >> 16) & 0xff,
  (value >> 24) & 0xff,
];
