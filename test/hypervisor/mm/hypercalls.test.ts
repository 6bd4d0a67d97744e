/** Every answer of the memory-management hypercalls, over a plain page walk and over the engine's own translations. */
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { XENMEM } from "../../../src/abi/memory.ts";
import { DOMID, MMU_UPDATE_PREEMPTED, MMUEXT } from "../../../src/abi/xen.ts";
import { HypercallArgs } from "../../../src/hypervisor/hypercall/arguments.ts";
import { HypercallCounters } from "../../../src/hypervisor/hypercall/counters.ts";
import { setGdt, updateDescriptor } from "../../../src/hypervisor/hypercall/descriptors.ts";
import { memoryOp } from "../../../src/hypervisor/hypercall/memory-op.ts";
import { mmuUpdate } from "../../../src/hypervisor/hypercall/mmu-update.ts";
import { mmuextOp } from "../../../src/hypervisor/hypercall/mmuext-op.ts";
import { Continuation, type HypercallResult } from "../../../src/hypervisor/hypercall/result.ts";
import type { HypercallContext, HypercallRow } from "../../../src/hypervisor/hypercall/table.ts";
import { updateVaMapping, updateVaMappingOtherdomain } from "../../../src/hypervisor/hypercall/update-va-mapping.ts";
import { BASE_MFN } from "../../../src/hypervisor/mm/memory-map.ts";
import { audit } from "./audit.ts";
import { realEngine } from "./real-engine.ts";
import { P, RW, World, type WorldOptions } from "./world.ts";

/** Arguments for the guest are written here: pfn 10, mapped at its own address. */
const BUFFER = 10 * 4096;
const LIST = 11 * 4096;
const { EACCES, EBUSY, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } = Errno;
const HYPERVISOR_VA = 0xffff_8000_0000_0000n;

let makeCaches: WorldOptions["makeCaches"];
let world: World;
let context: HypercallContext;

beforeEach(() => {
  world = new World({ pages: 64, maxPages: 80, makeCaches });
  world.boot();
  context = {
    shard: { exists: (domid: number) => domid === 0 || domid === 7 || domid === 8 },
    domain: {
      id: 7,
      vcpuCount: 2,
      memory: world.memory,
      counters: new HypercallCounters(),
      sharedInfo: new Int32Array(1024),
    },
    vcpu: { id: 0 },
  } as unknown as HypercallContext;
});

function call(row: HypercallRow, ...values: (number | bigint)[]): HypercallResult {
  const args = new HypercallArgs();
  values.forEach((value, i) => {
    const bits = BigInt.asUintN(64, BigInt(value));
    args.set(i, Number(bits & 0xffff_ffffn) | 0, Number(bits >> 32n) | 0);
  });
  return row.run(context, args);
}

/** Makes a call to its end, whatever it takes. */
function callOut(row: HypercallRow, ...values: (number | bigint)[]): number {
  for (let result = call(row, ...values); ; result = call(row, ...values)) {
    if (!(result instanceof Continuation)) return result as number;
    result.args.forEach((value, i) => {
      values[i] = value;
    });
  }
}

/** Writes 64-bit words to the guest's memory at a physical address (which is its virtual one too). */
function poke(address: number, ...words: (number | bigint)[]): void {
  words.forEach((word, i) => {
    world.raw(Math.floor(address / 4096), (address % 4096) / 8 + i, BigInt.asUintN(64, BigInt(word)));
  });
}
const peek = (address: number) => world.read(Math.floor(address / 4096), (address % 4096) / 8);
const maddr = (pfn: number, slot = 0) => (BASE_MFN + pfn) * 4096 + slot * 8;
/** Does things in order and gives the last one's result. */
const last = <T>(...steps: [...unknown[], T]): T => steps.at(-1) as T;
const check = () => expect(audit(world.memory, world.engine)).toEqual([]);

describe.each<[string, () => WorldOptions["makeCaches"]]>([
  ["a plain page walk", () => undefined],
  ["the engine's translations", realEngine],
])("over %s", (_name, choose) => {
  beforeAll(() => {
    makeCaches = choose();
  });

  describe("mmu_update", () => {
    const updates = (...requests: (number | bigint)[][]) => poke(BUFFER, ...requests.flat());

    test.each<[string, (number | bigint)[], number]>([
      ["clears an entry", [maddr(4, 9), 0], 0],
      ["maps a page table read-only", [maddr(4, 9), maddr(2) + P], 0],
      ["does not map a page table writable", [maddr(4, 9), maddr(2) + P + RW], -EBUSY],
      ["does not know a command in bit 2", [maddr(4, 9) + 4, 0], -ENOSYS],
      ["needs a frame of the domain", [0x1234000, 0], -EINVAL],
      ["needs a frame that exists", [0x7fff_ffff_f000n, 0], -EINVAL],
      ["keeps the hypervisor's slots", [maddr(1, 260), maddr(2) + P], -EINVAL],
      ["takes command 3 as an update", [maddr(4, 9) + 3, maddr(9) + P], 0],
      ["writes ordinary memory", [maddr(9, 1), 0x1122_3344_5566_7788n], 0],
    ])("%s", (_name, request, expected) => {
      updates(request);
      expect(call(mmuUpdate, BUFFER, 1, 0, DOMID.self)).toBe(expected);
      check();
    });

    test.each<[string, (number | bigint)[], number]>([
      ["may be taken out of an L1 table", [maddr(4, 9), 0], 0],
      ["may not be mapped", [maddr(4, 9), 0xa0000 + P], -EPERM],
      ["is not the domain's own memory", [maddr(4, 9), maddr(9) + P], -EBUSY],
      ["is not in upper tables", [maddr(3, 9), 0], -EINVAL],
      ["is not in the machine-to-physical table", [maddr(9) + 1, 5], -EINVAL],
      ["does not matter for ordinary memory", [maddr(9), 5], 0],
    ])("I/O memory (DOMID_IO) %s", (_name, request, expected) => {
      updates(request);
      expect(call(mmuUpdate, BUFFER, 1, 0, DOMID.io)).toBe(expected);
      check();
    });

    test("sets an entry of the machine-to-physical table", () => {
      updates([maddr(9) + 1, 1234]);
      expect(call(mmuUpdate, BUFFER, 1, 0, DOMID.self)).toBe(0);
      expect(world.memory.m2p.get(9)).toBe(1234);
    });

    test("stops at the first that is refused and says how many were done", () => {
      updates([maddr(4, 20), 0], [maddr(4, 21), 0], [maddr(4, 22), maddr(1) + P + RW], [maddr(4, 23), 0]);
      expect(call(mmuUpdate, BUFFER, 4, LIST, DOMID.self)).toBe(-EBUSY);
      expect(Number(peek(LIST) & 0xffff_ffffn)).toBe(2);
      expect(peek(4 * 4096 + 23 * 8)).not.toBe(0n);
      expect(world.memory.refusals.last?.entry).toBe(`0x${(maddr(1) + P + RW).toString(16).padStart(16, "0")}`);
      check();
    });

    test("reads requests across pages, and those that are not aligned", () => {
      poke(BUFFER + 4096 - 8, maddr(4, 20), 0);
      expect(call(mmuUpdate, BUFFER + 4096 - 8, 1, 0, DOMID.self)).toBe(0);
      expect(peek(4 * 4096 + 20 * 8)).toBe(0n);
    });

    test.each<[string, number | bigint, number, number]>([
      ["a null array", 0x7000_0000, DOMID.self, -EFAULT],
      ["an array of the hypervisor's", HYPERVISOR_VA, DOMID.self, -EFAULT],
      ["an array at no canonical address", 0x8000_0000_0000_0000n - 16n, DOMID.self, -EFAULT],
      ["another domain's frames", BUFFER, 8, -EPERM],
      ["Domain 0's frames", BUFFER, 0, -EPERM],
      ["a domain that does not exist", BUFFER, 99, -ESRCH],
      ["itself by its own number", BUFFER, 7, -ESRCH],
      ["I/O memory", BUFFER, DOMID.io, -EPERM],
      ["Xen's frames", BUFFER, DOMID.xen, -EPERM],
      ["page tables of another domain", BUFFER, (9 << 16) | DOMID.self, -EPERM],
      ["page tables of a domain that does not exist", BUFFER, (100 << 16) | DOMID.self, -ESRCH],
    ])("refuses %s", (_name, array, foreign, expected) => {
      updates([maddr(4, 9), 0xb8000 + P]);
      expect(call(mmuUpdate, array, 1, 0, foreign)).toBe(expected);
      check();
    });

    test("goes on later when there is too much to do, and adds up what was done", () => {
      world = new World({ pages: 400, makeCaches });
      world.boot();
      (context.domain as { memory: unknown }).memory = world.memory;
      // Requests fill pfns 100 to 199, and write pfn 9 over and over.
      const count = 100 * 256;
      for (let i = 0; i < count; i++) poke(100 * 4096 + i * 16, maddr(9, i % 512), i);
      const args: (number | bigint)[] = [100 * 4096, count, LIST, DOMID.self];
      let continued = 0;
      let result = call(mmuUpdate, ...args);
      for (; result instanceof Continuation; result = call(mmuUpdate, ...args)) {
        continued++;
        expect(result.args[1]).toBeGreaterThanOrEqual(MMU_UPDATE_PREEMPTED);
        result.args.forEach((value, i) => {
          args[i] = value;
        });
      }
      expect(result).toBe(0);
      expect(continued).toBeGreaterThan(1);
      expect(Number(peek(LIST) & 0xffff_ffffn)).toBe(count);
      expect(peek(9 * 4096 + 511 * 8)).toBe(BigInt(count - 1));
    });

    test("counts its commands", () => {
      updates([maddr(4, 20), 0], [maddr(4, 21) + 2, 0], [maddr(9) + 1, 3]);
      expect(call(mmuUpdate, BUFFER, 3, 0, DOMID.self)).toBe(0);
      expect((context.domain.counters as HypercallCounters).subops(1)).toEqual([
        [0, 1],
        [1, 1],
        [2, 1],
      ]);
    });
  });

  describe("mmuext_op", () => {
    const ext = (command: number, arg1: number | bigint = 0, arg2: number | bigint = 0) => {
      poke(BUFFER, command, arg1, arg2);
      return callOut(mmuextOp, BUFFER, 1, 0, DOMID.self);
    };

    test.each<[string, () => number, number]>([
      [
        "pins an empty page as an L1",
        () => last(call(updateVaMapping, 20 * 4096, 0, 0), ext(MMUEXT.pinL1Table, world.mfn(20))),
        0,
      ],
      ["does not pin a writable page", () => ext(MMUEXT.pinL1Table, world.mfn(20)), -EINVAL],
      ["unpins the boot tables while they are loaded", () => ext(MMUEXT.unpinTable, world.mfn(1)), 0],
      ["does not unpin what is not pinned", () => ext(MMUEXT.unpinTable, world.mfn(9)), -EINVAL],
      ["loads the root that is loaded", () => ext(MMUEXT.newBaseptr, world.mfn(1)), 0],
      ["does not load an L3 as a root", () => ext(MMUEXT.newBaseptr, world.mfn(2)), -EINVAL],
      ["does not load a frame of someone else", () => ext(MMUEXT.newBaseptr, 5), -EINVAL],
      ["loads a user root", () => ext(MMUEXT.newUserBaseptr, world.mfn(1)), 0],
      ["loads no user root", () => ext(MMUEXT.newUserBaseptr, 0), 0],
      ["sets an LDT", () => ext(MMUEXT.setLdt, 12 * 4096, 16), 0],
      ["sets no LDT", () => ext(MMUEXT.setLdt, 0, 0), 0],
      ["does not set an LDT that is not aligned", () => ext(MMUEXT.setLdt, 12 * 4096 + 8, 16), -EINVAL],
      ["does not set an LDT that is too large", () => ext(MMUEXT.setLdt, 12 * 4096, 8193), -EINVAL],
      ["does not set an LDT among the hypervisor's pages", () => ext(MMUEXT.setLdt, HYPERVISOR_VA, 16), -EINVAL],
      ["clears a page", () => ext(MMUEXT.clearPage, world.mfn(20)), 0],
      ["does not clear a page table", () => ext(MMUEXT.clearPage, world.mfn(2)), -EINVAL],
      ["copies a page table's bytes", () => ext(MMUEXT.copyPage, world.mfn(20), world.mfn(4)), 0],
      ["does not copy to a page table", () => ext(MMUEXT.copyPage, world.mfn(4), world.mfn(20)), -EINVAL],
      ["does not copy from someone else", () => ext(MMUEXT.copyPage, world.mfn(20), 5), -EINVAL],
      ["does not flush caches for a domain without devices", () => ext(MMUEXT.flushCache), -EACCES],
      ["nor everybody's", () => ext(MMUEXT.flushCacheGlobal), -EINVAL],
      ["sets no LDT wherever it is not", () => ext(MMUEXT.setLdt, 0x8000_0000_0000_0000n, 0), 0],
      ["has no superpages", () => ext(MMUEXT.markSuper, world.mfn(20)), -Errno.EOPNOTSUPP],
      ["does not know 14", () => ext(14), -ENOSYS],
      ["flushes everything", () => ext(MMUEXT.tlbFlushAll), 0],
      ["flushes vCPUs in a mask", () => last(poke(LIST, 2), ext(MMUEXT.tlbFlushMulti, 0, LIST)), 0],
      ["refuses a mask that cannot be read", () => ext(MMUEXT.tlbFlushMulti, 0, 0x7000_0000), -EINVAL],
    ])("%s", (_name, act, expected) => {
      expect(act()).toBe(expected);
      check();
    });

    test("flushes what it is asked to flush", () => {
      poke(LIST, 0b10);
      if (world.engine === null) return;
      world.engine.calls.length = 0;
      ext(MMUEXT.invlpgLocal, 0x5000);
      ext(MMUEXT.tlbFlushMulti, 0, LIST);
      ext(MMUEXT.invlpgAll, 0x6000);
      ext(MMUEXT.invlpgLocal, HYPERVISOR_VA);
      expect(world.engine.calls).toEqual(["flushPage 0 20480", "flushTlb 1", "flushPage all 24576"]);
    });

    test("switches roots, and the old ones are free to become memory again", () => {
      for (const pfn of [20, 21]) call(updateVaMapping, pfn * 4096, 0, 0);
      world.memory.words.copyWithin(
        world.memory.types.wordOf(20, 0),
        world.memory.types.wordOf(1, 0),
        world.memory.types.wordOf(2, 0),
      );
      poke(BUFFER, MMUEXT.newBaseptr, world.mfn(20), 0, MMUEXT.unpinTable, world.mfn(1), 0);
      expect(callOut(mmuextOp, BUFFER, 2, LIST, DOMID.self)).toBe(0);
      expect(Number(peek(LIST) & 0xffff_ffffn)).toBe(2);
      expect(world.caches.vcpus[0]!.cr3Kernel).toBe(world.mfn(20));
      check();
      expect(call(updateVaMapping, 4096, maddr(1) + P + RW, 0)).toBe(0);
      check();
    });

    test("refuses another domain's frames", () => {
      poke(BUFFER, MMUEXT.tlbFlushLocal, 0, 0);
      expect(call(mmuextOp, BUFFER, 1, 0, 8)).toBe(-EPERM);
      expect(call(mmuextOp, BUFFER, 1, 0, 99)).toBe(-ESRCH);
      expect(call(mmuextOp, BUFFER, 1, 0, DOMID.io)).toBe(-EPERM);
    });
  });

  describe("update_va_mapping", () => {
    test.each<[string, number | bigint, number | bigint, number | bigint, number]>([
      ["unmaps a page", 20 * 4096, 0, 0, 0],
      ["and flushes it everywhere", 20 * 4096, 0, 2 | 4, 0],
      ["maps a page", 20 * 4096, 0x10014000 + P + RW, 2, 0],
      ["refuses an address without an L1", 0x4000_0000, 0, 0, -EINVAL],
      ["refuses the hypervisor's addresses", HYPERVISOR_VA, 0, 0, -EINVAL],
      ["refuses an address that is not canonical", 0x8000_0000_0000n, 0, 0, -EINVAL],
      ["refuses a writable page table", 20 * 4096, 0x10001000 + P + RW, 0, -EBUSY],
      ["has changed the entry when it cannot read whom to flush", 20 * 4096, 0, 0x7000_0001, -EFAULT],
    ])("%s", (_name, va, value, flags, expected) => {
      expect(call(updateVaMapping, va, value, flags)).toBe(expected);
      check();
    });

    test("finds addresses in the upper half", () => {
      world.memory.tables.update(1, 272, maddr(2) + P, 0, false);
      const high = 0xffff_8800_0000_0000n + 20n * 4096n;
      expect(call(updateVaMapping, high, maddr(5) + P, 0)).toBe(0);
      expect(world.caches.translate(0, 20 * 4096, "read")).toBe(world.memory.hostOffset(world.mfn(5)));
      check();
    });

    test("of another domain is refused", () => {
      expect(call(updateVaMappingOtherdomain, 0, 0, 0, 8)).toBe(-EPERM);
      expect(call(updateVaMappingOtherdomain, 0, 0, 0, 99)).toBe(-ESRCH);
    });
  });

  describe("descriptors", () => {
    test.each<[string, bigint, number]>([
      ["takes a data segment", 0x00cf_9300_0000_ffffn, 0],
      ["takes nothing", 0n, 0],
      ["takes what is not present", 0x0000_0900_0000_0000n, 0],
      ["takes a call gate to a flat segment", 0x0000_8c00_e033_0000n, 0],
      ["refuses a call gate to the hypervisor's", 0x0000_8c00_e008_0000n, -EINVAL],
      ["refuses an LDT", 0x0000_8200_0000_0067n, -EINVAL],
      ["refuses a task gate", 0x0000_8500_0000_0000n, -EINVAL],
      ["refuses a TSS", 0x0000_8900_0000_0067n, -EINVAL],
      ["refuses an interrupt gate", 0x0000_8e00_0008_0000n, -EINVAL],
    ])("update_descriptor %s", (_name, value, expected) => {
      expect(call(updateDescriptor, maddr(20, 3), value)).toBe(expected);
      check();
    });

    test("a segment's privilege level is made the guest's", () => {
      expect(call(updateDescriptor, maddr(20, 3), 0x00cf_9300_0000_ffffn)).toBe(0);
      expect(peek(20 * 4096 + 24)).toBe(0x00cf_f300_0000_ffffn);
    });

    test("a GDT's frames stay unwritable until another GDT is set", () => {
      call(updateVaMapping, 20 * 4096, maddr(20) + P, 2);
      poke(LIST, world.mfn(20));
      expect(call(setGdt, LIST, 512)).toBe(0);
      if (world.engine) expect(world.engine.vcpus[0]!.gdt).toEqual({ mfns: [world.mfn(20)], entries: 512 });
      expect(call(updateVaMapping, 20 * 4096, maddr(20) + P + RW, 0)).toBe(-EBUSY);
      expect(call(updateDescriptor, maddr(20, 1), 0x00af_9b00_0000_ffffn)).toBe(0);
      check();
      expect(call(setGdt, 0, 0)).toBe(0);
      expect(call(updateVaMapping, 20 * 4096, maddr(20) + P + RW, 0)).toBe(0);
      check();
    });

    test.each<[string, () => HypercallResult, number]>([
      ["too many entries", () => call(setGdt, LIST, 7169), -EINVAL],
      ["a list that cannot be read", () => call(setGdt, 0x7000_0000, 1), -EFAULT],
      ["a writable frame", () => last(poke(LIST, world.mfn(20)), call(setGdt, LIST, 1)), -EINVAL],
      ["a page table", () => last(poke(LIST, world.mfn(2)), call(setGdt, LIST, 1)), -EINVAL],
      ["a frame of someone else", () => last(poke(LIST, 5), call(setGdt, LIST, 1)), -EINVAL],
      [
        "one bad frame of two",
        () => last(call(updateVaMapping, 20 * 4096, 0, 0), poke(LIST, world.mfn(20), 5), call(setGdt, LIST, 513)),
        -EINVAL,
      ],
    ])("set_gdt refuses %s", (_name, act, expected) => {
      expect(act()).toBe(expected);
      check();
    });
  });

  describe("memory_op", () => {
    const reservation = (nr: number, order = 0, domid: number = DOMID.self) => poke(BUFFER, LIST, nr, order, domid);
    const own = () => world.memory.frames.ownPages;

    test("gives frames back and takes others, zeroed, with the pfns that are asked for", () => {
      for (const pfn of [20, 21]) call(updateVaMapping, pfn * 4096, 0, 2);
      world.raw(20, 5, 0x1234n);
      reservation(2);
      poke(LIST, world.mfn(20), world.mfn(21));
      expect(callOut(memoryOp, XENMEM.decreaseReservation, BUFFER)).toBe(2);
      expect(own()).toBe(62);
      expect(world.memory.m2p.get(20)).toBe(-1);
      check();
      poke(LIST, 20, 21);
      expect(callOut(memoryOp, XENMEM.populatePhysmap, BUFFER)).toBe(2);
      const mfns = [Number(peek(LIST)), Number(peek(LIST + 8))];
      expect(mfns.map((mfn) => world.memory.m2p.get(mfn - world.base))).toEqual([20, 21]);
      expect(mfns.map((mfn) => world.read(mfn - world.base, 5))).toEqual([0n, 0n]);
      check();
    });

    test("a frame that is still mapped stays until it is unmapped", () => {
      reservation(1);
      poke(LIST, world.mfn(20));
      expect(callOut(memoryOp, XENMEM.decreaseReservation, BUFFER)).toBe(1);
      expect(own()).toBe(64);
      check();
      expect(call(updateVaMapping, 20 * 4096, 0, 2)).toBe(0);
      expect(own()).toBe(63);
      check();
    });

    test.each<[string, () => HypercallResult, number]>([
      [
        "takes no more than the maximum",
        () => last(reservation(20), callOut(memoryOp, XENMEM.populatePhysmap, BUFFER)),
        16,
      ],
      [
        "takes contiguous frames",
        () => last(reservation(2, 3), callOut(memoryOp, XENMEM.increaseReservation, BUFFER)),
        2,
      ],
      [
        "gives back nothing that is someone else's",
        () => last(reservation(1), poke(LIST, 5), callOut(memoryOp, XENMEM.decreaseReservation, BUFFER)),
        0,
      ],
      [
        "gives back no shared heap frame",
        () =>
          last(
            reservation(1),
            poke(LIST, world.memory.allocHeapFrame("writable")),
            callOut(memoryOp, XENMEM.decreaseReservation, BUFFER),
          ),
        0,
      ],
      [
        "does nothing for another domain",
        () => last(reservation(1, 0, 8), callOut(memoryOp, XENMEM.populatePhysmap, BUFFER)),
        0,
      ],
      [
        "does nothing for extents that are too large",
        () => last(reservation(1, 10), callOut(memoryOp, XENMEM.populatePhysmap, BUFFER)),
        0,
      ],
      [
        "starts where a continuation says",
        () => last(reservation(4), callOut(memoryOp, XENMEM.populatePhysmap | (3 << 6), BUFFER)),
        4,
      ],
      [
        "knows the current reservation",
        () => last(poke(BUFFER, DOMID.self), call(memoryOp, XENMEM.currentReservation, BUFFER)),
        64,
      ],
      ["and by its own number", () => last(poke(BUFFER, 7), call(memoryOp, XENMEM.currentReservation, BUFFER)), 64],
      ["but not another's", () => last(poke(BUFFER, 8), call(memoryOp, XENMEM.currentReservation, BUFFER)), -EPERM],
      [
        "nor one's that does not exist",
        () => last(poke(BUFFER, 99), call(memoryOp, XENMEM.currentReservation, BUFFER)),
        -ESRCH,
      ],
      [
        "knows the maximum reservation",
        () => last(poke(BUFFER, DOMID.self), call(memoryOp, XENMEM.maximumReservation, BUFFER)),
        80,
      ],
      [
        "knows no larger pfn than the guest has told",
        () => last(poke(BUFFER, DOMID.self), call(memoryOp, XENMEM.maximumGpfn, BUFFER)),
        0,
      ],
      [
        "has no physmap for PV",
        () => last(poke(BUFFER, DOMID.self), call(memoryOp, XENMEM.addToPhysmap, BUFFER)),
        -EACCES,
      ],
      ["does not show the machine's memory map", () => call(memoryOp, XENMEM.machineMemoryMap, BUFFER), -EPERM],
      ["does not know 8", () => call(memoryOp, 8, BUFFER), -ENOSYS],
      ["faults on a figure's argument", () => call(memoryOp, XENMEM.currentReservation, 0x7000_0000), -EFAULT],
    ])("%s", (_name, act, expected) => {
      expect(act()).toBe(expected);
      check();
    });

    test("says where the machine-to-physical table is", () => {
      expect(call(memoryOp, XENMEM.machphysMapping, BUFFER)).toBe(0);
      expect([peek(BUFFER), peek(BUFFER + 8), peek(BUFFER + 16)]).toEqual([
        0xffff_8000_0000_0000n,
        0xffff_8040_0000_0000n,
        0x7_ffff_ffffn,
      ]);
    });

    test("shows the memory map, as far as there is room", () => {
      poke(BUFFER, 10, LIST);
      expect(call(memoryOp, XENMEM.memoryMap, BUFFER)).toBe(0);
      expect(Number(peek(BUFFER) & 0xffff_ffffn)).toBe(1);
      expect([peek(LIST), peek(LIST + 8), peek(LIST + 16) & 0xffff_ffffn]).toEqual([0n, 80n * 4096n, 1n]);
    });

    const exchange = (inNr: number, inOrder: number, outNr: number, outOrder: number, domid: number = DOMID.self) => {
      poke(BUFFER, LIST, inNr, inOrder, domid, LIST + 2048, outNr, outOrder, domid, 0);
      return callOut(memoryOp, XENMEM.exchange, BUFFER);
    };

    test("exchanges pages for contiguous ones", () => {
      for (const pfn of [20, 22]) call(updateVaMapping, pfn * 4096, 0, 2);
      poke(LIST, world.mfn(20), world.mfn(22));
      poke(LIST + 2048, 0x500);
      expect(exchange(2, 0, 1, 1)).toBe(0);
      expect(Number(peek(BUFFER + 64))).toBe(2);
      const mfn = Number(peek(LIST + 2048));
      expect([world.memory.m2p.get(mfn - world.base), world.memory.m2p.get(mfn + 1 - world.base)]).toEqual([
        0x500, 0x501,
      ]);
      expect(mfn % 2).toBe(0);
      expect(own()).toBe(64);
      check();
    });

    test.each<[string, () => number, number]>([
      ["a page that is mapped", () => last(poke(LIST, world.mfn(20)), exchange(1, 0, 1, 0)), -EINVAL],
      ["a page of someone else", () => last(poke(LIST, 5), exchange(1, 0, 1, 0)), -EINVAL],
      [
        "a page given twice",
        () =>
          last(call(updateVaMapping, 20 * 4096, 0, 2), poke(LIST, world.mfn(20), world.mfn(20)), exchange(2, 0, 1, 1)),
        -EINVAL,
      ],
      ["sizes that do not match", () => exchange(2, 0, 2, 1), -EINVAL],
      ["extents that are too large", () => exchange(1, 10, 1, 10), -EPERM],
      ["another domain", () => exchange(1, 0, 1, 0, 8), -EPERM],
    ])("does not exchange %s", (_name, act, expected) => {
      expect(act()).toBe(expected);
      expect(own()).toBe(64);
      check();
    });
  });
});
