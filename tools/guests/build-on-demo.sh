#!/bin/sh
# Builds a test guest from its own sources and the demo kernel's parts: build-on-demo.sh OUTPUT SOURCE... The same tools give the same bytes.
set -eu
demo=$(cd "$(dirname "$0")/../../src/builder/demo-kernel" && pwd)
out=$1
shift
here=$(cd "$(dirname "$1")" && pwd)
objects=$(mktemp -d)
export LC_ALL=C SOURCE_DATE_EPOCH=0
for source in head.S console.c event.c memory.c string.c suspend.c time.c trap.c xenstore.c "$@"; do
  name=$(basename "$source")
  case $source in /*) path=$source ;; *) path=$demo/$source ;; esac
  ${CC:-gcc} -c "$path" -o "$objects/${name%.*}.o" -I"$demo" -std=gnu11 -Os -ffreestanding -fno-builtin -nostdinc \
    -m64 -march=x86-64 -mcmodel=kernel -mgeneral-regs-only -mno-sse -mno-red-zone -fcf-protection=none \
    -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident \
    -fno-strict-aliasing -fno-common -ffile-prefix-map="$demo"=. -ffile-prefix-map="$here"=. -Wall -Wextra -Werror
done
${LD:-ld} -m elf_x86_64 -static -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments \
  --gc-sections -T "$demo/link.ld" --strip-all -o "$objects/guest.elf" "$objects"/*.o
install -m 644 "$objects/guest.elf" "$out"
rm -r "$objects"
