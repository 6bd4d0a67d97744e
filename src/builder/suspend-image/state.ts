/**
 * The state record: a `SavedDomain` without its frames, as JSON. Byte arrays are base64, everything else is as it is.
 *
 * Reading checks the shape of every value, so that what the hypervisor gets has the types it says; whether the values make sense is for
 * the hypervisor to judge.
 */
import { VcpuGuestContext } from "../../abi/arch-x86-64.ts";
import { SharedInfo, VcpuInfo } from "../../abi/xen.ts";
import type { SavedDomain, SavedVcpu } from "../../machine/suspended-domain.ts";

export type StateRecord = Omit<SavedDomain, "frames" | "m2p"> & { readonly uuid: string; readonly typed: Uint8Array };

const MAX_VCPUS = 1024;
const MAX_E820 = 1024;
const MAX_ASSISTS = 64;
const MAX_TYPED = 1 << 20;

export function encodeState(state: StateRecord): Uint8Array {
  return Buffer.from(
    JSON.stringify(state, (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value)),
  );
}

/** Throws StateError, which names the member that is wrong. */
export function decodeState(bytes: Uint8Array): StateRecord {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new StateError("it is no JSON text");
  }
  const root = new Member("state", json);
  return {
    uuid: root.get("uuid").text(),
    pages: root.get("pages").count(),
    mapMaxPages: root.get("mapMaxPages").count(),
    maxPages: root.get("maxPages").count(),
    e820: root.get("e820").list(MAX_E820, (range) => ({
      start: range.get("start").number(),
      size: range.get("size").number(),
      type: range.get("type").count(),
    })),
    assists: root.get("assists").list(MAX_ASSISTS, (assist) => assist.count()),
    systemTime: root.get("systemTime").count(),
    startInfoMfn: root.get("startInfoMfn").number(),
    sharedArch: root.get("sharedArch").bytes(SharedInfo.arch.size),
    vcpus: root.get("vcpus").list(MAX_VCPUS, decodeVcpu),
    // Files from before it was kept have none.
    typed: root.has("typed") ? root.get("typed").bytesUpTo(MAX_TYPED) : new Uint8Array(0),
  };
}

function decodeVcpu(vcpu: Member): SavedVcpu {
  const callback = (member: Member) => ({
    address: member.get("address").address(),
    maskEvents: member.get("maskEvents").flag(),
  });
  const ioBitmap = vcpu.get("ioBitmap");
  return {
    context: vcpu.get("context").bytes(VcpuGuestContext.size),
    info: vcpu.get("info").bytes(VcpuInfo.size),
    initialised: vcpu.get("initialised").flag(),
    eventMask: vcpu.get("eventMask").flag(),
    syscall32: callback(vcpu.get("syscall32")),
    sysenter: callback(vcpu.get("sysenter")),
    nmiCallback: vcpu.get("nmiCallback").address(),
    nmiPending: vcpu.get("nmiPending").flag(),
    nmiMasked: vcpu.get("nmiMasked").flag(),
    cr2: vcpu.get("cr2").address(),
    cr4: vcpu.get("cr4").count(),
    taskSwitched: vcpu.get("taskSwitched").flag(),
    ioBitmap: ioBitmap.isNull ? null : ioBitmap.address(),
    ioBitmapPorts: vcpu.get("ioBitmapPorts").count(),
  };
}

export class StateError extends Error {}

const CANONICAL = 2 ** 47;

/** A value of the JSON text and the way to it. */
class Member {
  readonly #path: string;
  readonly #value: unknown;

  constructor(path: string, value: unknown) {
    this.#path = path;
    this.#value = value;
  }

  get isNull(): boolean {
    return this.#value === null;
  }

  has(name: string): boolean {
    const value = this.#value;
    return typeof value === "object" && value !== null && Object.hasOwn(value, name);
  }

  get(name: string): Member {
    const value = this.#value;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.#wrong("an object");
    if (!Object.hasOwn(value, name)) throw new StateError(`${this.#path}.${name} is missing`);
    return new Member(`${this.#path}.${name}`, (value as Record<string, unknown>)[name]);
  }

  list<T>(most: number, decode: (element: Member) => T): T[] {
    const value = this.#value;
    if (!Array.isArray(value) || value.length > most) throw this.#wrong(`a list of at most ${most}`);
    return value.map((element, i) => decode(new Member(`${this.#path}[${i}]`, element)));
  }

  /** An integer from 0 to 2^53 - 1. */
  count(): number {
    const value = this.#value;
    if (!Number.isSafeInteger(value) || (value as number) < 0) throw this.#wrong("a whole number");
    return value as number;
  }

  /** A number from 0 to 2^64. */
  number(): number {
    const value = this.#value;
    if (typeof value !== "number" || !(value >= 0 && value <= 2 ** 64)) throw this.#wrong("a number from 0 to 2^64");
    return value;
  }

  /** A canonical address, signed. */
  address(): number {
    const value = this.#value;
    if (!Number.isSafeInteger(value) || (value as number) < -CANONICAL || (value as number) >= CANONICAL) {
      throw this.#wrong("a canonical address");
    }
    return value as number;
  }

  flag(): boolean {
    if (typeof this.#value !== "boolean") throw this.#wrong("true or false");
    return this.#value;
  }

  text(): string {
    if (typeof this.#value !== "string") throw this.#wrong("a text");
    return this.#value;
  }

  bytes(length: number): Uint8Array {
    const bytes = this.#base64();
    if (bytes?.length !== length) throw this.#wrong(`${length} bytes in base64`);
    return bytes;
  }

  bytesUpTo(most: number): Uint8Array {
    const bytes = this.#base64();
    if (bytes === undefined || bytes.length > most) throw this.#wrong(`at most ${most} bytes in base64`);
    return bytes;
  }

  #base64(): Uint8Array | undefined {
    return typeof this.#value === "string" ? new Uint8Array(Buffer.from(this.#value, "base64")) : undefined;
  }

  #wrong(what: string): StateError {
    return new StateError(`${this.#path} is not ${what}`);
  }
}
