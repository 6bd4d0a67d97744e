/* What the parts of the kernel offer each other. One vCPU runs all of it; event upcalls only count and set flags,
 * so nothing but `pending` counters is shared with them. */
#pragma once
#include "hypercall.h"

typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#define PAGE_SIZE 4096UL
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGES __attribute__((section(".pages,\"aw\",@nobits#"), aligned(4096)))
#define barrier() __asm__ volatile("" ::: "memory")

typedef __builtin_va_list va_list;

/* string.c */
void *memcpy(void *to, const void *from, u64 n);
void *memset(void *to, int byte, u64 n);
u64 strlen(const char *s);
bool streq(const char *a, const char *b);
bool parse_u64(const char *s, u64 *value);
u64 vformat(char *to, u64 room, const char *format, va_list args);
u64 format(char *to, u64 room, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* console.c: the xencons ring. */
void console_init(void);
void console_write(const char *bytes, u64 n);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
int console_getc(void); /* next byte typed, or -1 */
bool console_has_input(void);
bool console_interrupted(void); /* takes what was typed; true when ^C was among it */

/* event.c: 2-level event channels. */
#define MAX_PORTS 512
struct port_state { u64 count; u64 last_ns; };
extern struct port_state port_state[MAX_PORTS];
extern u64 upcall_count;
extern u32 timer_port;
void events_init(void);
void events_rebind(void);          /* after a resume in a new domain */
void port_listen(u32 port);        /* unmask and clear */
void port_mask(u32 port);
void port_unmask(u32 port);        /* by hypercall: raises what was pending */
bool port_pending(u32 port);
void port_notify(u32 port);
void events_disable(void);
void events_enable(void);
bool wait_until(bool (*condition)(void), u64 deadline_ns); /* sleeps in SCHEDOP_block; deadline 0: none */
void event_dispatch(void);

/* time.c */
u64 now_ns(void);                  /* system time */
u64 uptime_ns(void);
void time_init(void);
void time_resumed(u64 before_ns);
void print_date(void);
void sleep_ns(u64 ns);

/* memory.c: frames, P2M, page tables. */
#define VIRT_BASE 0xffffffff80000000UL
extern struct start_info *start_info;
extern struct shared_info *shared;
extern char kernel_end[];
static inline u64 va_to_pfn(const void *va) { return ((u64)va - VIRT_BASE) / PAGE_SIZE; }
static inline void *pfn_to_va(u64 pfn) { return (void *)(VIRT_BASE + pfn * PAGE_SIZE); }
u64 pfn_to_mfn(u64 pfn);
u64 mfn_to_pfn(u64 mfn);
u64 va_to_mfn(const void *va);
u64 *pte_of(const void *va, int level); /* the entry that maps va: level 1 is the leaf's */
u64 machine_address(const void *va);    /* of a byte, for mmu_update */
u64 foreign_mfn(void);                  /* a frame that is not ours, or 0 */
void memory_init(struct start_info *info);
void shared_info_map(void);
void shared_info_unmap(void);
bool p2m_publish(void);                 /* builds the frame lists that the toolstack reads on save */
const char *errno_name(long result);    /* "0", "-EINVAL (-22)" ... */

/* trap.c */
struct trap_frame {
  u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  u64 vector, error, rip, cs, rflags, rsp, ss;
};
struct fault { u64 vector, error, address; };
extern struct fault probe_fault;
void traps_init(void);
void traps_forget(void);                /* from here on the hypervisor finds no handler */
void trap_dispatch(struct trap_frame *frame);
int probe_read(const u64 *from, u64 *to);
int probe_write(u64 *to, u64 value);
void shutdown(u32 reason) __attribute__((noreturn));

/* xenstore.c */
#define XS_SILENT (-1)                  /* no answer in time */
#define XS_REFUSED (-2)                 /* an error answer; its name is in the reply */
void xs_init(void);
void xs_watch_again(void);
long xs_directory(const char *path, char *reply, u64 room);
long xs_read(const char *path, char *reply, u64 room);
long xs_write(const char *path, const char *value, char *reply, u64 room);
bool xs_has_events(void);
bool xs_poll(void);                     /* takes watch events, acts on control/shutdown; true when it did */

/* suspend.c */
void suspend(void);

/* main.c */
extern u32 own_domid;
extern char own_name[64];
void learn_identity(void);
void print_greeting(void);

/* shell.c and the commands */
void shell_run(void) __attribute__((noreturn));
void command_hypercalls(int argc, char **argv);
void command_events(int argc, char **argv);
void command_pt(int argc, char **argv);
void command_cpus(int argc, char **argv);
void command_xenstore(int argc, char **argv);
void command_mem(int argc, char **argv);
void command_flood(int argc, char **argv);
