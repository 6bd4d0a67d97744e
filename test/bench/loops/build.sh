#!/bin/sh
# Builds the committed guest loops; needs gcc. Kernel-like code: no SSE.
set -e
cd "$(dirname "$0")"
for name in crc sieve qsort memcpy heap; do
  gcc -O2 -static -nostdlib -fno-pic -no-pie -mgeneral-regs-only -fno-asynchronous-unwind-tables -fno-stack-protector -fcf-protection=none -fno-tree-loop-distribute-patterns \
    -Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments -T loop.ld entry.S "$name.c" -o "/tmp/$name.elf"
  objcopy -O binary -j .text -j .rodata -j .data "/tmp/$name.elf" "$name.bin"
done
