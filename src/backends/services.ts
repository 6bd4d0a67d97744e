/**
 * Domain 0's services for guests: xenstore and the console.
 *
 * A plain class, one thread, the clock handed in. It acts at once on what it is told, but does only a bounded round of a guest's work;
 * what is left, and what is due later, waits for `run`, so that no guest keeps another waiting. Whoever owns it calls `run` when
 * the time comes that `run` has answered, and after telling it anything.
 */
import { XENSTORE_ERROR } from "../abi/io-xenstore.ts";
import { Bug } from "../xenstore/bug.ts";
import { Connection } from "../xenstore/connection.ts";
import { LocalClient } from "../xenstore/local-client.ts";
import { Store } from "../xenstore/store.ts";
import { CONSOLE_RATE, type ConsoleRate, GuestConsole } from "./console/guest-console.ts";
import { ConsoleLogs, LOG_LIMITS, type LogLimits } from "./console/log.ts";
import { LogSync } from "./console/log-sync.ts";
import {
  type DomainFacts,
  removeDomainNodes,
  writeDomainNodes,
  writeHostNodes,
  writeRingNodes,
} from "./domain-nodes.ts";
import { XenstoreRing } from "./xenstore-ring.ts";

export interface ServicesOptions {
  /** Sends an event to a guest's port. */
  notify(domid: number, port: number): void;
  /** Monotonic time, ns. */
  now(): number;
  /** Ns since 1970, for nodes that say when a domain started. */
  wallClock?(): number;
  /** Where console logs are kept, a folder for each domain's uuid. */
  readonly consoleDir: string;
  /** A domain's console log has grown to an absolute offset; at most one note in 20 ms for each domain. */
  onConsole(domid: number, end: number): void;
  log(level: "debug" | "info" | "warn" | "error", domid: number | null, text: string): void;
  readonly consoleRate?: ConsoleRate;
  readonly logLimits?: LogLimits;
  /** Puts a file of a console log, or a folder of them, on the disk; for tests. */
  readonly syncLog?: (path: string) => Promise<void>;
}

/** A ring page: its byte offset in the domain's memory, and the domain's event channel port for it. */
interface RingPage {
  readonly byteOffset: number;
  readonly port: number;
}

interface Rings {
  readonly memory: WebAssembly.Memory;
  readonly store: RingPage;
  readonly storeMfn: number;
  readonly console: RingPage;
  readonly consoleMfn: number;
}

export interface DomainIntroduction extends Rings {
  readonly domid: number;
  readonly uuid: string;
  readonly name: string;
  readonly memoryKiB: number;
  readonly maxMemoryKiB: number;
  readonly vcpus: number;
  /** Names of what it boots, as the guest may see them: no paths of the host. None for one that comes back from a file. */
  readonly image?: { readonly kernel: string; readonly ramdisk?: string; readonly cmdline: string };
  /** Typed before it was suspended, and not read by the guest yet. */
  readonly typed?: Uint8Array;
}

/** What control/shutdown may ask of a guest. */
export type ShutdownRequest = "poweroff" | "reboot" | "suspend" | "halt";

const NOTE_INTERVAL_NS = 20e6;
/** A full reply ring is looked at again after this time: a guest may take from it without a word. */
const REPLY_RETRY_NS = 50e6;
const NEVER = Number.POSITIVE_INFINITY;

/** A domain that is connected. */
interface Guest {
  readonly domid: number;
  readonly uuid: string;
  readonly connection: Connection;
  storePort: number;
  consolePort: number;
  ring: XenstoreRing;
  console: GuestConsole;
  /** When its xenstore ring and its console want service without an event. */
  storeAt: number;
  consoleAt: number;
  /** Log offset that was announced, when, and when the next note is due. */
  notedEnd: number;
  notedAt: number;
  noteAt: number;
  /** Its rings are not touched: its memory is being written to a file. */
  frozen: boolean;
  /** Faults that are in the log already. */
  readonly reported: Set<string>;
}

export class Services {
  /** Domain 0's access to xenstore. Call `run` after changes from outside, to have watches told. */
  readonly xenstore: LocalClient;
  readonly #options: ServicesOptions;
  readonly #store = new Store();
  readonly #logs: ConsoleLogs;
  readonly #logSync: LogSync;
  #syncFault: string | undefined;
  readonly #guests = new Map<number, Guest>();
  /** Guests with output for their xenstore ring. */
  readonly #dirty = new Set<Guest>();
  /** Guests with requests left over from their last round. */
  readonly #waiting = new Set<Guest>();
  /** Guests with something due at a time. */
  readonly #timed = new Set<Guest>();

  constructor(options: ServicesOptions) {
    this.#options = options;
    this.#logSync = new LogSync({
      ...(options.syncLog === undefined ? {} : { sync: options.syncLog }),
      onFault: (text) => this.#reportSync(text),
    });
    this.#logs = new ConsoleLogs(options.consoleDir, options.logLimits ?? LOG_LIMITS, (path) =>
      this.#logSync.written(path, options.now()),
    );
    this.xenstore = new LocalClient(this.#store);
    this.xenstore.transaction(writeHostNodes);
  }

  /**
   * Makes a domain's nodes, connects its rings and opens its log, which goes on where the domain's last boot ended. Throws if the
   * log cannot be opened; then nothing has happened.
   */
  introduce(domain: DomainIntroduction): void {
    const { domid, uuid } = domain;
    if (this.#guests.has(domid)) throw new Bug(`domain ${domid} is introduced already`);
    const log = this.#logs.open(uuid);
    this.#store.addDomain(domid);
    this.xenstore.transaction((store) => writeDomainNodes(store, this.#factsOf(domain)));
    const now = this.#options.now();
    const buffer = domain.memory.buffer;
    const connection = new Connection(this.#store, domid, () => this.#dirty.add(guest));
    const guest: Guest = {
      domid,
      uuid,
      connection,
      storePort: domain.store.port,
      consolePort: domain.console.port,
      ring: new XenstoreRing(buffer, domain.store.byteOffset, connection),
      console: new GuestConsole(buffer, domain.console.byteOffset, log, this.#rate, now),
      storeAt: NEVER,
      consoleAt: NEVER,
      notedEnd: log.end,
      notedAt: Number.NEGATIVE_INFINITY,
      noteAt: NEVER,
      frozen: false,
      reported: new Set(),
    };
    if (domain.typed !== undefined) guest.console.type(domain.typed);
    this.#guests.set(domid, guest);
    this.#store.setIntroduced(domid, true);
    this.#store.fireSpecial("@introduceDomain");
    this.#serviceBoth(guest);
  }

  /**
   * A domain's rings are elsewhere now, as after a resume: connects them there. Its nodes stay; its watches and transactions are gone,
   * as for a new connection.
   */
  remap(domid: number, rings: Rings): void {
    const guest = this.#guests.get(domid);
    if (guest === undefined) throw new Bug(`domain ${domid} is not introduced`);
    const buffer = rings.memory.buffer;
    guest.connection.reset();
    guest.ring = new XenstoreRing(buffer, rings.store.byteOffset, guest.connection);
    const log = this.#logs.open(guest.uuid);
    guest.console = new GuestConsole(buffer, rings.console.byteOffset, log, this.#rate, this.#options.now());
    guest.storePort = rings.store.port;
    guest.consolePort = rings.console.port;
    guest.reported.clear();
    this.xenstore.transaction((store) => writeRingNodes(store, domid, { ...portsOf(rings), ...rings }));
    this.#serviceBoth(guest);
  }

  /** The guest has sent an event to Domain 0 on one of its ports. Events of domains that are gone are ignored. */
  guestEvent(domid: number, port: number): void {
    const guest = this.#guests.get(domid);
    if (guest === undefined) return;
    if (port === guest.storePort) this.#serviceStore(guest);
    else if (port === guest.consolePort) this.#serviceConsole(guest);
    this.#settle();
  }

  /** The guest has shut down or crashed; its memory is still there. Its last output is kept, and watches are told. */
  stopped(domid: number): void {
    const guest = this.#guests.get(domid);
    if (guest === undefined) return;
    this.#drain(guest);
    this.#store.fireSpecial("@releaseDomain");
    this.#settle();
  }

  /**
   * The guest has shut down and its memory is being written to a file: its rings are left alone, and nothing more is typed, until `thaw` or
   * `release`. Gives what was typed and is not in its ring.
   */
  freeze(domid: number): Uint8Array {
    const guest = this.#guests.get(domid);
    if (guest === undefined) return new Uint8Array(0);
    guest.frozen = true;
    guest.storeAt = NEVER;
    guest.consoleAt = NEVER;
    this.#waiting.delete(guest);
    this.#keepTime(guest);
    return guest.console.waiting();
  }

  /** The guest goes on in place. */
  thaw(domid: number): void {
    const guest = this.#guests.get(domid);
    if (guest === undefined) return;
    guest.frozen = false;
    this.#serviceBoth(guest);
  }

  /** The domain goes: its last output is kept, its nodes are removed, its memory is not touched any more. Idempotent. */
  release(domid: number): void {
    const guest = this.#guests.get(domid);
    if (guest === undefined) return;
    this.#drain(guest);
    guest.connection.reset();
    this.#guests.delete(domid);
    for (const set of [this.#dirty, this.#waiting, this.#timed]) set.delete(guest);
    const others = [...this.#guests.values()].some(({ uuid }) => uuid === guest.uuid);
    if (!others) this.#logs.close(guest.uuid);
    this.xenstore.transaction((store) => removeDomainNodes(store, domid, guest.uuid, others));
    this.#store.removeDomain(domid);
    this.#store.fireSpecial("@releaseDomain");
    this.#settle();
  }

  /** Types bytes into a console. How many were queued: fewer than given when 64 KiB wait already, none for an unknown or frozen domain. */
  consoleInput(domid: number, bytes: Uint8Array): number {
    const guest = this.#guests.get(domid);
    if (guest === undefined || guest.frozen) return 0;
    const accepted = guest.console.type(bytes);
    this.#serviceConsole(guest);
    return accepted;
  }

  /** Asks a guest through control/shutdown. False if there is no such domain; whether the guest acts is its own affair. */
  setShutdown(domid: number, how: ShutdownRequest): boolean {
    if (!this.#guests.has(domid)) return false;
    const path = `/local/domain/${domid}/control/shutdown`;
    // A guest may have removed its node: it gets it back with the right to answer in it.
    const missing = this.xenstore.read(path) === undefined;
    this.xenstore.write(path, how, missing ? [`n${domid}`] : undefined);
    this.#settle();
    return true;
  }

  /** Takes a request back that the guest has not taken yet. False when there is none, or it has taken it. */
  withdrawShutdown(domid: number): boolean {
    if (!this.#guests.has(domid)) return false;
    const path = `/local/domain/${domid}/control/shutdown`;
    if (!this.xenstore.read(path)) return false;
    this.xenstore.write(path, "");
    this.#settle();
    return true;
  }

  /** Resolves when the console logs are on the disk as they are now: those of a domain, or all. */
  syncLogs(domid?: number): Promise<void> {
    if (domid === undefined) return this.#logSync.flush();
    const guest = this.#guests.get(domid);
    return guest === undefined ? Promise.resolve() : this.#logSync.flush(this.#logs.folder(guest.uuid));
  }

  /** Does what is left over and what is due. When to call again, ns; 0 if at once, Infinity if only after events. */
  run(): number {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const guest of waiting) this.#serviceStore(guest);
    const now = this.#options.now();
    for (const guest of [...this.#timed]) {
      if (guest.storeAt <= now) this.#serviceStore(guest);
      if (guest.consoleAt <= now) this.#serviceConsole(guest);
      if (guest.noteAt <= now) this.#note(guest, now);
    }
    this.#settle();
    if (this.#waiting.size > 0) return 0;
    let next = this.#logSync.run(now);
    for (const guest of this.#timed) next = Math.min(next, nextOf(guest));
    return next;
  }

  get #rate(): ConsoleRate {
    return this.#options.consoleRate ?? CONSOLE_RATE;
  }

  #factsOf(domain: DomainIntroduction): DomainFacts {
    const wallClock = this.#options.wallClock?.();
    return {
      ...domain,
      ...portsOf(domain),
      image: domain.image,
      startTime: wallClock === undefined ? undefined : wallClock / 1e9,
    };
  }

  #serviceBoth(guest: Guest): void {
    this.#serviceStore(guest);
    this.#serviceConsole(guest);
    this.#settle();
  }

  #serviceStore(guest: Guest): void {
    if (guest.frozen) return;
    const { notify, more } = guest.ring.service();
    this.#dirty.delete(guest);
    if (more) this.#waiting.add(guest);
    if (notify) this.#options.notify(guest.domid, guest.storePort);
    this.#afterStore(guest);
  }

  #serviceConsole(guest: Guest): void {
    if (guest.frozen) return;
    const now = this.#options.now();
    const { notify, again } = guest.console.service(now);
    guest.consoleAt = again;
    if (notify) this.#options.notify(guest.domid, guest.consolePort);
    this.#grown(guest, now);
    const { fault, logFault } = guest.console;
    if (fault !== undefined) this.#report(guest, "warn", `console stopped: ${fault}`);
    if (logFault !== undefined) this.#report(guest, "error", `console output is lost: ${logFault}`);
  }

  /** Tells of new output, now or as soon as the last note is old enough. */
  #grown(guest: Guest, now: number): void {
    if (guest.console.end !== guest.notedEnd) {
      guest.noteAt = guest.notedAt + NOTE_INTERVAL_NS;
      if (guest.noteAt <= now) this.#note(guest, now);
    }
    this.#keepTime(guest);
  }

  #note(guest: Guest, now: number): void {
    guest.noteAt = NEVER;
    guest.notedAt = now;
    guest.notedEnd = guest.console.end;
    this.#keepTime(guest);
    this.#options.onConsole(guest.domid, guest.notedEnd);
  }

  #keepTime(guest: Guest): void {
    if (nextOf(guest) < NEVER) this.#timed.add(guest);
    else this.#timed.delete(guest);
  }

  #drain(guest: Guest): void {
    guest.console.drain();
    if (guest.console.end !== guest.notedEnd) this.#note(guest, this.#options.now());
  }

  /** Tells Domain 0's watches, and carries output to guests, until neither is left. Takes no requests. */
  #settle(): void {
    while (this.xenstore.deliver() || this.#dirty.size > 0) {
      for (const guest of [...this.#dirty]) {
        this.#dirty.delete(guest);
        if (guest.frozen) continue;
        if (guest.ring.deliver()) this.#options.notify(guest.domid, guest.storePort);
        this.#afterStore(guest);
      }
    }
  }

  #afterStore(guest: Guest): void {
    guest.storeAt = guest.connection.hasOutput ? this.#options.now() + REPLY_RETRY_NS : NEVER;
    this.#keepTime(guest);
    const { error, lostEvents } = guest.connection;
    if (error === XENSTORE_ERROR.ringidx)
      this.#report(guest, "warn", "xenstore ring stopped: its indices make no sense");
    if (error === XENSTORE_ERROR.proto) this.#report(guest, "warn", "xenstore ring stopped: a message is too long");
    if (lostEvents > 0) this.#report(guest, "warn", "xenstore events are lost: too many are unread");
  }

  #reportSync(text: string): void {
    if (text === this.#syncFault) return;
    this.#syncFault = text;
    this.#options.log("error", null, `console logs are not synced: ${text}`);
  }

  /** Logs a fault of a guest once. */
  #report(guest: Guest, level: "warn" | "error", text: string): void {
    if (guest.reported.has(text)) return;
    guest.reported.add(text);
    this.#options.log(level, guest.domid, text);
  }
}

/** When something of a guest is due. */
function nextOf({ storeAt, consoleAt, noteAt }: Guest): number {
  return Math.min(storeAt, consoleAt, noteAt);
}

function portsOf(rings: Rings): { storePort: number; consolePort: number } {
  return { storePort: rings.store.port, consolePort: rings.console.port };
}
