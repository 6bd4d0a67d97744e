/**
 * Asks gcc what Xen's headers say: offset and size of every member, value of every constant that src/abi declares.
 * `node test/abi/ask-gcc.ts > test/golden/abi-layouts.json` renews the committed figures.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AnyStruct, constants, layouts, snake } from "./c-names.ts";

export interface Figures {
  /** C type to its size and, by C member path, [offset, size]. */
  readonly structs: Readonly<
    Record<string, { size: number; members: Readonly<Record<string, readonly [number, number]>> }>
  >;
  /** C constant to its value, as signed 64 bits in decimal. */
  readonly constants: Readonly<Record<string, string>>;
}

const SIZES: Readonly<Record<string, number>> = { U8: 1, I8: 1, U16: 2, I16: 2, U32: 4, I32: 4, U64: 8 };

interface ArrayLike {
  readonly offset: number;
  readonly length: number;
  readonly stride?: number;
  at?(i: number): unknown;
}

/** Every member of a layout, as C path, offset and size. */
export function members(
  layout: AnyStruct,
  names: Readonly<Record<string, string | null>> = {},
): [string, number, number][] {
  const found: [string, number, number][] = [];
  const walk = (at: AnyStruct, path: string) => {
    for (const [name, offset] of Object.entries(at.offsets)) {
      const cName = names[name] === undefined ? snake(name) : names[name];
      if (cName !== null) visit((at as unknown as Record<string, unknown>)[name], path + cName, offset);
    }
  };
  const visit = (accessor: unknown, path: string, offset: number) => {
    const kind = (accessor as object).constructor.name;
    if (kind in SIZES) found.push([path, offset, SIZES[kind]]);
    else if (kind === "Bytes") found.push([path, offset, (accessor as ArrayLike).length]);
    else if (kind === "ArrayField") {
      const field = accessor as Required<ArrayLike>;
      found.push([path, offset, field.length * field.stride]);
      const last = field.at(field.length - 1);
      if ("offsets" in (last as object)) walk(last as AnyStruct, `${path}[${field.length - 1}].`);
      else found.push([`${path}[${field.length - 1}]`, (last as ArrayLike).offset, field.stride]);
    } else {
      found.push([path, offset, (accessor as AnyStruct).size]);
      walk(accessor as AnyStruct, `${path}.`);
    }
  };
  walk(layout, "");
  return found;
}

/** Every constant, as the C expression and our value. */
export function values(): [string, number][] {
  return constants.flatMap(([, table, prefix, names]) =>
    Object.entries(table).flatMap(([name, value]): [string, number][] => {
      const cName = names?.[name] === undefined ? snake(name) : names[name];
      return cName === null ? [] : [[prefix + cName, value]];
    }),
  );
}

const HEADERS = [
  "xen.h",
  "event_channel.h",
  "sched.h",
  "vcpu.h",
  "callback.h",
  "nmi.h",
  "features.h",
  "version.h",
  "physdev.h",
  "grant_table.h",
  "memory.h",
  "platform.h",
  "pmu.h",
  "elfnote.h",
  "errno.h",
  "arch-x86/cpuid.h",
  "io/console.h",
  "io/xs_wire.h",
  "io/xenbus.h",
];

/** Whether this machine has gcc and Xen's headers. */
export function canAskGcc(): boolean {
  if (!existsSync("/usr/include/xen/xen.h")) return false;
  try {
    execFileSync("gcc", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Compiles and runs a C program that prints every figure. */
export function askGcc(): Figures {
  const lines = [
    // The toolstack's view: the latest interface version, and sub-operations that guests are refused.
    "#define __XEN_TOOLS__ 1",
    "#include <stddef.h>",
    "#include <stdint.h>",
    "#include <stdio.h>",
    ...HEADERS.map((header) => `#include <xen/${header}>`),
    "int main(void) {",
  ];
  for (const [cType, layout, names] of layouts) {
    lines.push(`printf("S %zu %s\\n", sizeof(${cType}), "${cType}");`);
    for (const [path] of members(layout, names)) {
      lines.push(
        `printf("M %zu %zu %s\\n", offsetof(${cType}, ${path}), sizeof(((${cType} *)0)->${path}), "${path}");`,
      );
    }
  }
  for (const [cName] of values()) lines.push(`printf("C %lld %s\\n", (long long)(${cName}), "${cName}");`);
  lines.push("return 0; }");

  const folder = mkdtempSync(join(tmpdir(), "abi-layouts-"));
  try {
    const source = join(folder, "layouts.c");
    const program = join(folder, "layouts");
    writeFileSync(source, lines.join("\n"));
    execFileSync("gcc", ["-std=gnu11", "-w", "-o", program, source]);
    return parse(execFileSync(program, { encoding: "utf8" }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function parse(output: string): Figures {
  const structs: Record<string, { size: number; members: Record<string, readonly [number, number]> }> = {};
  const found: Record<string, string> = {};
  let current: Record<string, readonly [number, number]> = {};
  for (const line of output.trim().split("\n")) {
    const [kind, first, ...rest] = line.split(" ");
    if (kind === "S") {
      current = {};
      structs[rest.join(" ")] = { size: Number(first), members: current };
    } else if (kind === "M") current[rest.slice(1).join(" ")] = [Number(first), Number(rest[0])];
    else found[rest.join(" ")] = first;
  }
  return { structs, constants: found };
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${JSON.stringify(askGcc(), null, 1)}\n`);
