/** What a domain does, counted: why it left the engine, and the events that it sent and took. */

export const EXIT_CAUSES = [
  "hypercall",
  "system-call",
  "page-fault",
  "exception",
  "software-interrupt",
  "cpuid",
  "bad-frame",
] as const;
type ExitCause = (typeof EXIT_CAUSES)[number];

/** Index of each cause in `exits`. */
export const Exit = Object.fromEntries(EXIT_CAUSES.map((cause, index) => [cause, index])) as Readonly<
  Record<ExitCause, number>
>;

export class Activity {
  /** By index of `EXIT_CAUSES`. The end of a turn is no exit. */
  readonly exits = new Float64Array(EXIT_CAUSES.length);
  /** EVTCHNOP_send that were taken. */
  eventsSent = 0;
  /** Event upcalls that its vCPUs were given. */
  upcalls = 0;

  count(exit: number): void {
    this.exits[exit]!++;
  }
}
