/**
 * EVTCHNOP_init_control and EVTCHNOP_expand_array: the guest names the frames that the FIFO ABI uses. Each is held as writable until
 * the domain goes, or resets its event channels.
 */
import { Errno } from "../../abi/errno.ts";
import { EVTCHN_FIFO, EvtchnExpandArray, EvtchnFifoControlBlock, EvtchnInitControl } from "../../abi/event-channel.ts";
import type { Domain } from "../domain.ts";
import { PageType } from "../mm/frame-table.ts";
import { PAGE_SIZE } from "../mm/memory-map.ts";
import { CONTROL_BLOCK_WORDS, FifoEvents, MAX_ARRAY_PAGES } from "./fifo.ts";

/**
 * IN controlGfn, offset, vcpu; OUT linkBits. The first one switches the domain to the FIFO ABI.
 * -ENOENT: no such vCPU. -EINVAL: not within a frame of the domain, or the vCPU has a control block.
 */
export function initControl(domain: Domain, arg: DataView): number {
  const vcpu = EvtchnInitControl.vcpu.get(arg, 0);
  const offset = EvtchnInitControl.offset.get(arg, 0);
  if (vcpu >= domain.vcpuCount) return -Errno.ENOENT;
  if (offset > PAGE_SIZE - EvtchnFifoControlBlock.size || offset % 8 !== 0) return -Errno.EINVAL;
  const { events } = domain;
  const current = events.abi instanceof FifoEvents ? events.abi : undefined;
  if (current?.hasControlBlock(vcpu)) return -Errno.EINVAL;
  const start = hold(domain, EvtchnInitControl.controlGfn.number(arg, 0));
  if (start < 0) return start;
  const fifo = current ?? new FifoEvents(domain);
  fifo.setControlBlock(vcpu, new Int32Array(domain.memory.buffer, start + offset, CONTROL_BLOCK_WORDS));
  if (current === undefined) {
    // Events that are pending in the 2-level ABI are raised once there is a word for them, whether or not their port has a use.
    for (const channel of events.made()) {
      channel.lost ||= events.abi.isPending(channel.port);
      channel.priority = EVTCHN_FIFO.priorityDefault;
    }
    events.abi = fifo;
  }
  EvtchnInitControl.linkBits.set(arg, 0, EVTCHN_FIFO.linkBits);
  return 0;
}

/** IN arrayGfn. -EOPNOTSUPP: not in the FIFO ABI. -ENOSPC: the array is complete. -EINVAL: not a frame of the domain. */
export function expandArray(domain: Domain, arg: DataView): number {
  const { events } = domain;
  const fifo = events.abi;
  if (!(fifo instanceof FifoEvents)) return -Errno.EOPNOTSUPP;
  if (fifo.arrayPages === MAX_ARRAY_PAGES) return -Errno.ENOSPC;
  const start = hold(domain, EvtchnExpandArray.arrayGfn.number(arg, 0));
  if (start < 0) return start;
  const first = fifo.arrayPages * EVTCHN_FIFO.wordsPerPage;
  fifo.addPage(new Int32Array(domain.memory.buffer, start, EVTCHN_FIFO.wordsPerPage));
  for (const channel of events.made(first, EVTCHN_FIFO.wordsPerPage)) if (channel.lost) fifo.setPending(channel);
  return 0;
}

/** Lets go of every frame of the FIFO ABI. */
export function releaseFifoFrames(domain: Domain): void {
  for (const mfn of domain.fifoFrames) domain.memory.putPageAndType(mfn);
  domain.fifoFrames.length = 0;
}

/** Byte offset of the frame, held as writable; or -EINVAL. */
function hold(domain: Domain, mfn: number): number {
  if (domain.memory.getPageAndType(mfn, PageType.writable) !== 0) return -Errno.EINVAL;
  domain.fifoFrames.push(mfn);
  return domain.memory.hostOffset(mfn);
}
