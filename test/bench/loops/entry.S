/* rdi: turns. The result is in rax at the INT3. */
.section .entry, "ax"
  call run
  int3
