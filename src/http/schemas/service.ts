/** The host, events, hypercall reports, tickets. */

import { Type } from "typebox";
import { EVENT_CLASSES } from "../../toolstack/model.ts";
import { Count, list, maybe, named, oneOf, ref, Time } from "./shapes.ts";

export const Host = named("Host", "This host.", {
  version: Type.String({ description: "domzero's." }),
  node: Type.String(),
  bootEpoch: Type.Integer({ minimum: 1, description: "Counts the starts of the service on this state." }),
  workers: Type.Integer({ minimum: 1, description: "Threads that run guests: the physical CPUs." }),
  memoryTotalMiB: Count,
  memoryFreeMiB: Count,
  domains: Type.Integer({ minimum: 0, description: "Domains that live now." }),
  poolBytes: Type.Integer({ minimum: 0, description: "Memories of domains that are gone, kept for the next ones." }),
  builtinKernels: list(Type.String()),
  eventToken: Type.String({ description: "The newest place in the event log." }),
});

export const Event = named("Event", "One change of one object, with its new state.", {
  token: Type.String(),
  time: Time,
  class: oneOf(EVENT_CLASSES),
  operation: oneOf(["add", "mod", "del"]),
  reason: Type.String(),
  id: Type.String(),
  project: maybe(Type.String(), "The object's; null for what is the host's own."),
  object: Type.Record(Type.String(), Type.Unknown(), {
    description: "A DomainSummary, Image, Task, Project or Token.",
  }),
});

export const EventPage = named("EventPage", "Events in order.", {
  events: list(ref(Event)),
  token: Type.String({ description: "`since` of the next request." }),
});

const Subop = named("HypercallSubop", "A sub-operation's count.", {
  op: Type.Integer(),
  name: Type.String(),
  count: Type.Number(),
});

const HypercallCount = named("HypercallCount", "A hypercall's count since the domain was built.", {
  number: Type.Integer(),
  name: Type.String(),
  count: Type.Number(),
  subops: list(ref(Subop)),
});

const TraceEntry = named("HypercallTraceEntry", "One traced hypercall.", {
  seq: Type.Number(),
  vcpu: Count,
  time: Type.Number({ description: "System time in ns." }),
  instructions: Type.Number(),
  name: Type.String(),
  inMulticall: Type.Boolean({ description: "An entry of the multicall before it." }),
  args: Type.Record(Type.String(), Type.String(), { description: "Hexadecimal, by the names of Xen's headers." }),
  structs: list(Type.Record(Type.String(), Type.Unknown()), {
    description: "What the arguments pointed to as the call began, 96 bytes of it at most.",
  }),
  result: Type.Optional(Type.String({ description: "Absent while the call has not returned." })),
  refusals: list(Type.String(), { description: "Why page-table and frame operations in it were refused." }),
  text: Type.String({ description: "All of it in one line, as strace would put it." }),
});

const PageRefusal = named("PageRefusal", "A page-table update that was refused, and why.", {
  seq: Type.Number(),
  time: Type.Number(),
  vcpu: Type.Integer(),
  mfn: Type.String(),
  typeHeld: Type.String(),
  rule: Type.String(),
  entry: Type.String(),
  text: Type.String(),
});

export const HypercallReport = named("HypercallReport", "What a guest asked of the hypervisor.", {
  counters: list(ref(HypercallCount)),
  tracing: Type.Boolean(),
  trace: list(ref(TraceEntry)),
  next: Type.Number({ description: "`since` of the next request." }),
  refusals: list(ref(PageRefusal)),
});

export const Tracing = named("Tracing", "Whether hypercalls are traced, and which.", {
  enabled: Type.Boolean(),
  only: Type.Optional(
    list(Type.String({ maxLength: 64 }), {
      maxItems: 64,
      description: "Names of hypercalls; all of them unless said.",
    }),
  ),
});

export const Ticket = named("Ticket", "A single-use key for one WebSocket.", {
  ticket: Type.String(),
  expiresAt: Time,
});

export const Health = named("Health", "Whether the process is alive.", {
  status: oneOf(["ok"]),
  version: Type.String(),
});

export const Readiness = named("Readiness", "Whether the service takes work.", {
  status: oneOf(["ok", "stopping", "failing"]),
  version: Type.String(),
  reasons: list(Type.String(), { description: "What is wrong, where something is." }),
});

export const Typed = named("Typed", "Bytes that were queued for the guest.", { accepted: Count });

export const serviceSchemas = [
  Host,
  Event,
  EventPage,
  Subop,
  HypercallCount,
  TraceEntry,
  PageRefusal,
  HypercallReport,
  Tracing,
  Ticket,
  Health,
  Readiness,
  Typed,
];
