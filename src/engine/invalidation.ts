/** What takes decoded code and cached translations of a frame away. */
import { type Emitter, type I32, type I64, ValType } from "./emitter.ts";
import { Header, State, TLB_BYTES, TLB_ENTRY_BYTES, VCPU_BYTES } from "./layout.ts";
import { CodePage, LINE_TABLE_BYTES, Pseudo, Rec } from "./record.ts";
import { clearTags, WATCHED } from "./tlb-entry.ts";

const { i32, i64 } = ValType;

/**
 * Decoded code whose bytes overlap [offset, offset + bytes) of the page goes: its records are poisoned in place, so that code running in them looks
 * itself up again, and its lines are dropped. An instruction is at most 15 bytes long.
 */
export function emitInvalidate(e: Emitter): void {
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

/** Forgets what all TLBs of all vCPUs have of a frame: the write tags, or everything. For an alias frame `hostPage` is its alias address | ALIAS. */
export function emitDropFrame(e: Emitter): void {
  const [hostPage, all] = [e.param<I32>(0), e.param<I32>(1)];
  const entry = e.local<I32>(i32);
  const end = e.local<I32>(i32);
  const vcpu = e.local<I32>(i32);
  const page = e.local<I64>(i64);
  const vcpusEnd = e.local<I32>(i32);
  // Watched or not, the entry is of that frame; an alias frame's `hostPage` has its mark.
  const untagged = (): I32 => e.i32.and(e.i32.wrap(e.get(page)), e.i32.const(Number(~WATCHED)));
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
          e.i32.eq(e.i32.add(untagged(), e.i32.load(e.get(entry), 24)), e.get(hostPage)),
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
