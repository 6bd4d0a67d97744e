/** /v1/projects: what tokens can be limited to. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { SORTS } from "../../toolstack/lists.ts";
import { projectView } from "../../toolstack/views.ts";
import { type Shown, sendPage } from "../listing.ts";
import { problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { NewProject, Project, ProjectName, projectPages } from "../schemas/access.ts";
import { cursorQuery, namePattern, sortQuery } from "../schemas/lists.ts";
import { closed, ref } from "../schemas/shapes.ts";

const SHOWN: Shown<"projects"> = { kind: "projects", view: projectView, schema: Project };

export async function projectRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { projects } = toolstack;
  const tags = ["access"];

  app.get(
    "/v1/projects",
    {
      config: { role: "viewer", etag: "digest" },
      schema: {
        operationId: "listProjects",
        tags,
        summary: "List the projects that the token sees",
        querystring: closed({
          name: Type.Optional(namePattern),
          text: Type.Optional(
            Type.String({ minLength: 1, maxLength: 128, description: "Part of the name or the description." }),
          ),
          sort: sortQuery(SORTS.projects),
          ...cursorQuery,
        }),
        response: { 200: projectPages.response },
      },
    },
    (request, reply) => sendPage(toolstack, SHOWN, request, reply, (filter) => filter),
  );

  app.post(
    "/v1/projects",
    {
      config: { role: "admin" },
      schema: {
        operationId: "createProject",
        tags,
        summary: "Make a project",
        body: ref(NewProject),
        response: { 201: ref(Project) },
      },
    },
    async (request, reply) => {
      const created = await projects.create(request.body);
      if (!created.ok) throw problemOf(created);
      const { name } = created.value;
      request.object = { id: name, project: name };
      reply.code(201).header("Location", `/v1/projects/${name}`);
      return projectView(created.value);
    },
  );

  app.get(
    "/v1/projects/:project",
    {
      config: { role: "viewer", etag: "digest" },
      schema: {
        operationId: "getProject",
        tags,
        summary: "Look at a project",
        params: closed({ project: ProjectName }),
        response: { 200: ref(Project) },
      },
    },
    async (request) => {
      const found = projects.find(request.params.project);
      if (!found.ok) throw problemOf(found);
      return projectView(found.value);
    },
  );

  app.delete(
    "/v1/projects/:project",
    {
      config: { role: "admin" },
      schema: {
        operationId: "deleteProject",
        tags,
        summary: "Delete a project that is empty",
        description: "No domain or image is in it, and no token names it. Its name is not given again.",
        params: closed({ project: ProjectName }),
        response: { 204: { type: "null", description: "It is gone." } },
      },
    },
    async (request, reply) => {
      const removed = await projects.remove(request.params.project);
      if (!removed.ok) throw problemOf(removed);
      return reply.code(204).send(null);
    },
  );
}
