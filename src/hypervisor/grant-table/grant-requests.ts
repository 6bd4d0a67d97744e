/**
 * Grant requests of this shard's domains to whichever shard the granting domain lives on: a call where that is this one, else a message,
 * with the vCPU parked until the answer is there.
 */
import { GNTST } from "../../abi/grant-table.ts";
import type { HypercallResult } from "../hypercall/result.ts";
import type { Shard } from "../shard.ts";
import type { AnswerData, GrantRequest } from "../shard-host.ts";
import type { Vcpu } from "../vcpu.ts";
import { acceptGrantRequest, type GrantAnswer } from "./granting-side.ts";

export class GrantRequests {
  readonly #shard: Shard;

  constructor(shard: Shard) {
    this.#shard = shard;
  }

  /**
   * Asks the shard of `domid`, or the given one for a domain that may be dying. `late` takes an answer for which nobody waits any more: the
   * caller's domain has gone, or the granting one was said to be gone before it came.
   */
  ask(
    vcpu: Vcpu,
    domid: number,
    request: GrantRequest,
    answered: (answer: GrantAnswer) => HypercallResult,
    {
      shard = this.#shard.shardOf(domid),
      late,
    }: { shard?: number | undefined; late?: (answer: GrantAnswer) => void } = {},
  ): HypercallResult {
    if (shard === undefined) return answered({ status: GNTST.badDomain });
    if (shard === this.#shard.id) return answered(acceptGrantRequest(this.#shard, request));
    const answerOf = (status: number, data?: AnswerData): GrantAnswer => (data ? { status, data } : { status });
    return this.#shard.requests.park(
      vcpu,
      { shard, domid },
      request,
      (answer, data) => answered(answer === "gone" ? { status: GNTST.badDomain } : answerOf(answer, data)),
      late && ((status, data) => late(answerOf(status, data))),
    );
  }

  /** The same where nobody waits: what is given back. */
  tell(shard: number, request: GrantRequest): void {
    if (shard === this.#shard.id) acceptGrantRequest(this.#shard, request);
    else this.#shard.requests.tell(shard, request);
  }
}
