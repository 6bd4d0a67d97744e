/**
 * Rows whose results processors may choose within the manuals' bounds, and whose choice is ours: no processor judges them by vectors.
 * Everything else here gives one answer, the processor's.
 */
export const vendorSpecific: ReadonlyMap<string, string> = new Map([
  ["rcpps", "Intel's table; the manuals bound the error by 1.5 * 2^-12"],
  ["rcpss", "as rcpps"],
  ["rsqrtps", "as rcpps"],
  ["rsqrtss", "as rcpps"],
  ["f2xm1", "correctly rounded; processors promise one unit in the last place"],
  ["fyl2x", "as f2xm1"],
  ["fyl2xp1", "as f2xm1; beyond its documented range, still a logarithm"],
  ["fpatan", "as f2xm1"],
  ["fptan", "as f2xm1, with Intel's 66-bit pi"],
  ["fsin", "as fptan"],
  ["fcos", "as fptan"],
  ["fsincos", "as fptan"],
]);
