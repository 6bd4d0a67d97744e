/** A TLB entry in generated code (layout.ts), and what may be done with one. */
import type { Emitter, I32, I64, Local } from "./emitter.ts";
import { STACK_ACCESS } from "./frame.ts";

/** In a tag: the page is an alias frame's, and every access takes the slow path. Never equal to a page. */
export const ALIAS = 2n;

/** In a tag: breakpoints or misaligned operands are looked for, and every access takes the slow path. Never equal to a page. */
export const WATCHED = 4n;

export const Access = { read: 0, write: 1, execute: 2 } as const;

/** Address of the TLB entry for va. */
export function tlbEntry(e: Emitter, tlb: I32, va: Local<I64>): I32 {
  return e.i32.add(tlb, e.i32.and(e.i32.shrU(e.i32.wrap(e.get(va)), e.i32.const(7)), e.i32.const(0x3fe0)));
}

export function clearTags(e: Emitter, entry: Local<I32>): void {
  for (const tag of [0, 8, 16]) e.i64.store(e.get(entry), e.i64.const(-1), tag);
}

/** Is the access of n bytes (flag bits above 0xfff) at va in the page of that tag? */
export function tagMatches(e: Emitter, entry: Local<I32>, tag: number, va: Local<I64>, n: Local<I32>): I32 {
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

/** Bytes of the access, without flag bits. */
export function bytesOf(e: Emitter, n: Local<I32>): I32 {
  return e.i32.and(e.get(n), e.i32.const(STACK_ACCESS - 1));
}
/** Whether a filled entry stands for an alias frame; then `hostOf` gives the alias address. */
export function isAlias(e: Emitter, entry: Local<I32>): I32 {
  return e.i32.and(e.i32.load(e.get(entry), 0), e.i32.const(Number(ALIAS)));
}
/** Host address of va through an entry. */
export function hostOf(e: Emitter, entry: Local<I32>, va: I64): I32 {
  return e.i32.add(e.i32.wrap(va), e.i32.load(e.get(entry), 24));
}
