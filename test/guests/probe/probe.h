/* What the parts of the probe offer each other. One vCPU runs all of it, with events masked throughout. */
#pragma once
#include "kernel.h"

/* core.c */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void flush(void);
u32 draw(u32 below);            /* the seeded generator: 0 .. below-1 */
u64 draw64(void);
extern u16 own_id;
extern u64 foreign;             /* a frame that is another owner's */
const char *result_text(long result);

/* A hypercall of any number, with all five registers. */
static inline long call(u64 number, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) {
  long result;
  register u64 r10 __asm__("r10") = a4;
  register u64 r8 __asm__("r8") = a5;
  __asm__ volatile("syscall" : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10), "+r"(r8) : "0"(number) : "rcx", "r11", "r9", "memory");
  return result;
}

/* entry.S: a piece of code is run with registers of its own, and whatever it ends in is recorded. */
struct registers { u64 rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rflags; };
extern struct registers snippet_in, snippet_out;
void snippet_run(u64 address);
#define NO_TRAP 0x1000
struct trap { u64 vector, error, rip, cs, rflags, rsp, ss, cr2; bool has_error, failsafe, nested; u64 ds, es, fs, gs; };
extern struct trap trap;        /* of the last snippet; vector NO_TRAP when it came to its end */
extern const u64 trap_stubs;    /* of vector 0; 16 bytes for each */
extern u64 trap_entries[256];
extern char event_entry[], failsafe_entry[], syscall_entry[], nmi_entry[], syscall32_entry[], sysenter_entry[];
/* Another vCPU: `kind` is 1 when it ran and these were its registers, 2 when it trapped and then the words begin with the vector. */
extern struct secondary { u64 kind, words[23]; } secondary;
extern u32 secondary_id;        /* whose it is */
extern char secondary_entry[], secondary_stubs[], secondary_stack_top[];
extern char step_entry[];
extern u64 step_count, step_log[64];
extern u64 upcalls, nmis;        /* how many came */
void callbacks_set(void);
void traps_set(void);
/* Runs the bytes; the registers are in snippet_in (rsp is given), and come back in snippet_out. */
void execute(const u8 *code, u64 length);
extern u8 code_page[];
extern char snippet_stack_top[];
#define SNIPPET_STACK ((u64)snippet_stack_top - 512)
#define KERNEL_STACK ((u64)snippet_stack_top - 4096) /* where entries from user mode begin */
/* Code that a piece of code goes to: behind it, in its page. */
#define FAR_CODE 2048
#define far_code (code_page + 2048)
const char *trap_text(void);    /* "done" or "#GP(0) at +2 ..." */
/* modes.c: returning by the hypercall, to the kernel or to its user mode. */
#define USER_CS FLAT_KERNEL_CS       /* the same selectors: a privilege in them says whose they are */
#define USER_SS FLAT_KERNEL_SS
#define KERNEL_CS (FLAT_KERNEL_CS & ~3)
#define KERNEL_SS (FLAT_KERNEL_SS & ~3)
struct iret_frame { u64 flags, rip, cs, rflags, rsp, ss; };
void user_mode_init(void);      /* user mode has the kernel's pages */
long user_root_set(bool on);
/* The iret hypercall, with the frame at an address where it may not be; the registers are in snippet_in. */
void iret_at(u64 at);
void iret_from(const struct iret_frame *frame);
/* The bytes in user mode, as `execute` does it in the kernel; an end that was reached is no trap. */
void execute_user(const u8 *code, u64 length);
u64 fault_on_write(u64 *at, u64 value);  /* 0, or 1 with `trap` */
u64 fault_on_read(const u64 *at, u64 *value);

/* Addresses with a name, to be given where a hypercall wants one. */
#define AREA_BYTES 512
struct place { const char *name; u64 at; };
extern struct place places[];
extern const u32 nr_places;
extern u8 arena[][PAGE_SIZE];
#define GOOD ((void *)arena[1])      /* a page that is there */
#define MISSING ((void *)arena[2])   /* one that is not */
#define READ_ONLY ((void *)arena[3])
void arena_init(void);

#define NO_CANONICAL 0x8000000000000000UL
#define NOT_MAPPED 0x1000UL
#define DATA (PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D)
#define TABLE (PTE_P | PTE_RW | PTE_US | PTE_A)
#define DOMID_IO 0x7ff1

/* Sections: each is run by its name on the command line, with a seed and a count. */
void section_numbers(u32 count);
void section_subops(u32 count);
void section_pointers(u32 count);
void section_fields(u32 count);
void section_mmu(u32 count);
void section_entries(u32 count);
void section_privileged(u32 count);
void section_msrs(u32 count);
void section_cpuid(u32 count);
void section_ports(u32 count);
void section_sched(u32 count);
void section_interrupts(u32 count);
void section_user(u32 count);
void section_iret(u32 count);
void section_descriptors(u32 count);
void section_mixed(u32 count);
void section_slots(u32 count);
void section_breakpoints(u32 count);
void section_steps(u32 count);
void section_fpu(u32 count);
void section_memory(u32 count);
void section_contexts(u32 count);
void section_deaths(u32 count);
void section_fifo(u32 count);
