/**
 * Struct layouts as data: a C struct is declared once, and gives its size, its offsets and typed accessors.
 *
 * The layout rules are those of the System V ABI for x86-64: every member is aligned to its own alignment, a struct to that of
 * its strictest member, and everything is little-endian. Accessors keep no state: they read and write a `View` at a base
 * offset, so one declaration serves guest memory, copied-in arguments and tests alike.
 *
 * 64-bit members are read as two 32-bit halves, or as a `number` where the value is known to fit 2^53.
 */

/** What accessors need of a DataView. Offsets outside throw RangeError, as DataView does. */
export interface View {
  getUint8(offset: number): number;
  getInt8(offset: number): number;
  getUint16(offset: number, littleEndian?: boolean): number;
  getInt16(offset: number, littleEndian?: boolean): number;
  getUint32(offset: number, littleEndian?: boolean): number;
  getInt32(offset: number, littleEndian?: boolean): number;
  setUint8(offset: number, value: number): void;
  setUint16(offset: number, value: number, littleEndian?: boolean): void;
  setUint32(offset: number, value: number, littleEndian?: boolean): void;
}

/** A C type: its size and alignment in bytes, and the accessor for a member of this type at an offset. */
export interface FieldType<Accessor> {
  readonly size: number;
  readonly align: number;
  at(offset: number): Accessor;
}

const TWO_32 = 0x1_0000_0000;

export class U8 {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(view: View, base: number): number {
    return view.getUint8(base + this.offset);
  }
  set(view: View, base: number, value: number): void {
    view.setUint8(base + this.offset, value);
  }
}

export class I8 {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(view: View, base: number): number {
    return view.getInt8(base + this.offset);
  }
  set(view: View, base: number, value: number): void {
    view.setUint8(base + this.offset, value);
  }
}

export class U16 {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(view: View, base: number): number {
    return view.getUint16(base + this.offset, true);
  }
  set(view: View, base: number, value: number): void {
    view.setUint16(base + this.offset, value, true);
  }
}

export class I16 {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(view: View, base: number): number {
    return view.getInt16(base + this.offset, true);
  }
  set(view: View, base: number, value: number): void {
    view.setUint16(base + this.offset, value, true);
  }
}

export class U32 {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(view: View, base: number): number {
    return view.getUint32(base + this.offset, true);
  }
  set(view: View, base: number, value: number): void {
    view.setUint32(base + this.offset, value, true);
  }
}

export class I32 {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(view: View, base: number): number {
    return view.getInt32(base + this.offset, true);
  }
  set(view: View, base: number, value: number): void {
    view.setUint32(base + this.offset, value, true);
  }
}

/** A 64-bit member. Halves are unsigned 32-bit numbers. */
export class U64 {
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  lo(view: View, base: number): number {
    return view.getUint32(base + this.offset, true);
  }
  hi(view: View, base: number): number {
    return view.getUint32(base + this.offset + 4, true);
  }
  set(view: View, base: number, lo: number, hi: number): void {
    view.setUint32(base + this.offset, lo, true);
    view.setUint32(base + this.offset + 4, hi, true);
  }
  /** Unsigned value; rounded above 2^53. */
  number(view: View, base: number): number {
    return view.getUint32(base + this.offset + 4, true) * TWO_32 + view.getUint32(base + this.offset, true);
  }
  /** Two's complement value: exact for canonical virtual addresses, rounded beyond ±2^53. */
  signed(view: View, base: number): number {
    return view.getInt32(base + this.offset + 4, true) * TWO_32 + view.getUint32(base + this.offset, true);
  }
  /** Stores an integer, negative ones as two's complement. */
  setNumber(view: View, base: number, value: number): void {
    view.setUint32(base + this.offset, value, true);
    view.setUint32(base + this.offset + 4, Math.floor(value / TWO_32), true);
  }
  /** For tests and rare paths. */
  big(view: View, base: number): bigint {
    return (BigInt(this.hi(view, base)) << 32n) | BigInt(this.lo(view, base));
  }
  setBig(view: View, base: number, value: bigint): void {
    this.set(view, base, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn));
  }
}

/** A byte array member: raw bytes, or text that ends at the first NUL. */
export class Bytes {
  readonly offset: number;
  readonly length: number;
  constructor(offset: number, length: number) {
    this.offset = offset;
    this.length = length;
  }
  /** A copy of all bytes. */
  get(view: View, base: number): Uint8Array {
    const bytes = new Uint8Array(this.length);
    for (let i = 0; i < this.length; i++) bytes[i] = view.getUint8(base + this.offset + i);
    return bytes;
  }
  /** Stores the bytes and fills the rest with zeros. Longer input is a caller's mistake: RangeError. */
  set(view: View, base: number, bytes: Uint8Array): void {
    if (bytes.length > this.length) throw new RangeError(`${bytes.length} bytes do not fit in ${this.length}`);
    for (let i = 0; i < this.length; i++) view.setUint8(base + this.offset + i, i < bytes.length ? bytes[i] : 0);
  }
  /** The bytes before the first NUL, one character each. */
  text(view: View, base: number): string {
    let text = "";
    for (let i = 0; i < this.length; i++) {
      const byte = view.getUint8(base + this.offset + i);
      if (byte === 0) break;
      text += String.fromCharCode(byte);
    }
    return text;
  }
  /** Stores text of one-byte characters, cut so that a NUL always follows. */
  setText(view: View, base: number, text: string): void {
    for (let i = 0; i < this.length; i++) {
      view.setUint8(base + this.offset + i, i < text.length && i < this.length - 1 ? text.charCodeAt(i) & 0xff : 0);
    }
  }
}

/** An array member; elements are made when first asked for. */
export class ArrayField<Accessor> {
  readonly offset: number;
  readonly length: number;
  readonly stride: number;
  readonly #type: FieldType<Accessor>;
  readonly #elements: (Accessor | undefined)[];
  constructor(offset: number, length: number, type: FieldType<Accessor>) {
    this.offset = offset;
    this.length = length;
    this.stride = type.size;
    this.#type = type;
    this.#elements = new Array(length).fill(undefined);
  }
  at(index: number): Accessor {
    const known = this.#elements[index];
    if (known !== undefined) return known;
    if (!(index >= 0 && index < this.length)) throw new RangeError(`element ${index} of ${this.length}`);
    const element = this.#type.at(this.offset + index * this.stride);
    this.#elements[index] = element;
    return element;
  }
}

export const u8: FieldType<U8> = { size: 1, align: 1, at: (offset) => new U8(offset) };
export const i8: FieldType<I8> = { size: 1, align: 1, at: (offset) => new I8(offset) };
export const u16: FieldType<U16> = { size: 2, align: 2, at: (offset) => new U16(offset) };
export const i16: FieldType<I16> = { size: 2, align: 2, at: (offset) => new I16(offset) };
export const u32: FieldType<U32> = { size: 4, align: 4, at: (offset) => new U32(offset) };
export const i32: FieldType<I32> = { size: 4, align: 4, at: (offset) => new I32(offset) };
export const u64: FieldType<U64> = { size: 8, align: 8, at: (offset) => new U64(offset) };

export const bytes = (length: number): FieldType<Bytes> => ({
  size: length,
  align: 1,
  at: (offset) => new Bytes(offset, length),
});

export const array = <Accessor>(type: FieldType<Accessor>, length: number): FieldType<ArrayField<Accessor>> => ({
  size: type.size * length,
  align: type.align,
  at: (offset) => new ArrayField(offset, length, type),
});

type Fields = Readonly<Record<string, FieldType<unknown>>> & {
  readonly [reserved in "size" | "align" | "offsets" | "at"]?: never;
};

type Accessors<F> = { readonly [Name in keyof F]: F[Name] extends FieldType<infer Accessor> ? Accessor : never };

/** A struct (or union) at a fixed offset: an accessor for each member, and where each lies. */
export type StructAt<F> = Accessors<F> & {
  /** Size in bytes, tail padding included. */
  readonly size: number;
  readonly align: number;
  /** Offset of each member from the base given to accessors. */
  readonly offsets: Readonly<Record<keyof F, number>>;
};

/** A declared struct: its accessors at offset 0, and a type that other structs may have as a member. */
export type Struct<F> = StructAt<F> & FieldType<StructAt<F>>;

type Place = (type: FieldType<unknown>) => number;

function layOut<F extends Fields>(fields: F, size: number, align: number, places: readonly number[]): Struct<F> {
  const names = Object.keys(fields);
  const at = (base: number): StructAt<F> => {
    const accessors: Record<string, unknown> = { size, align };
    const offsets: Record<string, number> = {};
    names.forEach((name, i) => {
      offsets[name] = base + places[i];
      accessors[name] = (fields as Record<string, FieldType<unknown>>)[name].at(base + places[i]);
    });
    accessors.offsets = offsets;
    return accessors as StructAt<F>;
  };
  return { ...at(0), at } as Struct<F>;
}

const roundUp = (value: number, align: number) => Math.ceil(value / align) * align;
const strictest = (fields: Fields) => Math.max(1, ...Object.values(fields).map((type) => type?.align ?? 1));

function placesOf(fields: Fields, place: Place): number[] {
  return Object.values(fields).map((type) => place(type as FieldType<unknown>));
}

/** Declares a struct: members in order, aligned as C aligns them. */
export function struct<F extends Fields>(fields: F): Struct<F> {
  const align = strictest(fields);
  let end = 0;
  const places = placesOf(fields, (type) => {
    const offset = roundUp(end, type.align);
    end = offset + type.size;
    return offset;
  });
  return layOut(fields, roundUp(end, align), align, places);
}

/** Declares a union: every member at offset 0. */
export function union<F extends Fields>(fields: F): Struct<F> {
  const align = strictest(fields);
  let end = 0;
  const places = placesOf(fields, (type) => {
    end = Math.max(end, type.size);
    return 0;
  });
  return layOut(fields, roundUp(end, align), align, places);
}
