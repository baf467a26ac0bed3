/* A system before and after the program: pairs within the cutoff, their geometry, forces and virial. */
#define _GNU_SOURCE
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

#define CLOSEST 0.1 /* Angstrom: closer atoms are a mistake */
#define PAGE ((size_t)1 << 21)

int fail(clebsch_potential *p, int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(p->error, sizeof p->error, format, arguments);
  va_end(arguments);
  return code;
}

/* Memory ------------------------------------------------------------------------------------------------------- */

static void *fresh(clebsch_potential *p, void *old, int64_t count, size_t size, int *failed) {
  free(old);
  const size_t bytes = ((size_t)count * size + 64) / 64 * 64;
  void *memory = NULL;
  if (posix_memalign(&memory, bytes > PAGE ? PAGE : 64, bytes)) memory = NULL;
  if (!memory) *failed = 1;
#ifdef MADV_HUGEPAGE
  if (memory && bytes > PAGE) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  p->bytes += (int64_t)bytes;
  return memory;
}

#define FRESH(array, count) p->array = fresh(p, p->array, count, sizeof *p->array, &failed)

static int64_t grown(int64_t needed, int64_t capacity) { return needed <= capacity ? capacity : needed + needed / 16; }

/* Make room for a system; what there was is lost. */
static int reserve(clebsch_potential *p, int64_t n, int64_t m, int64_t e) {
  if (n <= p->capacity_targets && m <= p->capacity_sources && e <= p->capacity_edges) return CLEBSCH_OK;
  int failed = 0;
  n = p->capacity_targets = grown(n, p->capacity_targets);
  m = p->capacity_sources = grown(m, p->capacity_sources);
  e = p->capacity_edges = grown(e, p->capacity_edges);
  const int64_t harmonics = (clebsch_model.l_max + 1) * (clebsch_model.l_max + 1);
  p->bytes = (int64_t)sizeof *p;
  FRESH(species, m);
  FRESH(order, n);
  FRESH(start, clebsch_information.num_elements + 1);
  FRESH(center_start, n + 1);
  FRESH(neighbor_start, m + 1);
  FRESH(centers, e);
  FRESH(neighbors, e);
  FRESH(by_neighbor, e);
  FRESH(pair, e);
  FRESH(vectors, 3 * e);
  FRESH(seen, e);
  FRESH(slope, e);
  FRESH(gradient, 3 * e);
  FRESH(rows, e);
  FRESH(pair_rows, e);
  FRESH(directions, 3 * e);
  FRESH(harmonics, (harmonics < 3 ? 3 : harmonics) * e); /* see finish() */
  FRESH(harmonics_gradient, harmonics * e);
  FRESH(basis, 4 * e);
  FRESH(basis_slope, 4 * e);
  FRESH(basis_gradient, 4 * e);
  FRESH(energy, n);
  for (int k = 0; k < clebsch_model.num_slots; k++) {
    const slot *s = &clebsch_slots[k];
    const int64_t items = s->unit == TARGETS ? n : s->unit == SOURCES ? m : e;
    p->slots[k] = fresh(p, p->slots[k], items * s->width, sizeof(real), &failed);
  }
  if (!failed) return CLEBSCH_OK;
  p->capacity_targets = p->capacity_sources = p->capacity_edges = -1;
  return fail(p, CLEBSCH_NO_MEMORY, "%lld atoms with %lld pairs need %.1f GB, which this machine does not give; use more "
              "processes, or a smaller system", (long long)m, (long long)e, (double)p->bytes / 1e9);
}

void release(clebsch_potential *p) {
  void *arrays[] = {p->species, p->order, p->start, p->center_start, p->neighbor_start, p->centers, p->neighbors,
                    p->by_neighbor, p->pair, p->vectors, p->seen, p->slope, p->gradient, p->rows, p->pair_rows,
                    p->directions, p->harmonics, p->harmonics_gradient, p->basis, p->basis_slope, p->basis_gradient,
                    p->energy};
  for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) free(arrays[k]);
  for (int k = 0; p->slots && k < clebsch_model.num_slots; k++) free(p->slots[k]);
  free(p->slots);
}

/* Pairs -------------------------------------------------------------------------------------------------------- */

typedef struct {
  clebsch_potential *p;
  const clebsch_system *system;
  int64_t *count;            /* [targets + 1], pairs within r_max */
  _Atomic int64_t bad, close; /* a pair that cannot be, plus 1 */
} search;

static inline double vector_of(const clebsch_system *s, int64_t i, int64_t pair, double *v) {
  const int64_t j = s->neighbors[pair];
  for (int d = 0; d < 3; d++)
    v[d] = s->vectors ? s->vectors[3 * pair + d] : s->positions[3 * j + d] - s->positions[3 * i + d];
  return v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
}

static void count_pairs(void *data, int64_t part, int64_t parts) {
  search *g = data;
  const clebsch_system *s = g->system;
  const double most = clebsch_information.r_max * clebsch_information.r_max;
  const int64_t end = share(s->num_atoms, part + 1, parts), sources = s->num_atoms + s->num_ghosts;
  double v[3];
  for (int64_t i = share(s->num_atoms, part, parts); i < end; i++) {
    int64_t found = 0;
    for (int64_t pair = s->first[i]; pair < s->first[i + 1]; pair++) {
      const int64_t j = s->neighbors[pair];
      if (j < 0 || j >= sources) {
        if (!g->bad) g->bad = pair + 1;
        continue;
      }
      const double square = vector_of(s, i, pair, v);
      if (!(square >= CLOSEST * CLOSEST && square <= DBL_MAX) && !g->close) g->close = pair + 1;
      found += square < most;
    }
    g->count[i + 1] = found;
  }
}

static void fill_pairs(void *data, int64_t part, int64_t parts) {
  search *g = data;
  clebsch_potential *p = g->p;
  const clebsch_system *s = g->system;
  const double most = clebsch_information.r_max * clebsch_information.r_max;
  const int64_t end = share(s->num_atoms, part + 1, parts);
  for (int64_t i = share(s->num_atoms, part, parts); i < end; i++) {
    int64_t e = p->center_start[i];
    for (int64_t pair = s->first[i]; pair < s->first[i + 1]; pair++) {
      double *v = p->vectors + 3 * e;
      if (e == p->center_start[i + 1]) break; /* all pairs of the atom are there */
      if (!(vector_of(s, i, pair, v) < most)) continue;
      p->centers[e] = i;
      p->neighbors[e] = s->neighbors[pair];
      p->pair[e++] = pair;
    }
  }
}

static int64_t center_of(const clebsch_system *s, int64_t pair) {
  int64_t i = 0;
  while (s->first[i + 1] <= pair) i++;
  return i;
}

static int bad_pair(clebsch_potential *p, const clebsch_system *s, int64_t pair, int close) {
  const long long i = center_of(s, pair), j = s->neighbors[pair];
  if (!close)
    return fail(p, CLEBSCH_BAD_INPUT, "neighbors: pair %lld of atom %lld names atom %lld; expected 0 to %lld",
                (long long)pair, i, j, (long long)(s->num_atoms + s->num_ghosts - 1));
  double v[3];
  const double r = sqrt(vector_of(s, i, pair, v));
  if (isfinite(r))
    return fail(p, CLEBSCH_BAD_INPUT, "atoms %lld and %lld are %.4f A apart, which is closer than atoms can be; look at "
                "the positions, the cell and their unit", i, j, r);
  return fail(p, CLEBSCH_BAD_INPUT, "the distance of atoms %lld and %lld is not finite; look at the positions and at the "
              "step of the dynamics", i, j);
}

static int check(clebsch_potential *p, const clebsch_system *s) {
  if (s->num_atoms < 0 || s->num_ghosts < 0 || !s->first || (s->num_atoms + s->num_ghosts > 0 && !s->species))
    return fail(p, CLEBSCH_BAD_INPUT, "system: num_atoms, num_ghosts, species and first are needed");
  for (int64_t i = 0; i < s->num_atoms; i++)
    if (s->first[i + 1] < s->first[i] || s->first[0] != 0)
      return fail(p, CLEBSCH_BAD_INPUT, "first: expected 0, then numbers that ascend, not so at atom %lld", (long long)i);
  if (s->num_atoms && s->first[s->num_atoms] && (!s->neighbors || (!s->vectors && !s->positions)))
    return fail(p, CLEBSCH_BAD_INPUT, "system: there are pairs, so neighbors and either vectors or positions are needed");
  for (int64_t i = 0; i < s->num_atoms + s->num_ghosts; i++)
    if (s->species[i] < 0 || s->species[i] >= clebsch_information.num_elements)
      return fail(p, CLEBSCH_BAD_INPUT, "species: atom %lld has element %d; expected 0 to %d", (long long)i,
                  (int)s->species[i], (int)clebsch_information.num_elements - 1);
  for (int64_t i = 0; s->owners && i < s->num_ghosts; i++)
    if (s->owners[i] < 0 || s->owners[i] >= s->num_atoms)
      return fail(p, CLEBSCH_BAD_INPUT, "owners: ghost %lld has owner %d; expected 0 to %lld", (long long)i,
                  (int)s->owners[i], (long long)s->num_atoms - 1);
  if (s->num_ghosts && clebsch_information.num_exchanges && !s->owners && !p->exchange)
    return fail(p, CLEBSCH_BAD_INPUT, "there are ghosts, and atoms pass messages on: give owners, or an exchange");
  return CLEBSCH_OK;
}

/* Sort indices by a key: start [keys + 1], order [count]. */
static void sort(const int64_t *keys, int64_t count, int64_t num_keys, int64_t *start, int64_t *order) {
  memset(start, 0, (size_t)(num_keys + 1) * sizeof *start);
  for (int64_t i = 0; i < count; i++) start[keys[i] + 1]++;
  for (int64_t k = 0; k < num_keys; k++) start[k + 1] += start[k];
  for (int64_t i = 0; i < count; i++) order[start[keys[i]]++] = i;
  for (int64_t k = num_keys; k > 0; k--) start[k] = start[k - 1];
  start[0] = 0;
}

int prepare(clebsch_potential *p, const clebsch_system *s) {
  int status = check(p, s);
  if (status) return status;
  const int64_t n = s->num_atoms, m = n + s->num_ghosts;
  search given = {.p = p, .system = s, .count = calloc((size_t)n + 1, sizeof(int64_t))};
  if (!given.count) return fail(p, CLEBSCH_NO_MEMORY, "no memory for %lld atoms", (long long)n);
  const int64_t parts = parts_of(p, n, n ? 10.0 * (double)s->first[n] : 0.0);
  in_parts(p, parts, count_pairs, &given);
  for (int64_t i = 0; i < n; i++) given.count[i + 1] += given.count[i];
  const int64_t bad = given.bad ? given.bad : given.close;
  status = bad ? bad_pair(p, s, bad - 1, !given.bad) : reserve(p, n, m, given.count[n]);
  if (!status) {
    p->num_targets = n, p->num_sources = m, p->num_edges = given.count[n];
    memcpy(p->center_start, given.count, (size_t)(n + 1) * sizeof(int64_t));
    in_parts(p, parts, fill_pairs, &given);
    for (int64_t i = 0; i < m; i++) p->species[i] = s->species[i];
    sort(p->species, n, clebsch_information.num_elements, p->start, p->order);
    sort(p->neighbors, p->num_edges, m, p->neighbor_start, p->by_neighbor);
  }
  free(given.count);
  return status;
}

/* Geometry ----------------------------------------------------------------------------------------------------- */

static void spline(clebsch_potential *p, int64_t e, real r) {
  const real spacing = (real)(clebsch_information.r_max / clebsch_model.intervals);
  real scaled = r / spacing;
  if (scaled > clebsch_model.intervals) scaled = (real)clebsch_model.intervals;
  int64_t row = (int64_t)scaled;
  if (row > clebsch_model.intervals - 1) row = clebsch_model.intervals - 1;
  const real u = scaled - (real)row, v = u * u, w = v * u;
  real *b = p->basis + 4 * e, *d = p->basis_slope + 4 * e;
  b[0] = (1 - 3 * u + 3 * v - w) / 6;
  b[1] = (4 - 6 * v + 3 * w) / 6;
  b[2] = (1 + 3 * u + 3 * v - 3 * w) / 6;
  b[3] = w / 6;
  d[0] = (-1 + 2 * u - v) / (2 * spacing);
  d[1] = (-4 * u + 3 * v) / (2 * spacing);
  d[2] = (1 + 2 * u - 3 * v) / (2 * spacing);
  d[3] = v / (2 * spacing);
  const int64_t elements = clebsch_information.num_elements, rows = clebsch_model.intervals + 3;
  const int64_t pair = p->species[p->centers[e]] * elements + p->species[p->neighbors[e]];
  p->rows[e] = row + (clebsch_model.classes ? rows * clebsch_model.classes[pair] : 0);
  p->pair_rows[e] = row + rows * pair;
}

static void geometry_part(void *data, int64_t part, int64_t parts) {
  clebsch_potential *p = data;
  const int64_t end = share(p->num_targets, part + 1, parts);
  for (int64_t i = share(p->num_targets, part, parts); i < end; i++) {
    const int64_t a = p->species[i];
    double energy = 0.0;
    for (int64_t e = p->center_start[i]; e < p->center_start[i + 1]; e++) {
      const double *v = p->vectors + 3 * e;
      const double r = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
      double factor = 1.0, slope = 0.0;
      p->slope[e] = 0.0;
      for (int d = 0; d < 3; d++) p->gradient[3 * e + d] = 0.0;
      if (clebsch_model.repulsion) {
        const int64_t b = p->species[p->neighbors[e]];
        const double radius = clebsch_model.core_radii[a * clebsch_information.num_elements + b];
        energy += repulsion_energy(r, clebsch_information.atomic_numbers[a], clebsch_information.atomic_numbers[b],
                                   radius, &slope);
        for (int d = 0; d < 3; d++) p->gradient[3 * e + d] = slope * v[d] / r;
        if (clebsch_model.repulsion == 2) factor = seen_factor(r, radius, &p->slope[e]);
      }
      p->seen[e] = factor;
      real *x = p->directions + 3 * e;
      for (int d = 0; d < 3; d++) x[d] = (real)(factor * v[d]);
      spline(p, e, (real)sqrt((double)(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])));
    }
    p->energy[i] = clebsch_model.e0[a] + clebsch_model.shift[a] + energy;
  }
}

static void scale_part(void *data, int64_t part, int64_t parts) {
  struct {
    real *values;
    int64_t count;
    real factor;
  } *g = data;
  const int64_t end = share(g->count, part + 1, parts);
  for (int64_t k = share(g->count, part, parts); k < end; k++) g->values[k] *= g->factor;
}

static void scale(clebsch_potential *p, real *values) {
  const int64_t harmonics = (clebsch_model.l_max + 1) * (clebsch_model.l_max + 1);
  struct {
    real *values;
    int64_t count;
    real factor;
  } given = {values, p->num_edges * harmonics, (real)(1.0 / clebsch_model.neighbor_scale)};
  in_parts(p, parts_of(p, given.count, (double)given.count), scale_part, &given);
}

void geometry(clebsch_potential *p) {
  const int64_t e = p->num_edges, harmonics = (clebsch_model.l_max + 1) * (clebsch_model.l_max + 1);
  in_parts(p, parts_of(p, p->num_targets, 60.0 * (double)e), geometry_part, p);
  const operand operands[] = {{p->directions, 0}, {p->harmonics, 0}};
  run_kernel(p, clebsch_model.harmonics, e, 20.0 * (double)(e * harmonics), operands, 2);
  scale(p, p->harmonics);
}

/* Results ------------------------------------------------------------------------------------------------------ */

/* dE/dr_ij of every pair: from those by harmonics and splines, in the place of the directions' own gradient. */
static void edge_part(void *data, int64_t part, int64_t parts) {
  clebsch_potential *p = data;
  const int64_t end = share(p->num_edges, part + 1, parts);
  for (int64_t e = share(p->num_edges, part, parts); e < end; e++) {
    const real *x = p->directions + 3 * e, *along = p->harmonics + 3 * e; /* see finish() */
    real radial = 0;
    for (int s = 0; s < 4; s++) radial += p->basis_gradient[4 * e + s] * p->basis_slope[4 * e + s];
    const double r = sqrt((double)x[0] * x[0] + (double)x[1] * x[1] + (double)x[2] * x[2]);
    const double *v = p->vectors + 3 * e;
    double g[3], projection = 0.0;
    for (int d = 0; d < 3; d++) {
      g[d] = (double)along[d] + (double)radial * x[d] / r;
      projection += g[d] * v[d];
    }
    const double length = p->slope[e] ? sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) : 1.0;
    for (int d = 0; d < 3; d++)
      p->gradient[3 * e + d] += p->seen[e] * g[d] + projection * p->slope[e] * v[d] / length;
  }
}

typedef struct {
  clebsch_potential *p;
  clebsch_result *result;
} summing;

static void force_part(void *data, int64_t part, int64_t parts) {
  const summing *g = data;
  const clebsch_potential *p = g->p;
  const int64_t end = share(p->num_sources, part + 1, parts);
  for (int64_t i = share(p->num_sources, part, parts); i < end; i++) {
    double f[3] = {0.0, 0.0, 0.0};
    if (i < p->num_targets)
      for (int64_t e = p->center_start[i]; e < p->center_start[i + 1]; e++)
        for (int d = 0; d < 3; d++) f[d] += p->gradient[3 * e + d];
    for (int64_t k = p->neighbor_start[i]; k < p->neighbor_start[i + 1]; k++)
      for (int d = 0; d < 3; d++) f[d] -= p->gradient[3 * p->by_neighbor[k] + d];
    for (int d = 0; d < 3; d++) g->result->forces[3 * i + d] = f[d];
  }
}

static void sum_forces(clebsch_potential *p, clebsch_result *result) {
  summing given = {p, result};
  in_parts(p, parts_of(p, p->num_sources, 10.0 * (double)p->num_edges), force_part, &given);
  for (int64_t i = 0; p->owners && i < p->num_sources - p->num_targets; i++)
    for (int d = 0; d < 3; d++) {
      double *ghost = result->forces + 3 * (p->num_targets + i) + d;
      result->forces[3 * p->owners[i] + d] += *ghost;
      *ghost = 0.0;
    }
}

int finish(clebsch_potential *p, const clebsch_system *s, clebsch_result *result) {
  const int64_t e = p->num_edges, harmonics = (clebsch_model.l_max + 1) * (clebsch_model.l_max + 1);
  scale(p, p->harmonics_gradient);
  /* The harmonics have been used: their memory takes their gradient by the directions, three numbers of a pair. */
  const operand operands[] = {{p->directions, 0}, {p->harmonics_gradient, 0}, {p->harmonics, 0}};
  run_kernel(p, clebsch_model.harmonics_gradient, e, 20.0 * (double)(e * harmonics), operands, 3);
  in_parts(p, parts_of(p, e, 30.0 * (double)e), edge_part, p);
  double energy = 0.0, total = 0.0, virial[9] = {0.0};
  for (int64_t i = 0; i < p->num_targets; i++) energy += p->energy[i];
  for (int64_t k = 0; k < e; k++)
    for (int c = 0; c < 3; c++)
      for (int d = 0; d < 3; d++) virial[3 * c + d] += p->vectors[3 * k + c] * p->gradient[3 * k + d];
  for (int k = 0; k < 9; k++) total += virial[k];
  if (!isfinite(energy) || !isfinite(total))
    return fail(p, CLEBSCH_NOT_FINITE, "energy or forces are not finite; look at the positions and at the step of the "
                "dynamics");
  result->energy = energy;
  if (result->virial) memcpy(result->virial, virial, sizeof virial);
  if (result->node_energy) memcpy(result->node_energy, p->energy, (size_t)p->num_targets * sizeof(double));
  if (result->forces) sum_forces(p, result);
  if (result->edge_gradient) {
    memset(result->edge_gradient, 0, (size_t)(s->num_atoms ? s->first[s->num_atoms] : 0) * 3 * sizeof(double));
    for (int64_t k = 0; k < e; k++) memcpy(result->edge_gradient + 3 * p->pair[k], p->gradient + 3 * k, 3 * sizeof(double));
  }
  return CLEBSCH_OK;
}
