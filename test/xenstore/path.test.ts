import { describe, expect, test } from "vitest";
import { Errno } from "../../src/abi/errno.ts";
import { parsePath } from "../../src/xenstore/path.ts";

const parsed = (text: string) => {
  const path = parsePath(text, "/local/domain/5");
  return typeof path === "number" ? path : path.text;
};

describe("a path", () => {
  const good: [string, string, string][] = [
    ["the root is a path", "/", "/"],
    ["an absolute path stands for itself", "/vm/a-b_c@1/X9", "/vm/a-b_c@1/X9"],
    ["a relative path stands under the caller's home", "device/vbd", "/local/domain/5/device/vbd"],
    ["an @ may stand anywhere but in front", "/a/@b", "/a/@b"],
    ["a relative path of 2048 bytes is the longest", "a".repeat(2048), `/local/domain/5/${"a".repeat(2048)}`],
    [
      "what is below a domain's home may be 2048 bytes",
      `/local/domain/12345/${"b".repeat(2048)}`,
      `/local/domain/12345/${"b".repeat(2048)}`,
    ],
  ];
  test.each(good)("%s", (_, text, expected) => {
    expect(parsed(text)).toBe(expected);
  });

  const bad: [string, string][] = [
    ["the empty path is refused", ""],
    ["a doubled slash is refused", "/a//b"],
    ["a doubled slash in front is refused", "//"],
    ["a trailing slash is refused", "/a/"],
    ["a trailing slash of a relative path is refused", "a/"],
    ["a space is refused", "/a b"],
    ["a dot is refused", "/a/../b"],
    ["a NUL is refused", "/a\0b"],
    ["a newline at the end is refused", "/a\n"],
    ["a byte above 127 is refused", "/caf\xe9"],
    ["a name in front with @ is refused", "@introduceDomain2"],
    ["a relative path of 2049 bytes is refused", "a".repeat(2049)],
    ["an absolute path elsewhere of 2049 bytes is refused", `/${"a".repeat(2048)}`],
    ["no path is longer than 3072 bytes", `/${"a/".repeat(1536)}a`],
  ];
  test.each(bad)("%s", (_, text) => {
    expect(parsed(text)).toBe(-Errno.EINVAL);
  });
});
