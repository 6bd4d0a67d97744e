/** Why nothing is to be noticed, where it is the same for several. */
const NO_PORT_0 = "what is below 0 is an errno, and no port is 0";
const NO_FRAME_0 = "what is below 0 is an errno, and no frame is where the engine's own memory begins";
const SPEED = "where a search for what is free begins: it finds the same from further below";
const ANOTHER_WAY = "small copies go by words because that is quicker; by bytes they come to the same";
const M2P_FITS = "4 GiB need fewer tables than there is room for; whoever makes room for less has to know";
const NOTHING_FITS = "the answer is at least 1, whatever the search went down to";
const SET_TWICE = "set when a validation begins and when a table has been taken apart: either is enough";
const NOTHING_TO_FIND = "a domain that refers to none of the owner's frames is looked through for nothing";
const NO_SUCH_USE = "uses are put of validated tables, and of frames that are none: never of frames without a type";

/** Mutants that no test is asked to notice, by their ids, each with the reason why there is nothing to notice. */
export const accepted: ReadonlyMap<string, string> = new Map([
  ["hypervisor/event-channel/event-channels.ts allocate: this.#lowestFree = port; -> ;", SPEED],
  ["hypervisor/event-channel/event-channels.ts allocate: this.#lowestFree = port + 1; -> ;", SPEED],
  ["hypervisor/event-channel/fifo-setup.ts initControl: < -> <=", NO_FRAME_0],
  ["hypervisor/event-channel/fifo-setup.ts expandArray: < -> <=", NO_FRAME_0],
  ["hypervisor/hypercall/event-channel-op.ts rows: < -> <=", NO_PORT_0],
  ["hypervisor/hypercall/event-channel-op.ts rows: < -> <= #4", NO_PORT_0],
  ["hypervisor/hypercall/event-channel-op.ts rows: < -> <= #5", NO_PORT_0],
  ["hypervisor/mm/frame-table.ts allocate: this.#freeFrom[order] = index + size; -> ;", SPEED],
  ["hypervisor/mm/frame-table.ts allocate: this.#freeFrom[order] = this.map.ownFrames; -> ;", SPEED],
  [
    "hypervisor/mm/guest-memory.ts copyFromGuest: length <= SMALL && ((offset | length) & 3) === 0 -> false",
    ANOTHER_WAY,
  ],
  [
    "hypervisor/mm/guest-memory.ts copyFromGuest: length <= SMALL && ((offset | length) & 3) === 0 -> (((offset | length) & 3) === 0)",
    ANOTHER_WAY,
  ],
  ["hypervisor/mm/guest-memory.ts copyFromGuest: <= -> <", ANOTHER_WAY],
  ["hypervisor/mm/guest-memory.ts copyFromGuest: < -> <=", NO_FRAME_0],
  ["hypervisor/mm/guest-memory.ts copyToGuest: < -> <=", NO_FRAME_0],
  [
    "hypervisor/mm/memory-map.ts memoryMap: map.bytes > MAX_MEMORY_BYTES || m2pTables(map.aliasMfn + map.aliasFrames) > M2P_TABLES -> (map.bytes > MAX_MEMORY_BYTES)",
    M2P_FITS,
  ],
  ["hypervisor/mm/memory-map.ts memoryMap: > -> >= #2", M2P_FITS],
  [
    "hypervisor/mm/memory-map.ts largestMaxPages: pages > 1 && layout({ pages: 1, maxPages: pages, vcpus: 1, e ... .bytes > MAX_MEMORY_BYTES -> (layout({ pages: 1, maxPages: pages, vcpus: 1, engineBytes }).bytes > MAX_MEMORY_BYTES)",
    NOTHING_FITS,
  ],
  ["hypervisor/mm/memory-map.ts largestMaxPages: > -> >=", NOTHING_FITS],
  [
    "hypervisor/mm/page-tables.ts updateL1: (lo & L1_DISALLOWED) === 0 && sameMapping(oldLo, oldHi, lo, hi) -> (sameMapping(oldLo, oldHi, lo, hi))",
    "an entry in use has none of those flags, so one that is like it has none; said all the same where entries are trusted",
  ],
  [
    "hypervisor/mm/page-tables.ts updateUpper: (lo & UPPER_DISALLOWED) === 0 && sameMapping(oldLo, oldHi, lo, hi) -> false",
    "taking the table below once more and giving it back comes to the same",
  ],
  ["hypervisor/mm/page-types.ts getType: this.frames.entriesDone[index] = 0; -> ;", SET_TWICE],
  ["hypervisor/mm/page-types.ts #takeApart: frames.entriesDone[index] = 0; -> ;", SET_TWICE],
  [
    "hypervisor/mm/vcpu-tables.ts setKernelRoot: < -> <=",
    "taking the root that it has once more and giving it back comes to the same",
  ],
  [
    "hypervisor/mm/vcpu-tables.ts setUserRoot: < -> <=",
    "taking the root that it has once more and giving it back comes to the same",
  ],
  [
    "hypervisor/mm/page-types.ts putType: type >= PageType.l1 && type <= PageType.l4 && (info & VALIDATED) !== 0 -> (type >= PageType.l1 && type <= PageType.l4)",
    NO_SUCH_USE,
  ],
  [
    "hypervisor/mm/page-types.ts putType: type >= PageType.l1 && type <= PageType.l4 -> (type <= PageType.l4)",
    NO_SUCH_USE,
  ],
  [
    "hypervisor/mm/ldt-pages.ts #lookUp: !accessOk(va) -> false",
    "what the page tables lead to from addresses that are not the guest's is never its own frame",
  ],
  ["hypervisor/grant-table/gone-owner.ts forgetOwner: !memory.foreign.refersTo(domid) -> false", NOTHING_TO_FIND],
  ["hypervisor/grant-table/gone-owner.ts unmapOwner: !foreign.refersTo(domid) -> false", NOTHING_TO_FIND],
  [
    "hypervisor/grant-table/copy-granted.ts move: status !== GNTST.okay || (inBounds && data !== undefined) -> ((inBounds && data !== undefined))",
    "who asked looks at the status first",
  ],
  ["hypervisor/mm/guest-memory.ts offsetForWrite: >= -> >", NO_FRAME_0],
  [
    "hypervisor/mm/guest-memory.ts copyToGuest: length === from.length ? from : from.subarray(done, done + length) -> (from.subarray(done, done + length))",
    ANOTHER_WAY,
  ],
]);
