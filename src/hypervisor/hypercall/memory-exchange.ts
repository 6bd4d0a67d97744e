/** XENMEM_exchange: frames for other frames, contiguous ones as a rule. */
import { Errno } from "../../abi/errno.ts";
import { MemoryExchange } from "../../abi/memory.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { exchangeFrames, MAX_EXTENT_ORDER } from "../mm/reservation.ts";
import { memoryOpDomain } from "./page-owner.ts";
import { Continuation } from "./result.ts";
import type { HypercallHandler } from "./table.ts";

/** Frames exchanged in one go before the call continues later. */
const FRAMES_PER_GO = 4096;

const argument = new Uint8Array(MemoryExchange.size);
const view = new DataView(argument.buffer);

const TWO_64 = 1n << 64n;

/** Frames of all extents, exact: sizes beyond 2^53 are not to match by rounding. */
const frames = ({ nrExtents }: typeof MemoryExchange.input, order: number): bigint =>
  ((BigInt(nrExtents.hi(view, 0) >>> 0) << 32n) | BigInt(nrExtents.lo(view, 0) >>> 0)) << BigInt(order);

/**
 * 0; -EFAULT; -EPERM for extents larger than a domain may have; -EINVAL for sizes that do not match, and frames that are in use or
 * not the caller's; -ENOMEM. `nrExchanged` always says how many input extents were done.
 */
export const memoryExchange: HypercallHandler = (context, args) => {
  const { memory } = context.domain;
  const vcpu = context.vcpu.id;
  memory.refusals.vcpu = vcpu;
  if (!memory.copyFromGuest(vcpu, args.va(1), argument)) return -Errno.EFAULT;
  const { input, output, nrExchanged } = MemoryExchange;
  const inOrder = input.extentOrder.get(view, 0);
  const outOrder = output.extentOrder.get(view, 0);
  if (Math.max(inOrder, outOrder) > MAX_EXTENT_ORDER) return -Errno.EPERM;
  const inExtents = input.nrExtents.number(view, 0);
  const already = nrExchanged.number(view, 0);
  const sizesMatch = frames(input, inOrder) === frames(output, outOrder) && frames(input, inOrder) < TWO_64;
  const domid = input.domid.get(view, 0);
  if (already > inExtents || domid !== output.domid.get(view, 0) || !sizesMatch) return -Errno.EINVAL;
  if (already === inExtents) return 0;
  const inList = input.extentStart.signed(view, 0);
  const outList = output.extentStart.signed(view, 0);
  if (!accessOk(inList) || !accessOk(outList)) return -Errno.EFAULT;
  const owner = memoryOpDomain(context, domid);
  if (owner !== 0) return owner;

  // A chunk is the smallest number of whole extents on either side.
  const inPerChunk = 2 ** Math.max(0, outOrder - inOrder);
  const outPerChunk = 2 ** Math.max(0, inOrder - outOrder);
  if (inExtents % inPerChunk !== 0) return -Errno.EINVAL;
  let rc = 0;
  const first = Math.floor(already / inPerChunk);
  const chunksPerGo = Math.max(1, FRAMES_PER_GO / (inPerChunk * 2 ** inOrder));
  let chunk = first;
  for (; chunk * inPerChunk < inExtents && chunk - first < chunksPerGo; chunk++) {
    rc = exchangeChunk(inList + chunk * inPerChunk * 8, outList + chunk * outPerChunk * 8);
    if (rc !== 0) break;
  }
  const counter = args.va(1) + nrExchanged.offset;
  if (!memory.writeU64(vcpu, counter, chunk * inPerChunk)) return -Errno.EFAULT;
  return rc === 0 && chunk * inPerChunk < inExtents ? new Continuation([]) : rc;

  function exchangeChunk(inVa: number, outVa: number): number {
    const give: number[] = [];
    for (let i = 0; i < inPerChunk; i++) {
      const mfn = memory.readU64(vcpu, inVa + i * 8);
      if (mfn < 0) return -Errno.EFAULT;
      for (let j = 0; j < 1 << inOrder; j++) give.push(mfn + j);
    }
    const taken = exchangeFrames(memory, give, outPerChunk, outOrder);
    if (typeof taken === "number") return taken;
    // From here on frames have changed hands. Those whose pfn cannot be read, or whose place cannot be written, are the caller's all the same.
    let rc = 0;
    for (const [i, mfn] of taken.entries()) {
      const pfn = memory.readU64(vcpu, outVa + i * 8);
      for (let j = 0; pfn >= 0 && j < 1 << outOrder; j++) memory.m2p.set(mfn - memory.map.baseMfn + j, pfn + j);
      if (pfn < 0 || !memory.writeU64(vcpu, outVa + i * 8, mfn)) rc = -Errno.EFAULT;
    }
    return rc;
  }
};
