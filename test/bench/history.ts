/**
 * The history of 10,000 live domains: what a sample costs its thread and the control plane's, what a query costs, and how the file grows.
 *
 * Run with `node test/bench/history.ts`, or all with `npm run bench`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HistoryThread } from "../../src/history/history-thread.ts";
import { Recorder } from "../../src/history/recorder.ts";
import { SAMPLE_WIDTH } from "../../src/toolstack/statistics/sampler.ts";
import { percentiles } from "./service.ts";

const DOMAINS = 10_000;
const STEP = 10;
const SAMPLES = 2 * 360;
const T0 = 1_800_000_000 - (1_800_000_000 % 900);
const ms = (value: number) => `${value.toFixed(1)} ms`;

const folder = mkdtempSync(join(tmpdir(), "domzero-history-"));
const counters = new Array<boolean>(SAMPLE_WIDTH).fill(true);
const options = {
  path: join(folder, "metrics.db"),
  stepSeconds: STEP,
  width: SAMPLE_WIDTH,
  counters: { host: counters, domain: counters },
  host: "host",
};
const objects = Array.from({ length: DOMAINS }, (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, "0")}`);
const instances = new Float64Array(DOMAINS);
const values = new Float64Array(DOMAINS * SAMPLE_WIDTH);

function sampleAt(index: number) {
  for (let i = 0; i < values.length; i++) values[i]! += 1 + ((i * 7919 + index * 104_729) % 1000);
  return { time: (T0 + index * STEP) * 1000, objects, instances, values: values.slice() };
}

try {
  const recorder = new Recorder({ ...options, log: () => {} });
  const ordinary: number[] = [];
  const closing: number[] = [];
  for (let index = 0; index < SAMPLES; index++) {
    const sample = sampleAt(index);
    const begin = performance.now();
    recorder.record(sample);
    (index > 0 && (index * STEP) % 900 === 0 ? closing : ordinary).push(performance.now() - begin);
  }
  const { p50, p99 } = percentiles(ordinary);
  const worst = Math.max(...closing);
  console.log(`one sample of ${DOMAINS} domains, on the history's thread  p50 ${ms(p50)}, p99 ${ms(p99)}`);
  console.log(`the sample that ends a quarter of an hour                 at most ${ms(worst)}`);
  const share = (ordinary.reduce((sum, one) => sum + one, 0) + closing.reduce((sum, one) => sum + one, 0)) / SAMPLES;
  console.log(
    `processor                                                 ${((share / (STEP * 1000)) * 100).toFixed(2)} % of one`,
  );
  console.log(
    `the file after two hours                                  ${(recorder.size() / 2 ** 20).toFixed(0)} MiB`,
  );
  const begin = performance.now();
  const end = T0 + SAMPLES * STEP;
  recorder.read({ object: objects[4711]!, from: end - 3600, to: end, columns: [0, 1, 2], mostPoints: 4000 });
  console.log(`an hour of one domain, three metrics                      ${ms(performance.now() - begin)}`);
  recorder.close();

  const silent = () => {};
  const log = { debug: silent, info: silent, warn: silent, error: silent };
  const thread = new HistoryThread({ ...options, path: join(folder, "thread.db"), log });
  const posts: number[] = [];
  for (let index = 0; index < 20; index++) {
    const sample = sampleAt(index);
    const begun = performance.now();
    thread.record(sample);
    posts.push(performance.now() - begun);
    await thread.read({ object: "host", from: T0, to: T0 + 10, columns: [0], mostPoints: 10 });
  }
  console.log(
    `handing a sample over, on the control plane's thread      p50 ${ms(percentiles(posts).p50)}, at most ${ms(Math.max(...posts))}`,
  );
  await thread.close();
} finally {
  rmSync(folder, { recursive: true });
}
