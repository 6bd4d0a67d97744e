/** /v1/images: uploads, whose body is the file itself, as it comes, whatever its content type says. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { sightOf } from "../../toolstack/access/caller.ts";
import { IMAGE_KINDS } from "../../toolstack/model.ts";
import { imageView } from "../../toolstack/views.ts";
import { problemOf } from "../problem.ts";
import { takeAnyBody } from "../raw-body.ts";
import type { RouteContext } from "../route-context.ts";
import { ProjectName } from "../schemas/access.ts";
import { Image, ImagePage } from "../schemas/image.ts";
import { closed, oneOf, pageQuery, ref, Uuid } from "../schemas/shapes.ts";

export async function imageRoutes(plain: FastifyInstance, { toolstack, streams }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { images } = toolstack;
  takeAnyBody(plain);

  app.get(
    "/v1/images",
    {
      config: { role: "viewer", etag: "digest" },
      schema: {
        operationId: "listImages",
        tags: ["images"],
        summary: "List images",
        querystring: closed(pageQuery),
        response: { 200: ref(ImagePage) },
      },
    },
    async (request) => {
      const { items, next } = images.list({ ...request.query, ...sightOf(request.caller) });
      return { items: items.map(imageView), next: next ?? null };
    },
  );

  app.post(
    "/v1/images",
    {
      config: { role: "operator", bytes: true },
      schema: {
        operationId: "uploadImage",
        tags: ["images"],
        summary: "Upload an image",
        description:
          "The body is the file. In one project the same bytes give the same image: 201 the first time, then 200.",
        querystring: closed({
          kind: oneOf(IMAGE_KINDS),
          project: Type.Optional(ProjectName),
          sha256: Type.Optional(
            Type.String({ pattern: "^[0-9A-Fa-f]{64}$", description: "Refuse other bytes than these." }),
          ),
        }),
        response: { 200: ref(Image), 201: ref(Image) },
      },
    },
    async (request, reply) => {
      const { kind, sha256, project: wanted } = request.query;
      const project = toolstack.projects.choose(request.caller, wanted);
      if (!project.ok) throw problemOf(project);
      const body = (request.body ?? []) as AsyncIterable<Uint8Array>;
      const ended = streams.add(request, () => request.raw.destroy());
      const uploaded = await images.upload(body, project.value, kind, sha256).finally(ended);
      if (!uploaded.ok) throw problemOf(uploaded);
      const { image, fresh } = uploaded.value;
      request.object = { id: image.id, project: image.project };
      reply.code(fresh ? 201 : 200).header("Location", `/v1/images/${image.id}`);
      return imageView(image);
    },
  );

  app.get(
    "/v1/images/:image",
    {
      config: { role: "viewer", etag: "digest" },
      schema: {
        operationId: "getImage",
        tags: ["images"],
        summary: "Look at an image",
        params: closed({ image: Uuid }),
        response: { 200: ref(Image) },
      },
    },
    async (request) => {
      const found = images.find(request.params.image);
      if (!found.ok) throw problemOf(found);
      return imageView(found.value);
    },
  );

  app.delete(
    "/v1/images/:image",
    {
      config: { role: "operator" },
      schema: {
        operationId: "deleteImage",
        tags: ["images"],
        summary: "Delete an image that no domain refers to",
        params: closed({ image: Uuid }),
        response: { 204: { type: "null", description: "It is gone." } },
      },
    },
    async (request, reply) => {
      const removed = await images.remove(request.params.image);
      if (!removed.ok) throw problemOf(removed);
      return reply.code(204).send(null);
    },
  );
}
