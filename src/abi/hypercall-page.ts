/**
 * The hypercall page: 32 bytes for each hypercall number, called by guests as `call hypercall_page + number * 32`.
 *
 * Each slot saves what `syscall` destroys (rcx, r11), puts its number in rax and enters the hypervisor. The slot of iret never
 * returns, so it pushes what the iret_context frame begins with instead.
 */
import { HYPERVISOR, NR_HYPERCALLS, PAGE_SIZE } from "./xen.ts";

export const HYPERCALL_SLOT_BYTES = 32;

const SYSCALL = [0x0f, 0x05];
const PUSH_RCX = [0x51];
const PUSH_R11 = [0x41, 0x53];
const POP_R11 = [0x41, 0x5b];
const POP_RCX = [0x59];
const PUSH_RAX = [0x50];
const RET = [0xc3];
const movEax = (n: number) => [0xb8, n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];

/** The whole page. Bytes no guest should reach are int3. */
export function hypercallPage(): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE).fill(0xcc);
  for (let number = 0; number < NR_HYPERCALLS; number++) {
    const code =
      number === HYPERVISOR.iret
        ? [...PUSH_RCX, ...PUSH_R11, ...PUSH_RAX, ...movEax(number), ...SYSCALL]
        : [...PUSH_RCX, ...PUSH_R11, ...movEax(number), ...SYSCALL, ...POP_R11, ...POP_RCX, ...RET];
    page.set(code, number * HYPERCALL_SLOT_BYTES);
  }
  return page;
}
