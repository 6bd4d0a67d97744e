/** The Xen that domzero is compatible with, as it tells guests. */
export const XEN_MAJOR = 4;
export const XEN_MINOR = 17;
/** XENVER_extraversion: what follows "4.17". */
export const XEN_EXTRAVERSION = ".0-domzero";
