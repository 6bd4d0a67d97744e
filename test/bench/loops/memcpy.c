/* A copy loop of 8-byte words, and a check sum of what arrived. */
static unsigned long from[8192], to[8192];
unsigned long run(unsigned long turns) {
  unsigned long sum = 0;
  for (unsigned i = 0; i < 8192; i++) from[i] = i * 0x9e3779b97f4a7c15ul;
  for (unsigned long t = 0; t < turns; t++) {
    volatile unsigned long *d = to;
    const volatile unsigned long *s = from;
    for (unsigned i = 0; i < 8192; i++) d[i] = s[i];
    sum += to[t & 8191];
  }
  return sum;
}
