/**
 * Typed calls between threads, over anything that can post a message.
 *
 * A call is `{ call, method, args }`, its answer `{ answer, value }` or `{ answer, error }`. `call` 0 wants no answer. Refusals
 * are ordinary values; an `error` means that the other side threw, which is a defect there.
 */

/** The methods that the far side serves. */
// biome-ignore lint/suspicious/noExplicitAny: the constraint has to admit every parameter list
export type Methods<M> = { [K in keyof M]: (...args: any[]) => unknown };
type Args<F> = F extends (...args: infer A) => unknown ? A : never;
type Answer<F> = F extends (...args: never[]) => infer R ? Awaited<R> : never;

interface Call {
  readonly call: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

interface Reply {
  readonly answer: number;
  readonly value?: unknown;
  readonly error?: string;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export function isCall(message: unknown): message is Call {
  return typeof message === "object" && message !== null && "call" in message;
}

export function isReply(message: unknown): message is Reply {
  return typeof message === "object" && message !== null && "answer" in message;
}

/** The calling side. Feed it the replies; `fail` ends every call that still waits. */
export class RpcClient<M extends Methods<M>> {
  readonly #post: (message: unknown) => void;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #dead: Error | undefined;

  constructor(post: (message: unknown) => void) {
    this.#post = post;
  }

  call<K extends keyof M & string>(method: K, ...args: Args<M[K]>): Promise<Answer<M[K]>> {
    if (this.#dead) return Promise.reject(this.#dead);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#post({ call: id, method, args } satisfies Call);
    });
  }

  /** One way: nothing comes back. */
  tell<K extends keyof M & string>(method: K, ...args: Args<M[K]>): void {
    if (!this.#dead) this.#post({ call: 0, method, args } satisfies Call);
  }

  accept(reply: Reply): void {
    const waiting = this.#waiting.get(reply.answer);
    if (!waiting) return;
    this.#waiting.delete(reply.answer);
    if (reply.error === undefined) waiting.resolve(reply.value);
    else waiting.reject(new Error(reply.error));
  }

  fail(error: Error): void {
    this.#dead = error;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}

/** The serving side: runs one call. Synchronous methods are answered before this returns; asynchronous ones when they settle. */
export function serve<M extends Methods<M>>(methods: M, message: Call, post: (reply: unknown) => void): void {
  const answer = (reply: Reply) => {
    if (message.call !== 0) post(reply);
  };
  const failed = (error: unknown) => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    answer({ answer: message.call, error: text });
    if (message.call === 0) throw error;
  };
  try {
    const method = methods[message.method as keyof M] as unknown as ((...args: unknown[]) => unknown) | undefined;
    if (!method) throw new Error(`no method ${message.method}`);
    const value = method.apply(methods, message.args as unknown[]);
    if (value instanceof Promise) {
      value.then((settled) => answer({ answer: message.call, value: settled }), failed);
    } else {
      answer({ answer: message.call, value });
    }
  } catch (error) {
    failed(error);
  }
}
