/**
 * A guest that notifies as fast as it can must not fill the memory of whoever reads: one message for each port lies in the line, and yet
 * what a guest wrote before any of its notifications is seen.
 */
import { MessageChannel, Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { drain } from "../../src/machine/mailbox.ts";
import { OncePerRound, Rounds } from "../../src/machine/rounds.ts";

describe("a notification", () => {
  test("lies in the line once for each port until its reader acts, however often it is sent", () => {
    const { port1, port2 } = new MessageChannel();
    const rounds = new Rounds();
    const sender = new OncePerRound(rounds.buffer);
    const send = (times: number) => {
      for (let i = 0; i < times; i++) if (sender.due(7, i % 3)) port1.postMessage(i % 3);
    };
    const taken: unknown[] = [];
    const round = () => {
      const count = drain(port2, (message) => taken.push(message));
      rounds.begin();
      return count;
    };
    send(100_000);
    expect(round()).toBe(3);
    expect(round()).toBe(0);
    send(100_000);
    // Sent after the round began, taken by the next one.
    expect(round()).toBe(3);
    expect(taken).toEqual([0, 1, 2, 0, 1, 2]);
    port1.close();
  });

  test("is another one for another domain, and for another line", () => {
    const rounds = new Rounds();
    const [one, other] = [new OncePerRound(rounds.buffer), new OncePerRound(rounds.buffer)];
    expect([one.due(1, 2), one.due(2, 2), one.due(1, 3), one.due(1, 2)]).toEqual([true, true, true, false]);
    expect(other.due(1, 2)).toBe(true);
  });

  test("is never left out when its reader had acted before: 200,000 hand-offs through a plain word", async () => {
    const { port1, port2 } = new MessageChannel();
    const rounds = new Rounds();
    const words = new Int32Array(new SharedArrayBuffer(8));
    const url = new URL("../../src/machine/rounds.ts", import.meta.url).href;
    const reader = new Worker(
      `import { receiveMessageOnPort, workerData } from "node:worker_threads";
       const { Rounds } = await import(${JSON.stringify(url)});
       const { port, words, last } = workerData;
       const rounds = new Rounds(workerData.rounds);
       let most = 0;
       for (let seen = 0; seen < last; ) {
         let taken = 0;
         while (receiveMessageOnPort(port)) taken++;
         if (taken === 0) continue;
         most = Math.max(most, taken);
         rounds.begin();
         // What the sender wrote before it sent, or left out, its notification.
         seen = words[0];
         Atomics.store(words, 1, seen);
       }
       port.postMessage(most);
       port.close();`,
      {
        eval: true,
        workerData: { port: port2, words, rounds: rounds.buffer, last: 200_000 },
        transferList: [port2],
      },
    );
    const most = new Promise((resolve) => port1.once("message", resolve));
    // Its end may be told before its last message is.
    const ended = new Promise((resolve) => reader.once("exit", resolve));
    const sender = new OncePerRound(rounds.buffer);
    for (let i = 1; i <= 200_000; i++) {
      words[0] = i;
      if (sender.due(1, 1)) port1.postMessage(null);
    }
    // The last of them is seen, though most were left out.
    expect(await most).toBeLessThanOrEqual(2);
    expect(Atomics.load(words, 1)).toBe(200_000);
    await ended;
  });
});
