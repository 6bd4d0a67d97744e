/** Wishes of single rows: states in which they do more than fault or do nothing. */

import { type Draft, drawTarget, putBytes, putNumber, Reg } from "./draft.ts";
import { drawDouble, drawFx, drawSingle, Fx } from "./fx-image.ts";
import { CODE_VA } from "./layout.ts";
import type { Random } from "./random.ts";

const bitsOf = (bytes: number) => BigInt(bytes * 8);
const low = (value: bigint, bytes: number) => BigInt.asUintN(bytes * 8, value);

export function tune(state: Draft): void {
  for (const [names, act] of tunings) if (names.test(state.name)) act(state);
  if (state.repeat !== "none") tuneRepeat(state);
  if (state.fx) tuneFloating(state, state.fx);
}

const tunings: readonly (readonly [RegExp, (state: Draft) => void])[] = [
  [/^i?div$/, tuneDivision],
  [/^bt[src]?$/, tuneBitOffset],
  [/^cmpxchg$/, tuneCompareExchange],
  [/^cmpxchg(8|16)b$/, tuneWideCompareExchange],
  [/^(sh[lr]d?|sal|sar|ro[lr]|rc[lr])$/, tuneCount],
  [/^(call|jmp)/, tuneIndirect],
  [/^ret/, (state) => putAtStack(state, codePointer(state), 8)],
  [/^popf/, (state) => putAtStack(state, BigInt(state.random.u32()) & 0x3f_ffffn & ~(1n << 16n), 8)],
  [/^iret/, tuneInterruptReturn],
  [/^(leave|enter)/, tuneFrame],
  [
    /^maskmov/,
    (state) => {
      // Bytes beyond 4 GiB are each cut to 32 bits on their own by some processors: as wide as what stays off it.
      if (state.random.chance(90)) state.gpr[Reg.rdi] = drawTarget(state, state.addr32, 10);
    },
  ],
  [/^fxrstor/, tuneRestore],
  [/^(ldmxcsr|fldcw)$/, tuneControl],
  [/^(movseg|lar|lsl|verr|verw)$/, tuneSelectorOperand],
  [/^pop[fg]s$/, (state) => putAtStack(state, drawSelector(state.random), 8)],
  [/^(callf|jmpf|l[fgs]s)$/, tuneFarPointer],
  [
    /^retf$/,
    (state) => {
      // Aligned: processors read two bytes of the CS slot or all of it, which would show across a page's border.
      const rsp = state.gpr[Reg.rsp] & ~15n;
      state.gpr[Reg.rsp] = rsp;
      putNumber(state, rsp, codePointer(state), state.size);
      putNumber(state, rsp + BigInt(state.size), drawCodeSelector(state.random), state.size);
    },
  ],
  [
    /^(loop|j.?cxz)/,
    (state) => {
      if (state.random.chance(60))
        state.gpr[Reg.rcx] = BigInt.asUintN(64, BigInt(state.random.below(3)) | (BigInt(state.random.below(2)) << 32n));
    },
  ],
  [
    /^xlat/,
    (state) => {
      if (state.random.chance(90))
        state.gpr[Reg.rbx] = BigInt.asUintN(64, drawTarget(state, state.addr32, 1) - (state.gpr[Reg.rax] & 0xffn));
    },
  ],
];

function putAtStack(state: Draft, value: bigint, bytes: number): void {
  putNumber(state, state.gpr[Reg.rsp], value, bytes);
}

function codePointer(state: Draft): bigint {
  const { random } = state;
  return random.chance(80) ? BigInt(CODE_VA + random.below(8192)) : random.edge64();
}

/** Quotients on both sides of overflow, with divisors of every length. */
function tuneDivision(state: Draft): void {
  const { random, gpr, size, name, target, rmField } = state;
  if (random.chance(20)) return;
  const signed = name === "idiv";
  const bits = bitsOf(size);
  const number = () => (signed ? BigInt.asIntN(Number(bits), random.edge64()) : low(random.edge64(), size));
  const divisor = number() || 3n;
  const magnitude = divisor < 0n ? -divisor : divisor;
  const remainder = BigInt.asUintN(64, random.bits64()) % magnitude;
  const quotient = number();
  const dividend = BigInt.asUintN(
    Number(bits) * 2,
    quotient * divisor + (quotient * divisor < 0n ? -remainder : remainder),
  );
  if (size === 1) gpr[Reg.rax] = (gpr[Reg.rax] & ~0xffffn) | dividend;
  else {
    const put = (register: number, value: bigint) => {
      gpr[register] = size === 8 ? value : (gpr[register] & ~((1n << bits) - 1n)) | value;
    };
    if (state.pinned.has(Reg.rax) || state.pinned.has(Reg.rdx)) return;
    put(Reg.rax, low(dividend, size));
    put(Reg.rdx, low(dividend >> bits, size));
  }
  if (target !== null) putNumber(state, target, BigInt.asUintN(64, divisor), size);
  else if (rmField > 2 || (rmField === 1 && size !== 1)) gpr[rmField] = BigInt.asUintN(64, divisor);
}

function tuneBitOffset(state: Draft): void {
  const { random, gpr, regField, size, pinned, row } = state;
  if (!row.operands.includes("Gv") || pinned.has(regField)) return;
  const kind = random.below(10);
  if (kind < 6) gpr[regField] = BigInt(random.below(size * 8));
  else if (kind < 9) gpr[regField] = BigInt.asUintN(64, BigInt(random.between(-20_000, 20_000)));
}

function tuneCompareExchange(state: Draft): void {
  const { random, gpr, size, target, rmField, pinned } = state;
  if (pinned.has(Reg.rax) || random.chance(40)) return;
  if (target !== null) putNumber(state, target, gpr[Reg.rax], size);
  else if (rmField >= 0 && size > 1) gpr[Reg.rax] = gpr[rmField];
}

function tuneWideCompareExchange(state: Draft): void {
  const { random, gpr, target, name } = state;
  if (target === null || random.chance(35)) return;
  const half = name === "cmpxchg16b" ? 8 : 4;
  putNumber(state, target, gpr[Reg.rax], half);
  putNumber(state, target + BigInt(half), gpr[Reg.rdx], half);
}

function tuneCount(state: Draft): void {
  const { random, gpr, pinned } = state;
  const count = random.chance(25) ? 1n : random.chance(10) ? 0n : BigInt(random.between(0, 68));
  if (state.row.operands.includes("Ib")) state.immediate = count;
  else if (!pinned.has(Reg.rcx)) gpr[Reg.rcx] = (gpr[Reg.rcx] & ~0xffn) | count;
}

function tuneIndirect(state: Draft): void {
  const { target, rmField, gpr, row } = state;
  if (!row.operands.some((operand) => operand.startsWith("E"))) return;
  if (target !== null) putNumber(state, target, codePointer(state), 8);
  else if (rmField >= 0 && rmField !== Reg.rsp) gpr[rmField] = codePointer(state);
}

/** Same-privilege frames: RIP CS RFLAGS RSP SS. Not AC: Linux lets it raise alignment faults, and Xen PV guests of ours do not. */
function tuneInterruptReturn(state: Draft): void {
  const { random, gpr, size } = state;
  const rsp = gpr[Reg.rsp];
  const flags = BigInt(random.u32()) & 0x20_0ed5n;
  // One reason to fault at a time: their order is the processor's own affair.
  const badSelectors = random.chance(15);
  const selectors = badSelectors
    ? random.pick([
        [0x2bn, 0x2bn],
        [0x33n, 0x33n],
      ])
    : [0x33n, 0x2bn];
  const pointer = badSelectors ? BigInt(CODE_VA + random.below(8192)) : codePointer(state);
  const frame = [pointer, selectors[0], flags | 2n, random.edge64(), selectors[1]];
  for (const [i, value] of frame.entries()) putNumber(state, rsp + BigInt(i * size), value, size);
}

/** Linux's GDT entries that are the same everywhere, absent ones, LDT selectors, with every RPL. */
function drawSelector(random: Random): bigint {
  if (random.chance(40)) return random.pick([0n, 3n, 0x2bn, 0x2bn, 0x33n]);
  const entry = random.pick([0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 7, 12, 13, 14, 16, 20, 8191]);
  return BigInt((entry << 3) | (random.chance(15) ? 4 : 0) | (random.chance(60) ? 3 : random.below(4)));
}

/** Never a 32-bit code segment: the engine refuses those on purpose. */
function drawCodeSelector(random: Random): bigint {
  if (random.chance(75)) return 0x33n;
  const selector = drawSelector(random);
  return selector >> 2n === 8n ? 0x2bn : selector;
}

function tuneSelectorOperand(state: Draft): void {
  const { random, gpr, target, rmField, row } = state;
  if (row.opcode === 0x8c && row.map === 0) return;
  const selector = drawSelector(random);
  if (target !== null) putNumber(state, target, selector, 2);
  else if (rmField >= 0) gpr[rmField] = (gpr[rmField] & ~0xffffn) | selector;
}

function tuneFarPointer(state: Draft): void {
  if (state.target === null) return;
  // A far call to an address that is not canonical faults after its pushes on some processors: not asked.
  const canonical = (pointer: bigint) =>
    pointer >> 47n === 0n || pointer >> 47n === 0x1_ffffn ? pointer : BigInt(CODE_VA);
  const pointer = codePointer(state);
  const width = Math.min(state.size, 4);
  putNumber(state, state.target, state.name === "callf" ? canonical(pointer) : pointer, width);
  putNumber(
    state,
    state.target + BigInt(width),
    /^l/.test(state.name) ? drawSelector(state.random) : drawCodeSelector(state.random),
    2,
  );
}

function tuneFrame(state: Draft): void {
  const { random, gpr } = state;
  gpr[Reg.rbp] = BigInt.asUintN(64, drawTarget(state, false, 8) + 8n);
  if (state.name === "enter" && random.chance(70)) state.immediate = BigInt(random.below(600));
}

/** Short counts, and memory with runs of equal elements so that comparisons go on for a while. */
function tuneRepeat(state: Draft): void {
  const { random, gpr, size, row } = state;
  const garbage = state.addr32 && random.chance(50) ? BigInt(random.u32()) << 32n : 0n;
  gpr[Reg.rcx] = BigInt(random.chance(10) ? 0 : random.between(1, 24)) | garbage;
  if (!/^(cmps|scas)/.test(row.name)) return;
  const element = low(gpr[Reg.rax], size);
  const step = state.rflags & 0x400 ? -size : size;
  const address = (register: number) => (state.addr32 ? low(gpr[register], 4) : gpr[register]);
  for (let i = 0; i < 12; i++) {
    const value = random.chance(85) ? element : random.edge64();
    const at = BigInt(i * step);
    if (row.name.startsWith("cmps"))
      putNumber(state, address(Reg.rsi) + at, random.chance(90) ? value : random.edge64(), size);
    putNumber(state, address(Reg.rdi) + at, value, size);
  }
}

/** Control words other than the initial ones, flags that stick, and now and then exceptions that are not masked. */
function tuneFloating(state: Draft, image: Uint8Array): void {
  const { random, row } = state;
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const unmasked = random.chance(8);
  if (unmasked || random.chance(30)) {
    // Precision control 01 is reserved.
    const precision = random.pick([0, 2, 3, 3]);
    const masks = unmasked ? random.below(0x40) : 0x3f;
    view.setUint16(Fx.fcw, 0x40 | masks | (precision << 8) | (random.below(4) << 10), true);
  }
  if (unmasked || random.chance(30)) {
    const masks = unmasked ? random.below(0x40) : 0x3f;
    const denormals = random.chance(25) ? random.pick([0x40, 0x8000, 0x8040]) : 0;
    view.setUint32(
      Fx.mxcsr,
      (masks << 7) | (random.below(4) << 13) | (unmasked ? 0 : random.below(0x40)) | denormals,
      true,
    );
  }
  if ((row.unit === "x87" || row.unit === "mmx") && random.chance(4)) {
    // An exception left pending: the next instruction that waits raises it.
    const flag = 1 << random.below(6);
    view.setUint16(Fx.fcw, 0x37f & ~flag, true);
    view.setUint16(Fx.fsw, view.getUint16(Fx.fsw, true) | flag | 0x8080, true);
    return;
  }
  if (row.unit === "sse" && random.chance(80)) tuneArithmetic(state, image);
  if (row.unit === "x87") {
    if (random.chance(12)) {
      // Tags and TOP that no row of pushes leaves.
      view.setUint16(Fx.fsw, random.below(8) << 11, true);
      image[Fx.ftw] = random.u32();
    }
    const conditions = random.chance(30) ? random.u32() & 0x4700 : 0;
    const sticky = !unmasked && random.chance(20) ? random.below(0x40) : 0;
    view.setUint16(Fx.fsw, view.getUint16(Fx.fsw, true) | conditions | sticky, true);
  }
}

/** Operands of the row's own type, often close to each other, or to where conversions to integers round, tie and overflow. */
function tuneArithmetic(state: Draft, image: Uint8Array): void {
  const { random, name, regField, rmField, target, targetBytes } = state;
  const source = /^cvtt?(ps|pd|ss|sd)2/.exec(name)?.[1] ?? /(ps|pd|ss|sd)$/.exec(name)?.[1];
  if (!source || regField < 0) return;
  const single = source === "ps" || source === "ss";
  const width = single ? 4 : 8;
  const first = new DataView(new ArrayBuffer(16));
  const second = new DataView(new ArrayBuffer(16));
  const toInteger = /2(pi|dq|si)$/.test(name);
  for (let at = 0; at < 16; at += width) {
    for (const view of [first, second]) {
      if (toInteger && random.chance(70)) {
        const value = drawNearInteger(random);
        if (single) view.setFloat32(at, value, true);
        else view.setFloat64(at, value, true);
      } else if (single) view.setUint32(at, drawSingle(random), true);
      else view.setBigUint64(at, drawDouble(random), true);
    }
    if (!random.chance(40)) continue;
    // The second near the first: the same, a step away, another sign, a nearby exponent.
    const bits = single ? BigInt(first.getUint32(at, true)) : first.getBigUint64(at, true);
    const sign = random.chance(50) ? 1n << BigInt(width * 8 - 1) : 0n;
    const exponent = BigInt(random.between(-3, 3)) << (single ? 23n : 52n);
    const near = BigInt.asUintN(
      width * 8,
      (bits + BigInt(random.between(-2, 2)) + (random.chance(50) ? exponent : 0n)) ^ sign,
    );
    if (single) second.setUint32(at, Number(near), true);
    else second.setBigUint64(at, near, true);
  }
  const bytes = (view: DataView) => new Uint8Array(view.buffer);
  image.set(bytes(first), Fx.xmm + regField * 16);
  if (target !== null) putBytes(state, target, bytes(second).subarray(0, targetBytes));
  else if (rmField >= 0 && rmField !== regField) image.set(bytes(second), Fx.xmm + rmField * 16);
}

function drawNearInteger(random: Random): number {
  const limit = random.pick([
    0,
    1,
    2 ** 15,
    2 ** 31,
    2 ** 32,
    2 ** 52,
    2 ** 53,
    2 ** 63,
    2 ** 64,
    random.below(1 << 20),
  ]);
  const step = random.pick([0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5]);
  return (random.chance(50) ? -1 : 1) * (limit + (random.chance(50) ? step : -step));
}

/** An image that can be loaded: mostly without reserved MXCSR bits. */
function tuneRestore(state: Draft): void {
  const { random, target } = state;
  if (target === null) return;
  const image = drawFx(random.u32());
  const view = new DataView(image.buffer);
  if (random.chance(40)) view.setUint32(Fx.mxcsr, random.u32() & (random.chance(70) ? 0xffff : 0x1ffff), true);
  if (random.chance(40)) view.setUint16(Fx.fcw, random.u32(), true);
  if (random.chance(40)) view.setUint16(Fx.fsw, random.u32() & 0x7fff, true);
  image[Fx.ftw] = random.chance(50) ? random.u32() : image[Fx.ftw];
  for (let at = 0; at < image.length; at += 128) putBytes(state, target + BigInt(at), image.subarray(at, at + 128));
}

function tuneControl(state: Draft): void {
  const { random, target } = state;
  if (target !== null) putNumber(state, target, BigInt(random.u32() & (random.chance(70) ? 0xffff : 0xffffffff)), 4);
}
