/**
 * Fuzzing guests in the whole service: each does everything wrong for as long as it lives. The service answers meanwhile, has no defect of
 * its own to report, and forgets them without a trace. `tools/fuzz-guests.ts` does it for as long as one likes.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { scratchFolder, WholeService } from "../whole-service.ts";
import { hostileRound, uploadFuzzKernel } from "./hostile-round.ts";

const SEED = Number(process.env.DOMZERO_SEED ?? Date.now() % 2 ** 31);
const scratch = scratchFolder();
let service: WholeService;

beforeAll(async () => {
  service = await WholeService.start(scratch.stateDir);
});
afterAll(async () => {
  await service?.end();
  scratch.remove();
});

test(`six of them live, or die of their own doing, and are gone when they are destroyed (seed ${SEED})`, async () => {
  const kernel = await uploadFuzzKernel(service);
  const { ended, tries } = await hostileRound(service, kernel, SEED, 1);
  expect(ended === 6 || tries > 0).toBe(true);
});
