/** What the x87 rows ask of the software unit: the service argument is `op | i << 8 | memory << 12`, plus `condition << 16` for FCMOVcc. */

export const X87Op = {
  // ST(0) with the memory operand in floatA, or with ST(i)
  add: 0,
  mul: 1,
  com: 2,
  comPop: 3,
  /** ST(0) - x and x - ST(0). */
  sub: 4,
  subReverse: 5,
  div: 6,
  divReverse: 7,
  // The same into ST(i)
  addTo: 8,
  mulTo: 9,
  subTo: 10,
  subReverseTo: 11,
  divTo: 12,
  divReverseTo: 13,
  // And ST(0) popped
  addToPop: 14,
  mulToPop: 15,
  subToPop: 16,
  subReverseToPop: 17,
  divToPop: 18,
  divReverseToPop: 19,
  comPopPop: 20,
  ucom: 21,
  ucomPop: 22,
  ucomPopPop: 23,
  /** Results are rflags images plus bit 31: set them. */
  comi: 24,
  comiPop: 25,
  ucomi: 26,
  ucomiPop: 27,
  load: 28,
  /** Of memory: when the result is 1 it shall get floatA, and `commitStore` follows when it has. */
  store: 29,
  storePop: 30,
  exchange: 31,
  moveIf: 32,
  changeSign: 33,
  absolute: 34,
  test: 35,
  examine: 36,
  /** Constant number i. */
  constant: 37,
  squareRoot: 38,
  roundToInteger: 39,
  scale: 40,
  extract: 41,
  remainder: 42,
  remainderNearest: 43,
  incrementTop: 44,
  decrementTop: 45,
  free: 46,
  freePop: 47,
  noOperation: 48,
  initialize: 49,
  clearExceptions: 50,
  /** floatA has the word. */
  loadControl: 51,
  /** Environment and state in floatA; memory says 2 or 4 bytes a field. */
  storeEnvironment: 52,
  loadEnvironment: 53,
  saveState: 54,
  restoreState: 55,
  twoToXMinus1: 56,
  yLog2X: 57,
  yLog2XPlus1: 58,
  tangent: 59,
  arctangent: 60,
  sine: 61,
  cosine: 62,
  sineCosine: 63,
  emptyMmx: 64,
  commitStore: 65,
  /** Store and pop; of an empty register only the pop. */
  storeUnchecked: 66,
} as const;
export type X87Op = (typeof X87Op)[keyof typeof X87Op];

/** Memory operand formats. */
export const X87Memory = {
  none: 0,
  single: 1,
  double: 2,
  extended: 3,
  int16: 4,
  int32: 5,
  int64: 6,
  decimal: 7,
  /** Fields of an environment. */
  words: 8,
  dwords: 9,
} as const;
export type X87Memory = (typeof X87Memory)[keyof typeof X87Memory];

export const FLAGS_RESULT = 0x8000_0000;

export function x87Argument(op: X87Op, memory: X87Memory = X87Memory.none, i = 0): number {
  return op | (i << 8) | (memory << 12);
}
