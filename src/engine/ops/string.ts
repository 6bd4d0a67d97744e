/**
 * String instructions. A repeated one commits every iteration: a fault or the end of the budget leaves rip at it and the registers as they are
 * then, and it goes on from there; the flags of CMPS and SCAS change only at the end, as the processor's do. MOVS and STOS upwards within pages go as one block. One iteration costs one instruction of the budget.
 */
import type { Ctx } from "../ctx.ts";
import type { I32, I64, Local } from "../emitter.ts";
import { setSubFlags } from "../flags.ts";
import { BLOCK_ACCESS, Leave, NO_BLOCK } from "../frame.ts";
import { State } from "../layout.ts";
import { RecFlag } from "../record.ts";
import { storeSized } from "../sized.ts";
import { Flag, type RowSpec } from "./row.ts";

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;

/** One string instruction under construction. */
class Str {
  readonly c: Ctx;
  /** All ones, or 32 ones under an address-size prefix. */
  readonly mask: Local<I64>;
  /** Element size with the direction's sign. */
  readonly step: Local<I64>;
  readonly segment: Local<I64>;

  constructor(c: Ctx) {
    const { e } = c;
    this.c = c;
    this.mask = c.let64(
      e.select(e.i64.const(0xffffffff), e.i64.const(-1), e.i32.and(c.recordFlags(), e.i32.const(RecFlag.addr32))),
    );
    this.step = c.let64(
      e.select(e.i64.const(-c.size), e.i64.const(c.size), e.i32.and(c.state32(State.flagsOther), e.i32.const(Flag.DF))),
    );
    this.segment = c.let64(c.segmentBase());
  }
  /** An address register or the count, cut to the address size. */
  register(n: number): I64 {
    return this.c.e.i64.and(this.c.reg(n), this.c.e.get(this.mask));
  }
  source(): Local<I64> {
    const { c } = this;
    return c.let64(c.e.i64.add(this.register(RSI), c.e.get(this.segment)));
  }
  destination(): Local<I64> {
    return this.c.let64(this.register(RDI));
  }
  /** Adds to a register within the address size; a 32-bit result clears the upper half. */
  advance(n: number, _by: I64): void {
    const { c } = this;
    const { e } = c;
    const by = c.let64(_by);
    c.setReg(n, c.let64(e.i64.and(e.i64.add(this.register(n), e.get(by)), e.get(this.mask))));
  }
  advanceByStep(...registers: number[]): void {
    for (const n of registers) this.advance(n, this.c.e.get(this.step));
  }
  /** Takes iterations from rcx and from the budget. */
  spend(n: Local<I64>): void {
    const { c } = this;
    const { e } = c;
    this.advance(RCX, e.i64.sub(e.i64.const(0), e.get(n)));
    c.setState32(State.budgetLeft, () => e.i32.sub(c.state32(State.budgetLeft), e.i32.wrap(e.get(n))));
  }
}

/**
 * The frame of a string row.
 * @param once one iteration, without rcx
 * @param block emitted in front of `once` in the loop: may do several iterations and return their number in the local (0: it did none)
 * @param stop condition that ends REPE/REPNE, given the prefix is F2
 */
function stringRow(once: (s: Str) => void, block?: (s: Str, done: Local<I64>) => void, stop?: (s: Str) => I32) {
  return (c: Ctx): void => {
    const { e } = c;
    const s = new Str(c);
    const repeated = c.let32(e.i32.and(c.recordFlags(), e.i32.const(RecFlag.rep | RecFlag.repne)));
    e.if(e.i32.eqz(e.get(repeated)), () => {
      once(s);
      c.next();
    });
    const done = c.i64();
    e.if(e.i64.eqz(s.register(RCX)), () => c.next());
    e.loop((again) => {
      if (block !== undefined) block(s, done);
      else e.set(done, e.i64.const(0));
      e.if(e.i64.eqz(e.get(done)), () => {
        once(s);
        e.set(done, e.i64.const(1));
      });
      s.spend(done);
      const finished = (): void => {
        // The last iteration is the one that the loop counts for the instruction itself.
        c.setState32(State.budgetLeft, () => e.i32.add(c.state32(State.budgetLeft), e.i32.const(1)));
        c.next();
      };
      e.if(e.i64.eqz(s.register(RCX)), finished);
      if (stop !== undefined) e.if(stop(s), finished);
      e.brIf(again, e.i32.gtS(c.state32(State.budgetLeft), e.i32.const(0)));
    });
    c.leave(Leave.again);
  };
}

const movsOnce = (s: Str): void => {
  const { c } = s;
  const value = c.let64(c.loadAt(s.source(), c.size));
  c.storeAt(s.destination(), c.size, value);
  s.advanceByStep(RSI, RDI);
};
const stosOnce = (s: Str): void => {
  const { c } = s;
  c.storeAt(s.destination(), c.size, c.let64(c.reg(RAX, c.size)));
  s.advanceByStep(RDI);
};
const lodsOnce = (s: Str): void => {
  const { c } = s;
  c.setReg(RAX, c.let64(c.loadAt(s.source(), c.size)), c.size);
  s.advanceByStep(RSI);
};
const compareOnce =
  (accumulator: boolean) =>
  (s: Str): void => {
    const { c } = s;
    const { e } = c;
    const a = c.let64(accumulator ? c.reg(RAX, c.size) : c.loadAt(s.source(), c.size));
    const b = c.let64(c.loadAt(s.destination(), c.size));
    const r = c.let64(e.i64.sub(e.get(a), e.get(b)));
    setSubFlags(c, c.size, a, b, r, c.i64());
    if (accumulator) s.advanceByStep(RDI);
    else s.advanceByStep(RSI, RDI);
  };
const compareStop = (s: Str): I32 => {
  const { c } = s;
  const { e } = c;
  // REPE stops on inequality, REPNE on equality.
  return e.i32.eq(
    e.i64.eqz(e.get(c.res)),
    e.i32.ne(e.i32.and(c.recordFlags(), e.i32.const(RecFlag.repne)), e.i32.const(0)),
  );
};

/** Iterations that fit: of rcx, of the budget, of the page of each address. 0 when going down or under an address-size prefix. */
function blockLength(s: Str, addresses: readonly Local<I64>[]): Local<I64> {
  const { c } = s;
  const { e } = c;
  const n = c.let64(c.reg(RCX));
  const atMost = (limit: Local<I64>): void =>
    e.set(n, e.select(e.get(limit), e.get(n), e.i64.ltU(e.get(limit), e.get(n))));
  // A budget in debt leaves room for nothing.
  const budget = c.let64(e.i64.extendI32s(c.state32(State.budgetLeft)));
  e.if(e.i64.ltS(e.get(budget), e.i64.const(0)), () => e.set(budget, e.i64.const(0)));
  atMost(budget);
  for (const va of addresses)
    atMost(
      c.let64(
        e.i64.shrU(
          e.i64.sub(e.i64.const(4096), e.i64.and(e.get(va), e.i64.const(4095))),
          e.i64.const(Math.log2(c.size)),
        ),
      ),
    );
  e.if(e.i32.or(e.i64.ltS(e.get(s.step), e.i64.const(0)), e.i64.ne(e.get(s.mask), e.i64.const(-1))), () =>
    e.set(n, e.i64.const(0)),
  );
  return n;
}
/** Where the block is, or NO_BLOCK. */
function blockHost(c: Ctx, fn: "readFast" | "modifyFast", va: Local<I64>, bytes: Local<I32>): Local<I32> {
  const { e } = c;
  const host = c.let32(
    e.call<I32>(c.helpers[fn], e.get(c.s), e.get(va), e.i32.or(e.get(bytes), e.i32.const(BLOCK_ACCESS))),
  );
  e.if(e.i32.eqz(e.get(host)), () => c.fault());
  return host;
}

const movsBlock = (s: Str, done: Local<I64>): void => {
  const { c } = s;
  const { e } = c;
  const from = s.source();
  const to = s.destination();
  e.set(done, e.get(blockLength(s, [from, to])));
  e.if(e.i32.eqz(e.i64.eqz(e.get(done))), () => {
    const bytes = c.let32(e.i32.shl(e.i32.wrap(e.get(done)), e.i32.const(Math.log2(c.size))));
    const source = blockHost(c, "readFast", from, bytes);
    const target = blockHost(c, "modifyFast", to, bytes);
    // Upwards onto itself it makes a pattern, which a block copy does not.
    e.if(
      e.i32.or(
        e.i32.ltU(e.i32.sub(e.get(target), e.get(source)), e.get(bytes)),
        e.i32.or(e.i32.eq(e.get(source), e.i32.const(NO_BLOCK)), e.i32.eq(e.get(target), e.i32.const(NO_BLOCK))),
      ),
      () => e.set(done, e.i64.const(0)),
      () => {
        e.memoryCopy(e.get(target), e.get(source), e.get(bytes));
        const by = c.let64(e.i64.extendI32u(e.get(bytes)));
        s.advance(RSI, e.get(by));
        s.advance(RDI, e.get(by));
      },
    );
  });
};
const stosBlock = (s: Str, done: Local<I64>): void => {
  const { c } = s;
  const { e } = c;
  const to = s.destination();
  e.set(done, e.get(blockLength(s, [to])));
  const bytes = c.let32(e.i32.shl(e.i32.wrap(e.get(done)), e.i32.const(Math.log2(c.size))));
  const target = c.i32();
  e.if(e.i32.eqz(e.i64.eqz(e.get(done))), () => {
    e.set(target, e.get(blockHost(c, "modifyFast", to, bytes)));
    e.if(e.i32.eq(e.get(target), e.i32.const(NO_BLOCK)), () => e.set(done, e.i64.const(0)));
  });
  e.if(e.i32.eqz(e.i64.eqz(e.get(done))), () => {
    const value = c.let64(c.reg(RAX, c.size));
    const fill = (): void => e.memoryFill(e.get(target), e.i32.wrap(e.get(value)), e.get(bytes));
    if (c.size === 1) fill();
    else {
      // One byte repeated through the value, as 0 mostly is?
      const ones = c.size === 8 ? 0x0101010101010101n : c.size === 4 ? 0x01010101n : 0x0101n;
      e.if(
        e.i64.eq(e.i64.mul(e.i64.and(e.get(value), e.i64.const(0xff)), e.i64.const(ones)), e.get(value)),
        fill,
        () => {
          const end = c.let32(e.i32.add(e.get(target), e.get(bytes)));
          const at = c.let32(e.get(target));
          e.loop((again) => {
            storeSized(e, c.size, e.get(at), e.get(value), 0);
            e.brIf(again, e.i32.ltU(e.tee(at, e.i32.add(e.get(at), e.i32.const(c.size))), e.get(end)));
          });
        },
      );
    }
    s.advance(RDI, e.i64.extendI32u(e.get(bytes)));
  });
};

interface StringFamily {
  name: string;
  opcode: number;
  operands: readonly ["Yb" | "Xb" | "Ab", "Yb" | "Xb" | "Ab"];
  wide: readonly ["Yv" | "Xv" | "Av", "Yv" | "Xv" | "Av"];
  repeat: "rep" | "repz";
  emit: (c: Ctx) => void;
}
const families: readonly StringFamily[] = [
  {
    name: "movs",
    opcode: 0xa4,
    operands: ["Yb", "Xb"],
    wide: ["Yv", "Xv"],
    repeat: "rep",
    emit: stringRow(movsOnce, movsBlock),
  },
  {
    name: "cmps",
    opcode: 0xa6,
    operands: ["Xb", "Yb"],
    wide: ["Xv", "Yv"],
    repeat: "repz",
    emit: stringRow(compareOnce(false), undefined, compareStop),
  },
  {
    name: "stos",
    opcode: 0xaa,
    operands: ["Yb", "Ab"],
    wide: ["Yv", "Av"],
    repeat: "rep",
    emit: stringRow(stosOnce, stosBlock),
  },
  { name: "lods", opcode: 0xac, operands: ["Ab", "Xb"], wide: ["Av", "Xv"], repeat: "rep", emit: stringRow(lodsOnce) },
  {
    name: "scas",
    opcode: 0xae,
    operands: ["Ab", "Yb"],
    wide: ["Av", "Yv"],
    repeat: "repz",
    emit: stringRow(compareOnce(true), undefined, compareStop),
  },
];

export const stringRows: readonly RowSpec[] = families.flatMap(
  ({ name, opcode, operands, wide, repeat, emit }): RowSpec[] => [
    { name, opcode, operands, repeat, emit },
    { name, opcode: opcode + 1, operands: wide, repeat, emit },
  ],
);
