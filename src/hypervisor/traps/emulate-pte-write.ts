/**
 * A kernel's plain store to an L1 page table that it has mapped read-only (VMASST_TYPE_writable_pagetables).
 *
 * The processor itself says what the instruction would have stored: it executes once with the page's translation led to a copy, in a
 * private frame. What the copy then has that the table has not is the entry to be stored, by the rules of every other update. If
 * that is refused, or the instruction did anything else than change one entry, the vCPU is put back before it and gets its fault.
 */
import { Reg } from "../../engine/cpu-state.ts";
import { ExitKind } from "../../engine/exits.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { PageType } from "../mm/frame-table.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { entryText, PRESENT, RW, USER } from "../mm/page-entry.ts";
import type { Vcpu } from "../vcpu.ts";

const WORDS = 1024;
const ENTRIES = 512;
const GENERAL_REGISTERS = 16;

const before = new Int32Array(WORDS);
const registers = new Int32Array((GENERAL_REGISTERS + 1) * 2);

/** Each domain's frame for copies (mfn). */
const copyFrames = new WeakMap<DomainMemory, number>();

/** The vCPU faulted on a write to a present page at `va`. True when the write was emulated and rip is behind it. */
export function emulatePteWrite(vcpu: Vcpu, va: number): boolean {
  const { memory } = vcpu.domain;
  if (vcpu.cpu.kernelMode !== 1 || !accessOk(va)) return false;
  const root = memory.vcpuTables.kernelRoot[vcpu.id]!;
  const place = root < 0 ? -1 : memory.tables.findLeaf(root + memory.map.baseMfn, va);
  if (place < 0) return false;
  const mapping = memory.types.wordOf(Math.floor(place / ENTRIES), place % ENTRIES);
  const mappingLo = memory.words[mapping]!;
  const mappingHi = memory.words[mapping + 1]!;
  if ((mappingLo & (PRESENT | RW)) !== PRESENT) return false;
  const table = memory.frames.indexOf(mappingLo, mappingHi);
  if (!memory.frames.inUseAs(table, PageType.l1)) return false;

  memory.refusals.vcpu = vcpu.id;
  saveRegisters(vcpu);
  const rflags = vcpu.cpu.rflags;
  if (!executeOnCopy(vcpu, va, table, mapping, mappingLo, mappingHi)) return false;
  if (storeDifference(memory, table)) return true;
  restoreRegisters(vcpu);
  vcpu.cpu.rflags = rflags;
  return false;
}

/** Executes the instruction at rip with the page at `va` led to a copy of the table. False when it faults. */
function executeOnCopy(vcpu: Vcpu, va: number, table: number, mapping: number, lo: number, hi: number): boolean {
  const { memory, engine } = vcpu.domain;
  const { words } = memory;
  const first = memory.types.wordOf(table, 0);
  const copy = copyWord(memory);
  for (let i = 0; i < WORDS; i++) words[copy + i] = before[i] = words[first + i]!;
  const copyMfn = copyFrames.get(memory)!;
  words[mapping] = (copyMfn << 12) | PRESENT | RW | USER;
  words[mapping + 1] = copyMfn >>> 20;
  engine.flushPage(vcpu.id, va);
  const kind = engine.step(vcpu.id);
  words[mapping] = lo;
  words[mapping + 1] = hi;
  // Whatever other address the entry maps has the same place in the TLB: this forgets them all.
  engine.flushPage(vcpu.id, va);
  return kind === ExitKind.budget;
}

/** Stores the one entry in which the copy differs. False when there are more, or it may not be. */
function storeDifference(memory: DomainMemory, table: number): boolean {
  const { words } = memory;
  const copy = copyWord(memory);
  let slot = -1;
  for (let i = 0; i < WORDS; i++) {
    if (words[copy + i] === before[i] || i >> 1 === slot) continue;
    if (slot >= 0) {
      memory.why.frame("not-a-table", table, "", `a store that changes the entries ${slot} and ${i >> 1} at once`);
      return false;
    }
    slot = i >> 1;
  }
  if (slot < 0) return true;
  const lo = words[copy + slot * 2]!;
  const hi = words[copy + slot * 2 + 1]!;
  const rc = memory.tables.updateL1(table, slot, lo, hi, false);
  if (rc === 0) return true;
  memory.why.frame(
    "bad-argument",
    table,
    entryText(lo, hi),
    `a store of entry ${slot} was refused (${rc}); the guest gets a fault`,
  );
  return false;
}

function copyWord(memory: DomainMemory): number {
  let mfn = copyFrames.get(memory);
  if (mfn === undefined) {
    mfn = memory.allocHeapFrame("private");
    copyFrames.set(memory, mfn);
  }
  return memory.hostOffset(mfn) >>> 2;
}

function saveRegisters({ cpu }: Vcpu): void {
  for (let i = 0; i <= GENERAL_REGISTERS; i++) {
    const reg = i === GENERAL_REGISTERS ? Reg.rip : i;
    registers[i * 2] = cpu.lo(reg);
    registers[i * 2 + 1] = cpu.hi(reg);
  }
}

function restoreRegisters({ cpu }: Vcpu): void {
  for (let i = 0; i <= GENERAL_REGISTERS; i++) {
    cpu.set(i === GENERAL_REGISTERS ? Reg.rip : i, registers[i * 2]!, registers[i * 2 + 1]!);
  }
}
