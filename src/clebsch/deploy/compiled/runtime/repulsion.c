/* Nuclear repulsion and cores, as in clebsch.models.zbl and clebsch.models.core. */
#include <math.h>

#include "internal.h"

#define COULOMB 14.399645478425668 /* e^2 / (4 pi eps0) in eV Angstrom */
#define BOHR 0.529177210903
#define SCREENING 0.8854
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
  static const double c[] = {0.1818, 0.5099, 0.2802, 0.02817}, rate[] = {3.2, 0.9423, 0.4028, 0.2016};
  *slope = 0.0;
  const double x = r / core_radius;
  if (!(x < 1.0)) return 0.0;
  const double inverse = (pow(charge_i, 0.23) + pow(charge_j, 0.23)) / (SCREENING * BOHR);
  double screening = 0.0, screening_slope = 0.0;
  for (int n = 0; n < 4; n++) {
    const double term = c[n] * exp(-rate[n] * r * inverse);
    screening += term;
    screening_slope -= rate[n] * inverse * term;
  }
  const double x5 = x * x * x * x * x;
  const double cutoff = 1.0 + x5 * x * (-28.0 + x * (48.0 - 21.0 * x));
  const double cutoff_slope = x5 * (-168.0 + x * (336.0 - 168.0 * x)) / core_radius;
  const double bare = 0.5 * COULOMB * charge_i * charge_j / r;
  *slope = bare * ((screening_slope - screening / r) * cutoff + screening * cutoff_slope);
  return bare * screening * cutoff;
}
