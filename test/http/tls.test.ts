/** TLS by certificate files: over real sockets, with certificates that are read anew, and files that are no good. */

import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as plain } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { connect, type PeerCertificate } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { listenTcp, listenUnix } from "../../src/http/server.ts";
import { BadTls, readTls, replaceTls } from "../../src/http/tls.ts";
import { ask, definition, type Service, startService, TOKEN, until } from "./service.ts";

const certificate = (name: string) => resolve(import.meta.dirname, "certificates", name);
const ONE = { cert: certificate("one.pem"), key: certificate("one.key") };
const TWO = { cert: certificate("two.pem"), key: certificate("two.key") };
const ca = [readFileSync(ONE.cert), readFileSync(TWO.cert)];
const authorization = `Bearer ${TOKEN}`;

let service: Service;
let port: number;
beforeEach(async () => {
  service = await startService({ tls: readTls(ONE, Date.now()) });
  port = await listenTcp(service.app, "127.0.0.1", 0);
  service.listen.port = port;
});
afterEach(() => service.close());

interface Got {
  readonly status: number;
  readonly text: string;
  readonly headers: Record<string, string | string[] | undefined>;
}

function get(ask: typeof request | typeof plain, options: object): Promise<Got> {
  return new Promise((resolve, reject) => {
    const asked = ask(
      { ...options, path: "/v1/host", headers: { authorization, host: `localhost:${port}` } },
      (answer) => {
        let text = "";
        answer.on("data", (chunk) => {
          text += chunk;
        });
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text, headers: answer.headers }));
      },
    );
    asked.on("error", reject);
    asked.end();
  });
}

function presented(): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, ca, servername: "localhost" }, () => {
      const { subject } = socket.getPeerCertificate() as PeerCertificate;
      socket.destroy();
      resolve([subject.CN].join());
    });
    socket.on("error", reject);
  });
}

test("requests, WebSockets and headers are as without, and browsers are told to stay with it", async () => {
  const answer = await get(request, { host: "127.0.0.1", port, ca, servername: "localhost" });
  expect([answer.status, JSON.parse(answer.text).bootEpoch]).toEqual([200, 1]);
  expect(answer.headers["strict-transport-security"]).toBe("max-age=31536000");
  await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
  const socket = new WebSocket(`wss://localhost:${port}/v1/domains/web/console/ws`, { headers: { authorization }, ca });
  let seen = "";
  socket.on("message", (data) => {
    seen += data;
  });
  await until(() => seen === "web boots\n");
  socket.close();
});

test("plain HTTP gets nothing, and the service goes on", async () => {
  await expect(get(plain, { host: "127.0.0.1", port })).rejects.toThrow();
  expect(await presented()).toBe("domzero test one");
});

test("the unix socket stays plain, and needs no token", async () => {
  const path = join(service.stateDir, "domzero.sock");
  const unix = await listenUnix(service.app, path, service.trusted);
  expect((await get(plain, { socketPath: path })).status).toBe(200);
  await new Promise((resolve) => unix.close(resolve));
});

test("a new certificate is for new connections", async () => {
  expect(await presented()).toBe("domzero test one");
  replaceTls(service.app, readTls(TWO, Date.now()));
  expect(await presented()).toBe("domzero test two");
});

const CASES: [string, { cert: string; key: string }, RegExp][] = [
  [
    "a certificate that is not there",
    { ...ONE, cert: "/no/cert.pem" },
    /DOMZERO_TLS_CERT is \/no\/cert.pem, .* ENOENT/,
  ],
  ["a key that is not there", { ...ONE, key: "/no/key.pem" }, /DOMZERO_TLS_KEY is \/no\/key.pem, .* ENOENT/],
  ["a key for a certificate", { ...ONE, cert: ONE.key }, /one.key does not begin with a certificate in PEM/],
  ["a certificate for a key", { ...ONE, key: ONE.cert }, /one.pem has no private key in PEM/],
  [
    "an encrypted key",
    { ...ONE, key: certificate("encrypted.key") },
    /encrypted.key has no private key in PEM that is not/,
  ],
  [
    "the key of another certificate",
    { ...ONE, key: TWO.key },
    /the key in .*two.key is not that of the certificate in .*one/,
  ],
];
test.each(CASES)("%s is refused in a line", (_what, files, says) => {
  const read = () => readTls(files, Date.now());
  expect(read).toThrow(BadTls);
  expect(read).toThrow(says);
});

test("a certificate that has expired, is half there, or is no text is refused", () => {
  expect(() => readTls(ONE, Date.parse("2200-01-01"))).toThrow(/one.pem has expired: it was valid to/);
  const folder = mkdtempSync(join(tmpdir(), "domzero-tls-"));
  const cut = { cert: join(folder, "cut.pem"), key: ONE.key };
  copyFileSync(ONE.cert, cut.cert);
  writeFileSync(cut.cert, readFileSync(cut.cert).subarray(0, 200));
  expect(() => readTls(cut, Date.now())).toThrow(/cut.pem does not begin with a certificate/);
  writeFileSync(cut.cert, Buffer.from([0, 255, 1]));
  expect(() => readTls(cut, Date.now())).toThrow(BadTls);
  rmSync(folder, { recursive: true });
});
