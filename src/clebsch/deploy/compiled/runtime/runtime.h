/* Between the program of a potential, which is generated, and the runtime, which is the same for all. */
#ifndef CLEBSCH_RUNTIME_H
#define CLEBSCH_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "clebsch.h"

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

typedef void (*kernel)(int64_t *data); /* see clebsch.ops.cpu.emit.Kernel */
typedef struct pool pool;

enum { TARGETS, SOURCES, EDGES }; /* what the arrays of the program have an entry for */

/* What is fixed of a potential. */
typedef struct {
  const double *e0, *scale, *shift;    /* [elements] */
  int32_t l_max, intervals, num_slots; /* intervals of the splines */
  double neighbor_scale;
  kernel harmonics, harmonics_gradient;
  const int64_t *classes;   /* [elements * elements] which block of a table a pair has, NULL for one block */
  int32_t repulsion;        /* 0: none, 1: ZBL, 2: ZBL, and the network is kept out of the cores */
  const double *core_radii; /* [elements * elements] */
  double coulomb, screening_length, screening_exponent, coefficients[4];
  int32_t cutoff_power;
} model;

/* One array of the program, of `width` numbers per target, source or edge. */
typedef struct {
  int32_t unit;
  int64_t width;
} slot;

struct clebsch_potential {
  char error[512];
  int32_t threads;
  pool *workers;
  const clebsch_exchange *exchange;
  const int32_t *owners;
  /* The system: atoms by element, and the pairs within r_max from target to source, sorted either way. */
  int64_t num_targets, num_sources, num_edges;
  int64_t *species, *order, *start;
  int64_t *centers, *neighbors, *center_start, *by_neighbor, *neighbor_start, *pair;
  double *vectors, *seen, *slope, *gradient; /* true vectors; the factor s of those that the network is given, ds/dr */
  int64_t *rows, *pair_rows;                 /* first control points of every edge, by class and by element pair */
  real *directions, *harmonics, *basis, *basis_slope, *harmonics_gradient, *basis_gradient;
  double *energy;
  real **slots;
  int64_t capacity_targets, capacity_sources, capacity_edges, bytes;
};

/* Generated. */
extern const model clebsch_model;
extern const slot clebsch_slots[];
extern const clebsch_info clebsch_information;
int clebsch_program(clebsch_potential *p);

/* For the program: it runs kernels, in as many parts as `work` operations are worth, and small steps between them. */
typedef struct {
  const void *address;
  int64_t number;
} operand;

void run_kernel(clebsch_potential *p, kernel function, int64_t items, double work, const operand *operands, int count);

typedef struct {
  kernel function;
  const int64_t *jobs;
  int64_t num_jobs;
  const real *scales;
  int by_element;
  double work; /* operations per atom */
} linear_map;

void run_linear(clebsch_potential *p, const linear_map *map, const void *const *inputs, const void *const *matrices,
                real *result, int64_t rows_in, int64_t rows_out); /* atoms that inputs and result have room for */
void spread(clebsch_potential *p, const real *targets, int64_t components, int64_t channels, real *sources);
void narrow(clebsch_potential *p, const real *sources, int64_t components, int64_t channels, real *targets);
void gather(clebsch_potential *p, const real *table, int64_t components, int64_t channels, int sources, real *result);
void add_gathered(clebsch_potential *p, const real *table, int64_t components, int64_t channels, real *result);
void add(clebsch_potential *p, const real *values, real *result, int64_t count);
void zero(clebsch_potential *p, real *result, int64_t count);
/* Density normalisation: A over alpha + beta sum of rho, rho by a spline; its reverse, and the part by spline values. */
typedef struct {
  const real *table;
  int by_pair;
  real alpha, beta;
  int64_t components, channels;
} density;

void divide_by_density(clebsch_potential *p, const density *d, real *basis, real *divisor);
void density_reverse(clebsch_potential *p, const density *d, const real *basis, const real *divisor, real *gradient,
                     real *by_divisor);
void density_edges(clebsch_potential *p, const density *d, const real *by_divisor);

int exchange_forward(clebsch_potential *p, real *values, int64_t components, int64_t channels);
int exchange_reverse(clebsch_potential *p, real *values, int64_t components, int64_t channels);

enum { SILU, TANH, ABS };
typedef struct {
  int32_t first_in, first_out, dim, gate; /* gate: its component, or -1 for scalars, which are activated */
  int32_t activation;
  real scale;
} gate_block;

void gate_forward(clebsch_potential *p, const gate_block *blocks, int count, int64_t channels, const real *x, real *y);
void gate_reverse(clebsch_potential *p, const gate_block *blocks, int count, int64_t channels, const real *x,
                  const real *upstream, real *gradient);

/* e = w2 . SiLU(x W1), or w1 . x without hidden; adds scale e to the energies, and scale de/dx to the gradient. */
typedef struct {
  const real *first, *transposed, *second; /* W1, its transposed, w2 */
  int64_t channels, hidden;
  real activation_scale;
} readout;

void read_out(clebsch_potential *p, const readout *r, const real *scalars, real *gradient);

#endif
