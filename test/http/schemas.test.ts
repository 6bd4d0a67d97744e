/** The serializer drops fields that a schema does not name: here the values that handlers make are held against the schemas. */

import { expect, test } from "vitest";
import { PROBLEMS } from "../../src/http/problem-types.ts";
import { DomainSummary } from "../../src/http/schemas/domain.ts";
import { Image } from "../../src/http/schemas/image.ts";
import { Task } from "../../src/http/schemas/task.ts";
import type { DomainRecord, ImageRecord, TaskRecord } from "../../src/toolstack/model.ts";
import { REFUSAL_CODES } from "../../src/toolstack/refusal.ts";
import { domainView, imageView, taskView } from "../../src/toolstack/views.ts";

const domain: DomainRecord = {
  uuid: "u",
  name: "n",
  description: "",
  kernel: "k",
  ramdisk: null,
  cmdline: "",
  memoryMiB: 1,
  maxMemoryMiB: 1,
  vcpus: 1,
  cpuWeight: 256,
  cpuCap: 0,
  cpuAffinity: [1],
  onCrash: "destroy",
  onHostCrash: "off",
  stopPriority: 0,
  configVersion: 1,
  state: "halted",
  runtimeVersion: 1,
  domid: null,
  bootEpoch: null,
  startedAt: null,
  createdAt: 0,
  createdBy: "root",
  project: "default",
  changedAt: 0,
  lastStop: null,
  lastCrash: null,
};
const image: ImageRecord = {
  id: "i",
  kind: "kernel",
  sha256: "",
  size: 1,
  createdAt: 0,
  inspection: null,
  project: "default",
};
const task: TaskRecord = {
  id: "t",
  operation: "start",
  domain: "u",
  state: "queued",
  step: null,
  stepsDone: 0,
  stepsTotal: 1,
  createdAt: 0,
  startedAt: null,
  finishedAt: null,
  result: null,
  refusal: null,
  project: "default",
};

test.each([
  ["a domain", domainView(domain), DomainSummary],
  ["an image", imageView(image), Image],
  ["a task", taskView(task), Task],
])("the schema of %s names every field of its view", (_what, view, schema) => {
  expect(Object.keys(schema.properties).sort()).toEqual(Object.keys(view).sort());
});

test("every refusal has a status and a title", () => {
  for (const code of REFUSAL_CODES) {
    expect(PROBLEMS[code].status).toBeGreaterThanOrEqual(400);
    expect(PROBLEMS[code].title.length).toBeGreaterThan(5);
  }
});
