/** A listener by WebSocket: each message is one event, the same JSON as everywhere; the close code says why there are no more. */

import type { WebSocket } from "ws";
import { EventFeed, type FeedOptions } from "./event-feed.ts";

export const EVENTS_CLOSE = { goingAway: 1001, tokenEnded: 4003, slow: 4008, gone: 4010 } as const;

/** Bytes on their way to one listener. */
const MOST_BUFFERED = 256 * 1024;

export function socketEvents(socket: WebSocket, options: Omit<FeedOptions, "sink">): EventFeed {
  const feed: EventFeed = new EventFeed({
    ...options,
    sink: {
      send(event) {
        if (socket.readyState !== socket.OPEN) return false;
        socket.send(event.json, () => {
          if (socket.bufferedAmount === 0) feed.drained();
        });
        return socket.bufferedAmount < MOST_BUFFERED;
      },
      ping: () => socket.ping(),
      end: (why, _detail, token) => endSocket(socket, EVENTS_CLOSE[why], `${why}; since=${token}`),
    },
  });
  socket.on("close", () => feed.close());
  socket.on("error", () => socket.terminate());
  // Nothing is to be said to an event log.
  socket.on("message", () => undefined);
  return feed;
}

/** One that does not read does not see the reason either; a second later it is cut all the same. */
export function endSocket(socket: WebSocket, code: number, why: string): void {
  // A control frame carries 123 bytes of reason.
  socket.close(code, Buffer.from(why).subarray(0, 123).toString());
  setTimeout(() => socket.terminate(), 1000).unref();
}
