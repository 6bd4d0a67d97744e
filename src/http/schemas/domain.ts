/** Domains as clients see and write them. */

import { type Static, Type } from "typebox";
import { LIMITS, NAME_PATTERN } from "../../toolstack/config-rules.ts";
import type { DomainFilter } from "../../toolstack/lists.ts";
import {
  CRASH_POLICIES,
  HOST_CRASH_POLICIES,
  POWER_STATES,
  type PowerState,
  STOP_REASONS,
} from "../../toolstack/model.ts";
import { ProjectName } from "./access.ts";
import { namePattern, pages, words } from "./lists.ts";
import { Count, closed, Domid, list, maybe, maybeRef, named, oneOf, ref, Time, Uuid } from "./shapes.ts";
import { Task } from "./task.ts";

export const domainPath = closed({
  domain: Type.String({ minLength: 1, maxLength: 128, description: "A domain's uuid or name." }),
});

const Name = Type.String({
  minLength: 1,
  maxLength: LIMITS.nameLength,
  pattern: NAME_PATTERN,
  description: "Unique; may look like neither a number nor a uuid.",
});
const Kernel = Type.String({ minLength: 1, maxLength: 64, description: "An image id, or `builtin:demo`." });
const Ramdisk = maybe(Type.String({ minLength: 1, maxLength: 64 }), "An image id.");
const Cmdline = Type.String({ maxLength: LIMITS.cmdlineBytes, description: "The kernel's command line." });
const Memory = Type.Integer({ minimum: 1, maximum: LIMITS.memoryMiB });
const MaxMemory = Type.Integer({
  minimum: 1,
  maximum: LIMITS.memoryMiB,
  description: "Ceiling for ballooning; `memoryMiB` unless said.",
});
const Vcpus = Type.Integer({ minimum: 1, maximum: LIMITS.vcpus });
const CpuWeight = Type.Integer({
  minimum: 1,
  maximum: LIMITS.cpuWeight,
  description: "Each vCPU's share of its worker, in proportion to those of others there; 256 unless said.",
});
const CpuCap = Type.Integer({
  minimum: 0,
  maximum: LIMITS.cpuCap,
  description: "The most that the domain gets, in percent of one CPU; 0, for no limit, unless said.",
});
const CpuAffinity = maybe(
  list(Type.Integer({ minimum: 0 }), { minItems: 1, maxItems: 1024 }),
  "Workers, by number, on one of which the domain is placed when it starts or is resumed; null for any.",
);
const OnCrash = oneOf(CRASH_POLICIES, "What becomes of the domain when its guest crashes; destroy unless said.");
const OnHostCrash = oneOf(
  HOST_CRASH_POLICIES,
  "What becomes of the domain when the service or its worker dies under it; off unless said. `restart` starts it anew. `restore` resumes it from its last suspend image, which is kept for that while it runs: its time goes back to the suspend.",
);
const StopPriority = Type.Integer({
  minimum: -LIMITS.stopPriority,
  maximum: LIMITS.stopPriority,
  description: "When the service stops, domains with more are suspended first; 0 unless said.",
});
const Description = Type.String({ maxLength: LIMITS.descriptionLength });

const Project = Type.Unsafe<string>({
  ...ProjectName,
  description: "The project that it is in; `default` unless the token does not see that one.",
});

const scheduling = {
  cpuWeight: Type.Optional(CpuWeight),
  cpuCap: Type.Optional(CpuCap),
  cpuAffinity: Type.Optional(CpuAffinity),
};

export const NewDomain = named("NewDomain", "The definition of a domain.", {
  name: Name,
  kernel: Kernel,
  memoryMiB: Memory,
  vcpus: Vcpus,
  project: Type.Optional(Project),
  ramdisk: Type.Optional(Ramdisk),
  cmdline: Type.Optional(Cmdline),
  maxMemoryMiB: Type.Optional(MaxMemory),
  ...scheduling,
  onCrash: Type.Optional(OnCrash),
  onHostCrash: Type.Optional(OnHostCrash),
  stopPriority: Type.Optional(StopPriority),
  description: Type.Optional(Description),
  start: Type.Optional(
    Type.Boolean({ description: "Start it too; when that fails, the definition is taken back.", default: false }),
  ),
});

export const DomainChange = named(
  "DomainChange",
  "Configuration to change; the rest stays. Name, project, onCrash, cpuWeight and cpuCap take effect at once, cpuAffinity at the next start or resume, the rest at the next start.",
  {
    name: Type.Optional(Name),
    project: Type.Optional(
      Type.Unsafe<string>({ ...ProjectName, description: "Move it there, which is the admins' to do." }),
    ),
    kernel: Type.Optional(Kernel),
    memoryMiB: Type.Optional(Memory),
    vcpus: Type.Optional(Vcpus),
    ramdisk: Type.Optional(Ramdisk),
    cmdline: Type.Optional(Cmdline),
    maxMemoryMiB: Type.Optional(MaxMemory),
    ...scheduling,
    onCrash: Type.Optional(OnCrash),
    onHostCrash: Type.Optional(OnHostCrash),
    stopPriority: Type.Optional(StopPriority),
    description: Type.Optional(Description),
  },
);

export const StartOptions = named("StartOptions", "How to start.", {
  paused: Type.Optional(Type.Boolean({ description: "Stop before the guest's first instruction." })),
});

export const StopOptions = named("StopOptions", "How to ask the guest.", {
  timeout: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 3600, description: "Seconds to wait for the guest; 60 unless said." }),
  ),
});

const LastStop = named("LastStop", "How the domain last stopped.", {
  reason: oneOf(STOP_REASONS),
  time: Time,
  domid: Type.Integer({ description: "The domid that it had; -1 where it never had one." }),
  detail: Type.Optional(Type.String()),
  returnsTo: Type.Optional(oneOf(["running", "paused"], "The state that the service brings it back to by itself.")),
});

const Crash = named("Crash", "The guest's last crash.", {
  time: Time,
  domid: Type.Integer(),
  report: closed({
    reason: Type.String(),
    vcpu: Type.Integer(),
    registers: Type.Record(Type.String(), Type.String(), { description: "Hexadecimal, by register name." }),
    stack: list(Type.String(), { description: "64-bit words at the stack pointer." }),
  }),
  consoleTail: Type.Optional(Type.String({ description: "What the guest printed last, 4 KiB at most." })),
});

const VcpuRuntime = named("VcpuRuntime", "A virtual CPU of a live domain.", {
  id: Count,
  state: oneOf(["running", "runnable", "blocked", "offline"]),
  cpuTimeNs: Type.Number(),
  instructions: Type.Number(),
});

const DomainRuntime = named("DomainRuntime", "A live domain as the hypervisor sees it.", {
  domid: Domid,
  uuid: Uuid,
  worker: Count,
  state: oneOf(["paused", "running", "blocked", "shutdown", "dying"]),
  shutdownReason: Type.Optional(oneOf(["poweroff", "reboot", "suspend", "crash", "watchdog", "soft-reset"])),
  cpuTimeNs: Type.Number(),
  memoryKiB: Count,
  maxMemoryKiB: Count,
  weight: Type.Integer({ description: "Its cpuWeight now." }),
  cap: Type.Integer({ description: "Its cpuCap now." }),
  vcpus: list(ref(VcpuRuntime)),
  overheadBytes: Type.Record(Type.String(), Type.Number(), { description: "Host memory beyond the guest's, by part." }),
});

const summary = {
  uuid: Uuid,
  name: Type.String(),
  project: Type.String(),
  description: Type.String(),
  kernel: Type.String(),
  ramdisk: maybe(Type.String()),
  cmdline: Type.String(),
  memoryMiB: Count,
  maxMemoryMiB: Count,
  vcpus: Count,
  cpuWeight: CpuWeight,
  cpuCap: CpuCap,
  cpuAffinity: CpuAffinity,
  onCrash: OnCrash,
  onHostCrash: OnHostCrash,
  stopPriority: StopPriority,
  configVersion: Type.Integer({ minimum: 1, description: "Version of the configuration; the ETag." }),
  state: oneOf(POWER_STATES),
  runtimeVersion: Type.Integer({ minimum: 1, description: "Version of the state." }),
  domid: maybe(Domid),
  bootEpoch: maybe(Count, "The run of the service that started it."),
  startedAt: maybe(Time),
  createdAt: Time,
  createdBy: Type.String({ description: "Id of the token that made it, to whose quotas it counts." }),
  changedAt: Time,
  lastStop: maybeRef(LastStop),
  lastCrash: maybeRef(Crash),
};

export const DomainSummary = named("DomainSummary", "A domain, without what changes at every look.", summary);

export const Domain = named("Domain", "A domain.", {
  ...summary,
  runtime: maybeRef(DomainRuntime),
  task: maybeRef(Task),
});

export const domainPages = pages("DomainPage", DomainSummary);

/** What a list of domains and a batch are filtered by. */
export const domainFilterQuery = {
  state: Type.Optional(words(POWER_STATES, "One or more states, with commas.")),
  name: Type.Optional(namePattern),
  kernel: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  project: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
  text: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 128,
      description: "Part of the name, the description or the command line.",
    }),
  ),
};

export const DomainFilterFields = named("DomainFilter", "Each field that is given has to match.", domainFilterQuery);

export function domainFilter({ state, ...rest }: Static<typeof DomainFilterFields>): DomainFilter {
  return { ...rest, ...(state !== undefined && { state: state.split(",") as PowerState[] }) };
}

export const domainSchemas = [
  NewDomain,
  DomainChange,
  StartOptions,
  StopOptions,
  LastStop,
  Crash,
  VcpuRuntime,
  DomainRuntime,
  DomainSummary,
  Domain,
  DomainFilterFields,
  ...domainPages.schemas,
];
