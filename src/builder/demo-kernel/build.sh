#!/bin/sh
# Builds the demo kernel: build.sh [OUTPUT]. The same gcc and binutils give the same bytes: no build id, no timestamps,
# no paths. compiler.txt names those that made the committed demo.elf; test/guests/demo-kernel.test.ts rebuilds it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/demo.elf}
case $out in /*) ;; *) out=$PWD/$out ;; esac
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
export LC_ALL=C SOURCE_DATE_EPOCH=0
cd "$here"
for source in *.S *.c; do
  ${CC:-gcc} -c "$source" -o "$objects/${source%.*}.o" -std=gnu11 -Os -ffreestanding -fno-builtin -nostdinc \
    -m64 -march=x86-64 -mcmodel=kernel -mgeneral-regs-only -mno-sse -mno-red-zone -fcf-protection=none \
    -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident \
    -fno-strict-aliasing -fno-common -fdebug-prefix-map="$here"=. -ffile-prefix-map="$here"=. -Wall -Wextra -Werror
done
cd "$objects"
${LD:-ld} -m elf_x86_64 -static -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments \
  -T "$here/link.ld" --strip-all -o demo.elf $(ls *.o | sort)
chmod 644 demo.elf
cp demo.elf "$out"
