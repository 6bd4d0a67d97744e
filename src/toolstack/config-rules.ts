/** The rules that a domain's configuration keeps, whichever way it comes in. */

import { checkProject } from "./access/projects.ts";
import type { DomainConfig } from "./model.ts";
import type { Reader } from "./ports.ts";
import { type Refusal, refuse } from "./refusal.ts";

export const LIMITS = {
  nameLength: 63,
  descriptionLength: 1024,
  /** MAX_GUEST_CMDLINE (xen/xen.h) less the closing NUL. */
  cmdlineBytes: 1023,
  vcpus: 32,
  memoryMiB: 3072,
  /** As in Xen's credit2. */
  cpuWeight: 65_535,
  /** Either side of 0. */
  stopPriority: 1000,
  /** All vCPUs of a domain share one worker. */
  cpuCap: 100,
} as const;

export const NAME_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._-]*$";

export const BUILTIN_PREFIX = "builtin:";

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

/** Canonical form of a uuid in a path; undefined when it is not one. */
export function parseUuid(text: string): string | undefined {
  return text.length === 36 && UUID.test(text) ? text.toLowerCase() : undefined;
}

/** What the host can give; domains above it could never start. */
export interface HostLimits {
  readonly memoryMiB: number;
  readonly workers: number;
}

/** A refusal for the first rule that `config` breaks. `uuid` is the domain's own, so that it may keep its name. */
export function checkConfig(
  config: DomainConfig,
  uuid: string,
  store: Reader,
  host: HostLimits,
  builtins: ReadonlyMap<string, string>,
): Refusal | undefined {
  return (
    checkName(config.name) ??
    checkText(config) ??
    checkSize(config, host) ??
    checkScheduling(config, host) ??
    checkRange("stopPriority", config.stopPriority, -LIMITS.stopPriority, LIMITS.stopPriority) ??
    checkProject(config.project, store) ??
    checkImage(config, "kernel", store, builtins) ??
    checkImage(config, "ramdisk", store, builtins) ??
    checkNameIsFree(config, uuid, store)
  );
}

function checkName(name: string): Refusal | undefined {
  const field = "name";
  if (name.length < 1 || name.length > LIMITS.nameLength)
    return refuse("bad-name", `A name has 1 to ${LIMITS.nameLength} characters.`, { field, limit: LIMITS.nameLength });
  if (!new RegExp(NAME_PATTERN).test(name))
    return refuse(
      "bad-name",
      "A name is made of letters, digits, '.', '_' and '-', and begins with a letter, digit or '_'.",
      { field },
    );
  if (!Number.isNaN(Number(name)))
    return refuse("bad-name", "A name may not look like a number: it could be taken for a domid.", { field });
  if (UUID.test(name)) return refuse("bad-name", "A name may not look like a uuid.", { field });
  return undefined;
}

function checkText(config: DomainConfig): Refusal | undefined {
  if (config.description.length > LIMITS.descriptionLength)
    return refuse("bad-value", `A description has at most ${LIMITS.descriptionLength} characters.`, {
      field: "description",
      limit: LIMITS.descriptionLength,
    });
  if (config.cmdline.includes("\0"))
    return refuse("bad-value", "A command line cannot hold a NUL character.", { field: "cmdline" });
  if (Buffer.byteLength(config.cmdline) > LIMITS.cmdlineBytes)
    return refuse("bad-value", `A PV kernel's command line has at most ${LIMITS.cmdlineBytes} bytes.`, {
      field: "cmdline",
      limit: LIMITS.cmdlineBytes,
    });
  return undefined;
}

function checkSize(config: DomainConfig, host: HostLimits): Refusal | undefined {
  return (
    checkRange("vcpus", config.vcpus, 1, LIMITS.vcpus) ??
    checkRange("memoryMiB", config.memoryMiB, 1, LIMITS.memoryMiB) ??
    checkRange("maxMemoryMiB", config.maxMemoryMiB, config.memoryMiB, LIMITS.memoryMiB) ??
    checkHost("memoryMiB", config.memoryMiB, host) ??
    checkHost("maxMemoryMiB", config.maxMemoryMiB, host)
  );
}

function checkScheduling(
  { cpuWeight, cpuCap, cpuAffinity }: DomainConfig,
  { workers }: HostLimits,
): Refusal | undefined {
  const shares =
    checkRange("cpuWeight", cpuWeight, 1, LIMITS.cpuWeight) ?? checkRange("cpuCap", cpuCap, 0, LIMITS.cpuCap);
  if (shares || cpuAffinity === null) return shares;
  const field = "cpuAffinity";
  if (cpuAffinity.length === 0 || new Set(cpuAffinity).size < cpuAffinity.length)
    return refuse("bad-value", "cpuAffinity names one worker at least, and none twice; null is for any.", { field });
  const wrong = cpuAffinity.find((worker) => !Number.isInteger(worker) || worker < 0 || worker >= workers);
  if (wrong === undefined) return undefined;
  return refuse("out-of-range", `There is no worker ${wrong}; this host has 0 to ${workers - 1}.`, {
    field,
    limit: workers - 1,
  });
}

function checkRange(field: string, value: number, least: number, most: number): Refusal | undefined {
  if (Number.isInteger(value) && value >= least && value <= most) return undefined;
  return refuse("out-of-range", `${field} is ${value}; it must be a whole number from ${least} to ${most}.`, {
    field,
    limit: value > most ? most : least,
  });
}

function checkHost(field: string, value: number, host: HostLimits): Refusal | undefined {
  if (value <= host.memoryMiB) return undefined;
  return refuse("out-of-range", `${field} is ${value}; this host has ${host.memoryMiB} MiB for all its domains.`, {
    field,
    limit: host.memoryMiB,
  });
}

/** An image of another project is as good as none. */
function checkImage(
  config: DomainConfig,
  kind: "kernel" | "ramdisk",
  store: Reader,
  builtins: ReadonlyMap<string, string>,
): Refusal | undefined {
  const id = config[kind];
  if (id === null) return undefined;
  if (id.startsWith(BUILTIN_PREFIX)) {
    if (kind === "kernel" && builtins.has(id)) return undefined;
    const known = kind === "kernel" ? `The built-in kernels are ${[...builtins.keys()].join(", ")}.` : "";
    return refuse("image-unknown", `There is no built-in ${kind} ${id}. ${known}`.trim(), { field: kind });
  }
  const image = store.image(id);
  if (image?.project !== config.project)
    return refuse(
      "image-unknown",
      `There is no image ${id} in project ${config.project}; POST /v1/images?kind=${kind} makes one.`,
      { field: kind },
    );
  if (image.kind !== kind)
    return refuse("image-wrong-kind", `Image ${id} was uploaded as a ${image.kind}, not as a ${kind}.`, {
      field: kind,
    });
  return undefined;
}

/** Names are the host's, as in Xen; whose it is in another project is not told. */
function checkNameIsFree({ name, project }: DomainConfig, uuid: string, store: Reader): Refusal | undefined {
  const holder = store.domainByName(name);
  if (!holder || holder.uuid === uuid) return undefined;
  const who = holder.project === project ? `Domain ${holder.uuid}` : "Another domain";
  return refuse("name-taken", `${who} is called ${name} already.`, { field: "name" });
}
