/** Faults on purpose. */

import { Type } from "typebox";
import { FAULT_KINDS } from "../../toolstack/faults.ts";
import { OPERATIONS, STEPS, type StepName, type TaskOperation } from "../../toolstack/operations/operation-table.ts";
import { REFUSAL_CODES } from "../../toolstack/refusal.ts";
import { Count, closed, list, maybe, named, oneOf, ref, Time, Uuid } from "./shapes.ts";

const fields = {
  kind: oneOf(
    FAULT_KINDS,
    "`fail-request` and `delay-request`: the next requests; `fail-step` and `slow-step`: the next steps of tasks; `crash-domain`, `lose-worker` and `drop-streams`: at once; `fill-disk`: nothing is stored until it is lifted.",
  ),
  count: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 1_000_000, description: "Strikes before it is spent; 1 unless given." }),
  ),
  operationId: Type.Optional(
    Type.String({ minLength: 1, maxLength: 64, description: "Requests of this operation of the API only." }),
  ),
  domain: Type.Optional(
    Type.String({ minLength: 1, maxLength: 128, description: "Requests that name this domain, or tasks on it, only." }),
  ),
  step: Type.Optional(oneOf(Object.keys(STEPS) as StepName[], "A step of docs/operations.md.")),
  operation: Type.Optional(oneOf(Object.keys(OPERATIONS) as TaskOperation[], "Steps of this operation only.")),
  problem: Type.Optional(oneOf(REFUSAL_CODES, "What is refused with; `internal` unless given.")),
  delayMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 600_000 })),
  worker: Type.Optional(Type.Integer({ minimum: 0, maximum: 255, description: "A guest worker, from 0 on." })),
};

export const NewFault = named("NewFault", "A fault to be injected.", fields);

export const Fault = named("Fault", "A fault that is armed, or has just struck.", {
  ...fields,
  id: Uuid,
  createdAt: Time,
  struck: Type.Integer({ minimum: 0, description: "How often it struck." }),
  left: maybe(Count, "How often it will; null for one that holds until it is lifted."),
});

export const FaultList = named("FaultList", "The faults that are armed, oldest first.", { items: list(ref(Fault)) });

export const faultPath = closed({ fault: Uuid });

export const faultSchemas = [NewFault, Fault, FaultList];
