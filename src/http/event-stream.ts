/** A listener by Server-Sent Events. The last event that it gets is `gone`, `slow` or `end`, where there is a reason that it can be told. */

import type { ServerResponse } from "node:http";
import type { PublishedEvent } from "../toolstack/event-log.ts";
import { EventFeed, type FeedOptions } from "./event-feed.ts";

/** As they are sent: made once for all listeners. */
const frames = new WeakMap<PublishedEvent, Buffer>();

function frameOf(event: PublishedEvent): Buffer {
  const made = frames.get(event) ?? Buffer.from(`id: ${event.token}\nevent: ${event.class}\ndata: ${event.json}\n\n`);
  frames.set(event, made);
  return made;
}

/** For a response whose head is written. */
export function streamEvents(raw: ServerResponse, options: Omit<FeedOptions, "sink">): EventFeed {
  raw.write(`retry: 1000\nid: ${options.from.token}\n\n`);
  let corked = false;
  const uncork = () => {
    corked = false;
    raw.uncork();
  };
  const feed: EventFeed = new EventFeed({
    ...options,
    sink: {
      send(event) {
        if (raw.destroyed || raw.writableEnded) return false;
        if (!corked) {
          // All of a tick in one piece.
          corked = true;
          raw.cork();
          process.nextTick(uncork);
        }
        return raw.write(frameOf(event));
      },
      ping(token) {
        if (!raw.writableEnded) raw.write(`id: ${token}\nevent: ping\ndata: {}\n\n`);
      },
      end(why, detail, token) {
        raw.end(`event: ${why}\ndata: ${JSON.stringify({ detail, token })}\n\n`);
        setTimeout(() => raw.destroy(), 1000).unref();
      },
    },
  });
  raw.on("drain", () => feed.drained());
  raw.once("close", () => feed.close());
  return feed;
}
