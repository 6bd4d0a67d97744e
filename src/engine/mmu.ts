/**
 * Address translation, all in generated code: TLB fill by a 4-level walk, the slow paths of loads and stores, and what drops translations.
 *
 * A TLB entry (layout.ts) has three tags, the virtual page for which reading, writing, executing is allowed without another look, or -1; an addend
 * (host address minus virtual address, low 32 bits); and the frame's code page. All tags that are not -1 are of one page.
 *
 * A leaf may also name an alias frame, which stands for memory of another domain (alias-frames.ts): its read and write tags are marked (ALIAS) and
 * its addend gives the alias address, so no fast path ever takes it, and the slow ones hand it to TypeScript.
 *
 * Invariants: an addend without ALIAS only ever points into the domain's frames; an entry is for an alias frame or it is not, all of it; the write tag
 * is set only when the leaf's dirty bit is set, and marked (SLOW) when the frame has decoded code. All guest code runs at CPL 3, so every level must have U/S set. NX counts (EFER.NXE is on).
 */
import { type Emitter, type F64, type Fn, type I32, type I64, ValType } from "./emitter.ts";
import { emitDropFrame, emitInvalidate } from "./invalidation.ts";
import { ALIAS_HOST, State, TLB_BYTES } from "./layout.ts";
import { emitWalk } from "./page-walk.ts";
import { emitCommit, emitCommitLocked, emitModifyHost, emitReadHost, emitStore } from "./slow-access.ts";
import { clearTags, hostOf, isAlias, tagMatches, tlbEntry } from "./tlb-entry.ts";
import type { ModuleBuilder } from "./wasm-module.ts";

const { i32, i64, f64 } = ValType;

export interface MmuFunctions {
  /** (vcpu, va, access, access size | STACK_ACCESS) -> TLB entry, 0 on a fault */
  walk: Fn;
  readHost: Fn;
  readFast: Fn;
  modifyHost: Fn;
  modifyFast: Fn;
  store: Fn;
  storeFast: Fn;
  commit: Fn;
  /** (vcpu) -> 1: do the locked update again. */
  commitLocked: Fn;
  service: Fn;
  /** (codePage, offset, bytes): decoded code in that range is gone. */
  invalidate: Fn;
  dropFrame: Fn;
}

export function declareMmu(m: ModuleBuilder, service: Fn): MmuFunctions {
  return {
    service,
    walk: m.declare("walk", [i32, i64, i32, i32], [i32]),
    readHost: m.declare("readHost", [i32, i64, i32], [i32]),
    readFast: m.declare("readFast", [i32, i64, i32], [i32]),
    modifyHost: m.declare("modifyHost", [i32, i64, i32], [i32]),
    modifyFast: m.declare("modifyFast", [i32, i64, i32], [i32]),
    store: m.declare("store", [i32, i64, i32, i64], [i32]),
    storeFast: m.declare("storeFast", [i32, i64, i32, i64], [i32]),
    commit: m.declare("commit", [i32], []),
    commitLocked: m.declare("commitLocked", [i32], [i32]),
    invalidate: m.declare("invalidate", [i32, i32, i32], []),
    dropFrame: m.declare("dropFrame", [i32, i32], []),
  };
}

export function defineMmu(m: ModuleBuilder, e: Emitter, fns: MmuFunctions): void {
  m.define(fns.walk, e, () => emitWalk(e));
  m.define(fns.readHost, e, () => emitReadHost(e, fns));
  m.define(fns.modifyHost, e, () => emitModifyHost(e, fns));
  for (const [fast, slow, tag] of [
    [fns.readFast, fns.readHost, 0],
    [fns.modifyFast, fns.modifyHost, 8],
  ] as const) {
    m.define(fast, e, () => {
      const [s, va, n] = [e.param<I32>(0), e.param<I64>(1), e.param<I32>(2)];
      const entry = e.local<I32>(i32);
      e.set(entry, tlbEntry(e, e.i32.load(e.get(s), State.tlb), va));
      e.if(tagMatches(e, entry, tag, va, n), () =>
        e.return(e.i32.add(e.i32.wrap(e.get(va)), e.i32.load(e.get(entry), 24))),
      );
      e.call(slow, e.get(s), e.get(va), e.get(n));
    });
  }
  m.define(fns.store, e, () => emitStore(e, fns, false));
  m.define(fns.storeFast, e, () => emitStore(e, fns, true));
  m.define(fns.commit, e, () => emitCommit(e, fns));
  m.define(fns.commitLocked, e, () => emitCommitLocked(e, fns));
  m.define(fns.invalidate, e, () => emitInvalidate(e));
  m.define(fns.dropFrame, e, () => emitDropFrame(e));

  const translate = m.declare("translate", [i32, f64, i32], [i32]);
  m.define(translate, e, () => emitTranslate(e, fns));
  m.export("translate", translate);
  const flush = m.declare("flush", [i32], []);
  m.define(flush, e, () => {
    e.memoryFill(
      e.i32.add(e.get(e.param<I32>(0)), e.i32.const(State.kernelTlb)),
      e.i32.const(-1),
      e.i32.const(2 * TLB_BYTES),
    );
  });
  m.export("flush", flush);
  const flushPage = m.declare("flushPage", [i32, f64], []);
  m.define(flushPage, e, () => {
    const s = e.param<I32>(0);
    const va = e.local<I64>(i64);
    const entry = e.local<I32>(i32);
    e.set(va, e.i64.truncSatF64s(e.get(e.param<F64>(1))));
    for (const tlb of [State.kernelTlb, State.userTlb]) {
      e.set(entry, tlbEntry(e, e.i32.add(e.get(s), e.i32.const(tlb)), va));
      clearTags(e, entry);
    }
  });
  m.export("flushPage", flushPage);
  m.export("dropFrame", fns.dropFrame);
  m.export("invalidate", fns.invalidate);
}

/** (vcpu, va f64, access) -> host address, 0 or ALIAS_HOST. Not a number is non-canonical. */
function emitTranslate(e: Emitter, fns: MmuFunctions): void {
  const [s, fva, access] = [e.param<I32>(0), e.param<F64>(1), e.param<I32>(2)];
  const va = e.local<I64>(i64);
  const entry = e.local<I32>(i32);
  e.set(va, e.select(e.i64.truncSatF64s(e.get(fva)), e.i64.const(1n << 62n), e.f64.eq(e.get(fva), e.get(fva))));
  e.if(e.i32.eqz(e.tee(entry, e.call<I32>(fns.walk, e.get(s), e.get(va), e.get(access), e.i32.const(1)))), () =>
    e.return(e.i32.const(0)),
  );
  e.if(isAlias(e, entry), () => {
    e.i32.store(e.get(s), hostOf(e, entry, e.get(va)), State.aliasAddress);
    e.return(e.i32.const(ALIAS_HOST));
  });
  hostOf(e, entry, e.get(va));
}
