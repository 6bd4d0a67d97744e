/* `mem` and `flood`. */
#include "kernel.h"

static void show(const char *name, const void *va) {
  print("  %-14s %016lx  pfn %5lx  mfn %lx\n", name, (u64)va, va_to_pfn(va), va_to_mfn(va));
}

void command_mem(int argc, char **argv) {
  (void)argc, (void)argv;
  u16 self = DOMID_SELF;
  print("pages: %lu at start, %ld now, at most %ld; the machine's last frame is %lx\n", start_info->nr_pages,
        memory_op(XENMEM_current_reservation, &self), memory_op(XENMEM_maximum_reservation, &self),
        memory_op(XENMEM_maximum_ram_page, NULL));
  show("kernel", (void *)VIRT_BASE);
  show("kernel end", kernel_end);
  show("p2m", (void *)start_info->mfn_list);
  show("start_info", start_info);
  show("xenstore ring", pfn_to_va(mfn_to_pfn(start_info->store_mfn)));
  show("console ring", pfn_to_va(mfn_to_pfn(start_info->console_mfn)));
  show("page tables", (void *)start_info->pt_base);
  print("  shared_info    %016lx  machine address %lx, mapped there\n", (u64)shared, start_info->shared_info);
  print("  %lu page-table frames; M2P at %016lx\n", start_info->nr_pt_frames, MACH2PHYS_VIRT_START);

  u64 wrong = 0;
  for (u64 pfn = 0; pfn < start_info->nr_pages; pfn++) wrong += mfn_to_pfn(pfn_to_mfn(pfn)) != pfn;
  print("  P2M and M2P agree on %lu of %lu pages\n", start_info->nr_pages - wrong, start_info->nr_pages);
}

void command_flood(int argc, char **argv) {
  u64 mib;
  if (argc != 2 || !parse_u64(argv[1], &mib) || mib > 1048576) {
    print("usage: flood MIB\n");
    return;
  }
  static char lines[1024];
  u64 began = now_ns(), blocks = mib * 1024, n = 0;
  for (; n < blocks && !console_interrupted(); n++) { /* 1 KiB a turn: 16 lines of 62 characters, `\r` and `\n` */
    char *to = lines;
    for (u64 i = 0; i < 16; i++, to += 63) {
      u64 used = format(to, 62, "flood %08lu ", n * 16 + i);
      memset(to + used, '.', 62 - used);
      to[62] = '\n';
    }
    console_write(lines, (u64)(to - lines));
  }
  u64 ms = (now_ns() - began) / 1000000;
  print("%lu KiB in %lu ms, %lu KiB/s\n", n, ms, n * 1000 / (ms ? ms : 1));
}
