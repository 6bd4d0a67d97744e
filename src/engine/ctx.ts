/**
 * What a row's `emit` works with: operands, addresses, flags, faults and control flow, for one shape of the row.
 *
 * A shape is emitted in one of two places. Hot shapes are inline in the interpreter loop, with the TLB look-up inline too. Cold ones are functions
 * `(vcpu, record) -> next record` that the loop calls with the flags spilled around; small results mean something else than "next" (`Leave`).
 *
 * Rules for a row: read operands, raise every fault, and only then change state; `put` and `modify` to memory may fault, so they come before any
 * change of a register or flag (`modify`'s callback runs after the fault check, so it may set flags).
 */
import { Access } from "./access.ts";
import type { I32, I64, Local } from "./emitter.ts";
import { Vector } from "./exits.ts";
import { condition, signExtend, zeroExtend } from "./flags.ts";
import { type Frame, isRegisterField, Leave, type Shape } from "./frame.ts";
import { State } from "./layout.ts";
import { kindOf, operandBytes, type Row, type Size } from "./ops/row.ts";
import { RECORD_BYTES, Rec, RecFlag } from "./record.ts";
import { loadSized, storeSized } from "./sized.ts";

export class Ctx extends Access {
  readonly size: Size;
  readonly row: Row;
  readonly shape: Shape;

  constructor(frame: Frame, shape: Shape) {
    super(frame);
    this.shape = shape;
    this.row = shape.row;
    this.size = shape.size;
  }

  get bits(): number {
    return this.size * 8;
  }

  // The record
  #u8(field: number): I32 {
    return this.e.i32.load8u(this.e.get(this.pc), field);
  }
  recordFlags(): I32 {
    return this.#u8(Rec.flags);
  }
  /** Offset of the instruction behind this one, from `vpage`. */
  #nextOffset(): I64 {
    const { e } = this;
    return e.i64.extendI32u(e.i32.add(e.i32.load16u(e.get(this.pc), Rec.offset), this.#u8(Rec.length)));
  }
  /** rip of the next instruction. */
  nextRip(): I64 {
    const { e } = this;
    return e.i64.add(e.i64.load(e.get(this.s), State.vpage), this.#nextOffset());
  }
  /** rip of this instruction. */
  thisRip(): I64 {
    const { e } = this;
    return e.i64.add(e.i64.load(e.get(this.s), State.vpage), e.i64.load16u(e.get(this.pc), Rec.offset));
  }

  // Operands
  isMemory(operand: number): boolean {
    const kind = kindOf(this.row.operands[operand]!);
    return kind === "M" || kind === "O" || ("EWQ".includes(kind) && this.shape.memory);
  }
  operandSize(operand: number): Size {
    return operandBytes(this.row.operands[operand]!, this.size) as Size;
  }
  /** The record field that names register operand `operand`: the first such is A, the second B. */
  #field(operand: number): number {
    let rank = 0;
    for (let i = 0; i < operand; i++) if (isRegisterField(this.row, i, this.shape.memory)) rank++;
    return rank === 0 ? Rec.regA : Rec.regB;
  }
  /** Address of a general register operand. */
  #register(operand: number): I32 {
    const { e } = this;
    if (kindOf(this.row.operands[operand]!) === "C") return e.i32.add(e.get(this.s), e.i32.const(8));
    return e.i32.add(e.get(this.s), this.#u8(this.#field(operand)));
  }
  /** The operand's raw field: 16 times the number, for xmm and mmx registers; the number for x87 and segment registers. */
  fieldValue(operand: number): I32 {
    return this.#u8(this.#field(operand));
  }

  immediate(): I64 {
    return this.e.i64.load(this.e.get(this.pc), Rec.imm);
  }
  /** Operand value, zero-extended. */
  get(operand: number): I64 {
    return this.#read(operand, false);
  }
  /** Operand value, sign-extended. */
  getS(operand: number): I64 {
    return this.#read(operand, true);
  }
  #read(operand: number, signed: boolean): I64 {
    const { e } = this;
    const size = this.operandSize(operand);
    const spec = this.row.operands[operand]!;
    if (spec === "1" || kindOf(spec) === "I") {
      // Kept zero-extended to the row's operand size.
      return signed ? signExtend(e, this.size, this.immediate()) : this.immediate();
    }
    if (this.isMemory(operand)) return this.loadAt(this.let64(this.ea()), size, signed);
    return loadSized(e, size, signed, this.#register(operand), 0);
  }

  /** Writes the operand. Bits above its size are ignored; a 32-bit register write clears the upper half. */
  put(operand: number, value: Local<I64>): void {
    const size = this.operandSize(operand);
    if (this.isMemory(operand)) {
      this.storeAt(this.let64(this.ea()), size, value);
      return;
    }
    this.#putRegister(this.#register(operand), size, value);
  }
  #putRegister(_address: I32, size: Size, value: Local<I64>): void {
    const { e } = this;
    if (size === 4) e.i64.store(_address, zeroExtend(e, 4, e.get(value)));
    else storeSized(e, size, _address, e.get(value), 0);
  }

  /**
   * Read, change, write. The callback gets the old value (zero-extended) and returns the local with the new one (extra bits are ignored); it must
   * not fault, and runs again when a locked update met another writer, with the flags as before the instruction.
   */
  modify(operand: number, change: (old: Local<I64>) => Local<I64>): void {
    const size = this.operandSize(operand);
    if (!this.isMemory(operand)) {
      const old = this.let64(this.get(operand));
      const value = change(old);
      this.#putRegister(this.#register(operand), size, value);
      return;
    }
    const host = this.modifyAddress(this.let64(this.ea()), size);
    this.modifyAt(host, size, this.shape.locked, change);
  }

  // Memory
  /**
   * Effective address of the memory operand. `withSegment` false: as LEA gives it. An addend (of bit strings) counts before the address-size prefix
   * cuts.
   */
  ea(withSegment = true, addend?: Local<I64>): I64 {
    const { e } = this;
    const part = (field: number): I64 => e.i64.load(e.i32.add(e.get(this.s), this.#u8(field)));
    const plain = (): I64 => e.i64.add(part(Rec.base), e.i64.load(e.get(this.pc), Rec.disp));
    const simple = (): I64 => (addend === undefined ? plain() : e.i64.add(plain(), e.get(addend)));
    if (this.shape.address === "base") return simple();
    const sum = e.i64.add(simple(), e.i64.shl(part(Rec.index), e.i64.load8u(e.get(this.pc), Rec.scale)));
    if (this.hot) return withSegment ? e.i64.add(sum, part(Rec.segment)) : sum;
    const va = this.i64();
    e.set(va, sum);
    e.if(e.i32.and(this.recordFlags(), e.i32.const(RecFlag.addr32)), () =>
      e.set(va, e.i64.extendI32u(e.i32.wrap(e.get(va)))),
    );
    return withSegment ? e.i64.add(e.get(va), part(Rec.segment)) : e.get(va);
  }

  /** Base of the memory operand's segment: 0 but for FS and GS. */
  segmentBase(): I64 {
    const { e } = this;
    return e.i64.load(e.i32.add(e.get(this.s), this.#u8(Rec.segment)));
  }

  // Stack
  /** Pushes `size` bytes. */
  push(value: Local<I64>, size: Size): void {
    const { e } = this;
    const sp = this.let64(e.i64.sub(this.reg(4), e.i64.const(size)));
    this.storeAt(sp, size, value, true);
    this.setReg(4, sp);
  }

  condition(number: number): I32 {
    return condition(this, number);
  }

  /** Leaves the engine for the hypervisor; rip behind the instruction. */
  exitAfter(kind: number): void {
    this.setState32(State.exitKind, () => this.e.i32.const(kind));
    this.leave(Leave.after);
  }
  /** Leaves the engine for the hypervisor; rip at the instruction. */
  exitAt(kind: number): void {
    this.setState32(State.exitKind, () => this.e.i32.const(kind));
    this.setState32(State.exitLength, () => this.#u8(Rec.length));
    this.leave(Leave.at);
  }

  isNotCanonical(va: Local<I64>): I32 {
    const { e } = this;
    return e.i64.ne(e.i64.shrS(e.i64.shl(e.get(va), e.i64.const(16)), e.i64.const(16)), e.get(va));
  }
  /** #GP(0) unless the address is canonical. */
  checkCanonical(va: Local<I64>): void {
    this.raiseIf(this.isNotCanonical(va), Vector.generalProtection);
  }
  /** Goes to an address that was checked to be canonical. */
  jumpTo(va: Local<I64>): void {
    const { e } = this;
    const loop = this.frame.loop;
    if (loop !== undefined) {
      e.set(loop.jumpTarget, e.get(va));
      e.br(loop.jump);
      return;
    }
    this.setState64(State.jumpTarget, () => e.get(va));
    this.leave(Leave.jump);
  }
  /** Target of the relative branch; one of 16 bits has no more of rip than that. */
  branchTarget(): I64 {
    const { e } = this;
    const target = e.i64.add(this.state64(State.vpage), e.i64.load(e.get(this.pc), Rec.disp));
    return this.size === 2 ? zeroExtend(e, 2, target) : target;
  }
  /** Takes the relative branch. Within the page its target is canonical; elsewhere it is checked here. */
  branch(): void {
    const { e } = this;
    const loop = this.frame.loop;
    if (loop !== undefined && !this.shape.memory) {
      e.br(loop.taken);
      return;
    }
    const target = this.let64(this.branchTarget());
    if (this.shape.memory) this.checkCanonical(target);
    this.jumpTo(target);
  }
  /** Ends a cold function that goes on with the next instruction. */
  next(): void {
    const { e } = this;
    this.spillFlags();
    e.return(e.i32.add(e.get(this.pc), e.i32.const(RECORD_BYTES)));
  }
}
