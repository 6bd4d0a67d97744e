/* Frames and page tables. The domain builder mapped our first pages at VIRT_BASE, the P2M and the boot page tables among
 * them, so a pfn there has the address VIRT_BASE + pfn * 4096. All tables are Xen's to change: we ask by hypercall. */
#include "kernel.h"

struct start_info *start_info;
static PAGES u8 shared_info_page[PAGE_SIZE];
struct shared_info *shared = (struct shared_info *)shared_info_page;

/* The toolstack's view of the P2M: a page that lists the frames of pages that list the frames of the P2M. */
#define FRAME_LISTS 4
#define ENTRIES (PAGE_SIZE / 8)
static PAGES u64 frame_list_list[ENTRIES];
static PAGES u64 frame_lists[FRAME_LISTS][ENTRIES];

u64 pfn_to_mfn(u64 pfn) { return ((volatile u64 *)start_info->mfn_list)[pfn]; }
u64 mfn_to_pfn(u64 mfn) { return ((volatile u64 *)MACH2PHYS_VIRT_START)[mfn]; }
u64 va_to_mfn(const void *va) { return pfn_to_mfn(va_to_pfn(va)); }
u64 machine_address(const void *va) { return va_to_mfn(va) * PAGE_SIZE + (u64)va % PAGE_SIZE; }

u64 *pte_of(const void *va, int level) {
  u64 *table = (u64 *)start_info->pt_base;
  for (int l = 4;; l--) {
    u64 *entry = &table[(u64)va >> (12 + 9 * (l - 1)) & 511];
    if (l == level) return entry;
    if (!(*entry & PTE_P)) return NULL;
    table = pfn_to_va(mfn_to_pfn((*entry & PTE_FRAME) / PAGE_SIZE));
  }
}

u64 foreign_mfn(void) {
  for (u64 mfn = 0x100; mfn < 0x200000; mfn++) {
    u64 pfn;
    if (probe_read((u64 *)MACH2PHYS_VIRT_START + mfn, &pfn)) continue;
    if (pfn >= start_info->nr_pages || pfn_to_mfn(pfn) != mfn) return mfn;
  }
  return 0;
}

void memory_init(struct start_info *info) {
  start_info = info;
  shared_info_map();
  hypercall2(HC_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
  p2m_publish(); /* a save looks for it before it asks us to suspend */
}

void shared_info_map(void) {
  update_va_mapping(shared_info_page, start_info->shared_info | PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D, UVMF_INVLPG);
}

/* A frame of the hypervisor's may not be in our page tables when they are saved: the page's own frame goes back. */
void shared_info_unmap(void) {
  u64 own = va_to_mfn(shared_info_page) * PAGE_SIZE;
  update_va_mapping(shared_info_page, own | PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D, UVMF_INVLPG);
}

bool p2m_publish(void) {
  u64 pages = (start_info->nr_pages + ENTRIES - 1) / ENTRIES;
  if (pages > FRAME_LISTS * ENTRIES) return false;
  for (u64 i = 0; i < pages; i++)
    frame_lists[i / ENTRIES][i % ENTRIES] = va_to_mfn((char *)start_info->mfn_list + i * PAGE_SIZE);
  for (u64 i = 0; i < FRAME_LISTS; i++) frame_list_list[i] = va_to_mfn(frame_lists[i]);
  shared->max_pfn = start_info->nr_pages;
  shared->pfn_to_mfn_frame_list_list = va_to_mfn(frame_list_list);
  return true;
}

const char *errno_name(long result) {
  static char text[40];
  static const struct { int number; const char *name; } names[] = {
      {XEN_EPERM, "EPERM"},   {XEN_ENOENT, "ENOENT"}, {XEN_EIO, "EIO"},       {XEN_EFAULT, "EFAULT"},
      {XEN_EBUSY, "EBUSY"},   {XEN_EEXIST, "EEXIST"}, {XEN_EINVAL, "EINVAL"}, {XEN_ENOSYS, "ENOSYS"},
  };
  for (u64 i = 0; i < ARRAY_SIZE(names); i++)
    if (result == -names[i].number) {
      format(text, sizeof text, "-%s (%d)", names[i].name, (int)result);
      return text;
    }
  format(text, sizeof text, "%ld", result);
  return text;
}
