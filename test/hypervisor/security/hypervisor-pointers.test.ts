/**
 * Guest pointers into the hypervisor's range, and calls that change who is calling (the classes of XSA-212 and XSA-213).
 *
 * A hypercall reads and writes guest memory for its caller, with rights that the caller does not have: the machine-to-physical table is
 * mapped in every address space, read-only for the guest. A pointer must be looked at after the last piece of arithmetic on it; in
 * XENMEM_exchange the base of a list was checked, and then an index of the guest's own was added (212). The invariant: what is
 * written goes through the caller's own page tables, and never into the hypervisor's range.
 *
 * A multicall makes calls one after the other for one caller. An `iret` among them is the guest's way into user mode: calls behind it
 * would be made for the kernel with user mode's page tables, which nothing checked for that (213). The invariant: `iret` is the last thing
 * that a multicall does.
 *
 * Without these checks a guest writes where it likes: into the table that all its frames are looked up in, or through page tables
 * of another mode.
 */
import { beforeEach, describe, expect, test } from "vitest";
import { MACH2PHYS_VIRT_START } from "../../../src/abi/arch-x86-64.ts";
import { Errno } from "../../../src/abi/errno.ts";
import { MemoryExchange, XENMEM } from "../../../src/abi/memory.ts";
import { HYPERVISOR, MulticallEntry, NR_HYPERCALLS } from "../../../src/abi/xen.ts";
import { HypercallArgs } from "../../../src/hypervisor/hypercall/arguments.ts";
import { call } from "../../../src/hypervisor/hypercall/hypercalls.ts";
import { parked, registersSet } from "../../../src/hypervisor/hypercall/result.ts";
import { auditDomain } from "../audit-domain.ts";
import { BareGuest, CODE, call as codeOf, DATA, STAY, USER_CODE, USER_STACK } from "../bare-guest.ts";

let guest: BareGuest;
beforeEach(() => {
  guest = new BareGuest();
});

/** Every byte that is not the guest's RAM: the hypervisor's own frames, the machine-to-physical table, all but shared_info. */
function hypervisorBytes(): Buffer {
  const { memory, sharedInfoMfn } = guest.domain;
  const { map } = memory;
  const first = map.ramOffset + map.ownFrames * 4096;
  const bytes = Buffer.from(new Uint8Array(memory.buffer, first, (map.totalFrames - map.ownFrames) * 4096));
  return bytes.fill(0, memory.hostOffset(sharedInfoMfn) - first, memory.hostOffset(sharedInfoMfn) - first + 4096);
}

function make(number: number, ...values: number[]): unknown {
  const args = new HypercallArgs();
  for (const [i, value] of values.entries()) args.setNumber(i, value);
  return call(guest.vcpu.context, number, args);
}

/** Where a pointer of the hypervisor's range may begin: its ends, what is mapped there, and what an index brings there. */
const pointers: [string, number][] = [
  ["the machine-to-physical table", MACH2PHYS_VIRT_START],
  ["its entries of the guest's own frames", MACH2PHYS_VIRT_START + 0x10000 * 8],
  ["the end of the range", MACH2PHYS_VIRT_START + 2 ** 43 - 4096],
  ["the last bytes before it", MACH2PHYS_VIRT_START - 8],
  ["the first page behind the lower half", 2 ** 47],
];

describe.each(pointers)("a pointer to %s", (_where, pointer) => {
  test("is no place for any hypercall's results", () => {
    for (let number = 0; number < NR_HYPERCALLS; number++) {
      if (number === HYPERVISOR.iret) continue;
      const before = hypervisorBytes();
      for (let op = 0; op < 32; op++) {
        for (const args of [
          [op, pointer, 1, pointer],
          [pointer, 1, pointer, 0x7ff0],
          [op, 0, pointer, pointer],
        ]) {
          const result = make(number, ...args);
          expect(result === parked || result === registersSet).toBe(false);
        }
        guest.domain.shutdownReason = -1;
        guest.vcpu.blocked = false;
        guest.vcpu.pollPort = 0;
      }
      expect([number, hypervisorBytes().equals(before)]).toEqual([number, true]);
    }
    guest.vcpu.reschedule();
    expect(auditDomain(guest.domain)).toEqual([]);
  });
});

describe("XENMEM_exchange", () => {
  /** An exchange whose lists begin in the guest's memory, and whose count of what is done leads elsewhere. */
  function exchange(already: number, outList = DATA + 512): unknown {
    const { input, output, nrExchanged } = MemoryExchange;
    const { view } = guest;
    for (const side of [input, output]) {
      side.nrExtents.setNumber(view, DATA, 2 ** 40);
      side.domid.set(view, DATA, 0x7ff0);
    }
    input.extentStart.setNumber(view, DATA, DATA + 256);
    output.extentStart.setNumber(view, DATA, outList);
    nrExchanged.setNumber(view, DATA, already);
    return make(HYPERVISOR.memoryOp, XENMEM.exchange, DATA);
  }

  test.each([
    ["an index that carries the list into the hypervisor's range", (MACH2PHYS_VIRT_START + 2 ** 48 - DATA - 512) / 8],
    ["an index that carries it just before", (MACH2PHYS_VIRT_START + 2 ** 48 - DATA - 512) / 8 - 1],
    ["an index beyond the lists", 2 ** 40 + 1],
  ])("%s is of no use", (_name, already) => {
    const before = hypervisorBytes();
    expect([-Errno.EFAULT, -Errno.EINVAL]).toContain(exchange(already));
    expect(hypervisorBytes().equals(before)).toBe(true);
    expect(auditDomain(guest.domain)).toEqual([]);
  });

  test("a list of results in the hypervisor's range is of no use, and costs no frame", () => {
    const before = hypervisorBytes();
    const pages = guest.domain.memory.frames.ownPages;
    expect(exchange(0, MACH2PHYS_VIRT_START)).toBe(-Errno.EFAULT);
    expect(hypervisorBytes().equals(before)).toBe(true);
    expect(guest.domain.memory.frames.ownPages).toBe(pages);
  });
});

describe("a multicall", () => {
  /** Writes the list, has the guest make it, and gives the entries' results. */
  function multicall(entries: readonly (readonly number[])[]): number[] {
    const { view } = guest;
    entries.forEach(([op, ...args], i) => {
      const at = DATA + i * MulticallEntry.size;
      MulticallEntry.op.setNumber(view, at, op!);
      MulticallEntry.result.setNumber(view, at, 99);
      args.forEach((value, a) => {
        MulticallEntry.args.at(a).setNumber(view, at, value);
      });
    });
    guest.code(CODE, [...codeOf(HYPERVISOR.multicall, DATA, entries.length), ...STAY]).run();
    return entries.map((_, i) => MulticallEntry.result.signed(view, DATA + i * MulticallEntry.size));
  }

  test("in a multicall is -EINVAL, and the rest is done", () => {
    const results = multicall([[HYPERVISOR.multicall, DATA, 1], [HYPERVISOR.xenVersion, 0], [63]]);
    expect(results).toEqual([-Errno.EINVAL, 0x4_0011, -Errno.ENOSYS]);
  });

  test("ends with an iret to user mode: nothing behind it is done for the kernel that is gone", () => {
    guest.code(USER_CODE, STAY);
    // The frame that iret takes: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss.
    const frame = [0, 0, 0, 0, USER_CODE, 0xe033, 0x202, USER_STACK, 0xe02b];
    const stack = 0x8000;
    frame.forEach((value, i) => {
      guest.view.setBigInt64(stack + i * 8, BigInt(value), true);
    });
    guest.vcpu.cpu.setNumber(4, stack);
    const own = guest.domain.memory.map.baseMfn;
    const results = multicall([
      [HYPERVISOR.xenVersion, 0],
      [HYPERVISOR.iret],
      [HYPERVISOR.updateVaMapping, USER_CODE, (own + 0x50) * 4096 + 7, 0],
      [HYPERVISOR.xenVersion, 0],
    ]);
    expect([guest.rip, guest.vcpu.cpu.kernelMode]).toEqual([USER_CODE, 0]);
    expect(results).toEqual([0x4_0011, 99, 99, 99]);
    expect(auditDomain(guest.domain)).toEqual([]);
  });
});
