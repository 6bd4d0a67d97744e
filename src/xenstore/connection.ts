/**
 * One client of xenstore, as a state machine over bytes: requests go in, replies and watch events come out.
 *
 * It never takes more than the message at hand needs, so what it holds is bounded: one partial request, a few unread replies
 * (then it takes no further request until the client reads), and a bounded set of different unread watch events.
 * Every well-formed request is answered. A message longer than the protocol allows ends the connection.
 */
import { Errno } from "../abi/errno.ts";
import { XENSTORE_ERROR, XS } from "../abi/io-xenstore.ts";
import { byteString } from "./byte-string.ts";
import { homeOf, type Path, parsePath } from "./path.ts";
import { REQUESTS, type Requester } from "./requests.ts";
import type { Store } from "./store.ts";
import type { Transaction } from "./transaction.ts";
import { SPECIAL_PATHS, type Watch, type WatchOwner } from "./watches.ts";
import { decodeHeader, encodeMessage, errorName, HEADER_BYTES, type Header, PAYLOAD_MAX, withNuls } from "./wire.ts";

/** A message on its way out; `event` identifies a watch event among the unread ones. */
interface Outgoing {
  readonly bytes: Uint8Array;
  readonly event: string | undefined;
}

export class Connection implements WatchOwner, Requester {
  readonly domid: number;
  readonly store: Store;
  /** Called when there is output where there was none. */
  readonly #onOutput: () => void;
  readonly #watches = new Map<string, Watch>();
  readonly #transactions = new Map<number, Transaction>();
  #lastTransaction = 0;
  /** Made by the request at hand; it is armed after the reply, so that the reply comes before its first event. */
  #newWatch: Watch | undefined;

  readonly #buffer = new Uint8Array(HEADER_BYTES + PAYLOAD_MAX);
  #filled = 0;
  #header: Header | undefined;

  #output: Outgoing[] = [];
  /** Messages at the front of `#output` that are gone already, and bytes of the next. */
  #sent = 0;
  #sentBytes = 0;
  #unreadReplies = 0;
  readonly #unreadEvents = new Set<string>();
  #lostEvents = 0;
  #error: number = XENSTORE_ERROR.none;

  constructor(store: Store, domid: number, onOutput: () => void = () => {}) {
    this.store = store;
    this.domid = domid;
    this.#onOutput = onOutput;
  }

  /** XENSTORE_ERROR; once it is not `none`, the connection takes and gives nothing until `reset`. */
  get error(): number {
    return this.#error;
  }

  /** Watch events that were dropped because too many were unread. */
  get lostEvents(): number {
    return this.#lostEvents;
  }

  /** How many bytes to bring next; 0 while the client has replies to read first, or the connection has failed. */
  wanted(): number {
    if (this.#error !== XENSTORE_ERROR.none || this.#unreadReplies >= this.store.quotas.replies) return 0;
    return HEADER_BYTES + (this.#header?.len ?? 0) - this.#filled;
  }

  /** Takes request bytes, at most `wanted()`, and handles the request they complete. */
  receive(bytes: Uint8Array): void {
    if (bytes.length > this.wanted()) throw new RangeError(`${bytes.length} bytes given, ${this.wanted()} wanted`);
    this.#buffer.set(bytes, this.#filled);
    this.#filled += bytes.length;
    if (this.#header === undefined) {
      if (this.#filled < HEADER_BYTES) return;
      this.#header = decodeHeader(this.#buffer);
      if (this.#header.len > PAYLOAD_MAX) {
        this.fail(XENSTORE_ERROR.proto);
        return;
      }
    }
    const header = this.#header;
    if (this.#filled < HEADER_BYTES + header.len) return;
    const payload = byteString(this.#buffer.subarray(HEADER_BYTES, this.#filled));
    this.#header = undefined;
    this.#filled = 0;
    this.#answer(header, payload);
  }

  get hasOutput(): boolean {
    return this.#output.length > 0;
  }

  /** Moves output into `target`; how many bytes. */
  take(target: Uint8Array): number {
    let taken = 0;
    while (taken < target.length && this.#sent < this.#output.length) {
      const { bytes, event } = this.#output[this.#sent];
      if (this.#sentBytes === 0 && event !== undefined) this.#unreadEvents.delete(event);
      const some = Math.min(target.length - taken, bytes.length - this.#sentBytes);
      target.set(bytes.subarray(this.#sentBytes, this.#sentBytes + some), taken);
      taken += some;
      this.#sentBytes += some;
      if (this.#sentBytes < bytes.length) break;
      if (event === undefined) this.#unreadReplies--;
      this.#sent++;
      this.#sentBytes = 0;
    }
    if (this.#sent === this.#output.length) {
      this.#output = [];
      this.#sent = 0;
    } else if (this.#sent >= 64) {
      this.#output.splice(0, this.#sent);
      this.#sent = 0;
    }
    return taken;
  }

  /** Ends the connection with an XENSTORE_ERROR: its watches, transactions and unread messages are gone. */
  fail(error: number): void {
    this.reset();
    this.#error = error;
  }

  /** As a new connection: no watches, transactions, partial requests, output or error. */
  reset(): void {
    this.resetWatches();
    this.#filled = 0;
    this.#header = undefined;
    this.#output = [];
    this.#sent = 0;
    this.#sentBytes = 0;
    this.#unreadReplies = 0;
    this.#unreadEvents.clear();
    this.#error = XENSTORE_ERROR.none;
  }

  watchEvent(path: string, token: string): void {
    const payload = withNuls([path, token]);
    if (payload.length > PAYLOAD_MAX) return;
    // The client has not read the same event yet, so it has not acted on it either.
    if (this.#unreadEvents.has(payload)) return;
    if (this.domid !== 0 && this.#unreadEvents.size >= this.store.quotas.events) {
      this.#lostEvents++;
      return;
    }
    this.#unreadEvents.add(payload);
    this.#send(encodeMessage(XS.watchEvent, 0, 0, payload), payload);
  }

  parse(path: string): Path | number {
    return parsePath(path, homeOf(this.domid), this.store.quotas.pathBytes);
  }

  watch(text: string, token: string): number {
    const path = SPECIAL_PATHS.get(text) ?? this.parse(text);
    if (typeof path === "number") return path;
    const key = withNuls([path.text, token]);
    if (this.#watches.has(key)) return -Errno.EEXIST;
    if (this.domid !== 0 && this.#watches.size >= this.store.quotas.watches) return -Errno.E2BIG;
    const relative = !text.startsWith("/") && !text.startsWith("@");
    this.#newWatch = { owner: this, path, token, cut: relative ? homeOf(this.domid).length + 1 : 0 };
    this.#watches.set(key, this.#newWatch);
    return 0;
  }

  unwatch(text: string, token: string): number {
    const path = SPECIAL_PATHS.get(text) ?? this.parse(text);
    if (typeof path === "number") return path;
    const key = withNuls([path.text, token]);
    const watch = this.#watches.get(key);
    if (watch === undefined) return -Errno.ENOENT;
    this.#watches.delete(key);
    this.store.unwatch(watch);
    return 0;
  }

  /** Drops all watches and transactions. */
  resetWatches(): void {
    for (const watch of this.#watches.values()) this.store.unwatch(watch);
    this.#watches.clear();
    this.#transactions.clear();
  }

  startTransaction(): number {
    if (this.domid !== 0 && this.#transactions.size >= this.store.quotas.transactions) return -Errno.ENOSPC;
    do this.#lastTransaction = (this.#lastTransaction % 0xffff_ffff) + 1;
    while (this.#transactions.has(this.#lastTransaction));
    this.#transactions.set(this.#lastTransaction, this.store.begin(this.domid, true));
    return this.#lastTransaction;
  }

  endTransaction(txId: number, commit: boolean): number {
    const transaction = this.#transactions.get(txId);
    if (transaction === undefined) return -Errno.ENOENT;
    this.#transactions.delete(txId);
    return commit ? this.store.commit(transaction) : 0;
  }

  #answer({ type, reqId, txId }: Header, payload: string): void {
    let result = this.#perform(type, txId, payload);
    if (typeof result === "string" && result.length > PAYLOAD_MAX) result = -Errno.E2BIG;
    this.#unreadReplies++;
    if (typeof result === "string") this.#send(encodeMessage(type, reqId, txId, result), undefined);
    else this.#send(encodeMessage(XS.error, reqId, txId, withNuls([errorName(result)])), undefined);
    const watch = this.#newWatch;
    this.#newWatch = undefined;
    if (watch !== undefined) this.store.watch(watch);
  }

  #perform(type: number, txId: number, payload: string): string | number {
    const row = REQUESTS.get(type);
    if (row === undefined) return -Errno.ENOSYS;
    if (row.privileged && this.domid !== 0) return -Errno.EACCES;
    if (row.handler === undefined) return -Errno.ENOSYS;
    const inside = txId !== 0 && !row.outside;
    const transaction = inside ? this.#transactions.get(txId) : this.store.begin(this.domid, false);
    if (transaction === undefined) return -Errno.ENOENT;
    const result = row.handler({ requester: this, txId: inside ? txId : 0, transaction, payload });
    if (inside || typeof result === "number") return result;
    const committed = this.store.commit(transaction);
    return committed < 0 ? committed : result;
  }

  #send(bytes: Uint8Array, event: string | undefined): void {
    this.#output.push({ bytes, event });
    if (this.#output.length - this.#sent === 1) this.#onOutput();
  }
}
