/**
 * Address translation, all in generated code: TLB fill by a 4-level walk, the slow paths of loads and stores, and what drops translations.
 *
 * A TLB entry (layout.ts) has three tags, the virtual page for which reading, writing, executing is allowed without another look, or -1; an addend
 * (host address minus virtual address, low 32 bits); and the frame's code page. All tags that are not -1 are of one page.
 *
 * Invariants: an addend only ever points into the domain's frames; the write tag is set only when the leaf's dirty bit is set, and marked (SLOW) when
 * the frame has decoded code. All guest code runs at CPL 3, so every level must have U/S set. NX counts (EFER.NXE is on).
 */

import { type Emitter, type F64, type Fn, type I32, type I64, type Local, ValType } from "./emitter.ts";
import { ExitKind, Vector } from "./exits.ts";
import { STACK_ACCESS } from "./frame.ts";
import { Header, State, TLB_BYTES, TLB_ENTRY_BYTES, VCPU_BYTES } from "./layout.ts";
import { CodePage, LINE_TABLE_BYTES, Pseudo, Rec } from "./record.ts";
import { storeSized } from "./sized.ts";
import type { ModuleBuilder } from "./wasm-module.ts";

export const Access = { read: 0, write: 1, execute: 2 } as const;

/** In a write tag: writing is allowed, but the frame has decoded code, so every store takes the slow path. Never equal to a page. */
const SLOW = 1n;

const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const LARGE = 0x80;
/** Physical addresses have 44 bits, so a frame number has 32. */
const RESERVED_HIGH = ((1n << 52n) - 1n) & ~((1n << 44n) - 1n);
/** Page-fault error code bits. */
const Pf = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

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
  /** (codePage, offset, bytes): decoded code in that range is gone. */
  invalidate: Fn;
  dropFrame: Fn;
}

export function declareMmu(m: ModuleBuilder): MmuFunctions {
  return {
    walk: m.declare("walk", [i32, i64, i32, i32], [i32]),
    readHost: m.declare("readHost", [i32, i64, i32], [i32]),
    readFast: m.declare("readFast", [i32, i64, i32], [i32]),
    modifyHost: m.declare("modifyHost", [i32, i64, i32], [i32]),
    modifyFast: m.declare("modifyFast", [i32, i64, i32], [i32]),
    store: m.declare("store", [i32, i64, i32, i64], [i32]),
    storeFast: m.declare("storeFast", [i32, i64, i32, i64], [i32]),
    commit: m.declare("commit", [i32], []),
    invalidate: m.declare("invalidate", [i32, i32, i32], []),
    dropFrame: m.declare("dropFrame", [i32, i32], []),
  };
}

/** Address of the TLB entry for va. */
export function tlbEntry(e: Emitter, tlb: I32, va: Local<I64>): I32 {
  return e.i32.add(tlb, e.i32.and(e.i32.shrU(e.i32.wrap(e.get(va)), e.i32.const(7)), e.i32.const(0x3fe0)));
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
  m.define(fns.commit, e, () => emitCommit(e));
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

function clearTags(e: Emitter, entry: Local<I32>): void {
  for (const tag of [0, 8, 16]) e.i64.store(e.get(entry), e.i64.const(-1), tag);
}

/** Is the access of n bytes (flag bits above 0xfff) at va in the page of that tag? */
function tagMatches(e: Emitter, entry: Local<I32>, tag: number, va: Local<I64>, n: Local<I32>): I32 {
  return e.i64.eq(
    e.i64.load(e.get(entry), tag),
    e.i64.and(
      e.i64.sub(
        e.i64.add(e.get(va), e.i64.extendI32u(e.i32.and(e.get(n), e.i32.const(STACK_ACCESS - 1)))),
        e.i64.const(1),
      ),
      e.i64.const(-4096),
    ),
  );
}

function record(e: Emitter, s: Local<I32>, kind: number, vector: number, errorCode: () => I32, marker = 0): void {
  e.i32.store(e.get(s), e.i32.const(kind), State.exitKind);
  e.i32.store(e.get(s), e.i32.const(vector), State.exitVector);
  e.i32.store(e.get(s), errorCode(), State.exitErrorCode);
  e.i32.store(e.get(s), e.i32.const(marker), State.exitLength);
}

/** Marks a #GP in `exitLength` that is #SS when the record's operand is in the stack segment. */
export const NON_CANONICAL_MARK = -1;

function emitWalk(e: Emitter): void {
  const s = e.param<I32>(0);
  const va = e.param<I64>(1);
  const access = e.param<I32>(2);
  const size = e.param<I32>(3);
  const entry = e.local<I32>(i32);
  const frame = e.local<I32>(i32);
  const pte = e.local<I64>(i64);
  const all = e.local<I64>(i64);
  const any = e.local<I64>(i64);
  const error = e.local<I32>(i32);
  const page = e.local<I64>(i64);
  const at = [0, 1, 2, 3].map(() => e.local<I32>(i32));
  const ptes = [0, 1, 2, 3].map(() => e.local<I64>(i64));
  const leaf = e.local<I32>(i32);

  e.if(e.i64.ne(e.i64.shrS(e.i64.shl(e.get(va), e.i64.const(16)), e.i64.const(16)), e.get(va)), () => {
    record(e, s, ExitKind.exception, Vector.generalProtection, () => e.i32.const(0), NON_CANONICAL_MARK);
    e.if(e.i32.and(e.get(size), e.i32.const(STACK_ACCESS)), () =>
      e.i32.store(e.get(s), e.i32.const(Vector.stackFault), State.exitVector),
    );
    e.return(e.i32.const(0));
  });
  e.set(entry, tlbEntry(e, e.i32.load(e.get(s), State.tlb), va));
  e.set(page, e.i64.and(e.get(va), e.i64.const(-4096)));
  const tag = (): I64 => e.i64.load(e.i32.add(e.get(entry), e.i32.shl(e.get(access), e.i32.const(3))), 0);
  e.if(e.i64.eq(e.i64.and(tag(), e.i64.const(~SLOW)), e.get(page)), () => e.return(e.get(entry)));
  e.i64.store(e.get(s), e.i64.add(e.i64.load(e.get(s), State.tlbMisses), e.i64.const(1)), State.tlbMisses);

  const header = (offset: number): I32 => e.i32.load(e.i32.const(0), offset);
  const badFrame = (): void => {
    e.if(e.i32.geU(e.get(frame), header(Header.frames)), () => {
      e.i64.store(e.get(s), e.get(va), State.cr2);
      record(e, s, ExitKind.badFrame, 0, () => e.i32.const(0));
      e.return(e.i32.const(0));
    });
  };
  const frameOf = (v: Local<I64>): I32 =>
    e.i32.sub(
      e.i32.wrap(e.i64.shrU(e.i64.and(e.get(v), e.i64.const((1n << 52n) - 1n)), e.i64.const(12))),
      header(Header.baseMfn),
    );

  e.set(
    error,
    e.select(e.i32.const(Pf.user | Pf.write), e.i32.const(Pf.user), e.i32.eq(e.get(access), e.i32.const(Access.write))),
  );
  e.if(e.i32.eq(e.get(access), e.i32.const(Access.execute)), () => e.set(error, e.i32.const(Pf.user | Pf.fetch)));
  e.set(
    frame,
    e.i32.sub(
      e.select(
        e.i32.load(e.get(s), State.cr3Kernel),
        e.i32.load(e.get(s), State.cr3User),
        e.i32.load(e.get(s), State.kernelMode),
      ),
      header(Header.baseMfn),
    ),
  );
  e.set(all, e.i64.const(-1));
  e.block((fault) => {
    e.block((found) => {
      for (let level = 3; level >= 0; level--) {
        const shift = 12 + 9 * level;
        badFrame();
        e.set(
          at[level]!,
          e.i32.add(
            e.i32.add(header(Header.ramOffset), e.i32.shl(e.get(frame), e.i32.const(12))),
            e.i32.and(e.i32.wrap(e.i64.shrU(e.get(va), e.i64.const(shift - 3))), e.i32.const(0xff8)),
          ),
        );
        e.set(pte, e.i64.load(e.get(at[level]!)));
        e.set(ptes[level]!, e.get(pte));
        e.brIf(fault, e.i32.eqz(e.i32.and(e.i32.wrap(e.get(pte)), e.i32.const(PRESENT))));
        // 1 GiB pages are not offered, so PS is reserved in the upper two.
        const reserved = level >= 2 ? RESERVED_HIGH | BigInt(LARGE) : RESERVED_HIGH;
        e.if(e.i64.ne(e.i64.and(e.get(pte), e.i64.const(reserved)), e.i64.const(0)), () => {
          e.set(error, e.i32.or(e.get(error), e.i32.const(Pf.present | Pf.reserved)));
          e.br(fault);
        });
        e.set(all, e.i64.and(e.get(all), e.get(pte)));
        e.set(any, e.i64.or(e.get(any), e.get(pte)));
        e.set(frame, frameOf(pte));
        if (level === 1) {
          e.if(e.i32.and(e.i32.wrap(e.get(pte)), e.i32.const(LARGE)), () => {
            e.if(e.i64.ne(e.i64.and(e.get(pte), e.i64.const(0x1fe000)), e.i64.const(0)), () => {
              e.set(error, e.i32.or(e.get(error), e.i32.const(Pf.present | Pf.reserved)));
              e.br(fault);
            });
            // The frame: bits 51..21 of the entry, the 4 KiB page within by the address.
            e.set(
              frame,
              e.i32.sub(
                e.i32.or(
                  e.i32.and(e.i32.add(e.get(frame), header(Header.baseMfn)), e.i32.const(~0x1ff)),
                  e.i32.and(e.i32.wrap(e.i64.shrU(e.get(va), e.i64.const(12))), e.i32.const(0x1ff)),
                ),
                header(Header.baseMfn),
              ),
            );
            e.set(leaf, e.get(at[1]!));
            e.br(found);
          });
        }
      }
      e.set(leaf, e.get(at[0]!));
    });
    // All levels are there: rights.
    e.set(error, e.i32.or(e.get(error), e.i32.const(Pf.present)));
    e.brIf(fault, e.i32.eqz(e.i32.and(e.i32.wrap(e.get(all)), e.i32.const(USER))));
    e.brIf(
      fault,
      e.i32.and(
        e.i32.eq(e.get(access), e.i32.const(Access.write)),
        e.i32.eqz(e.i32.and(e.i32.wrap(e.get(all)), e.i32.const(WRITABLE))),
      ),
    );
    e.brIf(
      fault,
      e.i32.and(e.i32.eq(e.get(access), e.i32.const(Access.execute)), e.i64.ltS(e.get(any), e.i64.const(0))),
    );
    badFrame();
    // Accessed and dirty bits.
    for (let level = 3; level >= 1; level--) {
      e.if(e.i32.eqz(e.i32.and(e.i32.wrap(e.get(ptes[level]!)), e.i32.const(ACCESSED))), () => {
        // An L2 entry's slot is only walked through when it was read; `at` of levels not reached is never stored to, as the leaf is the last.
        e.i64.store(e.get(at[level]!), e.i64.or(e.get(ptes[level]!), e.i64.const(ACCESSED)));
        e.set(ptes[level]!, e.i64.or(e.get(ptes[level]!), e.i64.const(ACCESSED)));
      });
    }
    const wanted = (): I64 =>
      e.i64.or(
        e.i64.const(ACCESSED),
        e.select(e.i64.const(DIRTY), e.i64.const(0), e.i32.eq(e.get(access), e.i32.const(Access.write))),
      );
    // `pte` is the leaf as it was read; a large page's A was just set.
    e.set(pte, e.select(e.get(ptes[1]!), e.get(pte), e.i32.eq(e.get(leaf), e.get(at[1]!))));
    e.if(e.i64.ne(e.i64.and(wanted(), e.i64.xor(e.get(pte), e.i64.const(-1))), e.i64.const(0)), () => {
      e.set(pte, e.i64.or(e.get(pte), wanted()));
      e.i64.store(e.get(leaf), e.get(pte));
    });
    // Fill. Tags of another page go first.
    e.if(
      e.i32.eqz(
        e.i32.or(
          e.i32.or(
            e.i64.eq(e.i64.load(e.get(entry), 0), e.get(page)),
            e.i64.eq(e.i64.load(e.get(entry), 8), e.get(page)),
          ),
          e.i64.eq(e.i64.load(e.get(entry), 16), e.get(page)),
        ),
      ),
      () => clearTags(e, entry),
    );
    const host = e.local<I32>(i32);
    const codePage = e.local<I32>(i32);
    e.set(host, e.i32.add(header(Header.ramOffset), e.i32.shl(e.get(frame), e.i32.const(12))));
    const oldAddend = e.local<I32>(i32);
    e.set(oldAddend, e.i32.load(e.get(entry), 24));
    e.i32.store(e.get(entry), e.i32.sub(e.get(host), e.i32.wrap(e.get(page))), 24);
    // The page may have been mapped elsewhere since: what stood for the old frame goes.
    e.if(e.i32.ne(e.get(oldAddend), e.i32.load(e.get(entry), 24)), () => clearTags(e, entry));
    e.set(codePage, e.i32.load(e.i32.add(header(Header.frameTable), e.i32.shl(e.get(frame), e.i32.const(2)))));
    e.i32.store(e.get(entry), e.select(e.get(codePage), e.i32.const(Header.nullPage), e.get(codePage)), 28);
    e.i64.store(e.get(entry), e.get(page), 0);
    e.if(e.i32.eq(e.get(access), e.i32.const(Access.execute)), () => e.i64.store(e.get(entry), e.get(page), 16));
    e.if(
      e.i32.and(
        e.i32.ne(e.i32.and(e.i32.wrap(e.get(all)), e.i32.const(WRITABLE)), e.i32.const(0)),
        e.i32.ne(e.i32.and(e.i32.wrap(e.get(pte)), e.i32.const(DIRTY)), e.i32.const(0)),
      ),
      () =>
        e.i64.store(
          e.get(entry),
          e.i64.or(e.get(page), e.select(e.i64.const(0), e.i64.const(SLOW), hasNoCode(e, codePage))),
          8,
        ),
    );
    e.return(e.get(entry));
  });
  e.i64.store(e.get(s), e.get(va), State.cr2);
  record(e, s, ExitKind.exception, Vector.pageFault, () => e.get(error));
  e.i32.const(0);
}

/** The frame with this code page (0: none) may be written without looking. */
function hasNoCode(e: Emitter, codePage: Local<I32>): I32 {
  return e.choose<I32>(
    i32,
    e.get(codePage),
    () =>
      e.i32.and(
        e.i32.eqz(e.i32.load(e.get(codePage), CodePage.lines)),
        e.i32.eqz(e.i32.load(e.get(codePage), CodePage.crossRecord)),
      ),
    () => e.i32.const(1),
  );
}

/** Bytes of the access, without flag bits. */
function bytesOf(e: Emitter, n: Local<I32>): I32 {
  return e.i32.and(e.get(n), e.i32.const(STACK_ACCESS - 1));
}
/** Bytes of the access in its first page when it crosses, as a local; 0 when it does not. */
function crossing(e: Emitter, va: Local<I64>, n: Local<I32>): Local<I32> {
  const first = e.local<I32>(i32);
  e.set(first, e.i32.sub(e.i32.const(4096), e.i32.and(e.i32.wrap(e.get(va)), e.i32.const(4095))));
  e.if(e.i32.geU(e.get(first), bytesOf(e, n)), () => e.set(first, e.i32.const(0)));
  return first;
}
function hostOf(e: Emitter, entry: Local<I32>, va: I64): I32 {
  return e.i32.add(e.i32.wrap(va), e.i32.load(e.get(entry), 24));
}

function walking(
  e: Emitter,
  fns: MmuFunctions,
  { s, entry, n }: { s: Local<I32>; entry: Local<I32>; n: Local<I32> },
  access: number,
) {
  /** Sets `entry`; returns 0 from the function on a fault. */
  const walkOrLeave = (address: () => I64): void =>
    e.if(e.i32.eqz(e.tee(entry, e.call<I32>(fns.walk, e.get(s), address(), e.i32.const(access), e.get(n)))), () =>
      e.return(e.i32.const(0)),
    );
  /** Running out of the canonical range comes before a page fault of the first part. */
  const leaveIfNotCanonical = (address: Local<I64>): void =>
    e.if(e.i64.ne(e.i64.shrS(e.i64.shl(e.get(address), e.i64.const(16)), e.i64.const(16)), e.get(address)), () =>
      walkOrLeave(() => e.get(address)),
    );
  return { walkOrLeave, leaveIfNotCanonical };
}

function emitReadHost(e: Emitter, fns: MmuFunctions): void {
  const [s, va, n] = [e.param<I32>(0), e.param<I64>(1), e.param<I32>(2)];
  const entry = e.local<I32>(i32);
  const first = crossing(e, va, n);
  const host = e.local<I32>(i32);
  const i = e.local<I32>(i32);
  const second = e.local<I64>(i64);
  const { walkOrLeave, leaveIfNotCanonical } = walking(e, fns, { s, entry, n }, Access.read);
  e.set(second, e.i64.add(e.get(va), e.i64.extendI32u(e.get(first))));
  leaveIfNotCanonical(second);
  walkOrLeave(() => e.get(va));
  e.set(host, hostOf(e, entry, e.get(va)));
  e.if(e.i32.eqz(e.get(first)), () => e.return(e.get(host)));
  // The second page may evict the first one's entry, but `host` stays right.
  walkOrLeave(() => e.get(second));
  copyBytes(
    e,
    i,
    e.get(first),
    () => e.i32.add(e.get(s), e.get(i)),
    State.bounce,
    () => e.i32.add(e.get(host), e.get(i)),
    0,
  );
  e.set(host, hostOf(e, entry, e.get(second)));
  e.set(n, e.i32.sub(bytesOf(e, n), e.get(first)));
  copyBytes(
    e,
    i,
    e.get(n),
    () => e.i32.add(e.i32.add(e.get(s), e.get(first)), e.get(i)),
    State.bounce,
    () => e.i32.add(e.get(host), e.get(i)),
    0,
  );
  e.i32.add(e.get(s), e.i32.const(State.bounce));
}

/** for (i = count; i-- > 0;) to[i] = from[i]; the count is on the stack. */
function copyBytes(
  e: Emitter,
  i: Local<I32>,
  _count: I32,
  to: () => I32,
  toOffset: number,
  from: () => I32,
  fromOffset: number,
): void {
  e.set(i, _count);
  e.block((done) => {
    e.loop((again) => {
      e.brIf(done, e.i32.eqz(e.get(i)));
      e.set(i, e.i32.sub(e.get(i), e.i32.const(1)));
      e.i32.store8(to(), e.i32.load8u(from(), fromOffset), toOffset);
      e.br(again);
    });
  });
}

/** Drops decoded code under a write of `bytes` at `host`. */
function invalidateAt(e: Emitter, fns: MmuFunctions, entry: Local<I32>, va: () => I64, bytes: () => I32): void {
  const codePage = e.local<I32>(i32);
  e.set(codePage, e.i32.load(e.get(entry), 28));
  e.if(e.i32.ne(e.get(codePage), e.i32.const(Header.nullPage)), () =>
    e.callVoid(fns.invalidate, e.get(codePage), e.i32.and(e.i32.wrap(va()), e.i32.const(4095)), bytes()),
  );
}

function emitModifyHost(e: Emitter, fns: MmuFunctions): void {
  const [s, va, n] = [e.param<I32>(0), e.param<I64>(1), e.param<I32>(2)];
  const entry = e.local<I32>(i32);
  const first = crossing(e, va, n);
  const host = e.local<I32>(i32);
  const host2 = e.local<I32>(i32);
  const second = e.local<I64>(i64);
  const i = e.local<I32>(i32);
  const rest = e.local<I32>(i32);
  const { walkOrLeave, leaveIfNotCanonical } = walking(e, fns, { s, entry, n }, Access.write);
  e.set(second, e.i64.add(e.get(va), e.i64.extendI32u(e.get(first))));
  leaveIfNotCanonical(second);
  walkOrLeave(() => e.get(va));
  e.set(host, hostOf(e, entry, e.get(va)));
  e.if(e.i32.eqz(e.get(first)), () => {
    invalidateAt(
      e,
      fns,
      entry,
      () => e.get(va),
      () => bytesOf(e, n),
    );
    e.return(e.get(host));
  });
  const codePage = e.local<I32>(i32);
  e.set(codePage, e.i32.load(e.get(entry), 28));
  walkOrLeave(() => e.get(second));
  e.set(host2, hostOf(e, entry, e.get(second)));
  e.set(rest, e.i32.sub(bytesOf(e, n), e.get(first)));
  // Both parts may be written: from here on it happens.
  e.if(e.i32.ne(e.get(codePage), e.i32.const(Header.nullPage)), () =>
    e.callVoid(fns.invalidate, e.get(codePage), e.i32.and(e.i32.wrap(e.get(va)), e.i32.const(4095)), e.get(first)),
  );
  invalidateAt(
    e,
    fns,
    entry,
    () => e.get(second),
    () => e.get(rest),
  );
  e.i32.store(e.get(s), e.get(host), State.splitFirst);
  e.i32.store(e.get(s), e.get(host2), State.splitSecond);
  e.i32.store(e.get(s), e.get(first), State.splitAt);
  e.i32.store(e.get(s), e.get(rest), State.splitSize);
  copyBytes(
    e,
    i,
    e.get(first),
    () => e.i32.add(e.get(s), e.get(i)),
    State.bounce,
    () => e.i32.add(e.get(host), e.get(i)),
    0,
  );
  copyBytes(
    e,
    i,
    e.get(rest),
    () => e.i32.add(e.i32.add(e.get(s), e.get(first)), e.get(i)),
    State.bounce,
    () => e.i32.add(e.get(host2), e.get(i)),
    0,
  );
  e.i32.add(e.get(s), e.i32.const(State.bounce));
}

function emitCommit(e: Emitter): void {
  const s = e.param<I32>(0);
  const i = e.local<I32>(i32);
  const to = e.local<I32>(i32);
  const first = e.local<I32>(i32);
  e.set(to, e.i32.load(e.get(s), State.splitFirst));
  e.set(first, e.i32.load(e.get(s), State.splitAt));
  copyBytes(
    e,
    i,
    e.get(first),
    () => e.i32.add(e.get(to), e.get(i)),
    0,
    () => e.i32.add(e.get(s), e.get(i)),
    State.bounce,
  );
  e.set(to, e.i32.load(e.get(s), State.splitSecond));
  copyBytes(
    e,
    i,
    e.i32.load(e.get(s), State.splitSize),
    () => e.i32.add(e.get(to), e.get(i)),
    0,
    () => e.i32.add(e.i32.add(e.get(s), e.get(first)), e.get(i)),
    State.bounce,
  );
}

function emitStore(e: Emitter, fns: MmuFunctions, fast: boolean): void {
  const [s, va, n, value] = [e.param<I32>(0), e.param<I64>(1), e.param<I32>(2), e.param<I64>(3)];
  const host = e.local<I32>(i32);
  const bytes = e.local<I32>(i32);
  e.if(e.i32.eqz(e.tee(host, e.call<I32>(fast ? fns.modifyFast : fns.modifyHost, e.get(s), e.get(va), e.get(n)))), () =>
    e.return(e.i32.const(0)),
  );
  e.set(bytes, bytesOf(e, n));
  for (const size of [8, 4, 2, 1] as const)
    e.if(e.i32.eq(e.get(bytes), e.i32.const(size)), () => storeSized(e, size, e.get(host), e.get(value), 0));
  e.if(e.i32.eq(e.get(host), e.i32.add(e.get(s), e.i32.const(State.bounce))), () => e.callVoid(fns.commit, e.get(s)));
  e.i32.const(1);
}

/**
 * Decoded code whose bytes overlap [offset, offset + bytes) of the page goes: its records are poisoned in place, so that code running in them looks
 * itself up again, and its lines are dropped. An instruction is at most 15 bytes long.
 */
function emitInvalidate(e: Emitter): void {
  const [codePage, offset, bytes] = [e.param<I32>(0), e.param<I32>(1), e.param<I32>(2)];
  const line = e.local<I32>(i32);
  const last = e.local<I32>(i32);
  const table = e.local<I32>(i32);
  const i = e.local<I32>(i32);
  const rec = e.local<I32>(i32);
  // A crossing instruction ends in this page's first bytes.
  e.if(
    e.i32.and(
      e.i32.ltU(e.get(offset), e.i32.const(15)),
      e.i32.ne(e.i32.load(e.get(codePage), CodePage.crossRecord), e.i32.const(0)),
    ),
    () => {
      e.i32.store16(e.i32.load(e.get(codePage), CodePage.crossRecord), e.i32.const(Pseudo.lookup), Rec.handler);
      e.i32.store(e.i32.load(e.get(codePage), CodePage.crossSlot), e.i32.const(0));
      e.i32.store(e.get(codePage), e.i32.const(0), CodePage.crossRecord);
    },
  );
  e.if(e.i32.eqz(e.i32.load(e.get(codePage), CodePage.lines)), () => e.return());
  e.set(
    line,
    e.i32.shrU(
      e.select(e.i32.sub(e.get(offset), e.i32.const(14)), e.i32.const(0), e.i32.geU(e.get(offset), e.i32.const(14))),
      e.i32.const(6),
    ),
  );
  e.set(last, e.i32.shrU(e.i32.sub(e.i32.add(e.get(offset), e.get(bytes)), e.i32.const(1)), e.i32.const(6)));
  e.loop((nextLine) => {
    const slot = (): I32 => e.i32.add(e.get(codePage), e.i32.shl(e.get(line), e.i32.const(2)));
    e.set(table, e.i32.load(slot()));
    e.if(e.i32.ne(e.get(table), e.i32.const(Header.nullLine)), () => {
      e.set(i, e.i32.const(0));
      e.loop((nextRecord) => {
        e.set(rec, e.i32.load(e.i32.add(e.get(table), e.get(i))));
        e.if(e.get(rec), () => {
          e.i32.store16(e.get(rec), e.i32.const(Pseudo.lookup), Rec.handler);
          e.i32.store(e.i32.add(e.get(table), e.get(i)), e.i32.const(0));
        });
        e.brIf(nextRecord, e.i32.ltU(e.tee(i, e.i32.add(e.get(i), e.i32.const(4))), e.i32.const(LINE_TABLE_BYTES)));
      });
      e.i32.store(slot(), e.i32.const(Header.nullLine));
      e.i32.store(
        e.get(codePage),
        e.i32.sub(e.i32.load(e.get(codePage), CodePage.lines), e.i32.const(1)),
        CodePage.lines,
      );
    });
    e.brIf(nextLine, e.i32.leU(e.tee(line, e.i32.add(e.get(line), e.i32.const(1))), e.get(last)));
  });
}

/** Forgets what all TLBs of all vCPUs have of a frame: the write tags, or everything. */
function emitDropFrame(e: Emitter): void {
  const [hostPage, all] = [e.param<I32>(0), e.param<I32>(1)];
  const entry = e.local<I32>(i32);
  const end = e.local<I32>(i32);
  const vcpu = e.local<I32>(i32);
  const page = e.local<I64>(i64);
  const vcpusEnd = e.local<I32>(i32);
  e.set(vcpu, e.i32.load(e.i32.const(0), Header.vcpusStart));
  e.set(vcpusEnd, e.i32.load(e.i32.const(0), Header.vcpusEnd));
  e.loop((nextVcpu) => {
    e.set(entry, e.i32.add(e.get(vcpu), e.i32.const(State.kernelTlb)));
    e.set(end, e.i32.add(e.get(entry), e.i32.const(2 * TLB_BYTES)));
    e.loop((nextEntry) => {
      e.set(page, e.i64.load(e.get(entry), 0));
      // The read tag is set whenever one of the others is.
      e.if(
        e.i32.and(
          e.i32.eq(e.i32.add(e.i32.wrap(e.get(page)), e.i32.load(e.get(entry), 24)), e.get(hostPage)),
          e.i64.ne(e.get(page), e.i64.const(-1)),
        ),
        () => {
          e.i64.store(e.get(entry), e.i64.const(-1), 8);
          e.if(e.get(all), () => clearTags(e, entry));
        },
      );
      e.brIf(nextEntry, e.i32.ne(e.tee(entry, e.i32.add(e.get(entry), e.i32.const(TLB_ENTRY_BYTES))), e.get(end)));
    });
    e.brIf(nextVcpu, e.i32.ltU(e.tee(vcpu, e.i32.add(e.get(vcpu), e.i32.const(VCPU_BYTES))), e.get(vcpusEnd)));
  });
}

/** (vcpu, va f64, access) -> host address or 0. Not a number is non-canonical. */
function emitTranslate(e: Emitter, fns: MmuFunctions): void {
  const [s, fva, access] = [e.param<I32>(0), e.param<F64>(1), e.param<I32>(2)];
  const va = e.local<I64>(i64);
  const entry = e.local<I32>(i32);
  e.set(va, e.select(e.i64.truncSatF64s(e.get(fva)), e.i64.const(1n << 62n), e.f64.eq(e.get(fva), e.get(fva))));
  e.if(e.i32.eqz(e.tee(entry, e.call<I32>(fns.walk, e.get(s), e.get(va), e.get(access), e.i32.const(1)))), () =>
    e.return(e.i32.const(0)),
  );
  hostOf(e, entry, e.get(va));
}
