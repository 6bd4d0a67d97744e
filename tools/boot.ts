/**
 * Boots one domain in this thread, its console on the terminal: for finding out how far a kernel gets, and why not further.
 *
 *     node tools/boot.ts --kernel vmlinuz --ramdisk initramfs.img --memory 256 --cmdline "console=hvc0" [--type $'ls\r']...
 *
 * What is typed reaches the guest once stdin is a terminal; ctrl-] ends. `--help` lists the rest.
 */
import { createWriteStream, readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { parseArgs } from "node:util";
import { SHUTDOWN } from "../src/abi/sched.ts";
import type { Domain } from "../src/hypervisor/domain.ts";
import type { TraceReport } from "../src/hypervisor/hypercall/trace-report.ts";
import { crashState } from "../src/hypervisor/traps/crash.ts";
import { OneThreadMachine } from "../test/hypervisor/one-thread-machine.ts";

const HELP = `node tools/boot.ts --kernel FILE [options]
  --kernel FILE     ELF or bzImage with Xen's notes
  --ramdisk FILE    handed to the kernel
  --cmdline TEXT    default "console=hvc0"
  --memory MIB      default 256
  --vcpus N         default 1
  --type TEXT       typed when the guest has printed --prompt again; may be repeated
  --prompt TEXT     default "# "
  --seconds N       give up after N seconds of system time (default 120, or never when stdin is a terminal)
  --virtual NS      virtual time, NS nanoseconds for an instruction: the same run every time
  --trace FILE      every hypercall, one line each
  --hypercalls      how often each was made, at the end
  --state           registers and stack of every vCPU at the end, whatever the end was
`;

const { values: options } = parseArgs({
  options: {
    kernel: { type: "string" },
    ramdisk: { type: "string" },
    cmdline: { type: "string", default: "console=hvc0" },
    memory: { type: "string", default: "256" },
    vcpus: { type: "string", default: "1" },
    type: { type: "string", multiple: true, default: [] },
    prompt: { type: "string", default: "# " },
    seconds: { type: "string" },
    virtual: { type: "string" },
    trace: { type: "string" },
    hypercalls: { type: "boolean", default: false },
    state: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (options.help || options.kernel === undefined) {
  process.stdout.write(HELP);
  process.exit(options.help ? 0 : 2);
}

/** How long the guest runs between looks at the terminal, in ms. A trace has room for few thousand calls. */
const TURN = options.trace === undefined ? 20 : 1;
const ESCAPE = 0x1d; // ctrl-]
const interactive = process.stdin.isTTY === true;
const seconds =
  options.seconds === undefined ? (interactive ? Number.POSITIVE_INFINITY : 120) : Number(options.seconds);

const machine = new OneThreadMachine(
  options.virtual === undefined ? null : { nsPerInstruction: Number(options.virtual) },
);
const started = performance.now();
const domain = boot(options.kernel);
const built = performance.now();

const traceFile = options.trace === undefined ? undefined : createWriteStream(options.trace);
let traced = 0;
if (traceFile !== undefined) machine.shard.setTrace(domain.id, true);

const CONTROL_SEQUENCE = new RegExp(`${String.fromCharCode(0x1b)}\\[[0-9;?]*[A-Za-z]`, "g");
let quit = false;
if (interactive) {
  process.stdin.setRawMode(true).on("data", (bytes: Buffer) => {
    if (bytes.includes(ESCAPE)) quit = true;
    else machine.services.consoleInput(domain.id, bytes);
  });
} else {
  process.once("SIGINT", () => {
    quit = true;
  });
}

const toType = [...options.type];
let shown = 0;
let typedAt = 0;
let logged = 0;
const end = machine.shard.now() + seconds * 1e9;
while (!quit && domain.shutdownReason < 0 && machine.shard.now() < end) {
  machine.runUntil(() => domain.shutdownReason >= 0, TURN);
  report();
  await setImmediate();
}
report();
const ended = performance.now();
process.stdin.pause();
if (interactive) process.stdin.setRawMode(false);
summary();
traceFile?.end();
machine.close();

function boot(kernel: string): Domain {
  try {
    return machine.boot({
      kernel: readFileSync(kernel),
      ...(options.ramdisk === undefined ? {} : { ramdisk: readFileSync(options.ramdisk) }),
      cmdline: options.cmdline,
      memoryMiB: Number(options.memory),
      vcpus: Number(options.vcpus),
    });
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    machine.close();
    process.exit(1);
  }
}

function report(): void {
  const { bytes, end: at } = machine.readConsole(domain, shown);
  shown = at;
  process.stdout.write(bytes);
  for (const line of machine.log.slice(logged)) process.stderr.write(`\n[${line}]\n`);
  logged = machine.log.length;
  if (toType.length > 0 && shown > typedAt && plain(machine.consoleOf(domain)).endsWith(options.prompt)) {
    machine.type(domain, toType.shift()!);
    typedAt = shown;
  }
  if (traceFile !== undefined) writeTrace();
}

/** Without a terminal's control sequences: busybox asks for the cursor's place behind its prompt. */
function plain(text: string): string {
  return text.slice(-200).replaceAll(CONTROL_SEQUENCE, "");
}

function writeTrace(): void {
  for (;;) {
    const { trace, next }: TraceReport = machine.shard.trace(domain.id, { since: traced })!;
    if (trace.length === 0) return;
    if (trace[0].seq > traced) traceFile!.write(`... ${trace[0].seq - traced} calls lost\n`);
    for (const { seq, vcpu, instructions, inMulticall, text } of trace) {
      traceFile!.write(`${seq} v${vcpu} @${instructions} ${inMulticall ? "  " : ""}${text}\n`);
    }
    traced = next;
  }
}

function summary(): void {
  const say = (text: string) => process.stderr.write(`${text}\n`);
  const reason = Object.entries(SHUTDOWN).find(([, value]) => value === domain.shutdownReason)?.[0];
  const instructions = domain.vcpus.reduce((sum, vcpu) => sum + vcpu.instructions, 0);
  const runSeconds = (ended - built) / 1000;
  say(`\n--- ${reason ?? (quit ? "stopped" : "time is up")} after ${runSeconds.toFixed(2)} s`);
  say(
    `built in ${(built - started).toFixed(0)} ms; ${(instructions / 1e6).toFixed(1)} M instructions, ${(instructions / 1e6 / runSeconds).toFixed(1)} MIPS`,
  );
  const states = options.state
    ? domain.vcpus.map((vcpu) => crashState(vcpu, `vCPU ${vcpu.id}`))
    : domain.crash === null
      ? []
      : [domain.crash];
  if (domain.crash !== null) say(`crash: ${domain.crash.reason}`);
  for (const { vcpu, registers, stack } of states) {
    const pairs = Object.entries(registers).map(([name, value]) => `${name}=${value}`);
    say(`vCPU ${vcpu}: ${pairs.join(" ")}`);
    say(`  stack: ${stack.join(" ")}`);
  }
  for (const refusal of machine.shard.refusals(domain.id)) say(`refused: ${JSON.stringify(refusal)}`);
  if (options.hypercalls) {
    for (const { name, count, subops } of machine.shard.hypercallCounters(domain.id)) {
      say(`${String(count).padStart(8)} ${name}`);
      for (const subop of subops) say(`${String(subop.count).padStart(12)} ${subop.name}`);
    }
  }
}
