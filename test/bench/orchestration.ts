/**
 * What an orchestrator does all day, here and with the simulators that it would be tested with otherwise: vcsim (a vCenter) and libvirt's
 * test driver. Those must have been made by `npm run bench:peers`.
 *
 * Everything goes over TCP on the loopback from this one process, but for libvirt's test driver, which is a library. domzero answers a
 * change when it is on the disk, and its guests run; the others keep everything in memory and run nothing. Where this process is what there is to wait for, as it is for reads, the
 * processor time that the servers take says more than the rate.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Connection } from "./peers/connection.ts";
import { lanes, type Rate, server } from "./peers/lanes.ts";
import { Vcsim } from "./peers/vcsim.ts";
import { BenchService, cpuSecondsOf } from "./service.ts";

const DEFINITIONS = 2000;
const CLIENTS = 32;
const GUESTS = 16;
/** How many times as fast as vcsim it should be. */
const TARGET = 2;

const libvirt = resolve(import.meta.dirname, "../../.guests/peers/libvirt");

interface Figures {
  readonly define1: Rate;
  readonly define32: Rate;
  readonly list: Rate;
  readonly read1: Rate;
  readonly read32: Rate;
  readonly start: Rate;
  readonly pause: Rate;
}

async function ofDomzero(): Promise<Figures> {
  const service = await BenchService.start({ DOMZERO_WORKERS: "1" });
  const token = readFileSync(join(service.stateDir, "token"), "utf8").trim();
  const headers = `Authorization: Bearer ${token}\r\n`;
  server.cpuSeconds = () => service.cpuSeconds();
  const connect = () => new Connection(service.url);
  const get = async (connection: Connection, path: string) => {
    const { status, text } = await connection.ask("GET", path, headers);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`);
    return text;
  };
  const post = async (connection: Connection, path: string, value?: unknown) => {
    const { status, text } =
      value === undefined
        ? await connection.ask("POST", path, headers)
        : await connection.ask("POST", path, `${headers}Content-Type: application/json\r\n`, JSON.stringify(value));
    if (status >= 300 || status === 202) throw new Error(`POST ${path}: ${status} ${text}`);
    return text;
  };
  try {
    const uuids: string[] = [];
    const definition = (name: string) => ({ name, kernel: "builtin:demo", memoryMiB: 16, vcpus: 1 });
    const define = (of: string) => async (client: Connection, index: number) => {
      uuids.push(JSON.parse(await post(client, "/v1/domains", definition(`${of}-${index}`))).uuid);
    };
    const define1 = await lanes(1, DEFINITIONS / 2, connect, define("one"));
    const define32 = await lanes(CLIENTS, DEFINITIONS / 2, connect, define("many"));
    const list = await lanes(1, 20, connect, async (client) => {
      let found = 0;
      let after: number | string | null = 0;
      while (after !== null) {
        const page: { items: unknown[]; next: number | string | null } = JSON.parse(
          await get(client, `/v1/domains?limit=1000${after === 0 ? "" : `&after=${after}`}`),
        );
        found += page.items.length;
        after = page.next;
      }
      if (found !== DEFINITIONS) throw new Error(`${found} domains are listed`);
    });
    const read = (client: Connection, index: number) => get(client, `/v1/domains/${uuids[index % uuids.length]}`);
    await lanes(CLIENTS, 2000, connect, read);
    const read1 = await lanes(1, 10_000, connect, read);
    const read32 = await lanes(CLIENTS, 20_000, connect, read);
    const act = (operation: string) => (client: Connection, index: number) =>
      post(client, `/v1/domains/${uuids[index]}/${operation}`);
    const turns = async (count: number, first: string, second: string) => {
      const rates: Rate[] = [];
      for (let turn = 0; turn < count; turn++)
        for (const operation of [first, second]) rates.push(await lanes(GUESTS, GUESTS, connect, act(operation)));
      return together(rates);
    };
    await turns(2, "start", "destroy");
    const start = await turns(10, "start", "destroy");
    await lanes(GUESTS, GUESTS, connect, act("start"));
    await turns(2, "pause", "unpause");
    const pause = await turns(30, "pause", "unpause");
    return { define1, define32, list, read1, read32, start, pause };
  } finally {
    await service.stop();
  }
}

/** Rates of the same number of operations one after the other. */
function together(rates: readonly Rate[]): Rate {
  const seconds = rates.reduce((sum, { perSecond }) => sum + 1 / perSecond, 0);
  const middle = rates.toSorted((a, b) => a.p50 - b.p50)[rates.length >> 1]!;
  const cpuUs = rates.reduce((sum, rate) => sum + rate.cpuUs, 0) / rates.length;
  return { perSecond: rates.length / seconds, p50: middle.p50, p99: Math.max(...rates.map(({ p99 }) => p99)), cpuUs };
}

async function ofVcsim(): Promise<Figures | undefined> {
  const vcsim = await Vcsim.start();
  if (!vcsim) return undefined;
  server.cpuSeconds = () => cpuSecondsOf(vcsim.pid);
  const connect = () => vcsim.connect();
  try {
    const machines: string[] = [];
    const define = (of: string) => async (connection: Connection, index: number) => {
      machines.push(await vcsim.create(connection, `${of}-${index}`));
    };
    const define1 = await lanes(1, DEFINITIONS / 2, connect, define("one"));
    const define32 = await lanes(CLIENTS, DEFINITIONS / 2, connect, define("many"));
    const list = await lanes(1, 20, connect, async (connection) => {
      const found = await vcsim.list(connection);
      if (found !== DEFINITIONS) throw new Error(`vcsim lists ${found} machines`);
    });
    const read = (connection: Connection, index: number) => vcsim.read(connection, machines[index % machines.length]!);
    await lanes(CLIENTS, 2000, connect, read);
    const read1 = await lanes(1, 10_000, connect, read);
    const read32 = await lanes(CLIENTS, 20_000, connect, read);
    const rates: Rate[] = [];
    for (let turn = 0; turn < 30; turn++) {
      for (const how of ["On", "Off"] as const)
        rates.push(
          await lanes(GUESTS, GUESTS, connect, (connection, index) => vcsim.power(connection, machines[index]!, how)),
        );
    }
    const power = together(rates);
    return { define1, define32, list, read1, read32, start: power, pause: power };
  } finally {
    await vcsim.stop();
  }
}

function ofLibvirt(): Record<string, number> | undefined {
  if (!existsSync(libvirt)) return undefined;
  const script = join(import.meta.dirname, "peers/libvirt_test_driver.py");
  const { stdout, stderr } = spawnSync("/usr/bin/python3", [script, String(DEFINITIONS)], {
    env: {
      ...process.env,
      LD_LIBRARY_PATH: join(libvirt, "usr/lib/x86_64-linux-gnu"),
      PYTHONPATH: join(libvirt, "usr/lib/python3/dist-packages"),
    },
    encoding: "utf8",
  });
  if (stdout === "") {
    console.log(`libvirt's test driver does not run here: ${stderr.trim().split("\n").at(-1)}`);
    return undefined;
  }
  return JSON.parse(stdout);
}

const domzero = await ofDomzero();
const vcsim = await ofVcsim();
const driver = ofLibvirt();
if (!vcsim || !driver) console.log("without vcsim or libvirt: npm run bench:peers makes them");

const ROWS: readonly (readonly [string, keyof Figures, string])[] = [
  ["definitions, 1 client", "define1", "define"],
  [`definitions, ${CLIENTS} clients`, "define32", "define"],
  [`starts and destroys, ${GUESTS} clients`, "start", "start"],
  [`pauses and unpauses, ${GUESTS} clients`, "pause", "pause"],
  [`lists of ${DEFINITIONS}, 1 client`, "list", "list"],
  ["reads of one, 1 client", "read1", "read1"],
  [`reads of one, ${CLIENTS} clients`, "read32", "read32"],
];
const line = (...cells: readonly string[]) => {
  const [what, ...rest] = cells;
  console.log(what!.padEnd(34) + rest.map((cell) => cell.padStart(9)).join(""));
};
line("", "a second", "", "", "", "", "", "us of processor each");
line("", "domzero", "vcsim", "ratio", "p50 ms", "p99 ms", "libvirt", "domzero", "vcsim");
for (const [what, key, peer] of ROWS) {
  const { perSecond, p50, p99, cpuUs } = domzero[key];
  const other = vcsim?.[key];
  const ratio = other
    ? `${perSecond < TARGET * other.perSecond ? "<" : ""}${(perSecond / other.perSecond).toFixed(2)}`
    : "";
  const rates = [perSecond.toFixed(0), other?.perSecond.toFixed(0) ?? "", ratio, p50.toFixed(2), p99.toFixed(2)];
  line(what, ...rates, driver?.[peer]?.toFixed(0) ?? "", cpuUs.toFixed(0), other?.cpuUs.toFixed(0) ?? "");
}
console.log(
  `"<" is less than ${TARGET} times vcsim. vcsim and libvirt's test driver have no guests: their power operations change a word in memory.`,
);
