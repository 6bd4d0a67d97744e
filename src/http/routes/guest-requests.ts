/** /v1/domains/{domain}/memory-target, /vcpus and /sysrq: what a running guest is asked for through xenstore. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { Domain, domainPath } from "../schemas/domain.ts";
import { MemoryTarget, OnlineVcpus, Sysrq } from "../schemas/guest-request.ts";
import { ref } from "../schemas/shapes.ts";
import { etagHeader, sendDomain } from "./domains.ts";

export async function guestRequestRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { guestRequests } = toolstack;
  const tags = ["domains"];
  const response = { 200: { ...ref(Domain), headers: etagHeader } };
  const asked = "The answer says only that the guest was asked.";

  app.post(
    "/v1/domains/:domain/memory-target",
    {
      config: { role: "operator" },
      schema: {
        operationId: "setMemoryTarget",
        tags,
        summary: "Ask a running guest to balloon",
        description: `By memory/target in xenstore, in both directions; \`runtime.memoryKiB\` shows how far it is. The host keeps maxMemoryMiB for the domain all the while. The configuration stays: the next start is with its memoryMiB. ${asked}`,
        params: domainPath,
        body: ref(MemoryTarget),
        response,
      },
    },
    async (request, reply) => {
      const set = await guestRequests.setMemoryTarget(request.params.domain, request.body.memoryMiB);
      if (!set.ok) throw problemOf(set);
      return sendDomain(toolstack, set.value.uuid, reply);
    },
  );

  app.post(
    "/v1/domains/:domain/vcpus",
    {
      config: { role: "operator" },
      schema: {
        operationId: "setOnlineVcpus",
        tags,
        summary: "Ask a running guest to take vCPUs off or on",
        description: `By cpu/N/availability in xenstore; \`runtime.vcpus\` shows those that are offline. The configuration stays: the next start is with all its vcpus. ${asked}`,
        params: domainPath,
        body: ref(OnlineVcpus),
        response,
      },
    },
    async (request, reply) => {
      const set = await guestRequests.setOnlineVcpus(request.params.domain, request.body.online);
      if (!set.ok) throw problemOf(set);
      return sendDomain(toolstack, set.value.uuid, reply);
    },
  );

  app.post(
    "/v1/domains/:domain/sysrq",
    {
      config: { role: "operator" },
      schema: {
        operationId: "pressSysrq",
        tags,
        summary: "Press a sysrq key in a running guest",
        description: `By control/sysrq in xenstore. Which keys a Linux obeys is its own setting, kernel.sysrq. ${asked}`,
        params: domainPath,
        body: ref(Sysrq),
        response,
      },
    },
    async (request, reply) => {
      const pressed = await guestRequests.sysrq(request.params.domain, request.body.key);
      if (!pressed.ok) throw problemOf(pressed);
      return sendDomain(toolstack, pressed.value.uuid, reply);
    },
  );
}
