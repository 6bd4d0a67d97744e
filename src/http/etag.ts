/** The ETag of a domain is the version of its configuration: what runs has a version of its own and does not change it. */

import { HttpProblem } from "./problem.ts";

export function etagOf(configVersion: number): string {
  return `"${configVersion}"`;
}

/** The test that an If-Match header asks for; undefined when there is none. Weak tags never match. */
export function ifMatch(header: string | undefined): ((version: number) => boolean) | undefined {
  if (header === undefined || header.trim() === "*") return undefined;
  const tags = header.split(",").map((tag) => tag.trim());
  if (!tags.every((tag) => /^(W\/)?"[^"]*"$/.test(tag)))
    throw new HttpProblem("bad-request", 'If-Match takes entity tags, such as "3", or *.', {
      in: "headers",
      field: "if-match",
    });
  return (version) => tags.includes(etagOf(version));
}
