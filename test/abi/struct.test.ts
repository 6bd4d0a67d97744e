import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { Errno, errnoName } from "../../src/abi/errno.ts";
import { HYPERCALL_SLOT_BYTES, hypercallPage } from "../../src/abi/hypercall-page.ts";
import { ringSlots } from "../../src/abi/io-ring.ts";
import { array, bytes, i8, i16, struct, u8, u16, u32, u64, union } from "../../src/abi/struct.ts";
import { HYPERVISOR } from "../../src/abi/xen.ts";

const view = () => new DataView(new ArrayBuffer(256));

describe("layout", () => {
  test("members are aligned as C aligns them, and the tail is padded", () => {
    const S = struct({ a: u8, b: u32, c: u16, d: u64, e: u8 });
    expect(S.offsets).toEqual({ a: 0, b: 4, c: 8, d: 16, e: 24 });
    expect([S.size, S.align]).toEqual([32, 8]);
  });

  test("a nested struct's accessors count from the outer base", () => {
    const Inner = struct({ x: u16, y: u32 });
    const Outer = struct({ head: u8, inner: Inner, list: array(Inner, 3) });
    expect(Outer.inner.y.offset).toBe(8);
    expect(Outer.list.at(2).x.offset).toBe(12 + 2 * Inner.size);
    expect(Inner.y.offset).toBe(4);
  });

  test("a union's members share offset 0, and its size is the largest's", () => {
    const U = union({ a: u8, b: u64, c: bytes(10) });
    expect([U.a.offset, U.b.offset, U.c.offset, U.size]).toEqual([0, 0, 0, 16]);
  });

  test("an element outside an array is refused", () => {
    expect(() => struct({ a: array(u8, 2) }).a.at(2)).toThrow(RangeError);
    expect(() => struct({ a: array(u8, 2) }).a.at(-1)).toThrow(RangeError);
  });
});

describe("accessors", () => {
  const S = struct({ a: i8, b: i16, q: u64, text: bytes(4) });

  test("signed members come back with their sign", () => {
    const memory = view();
    S.a.set(memory, 16, -3);
    S.b.set(memory, 16, -300);
    expect([S.a.get(memory, 16), S.b.get(memory, 16)]).toEqual([-3, -300]);
  });

  property.prop([fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })])("64 bits survive by halves", (value) => {
    const memory = view();
    S.q.setBig(memory, 8, value);
    expect(BigInt.asIntN(64, S.q.big(memory, 8))).toBe(value);
    expect(memory.getBigInt64(8 + S.q.offset, true)).toBe(value);
  });

  property.prop([fc.maxSafeInteger()])("an exact integer survives as a number", (value) => {
    const memory = view();
    S.q.setNumber(memory, 8, value);
    expect(S.q.signed(memory, 8)).toBe(value);
    expect(memory.getBigInt64(8 + S.q.offset, true)).toBe(BigInt(value));
    if (value >= 0) expect(S.q.number(memory, 8)).toBe(value);
  });

  test("text is cut so that a NUL always follows", () => {
    const memory = view();
    S.text.setText(memory, 0, "abcdef");
    expect(S.text.text(memory, 0)).toBe("abc");
    expect([...S.text.get(memory, 0)]).toEqual([97, 98, 99, 0]);
  });

  test("bytes that do not fit are refused, shorter ones are filled with zeros", () => {
    const memory = view();
    S.text.set(memory, 0, new Uint8Array([1, 2, 3, 4]));
    S.text.set(memory, 0, new Uint8Array([9]));
    expect([...S.text.get(memory, 0)]).toEqual([9, 0, 0, 0]);
    expect(() => S.text.set(memory, 0, new Uint8Array(5))).toThrow(RangeError);
  });
});

test("error numbers have names, whichever their sign", () => {
  expect(errnoName(-Errno.ENOSYS)).toBe("ENOSYS");
  expect(errnoName(11)).toBe("EAGAIN");
  expect(errnoName(0)).toBeUndefined();
});

test("a hypercall page slot loads its own number, and only iret's does not return", () => {
  const page = hypercallPage();
  const slot = (n: number) => page.subarray(n * HYPERCALL_SLOT_BYTES, (n + 1) * HYPERCALL_SLOT_BYTES);
  const hex = (n: number) =>
    Buffer.from(slot(n))
      .toString("hex")
      .replace(/(cc)+$/, "");
  expect(hex(HYPERVISOR.schedOp)).toBe("514153b81d0000000f05415b59c3");
  expect(hex(HYPERVISOR.iret)).toBe("51415350b8170000000f05");
});

test("a ring of one page has the largest power of two of slots that fits", () => {
  expect(ringSlots(4096, 112)).toBe(32);
  expect(ringSlots(4096, 12)).toBe(256);
});
