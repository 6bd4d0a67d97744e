/**
 * What the trace costs a hypercall: off, on for other hypercalls, on for this one; without and with a struct in guest memory. Without guest
 * code, in turns, so that the ratios hold on a busy machine. `node test/bench/trace.ts`.
 */
import { EVTCHNOP, EvtchnUnmask } from "../../src/abi/event-channel.ts";
import { HYPERVISOR } from "../../src/abi/xen.ts";
import { Reg } from "../../src/engine/cpu-state.ts";
import { dispatchHypercall } from "../../src/hypervisor/hypercall/dispatch.ts";
import { SCRATCH, World } from "../hypervisor/world.ts";

const TURNS = 12;
const CALLS = 200_000;

const world = new World();
const { domain } = world.domain(1);
const vcpu = domain.vcpus[0]!;

const settings: readonly (readonly [string, () => void])[] = [
  ["off", () => world.shard.setTrace(1, false)],
  ["on, of other hypercalls", () => world.shard.setTrace(1, true, ["memory_op"])],
  ["on", () => world.shard.setTrace(1, true)],
];
const hypercalls = [
  ["xen_version.version, no struct", HYPERVISOR.xenVersion, 0, 0],
  [`event_channel_op.unmask, ${EvtchnUnmask.size} bytes`, HYPERVISOR.eventChannelOp, EVTCHNOP.unmask, SCRATCH],
] as const;

/** ns a call. */
function measure(number: number, op: number, arg: number): number {
  const start = performance.now();
  for (let i = 0; i < CALLS; i++) {
    vcpu.cpu.setNumber(Reg.rax, number);
    vcpu.cpu.setNumber(Reg.rdi, op);
    vcpu.cpu.setNumber(Reg.rsi, arg);
    dispatchHypercall(vcpu);
  }
  return ((performance.now() - start) * 1e6) / CALLS;
}

for (const [name, number, op, arg] of hypercalls) {
  const times = settings.map(() => [] as number[]);
  for (let turn = 0; turn <= TURNS; turn++) {
    for (const [i, [, set]] of settings.entries()) {
      set();
      const ns = measure(number, op, arg);
      if (turn > 0) times[i]!.push(ns);
    }
  }
  const medians = times.map((list) => list.sort((a, b) => a - b)[list.length >> 1]!);
  for (const [i, [setting]] of settings.entries()) {
    const ratio = (medians[i]! / medians[0]!).toFixed(2);
    console.log(`${name.padEnd(40)} ${setting.padEnd(24)} ${medians[i]!.toFixed(0).padStart(6)} ns   ${ratio} of off`);
  }
}
