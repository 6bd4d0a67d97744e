/* Doubles and long doubles through printf, strtod and libm: SSE2 arithmetic and conversions, and x87. */
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252ull;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}
static double any_double(void) {
  uint64_t bits = next();
  double d;
  memcpy(&d, &bits, 8);
  return d;
}
static volatile double special[] = {0.0, -0.0, 1.0, -1.0, 0.5, DBL_MIN, DBL_MAX, DBL_EPSILON, 4.9e-324, INFINITY, -INFINITY, NAN};

static void functions(double x, double y) {
  printf("%a %a: sin %a cos %a tan %a exp %a log %a pow %a atan2 %a sqrt %a fmod %a cbrt %a\n", x, y, sin(x), cos(x), tan(x), exp(x), log(x),
         pow(x, y), atan2(x, y), sqrt(x), fmod(x, y), cbrt(x));
  printf("sinh %a tanh %a erf %a lgamma %a floor %a rint %a ldexp %a hypot %a %d %ld\n", sinh(x), tanh(x), erf(x), lgamma(x), floor(x), rint(x),
         ldexp(x, 3), hypot(x, y), isnan(x), isfinite(x) && fabs(x) < 1e18 ? lrint(x) : 0);
}
/* Without the transcendental functions: those of x87 may differ in their last bit from one make of processor to the next. */
static void wide(long double x, long double y) {
  printf("%La %Lg %.20Lf: sqrt %La fmod %La floor %La rint %La ldexp %La sum %La product %La quotient %La %d %f %.3f\n", x, y,
         fabsl(x) < 1e30L ? x : 0, sqrtl(x), fmodl(x, y), floorl(x), rintl(x), ldexpl(x, 5), x + y, x * y, x / y, x < y, (double)(float)x,
         (double)(x - y));
}
static void narrow(float x, float y) {
  printf("%a %a: sinf %a expf %a powf %a sqrtf %a sum %a quotient %a %d\n", x, y, sinf(x), expf(x), powf(x, y), sqrtf(x), x + y, x / y, x < y);
}

int main(void) {
  char text[400];
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (unsigned i = 0; i < sizeof special / sizeof *special; i++)
    for (unsigned j = 0; j < sizeof special / sizeof *special; j += 3) {
      functions(special[i], special[j]);
      wide(special[i], special[j]);
      narrow((float)special[i], (float)special[j]);
    }
  for (int i = 0; i < 60; i++) {
    double x = any_double(), y = (double)(int64_t)next() / 1e17;
    snprintf(text, sizeof text, "%.17g %.3f %e", x, y, x * y);
    double back = strtod(text, NULL);
    long double more = strtold(text, NULL);
    printf("%s %a %La %d\n", text, back, more, back == x);
    functions(y, x);
    functions(x, y);
    wide(y, (long double)x);
    narrow((float)y, (float)i / 7);
  }
  static const int modes[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO, FE_TONEAREST};
  for (int i = 0; i < 4; i++) {
    fesetround(modes[i]);
    volatile double one = 1, three = 3;
    volatile long double ten = 10;
    printf("%a %La %.2f %a %ld\n", one / three, 1 / ten, 0.125, rint(2.5), lrint(-2.5));
  }
  feclearexcept(FE_ALL_EXCEPT);
  volatile double zero = 0;
  volatile double quotient = 1 / zero;
  printf("%a %x\n", quotient, fetestexcept(FE_ALL_EXCEPT));
  return 0;
}
