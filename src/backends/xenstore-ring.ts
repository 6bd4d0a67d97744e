/**
 * The xenstore interface page of a guest (xen/io/xs_wire.h, docs/misc/xenstore-ring.txt): carries bytes between the page's two rings
 * and a `Connection`.
 *
 * A broken index or an overlong message ends the connection: the page's error field says why, and nothing is taken until the guest
 * asks to reconnect or a new page is given.
 */
import {
  XENSTORE_CONNECTION,
  XENSTORE_ERROR,
  XENSTORE_RING_SIZE,
  XENSTORE_SERVER_FEATURE,
  XenstoreDomainInterface,
} from "../abi/io-xenstore.ts";
import type { Connection } from "../xenstore/connection.ts";
import { ConsumerRing, HOSTILE, ProducerRing } from "./ring.ts";

/** What one round of service did. */
export interface RingService {
  /** The guest has something to see: send its event. */
  readonly notify: boolean;
  /** Requests were left for the next round. */
  readonly more: boolean;
}

/** Request bytes that one round handles before other domains have their turn. */
const BYTES_A_ROUND = 2 * XENSTORE_RING_SIZE;

const layout = XenstoreDomainInterface.offsets;

export class XenstoreRing {
  readonly #connection: Connection;
  readonly #requests: ConsumerRing;
  readonly #replies: ProducerRing;
  readonly #state: Int32Array;
  readonly #error: Int32Array;
  readonly #chunk = new Uint8Array(XENSTORE_RING_SIZE);
  #reported = XENSTORE_ERROR.none as number;

  /** `page` is the byte offset of the interface page in the guest's memory. */
  constructor(buffer: ArrayBufferLike, page: number, connection: Connection) {
    this.#connection = connection;
    this.#requests = new ConsumerRing(buffer, {
      data: page + layout.req,
      size: XENSTORE_RING_SIZE,
      consumer: page + layout.reqCons,
      producer: page + layout.reqProd,
    });
    this.#replies = new ProducerRing(buffer, {
      data: page + layout.rsp,
      size: XENSTORE_RING_SIZE,
      consumer: page + layout.rspCons,
      producer: page + layout.rspProd,
    });
    this.#state = new Int32Array(buffer, page + layout.connection, 1);
    this.#error = new Int32Array(buffer, page + layout.error, 1);
    const features = new Int32Array(buffer, page + layout.serverFeatures, 1);
    Atomics.store(features, 0, XENSTORE_SERVER_FEATURE.reconnection | XENSTORE_SERVER_FEATURE.error);
    Atomics.store(this.#error, 0, XENSTORE_ERROR.none);
  }

  /** Why the ring is stopped, as an XENSTORE_ERROR. */
  get error(): number {
    return this.#connection.error;
  }

  /** Moves what can be moved, both ways, and handles the requests that arrive. */
  service(): RingService {
    if (Atomics.load(this.#state, 0) === XENSTORE_CONNECTION.reconnect) {
      this.#reconnect();
      return { notify: true, more: false };
    }
    let notify = this.#flush();
    let budget = BYTES_A_ROUND;
    for (let wanted = this.#connection.wanted(); wanted > 0; wanted = this.#connection.wanted()) {
      const available = this.#requests.available();
      if (available === HOSTILE) this.#connection.fail(XENSTORE_ERROR.ringidx);
      if (available <= 0) break;
      if (budget === 0) return { notify, more: true };
      const piece = this.#chunk.subarray(0, Math.min(wanted, available, budget));
      this.#requests.read(piece);
      this.#connection.receive(piece);
      budget -= piece.length;
      this.#flush();
      notify = true;
    }
    return { notify: this.#report() || notify, more: false };
  }

  /** Moves output only. True if the guest has something to see. */
  deliver(): boolean {
    const notify = this.#flush();
    return this.#report() || notify;
  }

  /** Tells the guest why its connection has ended, once. */
  #report(): boolean {
    if (this.#connection.error === this.#reported) return false;
    this.#reported = this.#connection.error;
    Atomics.store(this.#error, 0, this.#reported);
    return true;
  }

  /** Puts output into the ring as far as it fits. */
  #flush(): boolean {
    if (!this.#connection.hasOutput) return false;
    const space = this.#replies.space();
    if (space === HOSTILE) this.#connection.fail(XENSTORE_ERROR.ringidx);
    if (space <= 0) return false;
    const taken = this.#connection.take(this.#chunk.subarray(0, space));
    this.#replies.write(this.#chunk.subarray(0, taken));
    return true;
  }

  /** The guest has asked for a connection as new, and looks at nothing but the state until it is answered. */
  #reconnect(): void {
    this.#connection.reset();
    this.#requests.clear();
    this.#replies.clear();
    this.#reported = XENSTORE_ERROR.none;
    Atomics.store(this.#error, 0, XENSTORE_ERROR.none);
    Atomics.store(this.#state, 0, XENSTORE_CONNECTION.connected);
  }
}
