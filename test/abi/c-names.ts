/**
 * What each declaration of src/abi is called in Xen's headers. Members are camelCase of their C names; the exceptions are
 * listed, and `null` means that C has no such name (a constant made of several, or a member we fold).
 */
import * as arch from "../../src/abi/arch-x86-64.ts";
import * as callback from "../../src/abi/callback.ts";
import { ELFNOTE } from "../../src/abi/elfnote.ts";
import { Errno } from "../../src/abi/errno.ts";
import * as evtchn from "../../src/abi/event-channel.ts";
import { XENFEAT, XENFEAT_NR_SUBMAPS } from "../../src/abi/features.ts";
import * as gnttab from "../../src/abi/grant-table.ts";
import { XenconsInterface } from "../../src/abi/io-console.ts";
import * as xs from "../../src/abi/io-xenstore.ts";
import * as memory from "../../src/abi/memory.ts";
import * as physdev from "../../src/abi/physdev.ts";
import * as platform from "../../src/abi/platform.ts";
import * as sched from "../../src/abi/sched.ts";
import * as vcpu from "../../src/abi/vcpu.ts";
import * as version from "../../src/abi/version.ts";
import * as xen from "../../src/abi/xen.ts";

/** A struct as the tests walk it: any declaration of src/abi. */
export interface AnyStruct {
  readonly size: number;
  readonly offsets: Readonly<Record<string, number>>;
}

/** snake_case of a camelCase name; digits stay with the word before them. */
export const snake = (name: string): string =>
  /^[A-Z0-9]+$/.test(name) ? name : name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

type Names = Readonly<Record<string, string | null>>;

export const layouts: readonly (readonly [cType: string, layout: AnyStruct, names?: Names])[] = [
  ["struct start_info", xen.StartInfo, { domU: "domU", nrP2mFrames: "nr_p2m_frames", firstP2mPfn: "first_p2m_pfn" }],
  ["struct shared_info", xen.SharedInfo],
  ["struct vcpu_info", xen.VcpuInfo],
  ["struct vcpu_time_info", xen.VcpuTimeInfo],
  ["struct mmu_update", xen.MmuUpdate],
  ["struct mmuext_op", xen.MmuextOp],
  ["struct multicall_entry", xen.MulticallEntry],
  ["struct vcpu_guest_context", arch.VcpuGuestContext, PADS()],
  ["struct cpu_user_regs", arch.CpuUserRegs, PADS()],
  ["struct trap_info", arch.TrapInfo],
  ["struct iret_context", arch.IretContext],
  ["struct arch_shared_info", arch.ArchSharedInfo, { p2mCr3: "p2m_cr3" }],
  ["struct arch_vcpu_info", arch.ArchVcpuInfo],
  ["struct xen_cpuid_leaf", arch.XenCpuidLeaf],
  ["struct evtchn_alloc_unbound", evtchn.AllocUnbound],
  ["struct evtchn_bind_interdomain", evtchn.BindInterdomain],
  ["struct evtchn_bind_virq", evtchn.BindVirq],
  ["struct evtchn_bind_pirq", evtchn.BindPirq],
  ["struct evtchn_bind_ipi", evtchn.BindIpi],
  ["struct evtchn_close", evtchn.EvtchnClose],
  ["struct evtchn_send", evtchn.EvtchnSend],
  ["struct evtchn_status", evtchn.EvtchnStatus],
  ["struct evtchn_bind_vcpu", evtchn.EvtchnBindVcpu],
  ["struct evtchn_unmask", evtchn.EvtchnUnmask],
  ["struct evtchn_reset", evtchn.EvtchnReset],
  ["struct evtchn_init_control", evtchn.EvtchnInitControl, { pad: "_pad" }],
  ["struct evtchn_expand_array", evtchn.EvtchnExpandArray],
  ["struct evtchn_set_priority", evtchn.EvtchnSetPriority],
  ["struct evtchn_op", evtchn.EvtchnOpCompat],
  ["struct evtchn_fifo_control_block", evtchn.EvtchnFifoControlBlock, { rsvd: "_rsvd" }],
  ["struct sched_shutdown", sched.SchedShutdown],
  ["struct sched_poll", sched.SchedPoll],
  ["struct sched_remote_shutdown", sched.SchedRemoteShutdown],
  ["struct sched_watchdog", sched.SchedWatchdog],
  ["struct sched_pin_override", sched.SchedPinOverride],
  ["struct vcpu_runstate_info", vcpu.VcpuRunstateInfo],
  ["struct vcpu_register_runstate_memory_area", vcpu.RegisterRunstateMemoryArea],
  ["struct vcpu_register_time_memory_area", vcpu.RegisterTimeMemoryArea],
  ["struct vcpu_set_periodic_timer", vcpu.SetPeriodicTimer],
  ["struct vcpu_set_singleshot_timer", vcpu.SetSingleshotTimer],
  ["struct vcpu_register_vcpu_info", vcpu.RegisterVcpuInfo],
  ["struct vcpu_get_physid", vcpu.GetPhysid],
  ["struct callback_register", callback.CallbackRegister],
  ["struct callback_unregister", callback.CallbackUnregister, { unused: "_unused" }],
  ["struct xennmi_callback", callback.XennmiCallback],
  ["struct xen_compile_info", version.CompileInfo],
  ["struct xen_platform_parameters", version.PlatformParameters],
  ["struct xen_feature_info", version.FeatureInfo],
  ["struct xen_build_id", version.BuildId],
  ["struct physdev_eoi", physdev.PhysdevEoi],
  ["struct physdev_pirq_eoi_gmfn", physdev.PhysdevPirqEoiGmfn],
  ["struct physdev_irq_status_query", physdev.PhysdevIrqStatusQuery],
  ["struct physdev_set_iopl", physdev.PhysdevSetIopl],
  ["struct physdev_set_iobitmap", physdev.PhysdevSetIobitmap],
  ["struct physdev_apic", physdev.PhysdevApic],
  ["struct physdev_irq", physdev.PhysdevIrq],
  ["struct physdev_map_pirq", physdev.PhysdevMapPirq],
  ["struct physdev_unmap_pirq", physdev.PhysdevUnmapPirq],
  ["struct physdev_setup_gsi", physdev.PhysdevSetupGsi],
  ["struct physdev_get_free_pirq", physdev.PhysdevGetFreePirq],
  ["struct physdev_op", physdev.PhysdevOpCompat],
  ["struct physdev_pci_device", physdev.PhysdevPciDevice],
  ["struct grant_entry_v1", gnttab.GrantEntryV1],
  ["struct grant_entry_header", gnttab.GrantEntryHeader],
  ["union grant_entry_v2", gnttab.GrantEntryV2, { spacer: "__spacer" }],
  ["struct gnttab_map_grant_ref", gnttab.MapGrantRef],
  ["struct gnttab_unmap_grant_ref", gnttab.UnmapGrantRef],
  ["struct gnttab_setup_table", gnttab.SetupTable],
  ["struct gnttab_dump_table", gnttab.DumpTable],
  ["struct gnttab_transfer", gnttab.GnttabTransfer],
  ["struct gnttab_copy", gnttab.GnttabCopy],
  ["struct gnttab_query_size", gnttab.QuerySize],
  ["struct gnttab_unmap_and_replace", gnttab.UnmapAndReplace],
  ["struct gnttab_set_version", gnttab.GnttabSetVersion],
  ["struct gnttab_get_status_frames", gnttab.GetStatusFrames],
  ["struct gnttab_get_version", gnttab.GnttabGetVersion],
  ["struct gnttab_swap_grant_ref", gnttab.SwapGrantRef, { refA: "ref_a", refB: "ref_b" }],
  ["struct gnttab_cache_flush", gnttab.CacheFlush],
  ["struct xen_memory_reservation", memory.MemoryReservation],
  ["struct xen_memory_exchange", memory.MemoryExchange, { input: "in", output: "out" }],
  ["struct xen_memory_domain", memory.MemoryDomain],
  ["struct xen_machphys_mfn_list", memory.MachphysMfnList],
  ["struct xen_machphys_mapping", memory.MachphysMapping],
  ["struct xen_add_to_physmap", memory.AddToPhysmap, { count: "size" }],
  ["struct xen_add_to_physmap_batch", memory.AddToPhysmapBatch, { count: "size" }],
  ["struct xen_remove_from_physmap", memory.RemoveFromPhysmap],
  ["struct xen_memory_map", memory.MemoryMapArg],
  ["struct xen_foreign_memory_map", memory.ForeignMemoryMap],
  ["struct xen_pod_target", memory.PodTarget],
  ["struct xen_mem_acquire_resource", memory.AcquireResource],
  ["struct xen_vnuma_topology_info", memory.VnumaTopologyInfo],
  ["struct xen_pmu_params", platform.PmuParams],
  ["struct xencons_interface", XenconsInterface],
  ["struct xsd_sockmsg", xs.XsdSockmsg],
  ["struct xenstore_domain_interface", xs.XenstoreDomainInterface],
];

function PADS(): Names {
  return Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`pad${i}`, `_pad${i}`]));
}

/** [name of our table, the table, how C spells a key (default: prefix + snake_case)]. */
export const constants: readonly (readonly [
  table: string,
  values: Readonly<Record<string, number>>,
  prefix: string,
  names?: Names,
])[] = [
  [
    "HYPERVISOR",
    xen.HYPERVISOR,
    "__HYPERVISOR_",
    Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`arch${i}`, `arch_${i}`])),
  ],
  ["VIRQ", xen.VIRQ, "VIRQ_", { ...upper(xen.VIRQ), ...archVirqs() }],
  ["DOMID", xen.DOMID, "DOMID_", upper(xen.DOMID)],
  ["MMU", xen.MMU, "MMU_", upper(xen.MMU)],
  ["MMUEXT", xen.MMUEXT, "MMUEXT_", { ...upper(xen.MMUEXT), ...pins() }],
  ["UVMF", xen.UVMF, "UVMF_", upper(xen.UVMF)],
  ["CONSOLEIO", xen.CONSOLEIO, "CONSOLEIO_"],
  ["VMASST_CMD", xen.VMASST_CMD, "VMASST_CMD_"],
  [
    "VMASST_TYPE",
    xen.VMASST_TYPE,
    "VMASST_TYPE_",
    { fourGbSegments: "4gb_segments", fourGbSegmentsNotify: "4gb_segments_notify", m2pStrict: "m2p_strict" },
  ],
  ["SIF", xen.SIF, "SIF_", { ...upper(xen.SIF), virtP2m4tools: "VIRT_P2M_4TOOLS", pmMask: "PM_MASK" }],
  ["PVCLOCK", xen.PVCLOCK, "XEN_PVCLOCK_", { tscStable: "TSC_STABLE_BIT", guestStopped: "GUEST_STOPPED" }],
  ["NR_VIRQS", { x: xen.NR_VIRQS }, "", { x: "NR_VIRQS" }],
  ["MAX_GUEST_CMDLINE", { x: xen.MAX_GUEST_CMDLINE }, "", { x: "MAX_GUEST_CMDLINE" }],
  ["LEGACY_MAX_VCPUS", { x: xen.LEGACY_MAX_VCPUS }, "", { x: "XEN_LEGACY_MAX_VCPUS" }],
  ["FLAT", arch.FLAT, "FLAT_RING3_", upper(arch.FLAT)],
  ["FIRST_RESERVED_GDT_PAGE", { x: arch.FIRST_RESERVED_GDT_PAGE }, "", { x: "FIRST_RESERVED_GDT_PAGE" }],
  ["FIRST_RESERVED_GDT_ENTRY", { x: arch.FIRST_RESERVED_GDT_ENTRY }, "", { x: "FIRST_RESERVED_GDT_ENTRY" }],
  ["HYPERVISOR_VIRT_START", { x: arch.HYPERVISOR_VIRT_START }, "", { x: "HYPERVISOR_VIRT_START" }],
  ["HYPERVISOR_VIRT_END", { x: arch.HYPERVISOR_VIRT_END }, "", { x: "HYPERVISOR_VIRT_END" }],
  ["MACH2PHYS_VIRT_START", { x: arch.MACH2PHYS_VIRT_START }, "", { x: "MACH2PHYS_VIRT_START" }],
  ["MACH2PHYS_VIRT_END", { x: arch.MACH2PHYS_VIRT_END }, "", { x: "MACH2PHYS_VIRT_END" }],
  ["SEGBASE", arch.SEGBASE, "SEGBASE_", upper(arch.SEGBASE)],
  ["VGCF", arch.VGCF, "VGCF_", { i387Valid: "i387_valid" }],
  [
    "XEN_CPUID",
    arch.XEN_CPUID,
    "XEN_CPUID_",
    { ...upper(arch.XEN_CPUID), feat1MmuPtUpdatePreserveAd: "FEAT1_MMU_PT_UPDATE_PRESERVE_AD" },
  ],
  ["EVTCHNOP", evtchn.EVTCHNOP, "EVTCHNOP_"],
  ["EVTCHNSTAT", evtchn.EVTCHNSTAT, "EVTCHNSTAT_"],
  ["BIND_PIRQ_WILL_SHARE", { x: evtchn.BIND_PIRQ_WILL_SHARE }, "", { x: "BIND_PIRQ__WILL_SHARE" }],
  ["EVTCHN_2L_NR_CHANNELS", { x: evtchn.EVTCHN_2L_NR_CHANNELS }, "", { x: "EVTCHN_2L_NR_CHANNELS" }],
  [
    "EVTCHN_FIFO",
    evtchn.EVTCHN_FIFO,
    "EVTCHN_FIFO_",
    {
      ...upper(evtchn.EVTCHN_FIFO),
      pendingBit: "PENDING",
      maskedBit: "MASKED",
      linkedBit: "LINKED",
      busyBit: "BUSY",
      wordsPerPage: null,
    },
  ],
  ["SCHEDOP", sched.SCHEDOP, "SCHEDOP_"],
  ["SHUTDOWN", sched.SHUTDOWN, "SHUTDOWN_", { max: "MAX" }],
  ["VCPUOP", vcpu.VCPUOP, "VCPUOP_"],
  ["RUNSTATE", vcpu.RUNSTATE, "RUNSTATE_"],
  ["CALLBACKOP", callback.CALLBACKOP, "CALLBACKOP_"],
  ["CALLBACKTYPE", callback.CALLBACKTYPE, "CALLBACKTYPE_"],
  ["CALLBACKF", callback.CALLBACKF, "CALLBACKF_"],
  ["XENNMI", callback.XENNMI, "XENNMI_"],
  [
    "XENFEAT",
    XENFEAT,
    "XENFEAT_",
    { paePgdirAbove4gb: "pae_pgdir_above_4gb", armSmcccSupported: "ARM_SMCCC_supported" },
  ],
  ["XENFEAT_NR_SUBMAPS", { x: XENFEAT_NR_SUBMAPS }, "", { x: "XENFEAT_NR_SUBMAPS" }],
  ["XENVER", version.XENVER, "XENVER_"],
  ["XEN_EXTRAVERSION_LEN", { x: version.XEN_EXTRAVERSION_LEN }, "", { x: "XEN_EXTRAVERSION_LEN" }],
  ["XEN_CAPABILITIES_INFO_LEN", { x: version.XEN_CAPABILITIES_INFO_LEN }, "", { x: "XEN_CAPABILITIES_INFO_LEN" }],
  ["XEN_CHANGESET_INFO_LEN", { x: version.XEN_CHANGESET_INFO_LEN }, "", { x: "XEN_CHANGESET_INFO_LEN" }],
  ["XEN_COMMANDLINE_LEN", { x: version.XEN_COMMANDLINE_LEN }, "", { x: "sizeof(xen_commandline_t)" }],
  ["XEN_DOMAIN_HANDLE_LEN", { x: version.XEN_DOMAIN_HANDLE_LEN }, "", { x: "sizeof(xen_domain_handle_t)" }],
  [
    "PHYSDEVOP",
    physdev.PHYSDEVOP,
    "PHYSDEVOP_",
    { irqUnmaskNotify: "IRQ_UNMASK_NOTIFY", pirqEoiGmfnV1: "pirq_eoi_gmfn_v1", pirqEoiGmfnV2: "pirq_eoi_gmfn_v2" },
  ],
  ["XENIRQSTAT", physdev.XENIRQSTAT, "XENIRQSTAT_"],
  ["GTF", gnttab.GTF, "GTF_", { pwt: "PWT", pcd: "PCD", pat: "PAT" }],
  ["GNTTABOP", gnttab.GNTTABOP, "GNTTABOP_"],
  ["GNTCOPY", gnttab.GNTCOPY, "GNTCOPY_"],
  ["GNTMAP", gnttab.GNTMAP, "GNTMAP_", { guestAvail0Bit: null, containsPte: "contains_pte" }],
  ["GNTST", gnttab.GNTST, "GNTST_"],
  ["GNTTAB_NR_RESERVED_ENTRIES", { x: gnttab.GNTTAB_NR_RESERVED_ENTRIES }, "", { x: "GNTTAB_NR_RESERVED_ENTRIES" }],
  ["GNTTAB_RESERVED_CONSOLE", { x: gnttab.GNTTAB_RESERVED_CONSOLE }, "", { x: "GNTTAB_RESERVED_CONSOLE" }],
  ["GNTTAB_RESERVED_XENSTORE", { x: gnttab.GNTTAB_RESERVED_XENSTORE }, "", { x: "GNTTAB_RESERVED_XENSTORE" }],
  ["XENMEM", memory.XENMEM, "XENMEM_"],
  [
    "XENMEMF",
    memory.XENMEMF,
    "XENMEMF_",
    { addressBitsMask: "get_address_bits(~0U)", nodeShift: null, nodeMask: "get_node(0xff00)+1", vnode: "vnode" },
  ],
  ["XENMAPSPACE", memory.XENMAPSPACE, "XENMAPSPACE_"],
  [
    "XENMAPIDX_GRANT_TABLE_STATUS",
    { x: memory.XENMAPIDX_GRANT_TABLE_STATUS },
    "",
    { x: "XENMAPIDX_grant_table_status" },
  ],
  ["XENPF", platform.XENPF, "XENPF_"],
  ["XENPMU", platform.XENPMU, "XENPMU_", { modeGet: "mode_get", init: "init" }],
  ["ELFNOTE", ELFNOTE, "XEN_ELFNOTE_", { ...upper(ELFNOTE), l1MfnValid: "L1_MFN_VALID", initP2m: "INIT_P2M" }],
  ["Errno", Errno, "XEN_", { EINTR: null, ERESTART: null }],
  ["XS", xs.XS, "XS_", upper(xs.XS)],
  ["XENSTORE_RING_SIZE", { x: xs.XENSTORE_RING_SIZE }, "", { x: "XENSTORE_RING_SIZE" }],
  ["XENSTORE_PAYLOAD_MAX", { x: xs.XENSTORE_PAYLOAD_MAX }, "", { x: "XENSTORE_PAYLOAD_MAX" }],
  ["XENSTORE_ABS_PATH_MAX", { x: xs.XENSTORE_ABS_PATH_MAX }, "", { x: "XENSTORE_ABS_PATH_MAX" }],
  ["XENSTORE_REL_PATH_MAX", { x: xs.XENSTORE_REL_PATH_MAX }, "", { x: "XENSTORE_REL_PATH_MAX" }],
  [
    "XENSTORE_SERVER_FEATURE",
    xs.XENSTORE_SERVER_FEATURE,
    "XENSTORE_SERVER_FEATURE_",
    upper(xs.XENSTORE_SERVER_FEATURE),
  ],
  ["XENSTORE_CONNECTION", xs.XENSTORE_CONNECTION, "XENSTORE_", upper(xs.XENSTORE_CONNECTION)],
  ["XENSTORE_ERROR", xs.XENSTORE_ERROR, "XENSTORE_ERROR_", upper(xs.XENSTORE_ERROR)],
  ["XENBUS_STATE", xs.XENBUS_STATE, "XenbusState", pascal(xs.XENBUS_STATE)],
];

function upper(table: object): Names {
  return Object.fromEntries(Object.keys(table).map((name) => [name, snake(name).toUpperCase()]));
}
function pascal(table: object): Names {
  return Object.fromEntries(Object.keys(table).map((name) => [name, name[0].toUpperCase() + name.slice(1)]));
}
function archVirqs(): Names {
  return Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`arch${i}`, `ARCH_${i}`]));
}
function pins(): Names {
  return Object.fromEntries([1, 2, 3, 4].map((level) => [`pinL${level}Table`, `PIN_L${level}_TABLE`]));
}
