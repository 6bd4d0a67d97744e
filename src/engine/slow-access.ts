/**
 * The slow paths of loads and stores: TLB misses, page-crossing operands, stores to frames with decoded code, alias frames.
 *
 * An operand that crosses pages, or is in an alias frame, is put together in the vCPU's bounce buffer, and a write to it is committed from
 * there.
 */
import { Watching } from "./breakpoints.ts";
import { type Emitter, type I32, type I64, type Local, ValType } from "./emitter.ts";
import { ExitKind, Vector } from "./exits.ts";
import { BLOCK_ACCESS, NO_BLOCK } from "./frame.ts";
import { Header, State } from "./layout.ts";
import type { MmuFunctions } from "./mmu.ts";
import { Flag } from "./ops/row.ts";
import { record } from "./page-walk.ts";
import { Service } from "./service-numbers.ts";
import { storeSized } from "./sized.ts";
import { Access, bytesOf, hostOf, isAlias } from "./tlb-entry.ts";

const { i32, i64 } = ValType;

/** In the argument of `Service.watch`. */
const WATCHED_WRITE = 0x10000;

/** Bytes of the access in its first page when it crosses, as a local; 0 when it does not. */
function crossing(e: Emitter, va: Local<I64>, n: Local<I32>): Local<I32> {
  const first = e.local<I32>(i32);
  e.set(first, e.i32.sub(e.i32.const(4096), e.i32.and(e.i32.wrap(e.get(va)), e.i32.const(4095))));
  e.if(e.i32.geU(e.get(first), bytesOf(e, n)), () => e.set(first, e.i32.const(0)));
  return first;
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

/** `State.aliasFirst` and `aliasSecond` of a part in the domain's own memory. */
const OWN_MEMORY = -1;

/** Calls an alias service for some bytes at the alias address `at`, and of the bounce buffer from `offset` on. */
function aliasService(
  e: Emitter,
  fns: MmuFunctions,
  { s, what, at }: { s: Local<I32>; what: number; at: () => I32 },
  bytes: () => I32,
  offset: () => I32 = () => e.i32.const(0),
): void {
  e.i32.store(e.get(s), at(), State.aliasAddress);
  e.drop(e.call<I32>(fns.service, e.get(s), e.i32.const(what), e.i32.or(bytes(), e.i32.shl(offset(), e.i32.const(8)))));
}

/** Leaves a block of bytes in an alias frame to be done element by element. */
function refuseBlock(e: Emitter, n: Local<I32>): void {
  e.if(e.i32.and(e.get(n), e.i32.const(BLOCK_ACCESS)), () => e.return(e.i32.const(NO_BLOCK)));
}

/** Tells of the operand while breakpoints are looked for. What is watched is done element by element. */
function watch(e: Emitter, fns: MmuFunctions, s: Local<I32>, va: Local<I64>, n: Local<I32>, access: number): void {
  const watching = (): I32 => e.i32.load(e.get(s), State.watching);
  e.if(watching(), () => refuseBlock(e, n));
  e.if(e.i32.and(watching(), e.i32.const(Watching.breakpoints)), () => {
    e.i64.store(e.get(s), e.get(va), State.watchAddress);
    const write = access === Access.write ? WATCHED_WRITE : 0;
    e.drop(e.call<I32>(fns.service, e.get(s), e.i32.const(Service.watch), e.i32.or(bytesOf(e, n), e.i32.const(write))));
  });
}

/**
 * #AC where rflags.AC asks for aligned operands: Xen sets CR0.AM, and all guest code has CPL 3. As on AMD's processors it comes before what the pages
 * have to say. While AC is clear nothing gets here but what misses the TLB; Engine.run sees to that.
 */
function checkAlignment(
  e: Emitter,
  s: Local<I32>,
  va: Local<I64>,
  n: Local<I32>,
  leaveIfNotCanonical: () => void,
): void {
  e.if(e.i32.and(e.i32.load(e.get(s), State.flagsOther), e.i32.const(Flag.AC)), () =>
    e.if(e.i32.and(e.i32.wrap(e.get(va)), e.i32.sub(bytesOf(e, n), e.i32.const(1))), () => {
      leaveIfNotCanonical();
      record(e, s, ExitKind.exception, Vector.alignmentCheck, () => e.i32.const(0));
      e.return(e.i32.const(0));
    }),
  );
}

export function emitReadHost(e: Emitter, fns: MmuFunctions): void {
  const [s, va, n] = [e.param<I32>(0), e.param<I64>(1), e.param<I32>(2)];
  const entry = e.local<I32>(i32);
  const first = crossing(e, va, n);
  const host = e.local<I32>(i32);
  const i = e.local<I32>(i32);
  const second = e.local<I64>(i64);
  const { walkOrLeave, leaveIfNotCanonical } = walking(e, fns, { s, entry, n }, Access.read);
  const bounce = (): I32 => e.i32.add(e.get(s), e.i32.const(State.bounce));
  watch(e, fns, s, va, n, Access.read);
  e.set(second, e.i64.add(e.get(va), e.i64.extendI32u(e.get(first))));
  leaveIfNotCanonical(second);
  checkAlignment(e, s, va, n, () => leaveIfNotCanonical(va));
  walkOrLeave(() => e.get(va));
  e.set(host, hostOf(e, entry, e.get(va)));
  const alias = e.local<I32>(i32);
  e.set(alias, isAlias(e, entry));
  e.if(e.i32.eqz(e.get(first)), () => {
    e.if(e.get(alias), () => {
      refuseBlock(e, n);
      aliasService(e, fns, { s, what: Service.aliasRead, at: () => e.get(host) }, () => bytesOf(e, n));
      e.return(bounce());
    });
    e.return(e.get(host));
  });
  // The second page may evict the first one's entry, but `host` stays right.
  walkOrLeave(() => e.get(second));
  gather(e, fns, { s, i, host: host }, e.get(alias), () => e.get(first));
  e.set(host, hostOf(e, entry, e.get(second)));
  e.set(n, e.i32.sub(bytesOf(e, n), e.get(first)));
  gather(
    e,
    fns,
    { s, i, host: host },
    isAlias(e, entry),
    () => e.get(n),
    () => e.get(first),
  );
  bounce();
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

/**
 * Puts the bytes of one page's part of an operand, which begins at `host`, into the bounce buffer from `offset` on. `_alias` is on the stack:
 * whether `host` is an alias address.
 */
function gather(
  e: Emitter,
  fns: MmuFunctions,
  { s, i, host }: { s: Local<I32>; i: Local<I32>; host: Local<I32> },
  _alias: I32,
  bytes: () => I32,
  offset?: () => I32,
): void {
  e.if(
    _alias,
    () => aliasService(e, fns, { s, what: Service.aliasRead, at: () => e.get(host) }, bytes, offset),
    () =>
      copyBytes(
        e,
        i,
        bytes(),
        () => e.i32.add(offset ? e.i32.add(e.get(s), offset()) : e.get(s), e.get(i)),
        State.bounce,
        () => e.i32.add(e.get(host), e.get(i)),
        0,
      ),
  );
}

/** Drops decoded code under a write of `bytes` at `host`. */
function invalidateAt(e: Emitter, fns: MmuFunctions, entry: Local<I32>, va: () => I64, bytes: () => I32): void {
  const codePage = e.local<I32>(i32);
  e.set(codePage, e.i32.load(e.get(entry), 28));
  e.if(e.i32.ne(e.get(codePage), e.i32.const(Header.nullPage)), () =>
    e.callVoid(fns.invalidate, e.get(codePage), e.i32.and(e.i32.wrap(va()), e.i32.const(4095)), bytes()),
  );
}

export function emitModifyHost(e: Emitter, fns: MmuFunctions): void {
  const [s, va, n] = [e.param<I32>(0), e.param<I64>(1), e.param<I32>(2)];
  const entry = e.local<I32>(i32);
  const first = crossing(e, va, n);
  const host = e.local<I32>(i32);
  const host2 = e.local<I32>(i32);
  const second = e.local<I64>(i64);
  const i = e.local<I32>(i32);
  const rest = e.local<I32>(i32);
  const alias = e.local<I32>(i32);
  const { walkOrLeave, leaveIfNotCanonical } = walking(e, fns, { s, entry, n }, Access.write);
  const bounce = (): I32 => e.i32.add(e.get(s), e.i32.const(State.bounce));
  watch(e, fns, s, va, n, Access.write);
  e.set(second, e.i64.add(e.get(va), e.i64.extendI32u(e.get(first))));
  leaveIfNotCanonical(second);
  checkAlignment(e, s, va, n, () => leaveIfNotCanonical(va));
  walkOrLeave(() => e.get(va));
  e.set(host, hostOf(e, entry, e.get(va)));
  e.set(alias, isAlias(e, entry));
  e.if(e.i32.eqz(e.get(first)), () => {
    e.if(e.get(alias), () => {
      refuseBlock(e, n);
      const at = (): I32 => e.get(host);
      aliasService(e, fns, { s, what: Service.aliasModify, at }, () => bytesOf(e, n));
      e.i32.store(e.get(s), e.get(host), State.aliasFirst);
      e.i32.store(e.get(s), bytesOf(e, n), State.splitAt);
      e.i32.store(e.get(s), e.i32.const(0), State.splitSize);
      e.return(bounce());
    });
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
  e.i32.store(e.get(s), e.select(e.get(host), e.i32.const(OWN_MEMORY), e.get(alias)), State.aliasFirst);
  e.i32.store(e.get(s), e.select(e.get(host2), e.i32.const(OWN_MEMORY), isAlias(e, entry)), State.aliasSecond);
  gather(e, fns, { s, i, host: host }, e.get(alias), () => e.get(first));
  gather(
    e,
    fns,
    { s, i, host: host2 },
    isAlias(e, entry),
    () => e.get(rest),
    () => e.get(first),
  );
  bounce();
}

export function emitCommit(e: Emitter, fns: MmuFunctions): void {
  const s = e.param<I32>(0);
  const i = e.local<I32>(i32);
  const to = e.local<I32>(i32);
  const first = e.local<I32>(i32);
  const rest = e.local<I32>(i32);
  e.set(first, e.i32.load(e.get(s), State.splitAt));
  e.set(rest, e.i32.load(e.get(s), State.splitSize));
  e.if(
    e.i32.ne(e.tee(to, e.i32.load(e.get(s), State.aliasFirst)), e.i32.const(OWN_MEMORY)),
    () => aliasService(e, fns, { s, what: Service.aliasWrite, at: () => e.get(to) }, () => e.get(first)),
    () => {
      e.set(to, e.i32.load(e.get(s), State.splitFirst));
      copyBytes(
        e,
        i,
        e.get(first),
        () => e.i32.add(e.get(to), e.get(i)),
        0,
        () => e.i32.add(e.get(s), e.get(i)),
        State.bounce,
      );
    },
  );
  e.if(e.i32.eqz(e.get(rest)), () => e.return());
  e.if(
    e.i32.ne(e.tee(to, e.i32.load(e.get(s), State.aliasSecond)), e.i32.const(OWN_MEMORY)),
    () =>
      aliasService(
        e,
        fns,
        { s, what: Service.aliasWrite, at: () => e.get(to) },
        () => e.get(rest),
        () => e.get(first),
      ),
    () => {
      e.set(to, e.i32.load(e.get(s), State.splitSecond));
      copyBytes(
        e,
        i,
        e.get(rest),
        () => e.i32.add(e.get(to), e.get(i)),
        0,
        () => e.i32.add(e.i32.add(e.get(s), e.get(first)), e.get(i)),
        State.bounce,
      );
    },
  );
}

/** A locked update within one alias frame is an exchange there; one that crosses pages is committed in parts. */
export function emitCommitLocked(e: Emitter, fns: MmuFunctions): void {
  const s = e.param<I32>(0);
  e.if(
    e.i32.eqz(
      e.i32.or(
        e.i32.load(e.get(s), State.splitSize),
        e.i32.eq(e.i32.load(e.get(s), State.aliasFirst), e.i32.const(OWN_MEMORY)),
      ),
    ),
    () => {
      e.i32.store(e.get(s), e.i32.load(e.get(s), State.aliasFirst), State.aliasAddress);
      e.return(
        e.call<I32>(fns.service, e.get(s), e.i32.const(Service.aliasExchange), e.i32.load(e.get(s), State.splitAt)),
      );
    },
  );
  e.callVoid(fns.commit, e.get(s));
  e.i32.const(0);
}

export function emitStore(e: Emitter, fns: MmuFunctions, fast: boolean): void {
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
