/**
 * What a hypercall handler may answer.
 *
 * - a number: the value for rax; negative errno on failure.
 * - a `Continuation`: not finished within its time; the `syscall` is executed again with these arguments.
 * - `parked`: someone on another shard has to answer first; the vCPU stays in its hypercall until `Shard.completeParked`.
 * - `registersSet`: the handler has set every register itself, rax included (`iret`), or the domain is no more.
 */
export type HypercallResult = number | Continuation | typeof parked | typeof registersSet;

/** The arguments to go on with. Integers in (-2^53, 2^53); arguments that are not given stay as they are. */
export class Continuation {
  readonly args: readonly number[];
  constructor(args: readonly number[]) {
    this.args = args;
  }
}

export const parked: unique symbol = Symbol("parked");
export const registersSet: unique symbol = Symbol("registersSet");
