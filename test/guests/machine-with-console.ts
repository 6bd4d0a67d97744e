/** The machine with its real threads in a folder of its own, and one guest whose console is waited for. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import type { DomainSpec, DomctlEvent, DomctlResult } from "../../src/machine/domctl.ts";
import { Machine } from "../../src/machine/machine.ts";
import { plain } from "./linux-golden.ts";

const SRC = new URL("../../src/", import.meta.url);
const PROMPT = "/ # ";

export function value<T>(result: DomctlResult<T>): T {
  if (!result.ok) throw new Error(`${result.code}: ${result.detail}`);
  return result.value;
}

export class MachineWithConsole {
  readonly folder = mkdtempSync(join(tmpdir(), "domzero-linux-"));
  readonly image = join(this.folder, "image");
  machine!: Machine;
  domid = 0;
  #spec: DomainSpec;
  #events: DomctlEvent[] = [];

  constructor(spec: DomainSpec) {
    this.#spec = spec;
  }

  async start(): Promise<void> {
    this.machine = await Machine.start({
      workers: 2,
      consoleDir: join(this.folder, "console"),
      servicesWorker: new URL("backends/services-worker.ts", SRC),
      builderWorker: new URL("builder/builder-worker.ts", SRC),
      onFatal: (error) => {
        throw error;
      },
    });
    this.machine.onEvent((event) => this.#events.push(event));
  }

  async close(): Promise<void> {
    await this.machine?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Another machine in the place of this one, as after a restart of the service. */
  async startAnew(): Promise<void> {
    await this.machine.close();
    await this.start();
  }

  async boot(): Promise<void> {
    ({ domid: this.domid } = value(await this.machine.create(this.#spec)));
    value(await this.machine.unpause(this.domid));
    await this.until("the shell", () => this.atPrompt(), 120_000);
  }

  log(): Buffer {
    const { bytes } = new ConsoleLogReader(join(this.folder, "console")).read(this.#spec.uuid, 0, 1 << 20);
    return Buffer.from(bytes);
  }

  /** What it printed, without control sequences. */
  text(): string {
    return plain(this.log().toString("latin1"));
  }

  atPrompt(): boolean {
    return this.text().endsWith(PROMPT);
  }

  async until(what: string, holds: () => boolean, ms = 30_000): Promise<void> {
    const deadline = Date.now() + ms;
    while (!holds()) {
      if (Date.now() > deadline)
        throw new Error(`${what} did not happen; the console ends:\n${this.text().slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async type(text: string): Promise<void> {
    value(await this.machine.consoleInput(this.domid, Buffer.from(text)));
  }

  async ask(path: string, text: string): Promise<void> {
    const written = await this.machine.xenstore.write([
      { path: `/local/domain/${this.domid}/${path}`, value: Buffer.from(text) },
    ]);
    if (!written.ok) throw new Error(written.detail);
  }

  /** The reason for which the guest shuts down when it is asked to. */
  async shutdown(how: "poweroff" | "suspend"): Promise<string> {
    this.#events = [];
    value(await this.machine.requestShutdown(this.domid, how));
    const end = () => this.#events.find((event) => event.kind === "shutdown");
    await this.until(how, () => end() !== undefined);
    return end()!.reason;
  }

  /** Comes back from the file, as a new domain. */
  async restore(): Promise<void> {
    value(await this.machine.destroy(this.domid));
    ({ domid: this.domid } = value(await this.machine.restore(this.#spec, this.image)));
  }
}
