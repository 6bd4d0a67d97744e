/** /v1/images: uploads, whose body is the file itself, as it comes, whatever its content type says. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { SORTS } from "../../toolstack/lists.ts";
import { IMAGE_KINDS } from "../../toolstack/model.ts";
import { imageView } from "../../toolstack/views.ts";
import { type Shown, sendPage } from "../listing.ts";
import { problemOf } from "../problem.ts";
import { takeAnyBody } from "../raw-body.ts";
import type { RouteContext } from "../route-context.ts";
import { ProjectName } from "../schemas/access.ts";
import { Image, imagePages } from "../schemas/image.ts";
import { cursorQuery, sortQuery } from "../schemas/lists.ts";
import { closed, oneOf, ref, Uuid } from "../schemas/shapes.ts";

const Sha256 = Type.String({ pattern: "^[0-9A-Fa-f]{64}$" });

const SHOWN: Shown<"images"> = { kind: "images", view: imageView, schema: Image };

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
        querystring: closed({
          kind: Type.Optional(oneOf(IMAGE_KINDS)),
          sha256: Type.Optional(Sha256),
          project: Type.Optional(ProjectName),
          sort: sortQuery(SORTS.images),
          ...cursorQuery,
        }),
        response: { 200: imagePages.response },
      },
    },
    (request, reply) => sendPage(toolstack, SHOWN, request, reply, (filter) => filter),
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
          sha256: Type.Optional(Type.Unsafe<string>({ ...Sha256, description: "Refuse other bytes than these." })),
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
