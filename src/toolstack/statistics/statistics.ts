/**
 * Figures of domains and of the host: as they are now, and as they were.
 *
 * Everything of all domains is asked for with one message to each worker, and put together a few hundred domains at a time, so that ten
 * thousand of them hold nobody up.
 */

import { Column, EXIT_COLUMNS, HYPERCALL_COLUMNS, ROW } from "../../hypervisor/statistics.ts";
import type { Domctl, HostInfo, WorkerLoad } from "../../machine/domctl.ts";
import { fromDomctl } from "../domctl-refusal.ts";
import type { DomainRecord } from "../model.ts";
import type { Clock, History, Series, SeriesQuery, Store } from "../ports.ts";
import { done, type Result, refuse } from "../refusal.ts";
import { DOMAIN_FIGURES, DOMAIN_SERIES, type Figure, HOST_SERIES } from "./figures.ts";

/** The history's name for the host. */
export const HOST = "host";
/** Most points of one answer. */
export const MOST_POINTS = 4000;
const CHUNK = 500;
const HOUR = 3600;

export interface DomainFigures {
  readonly uuid: string;
  readonly name: string;
  /** A row of the hypervisor's statistics. */
  readonly row: Float64Array;
}

export interface Snapshot {
  readonly host: HostInfo;
  readonly workers: readonly (WorkerLoad & { readonly worker: number })[];
  readonly domains: readonly DomainFigures[];
}

export interface DomainStatistics {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly domid: number;
  readonly figures: Readonly<Record<string, number>>;
  readonly exits: Readonly<Record<string, number>>;
  readonly hypercalls: Readonly<Record<string, number>>;
}

/** What is asked of a history; seconds since 1970, and seconds. */
export interface HistoryQuery {
  readonly from?: number;
  readonly to?: number;
  readonly step?: number;
  /** Names with commas between; all unless given. */
  readonly metrics?: string;
}

export interface HistoryAnswer {
  readonly from: number;
  readonly step: number;
  readonly units: Readonly<Record<string, string>>;
  readonly points: Readonly<Record<string, readonly (number | null)[]>>;
}

interface StatisticsOptions {
  readonly store: Store;
  readonly domctl: Domctl;
  readonly clock: Clock;
  readonly history: History | undefined;
  readonly find: (reference: string) => Result<DomainRecord>;
}

export class Statistics {
  readonly #options: StatisticsOptions;

  constructor(options: StatisticsOptions) {
    this.#options = options;
  }

  /** The figures of everything that lives. */
  async snapshot(): Promise<Snapshot> {
    const { domctl, store } = this.#options;
    const [host, workers] = await Promise.all([domctl.host(), domctl.statistics()]);
    const rows = new Map<number, Float64Array>();
    for (const { table } of workers) {
      for (let at = 0; at < table.length; at += ROW) rows.set(table[at + Column.domid]!, table.subarray(at, at + ROW));
      await breath();
    }
    const domains: DomainFigures[] = [];
    let after: number | undefined = 0;
    while (after !== undefined) {
      const page = store.liveNames({ after, limit: CHUNK });
      for (const { uuid, name, domid } of page.items) {
        const row = rows.get(domid);
        if (row) domains.push({ uuid, name, row });
      }
      after = page.next;
      await breath();
    }
    return { host, workers, domains };
  }

  /** The figures of a live domain since it was started. */
  async ofDomain(reference: string): Promise<Result<DomainStatistics>> {
    const { domctl, clock, find } = this.#options;
    const found = find(reference);
    if (!found.ok) return found;
    const { domid, name, state } = found.value;
    if (domid === null) return refuse("wrong-state", `Domain ${name} is ${state}; only its history can be looked at.`);
    const answer = await domctl.domainStatistics(domid).catch(() => undefined);
    if (!answer) return refuse("worker-lost", `The worker of domain ${name} did not answer.`);
    if (!answer.ok) return fromDomctl(answer);
    const row = answer.value;
    return done({
      time: clock.now(),
      domid,
      figures: Object.fromEntries(DOMAIN_FIGURES.map((figure) => [figure.key, figure.of(row)])),
      exits: named(EXIT_COLUMNS, row),
      hypercalls: named(HYPERCALL_COLUMNS, row),
    });
  }

  async historyOfDomain(reference: string, query: HistoryQuery): Promise<Result<HistoryAnswer>> {
    const found = this.#options.find(reference);
    return found.ok ? this.#history(found.value.uuid, DOMAIN_SERIES, query) : found;
  }

  historyOfHost(query: HistoryQuery): Promise<Result<HistoryAnswer>> {
    return this.#history(HOST, HOST_SERIES, query);
  }

  async #history(
    object: string,
    series: readonly Omit<Figure, "of">[],
    { from, to, step, metrics }: HistoryQuery,
  ): Promise<Result<HistoryAnswer>> {
    const { history, clock } = this.#options;
    if (!history) return refuse("history-off", "No history is kept: DOMZERO_SAMPLE_SECONDS is 0.");
    const keys = series.map(({ key }) => key);
    const wanted = metrics === undefined ? keys : metrics.split(",");
    const unknown = wanted.find((key) => !keys.includes(key));
    if (unknown !== undefined)
      return refuse("bad-value", `There is no history of ${unknown}; there is of ${keys.join(", ")}.`, {
        field: "metrics",
      });
    const end = to ?? Math.floor(clock.now() / 1000);
    const begin = from ?? end - HOUR;
    if (begin >= end) return refuse("bad-value", "The history must begin before it ends.", { field: "from" });
    const columns = wanted.map((key) => keys.indexOf(key));
    const request: SeriesQuery = {
      object,
      from: begin,
      to: end,
      columns,
      mostPoints: MOST_POINTS,
      ...(step && { step }),
    };
    const answer = await history.read(request).catch(() => undefined);
    if (!answer) return refuse("history-unavailable", "The history cannot be read now; the log says why.");
    if (answer === "too-many")
      return refuse("out-of-range", `That is more than ${MOST_POINTS} points: ask for a larger step or less time.`, {
        field: "step",
        limit: MOST_POINTS,
      });
    return done(answerOf(wanted, series, answer));
  }
}

function answerOf(wanted: readonly string[], series: readonly Omit<Figure, "of">[], answer: Series): HistoryAnswer {
  const unit = (key: string) => {
    const figure = series.find((one) => one.key === key)!;
    return figure.kind === "counter" ? `${figure.unit}/s` : figure.unit;
  };
  return {
    from: answer.from,
    step: answer.step,
    units: Object.fromEntries(wanted.map((key) => [key, unit(key)])),
    points: Object.fromEntries(wanted.map((key, index) => [key, answer.points[index]!])),
  };
}

/** Those that are not zero. */
function named(columns: readonly (readonly [number, string])[], row: Float64Array): Record<string, number> {
  return Object.fromEntries(columns.filter(([at]) => row[at] !== 0).map(([at, name]) => [name, row[at]!]));
}

/** Others have their turn. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
