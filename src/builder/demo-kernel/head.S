/* Entry, ELF notes, upcall and exception entry points. */

#define HC_iret 23

  .macro note type:req, kind:req, value:vararg
  .pushsection .note.Xen, "a", @note
  .balign 4
  .long 4, 2f - 1f, \type
  .asciz "Xen"
1:\kind \value
2:.balign 4
  .popsection
  .endm

  note 6,  .asciz, "domzero-demo"     /* GUEST_OS */
  note 7,  .asciz, "1.0"              /* GUEST_VERSION */
  note 5,  .asciz, "xen-3.0"          /* XEN_VERSION */
  note 8,  .asciz, "generic"          /* LOADER */
  note 3,  .quad,  VIRT_BASE          /* VIRT_BASE */
  note 4,  .quad,  0                  /* PADDR_OFFSET */
  note 1,  .quad,  _start             /* ENTRY */
  note 2,  .quad,  hypercall_page     /* HYPERCALL_PAGE */
  note 14, .long,  1                  /* SUSPEND_CANCEL */

  .section .text.head, "ax"
  .globl _start
_start:
  cld
  movq $boot_stack_top, %rsp
  xorl %ebp, %ebp
  movq %rsi, %rdi                     /* start_info */
  call kernel_main
  ud2

/* Where a secondary vCPU begins, on a stack of its own; rdi as set in its context. */
  .globl secondary_start
secondary_start:
  cld
  xorl %ebp, %ebp
  call secondary_main
  ud2

  .text
/* Xen pushes rcx and r11 on top of the iret frame. What iret (the hypercall) takes back is
 * rax, r11, rcx, flags, rip, cs, rflags, rsp, ss; it sets the event mask from rflags.IF in the same step. */
  .globl event_upcall
event_upcall:
  popq %rcx
  popq %r11
  pushq $0                            /* iret flags */
  pushq %rcx
  pushq %r11
  pushq %rax
  pushq %rdi
  pushq %rsi
  pushq %rdx
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %rbp
  movq %rsp, %rbp
  andq $-16, %rsp
  cld
  call event_dispatch
  movq %rbp, %rsp
  popq %rbp
  popq %r10
  popq %r9
  popq %r8
  popq %rdx
  popq %rsi
  popq %rdi
  popq %rax
  popq %r11
  popq %rcx
  jmp hypercall_page + HC_iret * 32

/* The iret of the hypervisor failed: a segment or an address was bad. We never touch segments, so this is the end. */
  .globl failsafe_upcall
failsafe_upcall:
  popq %rcx
  popq %r11
  addq $32, %rsp                      /* ds, es, fs, gs */
  pushq $0
  pushq $256
  jmp trap_common

  .macro trap vector:req, has_error:req
trap_entry_\vector:
  popq %rcx
  popq %r11
  .if !\has_error
  pushq $0
  .endif
  pushq $\vector
  jmp trap_common
  .endm

  trap 0, 0
  trap 1, 0
  trap 3, 0
  trap 4, 0
  trap 5, 0
  trap 6, 0
  trap 7, 0
  trap 10, 1
  trap 11, 1
  trap 12, 1
  trap 13, 1
  trap 14, 1
  trap 16, 0
  trap 17, 1
  trap 19, 0

trap_common:                          /* stack: vector, error code, rip, cs, rflags, rsp, ss */
  pushq %rdi
  pushq %rsi
  pushq %rdx
  pushq %rcx
  pushq %rax
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, %rdi
  movq %rsp, %rbp
  andq $-16, %rsp
  cld
  call trap_dispatch
  movq %rbp, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rax
  popq %rcx
  popq %rdx
  popq %rsi
  popq %rdi
  addq $16, %rsp
  pushq $0                            /* iret flags */
  jmp hypercall_page + HC_iret * 32

/* int probe_read(const u64 *from, u64 *to), int probe_write(u64 *to, u64 value): one access that may fault.
 * 0, or 1 with the fault recorded in `probe_fault` (trap.c). */
  .globl probe_read
probe_read:
  movq $probe_failed, probe_resume
  movq (%rdi), %rax
  movq $0, probe_resume
  movq %rax, (%rsi)
  xorl %eax, %eax
  ret

  .globl probe_write
probe_write:
  movq $probe_failed, probe_resume
  movq %rsi, (%rdi)
  movq $0, probe_resume
  xorl %eax, %eax
  ret

probe_failed:
  movl $1, %eax
  ret

  .section .rodata
  .balign 8
  .globl trap_entries
trap_entries:                         /* vector, address; closed by a zero address */
  .irp vector, 0, 1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19
  .quad \vector, trap_entry_\vector
  .endr
  .quad 0, 0

  .section .pages, "aw", @nobits
  .balign 4096
  .globl hypercall_page
hypercall_page:
  .skip 4096
boot_stack:
  .skip 16384
boot_stack_top:

  .section .note.GNU-stack, "", @progbits
