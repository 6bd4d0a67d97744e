/**
 * Collects this thread's garbage on demand.
 *
 * A dropped guest memory stays mapped until every thread that saw it has collected; workers that only run guests allocate so
 * little that V8 would not do so for hours.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let gc: (() => void) | undefined;

export function collectGarbage(): void {
  if (!gc) {
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as () => void;
  }
  gc();
}
