/**
 * A domain's trace for people: each call with the names of its arguments, the structs that they point to, its result, and why a page
 * table or a frame was refused in it; and as one line, in strace's manner.
 */
import { errnoName } from "../../abi/errno.ts";
import { type MemberValue, memberValues } from "../../abi/struct-values.ts";
import { NR_HYPERCALLS } from "../../abi/xen.ts";
import type { Domain } from "../domain.ts";
import { HypercallArgs } from "./arguments.ts";
import { hypercalls, operandOf } from "./hypercalls.ts";
import { parameterNames } from "./parameter-names.ts";
import { hypercallName, subopName } from "./report.ts";
import { HypercallTrace, type TraceRecord } from "./trace.ts";

export interface TraceEntry {
  readonly seq: number;
  readonly vcpu: number;
  /** System time in ns. */
  readonly time: number;
  readonly instructions: number;
  /** `hypercall` or `hypercall.sub_operation`. */
  readonly name: string;
  /** An entry of the multicall that was traced before it. */
  readonly inMulticall: boolean;
  /** By name, hexadecimal, as they stood in the registers. */
  readonly args: Readonly<Record<string, string>>;
  /** What the arguments pointed to as the call began, the first 96 bytes of it. */
  readonly structs: readonly Readonly<Record<string, MemberValue>>[];
  /** Signed decimal; absent while parked, and for calls that do not return. */
  readonly result?: string;
  /** Why page-table and frame operations were refused in this call. */
  readonly refusals: readonly string[];
  /** All of it in one line. */
  readonly text: string;
}

export interface TraceReport {
  readonly tracing: boolean;
  readonly trace: readonly TraceEntry[];
  /** Sequence number to read from next time. */
  readonly next: number;
}

/** Which calls to show; what is absent does not matter. */
export interface TraceFilter {
  readonly since?: number;
  readonly limit?: number;
  /** `hypercall` or `hypercall.sub_operation`. */
  readonly name?: string;
  readonly vcpu?: number;
  /** Calls with a negative result. */
  readonly failed?: boolean;
}

/** The hypercalls of these names; undefined when one is none. */
export function hypercallNumbers(names: readonly string[]): ReadonlySet<number> | undefined {
  const numbers = names.map((name) => hypercalls.findIndex((row) => row?.name === name));
  return numbers.includes(-1) ? undefined : new Set(numbers);
}

/** Switches tracing on or off, of some hypercalls or of all; a trace that was switched off is forgotten, its numbering goes on. */
export function setTrace(domain: Domain, on: boolean, only?: ReadonlySet<number>): void {
  if (domain.trace !== null) domain.traceNext = domain.trace.next;
  domain.trace = on ? new HypercallTrace(domain.traceNext, only) : null;
}

export function readTrace(domain: Domain, filter: TraceFilter): TraceReport {
  const { trace } = domain;
  if (trace === null) return { tracing: false, trace: [], next: domain.traceNext };
  const { since = 0, limit = 1000 } = filter;
  const entries: TraceEntry[] = [];
  for (const record of trace.read(since)) {
    if (entries.length === limit) return { tracing: true, trace: entries, next: record.seq };
    if (wanted(record, filter)) entries.push(entryOf(domain, record));
  }
  return { tracing: true, trace: entries, next: trace.next };
}

function wanted(record: TraceRecord, { name, vcpu, failed }: TraceFilter): boolean {
  if (vcpu !== undefined && record.vcpu !== vcpu) return false;
  if (failed !== undefined && (record.result !== undefined && record.result < 0) !== failed) return false;
  return name === undefined || name === fullName(record) || name === hypercallName(record.number);
}

function fullName({ number, args }: TraceRecord): string {
  const subops = hypercalls[number]?.subops;
  if (subops === undefined || subops.arg < 0) return hypercallName(number);
  const op = (low(args[subops.arg]!) & subops.mask) >>> 0;
  return `${hypercallName(number)}.${subopName(number, op)}`;
}

function entryOf(domain: Domain, record: TraceRecord): TraceEntry {
  const { seq, vcpu, time, instructions, number, inMulticall, result } = record;
  const names = number < NR_HYPERCALLS ? parameterNames(number) : [];
  const args = Object.fromEntries(names.map((name, i) => [name, record.args[i]!]));
  const structs = structsOf(record);
  const [after, last] = record.refusals;
  const refusals = domain.memory.refusals
    .since(after)
    .filter((refusal) => refusal.seq <= last)
    .map(({ text }) => text);
  const entry = { seq, vcpu, time, instructions, name: fullName(record), inMulticall, args, structs, refusals };
  const line = { ...entry, ...(result !== undefined && { result: String(result) }) };
  return { ...line, text: textOf(line) };
}

function structsOf(record: TraceRecord): Record<string, MemberValue>[] {
  const { operand } = record;
  if (operand.length === 0) return [];
  const args = new HypercallArgs();
  for (const [i, value] of record.args.entries()) args.set(i, low(value), high(value));
  const layout = operandOf(record.number, args)?.layout;
  if (layout === undefined) return [];
  const view = new DataView(operand.buffer, operand.byteOffset, operand.length);
  return Array.from({ length: operand.length / layout.size }, (_, i) => memberValues(layout, view, i * layout.size));
}

function textOf({ name, args, structs, result, refusals }: Omit<TraceEntry, "text">): string {
  const list = Object.entries(args).map(([key, value]) => `${key}=${value}`);
  const memory = structs.length > 0 ? ` [${structs.map(memberText).join(", ")}]` : "";
  const error = Number(result) < 0 ? errnoName(Number(result)) : undefined;
  const end = result === undefined ? "?" : error ? `${result} (-${error})` : result;
  const why = refusals.length > 0 ? `: ${refusals.join("; ")}` : "";
  return `${name}(${list.join(", ")})${memory} = ${end}${why}`;
}

function memberText(value: MemberValue): string {
  if (Array.isArray(value)) return `[${value.map(memberText).join(", ")}]`;
  if (typeof value !== "object") return String(value);
  return `{${Object.entries(value)
    .map(([key, member]) => `${key}=${memberText(member as MemberValue)}`)
    .join(", ")}}`;
}

const low = (value: string): number => Number.parseInt(value.slice(2).slice(-8), 16) | 0;
const high = (value: string): number => Number.parseInt(value.slice(2, -8) || "0", 16) | 0;
