/* A binary heap as priority queue: push and pop with sifting. */
static unsigned long heap[4096];
static unsigned count;
static void push(unsigned long v) {
  unsigned i = count++;
  while (i > 0 && heap[(i - 1) / 2] > v) {
    heap[i] = heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  heap[i] = v;
}
static unsigned long pop(void) {
  unsigned long top = heap[0], v = heap[--count];
  unsigned i = 0;
  for (;;) {
    unsigned child = i * 2 + 1;
    if (child >= count) break;
    if (child + 1 < count && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= v) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = v;
  return top;
}
unsigned long run(unsigned long turns) {
  unsigned long x = 88172645463325252ul, sum = 0;
  for (unsigned long t = 0; t < turns; t++) {
    count = 0;
    for (int i = 0; i < 4000; i++) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      push(x);
    }
    for (int i = 0; i < 4000; i++) sum = sum * 31 + pop();
  }
  return sum;
}
