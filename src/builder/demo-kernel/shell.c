/* The shell: one line at a time, with echo and backspace. While it waits, the vCPU sleeps in the hypervisor. */
#include "kernel.h"

#define PROMPT "demo> "

static void command_help(int argc, char **argv);

static void command_uptime(int argc, char **argv) {
  (void)argc, (void)argv;
  u64 ns = uptime_ns();
  print("up %lu.%03lu s, ", ns / 1000000000, ns / 1000000 % 1000);
  print_date();
  print("; %lu upcalls\n", upcall_count);
}

static void command_info(int argc, char **argv) {
  (void)argc, (void)argv;
  print_greeting();
}

static void command_echo(int argc, char **argv) {
  for (int i = 1; i < argc; i++) print("%s%s", argv[i], i + 1 < argc ? " " : "");
  print("\n");
}

static void command_sleep(int argc, char **argv) {
  u64 ms;
  if (argc != 2 || !parse_u64(argv[1], &ms) || ms > 3600000) {
    print("usage: sleep MILLISECONDS\n");
    return;
  }
  u64 before = now_ns();
  sleep_ns(ms * 1000000);
  u64 took = now_ns() - before;
  print("slept %lu.%03lu ms: singleshot timer, VIRQ_TIMER on port %u\n", took / 1000000, took / 1000 % 1000, timer_port);
}

static void command_crash(int argc, char **argv) {
  if (argc == 2 && streq(argv[1], "fault")) {
    print("Crashing by a jump to address 0 with no page fault handler: the hypervisor should report it.\n");
    traps_forget();
    ((void (*)(void))0)();
  } else if (argc == 2 && streq(argv[1], "panic")) {
    print("Crashing by an undefined instruction: my own handler should report it.\n");
    __builtin_trap();
  } else if (argc == 1) {
    print("Crashing: SCHEDOP_shutdown, reason crash.\n");
    shutdown(SHUTDOWN_crash);
  }
  print("usage: crash [fault|panic]\n");
}

static void command_reboot(int argc, char **argv) {
  (void)argc, (void)argv;
  print("Rebooting.\n");
  shutdown(SHUTDOWN_reboot);
}

static void command_halt(int argc, char **argv) {
  (void)argc, (void)argv;
  print("Halting.\n");
  shutdown(SHUTDOWN_poweroff);
}

static void command_suspend(int argc, char **argv) {
  (void)argc, (void)argv;
  print("Suspending: only a toolstack can wake me.\n");
  suspend();
}

static void command_spin(int argc, char **argv) {
  (void)argc, (void)argv;
  print("Spinning for ever: destroy me.\n");
  for (;;) __asm__ volatile("pause");
}

static const struct command {
  const char *name, *usage, *help;
  void (*run)(int argc, char **argv);
} commands[] = {
    {"help", "", "this list", command_help},
    {"info", "", "who and where I am", command_info},
    {"hypercalls", "", "times a few", command_hypercalls},
    {"events", "", "event channels: to myself and back", command_events},
    {"pt", "", "page-table updates, legal and illegal", command_pt},
    {"mem", "", "frames, and what is where", command_mem},
    {"xenstore", "ls|read|write [PATH]", "asks the store", command_xenstore},
    {"cpus", "", "brings up the other vCPUs", command_cpus},
    {"flood", "MIB", "writes that much, ^C ends it", command_flood},
    {"uptime", "", "since boot, without time suspended", command_uptime},
    {"echo", "TEXT", "says it", command_echo},
    {"sleep", "MS", "waits on a singleshot timer", command_sleep},
    {"crash", "[fault|panic]", "by SCHEDOP_shutdown, an unhandled fault, my own panic", command_crash},
    {"reboot", "", "SCHEDOP_shutdown, reason reboot", command_reboot},
    {"halt", "", "SCHEDOP_shutdown, reason poweroff", command_halt},
    {"suspend", "", "SCHEDOP_shutdown, reason suspend", command_suspend},
    {"spin", "", "an endless loop", command_spin},
};

static void command_help(int argc, char **argv) {
  (void)argc, (void)argv;
  for (u64 i = 0; i < ARRAY_SIZE(commands); i++) {
    char left[40];
    format(left, sizeof left, "%s %s", commands[i].name, commands[i].usage);
    print("  %-30s %s\n", left, commands[i].help);
  }
}

static void run(char *line) {
  char *argv[16];
  int argc = 0;
  while (argc < (int)ARRAY_SIZE(argv)) {
    while (*line == ' ') *line++ = 0;
    if (!*line) break;
    argv[argc++] = line;
    while (*line && *line != ' ') line++;
  }
  if (!argc) return;
  for (u64 i = 0; i < ARRAY_SIZE(commands); i++)
    if (streq(commands[i].name, argv[0])) {
      commands[i].run(argc, argv);
      return;
    }
  print("%s: no such command; try `help`\n", argv[0]);
}

static bool something_to_do(void) { return console_has_input() || xs_has_events(); }

void shell_run(void) {
  static char line[200];
  u64 n = 0;
  int last = 0;
  print(PROMPT);
  for (;;) {
    wait_until(something_to_do, 0);
    if (xs_has_events() && xs_poll()) {
      line[n] = 0;
      print(PROMPT "%s", line);
    }
    for (int c; (c = console_getc()) >= 0; last = c) {
      if (c == '\n' && last == '\r') continue;
      if (c == '\r' || c == '\n') {
        print("\n");
        line[n] = 0;
        n = 0;
        run(line);
        print(PROMPT);
      } else if (c == 3) {
        print("^C\n" PROMPT);
        n = 0;
      } else if (c == 21) {
        for (; n; n--) print("\b \b");
      } else if (c == 8 || c == 127) {
        if (n) print("\b \b"), n--;
      } else if (c >= 32 && c < 127 && n < sizeof line - 1) {
        char echo = line[n++] = (char)c;
        console_write(&echo, 1);
      }
    }
  }
}
