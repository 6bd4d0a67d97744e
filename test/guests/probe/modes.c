/* Two modes: the kernel's own, and its user mode, which a PV kernel enters by the iret hypercall and leaves by traps and system calls. */
#include "probe.h"

#define NEW_USER_BASEPTR 15
#define USER_END 0xe1 /* the vector by which user mode says that it has come to the end */

extern u8 hypercall_page[];
static PAGES u64 user_root[512];

static long ext(u32 command, u64 frame) {
  struct mmuext_op op = {command, frame, 0};
  return call(HC_mmuext_op, (u64)&op, 1, 0, DOMID_SELF, 0);
}

long user_root_set(bool on) { return ext(NEW_USER_BASEPTR, on ? va_to_mfn(user_root) : 0); }

void user_mode_init(void) {
  user_root[511] = ((u64 *)start_info->pt_base)[511];
  update_va_mapping(user_root, va_to_mfn(user_root) * PAGE_SIZE | (DATA & ~PTE_RW), UVMF_INVLPG);
  long result = user_root_set(true);
  if (result) say("user page tables: %s\n", result_text(result));
}

/* The hypercall page's own code takes rcx, r11 and rax along. */
void iret_at(u64 at) {
  u8 code[] = {0xff, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  u64 to = (u64)hypercall_page + 32 * HC_iret;
  memcpy(code + 6, &to, 8);
  snippet_in.rsp = at;
  execute(code, sizeof code);
}

void iret_from(const struct iret_frame *frame) {
  struct iret_frame *at = (struct iret_frame *)SNIPPET_STACK;
  *at = *frame;
  iret_at((u64)at);
}

void execute_user(const u8 *code, u64 length) {
  static const u8 end[] = {0xcd, USER_END};
  struct iret_frame frame = {0, (u64)far_code, USER_CS, snippet_in.rflags, snippet_in.rsp ? snippet_in.rsp : SNIPPET_STACK, USER_SS};
  struct trap_info gate[] = {{.vector = USER_END, .flags = 4 | 3, .cs = FLAT_KERNEL_CS, .address = trap_stubs + USER_END * 16}, {.address = 0}};
  call(HC_set_trap_table, (u64)gate, 0, 0, 0, 0);
  memcpy(far_code, code, length);
  memcpy(far_code + length, end, sizeof end);
  snippet_in.rflags &= ~0x100UL; /* TF is for the code, not for the way to it */
  iret_from(&frame);
  if (trap.vector == USER_END && trap.rip == (u64)far_code + length + sizeof end) trap.vector = NO_TRAP;
}
