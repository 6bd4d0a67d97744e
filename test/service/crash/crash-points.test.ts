/**
 * The service is killed (its own pid, SIGKILL) at crash points of the table of operations: before an effect, after it, and when its journal
 * row is on the disk. The next service on that state folder has to find every task in an end state, nothing that is nobody's, all that was
 * acknowledged, and a domain that can be used.
 *
 * All of them take some minutes, so that a sample is drawn here, one of each operation at least; its seed is printed. All:
 * `DOMZERO_CRASH_TEST=all npm test test/service/crash`. A seed again: `DOMZERO_CRASH_TEST=<seed>`. Those of some operations:
 * `DOMZERO_CRASH_TEST='^(re|guest-re)boot/'`.
 */

import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, expect, test } from "vitest";
import { crashPoints, OPERATIONS, type TaskOperation } from "../../../src/toolstack/operations/operation-table.ts";
import { scratchFolder, until, WholeService } from "../whole-service.ts";
import { brokenInvariants, settled } from "./invariants.ts";
import { SCENES } from "./scenes.ts";

const LANES = 2;
const SAMPLE = Object.keys(OPERATIONS).length + 2;
const ENV = { DOMZERO_CRASH_POINTS: "1", DOMZERO_FAULTS: "1", DOMZERO_WORKERS: "1", DOMZERO_SAMPLE_SECONDS: "0" };
const DEMO = readFileSync(resolve(import.meta.dirname, "../../../src/builder/demo-kernel/demo.elf"));

const asked = process.env.DOMZERO_CRASH_TEST ?? "";
const seed = /^\d+$/.test(asked) ? Number(asked) : randomInt(2 ** 31);
const sampled = asked === "" || /^\d+$/.test(asked);
const points = sampled
  ? sampleOf(crashPoints(), seed)
  : crashPoints().filter((point) => asked === "all" || new RegExp(asked).test(point));

const scratches = Array.from({ length: LANES }, scratchFolder);
const services = new Set<WholeService>();
afterAll(async () => {
  for (const service of services) await service.end();
  for (const scratch of scratches) scratch.remove();
});

test("after a kill at any crash point nothing is lost and nothing is left", async () => {
  const left = [...points];
  const visited: string[] = [];
  const faults: string[] = [];
  await Promise.all(
    scratches.map(async ({ stateDir }) => {
      const lane = await Lane.start(stateDir);
      for (let point = left.shift(); point !== undefined; point = left.shift()) {
        const broken = await lane.visit(point, `v${visited.length}`).catch((error) => [String(error.stack)]);
        faults.push(...broken.map((what) => `${point}: ${what}`));
        visited.push(point);
      }
      await lane.end();
    }),
  );
  console.log(
    `crash points: ${visited.length} visited of ${crashPoints().length} in the table${sampled ? `, seed ${seed}` : ""}`,
  );
  expect(faults).toEqual([]);
  expect(visited.sort()).toEqual([...points].sort());
}, 1_800_000);

/** One state folder, and the services that follow each other on it. */
class Lane {
  #service: WholeService;
  /** Acknowledged, and to be found after every restart: a domain that sleeps and one that never ran. */
  readonly #kept = new Map<string, { uuid: string; state: string }>();

  private constructor(service: WholeService) {
    this.#service = service;
    services.add(service);
  }

  static async start(stateDir: string): Promise<Lane> {
    const lane = new Lane(await WholeService.start(stateDir, undefined, ENV));
    const service = lane.#service;
    const image = await service.ask("POST /v1/images?kind=kernel", { body: DEMO });
    await service.boot("defined", { kernel: image.json.id, start: false });
    await service.boot("sleeper");
    await service.shown("sleeper", /demo> $/);
    await service.ask("POST /v1/domains/sleeper/suspend");
    for (const name of ["defined", "sleeper"]) {
      const { uuid, state } = (await service.ask(`GET /v1/domains/${name}`)).json;
      lane.#kept.set(name, { uuid, state });
    }
    return lane;
  }

  /** What is wrong after a kill at `point`, in words. */
  async visit(point: string, name: string): Promise<string[]> {
    const [operation, step, moment] = point.split("/") as [TaskOperation, string, string];
    const scene = SCENES[operation];
    await scene.prepare(this.#service, name);
    await this.#service.arm(point);
    const { stateDir, port } = this.#service;
    // What is asked of a service that dies has no answer.
    const asked = scene.trigger(this.#service, name).catch(() => undefined);
    await this.#service.exit();
    await asked;
    await this.#service.end();
    services.delete(this.#service);
    this.#service = await WholeService.start(stateDir, port, ENV);
    services.add(this.#service);

    await settled(this.#service);
    const broken = await brokenInvariants(this.#service);
    const expect = (what: string, found: unknown, wanted: unknown) => {
      if (found !== wanted) broken.push(`${what} is ${found}, and not ${wanted}`);
    };
    for (const [kept, { uuid, state }] of this.#kept) {
      const { json } = await this.#service.ask(`GET /v1/domains/${kept}`);
      expect(`${kept}`, `${json.uuid} ${json.state}`, `${uuid} ${state}`);
    }
    const { steps, commit } = OPERATIONS[operation];
    const at = (steps as readonly string[]).indexOf(step);
    const committed = commit === "taken" || at > steps.indexOf(commit) || (step === commit && moment === "journalled");
    const ended = at === steps.length - 1 && moment === "journalled";
    expect("the task", await this.#lastTask(operation), committed ? "succeeded" : "failed");
    const found = await this.#look(name);
    let wanted = committed ? scene.forward : scene.back;
    // A task that had ended left a guest that ran, which is lost; so is one that may have run when its file was spent.
    if (ended && wanted.startsWith("running") && operation !== "host-suspend") wanted = "halted host-restarted";
    if (operation === "resume" && (step === "release" || (step === "spend" && moment === "journalled")))
      wanted = "halted host-restarted";
    // Nothing was in the database yet: building and admitting are one transaction.
    if (operation === "start" && step === "build" && moment !== "journalled") wanted = "halted";
    expect("the domain", found, wanted);
    return [...broken, ...(await this.#use(name, found))];
  }

  async end(): Promise<void> {
    await this.#service.end();
    services.delete(this.#service);
  }

  async #lastTask(operation: string): Promise<string> {
    let state = "not there";
    let query = "?limit=500";
    for (;;) {
      const { json } = await this.#service.ask(`GET /v1/tasks${query}`);
      for (const task of json.items) if (task.operation === operation) state = task.state;
      if (json.next === null) return state;
      query = `?limit=500&after=${json.next}`;
    }
  }

  async #look(name: string): Promise<string> {
    const { status, json } = await this.#service.ask(`GET /v1/domains/${name}`);
    return status === 404 ? "gone" : [json.state, json.lastStop?.reason].filter(Boolean).join(" ");
  }

  /** The domain runs once more, and is deleted. */
  async #use(name: string, found: string): Promise<string[]> {
    if (found === "gone") return [];
    const service = this.#service;
    const [state] = found.split(" ");
    if (state !== "running") {
      const offset = Number((await service.ask(`GET /v1/domains/${name}/console`)).headers["console-end"]);
      const answer = await service.ask(`POST /v1/domains/${name}/${state === "suspended" ? "resume" : "start"}`);
      if (answer.status !== 200) return [`it does not run again: ${answer.text}`];
      await service.shown(name, state === "suspended" ? /Resumed/ : /demo> $/, offset);
    }
    const answer = await service.ask(`DELETE /v1/domains/${name}?force=true`);
    if (answer.status !== 204) return [`it cannot be deleted: ${answer.text}`];
    await until("the domain's memory to be back", async () => (await service.ask("GET /v1/host")).json.domains === 0);
    return [];
  }
}

/** One point of each operation, and some more. */
function sampleOf(all: readonly string[], from: number): string[] {
  let word = from;
  const draw = (below: number) => {
    // xorshift32
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    return (word >>> 0) % below;
  };
  const rest = [...all];
  const take = (among: readonly string[]) => rest.splice(rest.indexOf(among[draw(among.length)]), 1)[0];
  const each = Object.keys(OPERATIONS).map((operation) =>
    take(rest.filter((point) => point.startsWith(`${operation}/`))),
  );
  const more = Array.from({ length: SAMPLE - each.length }, () => take(rest));
  return [...each, ...more];
}
