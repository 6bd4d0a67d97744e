/** Bitmaps of vCPUs in guest memory, as TLB flushes take them. */
import type { DomainMemory } from "../mm/domain-memory.ts";

/** Calls `each` for every existing vCPU in the bitmap at `va`; false, perhaps half way, when it cannot be read. */
export function forVcpusIn(
  memory: DomainMemory,
  vcpu: number,
  va: number,
  vcpus: number,
  each: (id: number) => void,
): boolean {
  const bits = new Uint8Array(Math.ceil(vcpus / 64) * 8);
  if (!memory.copyFromGuest(vcpu, va, bits)) return false;
  for (let id = 0; id < vcpus; id++) if (((bits[id >> 3]! >> (id & 7)) & 1) !== 0) each(id);
  return true;
}
