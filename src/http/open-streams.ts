/**
 * What ends a stream before its client does: the service stops, its caller's token ends, or the domain that it is about moves to
 * where the caller does not see it.
 */

import type { FastifyRequest } from "fastify";
import { type Caller, sees } from "../toolstack/access/caller.ts";
import type { EventLog } from "../toolstack/event-log.ts";

/** A sentence for people, for as far as the stream can carry one. */
type Cut = (why: string) => void;

interface OpenStream {
  readonly caller: Caller;
  readonly cut: Cut;
}

interface OpenStreamsOptions {
  readonly events: () => EventLog;
  readonly stopping: AbortSignal;
}

export class OpenStreams {
  readonly #options: OpenStreamsOptions;
  /** Streams about one domain, by its uuid. */
  readonly #byDomain = new Map<string, Set<OpenStream>>();
  #unsubscribe: (() => void) | undefined;

  constructor(options: OpenStreamsOptions) {
    this.#options = options;
  }

  /**
   * `cut` is called once at most, and at once where there is a reason already. Gives what a stream that has ended calls, which it
   * may do more than once.
   */
  add({ caller, object, params }: FastifyRequest, cut: Cut): () => void {
    const { stopping } = this.#options;
    const uuid = object && Object.hasOwn(params as object, "domain") ? object.id : undefined;
    const stream: OpenStream = {
      caller,
      cut: (why) => {
        end();
        cut(why);
      },
    };
    const onStop = () => stream.cut("The service is stopping.");
    const onEnd = () => stream.cut(String(caller.ended.reason));
    const end = () => {
      stopping.removeEventListener("abort", onStop);
      caller.ended.removeEventListener("abort", onEnd);
      if (uuid !== undefined) this.#forget(uuid, stream);
    };
    stopping.addEventListener("abort", onStop, { once: true });
    caller.ended.addEventListener("abort", onEnd, { once: true });
    if (uuid !== undefined) this.#remember(uuid, stream);
    if (stopping.aborted) onStop();
    else if (caller.ended.aborted) onEnd();
    return end;
  }

  #remember(uuid: string, stream: OpenStream): void {
    const streams = this.#byDomain.get(uuid) ?? new Set();
    this.#byDomain.set(uuid, streams.add(stream));
    // One subscription for all of them, and none while there are none.
    this.#unsubscribe ??= this.#options.events().subscribe((events) => {
      for (const { class: kind, id, project } of events) {
        const about = kind === "domain" ? this.#byDomain.get(id) : undefined;
        for (const { caller, cut } of [...(about ?? [])])
          if (!sees(caller, project)) cut("The domain has moved to another project.");
      }
    });
  }

  #forget(uuid: string, stream: OpenStream): void {
    const streams = this.#byDomain.get(uuid);
    streams?.delete(stream);
    if (streams?.size === 0) this.#byDomain.delete(uuid);
    if (this.#byDomain.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }
}
