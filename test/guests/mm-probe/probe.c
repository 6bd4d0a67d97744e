/* Asks the hypervisor everything about memory that it may refuse, and shows each answer on a line. Nothing that differs from host to host is
 * shown: of an entry only the flags that were stored, and whether it still names the frame it was to name. */
#include "kernel.h"

#define HC_set_gdt 2
#define HC_update_descriptor 10
#define HC_update_va_mapping_otherdomain 22

#define DATA (PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D)
#define TABLE (PTE_P | PTE_RW | PTE_US | PTE_A)
#define PWT 0x8UL
#define PCD 0x10UL
#define PAT 0x80UL
#define GLOBAL 0x100UL
#define NX (1UL << 63)
#define HYPERVISOR 0xffff800000000000UL /* where Xen's range begins */
#define NOT_CANONICAL 0x8000000000000000UL
#define NOT_MAPPED 0x1000UL

#define DOM0 0
#define NOBODY 999 /* no such domain */
#define IO 0x7ff1
#define XEN 0x7ff2
#define COW 0x7ff3
#define INVALID 0x7ff4
#define PAGE_TABLES_OF(domid) (((domid) + 1UL) << 16 | DOMID_SELF)

/* mmuext_op commands that the demo kernel has no use for. */
enum { PIN_L1, PIN_L2, PIN_L3, PIN_L4, UNPIN, NEW_BASE, FLUSH, INVLPG, FLUSH_MULTI, INVLPG_MULTI, FLUSH_ALL, INVLPG_ALL, CACHE, SET_LDT,
       NEW_USER_BASE = 15, CLEAR, COPY, CACHE_GLOBAL, MARK_SUPER, UNMARK_SUPER };

static PAGES u64 window[512], data[512], table[512], other[512], list[512], spare[512];
static u64 foreign, own;
static u64 *slot; /* the L1 entry of the window */
static u64 *root;

static u64 entry(const void *va, u64 flags) { return va_to_mfn(va) * PAGE_SIZE | flags; }
static u64 shared_frame(void) { return start_info->shared_info; }

static void answer(const char *what, long result) { print("%-58s %s\n", what, errno_name(result)); }
static void stored(const char *what, long result, u64 *at, u64 wanted) {
  const char *frame = !(*at & PTE_FRAME) ? "no frame" : (*at ^ wanted) & PTE_FRAME ? "ANOTHER FRAME" : "the frame";
  print("%-58s %s, stored %016lx and %s\n", what, errno_name(result), *at & ~PTE_FRAME, frame);
}

static long update_for(u64 ptr, u64 value, u64 domain) {
  struct mmu_update request = {ptr, value};
  return hypercall4(HC_mmu_update, (u64)&request, 1, 0, domain);
}
static long update(u64 *at, u64 value) { return update_for(machine_address(at), value, DOMID_SELF); }
static long window_update_for(u64 value, u64 domain) { return update_for(machine_address(slot), value, domain); }
static long ext_for(u32 command, u64 argument1, u64 argument2, u64 domain) {
  struct mmuext_op op = {command, argument1, argument2};
  return hypercall4(HC_mmuext_op, (u64)&op, 1, 0, domain);
}
static long ext(u32 command, u64 argument1, u64 argument2) { return ext_for(command, argument1, argument2, DOMID_SELF); }
static long readonly(void *va) { return update_va_mapping(va, entry(va, DATA & ~PTE_RW), UVMF_INVLPG); }
static long writable(void *va) { return update_va_mapping(va, entry(va, DATA), UVMF_INVLPG); }
static void restore(void) {
  update(slot, entry(window, DATA));
  ext(FLUSH, 0, 0);
}
/* Pins what `table` holds, and makes it a data page again. */
static long try_pin(u32 command) {
  readonly(table);
  long result = ext(command, va_to_mfn(table), 0);
  if (!result) ext(UNPIN, va_to_mfn(table), 0);
  writable(table);
  memset(table, 0, PAGE_SIZE);
  return result;
}
static long store(u64 *at, u64 value) { return probe_write(at, value) ? -4096 : 0; }
static void answer_store(const char *what, long result) { print("%-58s %s\n", what, result ? "page fault" : "done"); }

static void l1_entries(void) {
  print("# L1 entries\n");
  stored("PCD", update(slot, entry(data, DATA | PCD)), slot, entry(window, 0));
  stored("PWT", update(slot, entry(data, DATA | PWT)), slot, entry(window, 0));
  stored("PAT", update(slot, entry(data, DATA | PAT)), slot, entry(window, 0));
  stored("a kernel's, GLOBAL", update(slot, entry(data, (DATA & ~PTE_US) | GLOBAL)), slot, entry(data, 0));
  stored("a kernel's", update(slot, entry(data, DATA & ~PTE_US)), slot, entry(data, 0));
  stored("a user's", update(slot, entry(data, DATA)), slot, entry(data, 0));
  stored("available bits", update(slot, entry(data, DATA | 0xe00) | 0x7fe0UL << 48), slot, entry(data, 0));
  stored("not present, with PAT", update(slot, entry(data, PAT | PTE_A)), slot, entry(data, 0));
  stored("cleared, preserving A and D", window_update_for(0, DOMID_SELF) + update_for(machine_address(slot) | 2, DATA, DOMID_SELF), slot, 0);
  answer("frame 0", update(slot, DATA));
  answer("frame 0xa0", update(slot, 0xa0000 | DATA));
  answer("frame 0xff", update(slot, 0xff000 | DATA));
  answer("frame 0x100", update(slot, 0x100000 | DATA));
  answer("frame 0xfee00", update(slot, 0xfee00000 | DATA));
  answer("a frame beyond the last", update(slot, 0x7ffffffffUL << 12 | DATA));
  answer("the frame of all ones", update(slot, PTE_FRAME | DATA));
  answer("another owner's frame", update(slot, foreign * PAGE_SIZE | DATA));
  answer("another owner's frame, read-only", update(slot, foreign * PAGE_SIZE | PTE_P));
  answer("a frame of the M2P's tables", update(slot, (root[256] & PTE_FRAME) | PTE_P));
  answer("shared_info", update(slot, shared_frame() | DATA));
  answer("a page table, writable", update(slot, entry(root, DATA)));
  answer("a page table, read-only", update(slot, entry(root, PTE_P)));
  restore();
}

static void requests(void) {
  u64 at = machine_address(slot), frame = va_to_mfn(data) * PAGE_SIZE;
  print("# mmu_update's requests\n");
  for (u64 command = 3; command < 8; command++) print("command %lu: %s\n", command, errno_name(update_for(at | command, 0, DOMID_SELF)));
  answer("at a frame beyond the last", update_for(0x7ffffffff000, 0, DOMID_SELF));
  answer("at I/O memory", update_for(0xa0000, 0, DOMID_SELF));
  answer("at another owner's frame", update_for(foreign * PAGE_SIZE, 0, DOMID_SELF));
  answer("at a data page", update_for(frame, 0x1234, DOMID_SELF));
  answer("at shared_info", update_for(shared_frame() + 4088, 0, DOMID_SELF));
  answer("of the M2P", update_for(frame | 1, va_to_pfn(data), DOMID_SELF));
  answer("of the M2P, another owner's", update_for(foreign * PAGE_SIZE | 1, 5, DOMID_SELF));
  answer("for the domain by its number", window_update_for(0, own));
  answer("for Domain 0", window_update_for(0, DOM0));
  answer("for Domain 0, command 4", update_for(at | 4, 0, DOM0));
  answer("for Domain 0, at I/O memory", update_for(0xa0000, 0, DOM0));
  answer("for nobody", window_update_for(0, NOBODY));
  answer("for DOMID_XEN", window_update_for(0, XEN));
  answer("for DOMID_COW", window_update_for(0, COW));
  answer("for DOMID_INVALID", window_update_for(0, INVALID));
  answer("for 0x8000", window_update_for(0, 0x8000));
  answer("for DOMID_IO, cleared", window_update_for(0, IO));
  answer("for DOMID_IO, I/O memory", window_update_for(0xa0000 | DATA, IO));
  answer("for DOMID_IO, own memory", window_update_for(entry(data, DATA), IO));
  answer("for DOMID_IO, another owner's frame", window_update_for(foreign * PAGE_SIZE | DATA, IO));
  answer("for DOMID_IO, an L2 entry cleared", update_for(machine_address(pte_of(window, 2) + 1), 0, IO));
  answer("for DOMID_IO, the M2P", update_for(frame | 1, 5, IO));
  answer("for DOMID_IO, at a data page", update_for(frame, 5, IO));
  answer("in the domain's own page tables", window_update_for(0, PAGE_TABLES_OF(own)));
  answer("in Domain 0's page tables", window_update_for(0, PAGE_TABLES_OF(DOM0)));
  answer("in nobody's page tables", window_update_for(0, PAGE_TABLES_OF(NOBODY)));
  answer("none, for Domain 0", hypercall4(HC_mmu_update, (u64)list, 0, 0, DOM0));
  answer("none, for nobody", hypercall4(HC_mmu_update, (u64)list, 0, 0, NOBODY));
  answer("none, at 0", hypercall4(HC_mmu_update, 0, 0, 0, DOMID_SELF));
  answer("none, in Xen's range", hypercall4(HC_mmu_update, HYPERVISOR, 0, 0, DOMID_SELF));
  answer("where nothing is mapped", hypercall4(HC_mmu_update, NOT_MAPPED, 1, 0, DOMID_SELF));
  answer("at no canonical address", hypercall4(HC_mmu_update, NOT_CANONICAL, 1, 0, DOMID_SELF));
  answer("a counter where nothing is mapped", hypercall4(HC_mmu_update, (u64)list, 0, NOT_MAPPED, DOMID_SELF));
  answer("a continuation without requests", hypercall4(HC_mmu_update, 0, 0x80000000, 0, 7));
  list[0] = list[2] = at, list[1] = list[3] = 0, list[4] = foreign * PAGE_SIZE, list[5] = 0, other[0] = 0;
  answer("three, the last refused", hypercall4(HC_mmu_update, (u64)list, 3, (u64)other, DOMID_SELF));
  print("done: %lu\n", other[0]);
  restore();
}

static void pins(void) {
  u64 mfn = va_to_mfn(table);
  print("# pins of L1 tables\n");
  answer("a page that is mapped writable", ext(PIN_L1, mfn, 0));
  readonly(table);
  answer("a page that is not", ext(PIN_L1, mfn, 0));
  answer("twice", ext(PIN_L1, mfn, 0));
  answer("as an L2", ext(PIN_L2, mfn, 0));
  answer("mapped writable while it is pinned", writable(table));
  answer("cleared while it is pinned", ext(CLEAR, mfn, 0));
  answer("copied to while it is pinned", ext(COPY, mfn, va_to_mfn(data)));
  answer("copied from while it is pinned", ext(COPY, va_to_mfn(data), mfn));
  list[0] = mfn;
  answer("as a GDT while it is pinned", hypercall2(HC_set_gdt, (u64)list, 1));
  answer_store("a plain store", store(&table[3], entry(data, DATA)));
  stored("what it stored", 0, &table[3], entry(data, 0));
  answer_store("a plain store of another owner's frame", store(&table[3], foreign * PAGE_SIZE | PTE_P));
  *(volatile u32 *)((char *)&table[3] + 4) |= 0x80000000;
  stored("a plain store of the upper half", 0, &table[3], entry(data, 0));
  *(volatile u8 *)&table[3] &= (u8)~PTE_RW;
  stored("a plain store of the lowest byte", 0, &table[3], entry(data, 0));
  u64 seen = __sync_val_compare_and_swap(&table[3], table[3], entry(data, DATA));
  stored("a compare-and-exchange", seen ? 0 : -1, &table[3], entry(data, 0));
  seen = __sync_lock_test_and_set(&table[3], 0);
  stored("an exchange", seen ? 0 : -1, &table[3], 0);
  answer("unpinned", ext(UNPIN, mfn, 0));
  answer("unpinned again", ext(UNPIN, mfn, 0));
  answer("mapped writable again", writable(table));
  memset(table, 0, PAGE_SIZE);
  table[9] = entry(data, DATA | PCD);
  answer("with PCD in an entry", try_pin(PIN_L1));
  table[9] = 0xa0000 | DATA;
  answer("with I/O memory in an entry", try_pin(PIN_L1));
  table[9] = foreign * PAGE_SIZE | DATA;
  answer("with another owner's frame in an entry", try_pin(PIN_L1));
  table[9] = entry(table, DATA);
  answer("with itself, writable", try_pin(PIN_L1));
  table[9] = entry(table, PTE_P);
  answer("with itself, read-only", try_pin(PIN_L1));
  answer("another owner's frame", ext(PIN_L1, foreign, 0));
  answer("unpinning another owner's frame", ext(UNPIN, foreign, 0));
  answer("shared_info", ext(PIN_L1, shared_frame() / PAGE_SIZE, 0));
}

static void upper_tables(void) {
  u64 mfn = va_to_mfn(table);
  print("# L2 and L4 tables\n");
  readonly(table), readonly(other);
  answer("an L2 pinned", ext(PIN_L2, mfn, 0));
  answer_store("a plain store", store(&table[3], entry(data, TABLE)));
  answer_store("a plain store of nothing", store(&table[3], 0));
  answer("a superpage", update(&table[1], (entry(data, TABLE) & ~0x1fffffUL) | TABLE | PAT));
  answer("GLOBAL", update(&table[1], entry(other, TABLE | GLOBAL)));
  answer("PCD", update(&table[1], entry(other, TABLE | PCD)));
  stored("NX", update(&table[1], entry(other, TABLE) | NX), &table[1], entry(other, 0));
  stored("a kernel's, read-only", update(&table[1], entry(other, PTE_P)), &table[1], entry(other, 0));
  answer("itself, read-only", update(&table[5], entry(table, PTE_P)));
  answer("itself, writable", update(&table[6], entry(table, TABLE)));
  answer("a data page", update(&table[7], entry(data, TABLE)));
  answer("another owner's frame", update(&table[7], foreign * PAGE_SIZE | TABLE));
  answer("I/O memory", update(&table[7], 0xa0000 | TABLE));
  answer("the frame of all ones", update(&table[7], PTE_FRAME | TABLE));
  answer("shared_info", update(&table[7], shared_frame() | TABLE));
  answer("unpinned", ext(UNPIN, mfn, 0));
  answer("writable again", writable(table));
  answer("what it named is writable again", writable(other));
  memset(table, 0, PAGE_SIZE);

  readonly(table);
  answer("an empty L4 pinned", ext(PIN_L4, mfn, 0));
  print("slots 256, 257, 271: %lx %lx %lx\n", table[256], table[257], table[271]);
  answer("slot 255", update(&table[255], 0));
  answer("slot 256", update(&table[256], 0));
  answer("slot 271", update(&table[271], 0));
  answer("slot 272", update(&table[272], 0));
  answer("the kernel's L4 in it, read-only", update(&table[300], entry(root, PTE_P)));
  answer("it in the kernel's L4", update(&root[300], entry(table, PTE_P)));
  answer_store("a plain store", store(&table[1], 0));
  answer("as the user's root", ext(NEW_USER_BASE, mfn, 0));
  print("slot 256 then: %lx\n", table[256]);
  answer("again", ext(NEW_USER_BASE, mfn, 0));
  answer("unpinned while it is a root", ext(UNPIN, mfn, 0));
  answer("writable while it is a root", writable(table));
  answer("no user's root", ext(NEW_USER_BASE, 0, 0));
  answer("writable again", writable(table));
  answer("I/O memory as the user's root", ext(NEW_USER_BASE, 0xa0, 0));
  answer("another owner's frame as the root", ext(NEW_BASE, foreign, 0));
  answer("a data page as the root", ext(NEW_BASE, va_to_mfn(data), 0));
  answer("the root that it is", ext(NEW_BASE, va_to_mfn(root), 0));

  memcpy(table, root, PAGE_SIZE);
  table[256] = 0, table[260] = 0x1234;
  readonly(table);
  answer("a copy of the root as the root", ext(NEW_BASE, mfn, 0));
  print("slot 256 is %s\n", table[256] == root[256] && table[256] ? "the M2P" : "not the M2P");
  answer("the root before as the root", ext(NEW_BASE, va_to_mfn(root), 0));
  answer("the copy writable again", writable(table));
  print("slot 256 is %s\n", table[256] == root[256] ? "the M2P" : "not the M2P");
  memset(table, 0, PAGE_SIZE);
}

static void extended(void) {
  print("# mmuext_op's others\n");
  answer("an LDT that is not aligned", ext(SET_LDT, (u64)data + 8, 8));
  answer("an LDT of 8193 entries", ext(SET_LDT, (u64)data, 8193));
  answer("an LDT in Xen's range", ext(SET_LDT, HYPERVISOR, 8));
  answer("an LDT", ext(SET_LDT, (u64)data, 8));
  answer("no LDT, at no canonical address", ext(SET_LDT, NOT_CANONICAL, 0));
  answer("a flush for vCPUs that cannot be read", ext(FLUSH_MULTI, 0, NOT_MAPPED));
  answer("a flush for vCPUs in Xen's range", ext(FLUSH_MULTI, 0, HYPERVISOR));
  list[0] = ~0UL;
  answer("a flush for 64 vCPUs", ext(FLUSH_MULTI, 0, (u64)list));
  answer("a page's flush for 64 vCPUs", ext(INVLPG_MULTI, (u64)data, (u64)list));
  answer("a flush in Xen's range", ext(INVLPG, HYPERVISOR, 0));
  answer("a flush at no canonical address", ext(INVLPG_ALL, NOT_CANONICAL, 0));
  answer("caches", ext(CACHE, 0, 0));
  answer("everybody's caches", ext(CACHE_GLOBAL, 0, 0));
  answer("a superpage marked", ext(MARK_SUPER, va_to_mfn(data), 0));
  answer("a superpage unmarked", ext(UNMARK_SUPER, va_to_mfn(data), 0));
  answer("command 14", ext(14, 0, 0));
  answer("command 21", ext(21, 0, 0));
  answer("copy from another owner", ext(COPY, va_to_mfn(data), foreign));
  answer("copy to another owner", ext(COPY, foreign, va_to_mfn(data)));
  answer("clear another owner's", ext(CLEAR, foreign, 0));
  answer("copy a page table", ext(COPY, va_to_mfn(data), va_to_mfn(root)));
  answer("clear a page", ext(CLEAR, va_to_mfn(data), 0));
  answer("for the domain by its number", ext_for(FLUSH, 0, 0, own));
  answer("for Domain 0", ext_for(FLUSH, 0, 0, DOM0));
  answer("for nobody", ext_for(FLUSH, 0, 0, NOBODY));
  answer("for DOMID_IO", ext_for(FLUSH, 0, 0, IO));
  answer("for DOMID_XEN", ext_for(FLUSH, 0, 0, XEN));
  answer("none, for Domain 0", hypercall4(HC_mmuext_op, (u64)list, 0, 0, DOM0));
  answer("none, for nobody", hypercall4(HC_mmuext_op, (u64)list, 0, 0, NOBODY));
}

static void by_address(void) {
  u64 same = entry(window, DATA);
  print("# update_va_mapping\n");
  answer("where there is no L1", update_va_mapping((void *)NOT_MAPPED, 0, 0));
  answer("in Xen's range", update_va_mapping((void *)HYPERVISOR, 0, 0));
  answer("at no canonical address", update_va_mapping((void *)NOT_CANONICAL, 0, 0));
  answer("flush 3", update_va_mapping(window, same, 3));
  answer("flush for vCPUs that cannot be read", update_va_mapping(window, same, NOT_MAPPED | 1));
  answer("a refused entry, and vCPUs that cannot be read", update_va_mapping(window, foreign * PAGE_SIZE | DATA, NOT_MAPPED | 1));
  answer("for itself", hypercall4(HC_update_va_mapping_otherdomain, (u64)window, same, 0, DOMID_SELF));
  answer("for the domain by its number", hypercall4(HC_update_va_mapping_otherdomain, (u64)window, same, 0, own));
  answer("for Domain 0", hypercall4(HC_update_va_mapping_otherdomain, (u64)window, same, 0, DOM0));
  answer("for nobody", hypercall4(HC_update_va_mapping_otherdomain, (u64)window, same, 0, NOBODY));
  answer("for DOMID_IO, cleared", hypercall4(HC_update_va_mapping_otherdomain, (u64)window, 0, 0, IO));
  restore();
}

static void one_descriptor(const char *what, u64 value) {
  data[3] = 0;
  long result = hypercall2(HC_update_descriptor, machine_address(&data[3]), value);
  print("%-58s %s, stored %016lx\n", what, errno_name(result), data[3]);
}

static void descriptors(void) {
  print("# descriptors\n");
  one_descriptor("a data segment of ring 0", 0x00cf93000000ffff);
  one_descriptor("a code segment of ring 0", 0x00af9a000000ffff);
  one_descriptor("a segment that is not present", 0x00cf13000000ffff);
  one_descriptor("a system segment that is not present", 0x0000090000000000);
  one_descriptor("type 0", 0x0000800000000001);
  one_descriptor("a TSS", 0x0000890000000067);
  one_descriptor("an LDT", 0x0000820000000067);
  one_descriptor("an interrupt gate", 0x00008e0000080000);
  one_descriptor("a call gate to Xen's code", 0x00008c00e0080000);
  one_descriptor("a call gate to the flat segment", 0x00008c00e0330000);
  one_descriptor("a call gate to the GDT's 1", 0x00008c0000080000);
  one_descriptor("a call gate with a count", 0x00008c01e0330000);
  answer("that is not aligned", hypercall2(HC_update_descriptor, machine_address(data) + 4, 0));
  answer("in another owner's frame", hypercall2(HC_update_descriptor, foreign * PAGE_SIZE, 0));
  answer("in a page table", hypercall2(HC_update_descriptor, machine_address(root), 0));
  memset(table, 0, PAGE_SIZE);
  list[0] = va_to_mfn(table);
  answer("a GDT that is mapped writable", hypercall2(HC_set_gdt, (u64)list, 512));
  readonly(table);
  answer("a GDT that is not", hypercall2(HC_set_gdt, (u64)list, 512));
  answer("mapped writable while it is set", writable(table));
  answer("a descriptor of it", hypercall2(HC_update_descriptor, machine_address(&table[3]), 0x00cff3000000ffff));
  answer("mmu_update of it", update(&table[4], 0));
  answer("pinned while it is set", ext(PIN_L1, va_to_mfn(table), 0));
  answer("7169 entries", hypercall2(HC_set_gdt, (u64)list, 7169));
  answer("a list that cannot be read", hypercall2(HC_set_gdt, NOT_MAPPED, 1));
  list[1] = foreign;
  answer("two frames, one of another owner", hypercall2(HC_set_gdt, (u64)list, 513));
  answer("no GDT", hypercall2(HC_set_gdt, 0, 0));
  answer("mapped writable again", writable(table));
  table[5] = 0x0000890000000067;
  readonly(table);
  answer("a GDT with a TSS", hypercall2(HC_set_gdt, (u64)list, 1));
  writable(table);
  memset(table, 0, PAGE_SIZE);
}

struct reservation { u64 start, extents; u32 order, flags; u16 domid; };
static long adjust(u32 op, u64 extents, u32 order, u16 domid) {
  struct reservation request = {(u64)list, extents, order, 0, domid};
  return memory_op(op, &request);
}
static long exchange(u64 in, u32 in_order, u64 out, u32 out_order, u16 domid) {
  struct { struct reservation in, out; u64 done; } request = {
      {(u64)list, in, in_order, 0, domid}, {(u64)(list + 256), out, out_order, 0, domid}, 0};
  long result = memory_op(11, &request);
  if (request.done) print("(%lu done) ", request.done);
  return result;
}
static long about(u32 op, u16 domid) { return memory_op(op, &domid); }
static long physmap(u32 op, u16 domid) {
  memset(list, 0, PAGE_SIZE);
  *(u16 *)list = domid;
  return memory_op(op, list);
}

static void figures(void) {
  print("# memory_op\n");
  answer("current reservation", about(3, DOMID_SELF));
  answer("current reservation, by the domain's number", about(3, own));
  answer("current reservation of Domain 0", about(3, DOM0));
  answer("current reservation of nobody", about(3, NOBODY));
  answer("current reservation of DOMID_IO", about(3, IO));
  answer("current reservation, continued", about(3 | 1 << 6, DOMID_SELF));
  answer("current reservation, of what cannot be read", memory_op(3, (void *)NOT_MAPPED));
  answer("largest pfn", about(14, DOMID_SELF));
  answer("last frame, continued", memory_op(2 | 1 << 6, NULL));
  static const u8 others[] = {8, 10, 16, 17, 18, 19, 20, 21, 22, 24, 25, 26, 27, 28, 29, 63};
  for (u64 i = 0; i < sizeof others; i++) {
    memset(list, 0, PAGE_SIZE);
    print("operation %u: %s\n", others[i], errno_name(memory_op(others[i], list)));
  }
  answer("add_to_physmap", physmap(7, DOMID_SELF));
  answer("add_to_physmap, Domain 0's", physmap(7, DOM0));
  answer("add_to_physmap, nobody's", physmap(7, NOBODY));
  ((u32 *)list)[1] = 4;
  answer("add_to_physmap, of another domain", memory_op(7, list));
  answer("get_vnumainfo", physmap(26, DOMID_SELF));
  answer("get_vnumainfo of nobody", physmap(26, NOBODY));
  answer("reserved_device_memory_map, flags 1", physmap(27, 1));
  answer("reserved_device_memory_map, flags 2", physmap(27, 2));
  answer("get_pod_target of nobody", (memset(list, 0, PAGE_SIZE), list[4] = NOBODY, memory_op(17, list)));
  answer("claim_pages", (memset(list, 0, PAGE_SIZE), list[3] = own, memory_op(24, list)));
  answer("acquire_resource of the domain's own", physmap(28, own));
  answer("acquire_resource of nobody", physmap(28, NOBODY));
  answer("set_memory_map, DOMID_SELF, none", physmap(13, DOMID_SELF));
  answer("memory_map then", (memset(list, 0, PAGE_SIZE), memory_op(9, list)));
  answer("set_memory_map, Domain 0's", physmap(13, DOM0));
  answer("set_memory_map, nobody's", physmap(13, NOBODY));
  ((u32 *)list)[2] = 5000, *(u16 *)list = DOMID_SELF;
  answer("set_memory_map, 5000 entries", memory_op(13, list));
  answer("remove_from_physmap", physmap(15, DOMID_SELF));
  answer("remove_from_physmap, Domain 0's", physmap(15, DOM0));
  answer("remove_from_physmap, nobody's", physmap(15, NOBODY));
  answer("add_to_physmap_batch", physmap(23, DOMID_SELF));
  answer("add_to_physmap_batch, nobody's", physmap(23, NOBODY));
}

static void reservations(void) {
  print("# the reservation\n");
  answer("decrease by none", adjust(1, 0, 0, DOMID_SELF));
  list[0] = foreign;
  answer("decrease by another owner's frame", adjust(1, 1, 0, DOMID_SELF));
  answer("decrease Domain 0's", adjust(1, 1, 0, DOM0));
  answer("increase by an extent of order 10", adjust(0, 1, 10, DOMID_SELF));
  answer("populate from what cannot be read", memory_op(6, (void *)NOT_MAPPED));
  answer("populate, continued at 5", memory_op(6 | 5 << 6, (void *)NOT_MAPPED));
  list[0] = va_to_mfn(spare);
  spare[7] = 0x77;
  answer("decrease by a page that is mapped", adjust(1, 1, 0, DOMID_SELF));
  answer("current reservation then", about(3, DOMID_SELF));
  print("what is mapped: %lx, its pfn: %lx\n", spare[7], mfn_to_pfn(list[0]));
  answer("decrease by it again", adjust(1, 1, 0, DOMID_SELF));
  answer("unmapped", update_va_mapping(spare, 0, UVMF_INVLPG));
  answer("current reservation then", about(3, DOMID_SELF));
  print("its pfn: %lx\n", mfn_to_pfn(list[0]));
  answer("mapped again", update_va_mapping(spare, list[0] * PAGE_SIZE | DATA, UVMF_INVLPG));
  list[0] = 0x123;
  answer("populate a pfn", adjust(6, 1, 0, DOMID_SELF));
  print("its pfn: %lx\n", mfn_to_pfn(list[0]));
  answer("mapped", update_va_mapping(spare, list[0] * PAGE_SIZE | DATA, UVMF_INVLPG));

  u64 mfn = list[0];
  answer("exchange a page that is mapped", exchange(1, 0, 1, 0, DOMID_SELF));
  list[0] = foreign;
  answer("exchange another owner's frame", exchange(1, 0, 1, 0, DOMID_SELF));
  answer("exchange extents of order 10", exchange(1, 10, 1, 10, DOMID_SELF));
  answer("exchange sizes that do not match", exchange(2, 0, 2, 1, DOMID_SELF));
  answer("exchange Domain 0's", exchange(1, 0, 1, 0, DOM0));
  answer("exchange nobody's", exchange(1, 0, 1, 0, NOBODY));
  answer("exchange none", exchange(0, 0, 0, 0, DOMID_SELF));
  answer("exchange what cannot be read", memory_op(11, (void *)NOT_MAPPED));
  update_va_mapping(spare, 0, UVMF_INVLPG);
  list[0] = list[1] = mfn, list[256] = 0x777;
  answer("exchange a page given twice", exchange(2, 0, 1, 1, DOMID_SELF));
  answer("exchange a page", exchange(1, 0, 1, 0, DOMID_SELF));
  print("its pfn: %lx, the old one's: %lx\n", mfn_to_pfn(list[256]), mfn_to_pfn(mfn));
  answer("mapped", update_va_mapping(spare, list[256] * PAGE_SIZE | DATA, UVMF_INVLPG));
}

void kernel_main(struct start_info *info) {
  memory_init(info);
  traps_init();
  console_init();
  time_init();
  events_init();
  xs_init();
  char text[16];
  if (xs_read("domid", text, sizeof text) <= 0 || !parse_u64(text, &own)) print("no domid\n");
  foreign = foreign_mfn();
  slot = pte_of(window, 1);
  root = (u64 *)start_info->pt_base;
  l1_entries();
  requests();
  pins();
  upper_tables();
  extended();
  by_address();
  descriptors();
  figures();
  reservations();
  print("# the end\n");
  for (;;) sched_op(SCHEDOP_block, NULL);
}

/* What the demo kernel's parts expect of the rest of it. */
u32 own_domid;
void learn_identity(void) {}
void secondary_main(void) {}
