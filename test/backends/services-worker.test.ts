/** The services on their own thread, met as the control plane and a guest worker meet them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { XS } from "../../src/abi/io-xenstore.ts";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import { newEpoch } from "../../src/machine/clock.ts";
import { KickWord } from "../../src/machine/mailbox.ts";
import type { Introduction, ServicesEvents, ServicesPort } from "../../src/machine/ports.ts";
import { Rounds } from "../../src/machine/rounds.ts";
import { isCall, isReply, RpcClient, serve } from "../../src/machine/rpc.ts";
import { encodeMessage } from "../../src/xenstore/wire.ts";
import { GuestConsoleSide, GuestXenstore } from "./guest-side.ts";

const UUID = "11111111-2222-3333-4444-555555555555";
let dir: string;
let thread: Worker;
let rpc: RpcClient<ServicesPort>;
let line: MessagePort;
let kick: KickWord;
let grown: number[];
let logs: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "services-worker-"));
  grown = [];
  logs = [];
  const events: ServicesEvents = {
    consoleGrew: (_, end) => grown.push(end),
    xenstoreChanged: () => undefined,
    log: (_, domid, text) => logs.push(`${domid}: ${text}`),
  };
  thread = new Worker(new URL("../../src/backends/services-worker.ts", import.meta.url), {
    workerData: { epoch: newEpoch(), rounds: new Rounds().buffer, consoleDir: dir },
  });
  rpc = new RpcClient<ServicesPort>((message) => thread.postMessage(message));
  thread.on("message", (message: unknown) => {
    if (isReply(message)) rpc.accept(message);
    else if (isCall(message)) serve(events as ServicesEvents & Record<string, never>, message, () => {});
  });
  const channel = new MessageChannel();
  kick = new KickWord();
  line = channel.port2;
  thread.postMessage({ call: 0, method: "connect", args: [3, channel.port1, kick.buffer] }, [channel.port1]);
});
afterEach(async () => {
  line.close();
  await thread.terminate();
  rmSync(dir, { recursive: true });
});

async function introduce(domid: number) {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const domain: Introduction = {
    domid,
    uuid: UUID,
    name: "guest",
    worker: 3,
    memory,
    memoryKiB: 65536,
    maxMemoryKiB: 65536,
    vcpus: 1,
    image: { kernel: "demo.elf", cmdline: "" },
    store: { byteOffset: 4096, port: 1 },
    storeMfn: 1,
    console: { byteOffset: 8192, port: 2 },
    consoleMfn: 2,
  };
  await rpc.call("introduce", domain);
  return { xenstore: new GuestXenstore(memory.buffer, 4096), console: new GuestConsoleSide(memory.buffer, 8192) };
}

const send = (domid: number, port: number) => line.postMessage({ kind: "event", domid, port });

/** The next event for a guest, as its worker gets it. */
const eventFor = (domid: number, port: number) =>
  new Promise<void>((resolve) => {
    const listen = (message: { domid: number; port: number }) => {
      if (message.domid !== domid || message.port !== port) return;
      line.off("message", listen);
      resolve();
    };
    line.on("message", listen);
  });

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i > 2000) throw new Error("it never came");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describe("the services worker", () => {
  test("answers a guest's request with an event and a kick", async () => {
    const { xenstore } = await introduce(7);
    const before = kick.read();
    const event = eventFor(7, 1);
    xenstore.requests.put(encodeMessage(XS.directory, 1, 0, "device/vbd\0"));
    send(7, 1);
    await event;
    await until(() => kick.read() > before);
    expect(xenstore.received()).toEqual([{ type: XS.error, reqId: 1, txId: 0, payload: "ENOENT\0" }]);
  });

  test("keeps console output and tells the control plane", async () => {
    const { console } = await introduce(7);
    console.print("hello");
    send(7, 2);
    await until(() => grown.at(-1) === 5);
    expect(Buffer.from(new ConsoleLogReader(dir).read(UUID, 0, 99).bytes).toString()).toBe("hello");
  });

  test("types, asks to shut down, and forgets a domain that was released", async () => {
    const { xenstore, console } = await introduce(7);
    expect(await rpc.call("consoleInput", 7, Buffer.from("ls\r"))).toBe(3);
    expect(console.typed()).toBe("ls\r");
    expect(await rpc.call("requestShutdown", 7, "poweroff")).toBe(true);
    xenstore.requests.put(encodeMessage(XS.read, 2, 0, "control/shutdown\0"));
    send(7, 1);
    await until(() => xenstore.received().some(({ payload }) => payload === "poweroff"));
    console.print("bye");
    await rpc.call("release", 7);
    expect(await rpc.call("requestShutdown", 7, "poweroff")).toBe(false);
    expect(new ConsoleLogReader(dir).read(UUID, 0, 0).end).toBe(3);
  });

  test("a flood from one guest leaves another's requests answered in time, and is throttled", async () => {
    const flooder = await introduce(7);
    const other = await introduce(8);
    let printed = 0;
    const flood = setInterval(() => {
      for (let i = 0; i < 200; i++) {
        printed += flooder.console.print("x".repeat(2048));
        send(7, 2);
      }
    }, 1);
    try {
      const waits: number[] = [];
      for (let i = 0; i < 50; i++) {
        const start = performance.now();
        const event = eventFor(8, 1);
        other.xenstore.requests.put(encodeMessage(XS.read, i, 0, "domid\0"));
        send(8, 1);
        await event;
        expect(other.xenstore.received()).toHaveLength(1);
        waits.push(performance.now() - start);
      }
      expect(waits.sort((a, b) => a - b)[25]).toBeLessThan(100);
    } finally {
      clearInterval(flood);
    }
    await rpc.call("release", 7);
    expect(new ConsoleLogReader(dir).read(UUID, 0, 0).end).toBeGreaterThanOrEqual(printed);
    expect(logs).toEqual([]);
  });
});
