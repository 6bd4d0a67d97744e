/** What the hypervisor tells of itself (xen/version.h). */
import { bytes, struct, u32, u64 } from "./struct.ts";

export const XENVER = {
  version: 0,
  extraversion: 1,
  compileInfo: 2,
  capabilities: 3,
  changeset: 4,
  platformParameters: 5,
  getFeatures: 6,
  pagesize: 7,
  guestHandle: 8,
  commandline: 9,
  buildId: 10,
} as const;

/** Sizes of the strings, NUL included. */
export const XEN_EXTRAVERSION_LEN = 16;
export const XEN_CAPABILITIES_INFO_LEN = 1024;
export const XEN_CHANGESET_INFO_LEN = 64;
export const XEN_COMMANDLINE_LEN = 1024;
/** xen_domain_handle_t: a uuid. */
export const XEN_DOMAIN_HANDLE_LEN = 16;

/** XENVER_compile_info. OUT. */
export const CompileInfo = struct({
  compiler: bytes(64),
  compileBy: bytes(16),
  compileDomain: bytes(32),
  compileDate: bytes(32),
});
/** XENVER_platform_parameters. OUT virtStart: where the hypervisor's range begins. */
export const PlatformParameters = struct({ virtStart: u64 });
/** XENVER_get_features. IN submapIdx. OUT submap. */
export const FeatureInfo = struct({ submapIdx: u32, submap: u32 });
/** XENVER_build_id. IN len of the buffer that follows. */
export const BuildId = struct({ len: u32 });
