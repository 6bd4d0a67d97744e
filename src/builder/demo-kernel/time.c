/* Time: the pvclock that Xen keeps for each vCPU in shared_info, and the wall clock beside it. */
#include "kernel.h"

static u64 boot_ns;

u64 now_ns(void) {
  const volatile struct vcpu_time_info *t = &shared->vcpu_info[0].time;
  u32 version;
  u64 ns;
  do {
    version = t->version;
    barrier();
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    u64 delta = ((u64)high << 32 | low) - t->tsc_timestamp;
    if (t->tsc_shift < 0) delta >>= -t->tsc_shift;
    else delta <<= t->tsc_shift;
    ns = t->system_time + (u64)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
    barrier();
  } while (version & 1 || version != t->version);
  return ns;
}

void time_init(void) { boot_ns = now_ns(); }

u64 uptime_ns(void) { return now_ns() - boot_ns; }

/* System time is the host's: after a resume elsewhere it may stand anywhere. Time suspended does not count. */
void time_resumed(u64 before_ns) { boot_ns += now_ns() - before_ns; }

void sleep_ns(u64 ns) { wait_until(NULL, now_ns() + ns); }

void print_date(void) {
  const volatile struct shared_info *s = shared;
  u32 version;
  u64 ns;
  do {
    version = s->wc_version;
    barrier();
    ns = ((u64)s->wc_sec_hi << 32 | s->wc_sec) * 1000000000UL + s->wc_nsec;
    barrier();
  } while (version & 1 || version != s->wc_version);
  u64 seconds = (ns + now_ns()) / 1000000000UL;
  u64 days = seconds / 86400, rest = seconds % 86400;
  /* Days to a date, counting years from March. */
  u64 z = days + 719468, era = z / 146097, doe = z % 146097;
  u64 yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  u64 doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  u64 month = mp < 10 ? mp + 3 : mp - 9, year = yoe + era * 400 + (month <= 2);
  print("%lu-%02lu-%02lu %02lu:%02lu:%02lu UTC", year, month, doy - (153 * mp + 2) / 5 + 1, rest / 3600, rest / 60 % 60,
        rest % 60);
}
