/**
 * The metrics of live domains, as text for Prometheus: a family for each figure, in it a line for each domain.
 *
 * Written a few hundred lines at a time, with a turn for others in between: ten thousand domains are hundreds of thousands of lines.
 */

import { DOMAIN_FIGURES, EXIT_FIGURES, type Figure, HYPERCALL_FIGURES } from "../toolstack/statistics/figures.ts";
import type { DomainFigures } from "../toolstack/statistics/statistics.ts";

const CHUNK = 500;

/** A family of metrics as it is documented. */
export interface MetricFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly labels: readonly string[];
}

interface Part {
  /** A label of its own, as text after the domain's. */
  readonly label: string;
  of(row: Float64Array): number;
}

interface DomainFamily extends MetricFamily {
  readonly parts: readonly Part[];
  /** A count of zero is left out: most domains make few of the hypercalls that there are. */
  readonly sparse: boolean;
}

/** By the rules of Prometheus: units spelled out, counters called totals. */
const NAMES: Readonly<Record<string, string>> = {
  cpu: "cpu_seconds_total",
  steal: "steal_seconds_total",
  blocked: "blocked_seconds_total",
  instructions: "instructions_total",
  eventsSent: "event_channel_sends_total",
  upcalls: "event_channel_upcalls_total",
  memory: "memory_bytes",
  memoryMax: "memory_max_bytes",
  overhead: "overhead_bytes",
  vcpus: "vcpus",
};

const families: readonly DomainFamily[] = [
  ...DOMAIN_FIGURES.filter(({ key }) => key in NAMES).map(plain),
  split("exits_total", "cause", "How often the guest left the processor, by cause.", EXIT_FIGURES),
  split("hypercalls_total", "hypercall", "Hypercalls made, by name.", HYPERCALL_FIGURES),
];

export const DOMAIN_FAMILIES: readonly MetricFamily[] = families;

function plain({ key, kind, help, of }: Figure): DomainFamily {
  const labels = ["uuid", "name"];
  return { name: `domzero_domain_${NAMES[key]}`, type: kind, help, labels, parts: [{ label: "", of }], sparse: false };
}

function split(
  name: string,
  label: string,
  help: string,
  figures: readonly { name: string; of(row: Float64Array): number }[],
): DomainFamily {
  const parts = figures.map((figure) => ({ label: `,${label}="${figure.name}"`, of: figure.of }));
  return {
    name: `domzero_domain_${name}`,
    type: "counter",
    help,
    labels: ["uuid", "name", label],
    parts,
    sparse: true,
  };
}

/** Text in pieces. */
export async function* domainMetrics(domains: readonly DomainFigures[]): AsyncGenerator<string> {
  const labels: string[] = [];
  for (const { uuid, name } of domains) {
    labels.push(`uuid="${uuid}",name="${escapeLabel(name)}"`);
    if (labels.length % CHUNK === 0) await breath();
  }
  for (const { name, type, help, parts, sparse } of families) {
    let text = `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    for (const { label, of } of parts) {
      let written = 0;
      for (const [index, { row }] of domains.entries()) {
        const value = of(row);
        if (!sparse || value !== 0) text += `${name}{${labels[index]}${label}} ${value}\n`;
        if (++written % CHUNK > 0) continue;
        yield text;
        text = "";
        await breath();
      }
    }
    yield text;
  }
}

function escapeLabel(text: string): string {
  return text.replace(/[\\"\n]/g, (character) => (character === "\n" ? "\\n" : `\\${character}`));
}

function breath(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
