/**
 * Why a kernel or a domain's boot image is refused. A refusal is a value: nothing that an image contains makes the builder throw.
 */

/** What a refusal means to whoever asked for the domain. */
export type BuildErrorKind = "bad-kernel" | "unsupported-kernel" | "bad-ramdisk" | "does-not-fit";

/** Every refusal, and its kind. Codes are stable. */
export const BUILD_ERRORS = {
  /** Neither an ELF file nor anything that could hold one. */
  "not-a-kernel": "bad-kernel",
  /** A header, table, segment or note reaches beyond the end of the file. */
  truncated: "bad-kernel",
  "bad-elf-header": "bad-kernel",
  /** More program or section headers, or notes, than any kernel has. */
  "too-many-headers": "bad-kernel",
  /** A bzImage whose setup header contradicts itself or the file. */
  "bad-bzimage": "bad-kernel",
  "bad-compressed-data": "bad-kernel",
  /** It unpacks to more than any kernel has, in bytes or in proportion: a decompression bomb. */
  "decompressed-too-large": "bad-kernel",
  "bad-segment": "bad-kernel",
  "segment-wraps": "bad-kernel",
  "segments-overlap": "bad-kernel",
  "no-loadable-segment": "bad-kernel",
  "bad-note": "bad-kernel",
  "kernel-misaligned": "bad-kernel",
  "entry-outside-image": "bad-kernel",
  "image-below-base": "bad-kernel",
  "hypercall-page-outside-image": "bad-kernel",
  "address-not-canonical": "bad-kernel",
  /** The image or its P2M would stand in the hypervisor's part of the address space. */
  "address-reserved": "bad-kernel",
  "p2m-overlaps-image": "bad-kernel",
  /** An ELF file that says nothing of Xen. */
  "not-a-xen-kernel": "unsupported-kernel",
  "32-bit-kernel": "unsupported-kernel",
  "wrong-machine": "unsupported-kernel",
  /** A kernel that Xen starts in an HVM container only. */
  "pvh-only": "unsupported-kernel",
  "wrong-xen-version": "unsupported-kernel",
  "wrong-loader": "unsupported-kernel",
  "feature-not-supported": "unsupported-kernel",
  "compression-not-supported": "unsupported-kernel",
  /** A bzImage from before Linux 2.6.26. */
  "boot-protocol-too-old": "unsupported-kernel",
  "image-too-large": "does-not-fit",
  "domain-too-small": "does-not-fit",
  "command-line-too-long": "does-not-fit",
  "ramdisk-too-large": "bad-ramdisk",
} as const satisfies Record<string, BuildErrorKind>;

export type BuildErrorCode = keyof typeof BUILD_ERRORS;

export interface BuildError {
  readonly ok: false;
  readonly code: BuildErrorCode;
  readonly kind: BuildErrorKind;
  /** One sentence for people. Text out of the image is quoted with control characters escaped. */
  readonly detail: string;
  /** Where in the (decompressed) file the fault is, in bytes. */
  readonly offset?: number;
}

export function refuse(code: BuildErrorCode, detail: string, offset?: number): BuildError {
  const error = { ok: false, code, kind: BUILD_ERRORS[code], detail } as const;
  return offset === undefined ? error : { ...error, offset };
}

/** Tells a refusal from a value that has no `ok: false` of its own. */
export const refused = (outcome: object): outcome is BuildError => "ok" in outcome && outcome.ok === false;

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Text from an untrusted image, safe in one line of a log. */
export const quoted = (text: string): string => JSON.stringify(text).replace(/[^\x20-\x7e]/g, "?");
