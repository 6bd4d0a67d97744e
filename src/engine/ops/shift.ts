/** Shifts, rotates, double shifts, bit tests and bit scans. */
import type { Ctx } from "../ctx.ts";
import type { I64, Local } from "../emitter.ts";
import {
  carry,
  setCarryOnly,
  setCarryOverflow,
  setCarryOverflowOnly,
  setLogicFlags,
  signExtend,
  zeroExtend,
} from "../flags.ts";
import { Flag, type HotForm, type RowSpec } from "./row.ts";

/** Count for a shift, masked as the processor does. */
function count(c: Ctx, operand: number): Local<I64> {
  const { e } = c;
  return c.let64(e.i64.and(c.get(operand), e.i64.const(c.size === 8 ? 63 : 31)));
}
/** Bit `at` of v. */
function bit(c: Ctx, v: Local<I64>, at: number): I64 {
  const { e } = c;
  return e.i64.and(e.i64.shrU(e.get(v), e.i64.const(at)), e.i64.const(1));
}
const one = (c: Ctx): I64 => c.e.i64.const(1);

/** Sets res to r, and CF and OF, when the count is not 0. */
function shiftFlags(c: Ctx, n: Local<I64>, r: Local<I64>, cf: () => I64, of: (cf: Local<I64>) => I64): void {
  const { e } = c;
  e.if(e.i32.wrap(e.get(n)), () => {
    const carryBit = c.let64(cf());
    setCarryOverflow(
      c,
      () => e.get(carryBit),
      () => of(carryBit),
    );
    e.set(c.res, signExtend(e, c.size, e.get(r)));
  });
}

const shl = (c: Ctx) => {
  const { e } = c;
  const n = count(c, 1);
  c.modify(0, (a) => {
    const r = c.let64(e.i64.shl(e.get(a), e.get(n)));
    shiftFlags(
      c,
      n,
      r,
      () =>
        c.size === 8
          ? e.i64.and(e.i64.shrU(e.get(a), e.i64.sub(e.i64.const(64), e.get(n))), one(c))
          : bit(c, r, c.bits),
      (cf) => e.i64.xor(bit(c, r, c.bits - 1), e.get(cf)),
    );
    return r;
  });
};
const shr = (c: Ctx) => {
  const { e } = c;
  const n = count(c, 1);
  c.modify(0, (a) => {
    const r = c.let64(e.i64.shrU(e.get(a), e.get(n)));
    shiftFlags(
      c,
      n,
      r,
      () => e.i64.and(e.i64.shrU(e.get(a), e.i64.sub(e.get(n), one(c))), one(c)),
      () => bit(c, a, c.bits - 1),
    );
    return r;
  });
};
const sar = (c: Ctx) => {
  const { e } = c;
  const n = count(c, 1);
  c.modify(0, (old) => {
    const a = c.let64(signExtend(e, c.size, e.get(old)));
    const r = c.let64(e.i64.shrS(e.get(a), e.get(n)));
    shiftFlags(
      c,
      n,
      r,
      () => e.i64.and(e.i64.shrS(e.get(a), e.i64.sub(e.get(n), one(c))), one(c)),
      () => e.i64.const(0),
    );
    return r;
  });
};

/** Rotation to the left by n (i64, already below the operand's width) of a zero-extended value. */
function rotateLeft(c: Ctx, a: Local<I64>, n: Local<I64>): I64 {
  const { e } = c;
  if (c.size === 8) return e.i64.rotl(e.get(a), e.get(n));
  if (c.size === 4) return e.i64.extendI32u(e.i32.rotl(e.i32.wrap(e.get(a)), e.i32.wrap(e.get(n))));
  return zeroExtend(
    e,
    c.size,
    e.i64.or(e.i64.shl(e.get(a), e.get(n)), e.i64.shrU(e.get(a), e.i64.sub(e.i64.const(c.bits), e.get(n)))),
  );
}
const rol = (c: Ctx) => {
  const { e } = c;
  const n = count(c, 1);
  const turn = c.let64(e.i64.and(e.get(n), e.i64.const(c.bits - 1)));
  c.modify(0, (a) => {
    const r = c.let64(rotateLeft(c, a, turn));
    e.if(e.i32.wrap(e.get(n)), () =>
      setCarryOverflowOnly(
        c,
        () => bit(c, r, 0),
        () => e.i64.xor(bit(c, r, c.bits - 1), bit(c, r, 0)),
      ),
    );
    return r;
  });
};
const ror = (c: Ctx) => {
  const { e } = c;
  const n = count(c, 1);
  const turn = c.let64(e.i64.and(e.i64.sub(e.i64.const(c.bits), e.get(n)), e.i64.const(c.bits - 1)));
  c.modify(0, (a) => {
    const r = c.let64(rotateLeft(c, a, turn));
    e.if(e.i32.wrap(e.get(n)), () =>
      setCarryOverflowOnly(
        c,
        () => bit(c, r, c.bits - 1),
        () => e.i64.xor(bit(c, r, c.bits - 1), bit(c, r, c.bits - 2)),
      ),
    );
    return r;
  });
};
/** Through carry: a rotation of bits + 1 wide. */
const rotateThroughCarry = (left: boolean) => (c: Ctx) => {
  const { e } = c;
  const masked = count(c, 1);
  const n = c.let64(c.size < 4 ? e.i64.remU(e.get(masked), e.i64.const(c.bits + 1)) : e.get(masked));
  c.modify(0, (a) => {
    const r = c.let64(e.get(a));
    e.if(e.i32.wrap(e.get(n)), () => {
      const cf = c.let64(carry(c));
      const out = c.i64();
      // `far` is how far the part that wraps round moves the other way: bits + 1 - n, done in two steps as it may be the full width.
      const far = (): I64 => e.i64.sub(e.i64.const(c.bits), e.get(n));
      if (left) {
        e.set(out, e.i64.and(e.i64.shrU(e.get(a), far()), one(c)));
        e.set(
          r,
          e.i64.or(
            e.i64.or(e.i64.shl(e.get(a), e.get(n)), e.i64.shl(e.get(cf), e.i64.sub(e.get(n), one(c)))),
            e.i64.shrU(e.i64.shrU(e.get(a), one(c)), far()),
          ),
        );
      } else {
        e.set(out, e.i64.and(e.i64.shrU(e.get(a), e.i64.sub(e.get(n), one(c))), one(c)));
        e.set(
          r,
          e.i64.or(
            e.i64.or(e.i64.shrU(e.get(a), e.get(n)), e.i64.shl(e.get(cf), far())),
            e.i64.shl(e.i64.shl(e.get(a), one(c)), far()),
          ),
        );
      }
      e.set(r, zeroExtend(e, c.size, e.get(r)));
      setCarryOverflowOnly(
        c,
        () => e.get(out),
        () => e.i64.xor(bit(c, r, c.bits - 1), left ? e.get(out) : bit(c, r, c.bits - 2)),
      );
    });
    return r;
  });
};

const hotShift: readonly HotForm[] = ["r4", "r8"];
const shifts: readonly { name: string; emit: (c: Ctx) => void; hot: readonly HotForm[]; rotate: boolean }[] = [
  { name: "rol", emit: rol, hot: hotShift, rotate: true },
  { name: "ror", emit: ror, hot: hotShift, rotate: true },
  { name: "rcl", emit: rotateThroughCarry(true), hot: [], rotate: true },
  { name: "rcr", emit: rotateThroughCarry(false), hot: [], rotate: true },
  { name: "shl", emit: shl, hot: hotShift, rotate: false },
  { name: "shr", emit: shr, hot: hotShift, rotate: false },
  { name: "shl", emit: shl, hot: hotShift, rotate: false },
  { name: "sar", emit: sar, hot: hotShift, rotate: false },
];

const shiftSpecs: RowSpec[] = shifts.flatMap(({ name, emit, hot, rotate }, digit): RowSpec[] => {
  // OF is defined for a count of 1 only; AF never for shifts, and rotates leave it.
  const byOne = { name, digit, emit, hot, undefinedFlags: rotate ? 0 : Flag.AF };
  const byCount = { ...byOne, undefinedFlags: rotate ? Flag.OF : Flag.AF | Flag.OF };
  // A byte or word may be shifted by more than its width, which leaves CF open.
  const byCountNarrow = { ...byCount, undefinedFlags: byCount.undefinedFlags | (rotate ? 0 : Flag.CF) };
  return [
    { ...byCountNarrow, opcode: 0xc0, operands: ["Eb", "Ib"] },
    { ...byCount, opcode: 0xc1, operands: ["Ev", "Ib"] },
    { ...byOne, opcode: 0xd0, operands: ["Eb", "1"] },
    { ...byOne, opcode: 0xd1, operands: ["Ev", "1"] },
    { ...byCountNarrow, opcode: 0xd2, operands: ["Eb", "Cb"] },
    { ...byCount, opcode: 0xd3, operands: ["Ev", "Cb"] },
  ];
});

/** SHLD and SHRD. 16-bit operands by more than 16 are undefined; here the concatenation dst:src:dst is shifted, as Intel's do. */
const doubleShift = (left: boolean) => (c: Ctx) => {
  const { e } = c;
  const n = count(c, 2);
  const b = c.let64(c.get(1));
  c.modify(0, (a) => {
    const r = c.let64(e.get(a));
    e.if(e.i32.wrap(e.get(n)), () => {
      const cf = c.i64();
      const rest = (): I64 => e.i64.sub(e.i64.const(64), e.get(n));
      if (c.size === 8) {
        if (left) {
          e.set(cf, e.i64.and(e.i64.shrU(e.get(a), rest()), one(c)));
          e.set(r, e.i64.or(e.i64.shl(e.get(a), e.get(n)), e.i64.shrU(e.get(b), rest())));
        } else {
          e.set(cf, e.i64.and(e.i64.shrU(e.get(a), e.i64.sub(e.get(n), one(c))), one(c)));
          e.set(r, e.i64.or(e.i64.shrU(e.get(a), e.get(n)), e.i64.shl(e.get(b), rest())));
        }
      } else {
        const wide = c.i64();
        const w = c.bits;
        if (c.size === 4) {
          e.set(
            wide,
            left
              ? e.i64.or(e.i64.shl(e.get(a), e.i64.const(32)), e.get(b))
              : e.i64.or(e.i64.shl(e.get(b), e.i64.const(32)), e.get(a)),
          );
          if (left) {
            e.set(cf, e.i64.and(e.i64.shrU(e.get(wide), rest()), one(c)));
            e.set(r, e.i64.shrU(e.i64.shl(e.get(wide), e.get(n)), e.i64.const(32)));
          }
        } else if (left) {
          // a:b:a in 48 bits, at the top of 64.
          e.set(
            wide,
            e.i64.shl(
              e.i64.or(e.i64.or(e.i64.shl(e.get(a), e.i64.const(32)), e.i64.shl(e.get(b), e.i64.const(16))), e.get(a)),
              e.i64.const(16),
            ),
          );
          e.set(cf, e.i64.and(e.i64.shrU(e.get(wide), rest()), one(c)));
          e.set(r, e.i64.shrU(e.i64.shl(e.get(wide), e.get(n)), e.i64.const(64 - w)));
        } else {
          e.set(
            wide,
            e.i64.or(e.i64.or(e.i64.shl(e.get(a), e.i64.const(32)), e.i64.shl(e.get(b), e.i64.const(16))), e.get(a)),
          );
        }
        if (!left) {
          e.set(cf, e.i64.and(e.i64.shrU(e.get(wide), e.i64.sub(e.get(n), one(c))), one(c)));
          e.set(r, e.i64.shrU(e.get(wide), e.get(n)));
        }
        e.set(r, zeroExtend(e, c.size, e.get(r)));
      }
      // OF: the sign changed.
      setCarryOverflow(
        c,
        () => e.get(cf),
        () => e.i64.xor(bit(c, r, w1(c)), bit(c, a, w1(c))),
      );
      e.set(c.res, signExtend(e, c.size, e.get(r)));
    });
    return r;
  });
};
const w1 = (c: Ctx): number => c.bits - 1;

type BitChange = ((c: Ctx, old: Local<I64>, mask: Local<I64>) => I64) | undefined;
const bitTest = (change: BitChange) => (c: Ctx) => {
  const { e } = c;
  const index = c.let64(c.get(1));
  const at = c.let64(e.i64.and(e.get(index), e.i64.const(c.bits - 1)));
  const mask = c.let64(e.i64.shl(e.i64.const(1), e.get(at)));
  const carryFrom = (old: Local<I64>): void =>
    setCarryOnly(c, () => e.i64.and(e.i64.shrU(e.get(old), e.get(at)), one(c)));
  const update = (old: Local<I64>): Local<I64> => {
    const r = c.let64(change!(c, old, mask));
    carryFrom(old);
    return r;
  };
  const byRegister = c.row.operands[1] === "Gv";
  if (!c.isMemory(0) || !byRegister) {
    if (change === undefined) carryFrom(c.let64(c.get(0)));
    else c.modify(0, update);
    return;
  }
  // A register's bit number reaches beyond the operand.
  const log2 = c.size === 8 ? 6 : c.size === 4 ? 5 : 4;
  const byteOffset = c.let64(
    e.i64.mul(e.i64.shrS(signExtend(e, c.size, e.get(index)), e.i64.const(log2)), e.i64.const(c.size)),
  );
  const va = c.let64(c.ea(true, byteOffset));
  if (change === undefined) carryFrom(c.let64(c.loadAt(va, c.size)));
  else c.modifyAt(c.modifyAddress(va, c.size), c.size, c.shape.locked, update);
};
const bitTests: readonly { name: string; digit: number; opcode: number; change: BitChange }[] = [
  { name: "bt", digit: 4, opcode: 0xa3, change: undefined },
  { name: "bts", digit: 5, opcode: 0xab, change: (c, old, mask) => c.e.i64.or(c.e.get(old), c.e.get(mask)) },
  {
    name: "btr",
    digit: 6,
    opcode: 0xb3,
    change: (c, old, mask) => c.e.i64.and(c.e.get(old), c.e.i64.xor(c.e.get(mask), c.e.i64.const(-1))),
  },
  { name: "btc", digit: 7, opcode: 0xbb, change: (c, old, mask) => c.e.i64.xor(c.e.get(old), c.e.get(mask)) },
];
const bitTestFlags = Flag.OF | Flag.SF | Flag.AF | Flag.PF;

const scan = (reverse: boolean) => (c: Ctx) => {
  const { e } = c;
  const v = c.let64(c.get(1));
  e.if(e.i64.ne(e.get(v), e.i64.const(0)), () =>
    c.put(0, c.let64(reverse ? e.i64.sub(e.i64.const(63), e.i64.clz(e.get(v))) : e.i64.ctz(e.get(v)))),
  );
  setLogicFlags(c, c.size, v);
};
const scanFlags = Flag.CF | Flag.OF | Flag.SF | Flag.AF | Flag.PF;

export const shiftRows: readonly RowSpec[] = [
  ...shiftSpecs,
  {
    name: "shld",
    map: 1,
    opcode: 0xa4,
    operands: ["Ev", "Gv", "Ib"],
    undefinedFlags: Flag.AF | Flag.OF,
    emit: doubleShift(true),
  },
  {
    name: "shld",
    map: 1,
    opcode: 0xa5,
    operands: ["Ev", "Gv", "Cb"],
    undefinedFlags: Flag.AF | Flag.OF,
    emit: doubleShift(true),
  },
  {
    name: "shrd",
    map: 1,
    opcode: 0xac,
    operands: ["Ev", "Gv", "Ib"],
    undefinedFlags: Flag.AF | Flag.OF,
    emit: doubleShift(false),
  },
  {
    name: "shrd",
    map: 1,
    opcode: 0xad,
    operands: ["Ev", "Gv", "Cb"],
    undefinedFlags: Flag.AF | Flag.OF,
    emit: doubleShift(false),
  },
  ...bitTests.flatMap(({ name, digit, opcode, change }): RowSpec[] => {
    const common = {
      name,
      map: 1 as const,
      undefinedFlags: bitTestFlags,
      lockable: change !== undefined,
      emit: bitTest(change),
    };
    return [
      { ...common, opcode, operands: ["Ev", "Gv"], hot: ["r4", "r8"] },
      { ...common, opcode: 0xba, digit, operands: ["Ev", "Ib"], hot: ["r4", "r8"] },
    ];
  }),
  {
    name: "bsf",
    map: 1,
    opcode: 0xbc,
    operands: ["Gv", "Ev"],
    undefinedFlags: scanFlags,
    hot: ["r4", "r8"],
    emit: scan(false),
  },
  {
    name: "bsr",
    map: 1,
    opcode: 0xbd,
    operands: ["Gv", "Ev"],
    undefinedFlags: scanFlags,
    hot: ["r4", "r8"],
    emit: scan(true),
  },
];
