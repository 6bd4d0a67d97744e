/** The service as it is started, in a folder of its own, with real guests: what the tests of the whole stand on. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";

const MAIN = resolve(import.meta.dirname, "../../src/main.ts");

/** Generous, for a machine with other things to do; nothing waits for it but a failure. */
const PATIENCE_MS = 45_000;

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests read whatever comes.
  readonly json: any;
}

export interface Ask {
  readonly headers?: Record<string, string>;
  /** An object is sent as JSON, bytes and text as they are. */
  readonly body?: unknown;
}

export class WholeService {
  readonly port: number;
  readonly stateDir: string;
  out = "";
  err = "";
  readonly #child: ChildProcess;
  readonly #agent = new Agent({ pipelining: 1 });

  private constructor(port: number, stateDir: string, env: Record<string, string>) {
    this.port = port;
    this.stateDir = stateDir;
    this.#child = spawn(process.execPath, [MAIN], {
      cwd: resolve(stateDir, ".."),
      env: {
        ...process.env,
        DOMZERO_STATE_DIR: stateDir,
        DOMZERO_LISTEN: `127.0.0.1:${port}`,
        DOMZERO_WORKERS: "2",
        LOG_LEVEL: "warn",
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    this.#child.stdout?.on("data", (text) => {
      this.out += text;
    });
    this.#child.stderr?.on("data", (text) => {
      this.err += text;
    });
  }

  /** Resolves when it serves. On the same `stateDir` and `port` as one that ended, it goes on from there. */
  static async start(stateDir: string, port?: number, env: Record<string, string> = {}): Promise<WholeService> {
    const service = new WholeService(port ?? (await freePort()), stateDir, env);
    await until("the service to start", () => {
      if (service.ended) throw new Error(`it ended: ${service.err}`);
      return service.out.includes("Next,");
    });
    return service;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get token(): string {
    return readFileSync(join(this.stateDir, "token"), "utf8").trim();
  }

  get authorization(): string {
    return `Bearer ${this.token}`;
  }

  /** One request with the token: `ask("POST /v1/domains", { body })`. */
  async ask(line: string, { headers = {}, body }: Ask = {}): Promise<Answer> {
    const [method, path] = line.split(" ");
    const raw = typeof body === "string" || body instanceof Uint8Array;
    const response = await request(`${this.url}${path}`, {
      method: method as "GET",
      dispatcher: this.#agent,
      headers: {
        authorization: this.authorization,
        ...(body !== undefined && !raw && { "content-type": "application/json" }),
        ...headers,
      },
      ...(body !== undefined && { body: raw ? (body as string) : JSON.stringify(body) }),
    });
    const text = await response.body.text();
    const json = /json/.test(String(response.headers["content-type"])) ? JSON.parse(text) : undefined;
    return { status: response.statusCode, headers: response.headers, text, json };
  }

  /** Creates and starts a domain; throws what was answered when it was not that. */
  async boot(name: string, definition: object = {}): Promise<Answer> {
    const body = { name, kernel: "builtin:demo", memoryMiB: 16, vcpus: 1, start: true, ...definition };
    const answer = await this.ask("POST /v1/domains", { body });
    if (answer.status !== 201) throw new Error(answer.text);
    return answer;
  }

  async type(name: string, bytes: string): Promise<void> {
    const answer = await this.ask(`POST /v1/domains/${name}/console`, { body: bytes });
    if (answer.status !== 200) throw new Error(answer.text);
  }

  /** The console's text from `offset` on, when it matches. */
  async shown(name: string, pattern: RegExp, offset = 0): Promise<string> {
    let text = "";
    await until(
      () => `${pattern} on the console of ${name}, which shows ${JSON.stringify(text.slice(-300))}`,
      async () => {
        text = (await this.ask(`GET /v1/domains/${name}/console?offset=${offset}`)).text;
        return pattern.test(text);
      },
    );
    return text;
  }

  /** Types a line at the demo kernel's prompt and gives what it answered, when the prompt is back. */
  async answerTo(name: string, line: string): Promise<string> {
    await this.shown(name, /demo> $/);
    const { headers } = await this.ask(`GET /v1/domains/${name}/console`);
    await this.type(name, `${line}\r`);
    return this.shown(name, /\n[^\n]*\bdemo> $/, Number(headers["console-end"]));
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Has the service, started with DOMZERO_CRASH_POINTS=1, die at a crash point. */
  async arm(point: string): Promise<void> {
    this.#child.send(point);
    await once(this.#child, "message");
  }

  /** Resolves when the process has ended by itself. */
  async exit(): Promise<void> {
    await until("the service to end", () => this.ended);
  }

  /** Resolves when the process has ended; ends it where it has not. */
  async end(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (!this.ended) {
      this.#child.kill(signal);
      await once(this.#child, "exit");
    }
    await this.#agent.close();
  }
}

/** A new folder; `state` in it is where a service may keep its state. */
export function scratchFolder(): { folder: string; stateDir: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "domzero-service-"));
  return {
    folder,
    stateDir: join(folder, "state"),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

/** Asks again and again until it is so. */
export async function until(
  what: string | (() => string),
  so: () => boolean | Promise<boolean>,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (!(await so())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${typeof what === "string" ? what : what()}`);
    await sleep(10);
  }
}

/** The last word of a problem's type. */
export function problem(answer: Answer): string {
  return String(answer.json?.type).replace("urn:domzero:problem:", "");
}
