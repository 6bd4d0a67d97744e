/** What all routes share. */

import type { Toolstack } from "../toolstack/toolstack.ts";
import type { Metrics } from "./metrics.ts";
import type { OpenStreams } from "./open-streams.ts";
import type { Tickets } from "./tickets.ts";

export interface RouteContext {
  readonly toolstack: Toolstack;
  readonly version: string;
  readonly tickets: Tickets;
  readonly metrics: Metrics;
  /** Where every answer that stays open says so. */
  readonly streams: OpenStreams;
  readonly now: () => number;
  /** Every operation of the API. */
  readonly operationIds: ReadonlySet<string>;
  /** The service is going down: health says so, and streams end. */
  readonly stopping: AbortSignal;
}
