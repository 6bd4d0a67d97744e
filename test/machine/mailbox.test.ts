import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { drain, KickWord, Outbox } from "../../src/machine/mailbox.ts";

describe("mailboxes", () => {
  it("a message posted before the sleep is not slept over", () => {
    const { port1, port2 } = new MessageChannel();
    const kick = new KickWord();
    const outbox = new Outbox(port1, kick.buffer);
    const seen = kick.read();
    outbox.post("hello");
    kick.sleep(seen, 60_000);
    const got: unknown[] = [];
    drain(port2, (message) => got.push(message));
    expect(got).toEqual(["hello"]);
    port1.close();
  });

  it("messages arrive in order", () => {
    const { port1, port2 } = new MessageChannel();
    const outbox = new Outbox(port1, new KickWord().buffer);
    for (let i = 0; i < 100; i++) outbox.post(i);
    const got: unknown[] = [];
    expect(drain(port2, (message) => got.push(message))).toBe(100);
    expect(got).toEqual(Array.from({ length: 100 }, (_, i) => i));
    port1.close();
  });

  it("a thread asleep without an event loop is woken, a hundred times over", async () => {
    const { port1, port2 } = new MessageChannel();
    const kick = new KickWord();
    const url = new URL("../../src/machine/mailbox.ts", import.meta.url).href;
    const worker = new Worker(
      `import { workerData } from "node:worker_threads";
       const { drain, KickWord } = await import(${JSON.stringify(url)});
       const kick = new KickWord(workerData.kick);
       let sum = 0;
       for (let running = true; running; ) {
         const seen = kick.read();
         drain(workerData.port, (message) => {
           if (message === "end") running = false;
           else workerData.port.postMessage(sum += message);
         });
         if (running) kick.sleep(seen, 60_000);
       }`,
      { eval: true, workerData: { port: port2, kick: kick.buffer }, transferList: [port2] },
    );
    const outbox = new Outbox(port1, kick.buffer);
    let last = 0;
    for (let i = 1; i <= 100; i++) {
      const answered = new Promise((resolve) => port1.once("message", resolve));
      outbox.post(i);
      last = (await answered) as number;
    }
    expect(last).toBe(5050);
    outbox.post("end");
    await new Promise((resolve) => worker.once("exit", resolve));
    expect(receiveMessageOnPort(port1)).toBeUndefined();
    port1.close();
  });
});
