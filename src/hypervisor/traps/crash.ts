/** The end of a domain by its own doing: everything that a person needs to see why is kept. */
import { SHUTDOWN } from "../../abi/sched.ts";
import { Reg, SegmentRegister } from "../../engine/cpu-state.ts";
import { hex } from "../hypercall/hex.ts";
import type { CrashState } from "../shard-host.ts";
import type { Vcpu } from "../vcpu.ts";

const GENERAL = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
] as const;
const SEGMENTS = ["es", "cs", "ss", "ds", "fs", "gs"] as const;
const STACK_WORDS = 32;

/** Shuts the domain down as crashed, with the state of the vCPU that did it. */
export function crashDomain(vcpu: Vcpu, reason: string): void {
  const { domain } = vcpu;
  if (domain.crash === null) {
    domain.crash = crashState(vcpu, reason);
    domain.log("error", `crashed: ${reason}; vCPU ${vcpu.id} at rip ${domain.crash.registers.rip}`);
  }
  domain.shutdown(SHUTDOWN.crash);
}

export function crashState(vcpu: Vcpu, reason: string): CrashState {
  const { cpu } = vcpu;
  const registers: Record<string, string> = {
    rip: hex(cpu.lo(Reg.rip), cpu.hi(Reg.rip)),
    rflags: hex(cpu.rflags, 0),
  };
  for (const name of GENERAL) registers[name] = hex(cpu.lo(Reg[name]), cpu.hi(Reg[name]));
  for (const name of SEGMENTS) registers[name] = hex(cpu.selector(SegmentRegister[name]), 0);
  registers.fsBase = hex(cpu.lo(Reg.fsBase), cpu.hi(Reg.fsBase));
  registers.gsBaseKernel = hex(...cpu.gsBaseKernel);
  registers.gsBaseUser = hex(...cpu.gsBaseUser);
  registers.cr2 = hex(cpu.lo(Reg.cr2), cpu.hi(Reg.cr2));
  registers.cr3Kernel = hex(cpu.cr3Kernel, 0);
  registers.cr3User = hex(cpu.cr3User, 0);
  registers.kernelMode = hex(cpu.kernelMode, 0);
  return { reason, vcpu: vcpu.id, registers, stack: stackWords(vcpu) };
}

function stackWords(vcpu: Vcpu): string[] {
  const words: string[] = [];
  const sp = vcpu.cpu.va(Reg.rsp);
  if (Number.isNaN(sp)) return words;
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < STACK_WORDS && vcpu.domain.memory.copyFromGuest(vcpu.id, sp + i * 8, bytes); i++) {
    words.push(hex(view.getInt32(0, true), view.getInt32(4, true)));
  }
  return words;
}
