/** Hypercalls with arguments that may do something: what the fuzzer draws from, one row for each call and how often it comes. */

import { TrapInfo, VcpuGuestContext } from "../../../src/abi/arch-x86-64.ts";
import { CallbackRegister } from "../../../src/abi/callback.ts";
import {
  AllocUnbound,
  BindInterdomain,
  BindVirq,
  EVTCHNOP,
  EvtchnBindVcpu,
  EvtchnInitControl,
  EvtchnSetPriority,
  EvtchnStatus,
} from "../../../src/abi/event-channel.ts";
import {
  GetStatusFrames,
  GNTTABOP,
  GnttabCopy,
  GnttabSetVersion,
  GnttabTransfer,
  MapGrantRef,
  QuerySize,
  SetupTable,
  SwapGrantRef,
  UnmapAndReplace,
  UnmapGrantRef,
} from "../../../src/abi/grant-table.ts";
import {
  AddToPhysmap,
  E820Entry,
  MachphysMfnList,
  MemoryDomain,
  MemoryExchange,
  MemoryMapArg,
  MemoryReservation,
  XENMEM,
} from "../../../src/abi/memory.ts";
import { PHYSDEVOP, PhysdevPirqEoiGmfn, PhysdevSetIobitmap } from "../../../src/abi/physdev.ts";
import { SCHEDOP, SchedPoll, SchedWatchdog } from "../../../src/abi/sched.ts";
import { RegisterVcpuInfo, SetSingleshotTimer, VCPUOP } from "../../../src/abi/vcpu.ts";
import { HYPERVISOR, MMUEXT, MmuextOp, MmuUpdate, MulticallEntry } from "../../../src/abi/xen.ts";
import { type Draw, structBytes } from "./draw.ts";

type Arguments = readonly bigint[];
type Row = readonly [weight: number, number: number, draw: (d: Draw) => Arguments];

const count = (d: Draw, most: number) => 1 + d.random.below(most);
const times = <T>(n: number, make: () => T): T[] => Array.from({ length: n }, make);

function mmuUpdate(d: Draw): Arguments {
  const n = count(d, 6);
  const list = times(n, () =>
    structBytes(MmuUpdate, [
      [MmuUpdate.ptr, d.entryAddress()],
      [MmuUpdate.val, d.entry()],
    ]),
  );
  const foreign = d.random.chance(92) ? 0x7ff0n : d.domid() | (d.domid() << 16n);
  return [
    d.array(MmuUpdate.size, list),
    d.random.chance(97) ? BigInt(n) : d.random.edge64(),
    d.random.chance(80) ? 0n : d.va(),
    foreign,
  ];
}

const mmuext = [
  ...times(3, () => [MMUEXT.pinL1Table, MMUEXT.pinL2Table, MMUEXT.pinL3Table, MMUEXT.pinL4Table]).flat(),
  ...times(4, () => MMUEXT.unpinTable),
  ...times(3, () => [MMUEXT.newBaseptr, MMUEXT.newUserBaseptr]).flat(),
  ...Object.values(MMUEXT),
];

function mmuextOp(d: Draw): Arguments {
  const n = count(d, 4);
  const list = times(n, () => {
    const cmd = d.random.pick(mmuext);
    const address = cmd === MMUEXT.setLdt || (cmd >= MMUEXT.tlbFlushLocal && cmd <= MMUEXT.invlpgAll);
    return structBytes(MmuextOp, [
      [MmuextOp.cmd, BigInt(cmd)],
      [MmuextOp.arg1.mfn, address ? d.va() : d.random.chance(4) ? 0n : d.mfn()],
      [MmuextOp.arg2.srcMfn, cmd === MMUEXT.copyPage ? d.mfn() : cmd === MMUEXT.setLdt ? d.small(9000) : d.va()],
    ]);
  });
  return [
    d.array(MmuextOp.size, list),
    d.random.chance(97) ? BigInt(n) : d.random.edge64(),
    d.random.chance(80) ? 0n : d.va(),
    d.random.chance(95) ? 0x7ff0n : d.domid(),
  ];
}

function reservation(d: Draw, op: number): Arguments {
  const order = d.random.chance(85) ? 0 : d.random.below(11);
  const n = count(d, 6);
  const list = d.words(times(n, () => (op === XENMEM.populatePhysmap ? d.pfn() : d.mfn())));
  const r = MemoryReservation;
  return [
    BigInt(op) | (d.random.chance(90) ? 0n : d.small(8) << 6n),
    d.struct(
      r,
      [r.extentStart, d.random.chance(90) ? list : d.va()],
      [r.nrExtents, d.random.chance(95) ? BigInt(n) : d.random.edge64()],
      [r.extentOrder, BigInt(order)],
      [r.domid, d.random.chance(90) ? 0x7ff0n : d.domid()],
    ),
  ];
}

function exchange(d: Draw): Arguments {
  const order = d.random.chance(70) ? 0 : d.random.below(4);
  const { input, output, nrExchanged } = MemoryExchange;
  const [inOrder, outOrder] = d.random.chance(50) ? [0, order] : [order, 0];
  const chunks = count(d, 3);
  const ins = chunks << Math.max(0, outOrder - inOrder);
  const outs = chunks << Math.max(0, inOrder - outOrder);
  return [
    BigInt(XENMEM.exchange),
    d.struct(
      MemoryExchange,
      [input.extentStart, d.words(times(ins, () => d.mfn()))],
      [input.nrExtents, BigInt(ins)],
      [input.extentOrder, BigInt(inOrder)],
      [input.domid, 0x7ff0n],
      [output.extentStart, d.random.chance(90) ? d.words(times(outs, () => d.pfn())) : d.va()],
      [output.nrExtents, BigInt(outs)],
      [output.extentOrder, BigInt(outOrder)],
      [output.domid, 0x7ff0n],
      [nrExchanged, d.random.chance(90) ? 0n : d.small(4)],
    ),
  ];
}

function memoryOp(d: Draw): Arguments {
  switch (d.random.below(8)) {
    case 0:
      return reservation(d, XENMEM.increaseReservation);
    case 1:
    case 2:
      return reservation(d, XENMEM.decreaseReservation);
    case 3:
    case 4:
      return reservation(d, XENMEM.populatePhysmap);
    case 5:
      return exchange(d);
    default: {
      const op = d.random.pick(Object.values(XENMEM).filter((value) => value !== XENMEM.exchange));
      const layout = d.random.pick([MemoryDomain, MachphysMfnList, MemoryMapArg, AddToPhysmap, E820Entry]);
      const bytes = new Uint8Array(Math.max(64, layout.size));
      const view = new DataView(bytes.buffer);
      for (let at = 0; at < 64; at += 8) {
        const value = d.random.pick([d.domid(), d.va(), d.small(40), d.mfn()]);
        view.setBigUint64(at, BigInt.asUintN(64, value), true);
      }
      return [BigInt(op), d.put(bytes)];
    }
  }
}

function eventChannelOp(d: Draw): Arguments {
  const op = d.random.pick([
    ...times(4, () => [EVTCHNOP.allocUnbound, EVTCHNOP.bindInterdomain, EVTCHNOP.send, EVTCHNOP.close]).flat(),
    ...Object.values(EVTCHNOP).filter((value) => value !== EVTCHNOP.reset),
    ...(d.random.chance(10) ? [EVTCHNOP.reset] : []),
  ]);
  const argument = (): bigint => {
    switch (op) {
      case EVTCHNOP.allocUnbound:
        return d.struct(
          AllocUnbound,
          [AllocUnbound.dom, d.random.chance(90) ? 0x7ff0n : d.domid()],
          [AllocUnbound.remoteDom, d.random.chance(80) ? d.guest() : d.domid()],
        );
      case EVTCHNOP.bindInterdomain:
        return d.struct(
          BindInterdomain,
          [BindInterdomain.remoteDom, d.random.chance(85) ? d.guest() : d.domid()],
          [BindInterdomain.remotePort, d.port()],
        );
      case EVTCHNOP.bindVirq:
        return d.struct(BindVirq, [BindVirq.virq, d.small(26)], [BindVirq.vcpu, d.vcpuId()]);
      case EVTCHNOP.status:
        return d.struct(
          EvtchnStatus,
          [EvtchnStatus.dom, d.random.chance(80) ? 0x7ff0n : d.domid()],
          [EvtchnStatus.port, d.port()],
        );
      case EVTCHNOP.bindVcpu:
        return d.struct(EvtchnBindVcpu, [EvtchnBindVcpu.port, d.port()], [EvtchnBindVcpu.vcpu, d.vcpuId()]);
      case EVTCHNOP.initControl:
        return d.struct(
          EvtchnInitControl,
          [EvtchnInitControl.controlGfn, d.mfn()],
          [EvtchnInitControl.offset, d.random.pick([0n, 8n, 0x800n, 4024n, 4032n, d.random.edge64()])],
          [EvtchnInitControl.vcpu, d.vcpuId()],
        );
      case EVTCHNOP.expandArray:
        return d.words([d.mfn()]);
      case EVTCHNOP.setPriority:
        return d.struct(
          EvtchnSetPriority,
          [EvtchnSetPriority.port, d.port()],
          [EvtchnSetPriority.priority, d.small(18)],
        );
      case EVTCHNOP.reset:
        return d.words([d.random.chance(80) ? 0x7ff0n : d.domid()]);
      default:
        return d.words([d.random.chance(50) ? d.port() : d.vcpuId(), 0n]);
    }
  };
  return [BigInt(op), argument()];
}

/** Grant references in use are low: entries are stores of the guest. */
const ref = (d: Draw) => (d.random.chance(90) ? BigInt(d.random.below(24)) : d.random.pick([511n, 512n, 0xffff_ffffn]));

function grantTableOp(d: Draw): Arguments {
  const op = d.random.pick([
    ...Object.values(GNTTABOP),
    ...times(4, () => [GNTTABOP.copy, GNTTABOP.mapGrantRef, GNTTABOP.unmapGrantRef]).flat(),
  ]);
  const n = d.random.chance(80) ? 1 : count(d, 4);
  const of = (layout: { readonly size: number }, fields: () => Parameters<typeof structBytes>[1]) =>
    d.array(
      layout.size,
      times(n, () => structBytes(layout, fields())),
    );
  const argument = (): bigint => {
    switch (op) {
      case GNTTABOP.mapGrantRef:
        return of(MapGrantRef, () => [
          [MapGrantRef.hostAddr, d.random.chance(60) ? d.va() & ~0xfffn : d.entryAddress()],
          [MapGrantRef.flags, BigInt(d.random.pick([2, 2, 6, 6, 18, 22, 1, 3, 10, d.random.u32()]))],
          [MapGrantRef.ref, ref(d)],
          [MapGrantRef.dom, d.random.chance(85) ? d.guest() : d.domid()],
        ]);
      case GNTTABOP.unmapGrantRef:
        return of(UnmapGrantRef, () => [
          [UnmapGrantRef.hostAddr, d.random.chance(60) ? d.va() & ~0xfffn : d.entryAddress()],
          [UnmapGrantRef.devBusAddr, d.random.chance(80) ? 0n : d.va()],
          [UnmapGrantRef.handle, d.small(16)],
        ]);
      case GNTTABOP.unmapAndReplace:
        return of(UnmapAndReplace, () => [
          [UnmapAndReplace.hostAddr, d.va() & ~0xfffn],
          [UnmapAndReplace.newAddr, d.va() & ~0xfffn],
          [UnmapAndReplace.handle, d.small(16)],
        ]);
      case GNTTABOP.setupTable:
        return of(SetupTable, () => [
          [SetupTable.dom, d.random.chance(85) ? 0x7ff0n : d.domid()],
          [SetupTable.nrFrames, d.small(6)],
          [SetupTable.frameList, d.va()],
        ]);
      case GNTTABOP.getStatusFrames:
        return of(GetStatusFrames, () => [
          [GetStatusFrames.dom, 0x7ff0n],
          [GetStatusFrames.nrFrames, d.small(4)],
          [GetStatusFrames.frameList, d.va()],
        ]);
      case GNTTABOP.transfer:
        return of(GnttabTransfer, () => [
          [GnttabTransfer.mfn, d.mfn()],
          [GnttabTransfer.domid, d.guest()],
          [GnttabTransfer.ref, ref(d)],
        ]);
      case GNTTABOP.copy:
        return of(GnttabCopy, () => {
          const flags = d.random.below(4);
          const { source, dest } = GnttabCopy;
          return [
            [source.u.gmfn, flags & 1 ? ref(d) : d.mfn()],
            [source.domid, flags & 1 ? d.guest() : d.random.chance(85) ? 0x7ff0n : d.domid()],
            [source.offset, d.small(4096)],
            [dest.u.gmfn, flags & 2 ? ref(d) : d.mfn()],
            [dest.domid, flags & 2 ? d.guest() : d.random.chance(85) ? 0x7ff0n : d.domid()],
            [dest.offset, d.small(4096)],
            [GnttabCopy.len, d.small(4096)],
            [GnttabCopy.flags, BigInt(flags)],
          ];
        });
      case GNTTABOP.querySize:
        return of(QuerySize, () => [[QuerySize.dom, d.domid()]]);
      case GNTTABOP.setVersion:
        return of(GnttabSetVersion, () => [[GnttabSetVersion.version, BigInt(d.random.below(4))]]);
      case GNTTABOP.swapGrantRef:
        return of(SwapGrantRef, () => [
          [SwapGrantRef.refA, ref(d)],
          [SwapGrantRef.refB, ref(d)],
        ]);
      default:
        return d.words([d.domid(), d.va(), 0n]);
    }
  };
  return [BigInt(op), argument(), d.random.chance(96) ? BigInt(n) : d.random.edge64() & 0xffffn];
}

function context(d: Draw): bigint {
  const c = VcpuGuestContext;
  return d.put(
    structBytes(c, [
      [c.userRegs.rip, d.va()],
      [c.userRegs.rsp, d.va()],
      [c.userRegs.rflags, d.random.edge64()],
      [c.flags, BigInt(d.random.below(256))],
      [c.ctrlreg.at(3), d.mfn() << 12n],
      [c.ctrlreg.at(1), d.random.chance(50) ? 0n : d.mfn() << 12n],
      [c.gdtEnts, d.small(1024)],
      [c.gdtFrames.at(0), d.mfn()],
      [c.gdtFrames.at(1), d.mfn()],
      [c.ldtEnts, d.random.chance(70) ? 0n : d.small(512)],
      [c.ldtBase, d.va()],
      [c.kernelSp, d.va()],
      [c.eventCallbackEip, d.va()],
      [c.debugreg.at(7), d.random.edge64()],
    ]),
  );
}

function vcpuOp(d: Draw): Arguments {
  const op = d.random.pick(Object.values(VCPUOP).filter((value) => value !== VCPUOP.down || d.random.chance(10)));
  const argument = (): bigint => {
    switch (op) {
      case VCPUOP.initialise:
        return context(d);
      case VCPUOP.registerVcpuInfo:
        return d.struct(
          RegisterVcpuInfo,
          [RegisterVcpuInfo.mfn, d.mfn()],
          [RegisterVcpuInfo.offset, d.random.pick([0n, 64n, 4032n, 4033n, 8n, d.random.edge64()])],
        );
      case VCPUOP.setSingleshotTimer:
        return d.struct(
          SetSingleshotTimer,
          [SetSingleshotTimer.timeoutAbsNs, d.time()],
          [SetSingleshotTimer.flags, d.small(2)],
        );
      case VCPUOP.setPeriodicTimer:
        return d.words([d.random.pick([1_000_000n, 999_999n, 2_000_000n, d.random.edge64()])]);
      default:
        return d.words([d.va(), d.va()]);
    }
  };
  return [BigInt(op), d.vcpuId(), argument()];
}

function schedOp(d: Draw): Arguments {
  const op = d.random.pick([
    SCHEDOP.yield,
    SCHEDOP.block,
    SCHEDOP.poll,
    SCHEDOP.poll,
    SCHEDOP.remoteShutdown,
    SCHEDOP.watchdog,
    SCHEDOP.pinOverride,
    8,
    99,
  ]);
  if (op === SCHEDOP.poll) {
    return [
      BigInt(op),
      d.struct(
        SchedPoll,
        [SchedPoll.ports, d.words([d.port() | (d.port() << 32n)])],
        [SchedPoll.nrPorts, d.random.chance(95) ? BigInt(d.random.below(3)) : d.small(200)],
        [SchedPoll.timeout, d.time()],
      ),
    ];
  }
  if (op === SCHEDOP.watchdog)
    return [
      BigInt(op),
      d.struct(SchedWatchdog, [SchedWatchdog.id, d.small(4)], [SchedWatchdog.timeout, d.small(3) * 100n]),
    ];
  return [BigInt(op), d.words([d.domid()])];
}

function traps(d: Draw): Arguments {
  if (d.random.chance(5)) return [d.random.chance(50) ? 0n : d.va()];
  const entries = times(count(d, 5), () =>
    structBytes(TrapInfo, [
      [TrapInfo.vector, BigInt(d.random.below(256))],
      [TrapInfo.flags, BigInt(d.random.below(8))],
      [TrapInfo.cs, d.random.pick([0xe033n, 0xe02bn, 0n, 0x33n])],
      [TrapInfo.address, d.va()],
    ]),
  );
  return [d.array(TrapInfo.size, [...entries, new Uint8Array(TrapInfo.size)])];
}

function physdevOp(d: Draw): Arguments {
  const op = d.random.pick([
    ...Object.values(PHYSDEVOP),
    PHYSDEVOP.pirqEoiGmfnV1,
    PHYSDEVOP.setIopl,
    PHYSDEVOP.setIobitmap,
  ]);
  if (op === PHYSDEVOP.pirqEoiGmfnV1 || op === PHYSDEVOP.pirqEoiGmfnV2)
    return [BigInt(op), d.struct(PhysdevPirqEoiGmfn, [PhysdevPirqEoiGmfn.gmfn, d.mfn()])];
  if (op === PHYSDEVOP.setIobitmap)
    return [
      BigInt(op),
      d.struct(PhysdevSetIobitmap, [PhysdevSetIobitmap.bitmap, d.va()], [PhysdevSetIobitmap.nrPorts, d.small(65_537)]),
    ];
  return [BigInt(op), d.words([d.small(100), d.small(4)])];
}

/** A segment descriptor: code, data, gates, system segments, anything. */
function descriptor(d: Draw): bigint {
  const access = BigInt(
    d.random.pick([0xfb, 0xf3, 0x9b, 0x93, 0xfa, 0xf2, 0x8c, 0xec, 0x89, 0x82, 0x8e, 0x00, d.random.below(256)]),
  );
  return (d.random.bits64() & 0xff0f_00ff_ffff_ffffn) | (access << 40n) | (BigInt(d.random.below(16)) << 52n);
}

const rows: readonly Row[] = [
  [30, HYPERVISOR.mmuUpdate, mmuUpdate],
  [22, HYPERVISOR.mmuextOp, mmuextOp],
  [
    10,
    HYPERVISOR.updateVaMapping,
    (d) => [d.va(), d.entry(), d.random.chance(70) ? BigInt(d.random.below(3)) : d.va() | BigInt(d.random.below(4))],
  ],
  [2, HYPERVISOR.updateVaMappingOtherdomain, (d) => [d.va(), d.entry(), 0n, d.domid()]],
  [10, HYPERVISOR.memoryOp, memoryOp],
  [18, HYPERVISOR.eventChannelOp, eventChannelOp],
  [14, HYPERVISOR.grantTableOp, grantTableOp],
  [5, HYPERVISOR.vcpuOp, vcpuOp],
  [3, HYPERVISOR.schedOp, schedOp],
  [1, HYPERVISOR.schedOpCompat, (d) => [d.random.pick([0n, 1n, 7n]), 0n]],
  [3, HYPERVISOR.setGdt, (d) => [d.words([d.mfn(), d.mfn(), d.mfn()]), d.small(1100)]],
  [3, HYPERVISOR.updateDescriptor, (d) => [(d.mfn() << 12n) | BigInt(d.random.below(512) * 8), descriptor(d)]],
  [2, HYPERVISOR.setTrapTable, traps],
  [1, HYPERVISOR.setCallbacks, (d) => [d.va(), d.va(), d.va()]],
  [
    1,
    HYPERVISOR.callbackOp,
    (d) => [
      d.small(3),
      d.struct(
        CallbackRegister,
        [CallbackRegister.type, d.small(9)],
        [CallbackRegister.flags, d.small(2)],
        [CallbackRegister.address, d.va()],
      ),
    ],
  ],
  [1, HYPERVISOR.nmiOp, (d) => [d.small(3), d.words([d.va()])]],
  [1, HYPERVISOR.stackSwitch, (d) => [d.small(65536), d.va()]],
  [1, HYPERVISOR.fpuTaskswitch, (d) => [d.small(2)]],
  [2, HYPERVISOR.setDebugreg, (d) => [d.small(9), d.random.chance(50) ? d.va() : d.random.edge64()]],
  [1, HYPERVISOR.getDebugreg, (d) => [d.small(9)]],
  [1, HYPERVISOR.setTimerOp, (d) => [d.time()]],
  [1, HYPERVISOR.xenVersion, (d) => [d.small(14), d.put(new Uint8Array(8))]],
  [1, HYPERVISOR.consoleIo, (d) => [d.small(3), d.small(5000), d.va()]],
  // Once on, m2p_strict stays on: what it took from a root does not come back.
  [
    1,
    HYPERVISOR.vmAssist,
    (d) => d.random.pick([[0n, 32n], ...[0n, 1n, 2n, 3n, 4n, 5n, 99n].map((type) => [d.small(3), type])]),
  ],
  [1, HYPERVISOR.setSegmentBase, (d) => [d.small(5), d.va()]],
  [3, HYPERVISOR.physdevOp, physdevOp],
  [1, HYPERVISOR.iret, () => []],
  [1, HYPERVISOR.platformOp, (d) => [d.va(), d.va(), d.va()]],
];

const total = rows.reduce((sum, [weight]) => sum + weight, 0);

export interface DrawnCall {
  readonly number: number;
  readonly args: Arguments;
}

/** A call; one in twelve is a multicall of several. */
export function drawCall(d: Draw): DrawnCall {
  if (d.random.below(12) === 0) {
    const entries = times(count(d, 5), () => {
      const { number, args } = d.random.chance(95) ? drawSingle(d) : anything(d);
      return structBytes(MulticallEntry, [
        [MulticallEntry.op, BigInt(number)],
        ...args.map((value, i) => [MulticallEntry.args.at(i), value] as const),
      ]);
    });
    return {
      number: HYPERVISOR.multicall,
      args: [d.array(MulticallEntry.size, entries), d.random.chance(97) ? BigInt(entries.length) : d.random.edge64()],
    };
  }
  return d.random.chance(97) ? drawSingle(d) : anything(d);
}

function drawSingle(d: Draw): DrawnCall {
  let left = d.random.below(total);
  for (const [weight, number, draw] of rows) {
    left -= weight;
    if (left < 0) return { number, args: draw(d) };
  }
  throw new Error("weights do not add up");
}

const anything = (d: Draw): DrawnCall => ({
  number: d.random.below(66),
  args: times(6, () => d.random.pick([d.random.edge64(), d.va(), d.mfn(), d.small(8)])),
});
