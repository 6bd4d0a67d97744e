/**
 * Linear memories for domains, kept by size.
 *
 * WebAssembly cannot give pages of a memory back, and a dropped memory is returned to the system only when every thread that
 * held it has collected garbage. So memories of destroyed domains are scrubbed and kept for the next domain of that size, up
 * to a bound; what goes over it is dropped, oldest first, and the owner is told so that it can have the threads collect. One that
 * is being scrubbed is waited for rather than a new one made, which would have to be dropped in the end.
 * Invariant: a memory is handed out only fresh or scrubbed, never with another domain's bytes.
 */
const PAGE = 65536;

export interface MemoryPoolOptions {
  /** Bytes that scrubbed memories may keep from the system. */
  readonly keepBytes: number;
  /** Zeroes every byte, on a thread of its own. */
  readonly scrub: (memory: WebAssembly.Memory) => Promise<void>;
  /** Memories were dropped: the threads should collect garbage. */
  readonly onDropped: () => void;
}

interface Scrubbing {
  readonly bytes: number;
  /** Who waits for it; called without it when it cannot be had. */
  taker: ((memory: WebAssembly.Memory | undefined) => void) | undefined;
}

export class MemoryPool {
  readonly #options: MemoryPoolOptions;
  /** Oldest first. */
  readonly #kept: WebAssembly.Memory[] = [];
  /** Being zeroed, in order. */
  readonly #scrubbing: Scrubbing[] = [];
  #keptBytes = 0;
  #lent = 0;

  constructor(options: MemoryPoolOptions) {
    this.#options = options;
  }

  /** Bytes of scrubbed memories that wait for a domain of their size. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Bytes in the hands of domains, and of those being scrubbed. */
  get lentBytes(): number {
    return this.#lent;
  }

  /** A zeroed memory of exactly `bytes` (a multiple of 64 KiB), or undefined when the process can map no more. */
  async take(bytes: number): Promise<WebAssembly.Memory | undefined> {
    const at = this.#kept.findIndex((memory) => memory.buffer.byteLength === bytes);
    if (at >= 0) {
      this.#keptBytes -= bytes;
      this.#lent += bytes;
      return this.#kept.splice(at, 1)[0];
    }
    const scrubbing = this.#scrubbing.find((one) => one.bytes === bytes && one.taker === undefined);
    // Until then it counts as lent, and goes on doing so.
    if (!scrubbing) return this.#make(bytes);
    const scrubbed = await new Promise<WebAssembly.Memory | undefined>((resolve) => {
      scrubbing.taker = resolve;
    });
    return scrubbed ?? this.#make(bytes);
  }

  #make(bytes: number): WebAssembly.Memory | undefined {
    try {
      const memory = new WebAssembly.Memory({ initial: bytes / PAGE, maximum: bytes / PAGE, shared: true });
      this.#lent += bytes;
      return memory;
    } catch {
      return undefined;
    }
  }

  /** Takes back a memory that nobody may get again. */
  drop(memory: WebAssembly.Memory): void {
    this.#lent -= memory.buffer.byteLength;
    this.#options.onDropped();
  }

  /** Takes back the memory of a domain that is gone. Resolves when it is scrubbed and kept, or dropped. */
  async give(memory: WebAssembly.Memory): Promise<void> {
    const bytes = memory.buffer.byteLength;
    if (bytes > this.#options.keepBytes) return this.drop(memory);
    const scrubbing: Scrubbing = { bytes, taker: undefined };
    this.#scrubbing.push(scrubbing);
    const zeroed = await this.#options.scrub(memory).then(
      () => true,
      () => false,
    );
    this.#scrubbing.splice(this.#scrubbing.indexOf(scrubbing), 1);
    if (!zeroed) {
      this.drop(memory);
      scrubbing.taker?.(undefined);
      return;
    }
    if (scrubbing.taker) return scrubbing.taker(memory);
    this.#lent -= bytes;
    this.#kept.push(memory);
    this.#keptBytes += bytes;
    let dropped = false;
    while (this.#keptBytes > this.#options.keepBytes) {
      this.#keptBytes -= this.#kept.shift()!.buffer.byteLength;
      dropped = true;
    }
    if (dropped) this.#options.onDropped();
  }
}
