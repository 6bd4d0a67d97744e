#!/bin/sh
# Builds the guest: build.sh [OUTPUT].
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../../tools/guests/build-on-demo.sh" "${1:-$here/fuzz.elf}" "$here/fuzz.c" "$here/run-code.S"
