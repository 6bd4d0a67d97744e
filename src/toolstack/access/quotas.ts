/**
 * What the definitions that a token has created may come to.
 *
 * They count to the token that created them whoever changes them later, running or not, for as long as they are there. A change
 * that lowers a sum is taken even where the sum stays above its quota.
 */

import type { DomainRecord } from "../model.ts";
import type { Reader } from "../ports.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { QUOTAS, type Usage } from "./access-ports.ts";

const NONE: Usage = { domains: 0, vcpus: 0, memoryMiB: 0 };

const WORDS = { domains: "domains", vcpus: "vCPUs", memoryMiB: "MiB of memory" } as const;

/** Asked in the change that stores `record`, so that no two of them pass it together. */
export function checkQuota(record: DomainRecord, reader: Reader): Refusal | undefined {
  const token = reader.access.token(record.createdBy);
  if (!token?.quotas) return undefined;
  const stored = reader.domain(record.uuid);
  const before = stored ? weight(stored) : NONE;
  const after = weight(record);
  const usage = reader.access.usage(token.id);
  for (const quota of QUOTAS) {
    const limit = token.quotas[quota];
    const growth = after[quota] - before[quota];
    if (limit === undefined || growth <= 0 || usage[quota] + growth <= limit) continue;
    return refuse(
      "quota-exceeded",
      `Token ${token.name} may have ${limit} ${WORDS[quota]} and has ${usage[quota]}; this would take ${growth} more.`,
      { field: quota, limit },
    );
  }
  return undefined;
}

function weight({ vcpus, maxMemoryMiB }: DomainRecord): Usage {
  return { domains: 1, vcpus, memoryMiB: maxMemoryMiB };
}
