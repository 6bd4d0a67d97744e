/* Sieve of Eratosthenes over bytes. */
static unsigned char composite[200000];
unsigned long run(unsigned long turns) {
  unsigned long primes = 0;
  for (unsigned long t = 0; t < turns; t++) {
    for (unsigned i = 0; i < sizeof composite; i++) composite[i] = 0;
    for (unsigned i = 2; i < sizeof composite; i++) {
      if (composite[i]) continue;
      primes++;
      for (unsigned j = i + i; j < sizeof composite; j += i) composite[j] = 1;
    }
  }
  return primes;
}
