/* Nuclear repulsion and cores, as in clebsch.models.zbl and clebsch.models.core. */
#include <math.h>

#include "internal.h"

#define HELD 0.9
#define WIDTH 0.1

/* s(r) = r' / r of the vector that the network is given, and ds/dr. */
double seen_factor(double r, double core_radius, double *slope) {
  const double radius = HELD * core_radius;
  *slope = 0.0;
  if (!(r < radius)) return 1.0;
  const double t = fmax((r / radius - 1.0 + WIDTH) / WIDTH, 0.0), cube = t * t * t;
  const double factor = radius * (1.0 - WIDTH * (0.5 - cube + 0.5 * cube * t)) / r;
  *slope = (3.0 * t * t - 2.0 * cube - factor) / r;
  return factor;
}

/* The share of one atom of a pair, and its derivative by r. */
double repulsion_energy(double r, double charge_i, double charge_j, double core_radius, double *slope) {
  static const double rate[] = {3.2, 0.9423, 0.4028, 0.2016};
  const model *m = &clebsch_model;
  *slope = 0.0;
  const double x = r / core_radius;
  if (!(x < 1.0)) return 0.0;
  const double exponent = m->screening_exponent;
  const double inverse = (pow(charge_i, exponent) + pow(charge_j, exponent)) / m->screening_length;
  double screening = 0.0, screening_slope = 0.0;
  for (int n = 0; n < 4; n++) {
    const double term = m->coefficients[n] * exp(-rate[n] * r * inverse);
    screening += term;
    screening_slope -= rate[n] * inverse * term;
  }
  const double p = m->cutoff_power, head = -0.5 * (p + 1.0) * (p + 2.0), power = pow(x, p - 1.0);
  const double cutoff = 1.0 + power * x * (head + x * (p * (p + 2.0) - x * 0.5 * p * (p + 1.0)));
  const double rise = p * head + x * (p + 1.0) * (p + 2.0) * p * (1.0 - 0.5 * x);
  const double cutoff_slope = power * rise / core_radius;
  const double bare = 0.5 * m->coulomb * charge_i * charge_j / r;
  *slope = bare * ((screening_slope - screening / r) * cutoff + screening * cutoff_slope);
  return bare * screening * cutoff;
}
