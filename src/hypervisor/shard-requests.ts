/**
 * What one shard asks of another, and the vCPUs that wait for it.
 *
 * A hypercall that needs a domain of another shard parks its vCPU and sends a request; the answer completes the call. Requests and answers
 * between two shards stay in order. A vCPU waits for one answer at a time, and no longer than either domain lives.
 */
import { Bug } from "./bug.ts";
import { acceptBind, acceptClose } from "./event-channel/interdomain.ts";
import { acceptGrantRequest } from "./grant-table/granting-side.ts";
import { finishParked } from "./hypercall/dispatch.ts";
import { parked } from "./hypercall/result.ts";
import type { Shard } from "./shard.ts";
import type { AnswerData, ShardRequest } from "./shard-host.ts";
import type { CompleteParked, Vcpu } from "./vcpu.ts";

/** Whom a parked call waits for. */
interface Awaited {
  readonly shard: number;
  readonly domid: number;
}

/** Takes an answer that nobody waits for any more: what it gives has to be given back. */
type LateAnswer = (result: number, data?: AnswerData) => void;

interface Outstanding extends Awaited {
  /** Null when nobody waits for the answer. */
  readonly vcpu: Vcpu | null;
  readonly late?: LateAnswer | undefined;
}

export class ShardRequests {
  readonly #shard: Shard;
  readonly #outstanding = new Map<number, Outstanding>();
  #nextRequest = 1;

  constructor(shard: Shard) {
    this.#shard = shard;
  }

  /** Sends a request that nobody waits for. */
  tell(shard: number, request: ShardRequest): void {
    this.#send({ shard, domid: -1, vcpu: null }, request);
  }

  /**
   * Sends a request, and parks the vCPU until it is answered or the other domain is gone. `complete` is not called when the caller's own
   * domain goes first; `late` is, when an answer comes after that, or after the other domain was said to be gone.
   */
  park(vcpu: Vcpu, to: Awaited, request: ShardRequest, complete: CompleteParked, late?: LateAnswer): typeof parked {
    if (vcpu.parked !== null) throw new Bug(`vCPU ${vcpu.id} of domain ${vcpu.domain.id} parks twice`);
    vcpu.parked = { request: this.#nextRequest, complete, trace: -1 };
    this.#send({ ...to, vcpu, late }, request);
    this.#shard.reschedule(vcpu);
    return parked;
  }

  /** The vCPU stops waiting: its domain goes. A late answer is dropped. */
  abandon(vcpu: Vcpu): void {
    if (vcpu.parked === null) return;
    const id = vcpu.parked.request;
    vcpu.parked = null;
    this.#forsake(id, this.#outstanding.get(id));
  }

  /** Nobody waits for a domain any more. `lost`: nor will an answer come. */
  gone(domid: number, lost = false): void {
    for (const [id, outstanding] of this.#outstanding) {
      if (outstanding.domid !== domid) continue;
      this.answered(id, "gone");
      if (lost) this.#outstanding.delete(id);
    }
  }

  /** Answers what another shard asks. */
  receive(from: number, id: number, request: ShardRequest): void {
    const shard = this.#shard;
    const answer = (result: number, data?: AnswerData) =>
      shard.host.send(from, data ? { kind: "answer", id, result, data } : { kind: "answer", id, result });
    switch (request.kind) {
      case "evtchn-bind":
        answer(acceptBind(shard, request.local, request.remote));
        return;
      case "evtchn-close":
        answer(acceptClose(shard, request.local, request.remote));
        return;
      default: {
        const { status, data } = acceptGrantRequest(shard, request);
        answer(status, data);
      }
    }
  }

  answered(id: number, answer: number | "gone", data?: AnswerData): void {
    const outstanding = this.#outstanding.get(id);
    if (outstanding === undefined) return;
    if (answer === "gone") this.#forsake(id, outstanding);
    else this.#outstanding.delete(id);
    const { vcpu, late } = outstanding;
    if (vcpu === null) {
      if (answer !== "gone") late?.(answer, data);
      return;
    }
    if (vcpu.parked?.request !== id) return;
    const call = vcpu.parked;
    vcpu.parked = null;
    this.#shard.guarded(vcpu, () => {
      finishParked(vcpu, call, call.complete(answer, data));
      return false;
    });
    this.#shard.reschedule(vcpu);
  }

  /** Nobody waits for an answer any more, but one with a `late` may still come. */
  #forsake(id: number, outstanding: Outstanding | undefined): void {
    if (outstanding?.late === undefined) this.#outstanding.delete(id);
    else this.#outstanding.set(id, { ...outstanding, vcpu: null });
  }

  #send(awaited: Outstanding, request: ShardRequest): void {
    const id = this.#nextRequest++;
    this.#outstanding.set(id, awaited);
    this.#shard.host.send(awaited.shard, { kind: "request", from: this.#shard.id, id, request });
  }
}
