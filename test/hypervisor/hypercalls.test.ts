/** Hypercalls of scripted guests: scheduling, vCPUs, time, versions, multicalls, and what unprivileged domains are refused. */
import { describe, expect, test } from "vitest";
import { Errno } from "../../src/abi/errno.ts";
import { AllocUnbound, BindInterdomain, BindVirq, EVTCHNOP } from "../../src/abi/event-channel.ts";
import { PHYSDEVOP, PhysdevPirqEoiGmfn, PhysdevSetIobitmap } from "../../src/abi/physdev.ts";
import {
  SCHEDOP,
  SchedPoll,
  SchedRemoteShutdown,
  SchedShutdown,
  SchedWatchdog,
  SHUTDOWN,
} from "../../src/abi/sched.ts";
import {
  RegisterRunstateMemoryArea,
  RegisterVcpuInfo,
  RUNSTATE,
  SetPeriodicTimer,
  SetSingleshotTimer,
  VCPUOP,
  VcpuRunstateInfo,
} from "../../src/abi/vcpu.ts";
import { FeatureInfo, XENVER } from "../../src/abi/version.ts";
import { DOMID, HYPERVISOR, MulticallEntry, VcpuInfo, VIRQ, VMASST_CMD, VMASST_TYPE } from "../../src/abi/xen.ts";
import { Reg } from "../../src/engine/cpu-state.ts";
import { hypercall, type Script, type Step, work } from "./scripted-guest.ts";
import { SCRATCH, type TestDomain, World } from "./world.ts";

const MS = 1_000_000;

/** Makes the calls one after another on vCPU 0 of a fresh domain; gives their results. */
function answers(calls: (d: TestDomain) => readonly Step[], { vcpus = 1, ms = 50 } = {}): number[] {
  const world = new World();
  const d = world.domain(1, [], { vcpus });
  const out: number[] = [];
  d.start(
    0,
    (function* (): Script {
      for (const step of calls(d)) out.push(yield step);
    })(),
  );
  world.run(ms * MS);
  return out;
}

const put32 = (d: TestDomain, at: number, ...values: number[]) => {
  values.forEach((value, i) => {
    d.view.setUint32(SCRATCH + at + i * 4, value, true);
  });
  return SCRATCH + at;
};

describe("answers that depend on nothing", () => {
  const { ENOSYS, EPERM, EINVAL, EFAULT, ENOENT, ESRCH, EOPNOTSUPP, EEXIST, EBUSY, EACCES } = Errno;
  const BAD = 0x7f00_0000_0000;
  type Row = readonly [string, (d: TestDomain) => readonly Step[], readonly number[]];
  const rows: readonly Row[] = [
    [
      "a hypercall that does not exist",
      () => [hypercall(63), hypercall(9999), hypercall(0x8000_0000)],
      [-ENOSYS, -ENOSYS, -ENOSYS],
    ],
    ["xen_version", () => [hypercall(HYPERVISOR.xenVersion, XENVER.version, 0)], [0x4_0011]],
    [
      "XENVER_pagesize wants no argument",
      () => [hypercall(17, XENVER.pagesize, 0), hypercall(17, XENVER.pagesize, SCRATCH)],
      [4096, -EINVAL],
    ],
    ["XENVER_extraversion to where nothing is", () => [hypercall(17, XENVER.extraversion, BAD)], [-EFAULT]],
    ["XENVER_build_id is not for guests", () => [hypercall(17, XENVER.buildId, 0)], [-EPERM]],
    ["XENVER of no meaning", () => [hypercall(17, 99, 0)], [-ENOSYS]],
    ["features beyond the only submap", (d) => [hypercall(17, XENVER.getFeatures, put32(d, 0, 1, 0))], [-EINVAL]],
    [
      "console_io",
      () => [hypercall(HYPERVISOR.consoleIo, 0, 5, SCRATCH), hypercall(HYPERVISOR.consoleIo, 1, 5, SCRATCH)],
      [-EPERM, -EPERM],
    ],
    [
      "domctl, sysctl, platform_op",
      () => [hypercall(36, 0), hypercall(35, BAD), hypercall(7, 0)],
      [-EACCES, -EFAULT, -EACCES],
    ],
    ["xenpmu_op", () => [hypercall(HYPERVISOR.xenpmuOp, 4, SCRATCH)], [-EOPNOTSUPP]],
    ["vcpu_op on no vCPU", () => [hypercall(24, VCPUOP.isUp, 1), hypercall(24, VCPUOP.isUp, 8191)], [-ENOENT, -ENOENT]],
    ["vcpu_op of no meaning", () => [hypercall(24, 99, 0)], [-ENOSYS]],
    [
      "a vCPU that was not initialised cannot be up",
      () => [hypercall(24, VCPUOP.isUp, 0), hypercall(24, VCPUOP.up, 1)],
      [1, -ENOENT],
    ],
    ["get_physid", () => [hypercall(24, VCPUOP.getPhysid, 0, SCRATCH)], [-EINVAL]],
    ["a vCPU is initialised once", () => [hypercall(24, VCPUOP.initialise, 0, 0x3000)], [-EEXIST]],
    ["sched_op of no meaning", () => [hypercall(29, 77)], [-ENOSYS]],
    ["pin_override", (d) => [hypercall(29, SCHEDOP.pinOverride, put32(d, 0, 0))], [-EPERM]],
    ["remote_shutdown of Domain 0, of oneself, of nobody", (d) => remote(d, 0, 1, 77), [-EPERM, -EPERM, -ESRCH]],
    [
      "vm_assist",
      () => [
        hypercall(21, VMASST_CMD.enable, VMASST_TYPE.writablePagetables),
        hypercall(21, VMASST_CMD.disable, VMASST_TYPE.writablePagetables),
        hypercall(21, 2, 2),
        hypercall(21, VMASST_CMD.enable, 6),
      ],
      [0, 0, -ENOSYS, -EINVAL],
    ],
    [
      "set_segment_base",
      () => [hypercall(25, 4, 0), hypercall(25, 0, 2 ** 50), hypercall(25, 0, 4096)],
      [-EINVAL, -EINVAL, 0],
    ],
    [
      "set_debugreg and get_debugreg",
      () => [
        hypercall(8, 0, 0x1000),
        hypercall(9, 0),
        hypercall(8, 1, -0x8000_0000_0000),
        hypercall(8, 7, 1 << 13),
        hypercall(8, 9, 0),
        hypercall(9, 9),
        hypercall(8, 6, 0),
        hypercall(9, 6),
      ],
      [0, 0x1000, -EPERM, -EPERM, -Errno.ENODEV, -Errno.ENODEV, 0, 0xffff_0ff0],
    ],
    ["callback_op of no meaning", () => [hypercall(30, 5, SCRATCH)], [-ENOSYS]],
    [
      "an unregistered callback",
      (d) => [hypercall(30, 1, put32(d, 0, 0)), hypercall(30, 1, put32(d, 16, 9))],
      [-EINVAL, -ENOSYS],
    ],
    [
      "set_iopl",
      (d) => [0, 3, 4].map((iopl) => hypercall(33, PHYSDEVOP.setIopl, put32(d, iopl * 16, iopl))),
      [0, 0, -EINVAL],
    ],
    [
      "set_iobitmap beyond all ports",
      (d) => [
        hypercall(
          33,
          PHYSDEVOP.setIobitmap,
          d.put(PhysdevSetIobitmap, (v, at) => PhysdevSetIobitmap.nrPorts.set(v, at, 65537)),
        ),
      ],
      [-EINVAL],
    ],
    [
      "physdev_op for devices",
      () => [hypercall(33, PHYSDEVOP.mapPirq, SCRATCH), hypercall(33, 99, SCRATCH)],
      [-EPERM, -ENOSYS],
    ],
    ["an EOI of a PIRQ nobody has", (d) => [hypercall(33, PHYSDEVOP.eoi, put32(d, 0, 5))], [-EINVAL]],
    [
      "the PIRQ EOI frame is named once",
      (d) => {
        const at = d.put(PhysdevPirqEoiGmfn, (v, base) => PhysdevPirqEoiGmfn.gmfn.setNumber(v, base, d.mfn(50)));
        const op = hypercall(33, PHYSDEVOP.pirqEoiGmfnV2, at);
        return [op, op];
      },
      [0, -EBUSY],
    ],
    [
      "set_trap_table: NULL, unreadable, not canonical",
      (d) => {
        put32(d, 0, 0x0000_0003, 0, 0, 0x8000_0000);
        return [hypercall(0, 0), hypercall(0, BAD), hypercall(0, SCRATCH)];
      },
      [0, -EFAULT, -EINVAL],
    ],
  ];
  function remote(d: TestDomain, ...domids: number[]): Step[] {
    return domids.map((domid, i) =>
      hypercall(
        29,
        SCHEDOP.remoteShutdown,
        d.put(SchedRemoteShutdown, (v, at) => SchedRemoteShutdown.domainId.set(v, at, domid), i * 16),
      ),
    );
  }
  test.each(rows)("%s", (name, calls, expected) => {
    expect([name, answers(calls)]).toEqual([name, expected]);
  });
});

describe("scheduling", () => {
  test("block enables events and waits; an event ends it", () => {
    const world = new World();
    const d = world.domain(1);
    const times: number[] = [];
    d.start(
      0,
      (function* (): Script {
        const at = d.put(BindVirq, (v, base) => BindVirq.virq.set(v, base, VIRQ.timer));
        yield hypercall(32, EVTCHNOP.bindVirq, at);
        yield hypercall(HYPERVISOR.setTimerOp, world.shard.now() + 5 * MS);
        times.push(world.shard.now());
        yield hypercall(29, SCHEDOP.block);
        times.push(world.shard.now());
      })(),
    );
    d.engine.onUpcall = () => d.domain.vcpus[0]!.infoBytes.fill(0, 0, 1);
    world.run(20 * MS);
    expect(times[1]! - times[0]!).toBeGreaterThan(4.9 * MS);
    expect(times[1]! - times[0]!).toBeLessThan(5.2 * MS);
  });

  test("block does not wait when an event is pending", () => {
    const world = new World();
    const d = world.domain(1);
    let woke = 0;
    d.domain.vcpus[0]!.infoBytes[0] = 1;
    d.engine.onUpcall = () => d.domain.vcpus[0]!.infoBytes.fill(0, 0, 1);
    d.start(
      0,
      (function* (): Script {
        yield hypercall(29, SCHEDOP.block);
        woke = world.shard.now();
      })(),
    );
    const start = world.shard.now();
    world.run(MS);
    expect(woke - start).toBeLessThan(1000);
  });

  test.each([
    ["a port that is pending ends it at once", 1, true, 0, 0],
    ["the timeout ends it", 1, false, 3 * MS, 3 * MS],
    ["several ports, none pending: the timeout ends it", 2, false, 2 * MS, 2 * MS],
  ])("poll: %s", (_name, count, pending, timeout, waits) => {
    const world = new World();
    const d = world.domain(1);
    const port = d.domain.events.allocUnbound(0);
    world.shard.bindDom0(1, port);
    d.domain.events.allocUnbound(0);
    if (pending) world.shard.notifyPort(1, port);
    const start = world.shard.now();
    let end = 0;
    let result = -1;
    d.start(
      0,
      (function* (): Script {
        put32(d, 64, 1, 2);
        const at = d.put(SchedPoll, (v, base) => {
          SchedPoll.ports.setNumber(v, base, SCRATCH + 64);
          SchedPoll.nrPorts.set(v, base, count);
          SchedPoll.timeout.setNumber(v, base, timeout === 0 ? 0 : start + timeout);
        });
        result = yield hypercall(29, SCHEDOP.poll, at);
        end = world.shard.now();
      })(),
    );
    world.run(10 * MS);
    expect(result).toBe(0);
    expect(end - start).toBeGreaterThanOrEqual(waits);
    expect(end - start).toBeLessThan(waits + 0.1 * MS);
  });

  test("poll: an event on a masked port ends it, without an upcall", () => {
    const world = new World();
    const d = world.domain(1);
    const port = d.domain.events.allocUnbound(0);
    world.shard.bindDom0(1, port);
    d.domain.sharedInfo[2560 / 4] = -1;
    let done = false;
    d.start(
      0,
      (function* (): Script {
        put32(d, 64, port);
        yield hypercall(
          29,
          SCHEDOP.poll,
          d.put(SchedPoll, (v, base) => {
            SchedPoll.ports.setNumber(v, base, SCRATCH + 64);
            SchedPoll.nrPorts.set(v, base, 1);
          }),
        );
        done = true;
      })(),
    );
    world.run(MS);
    expect(done).toBe(false);
    world.shard.notifyPort(1, port);
    world.run(MS);
    expect(done).toBe(true);
    expect(d.domain.vcpus[0]!.upcallPending).toBe(false);
  });

  test("poll: bad arguments", () => {
    const poll = (d: TestDomain, count: number, ports: number, at: number) =>
      hypercall(
        29,
        SCHEDOP.poll,
        d.put(
          SchedPoll,
          (v, base) => {
            SchedPoll.ports.setNumber(v, base, ports);
            SchedPoll.nrPorts.set(v, base, count);
          },
          at,
        ),
      );
    expect(
      answers((d) => {
        put32(d, 128, 5000);
        return [poll(d, 129, SCRATCH, 0), poll(d, 1, 0x7f00_0000_0000, 32), poll(d, 1, SCRATCH + 128, 64)];
      }),
    ).toEqual([-Errno.EINVAL, -Errno.EFAULT, -Errno.EINVAL]);
  });

  test("the first shutdown reason stands; an announced code goes before it", () => {
    const ends = (...ops: (readonly [number, number])[]) => {
      const world = new World();
      const d = world.domain(1);
      d.start(
        0,
        (function* (): Script {
          for (const [op, reason] of ops)
            yield hypercall(
              29,
              op,
              d.put(SchedShutdown, (v, at) => SchedShutdown.reason.set(v, at, reason)),
            );
        })(),
      );
      world.run(MS);
      return d.domain.shutdownReason;
    };
    expect(ends([SCHEDOP.shutdown, SHUTDOWN.reboot])).toBe(SHUTDOWN.reboot);
    expect(ends([SCHEDOP.shutdownCode, SHUTDOWN.crash], [SCHEDOP.shutdown, SHUTDOWN.poweroff])).toBe(SHUTDOWN.crash);
  });

  test("a watchdog that is not fed ends the domain; unknown ones are refused", () => {
    const world = new World();
    const d = world.domain(1);
    const got: number[] = [];
    const dog = (id: number, timeout: number) =>
      hypercall(
        29,
        SCHEDOP.watchdog,
        d.put(SchedWatchdog, (v, at) => {
          SchedWatchdog.id.set(v, at, id);
          SchedWatchdog.timeout.set(v, at, timeout);
        }),
      );
    d.start(
      0,
      (function* (): Script {
        for (const [id, timeout] of [
          [0, 2],
          [0, 9],
          [0, 9],
          [3, 1],
          [2, 0],
          [2, 5],
        ])
          got.push(yield dog(id!, timeout!));
      })(),
    );
    world.run(MS);
    expect(got).toEqual([1, 2, -Errno.ENOSPC >>> 0, -Errno.EINVAL, 0, -Errno.EINVAL]);
    expect(d.domain.shutdownReason).toBe(-1);
    world.shard.run(world.shard.now() + 2_100 * MS);
    expect(d.domain.shutdownReason).toBe(SHUTDOWN.watchdog);
  });

  test("two domains that spin share the CPU; a paused one gets none", () => {
    const world = new World();
    const forever = function* (): Script {
      for (;;) yield work(1_000_000);
    };
    const a = world.domain(1, [forever()], { weight: 512 });
    const b = world.domain(2, [forever()]);
    const c = world.domain(3, [forever()]);
    world.shard.pause(3);
    world.run(300 * MS);
    const [x, y, z] = [a, b, c].map(({ domain }) => domain.vcpus[0]!.instructions);
    expect(x! / y!).toBeCloseTo(2, 1);
    expect(z).toBe(0);
    expect(world.shard.domainInfo(3)).toMatchObject({ state: "paused" });
  });
});

describe("vCPUs", () => {
  test("the last one going down is the end of the domain", () => {
    const world = new World();
    const d = world.domain(1);
    d.start(
      0,
      (function* (): Script {
        yield hypercall(24, VCPUOP.down, 0);
      })(),
    );
    world.run(MS);
    expect(d.domain.shutdownReason).toBe(SHUTDOWN.poweroff);
  });

  test("vcpu_info moves once, with its content, into a frame of the domain; everything is looked at again", () => {
    const world = new World();
    const d = world.domain(1, [], { vcpus: 2 });
    const got: number[] = [];
    const register = (vcpu: number, mfn: number, offset: number) =>
      hypercall(
        24,
        VCPUOP.registerVcpuInfo,
        vcpu,
        d.put(RegisterVcpuInfo, (v, at) => {
          RegisterVcpuInfo.mfn.setNumber(v, at, mfn);
          RegisterVcpuInfo.offset.set(v, at, offset);
        }),
      );
    d.start(
      0,
      (function* (): Script {
        got.push(yield register(0, d.mfn(50), 4096 - 32));
        got.push(yield register(0, 5, 0));
        got.push(yield register(1, d.mfn(50), 64));
        got.push(yield register(0, d.mfn(50), 128));
        got.push(yield register(0, d.mfn(51), 0));
      })(),
    );
    world.run(MS);
    const { ENXIO, EINVAL } = Errno;
    expect(got).toEqual([-ENXIO, -EINVAL, 0, 0, -EINVAL]);
    const at = 50 * 4096 + 128;
    expect(VcpuInfo.evtchnUpcallPending.get(d.view, at)).toBe(1);
    expect(VcpuInfo.evtchnPendingSel.hi(d.view, at)).toBe(0xffff_ffff);
    expect(VcpuInfo.time.tscToSystemMul.get(d.view, at)).toBe(0x8000_0000);
    expect(d.domain.memory.frames.refs(50)).toBeGreaterThan(1);
    world.shard.destroy(1);
    expect(world.shard.domains.size).toBe(0);
  });

  test("runstate: the area follows, and its times add up", () => {
    const world = new World();
    const d = world.domain(1);
    d.start(
      0,
      (function* (): Script {
        yield hypercall(
          24,
          VCPUOP.registerRunstateMemoryArea,
          0,
          d.put(RegisterRunstateMemoryArea, (v, at) => {
            RegisterRunstateMemoryArea.addr.setNumber(v, at, 0x30_000);
          }),
        );
        yield work(5 * MS);
        yield hypercall(29, SCHEDOP.block);
      })(),
    );
    world.run(20 * MS);
    const time = (state: number) => VcpuRunstateInfo.time.at(state).number(d.view, 0x30_000);
    expect(VcpuRunstateInfo.state.get(d.view, 0x30_000)).toBe(RUNSTATE.blocked);
    expect(time(RUNSTATE.running)).toBeGreaterThanOrEqual(5 * MS);
    expect(time(RUNSTATE.running)).toBeLessThan(5.1 * MS);
    const info = world.shard.domainInfo(1)!;
    expect(info.state).toBe("blocked");
    expect(info.vcpus[0]!.cpuTimeNs).toBe(time(RUNSTATE.running));
  });
});

describe("timers", () => {
  const bind = (d: TestDomain) =>
    hypercall(
      32,
      EVTCHNOP.bindVirq,
      d.put(BindVirq, (v, at) => BindVirq.virq.set(v, at, VIRQ.timer)),
    );

  test("a singleshot timer is the caller's own, and may refuse the past", () => {
    const world = new World();
    const d = world.domain(1, [], { vcpus: 2 });
    const got: number[] = [];
    const set = (vcpu: number, when: number, flags: number) =>
      hypercall(
        24,
        VCPUOP.setSingleshotTimer,
        vcpu,
        d.put(SetSingleshotTimer, (v, at) => {
          SetSingleshotTimer.timeoutAbsNs.setNumber(v, at, when);
          SetSingleshotTimer.flags.set(v, at, flags);
        }),
      );
    let fired = 0;
    d.engine.onUpcall = () => {
      fired++;
      d.domain.vcpus[0]!.infoBytes[0] = 0;
      d.domain.events.abi.clearPending(d.domain.events.get(1)!);
      d.domain.vcpus[0]!.info[2] = 0;
    };
    d.start(
      0,
      (function* (): Script {
        yield bind(d);
        got.push(yield set(1, world.shard.now() + MS, 0));
        got.push(yield set(0, 1, 1));
        got.push(yield set(0, 1, 0));
        got.push(yield hypercall(29, SCHEDOP.block));
        got.push(yield hypercall(24, VCPUOP.stopSingleshotTimer, 1));
      })(),
    );
    world.run(5 * MS);
    expect(got).toEqual([-Errno.EINVAL, 0, 0, 0, -Errno.EINVAL]);
    expect(fired).toBe(1);
  });

  test("a periodic timer ticks; a period below a millisecond is refused", () => {
    const world = new World();
    const d = world.domain(1);
    const got: number[] = [];
    let ticks = 0;
    d.engine.onUpcall = () => {
      ticks++;
      d.domain.vcpus[0]!.infoBytes[0] = 0;
      d.domain.vcpus[0]!.info[2] = 0;
      d.domain.events.abi.clearPending(d.domain.events.get(1)!);
    };
    const set = (period: number) =>
      hypercall(
        24,
        VCPUOP.setPeriodicTimer,
        0,
        d.put(SetPeriodicTimer, (v, at) => SetPeriodicTimer.periodNs.setNumber(v, at, period)),
      );
    d.start(
      0,
      (function* (): Script {
        yield bind(d);
        got.push(yield set(MS - 1), yield set(2 * MS));
        for (let i = 0; i < 5; i++) yield hypercall(29, SCHEDOP.block);
        got.push(yield hypercall(24, VCPUOP.stopPeriodicTimer, 0));
      })(),
    );
    world.run(50 * MS);
    expect(got).toEqual([-Errno.EINVAL, 0, 0]);
    expect(ticks).toBe(5);
  });
});

describe("multicall", () => {
  const list = (d: TestDomain, entries: readonly (readonly [number, ...number[]])[], at = 0x800) => {
    entries.forEach(([op, ...args], i) => {
      const base = SCRATCH + at + i * MulticallEntry.size;
      MulticallEntry.op.setNumber(d.view, base, op);
      args.forEach((value, a) => {
        MulticallEntry.args.at(a).setNumber(d.view, base, value);
      });
    });
    return SCRATCH + at;
  };
  const result = (d: TestDomain, i: number, at = 0x800) =>
    MulticallEntry.result.signed(d.view, SCRATCH + at + i * MulticallEntry.size);

  test("each entry gets its result; a multicall within is refused", () => {
    const world = new World();
    const d = world.domain(1);
    let rc = -1;
    d.start(
      0,
      (function* (): Script {
        rc = yield hypercall(13, list(d, [[17, 0, 0], [63], [13, SCRATCH, 1], [17, 7, 0]]), 4);
      })(),
    );
    world.run(MS);
    expect([rc, ...[0, 1, 2, 3].map((i) => result(d, i))]).toEqual([0, 0x4_0011, -Errno.ENOSYS, -Errno.EINVAL, 4096]);
    expect(world.shard.hypercallCounters(1)).toMatchObject([
      { name: "multicall", count: 1 },
      { name: "xen_version", count: 2 },
      { name: "hypercall_63", count: 1 },
    ]);
  });

  test("a list that cannot be read is -EFAULT; an empty one is nothing", () => {
    expect(answers(() => [hypercall(13, 0x7f00_0000_0000, 1), hypercall(13, 0, 0)])).toEqual([-Errno.EFAULT, 0]);
  });

  test("a long one goes on after a break", () => {
    const world = new World();
    const d = world.domain(1);
    let rc = -1;
    const count = 1500;
    d.start(
      0,
      (function* (): Script {
        rc = yield hypercall(
          13,
          list(
            d,
            Array.from({ length: count }, () => [17, 7, 0] as const),
          ),
          count,
        );
      })(),
    );
    world.run(5 * MS);
    expect(rc).toBe(0);
    expect(new Set(Array.from({ length: count }, (_, i) => result(d, i)))).toEqual(new Set([4096]));
  });

  test("an entry that waits for another shard lets the others go on when the answer is there", () => {
    const world = new World({ shards: 2 });
    const a = world.domain(1);
    a.domain.events.allocUnbound(2);
    const b = world.domain(2, [], { shard: 1 });
    let rc = -1;
    b.start(
      0,
      (function* (): Script {
        const bind = b.put(BindInterdomain, (v, at) => {
          BindInterdomain.remoteDom.set(v, at, 1);
          BindInterdomain.remotePort.set(v, at, 1);
        });
        const alloc = b.put(
          AllocUnbound,
          (v, at) => {
            AllocUnbound.dom.set(v, at, DOMID.self);
          },
          64,
        );
        rc = yield hypercall(
          13,
          list(b, [
            [17, 0, 0],
            [32, EVTCHNOP.bindInterdomain, bind],
            [32, EVTCHNOP.allocUnbound, alloc],
            [17, 7, 0],
          ]),
          4,
        );
      })(),
    );
    world.run(5 * MS);
    expect([rc, ...[0, 1, 2, 3].map((i) => result(b, i))]).toEqual([0, 0x4_0011, 0, 0, 4096]);
    expect(BindInterdomain.localPort.get(b.view, SCRATCH)).toBe(1);
    expect(AllocUnbound.port.get(b.view, SCRATCH + 64)).toBe(2);
  });
});

test("features follow what the domain has enabled", () => {
  const world = new World();
  const d = world.domain(1);
  const features: number[] = [];
  const ask = () =>
    hypercall(
      17,
      XENVER.getFeatures,
      d.put(FeatureInfo, () => {}),
    );
  d.start(
    0,
    (function* (): Script {
      yield ask();
      features.push(FeatureInfo.submap.get(d.view, SCRATCH));
      yield hypercall(21, VMASST_CMD.enable, VMASST_TYPE.paeExtendedCr3);
      yield ask();
      features.push(FeatureInfo.submap.get(d.view, SCRATCH));
    })(),
  );
  world.run(MS);
  expect(features).toEqual([0x220e0, 0x220f0]);
});

test("every call is counted, and traced while that is switched on", () => {
  const world = new World();
  const d = world.domain(1);
  world.shard.setTrace(1, true);
  d.start(
    0,
    (function* (): Script {
      yield hypercall(17, 0, 0);
      yield hypercall(29, SCHEDOP.yield);
      yield hypercall(63);
    })(),
  );
  world.run(MS);
  const report = world.shard.trace(1)!;
  expect(report.trace.map(({ seq, name, result }) => [seq, name, result])).toEqual([
    [0, "xen_version.version", String(0x4_0011)],
    [1, "sched_op.yield", "0"],
    [2, "hypercall_63", "-38"],
  ]);
  expect(report.next).toBe(3);
  expect(world.shard.trace(1, { since: 2 })!.trace).toHaveLength(1);
  world.shard.setTrace(1, false);
  expect(world.shard.trace(1)).toEqual({ tracing: false, trace: [], next: 3 });
  expect(d.domain.vcpus[0]!.cpu.lo(Reg.rax)).toBe(-38);
});
