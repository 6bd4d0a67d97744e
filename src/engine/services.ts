/** The `service` import: rare instructions that generated code leaves to TypeScript (service-numbers.ts). */
import type { AliasFrames } from "./alias-frames.ts";
import { dataHits } from "./breakpoints.ts";
import { type CpuState, Reg, type SegmentRegister, SegmentRegister as Sreg } from "./cpu-state.ts";
import { Vector } from "./exits.ts";
import type { GuestMemory, Word } from "./guest-words.ts";
import { State } from "./layout.ts";
import { type Faulted, raise, type SegmentLoader } from "./segments.ts";
import { BY_MOV, Service } from "./service-numbers.ts";
import type { SseUnit } from "./soft/sse.ts";
import type { X87Unit } from "./soft/x87.ts";

const HOST_ARG = State.hostArg / 8;
const WATCH_ADDRESS = State.watchAddress / 8;
const JUMP_TARGET = State.jumpTarget / 8;
const TRAP_FLAG = 0x100;
const ALIGNMENT_CHECK = 0x4_0000;
const RESUME_FLAG = 0x1_0000;
/** What IRET at CPL 3 takes from the image: the arithmetic flags, TF, DF, NT, AC, ID. */
const IRET_FLAGS = 0x8d5 | 0x100 | 0x400 | 0x4000 | 0x40000 | 0x200000;

export interface ServiceContext {
  readonly segments: SegmentLoader;
  readonly memory: GuestMemory;
  readonly sse: SseUnit;
  readonly x87: X87Unit;
  readonly aliases: AliasFrames;
  /** The whole linear memory. */
  readonly view: DataView;
  log(message: string): void;
}

export function runService(cpu: CpuState, what: number, argument: number, context: ServiceContext): number {
  const { segments } = context;
  switch (what) {
    case Service.aliasRead:
    case Service.aliasModify:
    case Service.aliasWrite:
    case Service.aliasExchange:
      return aliasAccess(cpu.address, what, argument, context);
    case Service.sse:
      return context.sse.run(cpu.address, argument);
    case Service.x87:
      return context.x87.run(cpu.address, argument);
    case Service.watch:
      cpu.breakpointHits |= dataHits(cpu, cpu.va(WATCH_ADDRESS), argument & 0xffff, argument > 0xffff);
      return 0;
    case Service.logUndefined:
      return logUndefined(cpu, argument, context);
    case Service.loadSegment:
      return loadSegment(cpu, argument, segments);
    case Service.lar:
      return answer(cpu, segments.lar(cpu, argument));
    case Service.lsl:
      return answer(cpu, segments.lsl(cpu, argument));
    case Service.verr:
      return yesOrNo(segments.verify(cpu, argument, false));
    case Service.verw:
      return yesOrNo(segments.verify(cpu, argument, true));
    case Service.farJump:
      return farJump(cpu, context);
    case Service.farCall:
      return farCall(cpu, argument & 0xff, context);
    case Service.farReturn:
      return farReturn(cpu, argument & 0xff, argument >>> 8, context);
    default:
      return iret(cpu, argument & 0xff, context);
  }
}

function loadSegment(cpu: CpuState, argument: number, segments: SegmentLoader): number {
  const segment = ((argument >> 16) & 0xff) as SegmentRegister;
  if (!segments.load(cpu, segment, argument & 0xffff)) return 0;
  cpu.debugShadow ||= segment === Sreg.ss && argument >= BY_MOV;
  return 1;
}

/** An access to an alias frame, by way of the bounce buffer. */
function aliasAccess(block: number, what: number, argument: number, { aliases, view }: ServiceContext): number {
  const address = view.getUint32(block + State.aliasAddress, true);
  const length = argument & 0xff;
  const offset = argument >>> 8;
  const at = block + State.bounce + offset;
  const original = block + State.aliasOriginal;
  if (what === Service.aliasExchange) return aliases.exchange(address, view, at, original, length) ? 0 : 1;
  if (what === Service.aliasWrite) aliases.write(address, view, at, length);
  else aliases.read(address, view, at, length);
  if (what === Service.aliasModify) for (let i = 0; i < length; i++) view.setUint8(original + i, view.getUint8(at + i));
  return 0;
}

/** Of a query that a page fault came in the way of. */
const FAULTED = 2;

function answer(cpu: CpuState, value: number | undefined | Faulted): number {
  if (value === undefined) return 0;
  if (value === null) return FAULTED;
  cpu.set(HOST_ARG, value | 0, 0);
  return 1;
}

const yesOrNo = (value: boolean | Faulted): number => (value === null ? FAULTED : Number(value));

/** One line: what the bytes are that no row is for. */
function logUndefined(cpu: CpuState, record: number, { memory, log }: ServiceContext): number {
  const rip = memory.recordRip(cpu, record);
  const bytes: string[] = [];
  for (let i = 0; i < 15; i++) {
    const b = memory.peek(cpu, rip + i);
    if (b < 0) break;
    bytes.push(b.toString(16).padStart(2, "0"));
  }
  log(`vcpu ${cpu.index}: no such instruction at rip ${hex(rip)}: ${bytes.join(" ")}`);
  return 0;
}
function hex(va: number): string {
  return `0x${BigInt.asUintN(64, BigInt(va)).toString(16)}`;
}

const canonical = (lo: number, hi: number): boolean => (hi << 16) >> 16 === hi && (lo | 0) === lo;

/** Operand in hostArg: offset (zero-extended), selector. */
function farJump(cpu: CpuState, { segments, log }: ServiceContext): number {
  const selector = cpu.lo(HOST_ARG + 1) & 0xffff;
  const code = segments.checkCode(cpu, selector, false, log);
  if (code === undefined) return 0;
  if (!canonical(cpu.lo(HOST_ARG), cpu.hi(HOST_ARG))) return Number(raise(cpu, Vector.generalProtection, 0));
  segments.setCode(cpu, selector, code);
  cpu.set(JUMP_TARGET, cpu.lo(HOST_ARG), cpu.hi(HOST_ARG));
  return 1;
}

function farCall(cpu: CpuState, size: number, { segments, memory, log }: ServiceContext): number {
  const selector = cpu.lo(HOST_ARG + 1) & 0xffff;
  const code = segments.checkCode(cpu, selector, false, log);
  if (code === undefined) return 0;
  if (!canonical(cpu.lo(HOST_ARG), cpu.hi(HOST_ARG))) return Number(raise(cpu, Vector.generalProtection, 0));
  const sp = cpu.va(Reg.rsp);
  const words = [
    [cpu.lo(HOST_ARG + 2), cpu.hi(HOST_ARG + 2)],
    [cpu.selector(Sreg.cs), 0],
  ] as const;
  if (!memory.writeWords(cpu, sp - 2 * size, size, words)) return 0;
  cpu.setNumber(Reg.rsp, sp - 2 * size);
  segments.setCode(cpu, selector, code);
  cpu.set(JUMP_TARGET, cpu.lo(HOST_ARG), cpu.hi(HOST_ARG));
  return 1;
}

function farReturn(cpu: CpuState, size: number, extra: number, { segments, memory, log }: ServiceContext): number {
  const sp = cpu.va(Reg.rsp);
  const words = memory.readWords(cpu, sp, size, 2);
  if (words === undefined) return 0;
  const [[lo, hi], [selector]] = words as [Word, Word];
  const code = segments.checkCode(cpu, selector & 0xffff, true, log);
  if (code === undefined) return 0;
  if (!canonical(lo, hi)) return Number(raise(cpu, Vector.generalProtection, 0));
  segments.setCode(cpu, selector & 0xffff, code);
  cpu.setNumber(Reg.rsp, sp + 2 * size + extra);
  cpu.set(JUMP_TARGET, lo, hi);
  return 1;
}

/** IRET in 64-bit mode always pops five words: rip, cs, rflags, rsp, ss. To CPL 3, as that is where everything runs. */
function iret(cpu: CpuState, size: number, { segments, memory, log }: ServiceContext): number {
  // With NT set it is #GP in 64-bit mode.
  if ((cpu.rflags & 0x4000) !== 0) return Number(raise(cpu, Vector.generalProtection, 0));
  const words = memory.readWords(cpu, cpu.va(Reg.rsp), size, 5);
  if (words === undefined) return 0;
  const [rip, [cs], [flags], rsp, [ss]] = words as [Word, Word, Word, Word, Word];
  const code = segments.checkCode(cpu, cs & 0xffff, true, log);
  if (code === undefined) return 0;
  if (!canonical(rip[0], rip[1])) return Number(raise(cpu, Vector.generalProtection, 0));
  if (!segments.load(cpu, Sreg.ss, ss & 0xffff)) return 0;
  segments.setCode(cpu, cs & 0xffff, code);
  const mask = size === 2 ? IRET_FLAGS & 0xffff : IRET_FLAGS;
  cpu.rflags = (cpu.rflags & ~mask) | (flags & mask);
  cpu.resumeFlag = (flags & RESUME_FLAG) !== 0;
  cpu.set(Reg.rsp, rsp[0], rsp[1]);
  cpu.set(JUMP_TARGET, rip[0], rip[1]);
  return (flags & (TRAP_FLAG | ALIGNMENT_CHECK)) !== 0 ? 2 : 1;
}
