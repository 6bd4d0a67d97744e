/** Hypercalls that an unprivileged domain is refused whatever it asks, with Xen's errno for each. */
import { Errno } from "../../abi/errno.ts";
import type { HypercallRow } from "./table.ts";

const row = (name: string, errno: number): HypercallRow => ({ name, run: () => -errno });

/** Console output by hypercall is for domains that are a console's own, or for debug builds. */
export const consoleIo: HypercallRow = {
  ...row("console_io", Errno.EPERM),
  subops: {
    arg: 0,
    mask: 0xffff_ffff,
    names: new Map([
      [0, "write"],
      [1, "read"],
    ]),
  },
};
export const kexecOp = row("kexec_op", Errno.EPERM);
export const hypfsOp = row("hypfs_op", Errno.EPERM);
/** Machine checks (arch0). */
export const mca = row("mca", Errno.EPERM);
/** Performance counters are not offered (vpmu=off). */
export const xenpmuOp: HypercallRow = {
  ...row("xenpmu_op", Errno.EOPNOTSUPP),
  subops: {
    arg: 0,
    mask: 0xffff_ffff,
    names: new Map([
      [4, "init"],
      [5, "finish"],
    ]),
  },
};
