/**
 * From the `syscall` to the result in rax: finds the row, counts, traces, calls, and deals with calls that go on later.
 *
 * rip is behind the `syscall` on entry. A continuation moves it back to the instruction, with new arguments in the registers: the
 * call is made again when the vCPU next runs, after events have been delivered, exactly as Xen does it.
 */
import { Reg } from "../../engine/cpu-state.ts";
import type { ParkedCall, Vcpu } from "../vcpu.ts";
import { call, operandOf } from "./hypercalls.ts";
import { NO_SUCH_CALL } from "./multicall.ts";
import { ARGUMENT_REGISTERS, repeatCall } from "./repeat.ts";
import { Continuation, type HypercallResult, parked, registersSet } from "./result.ts";

/** Makes the hypercall that the vCPU's registers ask for. */
export function dispatchHypercall(vcpu: Vcpu): void {
  const { cpu, args, domain } = vcpu;
  // All of rax is the number: one with a high half is none.
  const number = cpu.hi(Reg.rax) === 0 ? cpu.lo(Reg.rax) >>> 0 : NO_SUCH_CALL;
  for (let i = 0; i < ARGUMENT_REGISTERS.length; i++) {
    const reg = ARGUMENT_REGISTERS[i]!;
    args.set(i, cpu.lo(reg), cpu.hi(reg));
  }
  const { trace } = domain;
  const seq = trace === null ? -1 : trace.begin(vcpu.context, number, args, operandOf(number, args));
  const result = call(vcpu.context, number, args);
  if (typeof result === "number") {
    cpu.setNumber(Reg.rax, result);
    if (seq >= 0) domain.trace?.end(vcpu.context, seq, result);
  } else if (result === parked) {
    vcpu.parked!.trace = seq;
  } else if (result !== registersSet) {
    repeatCall(vcpu, result.args);
  }
}

/** A parked call has its result, goes on with other arguments, or waits for another answer. */
export function finishParked(vcpu: Vcpu, parkedCall: ParkedCall, result: HypercallResult): void {
  if (result === parked) {
    const next = vcpu.parked!;
    next.trace = parkedCall.trace;
    if (parkedCall.resume !== undefined) next.resume = parkedCall.resume;
    return;
  }
  if (parkedCall.resume !== undefined) {
    parkedCall.resume(result);
    return;
  }
  if (typeof result === "number") {
    vcpu.cpu.setNumber(Reg.rax, result);
    if (parkedCall.trace >= 0) vcpu.domain.trace?.end(vcpu.context, parkedCall.trace, result);
  } else if (result instanceof Continuation) {
    repeatCall(vcpu, result.args);
  }
}
