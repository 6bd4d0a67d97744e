/**
 * What software floating point costs of a vCPU's budget: it takes as long as hundreds of other instructions, and a guest that does nothing else must
 * not hold its processor for a thousand slices' time. The count of instructions stays exact: what is taken from the budget is taken from the
 * count as well, and comes back when the run is added up. It depends on the instruction alone, so runs stay deterministic.
 */
import { State } from "../layout.ts";

/** In instructions of about 4 ns. */
export const Cost = { control: 20, simple: 100, series: 2500 } as const;

/** Only from functions of their own (cold shapes), which keep the budget in the vCPU's block. */
export function surcharge(u32: Uint32Array, s: number, cost: number): void {
  u32[(s + State.budgetLeft) >> 2] -= cost;
  const at = (s + State.instructions) >> 2;
  const low = u32[at];
  u32[at] = low - cost;
  if (low < cost) u32[at + 1] -= 1;
}
