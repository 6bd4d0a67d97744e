/**
 * The objects that the control plane keeps: plain records, as they are stored and as events carry them.
 *
 * Times are milliseconds since 1970. Every object has an id for life; names can change.
 */

import type { CrashReport } from "../machine/domctl.ts";
import type { Refusal } from "./refusal.ts";

export const POWER_STATES = ["halted", "running", "paused", "crashed", "suspended"] as const;
/**
 * `crashed`: the guest crashed and is preserved for a look; it does not run and still holds its memory. `suspended`: it is in a file, and
 * holds nothing.
 */
export type PowerState = (typeof POWER_STATES)[number];

export const CRASH_POLICIES = ["destroy", "preserve", "restart"] as const;
export type CrashPolicy = (typeof CRASH_POLICIES)[number];

export const HOST_CRASH_POLICIES = ["off", "restart", "restore"] as const;
/** `restart`: started anew. `restore`: resumed from its last suspend image, which is kept for that while it runs. */
export type HostCrashPolicy = (typeof HOST_CRASH_POLICIES)[number];

/** What a person decides about a domain. Its version is `configVersion`, the ETag. */
export interface DomainConfig {
  readonly name: string;
  readonly project: string;
  readonly description: string;
  /** An image id, or `builtin:demo`. */
  readonly kernel: string;
  readonly ramdisk: string | null;
  readonly cmdline: string;
  readonly memoryMiB: number;
  /** Ceiling for ballooning. */
  readonly maxMemoryMiB: number;
  readonly vcpus: number;
  /** Each vCPU's share of its worker, in proportion to those of others. */
  readonly cpuWeight: number;
  /** The most that the domain gets, in percent of one CPU; 0 for no limit. */
  readonly cpuCap: number;
  /** Workers on one of which it is placed when it starts or is resumed; null for any. */
  readonly cpuAffinity: readonly number[] | null;
  readonly onCrash: CrashPolicy;
  readonly onHostCrash: HostCrashPolicy;
  /** When the service stops, those with more are suspended first; when it starts, they come back first. */
  readonly stopPriority: number;
}

export const STOP_REASONS = [
  "poweroff",
  "reboot",
  "suspend",
  "crash",
  "watchdog",
  "soft-reset",
  "destroyed",
  "worker-lost",
  "host-stopped",
  "host-restarted",
] as const;
export type StopReason = (typeof STOP_REASONS)[number];

export interface LastStop {
  readonly reason: StopReason;
  readonly time: number;
  readonly domid: number;
  readonly detail?: string;
  /** The state that the service brings it back to by itself. */
  readonly returnsTo?: "running" | "paused";
}

export interface LastCrash {
  readonly time: number;
  readonly domid: number;
  readonly report: CrashReport;
  /** What the guest printed last. */
  readonly consoleTail?: string;
}

export interface DomainRecord extends DomainConfig {
  readonly uuid: string;
  readonly configVersion: number;
  readonly state: PowerState;
  /** Grows by one with every change of `state`, `domid`, `lastStop` or `lastCrash`. */
  readonly runtimeVersion: number;
  readonly domid: number | null;
  /** Which run of the service started it; an instance of an older one is dead. */
  readonly bootEpoch: number | null;
  readonly startedAt: number | null;
  readonly createdAt: number;
  /** Id of the caller that made it, whose quota it counts to. */
  readonly createdBy: string;
  readonly changedAt: number;
  readonly lastStop: LastStop | null;
  readonly lastCrash: LastCrash | null;
}

export const IMAGE_KINDS = ["kernel", "ramdisk"] as const;
export type ImageKind = (typeof IMAGE_KINDS)[number];

/** What an upload turned out to be; a kernel that cannot boot is kept, and starting it refuses. */
export interface ImageInspection {
  readonly bootable: boolean;
  readonly summary: string;
}

export interface ImageRecord {
  readonly id: string;
  readonly kind: ImageKind;
  /** 64 hexadecimal digits; the file's name. */
  readonly sha256: string;
  readonly size: number;
  readonly createdAt: number;
  readonly project: string;
  readonly inspection: ImageInspection | null;
}

export const TASK_STATES = ["queued", "running", "succeeded", "failed", "cancelled"] as const;
export type TaskState = (typeof TASK_STATES)[number];

/** Of a step that takes long: how much it has written, of how much at most. Looked at, not stored. */
export interface TaskProgress {
  readonly bytes: number;
  readonly mostBytes: number;
}

/** What a task made, by name: the domain's uuid, its domid, the bytes of a file. */
export type TaskResult = Readonly<Record<string, unknown>>;

export interface TaskRecord {
  readonly id: string;
  readonly operation: string;
  /** The domain that it is an operation on; null for one on several. */
  readonly domain: string | null;
  readonly state: TaskState;
  /** The step under way, or the one that failed. */
  readonly step: string | null;
  readonly stepsDone: number;
  readonly stepsTotal: number;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  /** Of a task that succeeded. */
  readonly result: TaskResult | null;
  readonly refusal: Refusal | null;
  /** The domain's, when the task was made. */
  readonly project: string | null;
}

export const EVENT_CLASSES = ["domain", "image", "task", "project", "token", "fault"] as const;
export type EventClass = (typeof EVENT_CLASSES)[number];

/** One change of one object, with the object's new state: the only shape of events on every transport. */
export interface EventRecord {
  readonly sequence: number;
  readonly time: number;
  readonly class: EventClass;
  readonly operation: "add" | "mod" | "del";
  /** Why, e.g. `created`, `started`, `host-crashed`. */
  readonly reason: string;
  readonly id: string;
  /** The object's; null for what is the host's own. */
  readonly project: string | null;
  /** JSON text of the object after the change (before it, for `del`). */
  readonly object: string;
}
