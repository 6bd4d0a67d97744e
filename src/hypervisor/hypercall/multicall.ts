/**
 * HYPERVISOR_multicall(call_list, nr_calls): several hypercalls in one. Each entry's result goes into the entry; the call itself
 * answers 0, or -EFAULT where an entry cannot be read or written.
 *
 * An entry that is not finished goes back into the list with its new arguments, and the multicall goes on from it; one that is
 * parked lets the multicall go on behind it when the answer is there.
 */
import { Errno } from "../../abi/errno.ts";
import { HYPERVISOR, MulticallEntry } from "../../abi/xen.ts";
import { Reg } from "../../engine/cpu-state.ts";
import type { Vcpu } from "../vcpu.ts";
import { HypercallArgs } from "./arguments.ts";
import { repeatCall } from "./repeat.ts";
import { Continuation, type HypercallResult, parked, registersSet } from "./result.ts";
import type { HypercallContext, HypercallRow, Operand } from "./table.ts";

/** A number that no call has. */
export const NO_SUCH_CALL = 0xffff_ffff;
/** Entries made in one go, before events are looked at, and how long that may take at most, ns: an entry may be as long as a call. */
const MOST_CALLS = 512;
const MOST_TIME = 1_000_000;
const RESULT_OFFSET = MulticallEntry.offsets.result;
const ARGS_OFFSET = MulticallEntry.args.offset;

const entryBytes = new Uint8Array(MulticallEntry.size);
const entry = new DataView(entryBytes.buffer);
const args = new HypercallArgs();
const resultBytes = new Uint8Array(8);
const resultView = new DataView(resultBytes.buffer);

/** False when the entry cannot be written. */
function storeResult(vcpu: Vcpu, at: number, result: number): boolean {
  resultView.setInt32(0, result | 0, true);
  resultView.setInt32(4, Math.floor(result / 0x1_0000_0000), true);
  return vcpu.domain.memory.copyToGuest(vcpu.id, at + RESULT_OFFSET, resultBytes);
}

/** Makes one hypercall of any number. */
type Call = (context: HypercallContext, number: number, args: HypercallArgs) => HypercallResult;

type OperandOf = (number: number, args: HypercallArgs) => Operand | undefined;

export const multicallRow = (call: Call, operandOf: OperandOf): HypercallRow => ({
  name: "multicall",
  run(context, outer) {
    const { vcpu, domain } = context;
    const { host } = context.shard;
    const list = outer.va(0);
    const count = outer.u32(1);
    const began = host.now();
    for (let i = 0; i < count; i++) {
      const at = list + i * MulticallEntry.size;
      const others = i > 0 && ((vcpu.upcallPending && !vcpu.upcallMasked) || host.now() - began > MOST_TIME);
      if (i === MOST_CALLS || others) return new Continuation([at, count - i]);
      if (!domain.memory.copyFromGuest(vcpu.id, at, entryBytes)) return -Errno.EFAULT;
      const number = MulticallEntry.op.hi(entry, 0) === 0 ? MulticallEntry.op.lo(entry, 0) >>> 0 : NO_SUCH_CALL;
      for (let a = 0; a < 6; a++) {
        args.set(a, entry.getInt32(ARGS_OFFSET + a * 8, true), entry.getInt32(ARGS_OFFSET + a * 8 + 4, true));
      }
      const { trace } = domain;
      const seq = trace === null ? -1 : trace.begin(context, number, args, operandOf(number, args), true);
      const result = number === HYPERVISOR.multicall ? -Errno.EINVAL : call(context, number, args);
      if (typeof result === "number") {
        if (seq >= 0) domain.trace?.end(context, seq, result);
        if (!storeResult(vcpu, at, result)) return -Errno.EFAULT;
        if (!domain.runnable) return 0;
        continue;
      }
      if (result === registersSet) return registersSet;
      if (result === parked) {
        vcpu.parked!.resume = (value) => resume(vcpu, at, count - i - 1, seq, value);
        return parked;
      }
      return storeContinuation(vcpu, at, result) ? new Continuation([at, count - i]) : -Errno.EFAULT;
    }
    return 0;
  },
});

/** The entry at `at` goes on later, with other arguments. False when it cannot be written. */
function storeContinuation(vcpu: Vcpu, at: number, { args: values }: Continuation): boolean {
  return values.every((value, i) => vcpu.domain.memory.writeU64(vcpu.id, at + ARGS_OFFSET + i * 8, value));
}

/** The parked entry at `at` has its result, or goes on with other arguments; `left` entries follow it. */
function resume(vcpu: Vcpu, at: number, left: number, trace: number, result: HypercallResult): void {
  if (result instanceof Continuation) {
    if (storeContinuation(vcpu, at, result)) repeatCall(vcpu, [at, left + 1]);
    else vcpu.cpu.setNumber(Reg.rax, -Errno.EFAULT);
  } else if (typeof result === "number") {
    if (trace >= 0) vcpu.domain.trace?.end(vcpu.context, trace, result);
    if (!storeResult(vcpu, at, result)) vcpu.cpu.setNumber(Reg.rax, -Errno.EFAULT);
    else if (left > 0) repeatCall(vcpu, [at + MulticallEntry.size, left]);
    else vcpu.cpu.setNumber(Reg.rax, 0);
  }
}
