/**
 * Fuzzing guests (test/guests/fuzz-kernel) in the whole service: each takes its seed from its command line and does everything wrong for
 * as long as it lives. The service answers meanwhile, has no defect of its own to report, and forgets them without a trace.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { scratchFolder, until, WholeService } from "./whole-service.ts";

const SEED = Number(process.env.DOMZERO_SEED ?? Date.now() % 2 ** 31);
const MODES = ["all", "all", "calls", "code", "xenstore", "storm"];
const scratch = scratchFolder();
let service: WholeService;
let kernel: string;

beforeAll(async () => {
  service = await WholeService.start(scratch.stateDir);
  const elf = readFileSync(join(import.meta.dirname, "../guests/fuzz-kernel/fuzz.elf"));
  kernel = (await service.ask("POST /v1/images?kind=kernel", { body: elf })).json.id;
});
afterAll(async () => {
  await service?.end();
  scratch.remove();
});

test(`six of them live, or die of their own doing, and are gone when they are destroyed (seed ${SEED})`, async () => {
  const names = MODES.map((_, i) => `fuzz-${i}`);
  for (const [i, name] of names.entries())
    await service.boot(name, { kernel, cmdline: `${MODES[i]} ${SEED + i}`, memoryMiB: 8, onCrash: "preserve" });
  for (const name of names) {
    await until(`${name} to have tried a lot`, async () => {
      const { json } = await service.ask(`GET /v1/domains/${name}`);
      const { text } = await service.ask(`GET /v1/domains/${name}/console`);
      return json.state === "crashed" || json.lastCrash !== null || /round \d/.test(text);
    });
  }
  const gone = await Promise.all(names.map((name) => service.ask(`DELETE /v1/domains/${name}?force=true`)));
  expect(gone.map(({ status }) => status)).toEqual(names.map(() => 204));
  await until("all memory to be free", async () => {
    const { json } = await service.ask("GET /v1/host");
    return json.domains === 0 && json.memoryFreeMiB === json.memoryTotalMiB;
  });
  expect((await service.ask("GET /v1/xenstore?path=/local/domain")).json.children).toEqual(["0"]);
  expect(service.err.split("\n").filter((line) => line.includes("defect"))).toEqual([]);
  expect(service.ended).toBe(false);
});
