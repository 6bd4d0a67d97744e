/** Figures of domains and of the host, now and over time. */

import { Type } from "typebox";
import { DOMAIN_FIGURES, DOMAIN_SERIES, type Figure, HOST_SERIES } from "../../toolstack/statistics/figures.ts";
import { MOST_POINTS } from "../../toolstack/statistics/statistics.ts";
import { closed, Domid, list, maybe, named, Time } from "./shapes.ts";

const counts = (description: string) => Type.Record(Type.String(), Type.Number(), { description });

const figureFields = Object.fromEntries(
  DOMAIN_FIGURES.map(({ key, unit, help }) => [
    key,
    Type.Number({ description: unit === "" ? help : `${help} In ${unit}.` }),
  ]),
);

export const DomainStatistics = named("DomainStatistics", "What a live domain did since it was started.", {
  time: Time,
  domid: Domid,
  figures: closed(figureFields),
  exits: counts("How often it left the processor, by cause."),
  hypercalls: counts("Hypercalls that it made, by name."),
});

export const StatisticsHistory = named(
  "StatisticsHistory",
  "Figures over time: a point for each `step` from `from` on.",
  {
    from: Time,
    step: Type.Integer({ minimum: 1, description: "Seconds from point to point." }),
    units: Type.Record(Type.String(), Type.String(), { description: "Of each metric; `s/s` is processors." }),
    points: Type.Record(Type.String(), list(maybe(Type.Number())), {
      description: "By metric, each the mean of its step; null where nothing is known.",
    }),
  },
);

function names(series: readonly Omit<Figure, "of">[]): string {
  return series.map(({ key }) => key).join(", ");
}

function historyQuery(series: readonly Omit<Figure, "of">[]) {
  return closed({
    from: Type.Optional(
      Type.String({ format: "date-time", description: "An hour before `to` unless given. A month at most is kept." }),
    ),
    to: Type.Optional(Type.String({ format: "date-time", description: "Now unless given." })),
    step: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 2_592_000,
        description: `Seconds from point to point, rounded up to what is kept: the samples for an hour, minutes for a day, quarters of an hour for 30 days. The finest unless given; at most ${MOST_POINTS} points.`,
      }),
    ),
    metrics: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 256,
        description: `With commas between, of ${names(series)}; all unless given.`,
      }),
    ),
  });
}

export const domainHistoryQuery = historyQuery(DOMAIN_SERIES);
export const hostHistoryQuery = historyQuery(HOST_SERIES);

export const statisticsSchemas = [DomainStatistics, StatisticsHistory];
