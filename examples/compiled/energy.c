/* Energy and forces of a water molecule, by a compiled potential that knows H and O.

     cc energy.c -I include -o energy -ldl && ./energy ./potential.so

   clebsch.h is where `clebsch compile --header include` puts it. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "clebsch.h"

int main(int argc, char **argv) {
  void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!library) return fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "usage: energy ./potential.so"), 1;
  __typeof__(&clebsch_open) open = dlsym(library, "clebsch_open");
  __typeof__(&clebsch_describe) describe = dlsym(library, "clebsch_describe");
  __typeof__(&clebsch_compute) compute = dlsym(library, "clebsch_compute");
  __typeof__(&clebsch_error) error = dlsym(library, "clebsch_error");

  const char *symbols[] = {"O", "H", "H"};
  const double positions[] = {0.0, 0.0, 0.12, 0.0, 0.76, -0.48, 0.0, -0.76, -0.48};
  const int64_t first[] = {0, 2, 4, 6}; /* the pairs of atom i are first[i] to first[i + 1] - 1 */
  const int32_t neighbors[] = {1, 2, 0, 2, 0, 1};
  int32_t species[3] = {-1, -1, -1};
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < describe()->num_elements; k++)
      if (!strcmp(symbols[i], describe()->symbols[k])) species[i] = k;

  clebsch_potential *potential;
  double forces[9];
  clebsch_system system = {.num_atoms = 3, .species = species, .first = first, .neighbors = neighbors};
  clebsch_result result = {.forces = forces};
  system.positions = positions;
  if (open(CLEBSCH_ABI, &potential)) return fprintf(stderr, "%s\n", error(NULL)), 1;
  if (compute(potential, &system, NULL, &result)) return fprintf(stderr, "%s\n", error(potential)), 1;
  printf("energy %.9f eV\n", result.energy);
  for (int i = 0; i < 3; i++) printf("%s %14.9f %14.9f %14.9f\n", symbols[i], forces[3 * i], forces[3 * i + 1], forces[3 * i + 2]);
  return 0;
}
