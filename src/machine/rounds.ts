/**
 * Notifications that need not be sent twice: what bounds a mailbox that a guest can write to as fast as it runs.
 *
 * A reader works in rounds: it takes every message that waits, begins the round, and only then acts upon what it took. So a notification that
 * was sent since the last round began is still ahead of its reader, and the same one again would tell nothing new. A sender keeps what it
 * sent in this round: never more than one message for each port lies in a line, or two while a round begins.
 *
 * Both sides count on a word that they share, by read-modify-write, which is a full barrier: what a sender wrote before it found the
 * round unchanged is seen by the reader that acts after it has begun the next one.
 */
export class Rounds {
  readonly #word: Int32Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    this.#word = new Int32Array(buffer);
  }

  get buffer(): SharedArrayBuffer {
    return this.#word.buffer as SharedArrayBuffer;
  }

  /** The reader has taken what waited, and acts upon it now. */
  begin(): void {
    Atomics.add(this.#word, 0, 1);
  }

  /** The number of the round, after everything that this thread has written. */
  current(): number {
    return Atomics.or(this.#word, 0, 0);
  }
}

const PORTS = 2 ** 17;

/** The sending side of one line. */
export class OncePerRound {
  readonly #rounds: Rounds;
  readonly #sent = new Set<number>();
  #round = -1;

  constructor(rounds: SharedArrayBuffer) {
    this.#rounds = new Rounds(rounds);
  }

  /** Whether a port's notification has to be sent: no, when the reader has yet to act upon one that was. */
  due(domid: number, port: number): boolean {
    const round = this.#rounds.current();
    if (round !== this.#round) {
      this.#sent.clear();
      this.#round = round;
    }
    const key = domid * PORTS + port;
    if (this.#sent.has(key)) return false;
    this.#sent.add(key);
    return true;
  }
}
