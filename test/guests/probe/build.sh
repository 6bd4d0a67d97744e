#!/bin/sh
# Builds the probe from its sources and the demo kernel's headers, strings and memory: build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
demo=$(cd "$here/../../../src/builder/demo-kernel" && pwd)
out=${1:-$here/probe.elf}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
export LC_ALL=C SOURCE_DATE_EPOCH=0
for source in "$demo/memory.c" "$demo/string.c" "$here"/*.S "$here"/*.c; do
  name=$(basename "$source")
  ${CC:-gcc} -c "$source" -o "$objects/${name%.*}.o" -I"$demo" -I"$here" -std=gnu11 -Os -ffreestanding -fno-builtin -nostdinc \
    -m64 -march=x86-64 -mcmodel=kernel -mgeneral-regs-only -mno-sse -mno-red-zone -fcf-protection=none \
    -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident \
    -fno-strict-aliasing -fno-common -ffunction-sections -ffile-prefix-map="$demo"=. -ffile-prefix-map="$here"=. -Wall -Wextra -Werror
done
${LD:-ld} -m elf_x86_64 -static -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments \
  --gc-sections -T "$demo/link.ld" --strip-all -o "$objects/probe.elf" $(ls "$objects"/*.o | sort)
install -m 644 "$objects/probe.elf" "$out"
