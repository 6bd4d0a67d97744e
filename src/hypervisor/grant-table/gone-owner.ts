/**
 * What domains have of a granting domain of which nothing is left: its domid may soon be another's, and its memory too.
 *
 * A domain that is destroyed waits for the entries that hold its frames (domain-control.ts, finishDestroy), but not for handles: who
 * overwrote an entry instead of unmapping it has the handle still, and an alias frame that no entry names. Neither may come to stand for
 * a frame of the next domain with that domid. The memory of a domain whose thread died is gone at once, whoever has it mapped.
 */
import type { Domain } from "../domain.ts";
import { PageType } from "../mm/frame-table.ts";
import { mfnOfEntry, PRESENT } from "../mm/page-entry.ts";
import type { Shard } from "../shard.ts";

const ENTRIES = 512;

/** All handles of the shard's domains for grants of `domid` are good for nothing, and its alias frames stand for nothing. */
export function forgetOwner(shard: Shard, domid: number): void {
  for (const { grants, memory } of shard.domains.values()) {
    if (!memory.foreign.refersTo(domid)) continue;
    for (const [, mapping] of grants.maptrack.all()) {
      if (mapping.domid !== domid || mapping.ownerGone) continue;
      mapping.ownerGone = true;
      memory.foreign.forget(mapping.mfn);
    }
  }
}

/** Takes every entry that names a frame of `domid` out of the domain's page tables, as if it had been overwritten. */
export function unmapOwner({ memory }: Domain, domid: number): void {
  const { frames, types, words, tables, foreign } = memory;
  if (!foreign.refersTo(domid)) return;
  for (let table = 0; table < memory.map.ownFrames; table++) {
    if (!frames.inUseAs(table, PageType.l1)) continue;
    for (let slot = 0; slot < ENTRIES; slot++) {
      const word = types.wordOf(table, slot);
      const lo = words[word]!;
      if ((lo & PRESENT) !== 0 && foreign.get(mfnOfEntry(lo, words[word + 1]!))?.domid === domid)
        tables.updateL1(table, slot, 0, 0, false);
    }
  }
}
