/** Routes whose body is bytes: it is handed over as the request's own stream, unread. */

import type { FastifyInstance } from "fastify";

/** In an encapsulated scope. curl sends application/x-www-form-urlencoded unless told otherwise; it means nothing here. */
export function takeAnyBody(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
}

/** All of a small body; undefined when it is longer than `most` bytes. */
export async function readBody(body: AsyncIterable<Uint8Array> | undefined, most: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > most) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
