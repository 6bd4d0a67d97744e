/* Hypercalls as data: a row for each sub-operation, with what its registers and the fields of its argument may be, drawn or walked through. */
#include "probe.h"

/* Registers: O the sub-operation, S the address of the argument, else a kind. A field is "name:kind".
 * Kinds: d domid, D another's domid, v vCPU, V a vCPU that is down, p port, r virq, n count, f flags, w 32 bits, h 16 bits, b byte, m frame number (mfn),
 * g pfn, a address, t time, q 64 bits, o order, s selector. */
struct row { const char *call; u16 number; u16 op; const char *name, *registers, *fields; };

static const struct row rows[] = {
    {"set_trap_table", 0, 0, "", "S", "vector:b flags:b cs:h address:a end0:z end1:z"},
    {"mmu_update", 1, 0, "", "Snad", "ptr:M val:q"},
    {"set_gdt", 2, 0, "", "Sn", "frame0:m frame1:m"},
    {"stack_switch", 3, 0, "", "sa", ""},
    {"set_callbacks", 4, 0, "", "aaa", ""},
    {"fpu_taskswitch", 5, 0, "", "n", ""},
    {"sched_op_compat", 6, 0, "yield", "On", ""},
    {"sched_op_compat", 6, 3, "3", "OS", "a:q b:q"},
    {"platform_op", 7, 0, "", "S", "cmd:w version:P a:q b:q"},
    {"set_debugreg", 8, 0, "", "nX", ""},
    {"get_debugreg", 9, 0, "", "n", ""},
    {"update_descriptor", 10, 0, "", "Mq", ""},
    {"11", 11, 0, "", "nS", "a:q"},
    {"memory_op", 12, 0, "increase_reservation", "OS", "start:a nr:N order:o flags:f domid:d"},
    {"memory_op", 12, 1, "decrease_reservation", "OS", "start:L nr:N order:o flags:f domid:d"},
    {"memory_op", 12, 2, "maximum_ram_page (a bit above)", "+S", "a:q"},
    {"memory_op", 12, 3, "current_reservation", "OS", "domid:d"},
    {"memory_op", 12, 4, "maximum_reservation", "OS", "domid:d"},
    {"memory_op", 12, 5, "machphys_mfn_list", "OS", "max:n start:a nr:w"},
    {"memory_op", 12, 6, "populate_physmap", "OS", "start:a nr:N order:o flags:f domid:d"},
    {"memory_op", 12, 7, "add_to_physmap", "OS", "domid:d size:h space:n idx:q gpfn:g"},
    {"memory_op", 12, 8, "translate_gpfn_list", "OS", "a:q b:q"},
    {"memory_op", 12, 9, "memory_map", "OS", "nr:n buffer:a"},
    {"memory_op", 12, 10, "machine_memory_map", "OS", "nr:n buffer:a"},
    {"memory_op", 12, 11, "exchange", "OS", "in.start:L in.nr:N in.order:o in.flags:f in.domid:d out.start:a out.nr:N out.order:o out.flags:f out.domid:d done:N"},
    {"memory_op", 12, 12, "machphys_mapping", "OS", "start:q end:q max:q"},
    {"memory_op", 12, 13, "set_memory_map", "OS", "domid:d nr:n buffer:a"},
    {"memory_op", 12, 14, "maximum_gpfn", "OS", "domid:d"},
    {"memory_op", 12, 15, "remove_from_physmap", "OS", "domid:d gpfn:g"},
    {"memory_op", 12, 16, "set_pod_target", "OS", "target:q tot:q cache:q entries:q domid:d"},
    {"memory_op", 12, 17, "get_pod_target", "OS", "target:q tot:q cache:q entries:q domid:d"},
    {"memory_op", 12, 18, "get_sharing_freed_pages", "OS", "a:q"},
    {"memory_op", 12, 19, "get_sharing_shared_pages", "OS", "a:q"},
    {"memory_op", 12, 20, "paging_op", "OS", "op:b domain:d buffer:q gfn:g"},
    {"memory_op", 12, 21, "access_op", "OS", "op:b access:b domid:d nr:n pfn:g"},
    {"memory_op", 12, 22, "sharing_op", "OS", "op:b domain:d a:q b:q c:q d:q e:q"},
    {"memory_op", 12, 23, "add_to_physmap_batch", "OS", "domid:d space:h size:h extra:h idxs:a gpfns:a errs:a"},
    {"memory_op", 12, 24, "claim_pages", "OS", "start:a nr:N order:o flags:f domid:d"},
    {"memory_op", 12, 25, "machphys_compat_mfn_list", "OS", "max:n start:a nr:w"},
    {"memory_op", 12, 26, "get_vnumainfo", "OS", "domid:d pad:h nodes:n vcpus:n regions:n a:a b:a c:a"},
    {"memory_op", 12, 27, "reserved_device_memory_map", "OS", "flags:f nr:n buffer:a seg:h bus:b devfn:b"},
    {"memory_op", 12, 28, "acquire_resource", "OS", "domid:d type:h id:n nr:n pad:w frame:q list:a"},
    {"memory_op", 12, 29, "29", "OS", "a:q b:q"},
    {"memory_op", 12, 63, "63", "OS", "a:q b:q"},
    {"multicall", 13, 0, "", "Sn", "op:q result:q a:q b:q c:q d:q e:q f:q"},
    {"update_va_mapping", 14, 0, "", "aqF", ""},
    {"set_timer_op", 15, 0, "", "t", ""},
    {"event_channel_op_compat", 16, 0, "", "S", "cmd:w pad:w a:q b:q c:q"},
    {"xen_version", 17, 0, "version", "OS", "a:q"},
    {"xen_version", 17, 6, "get_features", "OS", "index:n map:w"},
    {"xen_version", 17, 7, "pagesize", "On", ""},
    {"xen_version", 17, 10, "build_id", "OS", "len:n"},
    {"xen_version", 17, 11, "11", "OS", "len:n"},
    {"console_io", 18, 0, "write", "OnS", "a:q"},
    {"console_io", 18, 1, "read", "OnS", "a:q"},
    {"console_io", 18, 2, "2", "OnS", "a:q"},
    {"physdev_op_compat", 19, 0, "", "S", "cmd:w pad:w a:q b:q"},
    {"grant_table_op", 20, 3, "dump_table", "OSn", "dom:d status:h"},
    {"grant_table_op", 20, 12, "cache_flush", "OSn", "addr:q offset:h length:h op:f"},
    {"grant_table_op", 20, 13, "13", "OSn", "a:q b:q"},
    {"vm_assist", 21, 0, "", "nn", ""},
    {"update_va_mapping_otherdomain", 22, 0, "", "aqFd", ""},
    {"vcpu_op", 24, 0, "initialise", "OvS", "a:q"},
    {"vcpu_op", 24, 1, "up", "OVS", "a:q"},
    {"vcpu_op", 24, 2, "down", "OVS", "a:q"},
    {"vcpu_op", 24, 3, "is_up", "OvS", "a:q"},
    {"vcpu_op", 24, 4, "get_runstate_info", "Ova", ""},
    {"vcpu_op", 24, 5, "register_runstate_memory_area", "OVS", "addr:a"},
    {"vcpu_op", 24, 6, "set_periodic_timer", "OvS", "period:t"},
    {"vcpu_op", 24, 7, "stop_periodic_timer", "OvS", "a:q"},
    {"vcpu_op", 24, 8, "set_singleshot_timer", "OvS", "timeout:t flags:f"},
    {"vcpu_op", 24, 9, "stop_singleshot_timer", "OvS", "a:q"},
    {"vcpu_op", 24, 10, "register_vcpu_info", "OVS", "mfn:i offset:n rsvd:w"},
    {"vcpu_op", 24, 11, "send_nmi", "OVS", "a:q"},
    {"vcpu_op", 24, 12, "get_physid", "OvS", "phys_id:q"},
    {"vcpu_op", 24, 13, "register_vcpu_time_memory_area", "OVS", "addr:a"},
    {"vcpu_op", 24, 14, "14", "OvS", "a:q"},
    {"set_segment_base", 25, 0, "fs", "Oa", ""},
    {"set_segment_base", 25, 1, "gs_user", "Oa", ""},
    {"set_segment_base", 25, 2, "gs_kernel", "Oa", ""},
    {"set_segment_base", 25, 3, "gs_user_sel", "Os", ""},
    {"set_segment_base", 25, 4, "4", "Oa", ""},
    {"mmuext_op", 26, 0, "", "Snad", "cmd:e arg1:m arg2:m"},
    {"mmuext_op", 26, 0, "one", "S10=", "cmd:E arg1:i arg2:i"},
    {"mmuext_op", 26, 0, "one", "S10=", "cmd:E arg1:a arg2:a"},
    {"xsm_op", 27, 0, "", "S", "cmd:w a:q b:q"},
    {"nmi_op", 28, 0, "register_callback", "OS", "address:a pad:q"},
    {"nmi_op", 28, 1, "unregister_callback", "OS", "a:q"},
    {"nmi_op", 28, 2, "2", "OS", "a:q"},
    {"sched_op", 29, 0, "yield", "OS", "a:q"},
    {"sched_op", 29, 4, "remote_shutdown", "OS", "domid:D reason:n"},
    {"sched_op", 29, 6, "watchdog", "OS", "id:n timeout:T"},
    {"sched_op", 29, 7, "pin_override", "OS", "pcpu:n"},
    {"sched_op", 29, 8, "8", "OS", "a:q"},
    {"callback_op", 30, 0, "register", "OS", "type:h flags:h pad:w address:a"},
    {"callback_op", 30, 1, "unregister", "OS", "type:h unused:h"},
    {"callback_op", 30, 2, "2", "OS", "type:h unused:h"},
    {"xenoprof_op", 31, 0, "init", "OS", "a:q b:q"},
    {"event_channel_op", 32, 0, "bind_interdomain", "OS", "remote_dom:d remote_port:p port:p"},
    {"event_channel_op", 32, 1, "bind_virq", "OS", "virq:r vcpu:v port:p"},
    {"event_channel_op", 32, 2, "bind_pirq", "OS", "pirq:n flags:f port:p"},
    {"event_channel_op", 32, 3, "close", "OS", "port:p"},
    {"event_channel_op", 32, 4, "send", "OS", "port:p"},
    {"event_channel_op", 32, 5, "status", "OS", "dom:d port:p status:w vcpu:v udom:d uport:w"},
    {"event_channel_op", 32, 6, "alloc_unbound", "OS", "dom:d remote_dom:d port:p"},
    {"event_channel_op", 32, 7, "bind_ipi", "OS", "vcpu:v port:p"},
    {"event_channel_op", 32, 8, "bind_vcpu", "OS", "port:p vcpu:v"},
    {"event_channel_op", 32, 9, "unmask", "OS", "port:p"},
    {"event_channel_op", 32, 10, "reset", "OS", "dom:D"},
    {"event_channel_op", 32, 12, "expand_array", "OS", "gfn:m"},
    {"event_channel_op", 32, 13, "set_priority", "OS", "port:p priority:n"},
    {"event_channel_op", 32, 14, "reset_cont", "OS", "dom:D"},
    {"event_channel_op", 32, 15, "15", "OS", "dom:D"},
    {"physdev_op", 33, 0, "0", "OS", "a:q b:q"},
    {"physdev_op", 33, 4, "irq_unmask_notify", "OS", "a:q b:q"},
    {"physdev_op", 33, 5, "irq_status_query", "OS", "irq:n flags:w"},
    {"physdev_op", 33, 6, "set_iopl", "OS", "iopl:n"},
    {"physdev_op", 33, 7, "set_iobitmap", "OS", "bitmap:a nr:w"},
    {"physdev_op", 33, 8, "apic_read", "OS", "base:q reg:w value:w"},
    {"physdev_op", 33, 9, "apic_write", "OS", "base:q reg:w value:w"},
    {"physdev_op", 33, 10, "alloc_irq_vector", "OS", "irq:n vector:w"},
    {"physdev_op", 33, 11, "free_irq_vector", "OS", "irq:n vector:w"},
    {"physdev_op", 33, 12, "eoi", "OS", "irq:n"},
    {"physdev_op", 33, 13, "map_pirq", "OS", "domid:d type:n index:n pirq:n bus:n devfn:n entry:n base:q"},
    {"physdev_op", 33, 14, "unmap_pirq", "OS", "domid:d pirq:n"},
    {"physdev_op", 33, 15, "manage_pci_add", "OS", "bus:b devfn:b"},
    {"physdev_op", 33, 16, "manage_pci_remove", "OS", "bus:b devfn:b"},
    {"physdev_op", 33, 18, "18", "OS", "a:q b:q"},
    {"physdev_op", 33, 19, "restore_msi", "OS", "bus:b devfn:b"},
    {"physdev_op", 33, 20, "manage_pci_add_ext", "OS", "bus:b devfn:b extfn:w virtfn:w a:q"},
    {"physdev_op", 33, 21, "setup_gsi", "OS", "gsi:n triggering:b polarity:b"},
    {"physdev_op", 33, 22, "22", "OS", "a:q b:q"},
    {"physdev_op", 33, 23, "get_free_pirq", "OS", "type:n pirq:w"},
    {"physdev_op", 33, 24, "pci_mmcfg_reserved", "OS", "address:q segment:h start:b end:b flags:f"},
    {"physdev_op", 33, 25, "pci_device_add", "OS", "seg:h bus:b devfn:b flags:f a:q b:q"},
    {"physdev_op", 33, 26, "pci_device_remove", "OS", "seg:h bus:b devfn:b"},
    {"physdev_op", 33, 27, "restore_msi_ext", "OS", "seg:h bus:b devfn:b"},
    {"physdev_op", 33, 29, "dbgp_op", "OS", "op:b bus:b a:h b:w"},
    {"physdev_op", 33, 30, "prepare_msix", "OS", "seg:h bus:b devfn:b"},
    {"physdev_op", 33, 31, "release_msix", "OS", "seg:h bus:b devfn:b"},
    {"physdev_op", 33, 32, "32", "OS", "a:q b:q"},
    {"hvm_op", 34, 0, "set_param", "OS", "domid:d pad:h index:n value:q"},
    {"hvm_op", 34, 1, "get_param", "OS", "domid:d pad:h index:n value:q"},
    {"hvm_op", 34, 5, "flush_tlbs", "OS", "a:q"},
    {"hvm_op", 34, 9, "pagetable_dying", "OS", "domid:d pad:h pad2:w gpa:q"},
    {"hvm_op", 34, 10, "get_time", "OS", "now:q"},
    {"hvm_op", 34, 11, "xentrace", "OS", "event:h extra:h a:w"},
    {"hvm_op", 34, 15, "get_mem_type", "OS", "domid:d type:h pad:w pfn:g"},
    {"hvm_op", 34, 23, "set_evtchn_upcall_vector", "OS", "vcpu:v vector:b"},
    {"hvm_op", 34, 24, "guest_request_vm_event", "On", ""},
    {"hvm_op", 34, 25, "altp2m", "OS", "version:w cmd:w domain:d pad:h pad2:w a:q b:q"},
    {"hvm_op", 34, 26, "26", "OS", "a:q"},
    {"sysctl", 35, 0, "", "S", "cmd:w version:Y a:q"},
    {"domctl", 36, 0, "", "S", "cmd:w version:Y domain:d"},
    {"kexec_op", 37, 0, "", "nS", "a:q b:q"},
    {"tmem_op", 38, 0, "", "S", "a:q b:q"},
    {"argo_op", 39, 0, "", "nSSnn", "a:q b:q"},
    {"xenpmu_op", 40, 0, "", "nS", "major:w minor:w val:q vcpu:v"},
    {"dm_op", 41, 0, "", "dnS", "buffer:a size:q"},
    {"hypfs_op", 42, 0, "", "nSnSn", "a:q b:q"},
    {"paging_domctl_cont", 49, 0, "", "S", "cmd:w version:Y domain:d"},
    {"mca", 48, 0, "", "S", "cmd:w version:w a:q"},
};

static PAGES u64 spare[4][512]; /* data pages that nothing needs */
static PAGES u64 tables[2][512]; /* mapped read-only */
#define LIST ((u64)arena[4])

static const char *number_text(char *to, u64 value) {
  if (value + 4096 < 8192) format(to, 24, "%ld", value);
  else format(to, 24, "0x%lx", value);
  return to;
}

/* Draws a value of a kind; `text` gets its name. */
static u64 draw_kind(char kind, char *text) {
  static const struct { u16 id; const char *name; } domids[] = {
      {DOMID_SELF, "self"}, {DOMID_SELF, "self"}, {0, "dom0"}, {999, "nobody"}, {0x7ff1, "io"}, {0x7ff2, "xen"}, {0x7ff3, "cow"},
      {0x7ff4, "invalid"}, {0x7fff, "idle"}, {0x8000, "0x8000"}, {0xffff, "0xffff"}, {0, "own"}};
  static const u32 vcpus[] = {0, 0, 1, 1, 2, 31, 32, 127, 128, 8191, 8192, 0x7fffffff, 0x80000000, ~0U};
  static const u32 ports[] = {0, 3, 4, 5, 6, 7, 8, 9, 10, 63, 64, 1023, 1024, 4095, 4096, 131071, 131072, 0x7fffffff, ~0U};
  static const u32 counts[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 31, 32, 64, 80, 128, 256, 511, 512, 1023, 1024, 4096, 8192, 65536, 0x7fffffff, 0x80000000, 0x80000001, ~0U};
  static const u64 words[] = {0, 1, 2, 3, 4, 7, 8, 0x10, 0x20, 0x67, 0xff, 0x100, 0xfff, 0x1000, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
                              0x100000000, 0x7fffffffffff, 0x800000000000, 0x7fffffffffffffff, 0x8000000000000000, ~0UL};
  u64 value = 0;
  switch (kind) {
  case 'd': {
    u32 i = draw(ARRAY_SIZE(domids));
    format(text, 24, "%s", domids[i].name);
    return i == ARRAY_SIZE(domids) - 1 ? own_id : domids[i].id;
  }
  case 'D': {
    u32 i = 2 + draw(ARRAY_SIZE(domids) - 3);
    format(text, 24, "%s", domids[i].name);
    return domids[i].id;
  }
  case 'v': value = vcpus[draw(ARRAY_SIZE(vcpus))]; break;
  case 'V': value = vcpus[2 + draw(ARRAY_SIZE(vcpus) - 2)]; break;
  case 'p': value = ports[draw(ARRAY_SIZE(ports))]; break;
  case 'r': value = draw(8) ? draw(26) : ports[draw(ARRAY_SIZE(ports))]; break;
  case 'n': value = counts[draw(ARRAY_SIZE(counts))]; break;
  case 'N': value = draw(4) ? draw(3) : words[draw(ARRAY_SIZE(words))]; break;
  case 'o': value = draw(3) ? 0 : draw(24); break;
  case 'e': value = draw(12) ? draw(24) : counts[draw(ARRAY_SIZE(counts))]; break;
  case 'E': /* not NEW_BASEPTR: what it takes would have to map us */
    value = draw(20) ? draw(24) : counts[draw(ARRAY_SIZE(counts))];
    if (value == 5) value = 6;
    break;
  case 'f': value = draw(3) ? draw(16) : 1U << draw(32); break;
  case 'F': {
    u32 i = draw(14);
    if (i < 10) { value = i; break; }
    i = draw(nr_places);
    format(text, 24, "2+%s", places[i].name);
    return (places[i].at & ~3UL) | 1;
  }
  case 'P': value = draw(4) ? 0x03000001 : draw(20); break; /* the version that Xen takes */
  case 'Y': value = draw(4) ? 0x15 : draw(30); break;
  case 'b': value = draw(3) ? draw(8) : draw(256); break;
  case 'h': value = draw(3) ? draw(10) : words[draw(ARRAY_SIZE(words))] & 0xffff; break;
  case 'w': value = draw(2) ? draw(64) : (u32)words[draw(ARRAY_SIZE(words))]; break;
  case 's': {
    static const u16 selectors[] = {0, 1, 2, 3, 4, 7, 8, 0xb, 0xc, 0xf, 0x2b, 0x33, 0xe000, 0xe008, 0xe010, 0xe019, 0xe023, 0xe02b, 0xe033, 0xe034, 0xe03b, 0xe043, 0xfffb, 0xffff};
    value = selectors[draw(ARRAY_SIZE(selectors))];
    break;
  }
  case 'T': value = draw(2) ? 30000 : 0x7fffffff - draw(3); break; /* seconds: none may come to its end */
  case 'q': case 'X': value = words[draw(ARRAY_SIZE(words))]; break;
  case 'g': value = draw(2) ? draw(16) : words[draw(ARRAY_SIZE(words))]; break;
  case 't': value = draw(2) ? words[draw(ARRAY_SIZE(words))] : (u64)draw(1000000) * 1000; break;
  case 'a': {
    u32 i = draw(nr_places);
    if (draw(3) == 0) i = 0;
    format(text, 24, "%s", places[i].name);
    return places[i].at;
  }
  case 'L': {
    static const char *const names[] = {"missing", "none mapped", "list", "list", "list"};
    u32 i = draw(5);
    format(text, 24, "%s", names[i]);
    return i == 0 ? (u64)MISSING : i == 1 ? NOT_MAPPED : LIST;
  }
  case 'm': case 'M': case 'i': {
    static const char *const names[] = {"spare", "spare", "table", "table2", "root", "foreign", "zero", "vga", "shared", "beyond", "far", "all ones", "m2p", "console"};
    u32 i = draw(ARRAY_SIZE(names));
    u64 mfns[] = {va_to_mfn(spare[0]), va_to_mfn(spare[1]), va_to_mfn(tables[0]), va_to_mfn(tables[1]), start_info->pt_base ? va_to_mfn((void *)start_info->pt_base) : 0, foreign, 0, 0xa0,
                  start_info->shared_info / PAGE_SIZE, 0x7ffffffff, 0x10000000000, ~0UL,
                  (*pte_of((void *)MACH2PHYS_VIRT_START, 4) & PTE_FRAME) / PAGE_SIZE, start_info->console_mfn};
    if (kind == 'i' && (i == 8 || i == 13)) i = 0; /* what the probe lives on */
    if (kind != 'M') {
      format(text, 24, "%s", names[i]);
      return mfns[i];
    }
    u32 low = draw(2) ? draw(8) * 8 : draw(16);
    if (i == 4 || i == 8) low = (low & 7) | 0x400; /* a slot that nothing needs */
    if (i == 13) i = 0;
    format(text, 24, "%s+%x", names[i], low);
    return mfns[i] * PAGE_SIZE + low;
  }
  default: break;
  }
  number_text(text, value);
  return value;
}

static u32 size_of(char kind) {
  switch (kind) {
  case 'd': case 'D': case 'h': return 2;
  case 'b': return 1;
  case 'v': case 'V': case 'p': case 'r': case 'n': case 'f': case 'w': case 'o': case 'e': case 'E': case 'T': case 'P': case 'Y': return 4;
  default: return 8;
  }
}

static void store(u8 *at, u32 size, u64 value) { memcpy(at, &value, size); }
static u64 load(const u8 *at, u32 size) {
  u64 value = 0;
  memcpy(&value, at, size);
  return value;
}

/* Goes through the fields of a row: name, kind and offset, one after another. */
struct walk { const char *at; char name[24]; char kind; u32 offset, size, end; };
static bool next_field(struct walk *w) {
  while (*w->at == ' ') w->at++;
  if (!*w->at) return false;
  u32 n = 0;
  while (*w->at != ':') w->name[n++] = *w->at++;
  w->name[n] = 0;
  w->kind = w->at[1];
  w->at += 2;
  w->size = size_of(w->kind);
  w->offset = (w->end + w->size - 1) / w->size * w->size;
  w->end = w->offset + w->size;
  return true;
}
static u32 row_size(const struct row *row) {
  struct walk w = {.at = row->fields};
  while (next_field(&w)) {}
  return (w.end + 7) & ~7U;
}

/* What later lines rely on is put back. */
static void settle(const struct row *row) {
  switch (row->number) {
  case 0: traps_set(); break;
  case 2: call(2, 0, 0, 0, 0, 0); break;
  case 13: traps_set(), callbacks_set(), call(2, 0, 0, 0, 0, 0); break;
  case 4: case 28: case 30: callbacks_set(); break;
  case 3: call(3, FLAT_KERNEL_SS, (u64)trap_entries, 0, 0, 0); break;
  case 1: case 14: case 22: case 26: {
    struct mmuext_op none = {15, 0, 0}, no_ldt = {13, 0, 0};
    mmuext_op(&none, 1);
    mmuext_op(&no_ldt, 1);
    for (u32 i = 0; i < 2; i++) {
      struct mmuext_op unpin = {MMUEXT_UNPIN_TABLE, va_to_mfn(tables[i]), 0}, unpin2 = {MMUEXT_UNPIN_TABLE, va_to_mfn(spare[i]), 0};
      mmuext_op(&unpin, 1);
      mmuext_op(&unpin2, 1);
    }
    arena_init();
    update_va_mapping(arena[1], va_to_mfn(arena[1]) * PAGE_SIZE | DATA, UVMF_INVLPG);
    memset(spare, 0, sizeof spare);
    break;
  }
  case 21:
    for (u64 i = 0; i < 6; i++) call(HC_vm_assist, i == 2 ? 0 : 1, i, 0, 0, 0);
    break;
  case 24: { /* what is registered there is written later too */
    u64 there = (u64)arena[0];
    call(HC_vcpu_op, 5, 1, (u64)&there, 0, 0);
    call(HC_vcpu_op, 13, 1, (u64)&there, 0, 0);
    break;
  }
  case 33: {
    u64 none[2] = {0, 0};
    call(33, 6, (u64)none, 0, 0, 0);
    call(33, 7, (u64)none, 0, 0, 0);
    break;
  }
  default: break;
  }
  shared->vcpu_info[0].evtchn_upcall_mask = 1;
  call(HC_vcpu_op, 7, 0, 0, 0, 0);
  call(HC_vcpu_op, 9, 0, 0, 0, 0);
}

static void prepare_once(void) {
  static bool done;
  if (done) return;
  done = true;
  for (u32 i = 0; i < 2; i++) update_va_mapping(tables[i], va_to_mfn(tables[i]) * PAGE_SIZE | (DATA & ~PTE_RW), UVMF_INVLPG);
}

static u64 row_argument(char kind, const struct row *row, u64 pointer, char *text, bool *shown) {
  *shown = kind != 'O';
  switch (kind) {
  case 'O': return row->op;
  case '1': *shown = false; return 1;
  case '0': *shown = false; return 0;
  case '=': *shown = false; return DOMID_SELF;
  case '+': *shown = false; return row->op | 1UL << 6;
  case 'S': *shown = false; return pointer;
  default: return draw_kind(kind, text);
  }
}

static void one(const struct row *row, bool fields_too, u64 pointer, const char *where) {
  char line[400], text[32];
  u64 n = 0, registers[5] = {0, 0, 0, 0, 0};
  u8 before[AREA_BYTES];
  u32 size = row_size(row);
  u64 nmis_before = nmis, upcalls_before = upcalls;
  prepare_once();
  n += format(line + n, sizeof line - n, "%s%s%s", row->call, *row->name ? "." : "", row->name);
  for (u32 i = 0; row->registers[i]; i++) {
    bool shown;
    registers[i] = row_argument(row->registers[i], row, pointer, text, &shown);
    if (shown) n += format(line + n, sizeof line - n, " %s", text);
  }
  if (fields_too && size) {
    memset(GOOD, 0, AREA_BYTES);
    n += format(line + n, sizeof line - n, " {");
    struct walk w = {.at = row->fields};
    while (next_field(&w)) {
      if (w.kind == 'z') continue;
      store(GOOD + w.offset, w.size, draw_kind(w.kind, text));
      n += format(line + n, sizeof line - n, "%s%s=%s", w.offset ? " " : "", w.name, text);
    }
    n += format(line + n, sizeof line - n, "}");
    ((u64 *)LIST)[0] = foreign, ((u64 *)LIST)[1] = foreign;
  } else if (where) n += format(line + n, sizeof line - n, " @%s", where);
  memcpy(before, GOOD, AREA_BYTES);
  long result = call(row->number, registers[0], registers[1], registers[2], registers[3], registers[4]);
  n += format(line + n, sizeof line - n, ": %s", row->number == 12 && row->op == 2 && result > 0 ? "a frame" : result_text(result));
  if (fields_too) {
    struct walk w = {.at = row->fields};
    while (next_field(&w)) {
      u64 now = load((u8 *)GOOD + w.offset, w.size);
      if (now == load(before + w.offset, w.size)) continue;
      if (w.kind == 'N' || w.kind == 'i' || w.kind == 'q' || w.kind == 'm' || w.kind == 'a' || w.kind == 'g' || w.kind == 'd') n += format(line + n, sizeof line - n, "%s%s changed", ", ", w.name);
      else n += format(line + n, sizeof line - n, ", %s=%s", w.name, number_text(text, now));
    }
  }
  if (nmis != nmis_before) n += format(line + n, sizeof line - n, ", %ld NMIs", nmis - nmis_before);
  if (upcalls != upcalls_before) n += format(line + n, sizeof line - n, ", upcalls");
  say("%s\n", line);
  settle(row);
}

/* Every row with arguments drawn from what each field may be. */
void section_fields(u32 count) {
  for (u32 i = 0; i < count; i++) one(&rows[i % ARRAY_SIZE(rows)], true, (u64)GOOD, NULL);
}

/* Every row with its argument at every place: what is there is zeros, or what was. */
void section_pointers(u32 count) {
  (void)count;
  for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
    if (!row_size(&rows[i]) || (rows[i].number == 29 && rows[i].op == 6)) continue; /* a watchdog of no time would bark */
    for (u32 p = 0; p < nr_places; p++) {
      memset(GOOD, 0, PAGE_SIZE);
      one(&rows[i], false, places[p].at, places[p].name);
    }
  }
}

/* Would end the domain, wait for ever, or takes what the probe needs. */
static bool never(u32 number, u32 op) {
  if (number == 23) return true;
  if (number == 29 || number == 6) return op == 1 || op == 2 || op == 3 || (number == 29 && op == 6);
  return number == 24 && op == 2;
}

/* Sub-operations 0 to 63 and some larger ones of every call that has them, with arguments of zeros and of ones. */
void section_subops(u32 count) {
  static const u8 calls[] = {6, 12, 17, 18, 20, 21, 24, 25, 28, 29, 30, 31, 32, 33, 34, 37, 39, 40, 42};
  static const u32 far[] = {64, 100, 255, 256, 0x10000, 0x80000000, 0xffffffff};
  (void)count;
  for (u32 c = 0; c < ARRAY_SIZE(calls); c++)
    for (u32 i = 0; i < 64 + ARRAY_SIZE(far); i++)
      for (u32 fill = 0; fill < 2; fill++) {
        u32 op = i < 64 ? i : far[i - 64];
        u64 upper = fill && calls[c] != 12 ? 0xdeadbeef00000000 : 0;
        struct row row = {.number = calls[c]};
        if (never(calls[c], op) || (calls[c] == 12 && op > 64)) continue;
        memset(GOOD, fill ? 0xff : 0, PAGE_SIZE);
        u64 vcpu = calls[c] == 24 ? 1 : (u64)GOOD;
        long result = call(calls[c], upper | op, vcpu, calls[c] == 20 ? 1 : (u64)GOOD, 0, 0);
        bool frame = calls[c] == 12 && (op & 63) == 2 && result > 0;
        say("call %u op %u of %s: %s\n", calls[c], op, fill ? "ones" : "zeros", frame ? "a frame" : result_text(result));
        settle(&row);
      }
}

static void version_text(u32 op, const char *name) {
  memset(GOOD, 'x', PAGE_SIZE);
  long result = call(HC_xen_version, op, (u64)GOOD, 0, 0, 0);
  u64 written = PAGE_SIZE;
  while (written && ((u8 *)GOOD)[written - 1] == 'x') written--;
  ((u8 *)GOOD)[200] = 0;
  say("xen_version %s: %s, %lu bytes: %s\n", name, result_text(result), written, (char *)GOOD);
}

/* Every number with some small arguments; and what Xen says of itself. */
void section_numbers(u32 count) {
  static const u64 numbers[] = {64, 65, 100, 255, 256, 4096, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000 + 17, ~0UL};
  (void)count;
  for (u32 i = 0; i < 64 + ARRAY_SIZE(numbers); i++)
    for (u64 argument = 0; argument < 4; argument++) {
      u64 number = i < 64 ? i : numbers[i - 64], first = argument == 3 ? ~0UL : argument;
      struct row row = {.number = (u16)number};
      if (never((u32)number, (u32)first)) continue;
      memset(GOOD, 0, PAGE_SIZE);
      long result = call(number, first, 0, 0, 0, 0);
      bool frame = number == 12 && (first & 63) == 2 && result > 0;
      say("call 0x%lx (%ld, 0, 0): %s\n", number, first, frame ? "a frame" : result_text(result));
      settle(&row);
    }
  version_text(1, "extraversion");
  version_text(3, "capabilities");
  version_text(4, "changeset");
  version_text(9, "commandline");
  memset(GOOD, 0, PAGE_SIZE);
  call(HC_xen_version, 5, (u64)GOOD, 0, 0, 0);
  say("xen_version platform_parameters: %lx\n", *(u64 *)GOOD);
  for (u32 i = 0; i < 3; i++) {
    struct xen_feature_info info = {i, 0};
    long result = call(HC_xen_version, 6, (u64)&info, 0, 0, 0);
    say("xen_version get_features %u: %s, %x\n", i, result_text(result), info.submap);
  }
}
