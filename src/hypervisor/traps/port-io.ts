/**
 * Port I/O of a domain without devices. Whether a port may be touched at all is the I/O privilege level's and the I/O bitmap's
 * business; what is there is a PIT, the address registers of PCI configuration and CMOS, which remember what was written, and nothing else: reads are all ones.
 */
import { Reg } from "../../engine/cpu-state.ts";
import type { Vcpu } from "../vcpu.ts";
import { emulationEnds, portBreakpoints } from "./debug-registers.ts";
import { injectPageFault, PF } from "./inject.ts";
import { type Emulated, ioplAllows, type Privileged, sizeOf } from "./privileged.ts";

const TRAP_FLAG = 0x100;
const PCI_ADDRESS = 0xcf8;
const CMOS_INDEX = 0x70;
/** Iterations of a rep ins or outs in one go. */
const MOST_REPEATS = 1024;

const isPit = (port: number) => port === 0x42 || port === 0x43 || port === 0x61;

/** The value of a port, `bytes` wide; undefined when the vCPU may not read it. */
export function readPort(vcpu: Vcpu, port: number, bytes: 1 | 2 | 4): number | undefined {
  if (!permitted(vcpu, port, bytes)) return undefined;
  const { ports } = vcpu.domain;
  if (port === PCI_ADDRESS && bytes === 4) return ports.pciAddress;
  let value = 0;
  for (let i = 0; i < bytes; i++) {
    let byte = 0xff;
    if (isPit(port + i)) byte = ports.pit.read(port + i, vcpu.shard.now());
    else if (port + i === CMOS_INDEX) byte = ports.cmosIndex;
    value |= byte << (8 * i);
  }
  return value;
}

/** False when the vCPU may not write the port. */
export function writePort(vcpu: Vcpu, port: number, bytes: 1 | 2 | 4, value: number): boolean {
  if (!permitted(vcpu, port, bytes)) return false;
  const { ports } = vcpu.domain;
  if (port === PCI_ADDRESS && bytes === 4) {
    ports.pciAddress = value;
    return true;
  }
  for (let i = 0; i < bytes; i++) {
    const byte = (value >> (8 * i)) & 0xff;
    if (isPit(port + i)) ports.pit.write(port + i, byte, vcpu.shard.now());
    else if (port + i === CMOS_INDEX) ports.cmosIndex = byte;
  }
  return true;
}

/** ins and outs, repeated or not. A count that is not finished leaves rip where it is. */
export function stringIo(vcpu: Vcpu, insn: Privileged): Emulated {
  const { cpu, domain } = vcpu;
  const bytes = sizeOf(insn);
  const port = cpu.lo(Reg.rdx) & 0xffff;
  if (!permitted(vcpu, port, bytes)) return "refused";
  const isInput = insn.opcode < 0x6e;
  const pointer = isInput ? Reg.rdi : Reg.rsi;
  const step = (cpu.rflags & 0x400) !== 0 ? -bytes : bytes;
  const data = new Uint8Array(bytes);
  const view = new DataView(data.buffer);
  for (let done = 0; ; done++) {
    if (insn.repeat && isZero(vcpu, Reg.rcx, insn.address32)) return "done";
    // The rest comes with the next #GP at the same rip.
    if (done === MOST_REPEATS) return "elsewhere";
    const va = insn.address32 ? cpu.lo(pointer) >>> 0 : cpu.va(pointer);
    if (isInput) {
      const value = readPort(vcpu, port, bytes)!;
      for (let i = 0; i < bytes; i++) data[i] = value >> (8 * i);
      if (!domain.memory.copyToGuest(vcpu.id, va, data)) return faultAt(vcpu, va, PF.write);
    } else {
      if (!domain.memory.copyFromGuest(vcpu.id, va, data)) return faultAt(vcpu, va, 0);
      writePort(
        vcpu,
        port,
        bytes,
        bytes === 4 ? view.getInt32(0, true) : bytes === 2 ? view.getUint16(0, true) : data[0]!,
      );
    }
    advance(vcpu, pointer, step, insn.address32);
    if (!insn.repeat) return "done";
    advance(vcpu, Reg.rcx, -1, insn.address32);
    // Who steps, or watches the port, sees every iteration.
    const hits = portBreakpoints(vcpu, port, bytes);
    if ((hits !== 0 || (cpu.rflags & TRAP_FLAG) !== 0) && !isZero(vcpu, Reg.rcx, insn.address32)) {
      emulationEnds(vcpu, hits);
      return "elsewhere";
    }
  }
}

const isZero = ({ cpu }: Vcpu, reg: number, address32: boolean): boolean =>
  cpu.lo(reg) === 0 && (address32 || cpu.hi(reg) === 0);

function advance(vcpu: Vcpu, reg: number, by: number, address32: boolean): void {
  const { cpu } = vcpu;
  if (address32) cpu.set(reg, cpu.lo(reg) + by, 0);
  else {
    const lo = (cpu.lo(reg) >>> 0) + by;
    cpu.set(reg, lo | 0, cpu.hi(reg) + Math.floor(lo / 0x1_0000_0000));
  }
}

function faultAt(vcpu: Vcpu, va: number, access: number): Emulated {
  if (Number.isNaN(va)) return "refused";
  injectPageFault(vcpu, va, access);
  return "elsewhere";
}

/** By privilege level, else by the bitmap that PHYSDEVOP_set_iobitmap named: a clear bit permits. */
function permitted(vcpu: Vcpu, port: number, bytes: number): boolean {
  if (ioplAllows(vcpu)) return true;
  if (port + bytes > vcpu.ioBitmapPorts) return false;
  const mask = new Uint8Array(2);
  // Both bytes or none, as a single access reads them.
  if (!vcpu.domain.memory.copyFromGuest(vcpu.id, vcpu.ioBitmap + (port >> 3), mask)) return false;
  return (((mask[0]! | (mask[1]! << 8)) >> (port & 7)) & ((1 << bytes) - 1)) === 0;
}
