/**
 * The module: MMU functions, one function for each cold shape, and the interpreter loop with the hot shapes inline.
 *
 * The loop's state is in locals: the record (`pc`), the record that the current run of records began at (`start`), the budget left in 32nds of an
 * instruction, the lazy flags. Records are contiguous, so instructions done since `start` are (pc - start) / 32: counted when control is
 * transferred, never per instruction. The budget is looked at where control is transferred by an instruction and where code runs into another page:
 * both are architectural, so a run ends at the same place whatever is cached.
 */
import { Ctx } from "./ctx.ts";
import { Emitter, type Fn, type I32, type I64, type Label, type Local, ValType } from "./emitter.ts";
import { ExitKind, Vector } from "./exits.ts";
import { type Frame, type Helpers, Leave, type Shape, Temps } from "./frame.ts";
import { State } from "./layout.ts";
import { declareMmu, defineMmu, type MmuFunctions } from "./mmu.ts";
import { defineNamed, namedFunctions } from "./ops/named.ts";
import { NON_CANONICAL_MARK } from "./page-walk.ts";
import { PSEUDO_COUNT, Pseudo, RECORD_BYTES, Rec, RecFlag } from "./record.ts";
import { type HandlerTable, handlerTable, shapeName } from "./shapes.ts";
import { Access, tlbEntry } from "./tlb-entry.ts";
import { ModuleBuilder } from "./wasm-module.ts";

const { i32, i64, f64 } = ValType;

export interface InterpreterSizes {
  readonly module: number;
  readonly functions: readonly { name: string; bytes: number }[];
  readonly hot: number;
  readonly fused: number;
  readonly cold: number;
}

/** The module's bytes. */
export function buildInterpreter(): Uint8Array<ArrayBuffer> {
  return build().build();
}

/** Sizes of the generated code, for the bench. */
export function interpreterSizes(): InterpreterSizes {
  const module = build();
  const { hot, fused, cold } = handlerTable();
  return {
    module: module.build().length,
    functions: module.sizes(),
    hot: hot.length,
    fused: fused.length,
    cold: cold.length,
  };
}

function build(): ModuleBuilder {
  const m = new ModuleBuilder({ module: "env", name: "memory", min: 1, max: 65536 });
  const e = new Emitter();
  const decode = m.import("env", "decode", [i32], [i32]);
  const readTsc = m.import("env", "readTsc", [i32], [f64]);
  const service = m.import("env", "service", [i32, i32, i32], [i32]);
  const mmu = declareMmu(m, service);
  const named = new Map<string, Fn>();
  for (const f of namedFunctions) named.set(f.name, m.declare(f.name, f.params, f.results));
  const helpers: Helpers = { ...mmu, decode, readTsc, named };
  defineMmu(m, e, mmu);
  defineNamed(m, e, helpers);
  const find = m.declare("find", [i32, i64], [i32]);
  m.define(find, e, () => emitFind(e, mmu, decode));
  const table = handlerTable();
  for (const shape of table.cold) {
    const fn = m.declare(shapeName(shape), [i32, i32], [i32]);
    m.define(fn, e, () => emitCold(e, helpers, shape));
    m.addToTable(fn);
  }
  const run = m.declare("run", [i32, i32, i32], [i32]);
  m.define(run, e, () => emitRun(e, helpers, find, m.typeIndex([i32, i32], [i32]), table));
  m.export("run", run);
  return m;
}

function emitCold(e: Emitter, helpers: Helpers, shape: Shape): void {
  const s = e.param<I32>(0);
  const pc = e.param<I32>(1);
  const frame: Frame = {
    e,
    s,
    pc,
    helpers,
    res: e.local<I64>(i64),
    aux: e.local<I64>(i64),
    temps: new Temps(e),
  };
  e.set(frame.res, e.i64.load(e.get(s), State.flagRes));
  e.set(frame.aux, e.i64.load(e.get(s), State.flagAux));
  const c = new Ctx(frame, shape);
  shape.row.emit(c);
  e.i64.store(e.get(s), e.get(frame.res), State.flagRes);
  e.i64.store(e.get(s), e.get(frame.aux), State.flagAux);
  e.i32.add(e.get(pc), e.i32.const(RECORD_BYTES));
}

/** (vcpu, va) -> record for the instruction at va, decoding it if need be; 0 on a fault of the fetch. Sets `vpage`. */
function emitFind(e: Emitter, mmu: MmuFunctions, decode: Fn): void {
  const s = e.param<I32>(0);
  const va = e.param<I64>(1);
  const entry = e.local<I32>(i32);
  const rec = e.local<I32>(i32);
  e.if(
    e.i32.eqz(e.tee(entry, e.call<I32>(mmu.walk, e.get(s), e.get(va), e.i32.const(Access.execute), e.i32.const(1)))),
    () => e.return(e.i32.const(0)),
  );
  e.i64.store(e.get(s), e.i64.and(e.get(va), e.i64.const(-4096)), State.vpage);
  e.i64.store(e.get(s), e.get(va), State.jumpTarget);
  e.if(e.tee(rec, recordAt(e, entry, va)), () => e.return(e.get(rec)));
  e.call<I32>(decode, e.get(s));
}

/** Record pointer for va through a TLB entry's code page; 0 where nothing is decoded. */
function recordAt(e: Emitter, entry: Local<I32>, va: Local<I64>): I32 {
  return e.i32.load(
    e.i32.add(
      e.i32.load(
        e.i32.add(
          e.i32.load(e.get(entry), 28),
          e.i32.and(e.i32.shrU(e.i32.wrap(e.get(va)), e.i32.const(4)), e.i32.const(0xfc)),
        ),
      ),
      e.i32.shl(e.i32.and(e.i32.wrap(e.get(va)), e.i32.const(63)), e.i32.const(2)),
    ),
  );
}

function emitRun(e: Emitter, helpers: Helpers, find: Fn, coldType: number, table: HandlerTable): void {
  const { hot, fused } = table;
  const firstCold = PSEUDO_COUNT + hot.length + fused.length;
  const s = e.param<I32>(0);
  const budget = e.param<I32>(1);
  const first = e.param<I32>(2);
  const tlb = e.local<I32>(i32);
  const pc = e.local<I32>(i32);
  const start = e.local<I32>(i32);
  const left = e.local<I32>(i32);
  const res = e.local<I64>(i64);
  const aux = e.local<I64>(i64);
  const jumpTarget = e.local<I64>(i64);
  const t = e.local<I32>(i32);
  const u = e.local<I32>(i32);
  const rip = e.local<I64>(i64);
  const kind = e.local<I32>(i32);
  const temps = new Temps(e);

  const ripOf = (record: Local<I32>): I64 =>
    e.i64.add(e.i64.load(e.get(s), State.vpage), e.i64.load16u(e.get(record), Rec.offset));
  const behind = (record: Local<I32>): I64 => e.i64.add(ripOf(record), e.i64.load8u(e.get(record), Rec.length));
  /** Counts the instructions before the record, and the record's own if it is done. */
  const charge = (inclusive: boolean): void =>
    e.set(
      left,
      e.i32.sub(
        e.get(left),
        e.i32.sub(inclusive ? e.i32.add(e.get(pc), e.i32.const(RECORD_BYTES)) : e.get(pc), e.get(start)),
      ),
    );
  const leave = (out: Label, why: number): void => {
    e.set(kind, e.i32.const(why));
    e.br(out);
  };

  /** Goes on at the record in `t`. */
  const startAt = (head?: Label): void => {
    e.set(pc, e.get(t));
    e.set(start, e.get(t));
    if (head !== undefined) e.br(head);
  };

  e.set(tlb, e.i32.load(e.get(s), State.tlb));
  e.set(res, e.i64.load(e.get(s), State.flagRes));
  e.set(aux, e.i64.load(e.get(s), State.flagAux));
  e.set(left, e.i32.shl(e.get(budget), e.i32.const(5)));

  e.block((out) => {
    /** Looks `jumpTarget` up, for the record in `t`. */
    const findTarget = (): void => {
      e.if(e.i32.eqz(e.tee(t, e.call<I32>(find, e.get(s), e.get(jumpTarget)))), () => {
        e.set(rip, e.get(jumpTarget));
        e.set(kind, e.i32.load(e.get(s), State.exitKind));
        e.i32.store(e.get(s), e.i32.const(0), State.exitLength);
        e.br(out);
      });
    };
    e.set(t, e.get(first));
    e.if(e.i32.eqz(e.get(first)), () => {
      e.set(jumpTarget, e.i64.load(e.get(s), State.rip));
      findTarget();
    });
    startAt();

    e.block((fault) => {
      e.loop((head) => {
        e.block((go) => {
          e.block((jump) => {
            e.block((taken) => {
              const frame: Frame = {
                e,
                s,
                pc,
                res,
                aux,
                helpers,
                temps,
                loop: { tlb, jumpTarget, fault, taken, jump },
              };
              const labels = e.openBlocks(firstCold + 1);
              e.brTable(e.tee(t, e.i32.load16u(e.get(pc), Rec.handler)), labels.slice(0, -1), labels.at(-1)!);
              for (let handler = 0; handler < PSEUDO_COUNT; handler++) {
                e.closeBlock();
                pseudo(handler, head, go, out);
              }
              for (const shape of hot) {
                e.closeBlock();
                temps.reset();
                shape.row.emit(new Ctx(frame, shape));
                e.set(pc, e.i32.add(e.get(pc), e.i32.const(RECORD_BYTES)));
                e.br(head);
              }
              for (const { shape, condition } of fused) {
                e.closeBlock();
                temps.reset();
                const c = new Ctx(frame, shape);
                shape.row.emit(c);
                e.set(pc, e.i32.add(e.get(pc), e.i32.const(RECORD_BYTES)));
                e.brIf(taken, c.condition(condition));
                e.set(pc, e.i32.add(e.get(pc), e.i32.const(RECORD_BYTES)));
                e.br(head);
              }
              e.closeBlock();
              cold(head, fault, go, out);
            });
            // Taken: the record's direct jump, within the page.
            charge(true);
            e.if(e.tee(t, e.i32.load(e.get(pc), Rec.link)), () => {
              startAt();
              e.brIf(head, e.i32.gtS(e.get(left), e.i32.const(0)));
              e.set(rip, ripOf(pc));
              leave(out, ExitKind.budget);
            });
            e.set(jumpTarget, e.i64.add(e.i64.load(e.get(s), State.vpage), e.i64.load(e.get(pc), Rec.disp)));
            e.if(e.i32.leS(e.get(left), e.i32.const(0)), () => {
              e.set(rip, e.get(jumpTarget));
              leave(out, ExitKind.budget);
            });
            e.set(u, e.get(pc));
            e.i32.store(e.get(s), e.get(pc), State.linkFrom);
            findTarget();
            link();
            startAt(head);
          });
          charge(true);
        });
        // Go: to `jumpTarget`, everything before it is counted.
        e.if(e.i32.leS(e.get(left), e.i32.const(0)), () => {
          e.set(rip, e.get(jumpTarget));
          leave(out, ExitKind.budget);
        });
        e.set(t, tlbEntry(e, e.get(tlb), jumpTarget));
        e.if(e.i64.eq(e.i64.load(e.get(t), 16), e.i64.and(e.get(jumpTarget), e.i64.const(-4096))), () => {
          e.if(e.tee(t, recordAt(e, t, jumpTarget)), () => {
            e.i64.store(e.get(s), e.i64.and(e.get(jumpTarget), e.i64.const(-4096)), State.vpage);
            startAt(head);
          });
        });
        findTarget();
        startAt(head);
      });
    });
    // Fault: recorded; rip is the record's.
    charge(false);
    e.set(rip, ripOf(pc));
    e.set(kind, e.i32.load(e.get(s), State.exitKind));
    e.if(e.i32.eq(e.i32.load(e.get(s), State.exitLength), e.i32.const(NON_CANONICAL_MARK)), () => {
      e.i32.store(e.get(s), e.i32.const(0), State.exitLength);
      e.if(e.i32.and(e.i32.load8u(e.get(pc), Rec.flags), e.i32.const(RecFlag.stackSegment)), () =>
        e.i32.store(e.get(s), e.i32.const(Vector.stackFault), State.exitVector),
      );
    });
  });
  e.i64.store(e.get(s), e.get(res), State.flagRes);
  e.i64.store(e.get(s), e.get(aux), State.flagAux);
  e.i64.store(e.get(s), e.get(rip), State.rip);
  e.set(left, e.i32.shrS(e.get(left), e.i32.const(5)));
  e.i32.store(e.get(s), e.get(left), State.budgetLeft);
  e.i64.store(
    e.get(s),
    e.i64.add(e.i64.load(e.get(s), State.instructions), e.i64.extendI32s(e.i32.sub(e.get(budget), e.get(left)))),
    State.instructions,
  );
  e.get(kind);

  function pseudo(handler: number, head: Label, go: Label, out: Label): void {
    switch (handler) {
      case Pseudo.lookup:
        charge(false);
        lookupHere(out);
        // From now on this record only says where its address is decoded.
        link(() => e.i32.store16(e.get(u), e.i32.const(Pseudo.goto), Rec.handler));
        startAt(head);
        break;
      case Pseudo.goto:
        charge(false);
        // A target that was poisoned since is passed over, so that no chain of dead records grows.
        e.if(e.tee(t, e.i32.load(e.get(pc), Rec.link)), () =>
          e.if(e.i32.gtU(e.i32.load16u(e.get(t), Rec.handler), e.i32.const(Pseudo.goto)), () => startAt(head)),
        );
        lookupHere(out);
        link();
        startAt(head);
        break;
      case Pseudo.nextPage:
        charge(false);
        e.set(jumpTarget, ripOf(pc));
        e.br(go);
        break;
      case Pseudo.cross: {
        // The second page must be the one that the next record was decoded from; if it is not, decode again.
        const second = e.local<I64>(i64);
        e.set(second, e.i64.add(e.i64.load(e.get(s), State.vpage), e.i64.const(4096)));
        e.set(t, e.call<I32>(helpers.walk, e.get(s), e.get(second), e.i32.const(Access.execute), e.i32.const(1)));
        e.if(e.i32.eqz(e.get(t)), () => {
          charge(false);
          e.set(rip, ripOf(pc));
          e.set(kind, e.i32.load(e.get(s), State.exitKind));
          e.i32.store(e.get(s), e.i32.const(0), State.exitLength);
          e.br(out);
        });
        e.if(e.i32.eq(e.i32.load(e.get(t), 28), e.i32.load(e.get(pc), Rec.link)), () => {
          e.set(start, e.i32.add(e.get(start), e.i32.const(RECORD_BYTES)));
          e.set(pc, e.i32.add(e.get(pc), e.i32.const(RECORD_BYTES)));
          e.br(head);
        });
        charge(false);
        e.set(jumpTarget, ripOf(pc));
        e.i64.store(e.get(s), e.get(jumpTarget), State.jumpTarget);
        e.set(t, e.call<I32>(helpers.decode, e.get(s)));
        e.if(e.i32.eqz(e.get(t)), () => {
          e.set(rip, e.get(jumpTarget));
          e.set(kind, e.i32.load(e.get(s), State.exitKind));
          e.br(out);
        });
        e.set(pc, e.get(t));
        e.set(start, e.get(t));
        e.br(head);
        break;
      }
      default:
        charge(false);
        e.set(rip, ripOf(pc));
        e.set(kind, e.i32.const(ExitKind.budget));
        e.br(out);
    }
  }

  /** Finds the record of this record's own address, in `t`; this one is in `u`. */
  function lookupHere(out: Label): void {
    e.set(jumpTarget, ripOf(pc));
    e.set(u, e.get(pc));
    e.i32.store(e.get(s), e.get(pc), State.linkFrom);
    e.set(t, e.call<I32>(find, e.get(s), e.get(jumpTarget)));
    e.if(e.i32.eqz(e.get(t)), () => {
      e.set(rip, e.get(jumpTarget));
      e.set(kind, e.i32.load(e.get(s), State.exitKind));
      e.br(out);
    });
  }

  /** Makes the record in `u` go to `t` directly from now on, unless the arena was emptied meanwhile. */
  function link(more?: () => void): void {
    e.if(e.i32.eq(e.i32.load(e.get(s), State.linkFrom), e.get(u)), () => {
      e.i32.store(e.get(u), e.get(t), Rec.link);
      more?.();
      e.i32.store(e.get(s), e.i32.const(0), State.linkFrom);
    });
  }

  function cold(head: Label, fault: Label, go: Label, out: Label): void {
    e.i64.store(e.get(s), e.get(res), State.flagRes);
    e.i64.store(e.get(s), e.get(aux), State.flagAux);
    e.i32.store(
      e.get(s),
      e.i32.shrS(e.i32.sub(e.get(left), e.i32.sub(e.get(pc), e.get(start))), e.i32.const(5)),
      State.budgetLeft,
    );
    e.set(t, e.callIndirect<I32>(coldType, [e.get(s), e.get(pc)], e.i32.sub(e.get(t), e.i32.const(firstCold))));
    e.set(res, e.i64.load(e.get(s), State.flagRes));
    e.set(aux, e.i64.load(e.get(s), State.flagAux));
    e.set(
      left,
      e.i32.add(e.i32.shl(e.i32.load(e.get(s), State.budgetLeft), e.i32.const(5)), e.i32.sub(e.get(pc), e.get(start))),
    );
    e.if(e.i32.gtU(e.get(t), e.i32.const(15)), () => {
      e.set(pc, e.get(t));
      e.br(head);
    });
    e.brIf(fault, e.i32.eq(e.get(t), e.i32.const(Leave.at)));
    e.if(e.i32.eq(e.get(t), e.i32.const(Leave.again)), () => {
      charge(false);
      e.set(rip, ripOf(pc));
      e.set(kind, e.i32.const(ExitKind.budget));
      e.br(out);
    });
    charge(true);
    e.if(e.i32.eq(e.get(t), e.i32.const(Leave.after)), () => {
      e.set(rip, behind(pc));
      e.set(kind, e.i32.load(e.get(s), State.exitKind));
      e.br(out);
    });
    e.set(jumpTarget, e.i64.load(e.get(s), State.jumpTarget));
    e.brIf(go, e.i32.eq(e.get(t), e.i32.const(Leave.jump)));
    // jumpOut: TypeScript looks at the flags first.
    e.set(rip, e.get(jumpTarget));
    e.set(kind, e.i32.const(0));
    e.br(out);
  }
}
