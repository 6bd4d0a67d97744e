/** Functions of the module that several rows call by name. */

import { type Emitter, type I32, type I64, ValType } from "../emitter.ts";
import type { Helpers } from "../frame.ts";
import { State } from "../layout.ts";
import type { ModuleBuilder } from "../wasm-module.ts";
import { emitDivideUnsigned } from "./multiply.ts";

interface NamedFunction {
  readonly name: string;
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
  emit(e: Emitter, helpers: Helpers): void;
}
const { i32, i64 } = ValType;

function divideUnsigned(e: Emitter): void {
  emitDivideUnsigned(e, {
    s: e.param<I32>(0),
    high: e.param<I64>(1),
    low: e.param<I64>(2),
    d: e.param<I64>(3),
    i: e.local<I32>(i32),
    top: e.local<I64>(i64),
  });
}

/** Divides magnitudes, then gives the quotient the sign of both and the remainder that of the dividend. */
function divideSigned(e: Emitter, helpers: Helpers): void {
  const [s, high, low, d] = [e.param<I32>(0), e.param<I64>(1), e.param<I64>(2), e.param<I64>(3)];
  const negative = e.local<I64>(i64);
  const negativeQuotient = e.local<I64>(i64);
  const q = e.local<I64>(i64);
  e.set(negative, e.i64.shrS(e.get(high), e.i64.const(63)));
  e.set(negativeQuotient, e.i64.xor(e.get(negative), e.i64.shrS(e.get(d), e.i64.const(63))));
  e.if(e.i64.ltS(e.get(high), e.i64.const(0)), () => {
    e.set(low, e.i64.sub(e.i64.const(0), e.get(low)));
    e.set(
      high,
      e.i64.sub(e.i64.sub(e.i64.const(0), e.get(high)), e.i64.extendI32u(e.i64.ne(e.get(low), e.i64.const(0)))),
    );
  });
  e.if(e.i64.ltS(e.get(d), e.i64.const(0)), () => e.set(d, e.i64.sub(e.i64.const(0), e.get(d))));
  e.if(e.i32.eqz(e.call<I32>(helpers.named.get("divideUnsigned")!, e.get(s), e.get(high), e.get(low), e.get(d))), () =>
    e.return(e.i32.const(0)),
  );
  e.set(q, e.i64.load(e.get(s), State.hostArg));
  e.set(q, e.i64.sub(e.i64.xor(e.get(q), e.get(negativeQuotient)), e.get(negativeQuotient)));
  // Its sign must be the wanted one, unless it is 0.
  e.if(
    e.i32.and(
      e.i64.ne(e.get(q), e.i64.const(0)),
      e.i64.ltS(e.i64.xor(e.get(q), e.get(negativeQuotient)), e.i64.const(0)),
    ),
    () => e.return(e.i32.const(0)),
  );
  e.i64.store(e.get(s), e.get(q), State.hostArg);
  e.i64.store(
    e.get(s),
    e.i64.sub(e.i64.xor(e.i64.load(e.get(s), State.hostArg + 8), e.get(negative)), e.get(negative)),
    State.hostArg + 8,
  );
  e.i32.const(1);
}

export const namedFunctions: readonly NamedFunction[] = [
  { name: "divideUnsigned", params: [i32, i64, i64, i64], results: [i32], emit: divideUnsigned },
  { name: "divideSigned", params: [i32, i64, i64, i64], results: [i32], emit: divideSigned },
];

export function defineNamed(m: ModuleBuilder, e: Emitter, helpers: Helpers): void {
  for (const f of namedFunctions) m.define(helpers.named.get(f.name)!, e, () => f.emit(e, helpers));
}
