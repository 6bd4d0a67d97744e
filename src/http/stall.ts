/** Ends connections whose client does not read: they would hold their buffers for ever. */

import type { Writable } from "node:stream";

const STALL_MS = 60_000;

/** Destroys `stream` when it has bytes to send and none leaves for a minute; tells `onStall` first. */
export function cutWhenStalled(
  stream: Writable & { socket?: { bytesWritten: number } | null },
  onStall: () => void,
): void {
  let written = -1;
  const timer = setInterval(() => {
    const now = stream.socket?.bytesWritten ?? 0;
    if (stream.writableLength > 0 && now === written) {
      onStall();
      stream.destroy();
    }
    written = now;
  }, STALL_MS);
  timer.unref();
  stream.once("close", () => clearInterval(timer));
}
