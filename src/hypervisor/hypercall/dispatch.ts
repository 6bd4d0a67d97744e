/**
 * From the `syscall` to the result in rax: finds the row, counts, traces, calls, and deals with calls that go on later.
 *
 * rip is behind the `syscall` on entry. A continuation moves it back to the instruction, with new arguments in the registers: the
 * call is made again when the vCPU next runs, after events have been delivered, exactly as Xen does it.
 */
import { Errno } from "../../abi/errno.ts";
import { NR_HYPERCALLS } from "../../abi/xen.ts";
import { Reg } from "../../engine/cpu-state.ts";
import type { ParkedCall, Vcpu } from "../vcpu.ts";
import type { HypercallArgs } from "./arguments.ts";
import { hypercalls } from "./hypercalls.ts";
import { type HypercallResult, parked, registersSet } from "./result.ts";
import type { HypercallContext, HypercallRow } from "./table.ts";

/** Bytes of the `syscall` instruction. */
const SYSCALL_LENGTH = 2;
const ARGUMENT_REGISTERS = [Reg.rdi, Reg.rsi, Reg.rdx, Reg.r10, Reg.r8, Reg.r9] as const;

/** Makes the hypercall that the vCPU's registers ask for. */
export function dispatchHypercall(vcpu: Vcpu): void {
  const { cpu, args, domain } = vcpu;
  // The number is 32 bits wide (`unsigned int` in Xen's dispatcher).
  const number = cpu.lo(Reg.rax) >>> 0;
  for (let i = 0; i < ARGUMENT_REGISTERS.length; i++) {
    const reg = ARGUMENT_REGISTERS[i]!;
    args.set(i, cpu.lo(reg), cpu.hi(reg));
  }
  const seq =
    domain.trace === null
      ? -1
      : domain.trace.begin(vcpu.id, vcpu.shard.now(), domain.engine.stats(vcpu.id).instructions, number, args);
  const result = call(vcpu.context, number, args);
  if (typeof result === "number") {
    cpu.setNumber(Reg.rax, result);
    if (seq >= 0) domain.trace?.end(seq, result);
  } else if (result === parked) {
    vcpu.parked!.trace = seq;
  } else if (result !== registersSet) {
    repeatCall(vcpu, result.args);
  }
}

/** Makes one call, as a hypercall of its own or as an entry of a multicall. Counts it. */
export function call(context: HypercallContext, number: number, args: HypercallArgs): HypercallResult {
  if (number >= NR_HYPERCALLS) return -Errno.ENOSYS;
  const { counters } = context.domain;
  counters.count(number);
  const row: HypercallRow | undefined = hypercalls[number];
  if (row === undefined) return -Errno.ENOSYS;
  if (row.subops !== undefined && row.subops.arg >= 0) {
    counters.countSubop(number, (args.u32(row.subops.arg) & row.subops.mask) >>> 0);
  }
  return row.run(context, args);
}

/** The `syscall` is to be executed again, with these arguments. rax still holds the number. */
export function repeatCall(vcpu: Vcpu, args: readonly number[]): void {
  const { cpu } = vcpu;
  for (let i = 0; i < args.length; i++) cpu.setNumber(ARGUMENT_REGISTERS[i]!, args[i]!);
  cpu.setNumber(Reg.rip, cpu.va(Reg.rip) - SYSCALL_LENGTH);
}

/** A parked call has its result. */
export function finishParked(vcpu: Vcpu, parkedCall: ParkedCall, result: number): void {
  if (parkedCall.resume !== undefined) {
    parkedCall.resume(result);
    return;
  }
  vcpu.cpu.setNumber(Reg.rax, result);
  if (parkedCall.trace >= 0) vcpu.domain.trace?.end(parkedCall.trace, result);
}
