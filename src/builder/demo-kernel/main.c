/* Start of day: shared_info, traps, events, console, clock, xenstore; then the greeting and the shell. */
#include "kernel.h"

u32 own_domid;
char own_name[64];

void learn_identity(void) {
  char text[64];
  u64 domid;
  own_domid = 0;
  if (xs_read("domid", text, sizeof text) > 0 && parse_u64(text, &domid)) own_domid = (u32)domid;
  long n = xs_read("name", own_name, sizeof own_name);
  if (n == XS_SILENT) format(own_name, sizeof own_name, "(xenstore is silent)");
  else if (n < 0) format(own_name, sizeof own_name, "(no name)");
}

/* vCPUs that exist besides this one; their state says nothing about how many are wanted online. */
static u32 count_vcpus(void) {
  u32 n = 0;
  while (n < 32 && vcpu_op(VCPUOP_is_up, n, NULL) >= 0) n++;
  return n;
}

static void print_features(void) {
  static const char *const names[] = {
      "writable_page_tables", "writable_descriptor_tables", "auto_translated_physmap", "supervisor_mode_kernel",
      "pae_pgdir_above_4gb", "mmu_pt_update_preserve_ad", "highmem_assist", "gnttab_map_avail_bits",
      "hvm_callback_vector", "hvm_safe_pvclock", "hvm_pirqs", "dom0", "grant_map_identity", "memory_op_vnode_supported",
      "ARM_SMCCC_supported", "linux_rsdp_unrestricted", "not_direct_mapped", "direct_mapped",
  };
  struct xen_feature_info info = {0, 0};
  xen_version(XENVER_get_features, &info);
  print("features  %08x", info.submap);
  for (u32 bit = 0; bit < ARRAY_SIZE(names); bit++)
    if (info.submap >> bit & 1) print(" %s", names[bit]);
  print("\n");
}

void print_greeting(void) {
  char extra[16] = "", capabilities[1024] = "";
  long version = xen_version(XENVER_version, NULL);
  xen_version(XENVER_extraversion, extra);
  xen_version(XENVER_capabilities, capabilities);
  print("domain    %u, %s\n", own_domid, own_name);
  print("memory    %lu MiB, %lu pages\n", start_info->nr_pages / 256, start_info->nr_pages);
  print("vcpus     %u\n", count_vcpus());
  print("xen       %ld.%ld%s\n", version >> 16, version & 0xffff, extra);
  print("caps      %s\n", capabilities);
  print_features();
  if (start_info->cmd_line[0]) print("cmdline   %s\n", start_info->cmd_line);
  print("time      ");
  print_date();
  print("\n");
}

void kernel_main(struct start_info *info) {
  memory_init(info);
  traps_init();
  console_init();
  time_init();
  events_init();
  print("domzero demo kernel 1.0: a small paravirtualized guest\n\n");
  xs_init();
  learn_identity();
  print_greeting();
  print("\nType `help`.\n");
  shell_run();
}
