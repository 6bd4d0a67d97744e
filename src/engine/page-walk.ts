/**
 * The 4-level page walk and TLB fill (Intel SDM vol. 3, chapter 4): rights, accessed and dirty bits, exact error codes.
 */
import { type Emitter, type I32, type I64, type Local, ValType } from "./emitter.ts";
import { ExitKind, Vector } from "./exits.ts";
import { STACK_ACCESS } from "./frame.ts";
import { Header, State } from "./layout.ts";
import { CodePage } from "./record.ts";
import { Access, ALIAS, clearTags, tlbEntry, WATCHED } from "./tlb-entry.ts";

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

const { i32, i64 } = ValType;

export function record(
  e: Emitter,
  s: Local<I32>,
  kind: number,
  vector: number,
  errorCode: () => I32,
  marker = 0,
): void {
  e.i32.store(e.get(s), e.i32.const(kind), State.exitKind);
  e.i32.store(e.get(s), e.i32.const(vector), State.exitVector);
  e.i32.store(e.get(s), errorCode(), State.exitErrorCode);
  e.i32.store(e.get(s), e.i32.const(marker), State.exitLength);
}

/** Marks a #GP in `exitLength` that is #SS when the record's operand is in the stack segment. */
export const NON_CANONICAL_MARK = -1;

/** (vcpu, va, access, bytes | STACK_ACCESS) -> TLB entry that allows the access to the byte at va, or 0 with the fault recorded. */
export function emitWalk(e: Emitter): void {
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
  e.if(e.i64.eq(e.i64.and(tag(), e.i64.const(~(SLOW | ALIAS | WATCHED))), e.get(page)), () => e.return(e.get(entry)));
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
    const alias = e.local<I32>(i32);
    const aliasIndex = (): I32 => e.i32.sub(e.get(frame), header(Header.aliasFirst));
    e.set(alias, e.i32.const(0));
    e.if(
      e.i32.and(
        e.i32.geU(e.get(frame), header(Header.frames)),
        e.i32.and(e.i32.ltU(aliasIndex(), header(Header.aliasFrames)), e.i32.ne(e.get(leaf), e.get(at[1]!))),
      ),
      () => e.set(alias, e.i32.const(Number(ALIAS))),
      badFrame,
    );
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
    // Fill. Tags of another page, or of a frame of the other kind, go first; the read tag is set whenever another is.
    const readTag = e.local<I64>(i64);
    e.set(readTag, e.i64.or(e.get(page), e.i64.extendI32u(e.get(alias))));
    e.if(e.i32.load(e.get(s), State.watching), () => e.set(readTag, e.i64.or(e.get(readTag), e.i64.const(WATCHED))));
    e.if(e.i64.ne(e.i64.load(e.get(entry), 0), e.get(readTag)), () => clearTags(e, entry));
    const host = e.local<I32>(i32);
    const codePage = e.local<I32>(i32);
    e.if(
      e.get(alias),
      () => {
        e.set(host, e.i32.shl(aliasIndex(), e.i32.const(12)));
        e.set(codePage, e.i32.const(Header.uncachedPage));
      },
      () => {
        e.set(host, e.i32.add(header(Header.ramOffset), e.i32.shl(e.get(frame), e.i32.const(12))));
        e.set(codePage, e.i32.load(e.i32.add(header(Header.frameTable), e.i32.shl(e.get(frame), e.i32.const(2)))));
      },
    );
    const oldAddend = e.local<I32>(i32);
    e.set(oldAddend, e.i32.load(e.get(entry), 24));
    e.i32.store(e.get(entry), e.i32.sub(e.get(host), e.i32.wrap(e.get(page))), 24);
    // The page may have been mapped elsewhere since: what stood for the old frame goes.
    e.if(e.i32.ne(e.get(oldAddend), e.i32.load(e.get(entry), 24)), () => clearTags(e, entry));
    e.i32.store(e.get(entry), e.select(e.get(codePage), e.i32.const(Header.nullPage), e.get(codePage)), 28);
    e.i64.store(e.get(entry), e.get(readTag), 0);
    e.if(e.i32.eq(e.get(access), e.i32.const(Access.execute)), () => e.i64.store(e.get(entry), e.get(page), 16));
    e.if(
      e.i32.and(
        e.i32.ne(e.i32.and(e.i32.wrap(e.get(all)), e.i32.const(WRITABLE)), e.i32.const(0)),
        e.i32.ne(e.i32.and(e.i32.wrap(e.get(pte)), e.i32.const(DIRTY)), e.i32.const(0)),
      ),
      () =>
        e.i64.store(
          e.get(entry),
          e.i64.or(e.get(readTag), e.select(e.i64.const(0), e.i64.const(SLOW), hasNoCode(e, codePage))),
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
