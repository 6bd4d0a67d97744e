/**
 * Where processors of the two vendors differ, whose way the engine goes, and by what authority.
 *
 * The engine is what CPUID says it is (hypervisor/traps/cpuid.ts): an AMD processor. So where the manuals differ it follows AMD's
 * ("APM": AMD64 Architecture Programmer's Manual, "SDM": Intel's), and vectors of Intel's processors are excused there. The other way
 * round only where AMD's processors do what no manual of theirs says, or offer what our CPUID does not.
 */

import { areApproximations } from "./approximation.ts";
import type { Difference } from "./compare.ts";
import { Fx } from "./fx-image.ts";
import type { Outcome, Vector } from "./vector.ts";

export type Vendor = "amd" | "intel";

interface Case {
  readonly vector: Vector;
  /** Mnemonic of the row. */
  readonly name: string;
  readonly prefixes: Prefixes;
  readonly expected: Outcome;
  readonly got: Outcome;
  readonly differences: readonly Difference[];
}

export interface VendorDifference {
  readonly what: string;
  readonly why: string;
  /** Whose processors do as the engine does. */
  readonly follows: Vendor;
  /** Is this why a processor of the other vendor ended elsewhere? */
  concerns(at: Case): boolean;
}

const NEAR = /^(j(?!mpf)|call$|ret$|loop)/;
const FAR_POINTER = /^(callf|jmpf|l[fgs]s)$/;
const X87_STORE = /^(fstp?|fistp?|fbstp)$/;
const vectorOf = (fault: Outcome["fault"]): number => fault?.vector ?? -1;
const isAddressFault = (fault: Outcome["fault"]): boolean => [12, 13, 14, 17].includes(vectorOf(fault));

const vendorDifferences: readonly VendorDifference[] = [
  {
    what: "an operand-size prefix makes a near transfer one of 16 bits",
    why: "APM vol. 3, CALL (near), Jcc, JMP (near), LOOPcc, RET (near): 16 or 64 bits; SDM vol. 2, the same: forced to 64",
    follows: "amd",
    concerns: ({ name, prefixes }) => NEAR.test(name) && prefixes.operand16 && !prefixes.wide,
  },
  {
    what: "a far pointer in memory has an offset of 32 bits even with REX.W",
    why: "APM vol. 3, CALL (far), JMP (far), LFS: no pointer of 16:64; SDM vol. 2: m16:64",
    follows: "amd",
    concerns: ({ name, prefixes }) => FAR_POINTER.test(name) && prefixes.wide,
  },
  {
    what: "a call to where no canonical address is does not leave its return address behind",
    why: "APM vol. 3, CALL (near): the target is checked before the push; Intel's store first",
    follows: "amd",
    concerns: ({ name, expected, got }) =>
      name === "call" && vectorOf(got.fault) === 13 && isAddressFault(expected.fault),
  },
  {
    what: "MOVSXD of 16 bits reads 32",
    why: "APM vol. 3, MOVSXD: the source is reg/mem32; SDM vol. 2: r/m16 with a 16-bit destination",
    follows: "amd",
    concerns: ({ name, prefixes, expected, got }) =>
      name === "movsxd" && prefixes.operand16 && !prefixes.wide && (expected.fault ?? got.fault) !== null,
  },
  {
    what: "POP FS and POP GS read their whole slot of the stack",
    why: "APM vol. 3, POP: by operand size; SDM vol. 2, POP: a segment register may be popped by a 16-bit access",
    follows: "amd",
    concerns: ({ name, got }) => /^pop[fg]s$/.test(name) && vectorOf(got.fault) === 14,
  },
  {
    what: "an MMX store that faults leaves TOP alone",
    why: "APM vol. 1, 5.12: the actions are atomic with the instruction; Intel's clear TOP first",
    follows: "amd",
    concerns: ({ vector, expected, differences }) =>
      /^(movd|movq|movntq) np\./.test(vector.row) &&
      expected.fault !== null &&
      differences.every(({ what }) => what === "fsw" || what.startsWith("st")),
  },
  {
    what: "MASKMOVDQU and MASKMOVQ fault for the first byte of their operand that cannot be written",
    why: "APM vol. 4 and SDM vol. 2, MASKMOVDQU: which bytes fault that are not selected is the implementation's",
    follows: "amd",
    concerns: ({ name, expected, got }) =>
      name.startsWith("maskmov") && isAddressFault(got.fault) && isAddressFault(expected.fault),
  },
  {
    what: "a misaligned operand is found before its pages are looked at, and 16 bytes of SSE and FXSAVE's image are operands",
    why: "APM vol. 2, 8.2.18, and SDM vol. 3, 6.15 (#AC): the order, and which of #GP and #AC it is for 16 bytes, are the implementation's",
    follows: "amd",
    concerns: ({ expected, got }) => vectorOf(expected.fault) === 17 || vectorOf(got.fault) === 17,
  },
  {
    what: "CMPS, far jumps and loads of far pointers fault for the part of memory that they try first",
    why: "APM vol. 2, 8.5 and SDM vol. 3, 6.9 leave the order open among faults of one instruction's accesses",
    follows: "amd",
    concerns: ({ name, expected, got }) =>
      /^(cmps|jmpf|l[fgs]s)$/.test(name) && isAddressFault(expected.fault) && isAddressFault(got.fault),
  },
  {
    what: "wide stores that fault leave memory alone",
    why: "APM and SDM, FXSAVE, FNSAVE, FNSTENV, FSTP, FBSTP: nothing is said of what was stored before the fault",
    follows: "amd",
    concerns: ({ name, expected, differences }) =>
      /^(fstp|fbstp|fnsave|fnstenv|fxsave)$/.test(name) &&
      expected.fault !== null &&
      differences.every(({ what }) => what.startsWith("frame")),
  },
  {
    what: "a repeated string instruction with 32-bit addresses that does nothing leaves RCX, RSI and RDI alone",
    why: "APM vol. 3, 1.2.6: a count of 0 does nothing; Intel's cut the three to 32 bits even then, and when the first access faults",
    follows: "amd",
    concerns: ({ vector, prefixes, expected, differences }) =>
      vector.repeat &&
      prefixes.address32 &&
      (expected.fault !== null || BigInt.asUintN(32, vector.gpr[1]) === 0n) &&
      differences.every(({ what }) => ["rcx", "rsi", "rdi"].includes(what)),
  },
  {
    what: "PREFETCH and PREFETCHW have no register form",
    why: "APM vol. 3, PREFETCH: mod 3 is #UD; SDM vol. 2, PREFETCHW: a reserved NOP",
    follows: "amd",
    concerns: ({ name, expected, got }) => name === "prefetch" && expected.fault === null && vectorOf(got.fault) === 6,
  },
  {
    what: "UD0 and UD1 end with their opcode",
    why: "APM vol. 3, UD0: no ModRM byte is looked at; SDM vol. 2, UD: fetched, so that it may fault or be too much",
    follows: "amd",
    concerns: ({ name, expected, got }) =>
      /^ud[01]$/.test(name) && vectorOf(got.fault) === 6 && isAddressFault(expected.fault),
  },
  {
    what: "x87 stores try the memory even when an unmasked exception is going to leave it alone",
    why: "SDM vol. 1, 8.5 to 8.7, and APM vol. 1, 6.8, leave open which comes first, a page fault or what the result raises",
    follows: "amd",
    concerns: ({ name, expected, got }) => X87_STORE.test(name) && expected.fault === null && isAddressFault(got.fault),
  },
  {
    what: "LOCK in front of MOV to and from CR0 is #UD",
    why: "APM vol. 3, MOV CRn: it means CR8 where CPUID offers AltMovCr8, which ours does not",
    follows: "intel",
    concerns: ({ name, prefixes, expected, got }) =>
      /^mov(to|from)cr$/.test(name) && prefixes.locked && vectorOf(expected.fault) === 13 && vectorOf(got.fault) === 6,
  },
  {
    what: "a repeat prefix in front of LOOPE and LOOPNE does nothing",
    why: "APM vol. 3, 1.2.6, and SDM vol. 2, REP: undefined but with string instructions; AMD's take the condition from it",
    follows: "intel",
    concerns: ({ name, prefixes, differences }) =>
      /^loopn?e$/.test(name) && prefixes.repeat && differences.every(({ what }) => what === "rip"),
  },
  {
    what: "F3 90 is PAUSE with REX.B too",
    why: "SDM vol. 2, PAUSE and APM vol. 3, PAUSE do not tell; AMD's take F3 with REX.B 90 for the XCHG of r8 and rax",
    follows: "intel",
    concerns: ({ name, prefixes, differences }) =>
      name === "nop1" && prefixes.repeat && differences.every(({ what }) => what === "rax" || what === "r8"),
  },
  {
    what: "LOCK in front of VERW is #UD",
    why: "APM vol. 3, 1.2.5 and SDM vol. 2, LOCK do not list VERW; some of AMD's processors take its memory form all the same",
    follows: "intel",
    concerns: ({ name, prefixes, got }) => name === "verw" && prefixes.locked && vectorOf(got.fault) === 6,
  },
  {
    what: "MXCSR has no bit 17",
    why: "APM vol. 1, 4.2.2: MM is there where CPUID offers MisAlignSse, which ours does not; FXSAVE's MXCSR_MASK tells",
    follows: "intel",
    concerns: ({ name, differences }) => name === "fxsave" && differences.length === 1 && isMaskByte(differences[0]),
  },
  {
    what: "an address in FS or GS is checked with the segment's base in it",
    why: "SDM vol. 1, 3.3.7.1 and APM vol. 2, 5.3.1 ask for a canonical address; AMD's processors look at the offset alone too",
    follows: "intel",
    concerns: ({ prefixes, expected, got }) =>
      prefixes.segment >= 0x64 && isAddressFault(expected.fault) && [14, 17].includes(vectorOf(got.fault)),
  },
  {
    what: "RCPPS, RCPSS, RSQRTPS and RSQRTSS are Intel's tables",
    why: "APM vol. 4 and SDM vol. 2 bound the relative error by 1.5 * 2^-12 and say no more",
    follows: "intel",
    concerns: ({ name, expected, got, differences }) =>
      /^(rcp|rsqrt)[ps]s$/.test(name) &&
      differences.every(({ what }) => what.startsWith("xmm")) &&
      areApproximations(expected, got),
  },
];

/** The difference between vendors that explains why a processor of one ended elsewhere than the engine. */
export function vendorDifferenceOf(
  processor: Vendor,
  vector: Vector,
  expected: Outcome,
  got: Outcome,
  differences: readonly Difference[],
): VendorDifference | undefined {
  const name = vector.row.split(" ")[0];
  const at = { vector, name, prefixes: prefixesOf(vector.code), expected, got, differences };
  return vendorDifferences.find((difference) => difference.follows !== processor && difference.concerns(at));
}

interface Prefixes {
  readonly operand16: boolean;
  readonly address32: boolean;
  readonly locked: boolean;
  readonly repeat: boolean;
  /** REX.W. */
  readonly wide: boolean;
  /** The last of FS and GS, or -1. */
  readonly segment: number;
}

function prefixesOf(code: Uint8Array): Prefixes {
  const legacy = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x65, 0x2e, 0x36, 0x3e, 0x26];
  let at = 0;
  let rex = 0;
  for (; at < code.length; at++) {
    if (legacy.includes(code[at])) rex = 0;
    else if ((code[at] & 0xf0) === 0x40) rex = code[at];
    else break;
  }
  const before = Array.from(code.subarray(0, at));
  return {
    operand16: before.includes(0x66),
    address32: before.includes(0x67),
    locked: before.includes(0xf0),
    repeat: before.some((byte) => byte === 0xf2 || byte === 0xf3),
    wide: (rex & 8) !== 0,
    segment: before.findLast((byte) => byte === 0x64 || byte === 0x65) ?? -1,
  };
}

/** The byte of an FXSAVE image with MXCSR_MASK's bit 17, and no other bit of it. Images begin at multiples of 16. */
function isMaskByte({ what, expected, got }: Difference): boolean {
  const offset = Number.parseInt(/^frame \d\+([0-9a-f]+)$/.exec(what)?.[1] ?? "0", 16);
  const mask = (Fx.mxcsrMask + 2) % 16;
  return offset % 16 === mask && (Number.parseInt(expected, 16) ^ Number.parseInt(got, 16)) === 2;
}
