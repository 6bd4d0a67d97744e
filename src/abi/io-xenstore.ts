/** The xenstore wire protocol and its ring (xen/io/xs_wire.h), and device states (xen/io/xenbus.h). */
import { bytes, struct, u32 } from "./struct.ts";

/** enum xsd_sockmsg_type. */
export const XS = {
  control: 0,
  directory: 1,
  read: 2,
  getPerms: 3,
  watch: 4,
  unwatch: 5,
  transactionStart: 6,
  transactionEnd: 7,
  introduce: 8,
  release: 9,
  getDomainPath: 10,
  write: 11,
  mkdir: 12,
  rm: 13,
  setPerms: 14,
  watchEvent: 15,
  error: 16,
  isDomainIntroduced: 17,
  resume: 18,
  setTarget: 19,
  resetWatches: 21,
  directoryPart: 22,
  typeCount: 23,
  invalid: 0xffff,
} as const;

/** struct xsd_sockmsg: the header before every payload of `len` bytes. */
export const XsdSockmsg = struct({ type: u32, reqId: u32, txId: u32, len: u32 });

export const XENSTORE_RING_SIZE = 1024;

/** struct xenstore_domain_interface. Indices run freely; `req` goes from guest to xenstore. */
export const XenstoreDomainInterface = struct({
  req: bytes(XENSTORE_RING_SIZE),
  rsp: bytes(XENSTORE_RING_SIZE),
  reqCons: u32,
  reqProd: u32,
  rspCons: u32,
  rspProd: u32,
  serverFeatures: u32,
  connection: u32,
  error: u32,
});

export const XENSTORE_PAYLOAD_MAX = 4096;
/** Longest paths, without the NUL. */
export const XENSTORE_ABS_PATH_MAX = 3072;
export const XENSTORE_REL_PATH_MAX = 2048;

export const XENSTORE_SERVER_FEATURE = { reconnection: 1, error: 2 } as const;
export const XENSTORE_CONNECTION = { connected: 0, reconnect: 1 } as const;
export const XENSTORE_ERROR = { none: 0, comm: 1, ringidx: 2, proto: 3 } as const;

/** Errors that can travel in an XS_ERROR reply, by name. */
export const XSD_ERRORS = [
  "EINVAL",
  "EACCES",
  "EEXIST",
  "EISDIR",
  "ENOENT",
  "ENOMEM",
  "ENOSPC",
  "EIO",
  "ENOTEMPTY",
  "ENOSYS",
  "EROFS",
  "EBUSY",
  "EAGAIN",
  "EISCONN",
  "E2BIG",
  "EPERM",
] as const;

/** enum xenbus_state. */
export const XENBUS_STATE = {
  unknown: 0,
  initialising: 1,
  initWait: 2,
  initialised: 3,
  connected: 4,
  closing: 5,
  closed: 6,
  reconfiguring: 7,
  reconfigured: 8,
} as const;
