/**
 * Work and noise that a guest can cause without end.
 *
 * A hypercall is the hypervisor's time, and a line in the log the host's disk. A guest that asks for the most expensive thing that
 * there is, as often as it can, must cost itself and nobody else (the classes of XSA-344 and of many a denial of service). The invariants:
 * a call that takes long is cut up and goes on later, so that whoever waits for this processor gets it; lines that a guest causes are
 * ten a second at most; what is remembered of a guest is bounded (refusals, the trace, the console's ring).
 *
 * Without them one guest stops all others of its processor, or fills the disk.
 */
import { describe, expect, test } from "vitest";
import { HYPERVISOR, MMUEXT, MmuextOp, MulticallEntry } from "../../../src/abi/xen.ts";
import { HypercallArgs } from "../../../src/hypervisor/hypercall/arguments.ts";
import { call } from "../../../src/hypervisor/hypercall/hypercalls.ts";
import { Continuation } from "../../../src/hypervisor/hypercall/result.ts";
import { PREEMPT_BUDGET } from "../../../src/hypervisor/mm/domain-memory.ts";
import { BareGuest, CODE, DATA, STAY } from "../bare-guest.ts";

function make(guest: BareGuest, number: number, ...values: number[]): unknown {
  const args = new HypercallArgs();
  for (const [i, value] of values.entries()) args.setNumber(i, value);
  return call(guest.vcpu.context, number, args);
}

/** `count` requests of mmuext_op that are all the same, from DATA on. */
function requests(guest: BareGuest, command: number, count: number): void {
  for (let i = 0; i < count; i++) {
    MmuextOp.cmd.set(guest.view, DATA + i * MmuextOp.size, command);
    MmuextOp.arg1.mfn.setNumber(guest.view, DATA + i * MmuextOp.size, guest.domain.memory.map.baseMfn + 0x80);
  }
}

describe("a hypercall that takes long goes on later", () => {
  /** Pages of DATA that can hold requests: up to the page tables' first. */
  const MANY = 20_000;
  test.each([
    ["flushes of every TLB", MMUEXT.tlbFlushAll, PREEMPT_BUDGET / 128],
    ["clears of a page", MMUEXT.clearPage, PREEMPT_BUDGET / 128],
  ])("%s", (_what, command, most) => {
    const guest = new BareGuest();
    requests(guest, command, MANY);
    const answer = make(guest, HYPERVISOR.mmuextOp, DATA, MANY, 0, 0x7ff0);
    expect(answer).toBeInstanceOf(Continuation);
    const [, left] = (answer as Continuation).args as [number, number];
    expect(MANY - (left - 0x8000_0000)).toBeLessThanOrEqual(most);
  });

  test("and a multicall of calls that are each just short of it", () => {
    const guest = new BareGuest();
    const [count, list] = [400, 0x40_000];
    for (let i = 0; i < count; i++) {
      MulticallEntry.op.setNumber(guest.view, list + i * MulticallEntry.size, HYPERVISOR.xenVersion);
    }
    // Each look at the clock finds it 100 us later.
    let time = 0;
    Object.assign(guest.shard.host, { now: () => (time += 100_000) });
    const answer = make(guest, HYPERVISOR.multicall, list, count);
    expect(answer).toBeInstanceOf(Continuation);
    const [at, left] = (answer as Continuation).args as [number, number];
    expect([at, left]).toEqual([list + 11 * MulticallEntry.size, count - 11]);
    // However slow the clock says it is, each go makes a call at least.
    Object.assign(guest.shard.host, { now: () => (time += 1e9) });
    expect(make(guest, HYPERVISOR.multicall, list, 2)).toEqual(new Continuation([list + MulticallEntry.size, 1]));
    expect(make(guest, HYPERVISOR.multicall, list, 1)).toBe(0);
  });
});

describe("what is told of a guest", () => {
  test("is ten lines a second, whatever it does", () => {
    const guest = new BareGuest().handle(6);
    // An instruction that there is not, and back to it from the handler: a line each.
    guest.code(CODE, [0xc5, 0xf8, 0x77, ...STAY]);
    for (let i = 0; i < 200; i++) {
      guest.vcpu.cpu.setNumber(21, CODE);
      guest.vcpu.cpu.setNumber(4, 0x9000);
      guest.run(50);
    }
    expect(guest.log.length).toBeGreaterThan(0);
    expect(guest.log.length).toBeLessThanOrEqual(10);
  });

  test("and a bounded number of refusals", () => {
    const guest = new BareGuest();
    for (let i = 0; i < 5000; i++) make(guest, HYPERVISOR.updateDescriptor, i * 8, 0);
    const refusals = guest.shard.refusals(1);
    expect(refusals.length).toBeLessThanOrEqual(64);
    expect(refusals.at(-1)!.seq).toBeGreaterThanOrEqual(5000);
  });

  test("and of hypercalls that there are not, nothing", () => {
    const guest = new BareGuest();
    for (let number = 64; number < 5000; number++) make(guest, number);
    expect(guest.shard.hypercallCounters(1).length).toBeLessThan(64);
  });
});
