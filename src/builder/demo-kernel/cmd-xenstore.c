/* `xenstore`: reads and lists the store. A path that does not begin with / is below this domain's own. */
#include "kernel.h"

#define MAX_DEPTH 8
static char values[XENSTORE_PAYLOAD_MAX + 1];
static char listings[MAX_DEPTH][2048];

static void refused(const char *path, long result, const char *reply) {
  print("%s: %s\n", path, result == XS_SILENT ? "the store is silent" : reply);
}

static void print_value(const char *value, long length) {
  for (long i = 0; i < length; i++) {
    u8 c = (u8)value[i];
    if (c >= 32 && c < 127) print("%c", c);
    else print("\\x%02x", c);
  }
}

/* path has room for 256 and is put back as it was. */
static void list(char *path, u64 depth, bool top) {
  char *names = listings[depth];
  long length = xs_directory(path, names, sizeof listings[depth]);
  if (length < 0) {
    if (top) refused(path, length, names);
    return;
  }
  u64 end = strlen(path);
  for (char *name = names; name < names + length && name < names + sizeof listings[depth] - 1; name += strlen(name) + 1) {
    format(path + end, 256 - end, "%s%s", end && path[end - 1] == '/' ? "" : end ? "/" : "", name);
    long n = xs_read(path, values, sizeof values);
    for (u64 i = 0; i < depth; i++) print(" ");
    print("%s", name);
    if (n >= 0) {
      print(" = \"");
      print_value(values, n);
      print("\"\n");
    } else {
      print(": %s\n", n == XS_SILENT ? "the store is silent" : values);
    }
    if (depth + 1 < MAX_DEPTH) list(path, depth + 1, false);
    path[end] = 0;
  }
}

void command_xenstore(int argc, char **argv) {
  char path[256];
  format(path, sizeof path, "%s", argc >= 3 ? argv[2] : "");
  if (argc == 2) format(path, sizeof path, "/local/domain/%u", own_domid);
  if ((argc == 2 || argc == 3) && streq(argv[1], "ls")) {
    list(path, 0, true);
  } else if (argc == 3 && streq(argv[1], "read")) {
    long n = xs_read(path, values, sizeof values);
    if (n < 0) {
      refused(path, n, values);
      return;
    }
    print_value(values, n);
    print("\n");
  } else if (argc == 4 && streq(argv[1], "write")) {
    long n = xs_write(path, argv[3], values, sizeof values);
    if (n < 0) refused(path, n, values);
  } else {
    print("usage: xenstore ls [PATH], xenstore read PATH, xenstore write PATH VALUE\n");
  }
}
