/**
 * Puts a WebAssembly module together: types, imports, functions, one function table, exports, code.
 *
 * Imports come first in the function index space, so all are declared before the first function. A function may be declared before its body is
 * known, so bodies can call each other in any order.
 */
import { type Emitter, type Fn, pushU32, type ValType } from "./emitter.ts";

interface FunctionEntry {
  name: string;
  type: number;
  params: readonly ValType[];
  body: Uint8Array | undefined;
}

export class ModuleBuilder {
  readonly #types: { key: string; params: readonly ValType[]; results: readonly ValType[] }[] = [];
  readonly #imports: { module: string; name: string; type: number }[] = [];
  readonly #functions: FunctionEntry[] = [];
  readonly #exports: { name: string; index: number }[] = [];
  readonly #table: Fn[] = [];
  readonly #memory: { module: string; name: string; min: number; max: number };

  /** @param memory the one imported shared memory; sizes in pages of 64 KiB */
  constructor(memory: { module: string; name: string; min: number; max: number }) {
    this.#memory = memory;
  }

  typeIndex(params: readonly ValType[], results: readonly ValType[]): number {
    const key = `${params.join()}:${results.join()}`;
    const found = this.#types.findIndex((t) => t.key === key);
    if (found >= 0) return found;
    return this.#types.push({ key, params, results }) - 1;
  }
  import(module: string, name: string, params: readonly ValType[], results: readonly ValType[]): Fn {
    return { index: this.#imports.push({ module, name, type: this.typeIndex(params, results) }) - 1 };
  }
  declare(name: string, params: readonly ValType[], results: readonly ValType[]): Fn {
    const entry = { name, type: this.typeIndex(params, results), params, body: undefined };
    return { index: this.#imports.length + this.#functions.push(entry) - 1 };
  }
  /** Emits the body of a declared function. */
  define(fn: Fn, e: Emitter, body: () => void): void {
    const entry = this.#functions[fn.index - this.#imports.length] as FunctionEntry;
    e.begin(entry.params);
    body();
    entry.body = e.finish();
  }
  export(name: string, fn: Fn): void {
    this.#exports.push({ name, index: fn.index });
  }
  /** Appends to the function table; returns the place. */
  addToTable(fn: Fn): number {
    return this.#table.push(fn) - 1;
  }
  /** Name of a function by its index in the module, for validation errors. */
  nameOf(index: number): string {
    return this.#functions[index - this.#imports.length]?.name ?? this.#imports[index]?.name ?? "?";
  }
  /** Body sizes by name, for the bench and for watching the interpreter's size. */
  sizes(): { name: string; bytes: number }[] {
    return this.#functions.map((f) => ({ name: f.name, bytes: f.body?.length ?? 0 }));
  }

  build(): Uint8Array<ArrayBuffer> {
    const chunks: Uint8Array[] = [];
    const section = (id: number, body: number[] | Uint8Array): void => {
      const head = [id];
      pushU32(head, body.length);
      chunks.push(Uint8Array.from(head), body instanceof Uint8Array ? body : Uint8Array.from(body));
    };
    chunks.push(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    const types: number[] = [];
    pushU32(types, this.#types.length);
    for (const t of this.#types) {
      types.push(0x60);
      pushU32(types, t.params.length);
      types.push(...t.params);
      pushU32(types, t.results.length);
      types.push(...t.results);
    }
    section(1, types);
    const imports: number[] = [];
    pushU32(imports, this.#imports.length + 1);
    for (const i of this.#imports) {
      pushName(imports, i.module);
      pushName(imports, i.name);
      imports.push(0);
      pushU32(imports, i.type);
    }
    pushName(imports, this.#memory.module);
    pushName(imports, this.#memory.name);
    imports.push(2, 3);
    pushU32(imports, this.#memory.min);
    pushU32(imports, this.#memory.max);
    section(2, imports);
    const functions: number[] = [];
    pushU32(functions, this.#functions.length);
    for (const f of this.#functions) pushU32(functions, f.type);
    section(3, functions);
    const table = [1, 0x70, 1];
    pushU32(table, this.#table.length);
    pushU32(table, this.#table.length);
    section(4, table);
    const exports: number[] = [];
    pushU32(exports, this.#exports.length);
    for (const x of this.#exports) {
      pushName(exports, x.name);
      exports.push(0);
      pushU32(exports, x.index);
    }
    section(7, exports);
    const elements = [1, 0, 0x41, 0, 0x0b];
    pushU32(elements, this.#table.length);
    for (const fn of this.#table) pushU32(elements, fn.index);
    section(9, elements);
    const count: number[] = [];
    pushU32(count, this.#functions.length);
    let bytes = count.length;
    for (const f of this.#functions) bytes += f.body?.length ?? 0;
    const code = new Uint8Array(bytes);
    code.set(count);
    let at = count.length;
    for (const f of this.#functions) {
      if (f.body === undefined) throw new Error(`function ${f.name} was declared but has no body`);
      code.set(f.body, at);
      at += f.body.length;
    }
    section(10, code);
    let total = 0;
    for (const c of chunks) total += c.length;
    const module = new Uint8Array(total);
    let to = 0;
    for (const c of chunks) {
      module.set(c, to);
      to += c.length;
    }
    return module;
  }
}

function pushName(into: number[], name: string): void {
  const bytes = new TextEncoder().encode(name);
  pushU32(into, bytes.length);
  into.push(...bytes);
}
