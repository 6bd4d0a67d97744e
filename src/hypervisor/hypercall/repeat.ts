/** A hypercall that is made again: rip goes back to the `syscall`, with other arguments in the registers. */
import { Reg } from "../../engine/cpu-state.ts";
import type { Vcpu } from "../vcpu.ts";

/** Bytes of the `syscall` instruction. */
const SYSCALL_LENGTH = 2;
/** Where the arguments of a hypercall are. */
export const ARGUMENT_REGISTERS = [Reg.rdi, Reg.rsi, Reg.rdx, Reg.r10, Reg.r8, Reg.r9] as const;

/** The `syscall` is to be executed again, with these arguments. rax still holds the number. */
export function repeatCall(vcpu: Vcpu, args: readonly number[]): void {
  const { cpu } = vcpu;
  for (let i = 0; i < args.length; i++) cpu.setNumber(ARGUMENT_REGISTERS[i]!, args[i]!);
  cpu.setNumber(Reg.rip, cpu.va(Reg.rip) - SYSCALL_LENGTH);
}
