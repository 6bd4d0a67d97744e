/**
 * Lifecycle requests wait for their task, 10 s at most: an end within that is the answer, else 202 with the task's place.
 * `Prefer: respond-async` does not wait; `Prefer: wait=n` waits n seconds, 10 at most.
 */

import type { FastifyReply, FastifyRequest } from "fastify";
import type { TaskRecord } from "../toolstack/model.ts";
import type { Accepted } from "../toolstack/operations/domain-queue.ts";
import { problemOf } from "./problem.ts";

const MOST_WAIT_MS = 10_000;

/** The task when it succeeded in time; undefined when the answer is 202. Throws the problem of a task that failed. */
export async function awaitTask(
  accepted: Accepted,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<TaskRecord | undefined> {
  const ended = await awaitEnd(accepted, request, reply);
  if (ended?.refusal) throw problemOf(ended.refusal);
  return ended;
}

/** The task once it has ended, however it did; undefined when the answer is 202. */
export async function awaitEnd(
  accepted: Accepted,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<TaskRecord | undefined> {
  request.madeTask = accepted.task.id;
  const wait = preferredWait(request.headers.prefer);
  if (wait.applied) reply.header("Preference-Applied", wait.applied);
  const ended = wait.ms === 0 ? undefined : await within(accepted.finished, wait.ms);
  if (!ended) reply.header("Location", `/v1/tasks/${accepted.task.id}`);
  return ended;
}
function preferredWait(header: string | string[] | undefined): { ms: number; applied?: string } {
  const preferences = [header ?? []].flat().join(",").toLowerCase();
  if (/(^|[,;\s])respond-async($|[,;\s])/.test(preferences)) return { ms: 0, applied: "respond-async" };
  const match = /(?:^|[,;\s])wait=(\d{1,9})(?:$|[,;\s])/.exec(preferences);
  if (!match) return { ms: MOST_WAIT_MS };
  return { ms: Math.min(Number(match[1]) * 1000, MOST_WAIT_MS), applied: `wait=${match[1]}` };
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
