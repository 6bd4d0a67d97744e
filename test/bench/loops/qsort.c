/* Recursive quicksort of 32-bit numbers from a linear congruential generator. */
static unsigned values[65536];
static void sort(long low, long high) {
  while (low < high) {
    unsigned pivot = values[(low + high) / 2];
    long i = low, j = high;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        unsigned t = values[i];
        values[i++] = values[j];
        values[j--] = t;
      }
    }
    if (j - low < high - i) {
      sort(low, j);
      low = i;
    } else {
      sort(i, high);
      high = j;
    }
  }
}
unsigned long run(unsigned long turns) {
  unsigned long sum = 0;
  unsigned seed = 1;
  for (unsigned long t = 0; t < turns; t++) {
    for (unsigned i = 0; i < 65536; i++) values[i] = seed = seed * 1664525u + 1013904223u;
    sort(0, 65535);
    sum += values[1000];
  }
  return sum;
}
