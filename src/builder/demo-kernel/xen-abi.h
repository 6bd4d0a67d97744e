/* The part of Xen's public ABI (64-bit PV) that this kernel uses. Layouts are checked at the end of the file. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char s8;
typedef int s32;
typedef long s64;

/* Hypercall numbers (xen.h). */
#define HC_set_trap_table 0
#define HC_mmu_update 1
#define HC_memory_op 12
#define HC_multicall 13
#define HC_update_va_mapping 14
#define HC_xen_version 17
#define HC_vm_assist 21
#define HC_iret 23
#define HC_vcpu_op 24
#define HC_mmuext_op 26
#define HC_sched_op 29
#define HC_callback_op 30
#define HC_event_channel_op 32

#define DOMID_SELF 0x7ff0

/* errno.h, those we name. */
#define XEN_EPERM 1
#define XEN_ENOENT 2
#define XEN_EIO 5
#define XEN_EFAULT 14
#define XEN_EBUSY 16
#define XEN_EEXIST 17
#define XEN_EINVAL 22
#define XEN_ENOSYS 38

/* start_info: what the domain builder tells us; its address is in rsi at entry. */
struct start_info {
  char magic[32]; /* "xen-3.0-x86_64" */
  u64 nr_pages;
  u64 shared_info; /* machine address */
  u32 flags;       /* SIF_* */
  u64 store_mfn;
  u32 store_evtchn;
  u64 console_mfn;
  u32 console_evtchn;
  u64 pt_base; /* virtual address of the L4 */
  u64 nr_pt_frames;
  u64 mfn_list; /* virtual address of the P2M */
  u64 mod_start;
  u64 mod_len;
  char cmd_line[1024];
  u64 first_p2m_pfn;
  u64 nr_p2m_frames;
};

struct vcpu_time_info {
  u32 version; /* odd while Xen writes */
  u32 pad0;
  u64 tsc_timestamp;
  u64 system_time; /* ns at tsc_timestamp */
  u32 tsc_to_system_mul;
  s8 tsc_shift;
  u8 flags;
  u8 pad1[2];
};

struct vcpu_info {
  u8 evtchn_upcall_pending;
  u8 evtchn_upcall_mask;
  u8 pad[6];
  u64 evtchn_pending_sel;
  u64 cr2; /* of the last page fault */
  u64 pad2;
  struct vcpu_time_info time;
};

struct shared_info {
  struct vcpu_info vcpu_info[32];
  u64 evtchn_pending[64];
  u64 evtchn_mask[64];
  u32 wc_version; /* wall clock at system time 0 */
  u32 wc_sec;
  u32 wc_nsec;
  u32 wc_sec_hi;
  u64 max_pfn; /* arch: P2M as the toolstack finds it for save and migration */
  u64 pfn_to_mfn_frame_list_list;
  u64 nmi_reason;
  u64 p2m_cr3;
  u64 p2m_vaddr;
  u64 p2m_generation;
};

/* Event channels (event_channel.h), 2-level. */
#define EVTCHNOP_bind_interdomain 0
#define EVTCHNOP_bind_virq 1
#define EVTCHNOP_close 3
#define EVTCHNOP_send 4
#define EVTCHNOP_status 5
#define EVTCHNOP_alloc_unbound 6
#define EVTCHNOP_bind_ipi 7
#define EVTCHNOP_unmask 9
#define VIRQ_TIMER 0

struct evtchn_bind_interdomain { u16 remote_dom; u32 remote_port; u32 local_port; };
struct evtchn_bind_virq { u32 virq; u32 vcpu; u32 port; };
struct evtchn_bind_ipi { u32 vcpu; u32 port; };
struct evtchn_alloc_unbound { u16 dom; u16 remote_dom; u32 port; };
struct evtchn_port { u32 port; }; /* close, send, unmask */
struct evtchn_status {
  u16 dom;
  u32 port;
  u32 status; /* 0 closed, 1 unbound, 2 interdomain, 3 pirq, 4 virq, 5 ipi */
  u32 vcpu;
  union {
    struct { u16 dom; } unbound;
    struct { u16 dom; u32 port; } interdomain;
    u32 virq;
  } u;
};

/* sched.h */
#define SCHEDOP_yield 0
#define SCHEDOP_block 1
#define SCHEDOP_shutdown 2
#define SHUTDOWN_poweroff 0
#define SHUTDOWN_reboot 1
#define SHUTDOWN_suspend 2
#define SHUTDOWN_crash 3

/* vcpu.h */
#define VCPUOP_initialise 0
#define VCPUOP_up 1
#define VCPUOP_down 2
#define VCPUOP_is_up 3
#define VCPUOP_stop_periodic_timer 7
#define VCPUOP_set_singleshot_timer 8
#define VCPUOP_stop_singleshot_timer 9
struct vcpu_set_singleshot_timer { u64 timeout_abs_ns; u32 flags; };

/* callback.h */
#define CALLBACKOP_register 0
#define CALLBACKTYPE_event 0
#define CALLBACKTYPE_failsafe 1
#define CALLBACKF_mask_events 1
struct callback_register { u16 type; u16 flags; u64 address; };

/* version.h */
#define XENVER_version 0
#define XENVER_extraversion 1
#define XENVER_capabilities 3
#define XENVER_get_features 6
struct xen_feature_info { u32 submap_idx; u32 submap; };

/* memory.h */
#define XENMEM_maximum_ram_page 2
#define XENMEM_current_reservation 3
#define XENMEM_maximum_reservation 4

/* xen.h: traps and page tables */
struct trap_info {
  u8 vector;
  u8 flags; /* bits 0-1: DPL; bit 2: mask events */
  u16 cs;
  u64 address;
};
#define FLAT_KERNEL_CS 0xe033
#define FLAT_KERNEL_SS 0xe02b

#define VMASST_CMD_enable 0
#define VMASST_TYPE_writable_pagetables 2 /* plain stores to page tables are emulated */

#define MMU_NORMAL_PT_UPDATE 0
struct mmu_update { u64 ptr; u64 val; };

#define MMUEXT_PIN_L1_TABLE 0
#define MMUEXT_PIN_L4_TABLE 3
#define MMUEXT_UNPIN_TABLE 4
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_TLB_FLUSH_LOCAL 6
#define MMUEXT_INVLPG_LOCAL 7
struct mmuext_op { u32 cmd; u64 arg1; u64 arg2; };

#define UVMF_NONE 0
#define UVMF_INVLPG 2
struct multicall_entry { u64 op; u64 result; u64 args[6]; };

#define PTE_P 0x1UL
#define PTE_RW 0x2UL
#define PTE_US 0x4UL
#define PTE_A 0x20UL
#define PTE_D 0x40UL
#define PTE_PSE 0x80UL
#define PTE_FRAME 0x000ffffffffff000UL

#define MACH2PHYS_VIRT_START 0xffff800000000000UL

/* io/console.h */
struct xencons_interface {
  char in[1024];
  char out[2048];
  u32 in_cons, in_prod;
  u32 out_cons, out_prod;
};

/* io/xs_wire.h */
enum xs_type {
  XS_DIRECTORY = 1, XS_READ = 2, XS_WATCH = 4, XS_GET_DOMAIN_PATH = 10, XS_WRITE = 11, XS_WATCH_EVENT = 15, XS_ERROR = 16,
};
struct xsd_sockmsg { u32 type; u32 req_id; u32 tx_id; u32 len; };
#define XENSTORE_PAYLOAD_MAX 4096
struct xenstore_domain_interface {
  char req[1024];
  char rsp[1024];
  u32 req_cons, req_prod;
  u32 rsp_cons, rsp_prod;
};

/* arch-x86: the state a vCPU is brought up with. */
struct cpu_user_regs {
  u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  u32 error_code, entry_vector;
  u64 rip;
  u16 cs, pad0[1];
  u8 saved_upcall_mask, pad1[3];
  u64 rflags, rsp;
  u16 ss, pad2[3];
  u16 es, pad3[3];
  u16 ds, pad4[3];
  u16 fs, pad5[3];
  u16 gs, pad6[3];
};
#define VGCF_in_kernel 4
struct vcpu_guest_context {
  u8 fpu_ctxt[512];
  u64 flags;
  struct cpu_user_regs user_regs;
  struct trap_info trap_ctxt[256];
  u64 ldt_base, ldt_ents;
  u64 gdt_frames[16], gdt_ents;
  u64 kernel_ss, kernel_sp;
  u64 ctrlreg[8];
  u64 debugreg[8];
  u64 event_callback_eip, failsafe_callback_eip, syscall_callback_eip;
  u64 vm_assist;
  u64 fs_base, gs_base_kernel, gs_base_user;
};

#define CHECK_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
#define CHECK_OFFSET(type, field, offset) _Static_assert(__builtin_offsetof(struct type, field) == (offset), #type "." #field)
CHECK_OFFSET(start_info, store_mfn, 56);
CHECK_OFFSET(start_info, console_mfn, 72);
CHECK_OFFSET(start_info, pt_base, 88);
CHECK_OFFSET(start_info, cmd_line, 128);
CHECK_SIZE(vcpu_info, 64);
CHECK_OFFSET(shared_info, evtchn_pending, 2048);
CHECK_OFFSET(shared_info, wc_version, 3072);
CHECK_OFFSET(shared_info, max_pfn, 3088);
CHECK_OFFSET(xencons_interface, in_cons, 3072);
CHECK_OFFSET(xenstore_domain_interface, req_cons, 2048);
CHECK_SIZE(cpu_user_regs, 200);
CHECK_OFFSET(cpu_user_regs, rip, 128);
CHECK_OFFSET(cpu_user_regs, ss, 160);
CHECK_SIZE(vcpu_guest_context, 5168);
CHECK_SIZE(trap_info, 16);
CHECK_SIZE(multicall_entry, 64);
CHECK_SIZE(evtchn_status, 24);
