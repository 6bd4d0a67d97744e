/**
 * A whole machine in one thread, in virtual time: a shard with the real engine, the real builder, and Domain 0's services, which
 * answer between slices. Same inputs, same run.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import { Services } from "../../src/backends/services.ts";
import { build } from "../../src/builder/build.ts";
import { compileEngine } from "../../src/engine/engine.ts";
import { engineBytes } from "../../src/engine/layout.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { memoryMap } from "../../src/hypervisor/mm/memory-map.ts";
import { Shard, type VirtualTime } from "../../src/hypervisor/shard.ts";
import type { ShardMessage } from "../../src/hypervisor/shard-host.ts";

export const engineModule = compileEngine();

export interface GuestSpec {
  readonly kernel: Uint8Array;
  readonly ramdisk?: Uint8Array;
  readonly cmdline?: string;
  readonly memoryMiB?: number;
  /** What it may balloon up to; default: what it has. */
  readonly maxMemoryMiB?: number;
  readonly vcpus?: number;
}

/** How often Domain 0 looks, in ns. */
const TURN = 100_000;

export class OneThreadMachine {
  readonly shard: Shard;
  readonly services: Services;
  readonly messages: ShardMessage[] = [];
  readonly log: string[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), "domzero-test-"));
  readonly #console: ConsoleLogReader;
  readonly #ports = new Map<number, { domid: number; port: number }[]>();
  #nextDomid = 1;

  constructor(virtualTime: VirtualTime | null = { nsPerInstruction: 5 }) {
    const now = () => Math.floor(performance.now() * 1e6);
    this.shard = new Shard({
      id: 0,
      module: engineModule,
      ...(virtualTime === null ? {} : { virtualTime }),
      host: {
        now: virtualTime === null ? now : () => 0,
        wallClock: () => 1_800_000_000_000_000_000,
        send: (_to, message) => {
          this.messages.push(message);
          if (message.kind === "event") this.services.guestEvent(message.domid, message.port);
        },
        log: (level, domid, text) => this.log.push(`${level} ${domid}: ${text}`),
      },
    });
    this.services = new Services({
      notify: (domid, port) => this.shard.notifyPort(domid, port),
      now: () => this.shard.now(),
      consoleDir: this.#folder,
      onConsole: () => {},
      log: (level, domid, text) => this.log.push(`${level} ${domid}: ${text}`),
      consoleRate: { bytesPerSecond: 1e9, burst: 1e9 } as never,
    });
    this.#console = new ConsoleLogReader(this.#folder);
  }

  /** Builds and unpauses a domain; gives it. Throws what the builder refused. */
  boot({ kernel, ramdisk, cmdline = "", memoryMiB = 32, maxMemoryMiB = memoryMiB, vcpus = 1 }: GuestSpec): Domain {
    const domid = this.#nextDomid++;
    const pages = memoryMiB * 256;
    const map = memoryMap({ pages, maxPages: maxMemoryMiB * 256, vcpus, engineBytes: engineBytes(vcpus) });
    const memory = new WebAssembly.Memory({ initial: map.wasmPages, maximum: map.wasmPages, shared: true });
    const uuid = `00000000-0000-0000-0000-${String(domid).padStart(12, "0")}`;
    const created = this.shard.createDomain({ domid, uuid: new Uint8Array(16).fill(domid), memory, map });
    if (typeof created === "number") throw new Error(`createDomain: ${created}`);
    const storePort = this.shard.allocUnbound(domid, 0);
    const consolePort = this.shard.allocUnbound(domid, 0);
    const { sharedInfoMfn } = created;
    const built = build({ memory, map, pages, kernel, ramdisk, cmdline, sharedInfoMfn, storePort, consolePort });
    if (!built.ok) throw new Error(JSON.stringify(built));
    const rc = this.shard.setBootContext(domid, built);
    if (rc !== 0) throw new Error(`setBootContext: ${rc} ${JSON.stringify(this.shard.refusals(domid))}`);
    for (const port of [storePort, consolePort]) this.shard.bindDom0(domid, port);
    const offset = (pfn: number) => map.ramOffset + pfn * 4096;
    this.services.introduce({
      domid,
      uuid,
      name: `test-${domid}`,
      memory,
      memoryKiB: memoryMiB * 1024,
      maxMemoryKiB: maxMemoryMiB * 1024,
      vcpus,
      store: { byteOffset: offset(built.storePfn), port: storePort },
      storeMfn: map.baseMfn + built.storePfn,
      console: { byteOffset: offset(built.consolePfn), port: consolePort },
      consoleMfn: map.baseMfn + built.consolePfn,
    });
    this.#ports.set(domid, [{ domid, port: storePort }]);
    const domain = this.shard.domains.get(domid)!;
    domain.unpause();
    return domain;
  }

  /** Runs until `done`, or for `ms` of system time at most. True when it was done. */
  runUntil(done: () => boolean, ms = 10_000): boolean {
    const end = this.shard.now() + ms * 1e6;
    while (this.shard.now() < end) {
      this.services.run();
      if (done()) return true;
      this.shard.run(Math.min(end, this.shard.now() + TURN));
    }
    this.services.run();
    return done();
  }

  consoleOf(domain: Domain): string {
    return Buffer.from(this.readConsole(domain, 0).bytes).toString("latin1");
  }

  /** Console output from an absolute offset on, and the offset where it ends. */
  readConsole(domain: Domain, from: number): { bytes: Uint8Array; end: number } {
    const uuid = `00000000-0000-0000-0000-${String(domain.id).padStart(12, "0")}`;
    const { start, bytes } = this.#console.read(uuid, from, 1 << 20);
    return { bytes, end: start + bytes.length };
  }

  type(domain: Domain, text: string): void {
    this.services.consoleInput(domain.id, new TextEncoder().encode(text));
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
