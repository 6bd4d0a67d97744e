/**
 * Projects: what a token can be limited to. Every domain and image is in one.
 *
 * A project is deleted when it is empty, and its name is never given again: events and tasks of before still bear it, and a new
 * project of that name would inherit them.
 */

import type { Clock, Reader, Store } from "../ports.ts";
import { done, type Refusal, type Result, refuse } from "../refusal.ts";
import { projectView } from "../views.ts";
import type { ProjectRecord } from "./access-ports.ts";
import { type Caller, sees } from "./caller.ts";

export const DEFAULT_PROJECT = "default";
export const PROJECT_PATTERN = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

interface ProjectsOptions {
  readonly store: Store;
  readonly clock: Clock;
}

export class Projects {
  readonly #options: ProjectsOptions;

  constructor(options: ProjectsOptions) {
    this.#options = options;
  }

  find(name: string): Result<ProjectRecord> {
    const project = this.#options.store.access.project(name);
    return project?.deletedAt === null ? done(project) : refuse("project-not-found", `There is no project ${name}.`);
  }

  /** Where something new of the caller's goes: `wanted`, else the default one where it sees that, else its only one. */
  choose(caller: Caller, wanted: string | undefined): Result<string> {
    if (wanted !== undefined) return sees(caller, wanted) ? done(wanted) : unknownProject(wanted);
    if (sees(caller, DEFAULT_PROJECT)) return done(DEFAULT_PROJECT);
    const [only, ...more] = caller.projects;
    if (only !== undefined && more.length === 0) return done(only);
    return refuse("project-unknown", `Say in which project: ${[...caller.projects].join(", ")}.`, { field: "project" });
  }

  create(input: { name: string; description?: string }): Promise<Result<ProjectRecord>> {
    const { store, clock } = this.#options;
    const { name, description = "" } = input;
    return store.commit((writer): Result<ProjectRecord> => {
      const known = writer.access.project(name);
      if (known?.deletedAt === null)
        return refuse("name-taken", `There is a project ${name} already.`, { field: "name" });
      if (known)
        return refuse("name-taken", `There was a project ${name}; its name is not given again.`, { field: "name" });
      const createdAt = clock.now();
      const project: ProjectRecord = { name, description, createdAt, deletedAt: null };
      writer.access.putProject(project);
      const object = JSON.stringify(projectView(project));
      writer.appendEvent({
        time: createdAt,
        class: "project",
        operation: "add",
        reason: "created",
        id: name,
        project: name,
        object,
      });
      return done(project);
    });
  }

  remove(name: string): Promise<Result<ProjectRecord>> {
    const { store, clock } = this.#options;
    return store.commit((writer): Result<ProjectRecord> => {
      const found = this.find(name);
      if (!found.ok) return found;
      if (name === DEFAULT_PROJECT) return refuse("project-in-use", `The project ${name} is always there.`);
      const use = writer.access.projectUse(name);
      const held = Object.entries(use).filter(([, count]) => count > 0);
      if (held.length > 0)
        return refuse(
          "project-in-use",
          `Project ${name} has ${held.map(([what, count]) => `${count} ${what}`).join(", ")}; delete them first.`,
        );
      const time = clock.now();
      writer.access.putProject({ ...found.value, deletedAt: time });
      const object = JSON.stringify(projectView(found.value));
      writer.appendEvent({
        time,
        class: "project",
        operation: "del",
        reason: "deleted",
        id: name,
        project: name,
        object,
      });
      return done(found.value);
    });
  }
}

/** The refusal for an object in a project that is not there, or no more: asked in the change that makes the object. */
export function checkProject(name: string, reader: Reader): Refusal | undefined {
  return reader.access.project(name)?.deletedAt === null ? undefined : unknownProject(name);
}

function unknownProject(name: string): Refusal {
  return refuse("project-unknown", `There is no project ${name}.`, { field: "project" });
}
