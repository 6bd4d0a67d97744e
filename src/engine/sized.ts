/** Loads and stores of a size that is known when the code is emitted. */
import type { Emitter, I32, I64 } from "./emitter.ts";
import type { Size } from "./ops/row.ts";

export function loadSized(e: Emitter, size: Size, signed: boolean, _address: I32, offset: number): I64 {
  switch (size) {
    case 1:
      return signed ? e.i64.load8s(_address, offset) : e.i64.load8u(_address, offset);
    case 2:
      return signed ? e.i64.load16s(_address, offset) : e.i64.load16u(_address, offset);
    case 4:
      return signed ? e.i64.load32s(_address, offset) : e.i64.load32u(_address, offset);
    default:
      return e.i64.load(_address, offset);
  }
}
export function storeSized(e: Emitter, size: Size, _address: I32, _value: I64, offset: number): void {
  if (size === 1) e.i64.store8(_address, _value, offset);
  else if (size === 2) e.i64.store16(_address, _value, offset);
  else if (size === 4) e.i64.store32(_address, _value, offset);
  else e.i64.store(_address, _value, offset);
}
