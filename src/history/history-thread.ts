/** The history as the toolstack knows it: a thread that is started again when it dies, and never missed when it is not there. */

import { Worker } from "node:worker_threads";
import { isCall, isReply, RpcClient, serve } from "../machine/rpc.ts";
import type { History, Log, Sample, Series, SeriesQuery } from "../toolstack/ports.ts";
import type { HistoryEvents, HistoryPort, HistoryWorkerData } from "./history-worker.ts";

export interface HistoryOptions extends HistoryWorkerData {
  readonly log: Log;
}

interface Running {
  readonly thread: Worker;
  readonly rpc: RpcClient<HistoryPort>;
}

export class HistoryThread implements History {
  readonly #options: HistoryOptions;
  #running: Running | undefined;
  #closed = false;

  constructor(options: HistoryOptions) {
    this.#options = options;
    this.#running = this.#start();
  }

  record(sample: Sample): void {
    if (this.#closed) return;
    // One that died is started again with the next sample, and no sooner: what killed it may kill it again.
    this.#running ??= this.#start();
    this.#running.rpc.tell("record", sample);
  }

  async read(query: SeriesQuery): Promise<Series | "too-many"> {
    if (!this.#running) throw new Error("the history's thread is gone");
    return this.#running.rpc.call("read", query);
  }

  forget(object: string): void {
    this.#running?.rpc.tell("forget", object);
  }

  async retain(kept: (object: string) => boolean): Promise<void> {
    const objects = (await this.#running?.rpc.call("objects")) ?? [];
    for (const [index, object] of objects.entries()) {
      if (!kept(object)) this.forget(object);
      if (index % 200 === 199) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const running = this.#running;
    if (!running) return;
    await running.rpc.call("close").catch(() => undefined);
    await running.thread.terminate();
  }

  #start(): Running {
    const { log, ...data } = this.#options;
    const thread = new Worker(new URL("./history-worker.ts", import.meta.url), { name: "history", workerData: data });
    const rpc = new RpcClient<HistoryPort>((message) => thread.postMessage(message));
    const events: HistoryEvents = { log: (level, text) => log[level]({}, text) };
    thread.on("message", (message: unknown) => {
      if (isReply(message)) rpc.accept(message);
      else if (isCall(message)) serve(events, message, () => {});
    });
    const gone = (error: Error) => {
      rpc.fail(error);
      if (this.#closed || this.#running?.thread !== thread) return;
      this.#running = undefined;
      log.warn({ err: error }, "the history's thread died; it is started again with the next sample");
    };
    thread.on("error", (error) => gone(error instanceof Error ? error : new Error(String(error))));
    thread.on("exit", (code) => gone(new Error(`the history's thread ended with exit code ${code}`)));
    return { thread, rpc };
  }
}
