/** Layouts and numbers of src/abi are those of Xen's public headers: as committed, and as gcc says where it is at hand. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { askGcc, canAskGcc, type Figures, members, values } from "./ask-gcc.ts";
import { layouts } from "./c-names.ts";

const committed = JSON.parse(readFileSync(new URL("../golden/abi-layouts.json", import.meta.url), "utf8")) as Figures;

describe("against the committed figures", () => {
  test.each(layouts.map(([cType, layout, names]) => ({ cType, layout, names })))(
    "$cType has C's size and offsets",
    ({ cType, layout, names }) => {
      const ours = {
        size: layout.size,
        members: Object.fromEntries(members(layout, names).map(([p, o, s]) => [p, [o, s]])),
      };
      expect(ours).toEqual(committed.structs[cType]);
    },
  );

  test("every constant has C's value, and every committed one is declared", () => {
    expect(Object.fromEntries(values().map(([name, value]) => [name, String(value)]))).toEqual(committed.constants);
  });
});

test.runIf(canAskGcc() || process.env.CI)("the committed figures are what gcc says of the installed headers", () => {
  expect(askGcc()).toEqual(committed);
});
