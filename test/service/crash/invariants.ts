/** What holds of a service and its state folder whenever it serves, however the one before it ended. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { until, type WholeService } from "../whole-service.ts";

interface Listed {
  readonly uuid: string;
  readonly name: string;
  readonly state: string;
  readonly domid: number | null;
  readonly bootEpoch: number | null;
  readonly lastStop: { readonly returnsTo?: string } | null;
}

/** Waits until nothing is under way and nobody is due to come back. */
export async function settled(service: WholeService): Promise<void> {
  await until("everybody to be back", async () => {
    const domains = await listed<Listed>(service, "/v1/domains");
    if (domains.some(({ domid, lastStop }) => domid === null && lastStop?.returnsTo !== undefined)) return false;
    return (await service.ask("GET /v1/tasks?state=queued,running&limit=1")).json.items.length === 0;
  });
}

/** Every invariant that is broken, in words; nothing when all hold. Nobody may ask the service for work meanwhile. */
export async function brokenInvariants(service: WholeService): Promise<string[]> {
  const broken: string[] = [];
  const check = (so: boolean, what: string) => {
    if (!so) broken.push(what);
  };
  const host = (await service.ask("GET /v1/host")).json;
  const domains = await listed<Listed>(service, "/v1/domains");
  const tasks = await listed<{ id: string; operation: string; state: string; finishedAt: string | null }>(
    service,
    "/v1/tasks",
  );
  for (const { id, operation, state, finishedAt } of tasks)
    check(finishedAt !== null, `task ${id} (${operation}) is ${state}, and nobody is at it`);

  const live = domains.filter(({ domid }) => domid !== null);
  for (const { name, bootEpoch } of live)
    check(bootEpoch === host.bootEpoch, `${name} is of epoch ${bootEpoch}, and this is ${host.bootEpoch}`);
  check(host.domains === live.length, `the machine has ${host.domains} domains, the database ${live.length}`);
  if (live.length === 0)
    check(host.memoryFreeMiB === host.memoryTotalMiB, `of ${host.memoryTotalMiB} MiB ${host.memoryFreeMiB} are free`);
  const tree = (await service.ask("GET /v1/xenstore?path=/local/domain&limit=1000")).json;
  const inXenstore = tree.children.filter((name: string) => name !== "0").sort();
  const wanted = live.map(({ domid }) => String(domid)).sort();
  check(String(inXenstore) === String(wanted), `xenstore has the domains ${inXenstore}, and not ${wanted}`);

  const files = (folder: string) => {
    const path = join(service.stateDir, folder);
    return existsSync(path) ? readdirSync(path).sort() : [];
  };
  const suspended = domains.filter(({ state }) => state === "suspended").map(({ uuid }) => `${uuid}.suspended`);
  for (const file of suspended) check(files("suspended").includes(file), `the image ${file} is missing`);
  const mayHaveImage = new Set(domains.map(({ uuid }) => `${uuid}.suspended`));
  for (const file of files("suspended")) check(mayHaveImage.has(file), `suspended/${file} is nobody's`);
  const images = await listed<{ sha256: string }>(service, "/v1/images");
  const contents = [...new Set(images.map(({ sha256 }) => sha256))].sort();
  check(String(files("images")) === String(contents), `images/ has ${files("images")}, and not ${contents}`);
  const uuids = new Set(domains.map(({ uuid }) => uuid));
  for (const folder of files("console")) check(uuids.has(folder), `console/${folder} is nobody's`);
  return broken;
}

/** Every object of a list. */
export async function listed<T>(service: WholeService, path: string): Promise<T[]> {
  const items: T[] = [];
  let query = "?limit=500";
  for (;;) {
    const answer = await service.ask(`GET ${path}${query}`);
    if (answer.status !== 200) throw new Error(`GET ${path}${query}: ${answer.text}`);
    items.push(...answer.json.items);
    if (answer.json.next === null) return items;
    query = `?limit=500&after=${answer.json.next}`;
  }
}
