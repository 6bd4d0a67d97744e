/**
 * Records test/golden/compressed-kernels.json, the test kernel (code-kernel.ts) packed by the tools that Linux's build uses, and
 * compressed-zeros.json, 17 MiB of zeros. Run by hand when the kernel or the list changes:
 *
 *     node tools/guests/record-compressed-kernels.ts
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { codeKernel } from "../../test/builder/code-kernel.ts";

const COMMANDS = [
  "gzip -9 -n",
  "zstd -19",
  "bzip2 -9",
  "bzip2 -1",
  "xz --check=crc32 --x86 --lzma2=dict=1MiB",
  "xz -0 --block-size=4096 --check=crc64",
  "xz --check=sha256 --x86 --lzma2=lc=1,lp=2,pb=0,mf=hc3,mode=fast,dict=4KiB",
  "xz --check=none --lzma2=preset=9e",
  "lzma -9",
  "lz4 -l -9",
  "lz4 -l -1",
];

const pack = (command: string, input: Uint8Array): string => {
  const [program, ...args] = command.split(" ");
  return execFileSync(program, [...args, "-c"], { input }).toString("base64");
};
const record = (name: string, packed: [string, string][]) =>
  writeFileSync(
    new URL(`../../test/golden/${name}.json`, import.meta.url),
    `${JSON.stringify(Object.fromEntries(packed), null, 1)}\n`,
  );

record(
  "compressed-kernels",
  COMMANDS.map((command) => [command, pack(command, codeKernel())]),
);
record(
  "compressed-zeros",
  ["xz", "bzip2", "lzma"].map((program) => [program, pack(`${program} -9`, new Uint8Array(17 << 20))]),
);
