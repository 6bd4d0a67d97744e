/**
 * Hypercalls as tables: number -> row -> handler, and number -> sub-operation -> argument struct -> handler.
 *
 * No row means -ENOSYS. A sub-operation's argument is copied in once before its handler runs and copied out once after, so a
 * handler never reads guest memory twice and never sees a fault half way: EFAULT and double fetches are settled here.
 */
import { Errno } from "../../abi/errno.ts";
import type { Layout } from "../../abi/struct-values.ts";
import type { Domain } from "../domain.ts";
import type { Shard } from "../shard.ts";
import type { Vcpu } from "../vcpu.ts";
import { HypercallArgs } from "./arguments.ts";
import type { HypercallResult } from "./result.ts";

/** Who calls. One object per vCPU, made once. */
export interface HypercallContext {
  readonly shard: Shard;
  readonly domain: Domain;
  readonly vcpu: Vcpu;
}

export type HypercallHandler = (context: HypercallContext, args: HypercallArgs) => HypercallResult;

/** How a row's sub-operation is named in counters: its number is argument `arg`, masked. */
export interface SubopNaming {
  readonly arg: number;
  readonly mask: number;
  readonly names: ReadonlyMap<number, string>;
}

/** What a hypercall's arguments point to: `count` structs in a row at a guest address (NaN when it is not canonical). */
export interface Operand {
  readonly layout: Layout;
  readonly va: number;
  readonly count: number;
}

export interface HypercallRow {
  /** As Xen names it, without __HYPERVISOR_. */
  readonly name: string;
  readonly run: HypercallHandler;
  /**
   * Where the sub-operation stands, for counting. Calls whose sub-operations lie in memory (mmuext_op, mmu_update) count them
   * themselves with `HypercallCounters.countSubop` and give `arg: -1`.
   */
  readonly subops?: SubopNaming;
  /** For the trace. */
  readonly operand?: (args: HypercallArgs) => Operand | undefined;
}

/** A sub-operation's handler: `arg` holds the copied-in struct at offset 0. Valid during the call only. */
export type SubopHandler = (context: HypercallContext, arg: DataView, args: HypercallArgs) => HypercallResult;

export interface Subop {
  readonly name: string;
  /** Bytes of the argument struct; 0 for none. */
  readonly size: number;
  /** For the trace: the struct that the call is given. */
  readonly layout?: Layout;
  /** When the struct goes back to the guest: never, when the result is 0 or more, or always. */
  readonly out: "never" | "on-success" | "always";
  readonly run: SubopHandler;
}

export type SubopTable = ReadonlyMap<number, Subop>;

/** A sub-operation that only reads its argument struct. */
export function subop(name: string, struct: Layout, run: SubopHandler): Subop {
  return { name, size: struct.size, layout: struct, out: "never", run };
}

/** A sub-operation whose argument struct is copied back when it succeeds. */
export function subopOut(name: string, struct: Layout, run: SubopHandler): Subop {
  return { name, size: struct.size, layout: struct, out: "on-success", run };
}

/** A sub-operation that has no argument struct, or deals with guest memory itself through `args`. */
export function plainSubop(name: string, run: HypercallHandler): Subop {
  return { name, size: 0, out: "never", run: (context, _arg, args) => run(context, args) };
}

export interface SubopTableOptions {
  /** Which argument is the sub-operation. Default 0. */
  readonly opArg?: number;
  /** Bits of it that name the sub-operation; the others are the handler's (memory_op's continuation). Default all 32. */
  readonly opMask?: number;
  /** The sub-operation is a `long`: one with a high half has no row. */
  readonly longOp?: boolean;
  /** Which argument points to the struct. Default 1. */
  readonly structArg?: number;
  /** The answer to a sub-operation without a row. Default -ENOSYS. */
  readonly unknown?: number;
}

const MAX_ARGUMENT_BYTES = 256;
const scratchBytes = new Uint8Array(MAX_ARGUMENT_BYTES);
const scratchView = new DataView(scratchBytes.buffer);
const scratchOfSize = Array.from({ length: MAX_ARGUMENT_BYTES + 1 }, (_, size) => scratchBytes.subarray(0, size));

/** The row of a hypercall that has sub-operations. */
export function subopRow(name: string, table: SubopTable, options: SubopTableOptions = {}): HypercallRow {
  const { opArg = 0, opMask = 0xffff_ffff, structArg = 1, unknown = -Errno.ENOSYS, longOp = false } = options;
  const names = new Map([...table].map(([op, row]) => [op, row.name]));
  return {
    name,
    subops: { arg: opArg, mask: opMask >>> 0, names },
    operand(args) {
      const row = table.get((args.u32(opArg) & opMask) >>> 0);
      return row?.layout && { layout: row.layout, va: args.va(structArg), count: 1 };
    },
    run(context, args) {
      if (longOp && args.hi(opArg) !== 0) return unknown;
      const row = table.get((args.u32(opArg) & opMask) >>> 0);
      if (row === undefined) return unknown;
      if (row.size === 0) return row.run(context, scratchView, args);
      const bytes = scratchOfSize[row.size]!;
      const va = args.va(structArg);
      const { memory } = context.domain;
      if (!memory.copyFromGuest(context.vcpu.id, va, bytes)) return -Errno.EFAULT;
      const result = row.run(context, scratchView, args);
      if (typeof result !== "number" || row.out === "never" || (result < 0 && row.out === "on-success")) return result;
      return memory.copyToGuest(context.vcpu.id, va, bytes) ? result : -Errno.EFAULT;
    },
  };
}

const compatArgs = new HypercallArgs();

/**
 * The row of a call from before sub-operations were an argument: one struct, with the sub-operation in `cmd` and its argument in `u`. What
 * `known` says no to is -ENOSYS.
 */
export function compatRow(
  name: string,
  struct: {
    readonly size: number;
    readonly cmd: { get(view: DataView, base: number): number };
    readonly offsets: { readonly u: number };
  },
  today: HypercallRow,
  known: (command: number) => boolean = () => true,
): HypercallRow {
  return {
    name,
    run(context, args) {
      const va = args.va(0);
      if (!context.domain.memory.copyFromGuest(context.vcpu.id, va, scratchOfSize[struct.size]!)) return -Errno.EFAULT;
      const command = struct.cmd.get(scratchView, 0);
      if (!known(command)) return -Errno.ENOSYS;
      compatArgs.setNumber(0, command);
      compatArgs.setNumber(1, va + struct.offsets.u);
      return today.run(context, compatArgs);
    },
  };
}
