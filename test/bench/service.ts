/**
 * A real service for the benchmarks: `src/main.ts` as a child process with a state folder of its own, spoken to over its unix socket.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "undici";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

export interface Reply {
  readonly status: number;
  readonly body: string;
}

export class BenchService {
  readonly stateDir: string;
  readonly pid: number;
  /** Where it listens on TCP. */
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #client: Client;

  private constructor(stateDir: string, child: ChildProcess, said: string) {
    this.stateDir = stateDir;
    this.url = /listens on\s+(http:\S+)/.exec(said)![1]!;
    this.#child = child;
    this.pid = child.pid!;
    this.#client = this.client();
  }

  /** Starts the service on a free port, on a state of its own or on that of one that ended, and waits until it says what to type next. */
  static async start(
    environment: Record<string, string> = {},
    stateDir = mkdtempSync(join(tmpdir(), "domzero-bench-")),
  ): Promise<BenchService> {
    const child = spawn(process.execPath, [MAIN], {
      env: {
        ...process.env,
        DOMZERO_STATE_DIR: stateDir,
        DOMZERO_LISTEN: "127.0.0.1:0",
        LOG_LEVEL: "warn",
        ...environment,
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const greeting = await new Promise<string>((resolve, reject) => {
      let said = "";
      child.stdout!.on("data", (chunk: Buffer) => {
        said += chunk.toString();
        if (said.includes("Next,")) resolve(said);
      });
      child.once("exit", (code) => reject(new Error(`the service ended with ${code}: ${said}`)));
    });
    return new BenchService(stateDir, child, greeting);
  }

  /** A keep-alive connection of its own. */
  client(): Client {
    return new Client("http://localhost", { socketPath: join(this.stateDir, "domzero.sock"), pipelining: 1 });
  }

  async call(method: "GET" | "POST" | "DELETE", path: string, body?: unknown, client = this.#client): Promise<Reply> {
    const json = body !== undefined && !(body instanceof Uint8Array);
    const answer = await client.request({
      method,
      path,
      ...(body === undefined
        ? {}
        : {
            body: json ? JSON.stringify(body) : (body as Uint8Array),
            headers: { "content-type": json ? "application/json" : "application/octet-stream" },
          }),
    });
    return { status: answer.statusCode, body: await answer.body.text() };
  }

  /** A call that has to succeed. */
  async must<T>(method: "GET" | "POST" | "DELETE", path: string, body?: unknown): Promise<T> {
    const reply = await this.call(method, path, body);
    if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.status} ${reply.body}`);
    return (reply.body === "" ? undefined : JSON.parse(reply.body)) as T;
  }

  /** Makes and starts a domain of the demo kernel. */
  async demo(name: string, memoryMiB = 16): Promise<void> {
    await this.must("POST", "/v1/domains", { name, kernel: "builtin:demo", memoryMiB, vcpus: 1, start: true });
  }

  async type(name: string, text: string): Promise<void> {
    const reply = await this.call("POST", `/v1/domains/${name}/console`, new TextEncoder().encode(text));
    if (reply.status >= 300) throw new Error(`typing into ${name}: ${reply.status} ${reply.body}`);
  }

  /** Follows a console from an offset until it has said `pattern`; gives what was said. */
  async until(name: string, pattern: RegExp, offset = 0): Promise<string> {
    const client = this.client();
    try {
      const answer = await client.request({
        method: "GET",
        path: `/v1/domains/${name}/console?follow=true&offset=${offset}`,
      });
      let said = "";
      for await (const chunk of answer.body) {
        said += (chunk as Buffer).toString();
        if (pattern.test(said)) return said;
      }
      throw new Error(`the console of ${name} ended before ${pattern}: ${said}`);
    } finally {
      void client.destroy();
    }
  }

  /** Resident memory of the process in bytes. */
  residentBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
  }

  /** Processor time of the process so far, in seconds. */
  cpuSeconds(): number {
    return cpuSecondsOf(this.pid);
  }

  /** Ends it, and keeps its state. */
  async end(): Promise<void> {
    await this.#client.destroy();
    this.#child.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGTERM");
    await ended;
  }

  async stop(): Promise<void> {
    await this.end();
    rmSync(this.stateDir, { recursive: true, force: true });
  }
}

/** Processor time of a process so far, in seconds. */
export function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Median, and the 99th percentile, of samples in any order. */
export function percentiles(samples: readonly number[]): { p50: number; p99: number } {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { p50: at(0.5), p99: at(0.99) };
}
