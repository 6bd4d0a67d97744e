/**
 * What mmu_update and mmuext_op have in common: an array of requests, done one by one, that may have to go on later.
 *
 * Between two requests every table that lost its last use has been taken apart, so a request never sees the half-done work of the one
 * before. Work that is left over when the requests are done continues as a call without requests that carries the result.
 */
import { Errno } from "../../abi/errno.ts";
import type { Layout } from "../../abi/struct-values.ts";
import { MMU_UPDATE_PREEMPTED } from "../../abi/xen.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { RESTART } from "../mm/page-types.ts";
import type { HypercallArgs } from "./arguments.ts";
import { Continuation, type HypercallResult } from "./result.ts";
import type { Operand } from "./table.ts";

/** Does request number `i` of this call, at guest address `va`. 0, -errno, or RESTART to have it done again later. */
export type BatchRequest = (va: number, i: number) => number;

/** What a request costs of the budget, besides the entries it looks at. */
const REQUEST_COST = 8;

/**
 * Runs the batch that `args` describes: (requests, count, done counter or null, ...). `prepare` checks the rest of the arguments first:
 * 0 or -errno. `countsRefused`: the counter is written (that none was done) even when `prepare` refuses.
 */
export function runBatch(
  memory: DomainMemory,
  vcpu: number,
  args: HypercallArgs,
  requestBytes: number,
  prepare: () => number,
  request: BatchRequest,
  countsRefused = false,
): HypercallResult {
  const { types } = memory;
  const array = args.va(0);
  let count = args.u32(1);
  if (count === MMU_UPDATE_PREEMPTED && array === 0) {
    return memory.withBudget(vcpu, () => (types.settle() ? args.lo(3) : leftOver(args.lo(3))));
  }
  const preempted = count >= MMU_UPDATE_PREEMPTED;
  if (preempted) count -= MMU_UPDATE_PREEMPTED;
  if (!accessOk(array)) return -Errno.EFAULT;
  const refused = prepare();
  if (refused !== 0) {
    if (countsRefused) reportDone(memory, vcpu, args, 0, preempted);
    return refused;
  }

  let i = 0;
  let rc = 0;
  const settled = memory.withBudget(vcpu, () => {
    for (; i < count; i++) {
      if (!types.settle() || (i > 0 && types.budget <= 0)) rc = RESTART;
      else rc = request(array + i * requestBytes, i);
      if (rc !== 0) break;
      types.budget -= REQUEST_COST;
    }
    return rc === RESTART || types.settle();
  });
  reportDone(memory, vcpu, args, i, preempted);
  if (rc === RESTART) return new Continuation([array + i * requestBytes, count - i + MMU_UPDATE_PREEMPTED]);
  return settled ? rc : leftOver(rc);
}

/** For the trace: the requests that `args` describe. */
export function batchOperand(layout: Layout, args: HypercallArgs): Operand {
  const count = args.u32(1);
  return { layout, va: args.va(0), count: count >= MMU_UPDATE_PREEMPTED ? count - MMU_UPDATE_PREEMPTED : count };
}

function leftOver(rc: number): Continuation {
  return new Continuation([0, MMU_UPDATE_PREEMPTED, 0, rc]);
}

/** Adds what was done to the caller's counter, if it gave one. A counter that cannot be written is the caller's loss. */
function reportDone(memory: DomainMemory, vcpu: number, args: HypercallArgs, done: number, preempted: boolean): void {
  if (args.lo(2) === 0 && args.hi(2) === 0) return;
  const before = preempted ? Math.max(0, memory.readU32(vcpu, args.va(2))) : 0;
  memory.writeU32(vcpu, args.va(2), before + done);
}
