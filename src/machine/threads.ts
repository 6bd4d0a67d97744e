/**
 * The threads of a machine and the lines between them.
 *
 * Guest workers run shards and may sleep in `Atomics.wait`, so everything that is sent to one kicks it. The services worker and
 * the builder worker are ordinary event loops. Every guest worker has a line to the services worker and to every other guest
 * worker, so that neither a console byte nor a cross-shard hypercall passes through the control plane's thread.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { MessageChannel, type MessagePort, type ResourceLimits, Worker } from "node:worker_threads";
import { newEpoch } from "./clock.ts";
import { KickWord, Outbox } from "./mailbox.ts";
import type {
  BuilderPort,
  GuestWorkerData,
  GuestWorkerEvents,
  GuestWorkerPort,
  ServicesEvents,
  ServicesPort,
  ServicesWorkerData,
} from "./ports.ts";
import { Rounds } from "./rounds.ts";
import { isCall, isReply, type Methods, RpcClient, serve } from "./rpc.ts";

export interface GuestWorker {
  readonly index: number;
  readonly rpc: RpcClient<GuestWorkerPort>;
  readonly kick: KickWord;
  readonly rounds: Rounds;
  readonly outbox: Outbox;
  readonly thread: Worker;
  /** vCPUs of the domains placed here. */
  vcpus: number;
}

export interface ThreadsOptions {
  readonly workers: number;
  readonly module: WebAssembly.Module;
  readonly consoleDir: string;
  readonly servicesWorker: URL;
  readonly builderWorker: URL;
  readonly guestEvents: GuestWorkerEvents;
  readonly servicesEvents: ServicesEvents;
  /** JavaScript heap of a guest worker, and of the builder worker; domains' memories are beside it. */
  readonly workerHeapMiB: number;
  /** The builder worker died; a new one stands in its place already. */
  readonly onBuilderLost: (error: Error) => void;
  /** A guest worker died; a new one stands in its place already. */
  readonly onGuestWorkerLost: (dead: GuestWorker, error: Error) => void;
  /** The services worker died: the machine cannot go on. */
  readonly onFatal: (error: Error) => void;
}

export class Threads {
  readonly guests: GuestWorker[] = [];
  readonly services: RpcClient<ServicesPort>;
  /** The one there is now: one that dies is replaced. */
  builder: RpcClient<BuilderPort>;
  readonly #options: ThreadsOptions;
  readonly #epoch = newEpoch();
  readonly #servicesRounds = new Rounds();
  readonly #servicesThread: Worker;
  #builderThread: Worker;
  #closing = false;

  constructor(options: ThreadsOptions) {
    this.#options = options;
    const data: ServicesWorkerData = {
      epoch: this.#epoch,
      rounds: this.#servicesRounds.buffer,
      consoleDir: options.consoleDir,
    };
    [this.#servicesThread, this.services] = this.#startHelper<ServicesPort, ServicesEvents>(
      "services",
      options.servicesWorker,
      data,
      options.servicesEvents,
      options.onFatal,
    );
    [this.#builderThread, this.builder] = this.#startBuilder();
    for (let index = 0; index < options.workers; index++) this.#startGuest(index);
  }

  async ready(): Promise<void> {
    await Promise.all(this.guests.map((guest) => guest.rpc.call("ready")));
  }

  /** Names of the threads that guests need and that have not answered within `ms`. The builder may be busy for seconds. */
  async silent(ms: number): Promise<readonly string[]> {
    const asked: (readonly [string, Promise<void>])[] = [
      ["services", this.services.call("ready")],
      ...this.guests.map(({ index, rpc }) => [`guest-${index}`, rpc.call("ready")] as const),
    ];
    const silent = new Set(asked.map(([name]) => name));
    const answers = asked.map(([name, answer]) => answer.then(() => silent.delete(name)));
    const late = new AbortController();
    await Promise.race([Promise.allSettled(answers), sleep(ms, undefined, { signal: late.signal }).catch(() => {})]);
    late.abort();
    return [...silent];
  }

  /** Tells every guest worker but one. */
  tellOthers(guest: GuestWorker, tell: (other: GuestWorker) => void): void {
    for (const other of this.guests) if (other !== guest) tell(other);
  }

  /** Has every other thread collect garbage. */
  collectGarbage(): void {
    for (const guest of this.guests) guest.rpc.tell("collectGarbage");
    this.services.tell("collectGarbage");
    this.builder.tell("collectGarbage");
  }

  async close(): Promise<void> {
    this.#closing = true;
    const gone = new Error("the machine is closing");
    for (const rpc of [this.services, this.builder, ...this.guests.map((guest) => guest.rpc)]) rpc.fail(gone);
    const threads = [this.#servicesThread, this.#builderThread, ...this.guests.map((guest) => guest.thread)];
    await Promise.all(threads.map((thread) => thread.terminate()));
  }

  /** A thread with an event loop: services or builder. */
  #startHelper<M extends Methods<M>, E extends Methods<E>>(
    name: string,
    entry: URL,
    workerData: unknown,
    events: E,
    onDeath: (error: Error) => void,
    resourceLimits: ResourceLimits = {},
  ): [Worker, RpcClient<M>] {
    const thread = new Worker(entry, { name, workerData, resourceLimits });
    const rpc = new RpcClient<M>((message) => thread.postMessage(message));
    thread.on("message", (message: unknown) => {
      if (isReply(message)) rpc.accept(message);
      else if (isCall(message)) serve(events, message, () => {});
    });
    this.#onDeath(thread, name, (error) => {
      rpc.fail(error);
      onDeath(error);
    });
    return [thread, rpc];
  }

  /** No domain lives on it: what it had in hand fails, and another goes on. */
  #startBuilder(): [Worker, RpcClient<BuilderPort>] {
    const { builderWorker, onBuilderLost } = this.#options;
    return this.#startHelper<BuilderPort, Record<never, never>>(
      "builder",
      builderWorker,
      undefined,
      {},
      (error) => {
        [this.#builderThread, this.builder] = this.#startBuilder();
        onBuilderLost(error);
      },
      this.#heapLimit,
    );
  }

  /** V8 ends a worker whose heap outgrows this, and only that worker. */
  get #heapLimit(): ResourceLimits {
    return { maxOldGenerationSizeMb: this.#options.workerHeapMiB };
  }

  #startGuest(index: number): void {
    const kick = new KickWord();
    const rounds = new Rounds();
    const control = new MessageChannel();
    const workerData: GuestWorkerData = {
      worker: index,
      epoch: this.#epoch,
      module: this.#options.module,
      kick: kick.buffer,
      rounds: rounds.buffer,
      control: control.port2,
    };
    const thread = new Worker(new URL("./guest-worker.ts", import.meta.url), {
      name: `guest-${index}`,
      workerData,
      transferList: [control.port2],
      resourceLimits: this.#heapLimit,
    });
    const outbox = new Outbox(control.port1, kick.buffer);
    const rpc = new RpcClient<GuestWorkerPort>((message) => outbox.post(message));
    const guest: GuestWorker = { index, rpc, kick, rounds, outbox, thread, vcpus: 0 };
    control.port1.on("message", (message: unknown) => {
      if (isReply(message)) rpc.accept(message);
      else if (isCall(message)) serve(this.#options.guestEvents, message, () => {});
    });
    this.#onDeath(thread, `guest worker ${index}`, (error) => {
      rpc.fail(error);
      control.port1.close();
      this.#startGuest(index);
      this.#options.onGuestWorkerLost(guest, error);
    });
    this.guests[index] = guest;
    this.#connect(guest);
  }

  /** Gives a new guest worker its lines: to the services worker, and to every guest worker there is. */
  #connect(guest: GuestWorker): void {
    const services = new MessageChannel();
    hand(guest, "connectServices", [services.port2, this.#servicesRounds.buffer], services.port2);
    this.#servicesThread.postMessage(
      { call: 0, method: "connect", args: [guest.index, services.port1, guest.kick.buffer] },
      [services.port1],
    );
    for (const peer of this.guests) {
      if (!peer || peer === guest) continue;
      const between = new MessageChannel();
      const line = (to: GuestWorker, port: MessagePort) => [to.index, port, to.rounds.buffer, to.kick.buffer];
      hand(guest, "connect", line(peer, between.port1), between.port1);
      hand(peer, "connect", line(guest, between.port2), between.port2);
    }
  }

  /** Calls back once when the thread ends, unless it was told to. */
  #onDeath(thread: Worker, name: string, died: (error: Error) => void): void {
    let told = false;
    const tell = (error: Error) => {
      if (told || this.#closing) return;
      told = true;
      died(error);
    };
    thread.on("error", (error) => tell(error instanceof Error ? error : new Error(String(error))));
    thread.on("exit", (code) => tell(new Error(`${name} ended with exit code ${code}`)));
  }
}

/** A one-way call that hands a port over. */
function hand(
  guest: GuestWorker,
  method: "connect" | "connectServices",
  args: readonly unknown[],
  port: MessagePort,
): void {
  guest.outbox.post({ call: 0, method, args }, [port]);
}
