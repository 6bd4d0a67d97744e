/** Feature bits (xen/features.h), of XENVER_get_features' only submap and of the kernel's feature notes. */
export const XENFEAT = {
  writablePageTables: 0,
  writableDescriptorTables: 1,
  autoTranslatedPhysmap: 2,
  supervisorModeKernel: 3,
  paePgdirAbove4gb: 4,
  mmuPtUpdatePreserveAd: 5,
  highmemAssist: 6,
  gnttabMapAvailBits: 7,
  hvmCallbackVector: 8,
  hvmSafePvclock: 9,
  hvmPirqs: 10,
  dom0: 11,
  memoryOpVnodeSupported: 13,
  armSmcccSupported: 14,
  linuxRsdpUnrestricted: 15,
  notDirectMapped: 16,
  directMapped: 17,
} as const;

/** XENFEAT_NR_SUBMAPS. */
export const XENFEAT_NR_SUBMAPS = 1;

/** Names as the FEATURES ELF note spells them, to bit numbers. */
export const XENFEAT_NAMES: ReadonlyMap<string, number> = new Map([
  ["writable_page_tables", XENFEAT.writablePageTables],
  ["writable_descriptor_tables", XENFEAT.writableDescriptorTables],
  ["auto_translated_physmap", XENFEAT.autoTranslatedPhysmap],
  ["supervisor_mode_kernel", XENFEAT.supervisorModeKernel],
  ["pae_pgdir_above_4gb", XENFEAT.paePgdirAbove4gb],
  ["hvm_callback_vector", XENFEAT.hvmCallbackVector],
  ["dom0", XENFEAT.dom0],
]);
