/** The members of a struct as values for people, under the names that C gives them. */
import { ArrayField, Bytes, I8, I16, I32, U8, U16, U32, U64, type View } from "./struct.ts";

/** Any declared struct or union: what `struct` and `union` give, without the types of the members. */
export interface Layout {
  readonly size: number;
  readonly offsets: Readonly<Record<string, number>>;
}

/** A small integer as a number, a 64-bit one as `0x...`, bytes as their hexadecimal digits. */
export type MemberValue = number | string | readonly MemberValue[] | { readonly [member: string]: MemberValue };

/** Elements of an array member that are shown. */
const MOST_ELEMENTS = 8;

/** Every member of the struct at `base`; of a union, every way to read it. */
export function memberValues(layout: Layout, view: View, base: number): Record<string, MemberValue> {
  const values: Record<string, MemberValue> = {};
  for (const name of Object.keys(layout.offsets)) {
    const value = valueIn((layout as unknown as Record<string, unknown>)[name], view, base);
    if (value !== undefined) values[cName(name)] = value;
  }
  return values;
}

function valueIn(member: unknown, view: View, base: number): MemberValue | undefined {
  if (member instanceof U64) return `0x${member.big(view, base).toString(16)}`;
  if (member instanceof Bytes) return Buffer.from(member.get(view, base)).toString("hex");
  if ([U8, I8, U16, I16, U32, I32].some((kind) => member instanceof kind)) return (member as U32).get(view, base);
  if (member instanceof ArrayField) {
    const count = Math.min(member.length, MOST_ELEMENTS);
    return Array.from({ length: count }, (_, i) => valueIn(member.at(i), view, base) ?? "");
  }
  return typeof member === "object" && member !== null && "offsets" in member
    ? memberValues(member as Layout, view, base)
    : undefined;
}

/** remoteDom is remote_dom. */
function cName(name: string): string {
  return name.replaceAll(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`);
}
