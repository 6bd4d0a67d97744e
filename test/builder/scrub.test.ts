import { expect, test } from "vitest";
import { scrub } from "../../src/builder/scrub.ts";

test("a scrubbed memory is zero, and only pages that were not are written", () => {
  const buffer = new SharedArrayBuffer(65536 * 5 + 4096);
  const bytes = new Uint8Array(buffer);
  for (const at of [0, 4095, 65536 + 9000, buffer.byteLength - 1]) bytes[at] = 1;
  expect(scrub(buffer)).toBe(3 * 4096);
  expect(bytes.every((byte) => byte === 0)).toBe(true);
  expect(scrub(buffer)).toBe(0);
});
