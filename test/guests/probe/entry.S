/* Entry, ELF notes, a stub for every vector and callback, and the running of pieces of code. */

  .macro note type:req, kind:req, value:vararg
  .pushsection .note.Xen, "a", @note
  .balign 4
  .long 4, 2f - 1f, \type
  .asciz "Xen"
1:\kind \value
2:.balign 4
  .popsection
  .endm

  note 6,  .asciz, "domzero-probe"    /* GUEST_OS */
  note 5,  .asciz, "xen-3.0"          /* XEN_VERSION */
  note 8,  .asciz, "generic"          /* LOADER */
  note 3,  .quad,  VIRT_BASE          /* VIRT_BASE */
  note 4,  .quad,  0                  /* PADDR_OFFSET */
  note 1,  .quad,  _start             /* ENTRY */
  note 2,  .quad,  hypercall_page     /* HYPERCALL_PAGE */

  .section .text.head, "ax"
  .globl _start
_start:
  cld
  movq $boot_stack_top, %rsp
  xorl %ebp, %ebp
  movq %rsi, %rdi                     /* start_info */
  call kernel_main
  ud2

  .text
  .macro stub name:req, kind:req
  .globl \name
\name:
  pushq $\kind
  jmp entered
  .endm

  .set vector, 0
  .balign 16
trap_stub_0:
  .rept 256
  .balign 16
  pushq $vector
  jmp entered
  .set vector, vector + 1
  .endr
  .balign 16
  stub failsafe_entry, 0x101
  stub syscall_entry, 0x102
  stub syscall32_entry, 0x103
  stub sysenter_entry, 0x104

/* Events and NMIs are counted; what they interrupted goes on, with events masked. */
  .macro counted name:req, counter:req
  .globl \name, \counter
\name:
  incq \counter
  andq $~0x200, 32(%rsp)              /* rcx, r11, rip, cs, rflags */
  popq %rcx
  popq %r11
  pushq %rax
  movq shared, %rax
  movb $0, (%rax)                     /* evtchn_upcall_pending */
  popq %rax
  pushq $0                            /* iret flags */
  jmp hypercall_page + 23 * 32
  .endm
  counted event_entry, upcalls
  counted nmi_entry, nmis

/* Single steps are noted and gone on with, those in `code_page` by where they stopped. */
  .globl step_entry, step_count, step_log
step_entry:
  pushq %rax
  pushq %rdx
  movq 32(%rsp), %rdx                 /* rdx, rax, rcx, r11, rip */
  subq $code_page, %rdx
  cmpq $4096, %rdx
  jae 1f
  movq step_count, %rax
  cmpq $63, %rax
  ja 1f
  movq %rdx, step_log(,%rax,8)
  incq step_count
1:popq %rdx
  popq %rax
  popq %rcx
  popq %r11
  pushq $0
  jmp hypercall_page + 23 * 32

/* All that was pushed, and the registers below it, go to `entered_frame`; nothing returns to where it came from. */
entered:
  pushq %rdi
  pushq %rsi
  pushq %rbp
  pushq %rbx
  pushq %rdx
  pushq %rax
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, %rdi
  cld
  movq $trap_stack_top, %rsp
  call trap_entered
  jmp snippet_over

/* Where another vCPU begins: it notes the registers it finds, and goes down. A trap of its own is noted with the frame it left. */
  .globl secondary_entry, secondary_stubs, secondary, secondary_id
secondary_entry:
  movq %rax, secondary+8
  movq %rcx, secondary+16
  movq %rdx, secondary+24
  movq %rbx, secondary+32
  movq %rsp, secondary+40
  movq %rbp, secondary+48
  movq %rsi, secondary+56
  movq %rdi, secondary+64
  movq %r8, secondary+72
  movq %r15, secondary+128
  movq $secondary_stack_top, %rsp
  pushfq
  popq secondary+136
  movl %cs, %eax
  movq %rax, secondary+144
  movl %ss, %eax
  movq %rax, secondary+152
  movl %ds, %eax
  movq %rax, secondary+160
  movl %es, %eax
  movq %rax, secondary+168
  movl %fs, %eax
  movq %rax, secondary+176
  movl %gs, %eax
  movq %rax, secondary+184
  movq $1, secondary
secondary_ends:
  movl $24, %eax                      /* vcpu_op down */
  movl $2, %edi
  movl secondary_id, %esi
  syscall
  jmp secondary_ends

secondary_trapped:
  popq secondary+8
  movl $10, %ecx
  movq $secondary+16, %rdi
  movq %rsp, %rsi
  cld
  rep movsq
  movq $secondary_stack_top, %rsp
  movq $2, secondary
  jmp secondary_ends

  .set vector, 0
  .balign 16
secondary_stubs:
  .rept 32
  .balign 16
  pushq $vector
  jmp secondary_trapped
  .set vector, vector + 1
  .endr
  .balign 16

/* void snippet_run(u64 address) */
  .globl snippet_run
snippet_run:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, kept_sp
  movq %rdi, snippet_target
  pushq snippet_in+128
  popfq
  movq snippet_in, %rax
  movq snippet_in+8, %rcx
  movq snippet_in+16, %rdx
  movq snippet_in+24, %rbx
  movq snippet_in+32, %rsp
  movq snippet_in+40, %rbp
  movq snippet_in+48, %rsi
  movq snippet_in+56, %rdi
  movq snippet_in+64, %r8
  movq snippet_in+72, %r9
  movq snippet_in+80, %r10
  movq snippet_in+88, %r11
  movq snippet_in+96, %r12
  movq snippet_in+104, %r13
  movq snippet_in+112, %r14
  movq snippet_in+120, %r15
  jmp *snippet_target

/* Where a piece of code ends that was not interrupted. */
  .globl snippet_end
snippet_end:
  movq %rax, snippet_out
  movq %rcx, snippet_out+8
  movq %rdx, snippet_out+16
  movq %rbx, snippet_out+24
  movq %rsp, snippet_out+32
  movq %rbp, snippet_out+40
  movq %rsi, snippet_out+48
  movq %rdi, snippet_out+56
  movq %r8, snippet_out+64
  movq %r9, snippet_out+72
  movq %r10, snippet_out+80
  movq %r11, snippet_out+88
  movq %r12, snippet_out+96
  movq %r13, snippet_out+104
  movq %r14, snippet_out+112
  movq %r15, snippet_out+120
  movq $trap_stack_top, %rsp
  pushfq
  popq snippet_out+128
  movq $0x1000, trap                  /* NO_TRAP */

snippet_over:
  movq kept_sp, %rsp
  pushq $2
  popfq
  movl $0xe02b, %eax
  movl %eax, %ss
  xorl %eax, %eax
  movl %eax, %ds
  movl %eax, %es
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret

/* u64 fault_on_write(u64 *at, u64 value), u64 fault_on_read(const u64 *at, u64 *value): 0, or 1 with `trap`. */
  .globl fault_on_write
fault_on_write:
  movq %rdi, snippet_in+56
  movq %rsi, snippet_in+48
  movq $write_access, %rdi
  jmp access
  .globl fault_on_read
fault_on_read:
  movq %rdi, snippet_in+56
  pushq %rsi
  movq $read_access, %rdi
  call access
  popq %rsi
  movq snippet_out, %rcx
  movq %rcx, (%rsi)
  ret
access:
  movq $snippet_stack_top - 512, snippet_in+32
  movq $2, snippet_in+128
  call snippet_run
  xorl %eax, %eax
  cmpq $0x1000, trap
  setne %al
  ret
write_access:
  movq %rsi, (%rdi)
  jmp snippet_end
read_access:
  movq (%rdi), %rax
  jmp snippet_end

  .globl probe_read
probe_read:
  jmp fault_on_read

  .section .rodata
  .balign 8
  .globl trap_stubs
trap_stubs:
  .quad trap_stub_0

  .section .bss
  .balign 8
  .globl upcalls, nmis
upcalls:        .skip 8
nmis:           .skip 8
secondary_id:   .skip 8
secondary:      .skip 192
step_count:     .skip 8
step_log:       .skip 512
kept_sp:        .skip 8
snippet_target: .skip 8
  .globl snippet_in, snippet_out
snippet_in:     .skip 136
snippet_out:    .skip 136

  .section .pages, "aw", @nobits
  .balign 4096
  .globl hypercall_page, snippet_stack_top, secondary_stack_top, code_page
hypercall_page:
  .skip 4096
boot_stack:
  .skip 16384
boot_stack_top:
secondary_stack:
  .skip 4096
secondary_stack_top:
trap_stack:
  .skip 16384
trap_stack_top:
snippet_stack:
  .skip 8192
snippet_stack_top:
code_page:
  .skip 8192

  .section .note.GNU-stack, "", @progbits
