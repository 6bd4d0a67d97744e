/* CRC-32 by table over a buffer, again and again. */
static unsigned table[256];
static unsigned char buffer[65536];
unsigned long run(unsigned long turns) {
  for (unsigned i = 0; i < 256; i++) {
    unsigned c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  for (unsigned i = 0; i < sizeof buffer; i++) buffer[i] = (unsigned char)(i * 31 + 7);
  unsigned c = ~0u;
  for (unsigned long t = 0; t < turns; t++)
    for (unsigned i = 0; i < sizeof buffer; i++) c = table[(c ^ buffer[i]) & 255] ^ (c >> 8);
  return ~c;
}
