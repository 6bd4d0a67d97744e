import { describe, expect, it } from "vitest";
import { isCall, isReply, RpcClient, serve } from "../../src/machine/rpc.ts";

interface Adder {
  add(a: number, b: number): number;
  later(a: number): Promise<number>;
  fail(): never;
}

const adder: Adder = {
  add: (a, b) => a + b,
  later: async (a) => a + 1,
  fail: () => {
    throw new Error("no luck");
  },
};

/** A client and a server whose messages survive a structured clone, as between threads. */
function wired() {
  const client: RpcClient<Adder> = new RpcClient<Adder>((message) => {
    const call = structuredClone(message);
    if (isCall(call)) {
      serve<Adder>(adder, call, (reply) => {
        const answer = structuredClone(reply);
        if (isReply(answer)) client.accept(answer);
      });
    }
  });
  return client;
}

describe("calls between threads", () => {
  it("a call comes back with its value", async () => {
    expect(await wired().call("add", 1, 2)).toBe(3);
  });
  it("a method may answer later", async () => {
    expect(await wired().call("later", 1)).toBe(2);
  });
  it("what the far side throws rejects the call", async () => {
    await expect(wired().call("fail")).rejects.toThrow("no luck");
  });
  it("a dead far side rejects what waits and what comes after", async () => {
    const client = new RpcClient<Adder>(() => {});
    const waiting = client.call("add", 1, 2);
    client.fail(new Error("gone"));
    await expect(waiting).rejects.toThrow("gone");
    await expect(client.call("add", 1, 2)).rejects.toThrow("gone");
  });
  it("an unknown method is an error, not a crash", async () => {
    const client = wired() as unknown as RpcClient<{ nothing(): void }>;
    await expect(client.call("nothing")).rejects.toThrow("no method nothing");
  });
});
