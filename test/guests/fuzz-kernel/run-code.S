/* u64 run_code(rax, rcx, rdx, rsi, rdi): runs code_page with these registers until it traps, whatever it does to them and to the stack
 * pointer's memory. Answers rax as it was left. */
  .text
  .globl run_code
run_code:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, saved_rsp
  subq $4096, %rsp
  movq %rdi, %rax
  movq %rcx, %r9
  movq %rsi, %rcx
  movq %r9, %rsi
  movq %r8, %rdi
  movq $code_ended, probe_resume
  jmp code_page
code_ended:
  movq saved_rsp, %rsp
  cld
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret

  .bss
  .balign 8
saved_rsp:
  .skip 8
  .section .note.GNU-stack, "", @progbits
