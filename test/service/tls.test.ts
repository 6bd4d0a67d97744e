/** The service with TLS, as it is started: its files, their reading anew, and what its log must not hold. */

import { copyFileSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { connect, type PeerCertificate } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { freePort, scratchFolder, until, WholeService } from "./whole-service.ts";

const given = (name: string) => resolve(import.meta.dirname, "../http/certificates", name);
const ca = [readFileSync(given("one.pem")), readFileSync(given("two.pem"))];

let scratch: ReturnType<typeof scratchFolder>;
let files: { cert: string; key: string };
let service: WholeService | undefined;
beforeEach(() => {
  scratch = scratchFolder();
  files = { cert: join(scratch.folder, "cert.pem"), key: join(scratch.folder, "key.pem") };
});
afterEach(async () => {
  await service?.end();
  service = undefined;
  scratch.remove();
});

function give(cert: string, key: string): Record<string, string> {
  copyFileSync(given(cert), files.cert);
  copyFileSync(given(key), files.key);
  return { DOMZERO_TLS_CERT: files.cert, DOMZERO_TLS_KEY: files.key };
}

/** The name in the certificate that a new connection is shown. */
function presented(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, ca, servername: "localhost" }, () => {
      const { subject } = socket.getPeerCertificate() as PeerCertificate;
      socket.destroy();
      resolve([subject.CN].join());
    });
    socket.on("error", reject);
  });
}

test("SIGHUP has the files read again; bad ones are told, and change nothing", async () => {
  const settings = { ...give("one.pem", "one.key"), LOG_LEVEL: "info" };
  service = await WholeService.start(scratch.stateDir, undefined, settings);
  const { port } = service;
  expect(service.out).toContain(`listens on   https://127.0.0.1:${port}`);
  expect(await presented(port)).toBe("domzero test one");

  give("one.pem", "two.key");
  service.kill("SIGHUP");
  await until("the log to tell of the key", () => service!.err.includes("is not that of the certificate"));
  expect(await presented(port)).toBe("domzero test one");

  give("two.pem", "two.key");
  service.kill("SIGHUP");
  await until("the log to tell of the new files", () => service!.err.includes("the certificate was read again"));
  expect(await presented(port)).toBe("domzero test two");
});

test("a key of another certificate is told in a line, and nothing is started", async () => {
  const settings = give("one.pem", "two.key");
  const port = await freePort();
  await expect(WholeService.start(scratch.stateDir, port, settings)).rejects.toThrow(
    `it ended: domzero: the key in ${files.key} is not that of the certificate in ${files.cert}\n`,
  );
  await expect(WholeService.start(scratch.stateDir, port, { ...settings, DOMZERO_TLS_KEY: "" })).rejects.toThrow(
    "domzero: DOMZERO_TLS_CERT and DOMZERO_TLS_KEY go together: one of them is missing",
  );
});

test("the whole log of a run has none of the secrets that it was used with", async () => {
  service = await WholeService.start(scratch.stateDir, undefined, { LOG_LEVEL: "trace" });
  const made = await service.ask("POST /v1/tokens", { body: { name: "ci", role: "operator" } });
  const { secret, id } = made.json;
  const headers = { authorization: `Bearer ${secret}` };
  const { ticket } = (await service.ask("POST /v1/tickets", { headers })).json;
  await service.ask("POST /v1/domains", {
    headers,
    body: { name: "web", kernel: "builtin:demo", memoryMiB: 16, vcpus: 1 },
  });
  await service.ask("POST /v1/domains/web/start", { headers });
  await service.ask("POST /v1/domains/web/console", { headers, body: "typed-password\r" });
  await service.ask(`GET /v1/domains/web/console/ws?ticket=${ticket}`, { headers });
  await service.ask(`GET /v1/domains?token=${secret}`, { headers });
  await service.ask(`GET /v1/domains/${service.token}`, { headers: { authorization: "Bearer another-secret" } });
  await service.ask("POST /v1/domains", { headers, body: `{"name":"${secret}"` });
  await service.ask(`DELETE /v1/tokens/${id}`);
  const { token } = service;
  const ended = service;
  service = undefined;
  await ended.end("SIGTERM");
  const said = ended.out + ended.err;
  expect(said).toContain("/v1/domains/web/start");
  for (const hidden of [secret, ticket, token, "another-secret", "typed-password"])
    expect(said.includes(hidden), `${hidden} is in the log`).toBe(false);
});
