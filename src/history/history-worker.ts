/** The history's worker: a thread of its own, so that neither writing nor reading it holds up the control plane. */

import { parentPort, workerData } from "node:worker_threads";
import { isCall, serve } from "../machine/rpc.ts";
import type { Sample, Series, SeriesQuery } from "../toolstack/ports.ts";
import { Recorder, type RecorderOptions } from "./recorder.ts";

export type HistoryWorkerData = Omit<RecorderOptions, "log">;

/** Served by this worker. */
export interface HistoryPort {
  record(sample: Sample): void;
  read(query: SeriesQuery): Series | "too-many";
  forget(object: string): void;
  objects(): readonly string[];
  close(): void;
}

/** Told by this worker. */
export interface HistoryEvents {
  log(level: "info" | "warn", text: string): void;
}

if (parentPort === null) throw new Error("the history's worker is the entry of a thread");
const port = parentPort;
const recorder = new Recorder({
  ...(workerData as HistoryWorkerData),
  log: (level, text) => port.postMessage({ call: 0, method: "log", args: [level, text] }),
});

port.on("message", (message: unknown) => {
  if (isCall(message)) serve<HistoryPort>(recorder, message, (reply) => port.postMessage(reply));
});
