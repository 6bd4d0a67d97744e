/** Ends of streams that the client did not ask for. One that does not read would hold its buffers for ever. */

import type { ServerResponse } from "node:http";
import type { Writable } from "node:stream";

const STALL_MS = 60_000;

const LAST_WORD_MS = 1000;

/** Destroys `stream` when it has bytes to send and none leaves for a minute; `onStall` may still tell it why, a second before. */
export function cutWhenStalled(
  stream: Writable & { socket?: { bytesWritten: number } | null },
  onStall: () => void,
): void {
  let written = -1;
  const timer = setInterval(() => {
    const now = stream.socket?.bytesWritten ?? 0;
    if (stream.writableLength > 0 && now === written) {
      clearInterval(timer);
      onStall();
      setTimeout(() => stream.destroy(), LAST_WORD_MS).unref();
    }
    written = now;
  }, STALL_MS);
  timer.unref();
  stream.once("close", () => clearInterval(timer));
}

/** Ends Server-Sent Events with the reason as the last of them; a second later whether the client has read it or not. */
export function endStream(raw: ServerResponse, why: string): void {
  raw.end(`event: end\ndata: ${JSON.stringify({ detail: why })}\n\n`);
  setTimeout(() => raw.destroy(), 1000).unref();
}
