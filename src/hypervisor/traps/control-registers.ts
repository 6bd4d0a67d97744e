/** Control registers as a PV guest reads and writes them with `mov`. */
import { PAGE_SHIFT } from "../../abi/xen.ts";
import { Reg } from "../../engine/cpu-state.ts";
import type { Vcpu } from "../vcpu.ts";
import type { Emulated } from "./privileged.ts";

const CR0_TS = 1 << 3;
/** PG, AM, WP, NE, ET, MP, PE. */
const CR0 = 0x8005_0033 | 0;
/** Bits of CR4 that a guest may switch: TSD, DE. */
const CR4_GUEST = (1 << 2) | (1 << 3);
/** And those it always sees: PAE, MCE, OSFXSR, OSXMMEXCPT. */
const CR4_FIXED = (1 << 5) | (1 << 6) | (1 << 9) | (1 << 10);

/** CR0 as the guest sees it. */
const cr0 = (vcpu: Vcpu) => (vcpu.cpu.tsFlag ? CR0 | CR0_TS : CR0);

/** mov reg, crN */
export function readControlRegister(vcpu: Vcpu, n: number, reg: number): Emulated {
  const { cpu } = vcpu;
  switch (n) {
    case 0:
      cpu.set(reg, cr0(vcpu), 0);
      return "done";
    case 2:
      cpu.set(reg, cpu.lo(Reg.cr2), cpu.hi(Reg.cr2));
      return "done";
    case 3:
      cpu.setNumber(reg, cpu.cr3Kernel * (1 << PAGE_SHIFT));
      return "done";
    case 4:
      cpu.set(reg, CR4_FIXED | vcpu.cr4, 0);
      return "done";
    default:
      return "refused";
  }
}

/** mov crN, reg */
export function writeControlRegister(vcpu: Vcpu, n: number, reg: number): Emulated {
  const { cpu, domain } = vcpu;
  switch (n) {
    case 0:
      if (cpu.hi(reg) !== 0 || ((cpu.lo(reg) ^ CR0) & ~CR0_TS) !== 0) return "refused";
      cpu.tsFlag = (cpu.lo(reg) & CR0_TS) !== 0;
      return "done";
    case 2:
      vcpu.setCr2(cpu.number(reg));
      return "done";
    case 3: {
      const mfn = ((cpu.lo(reg) >>> PAGE_SHIFT) | (cpu.hi(reg) << (32 - PAGE_SHIFT))) >>> 0;
      return domain.memory.vcpuTables.setKernelRoot(vcpu.id, mfn) === 0 && domain.memory.types.settle()
        ? "done"
        : "refused";
    }
    case 4:
      vcpu.cr4 = cpu.lo(reg) & CR4_GUEST;
      return "done";
    default:
      return "refused";
  }
}
