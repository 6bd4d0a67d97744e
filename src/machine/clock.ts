/**
 * One monotonic clock for all threads: nanoseconds since the machine's epoch.
 *
 * `performance.now()` counts from each thread's own start, so every thread measures once how far its own origin lies
 * from the shared epoch (both on CLOCK_MONOTONIC) and adds that from then on. Doubles hold nanoseconds exactly for 104 days.
 */
export interface MachineEpoch {
  /** `process.hrtime()` when the machine started, in ns. */
  readonly monotonicNs: bigint;
}

export function newEpoch(): MachineEpoch {
  return { monotonicNs: process.hrtime.bigint() };
}

/** The shared clock as seen from this thread: ns since the epoch, never going back. */
export function machineClock(epoch: MachineEpoch): () => number {
  const offset = Number(process.hrtime.bigint() - epoch.monotonicNs) - performance.now() * 1e6;
  return () => Math.floor(performance.now() * 1e6 + offset);
}
