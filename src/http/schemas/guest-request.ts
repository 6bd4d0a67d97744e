/** What can be asked of a running guest. */

import { Type } from "typebox";
import { LIMITS } from "../../toolstack/config-rules.ts";
import { named } from "./shapes.ts";

export const MemoryTarget = named("MemoryTarget", "The memory that a guest should have.", {
  memoryMiB: Type.Integer({
    minimum: 1,
    maximum: LIMITS.memoryMiB,
    description: "At most the maxMemoryMiB with which the domain was started.",
  }),
});

export const OnlineVcpus = named("OnlineVcpus", "The vCPUs that a guest should use.", {
  online: Type.Integer({
    minimum: 1,
    maximum: LIMITS.vcpus,
    description: "So many, from 0 on; at most the vcpus with which the domain was started.",
  }),
});

export const Sysrq = named("Sysrq", "A key, as Linux knows them.", {
  key: Type.String({
    pattern: "^[!-~]$",
    description: "One character: c crashes, s syncs, b reboots, h lists them all.",
  }),
});

export const guestRequestSchemas = [MemoryTarget, OnlineVcpus, Sysrq];
