/* `pt`: page tables are the hypervisor's to judge. Every frame has a type: none, writable, L1..L4 page table, descriptor page;
 * it is never writable and a page table at once. First what is allowed, then what must be refused and the rule it breaks. */
#include "kernel.h"

#define TABLE_FLAGS (PTE_P | PTE_RW | PTE_US | PTE_A)
#define DATA_FLAGS (PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D)
#define FAULTED (-4096) /* in place of a result: the access gave us a page fault */
#define FREE_AREA ((char *)VIRT_BASE + 511 * 0x200000UL) /* under the kernel's L2, nothing there at start */

static PAGES u64 window[512], data[512], table[512];
static u64 foreign;

static u64 entry_for(const void *va, u64 flags) { return va_to_mfn(va) * PAGE_SIZE | flags; }

static long set_entry(u64 *entry, u64 value) {
  struct mmu_update request = {machine_address(entry) | MMU_NORMAL_PT_UPDATE, value};
  return mmu_update(&request, 1);
}

static long ext(u32 command, u64 mfn) {
  struct mmuext_op op = {command, mfn, 0};
  return mmuext_op(&op, 1);
}

static long protect(void *va, bool writable) {
  return update_va_mapping(va, entry_for(va, writable ? DATA_FLAGS : DATA_FLAGS & ~PTE_RW), UVMF_INVLPG);
}

static void step(const char *what, long result, bool good) {
  print("  %-58s %s%s\n", what, result == FAULTED ? "page fault" : errno_name(result), good ? "" : "  WRONG");
}

static void legal(void) {
  long result;
  u64 *entry = pte_of(window, 1);
  window[0] = 0x11;
  data[0] = 0x22;
  result = set_entry(entry, entry_for(data, DATA_FLAGS));
  ext(MMUEXT_INVLPG_LOCAL, (u64)window);
  step("mmu_update: a window onto another page, read through it", result, !result && *(volatile u64 *)window == 0x22);

  result = update_va_mapping(window, entry_for(window, DATA_FLAGS & ~PTE_RW), UVMF_INVLPG);
  bool faulted = probe_write(window, 0x33);
  step("update_va_mapping: the window read-only, a write faults", result, !result && faulted && *(volatile u64 *)window == 0x11);
  if (faulted) print("    #PF error code %lx at %016lx\n", probe_fault.error, probe_fault.address);

  result = probe_write(entry, entry_for(window, DATA_FLAGS)) ? FAULTED : 0;
  ext(MMUEXT_INVLPG_LOCAL, (u64)window);
  step("a plain store to its entry: the hypervisor emulates it", result, !result && !probe_write(window, 0x44));

  memset(table, 0, sizeof table);
  table[0] = entry_for(data, DATA_FLAGS);
  result = protect(table, false);
  step("a page that is to become an L1 table: first read-only", result, !result);
  result = ext(MMUEXT_PIN_L1_TABLE, va_to_mfn(table));
  step("mmuext_op: pin it as an L1 table", result, !result);
  u64 *l2 = pte_of(FREE_AREA, 2);
  result = set_entry(l2, entry_for(table, TABLE_FLAGS));
  step("mmu_update: an L2 entry to it, read through it", result, !result && *(volatile u64 *)FREE_AREA == 0x22);
  result = set_entry(l2, 0);
  ext(MMUEXT_TLB_FLUSH_LOCAL, 0);
  step("mmu_update: that L2 entry cleared", result, !result);
  result = ext(MMUEXT_UNPIN_TABLE, va_to_mfn(table));
  step("mmuext_op: unpinned", result, !result);
  result = protect(table, true);
  step("the page writable again: it is no page table now", result, !result && !probe_write(&table[0], 0));
}

static long writable_table(void) {
  u64 table_va = (u64)pte_of(window, 1) & ~(PAGE_SIZE - 1);
  return set_entry(pte_of(window, 1), entry_for((void *)table_va, DATA_FLAGS));
}
static long writable_root(void) {
  return update_va_mapping(window, entry_for((void *)start_info->pt_base, DATA_FLAGS), UVMF_INVLPG);
}
static long map_foreign(void) { return set_entry(pte_of(window, 1), foreign * PAGE_SIZE | DATA_FLAGS); }
static long map_beyond(void) { return set_entry(pte_of(window, 1), (PTE_FRAME & ~0UL >> 13) | DATA_FLAGS); }
static long l2_to_data(void) { return set_entry(pte_of(FREE_AREA, 2), entry_for(data, TABLE_FLAGS)); }
static long l2_superpage(void) {
  return set_entry(pte_of(FREE_AREA, 2), (entry_for(data, DATA_FLAGS) & ~0x1fffffUL) | DATA_FLAGS | PTE_PSE);
}
static long l4_reserved(void) {
  return set_entry((u64 *)start_info->pt_base + 256, entry_for((void *)start_info->pt_base, TABLE_FLAGS & ~PTE_RW));
}
static long l4_to_itself(void) {
  return set_entry((u64 *)start_info->pt_base + 300, entry_for((void *)start_info->pt_base, TABLE_FLAGS));
}
static long pin_writable(void) { return ext(MMUEXT_PIN_L1_TABLE, va_to_mfn(data)); }
static long pin_bad_entry(void) {
  memset(table, 0, sizeof table);
  table[7] = foreign * PAGE_SIZE | DATA_FLAGS;
  protect(table, false);
  long result = ext(MMUEXT_PIN_L1_TABLE, va_to_mfn(table));
  if (!result) ext(MMUEXT_UNPIN_TABLE, va_to_mfn(table));
  protect(table, true);
  return result;
}
static long pin_other_level(void) { return ext(MMUEXT_PIN_L1_TABLE, va_to_mfn((void *)start_info->pt_base)); }
static long base_is_data(void) { return ext(MMUEXT_NEW_BASEPTR, va_to_mfn(data)); }
static long unpin_data(void) { return ext(MMUEXT_UNPIN_TABLE, va_to_mfn(data)); }
static long update_foreign(void) {
  struct mmu_update request = {foreign * PAGE_SIZE | MMU_NORMAL_PT_UPDATE, 0};
  return mmu_update(&request, 1);
}
static long store_bad_entry(void) {
  return probe_write(pte_of(window, 1), foreign * PAGE_SIZE | DATA_FLAGS) ? FAULTED : 0;
}

static const struct { const char *what; long (*attempt)(void); const char *rule; } illegal[] = {
    {"a writable mapping of an L1 table", writable_table, "the frame is held as an L1 table: no writable type"},
    {"a writable mapping of the L4", writable_root, "the frame is held as an L4 table: no writable type"},
    {"a mapping of a frame that is not ours", map_foreign, "the frame has another owner, or none"},
    {"a mapping of a frame that does not exist", map_beyond, "the frame is beyond the machine's last"},
    {"an L2 entry to a data page", l2_to_data, "the frame is mapped writable: it cannot become an L1 table"},
    {"an L2 entry that is a superpage", l2_superpage, "2 MiB mappings are not for paravirtualized guests"},
    {"an L4 entry in slot 256", l4_reserved, "slots 256 to 271 are the hypervisor's"},
    {"an L4 entry to the L4 itself, writable", l4_to_itself, "a table may map itself only read-only"},
    {"pinning a page that is mapped writable", pin_writable, "the frame is held as writable: no L1 type"},
    {"pinning an L1 table with a foreign frame in entry 7", pin_bad_entry, "entry 7 names a frame that is not ours"},
    {"pinning the L4 as an L1 table", pin_other_level, "the frame is held as an L4 table: no L1 type"},
    {"a data page as base pointer", base_is_data, "the frame is mapped writable: it cannot become an L4"},
    {"unpinning a page that was not pinned", unpin_data, "the frame has no pin"},
    {"an update of a frame that is not ours", update_foreign, "the table has another owner, or none"},
    {"a plain store of an entry to a foreign frame", store_bad_entry, "the emulated update is refused, so the fault is ours"},
};

void command_pt(int argc, char **argv) {
  (void)argc, (void)argv;
  foreign = foreign_mfn();
  print("legal: each must give 0\n");
  legal();
  print("illegal: none may give 0; the hypervisor should have recorded the reason in brackets\n");
  u64 before = *pte_of(window, 1), accepted = 0;
  for (u64 i = 0; i < ARRAY_SIZE(illegal); i++) {
    long result = illegal[i].attempt();
    step(illegal[i].what, result, result != 0);
    print("    [%s]\n", illegal[i].rule);
    accepted += result == 0;
    if (!result) set_entry(pte_of(window, 1), before);
  }
  if (accepted) print("%lu of %lu were accepted\n", accepted, ARRAY_SIZE(illegal));
  else print("all %lu refused; the window's entry is %s\n", ARRAY_SIZE(illegal), *pte_of(window, 1) == before ? "as it was" : "CHANGED");
}
