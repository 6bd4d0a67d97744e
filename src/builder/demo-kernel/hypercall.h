/* Hypercalls through the page that the hypervisor fills (ELF note HYPERCALL_PAGE): 32 bytes of code for each number.
 * Arguments in rdi, rsi, rdx, r10, r8; the result in rax, negative errno on failure. The number must be a constant. */
#pragma once
#include "xen-abi.h"

#define HYPERCALL_INLINE static inline __attribute__((always_inline))

HYPERCALL_INLINE long hypercall4(const u32 number, u64 a1, u64 a2, u64 a3, u64 a4) {
  long result;
  register u64 r10 __asm__("r10") = a4;
  __asm__ volatile("call hypercall_page + %c[offset]"
                   : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10)
                   : [offset] "i"(number * 32)
                   : "rcx", "r11", "r8", "memory");
  return result;
}

HYPERCALL_INLINE long hypercall3(const u32 number, u64 a1, u64 a2, u64 a3) {
  long result;
  __asm__ volatile("call hypercall_page + %c[offset]"
                   : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3)
                   : [offset] "i"(number * 32)
                   : "rcx", "r11", "r8", "r10", "memory");
  return result;
}

HYPERCALL_INLINE long hypercall2(const u32 number, u64 a1, u64 a2) { return hypercall3(number, a1, a2, 0); }

HYPERCALL_INLINE long evtchn_op(u32 op, void *arg) { return hypercall2(HC_event_channel_op, op, (u64)arg); }
HYPERCALL_INLINE long xen_version(u32 op, void *arg) { return hypercall2(HC_xen_version, op, (u64)arg); }
HYPERCALL_INLINE long sched_op(u32 op, void *arg) { return hypercall2(HC_sched_op, op, (u64)arg); }
HYPERCALL_INLINE long vcpu_op(u32 op, u32 vcpu, void *arg) { return hypercall3(HC_vcpu_op, op, vcpu, (u64)arg); }
HYPERCALL_INLINE long memory_op(u32 op, void *arg) { return hypercall2(HC_memory_op, op, (u64)arg); }
HYPERCALL_INLINE long update_va_mapping(void *va, u64 pte, u64 flags) {
  return hypercall3(HC_update_va_mapping, (u64)va, pte, flags);
}
HYPERCALL_INLINE long mmu_update(struct mmu_update *requests, u32 count) {
  return hypercall4(HC_mmu_update, (u64)requests, count, 0, DOMID_SELF);
}
HYPERCALL_INLINE long mmuext_op(struct mmuext_op *ops, u32 count) {
  return hypercall4(HC_mmuext_op, (u64)ops, count, 0, DOMID_SELF);
}
