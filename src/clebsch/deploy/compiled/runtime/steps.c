/* What the program does between kernels. */
#include <string.h>

#include "internal.h"

void run_linear(clebsch_potential *p, const linear_map *map, const void *const *inputs, const void *const *matrices,
                real *result, int64_t rows_in, int64_t rows_out) {
  const int64_t atoms = p->num_targets, elements = map->by_element ? clebsch_information.num_elements : 1;
  const operand operands[] = {
      {map->jobs, 0}, {inputs, 0}, {matrices, 0}, {map->scales, 0}, {result, 0},
      {map->by_element ? p->order : NULL, 0}, {map->by_element ? p->start : NULL, 0},
      {NULL, map->num_jobs}, {NULL, atoms}, {NULL, rows_in}, {NULL, rows_out}, {NULL, elements},
  };
  run_kernel(p, map->function, atoms, map->work * (double)atoms, operands, 12);
}

/* Copy the values of targets to the first places of the sources, or add those of the sources to the targets. */
void spread(clebsch_potential *p, const real *targets, int64_t components, int64_t channels, real *sources) {
  for (int64_t c = 0; c < components; c++)
    memcpy(sources + c * p->num_sources * channels, targets + c * p->num_targets * channels,
           (size_t)(p->num_targets * channels) * sizeof(real));
}

void narrow(clebsch_potential *p, const real *sources, int64_t components, int64_t channels, real *targets) {
  for (int64_t c = 0; c < components; c++)
    add(p, sources + c * p->num_sources * channels, targets + c * p->num_targets * channels, p->num_targets * channels);
}

typedef struct {
  clebsch_potential *p;
  const real *from;
  real *to;
  int64_t components, channels, count;
  const gate_block *blocks;
  const real *upstream;
  int num_blocks;
} job;

static void each(clebsch_potential *p, task function, job *given, int64_t items, double work) {
  given->p = p;
  given->count = items;
  in_parts(p, parts_of(p, items, work), function, given);
}

static void gather_part(void *data, int64_t part, int64_t parts) {
  const job *g = data;
  const int64_t end = share(g->count, part + 1, parts), elements = clebsch_information.num_elements;
  for (int64_t c = 0; c < g->components; c++)
    for (int64_t i = share(g->count, part, parts); i < end; i++)
      memcpy(g->to + (c * g->count + i) * g->channels, g->from + (c * elements + g->p->species[i]) * g->channels,
             (size_t)g->channels * sizeof(real));
}

/* result[c][atom] = table[c][element of the atom] */
void gather(clebsch_potential *p, const real *table, int64_t components, int64_t channels, int sources, real *result) {
  job given = {.from = table, .to = result, .components = components, .channels = channels};
  const int64_t items = sources ? p->num_sources : p->num_targets;
  each(p, gather_part, &given, items, (double)(items * components * channels));
}

static void add_gathered_part(void *data, int64_t part, int64_t parts) {
  const job *g = data;
  const int64_t end = share(g->count, part + 1, parts), elements = clebsch_information.num_elements;
  for (int64_t c = 0; c < g->components; c++)
    for (int64_t i = share(g->count, part, parts); i < end; i++) {
      const real *from = g->from + (c * elements + g->p->species[i]) * g->channels;
      real *to = g->to + (c * g->count + i) * g->channels;
      for (int64_t k = 0; k < g->channels; k++) to[k] += from[k];
    }
}

void add_gathered(clebsch_potential *p, const real *table, int64_t components, int64_t channels, real *result) {
  job given = {.from = table, .to = result, .components = components, .channels = channels};
  each(p, add_gathered_part, &given, p->num_targets, (double)(p->num_targets * components * channels));
}

static void add_part(void *data, int64_t part, int64_t parts) {
  const job *g = data;
  const int64_t end = share(g->count, part + 1, parts);
  for (int64_t i = share(g->count, part, parts); i < end; i++) g->to[i] += g->from[i];
}

void add(clebsch_potential *p, const real *values, real *result, int64_t count) {
  job given = {.from = values, .to = result};
  each(p, add_part, &given, count, (double)count);
}

static void zero_part(void *data, int64_t part, int64_t parts) {
  const job *g = data;
  const int64_t begin = share(g->count, part, parts), end = share(g->count, part + 1, parts);
  memset(g->to + begin, 0, (size_t)(end - begin) * sizeof(real));
}

void zero(clebsch_potential *p, real *result, int64_t count) {
  job given = {.to = result};
  each(p, zero_part, &given, count, (double)count);
}

/* exp(x) - 1 to rounding, near 0 too, in a form that compilers turn into vector code. */
static inline real exponential_less_one(real x) {
#if REAL_BYTES == 4
  const real most = 87, rounder = 12582912; /* adding it rounds to integers, which are then the lowest bits */
#else
  const real most = 708, rounder = 6755399441055744;
#endif
  x = x < -most ? -most : x;
  x = x > most ? most : x;
  const real whole = (x * (real)1.4426950408889634 + rounder) - rounder;
  const real y = (x - whole * (real)0.693145751953125) - whole * (real)1.42860682030941723212e-6;
  real sum = (real)(1. / 5040);
#if REAL_BYTES == 8
  sum = 1. / 6227020800.;
  sum = 1. / 479001600. + y * sum;
  sum = 1. / 39916800. + y * sum;
  sum = 1. / 3628800. + y * sum;
  sum = 1. / 362880. + y * sum;
  sum = 1. / 40320. + y * sum;
  sum = 1. / 5040. + y * sum;
#endif
  sum = (real)(1. / 720) + y * sum;
  sum = (real)(1. / 120) + y * sum;
  sum = (real)(1. / 24) + y * sum;
  sum = (real)(1. / 6) + y * sum;
  sum = (real)0.5 + y * sum;
  sum = 1 + y * sum;
#if REAL_BYTES == 4
  const union { int32_t bits; real value; } power = {((int32_t)whole + 127) << 23};
#else
  const union { int64_t bits; real value; } power = {((int64_t)whole + 1023) << 52};
#endif
  return sum * y * power.value + (power.value - 1);
}

/* Values and slopes of an activation, a row at a time, so that every loop is one of vectors. */
static void activate(int32_t kind, int64_t count, const real *restrict x, real factor, real *restrict value,
                     real *restrict slope) {
  if (kind == SILU)
    for (int64_t k = 0; k < count; k++) {
      const real sigmoid = 1 / (2 + exponential_less_one(-x[k]));
      value[k] = factor * x[k] * sigmoid;
      slope[k] = factor * sigmoid * (1 + x[k] * (1 - sigmoid));
    }
  else if (kind == TANH)
    for (int64_t k = 0; k < count; k++) {
      const real less_one = exponential_less_one(2 * x[k]), t = less_one / (less_one + 2);
      value[k] = factor * t;
      slope[k] = factor * (1 - t * t);
    }
  else
    for (int64_t k = 0; k < count; k++) {
      value[k] = factor * (x[k] < 0 ? -x[k] : x[k]);
      slope[k] = factor * (real)((x[k] > 0) - (x[k] < 0));
    }
}

#define CHANNELS 256 /* of a row that are worked on at once */

/* One block of a gate, some channels of one atom: values, or with an upstream derivative those by the inputs. */
static void gate_channels(const job *g, const gate_block *b, int64_t i, int64_t first, int64_t count) {
  const int64_t K = g->channels, own = b->gate < 0 ? b->first_in : b->gate;
  real value[CHANNELS], slope[CHANNELS], gradient[CHANNELS];
  activate(b->activation, count, g->from + (own * g->count + i) * K + first, b->scale, value, slope);
  memset(gradient, 0, sizeof gradient);
  for (int32_t m = 0; m < b->dim; m++) {
    const real *restrict x = g->from + ((b->first_in + m) * g->count + i) * K + first;
    const int64_t out = ((b->first_out + m) * g->count + i) * K + first;
    if (!g->upstream) {
      real *restrict y = g->to + out;
      for (int64_t k = 0; k < count; k++) y[k] = b->gate < 0 ? value[k] : value[k] * x[k];
      continue;
    }
    const real *restrict upstream = g->upstream + out;
    real *restrict to = g->to + ((b->first_in + m) * g->count + i) * K + first;
    for (int64_t k = 0; k < count; k++) {
      to[k] = (b->gate < 0 ? slope[k] : value[k]) * upstream[k];
      gradient[k] += slope[k] * x[k] * upstream[k];
    }
  }
  if (g->upstream && b->gate >= 0)
    memcpy(g->to + (b->gate * g->count + i) * K + first, gradient, (size_t)count * sizeof(real));
}

static void gate_part(void *data, int64_t part, int64_t parts) {
  const job *g = data;
  const int64_t end = share(g->count, part + 1, parts);
  for (int block = 0; block < g->num_blocks; block++)
    for (int64_t i = share(g->count, part, parts); i < end; i++)
      for (int64_t k = 0; k < g->channels; k += CHANNELS)
        gate_channels(g, &g->blocks[block], i, k, g->channels - k < CHANNELS ? g->channels - k : CHANNELS);
}

void gate_forward(clebsch_potential *p, const gate_block *blocks, int count, int64_t channels, const real *x, real *y) {
  job given = {.from = x, .to = y, .channels = channels, .blocks = blocks, .num_blocks = count};
  each(p, gate_part, &given, p->num_targets, 20.0 * (double)(p->num_targets * channels * count));
}

void gate_reverse(clebsch_potential *p, const gate_block *blocks, int count, int64_t channels, const real *x,
                  const real *upstream, real *gradient) {
  job given = {.from = x, .to = gradient, .channels = channels, .blocks = blocks, .num_blocks = count};
  given.upstream = upstream;
  each(p, gate_part, &given, p->num_targets, 30.0 * (double)(p->num_targets * channels * count));
}

typedef struct {
  clebsch_potential *p;
  const readout *r;
  const real *scalars;
  real *gradient;
} reading;

#define MOST_HIDDEN 1024 /* as in translate.py */

static void read_out_part(void *data, int64_t part, int64_t parts) {
  const reading *g = data;
  const readout *r = g->r;
  const int64_t K = r->channels, H = r->hidden, end = share(g->p->num_targets, part + 1, parts);
  real z[MOST_HIDDEN], value[MOST_HIDDEN], slope[MOST_HIDDEN];
  for (int64_t i = share(g->p->num_targets, part, parts); i < end; i++) {
    const real *x = g->scalars + i * K;
    real *gradient = g->gradient + i * K;
    const double scale = clebsch_model.scale[g->p->species[i]];
    real energy = 0;
    if (!H) {
      for (int64_t k = 0; k < K; k++) energy += x[k] * r->first[k];
      for (int64_t k = 0; k < K; k++) gradient[k] += (real)scale * r->first[k];
    } else {
      memset(z, 0, (size_t)H * sizeof(real));
      for (int64_t k = 0; k < K; k++)
        for (int64_t h = 0; h < H; h++) z[h] += x[k] * r->first[k * H + h];
      activate(SILU, H, z, r->activation_scale, value, slope);
      for (int64_t h = 0; h < H; h++) {
        energy += value[h] * r->second[h];
        z[h] = (real)scale * slope[h] * r->second[h];
      }
      for (int64_t h = 0; h < H; h++)
        for (int64_t k = 0; k < K; k++) gradient[k] += z[h] * r->transposed[h * K + k];
    }
    g->p->energy[i] += scale * (double)energy;
  }
}

void read_out(clebsch_potential *p, const readout *r, const real *scalars, real *gradient) {
  reading given = {p, r, scalars, gradient};
  const double work = 4.0 * (double)(p->num_targets * r->channels * (r->hidden ? r->hidden : 1));
  in_parts(p, parts_of(p, p->num_targets, work), read_out_part, &given);
}

typedef struct {
  clebsch_potential *p;
  const density *d;
  real *values, *divisor, *by_divisor;
  const real *basis;
} dividing;

static void divide_part(void *data, int64_t part, int64_t parts) {
  const dividing *g = data;
  const clebsch_potential *p = g->p;
  const density *d = g->d;
  const int64_t n = p->num_targets, K = d->channels, end = share(n, part + 1, parts);
  const int64_t *rows = d->by_pair ? p->pair_rows : p->rows;
  for (int64_t i = share(n, part, parts); i < end; i++) {
    real sum = 0;
    for (int64_t e = p->center_start[i]; e < p->center_start[i + 1]; e++)
      for (int s = 0; s < 4; s++) sum += p->basis[4 * e + s] * d->table[rows[e] + s];
    g->divisor[i] = d->alpha + d->beta * sum;
    const real factor = 1 / g->divisor[i];
    for (int64_t c = 0; c < d->components; c++)
      for (int64_t k = 0; k < K; k++) g->values[(c * n + i) * K + k] *= factor;
  }
}

void divide_by_density(clebsch_potential *p, const density *d, real *basis, real *divisor) {
  dividing given = {.p = p, .d = d, .values = basis, .divisor = divisor};
  const double work = (double)(p->num_targets * d->components * d->channels) + 8.0 * (double)p->num_edges;
  in_parts(p, parts_of(p, p->num_targets, work), divide_part, &given);
}

static void density_reverse_part(void *data, int64_t part, int64_t parts) {
  const dividing *g = data;
  const int64_t n = g->p->num_targets, K = g->d->channels, end = share(n, part + 1, parts);
  for (int64_t i = share(n, part, parts); i < end; i++) {
    const real factor = 1 / g->divisor[i];
    real sum = 0;
    for (int64_t c = 0; c < g->d->components; c++)
      for (int64_t k = 0; k < K; k++) {
        const int64_t place = (c * n + i) * K + k;
        sum += g->values[place] * g->basis[place];
        g->values[place] *= factor;
      }
    g->by_divisor[i] = -sum * factor;
  }
}

void density_reverse(clebsch_potential *p, const density *d, const real *basis, const real *divisor, real *gradient,
                     real *by_divisor) {
  dividing given = {p, d, gradient, (real *)divisor, by_divisor, basis};
  const double work = 3.0 * (double)(p->num_targets * d->components * d->channels);
  in_parts(p, parts_of(p, p->num_targets, work), density_reverse_part, &given);
}

void density_edges(clebsch_potential *p, const density *d, const real *by_divisor) {
  const int64_t *rows = d->by_pair ? p->pair_rows : p->rows;
  for (int64_t e = 0; e < p->num_edges; e++)
    for (int s = 0; s < 4; s++)
      p->basis_gradient[4 * e + s] += d->beta * by_divisor[p->centers[e]] * d->table[rows[e] + s];
}

int exchange_forward(clebsch_potential *p, real *values, int64_t components, int64_t channels) {
  const int64_t stride = p->num_sources, n = p->num_targets;
  if (p->exchange && p->exchange->forward) {
    if (p->exchange->forward(p->exchange->context, values, (int32_t)components, (int32_t)channels, stride))
      return fail(p, CLEBSCH_EXCHANGE_FAILED, "exchange: forward() has failed");
    return CLEBSCH_OK;
  }
  for (int64_t c = 0; p->owners && c < components; c++)
    for (int64_t i = n; i < stride; i++)
      memcpy(values + (c * stride + i) * channels, values + (c * stride + p->owners[i - n]) * channels,
             (size_t)channels * sizeof(real));
  return CLEBSCH_OK;
}

int exchange_reverse(clebsch_potential *p, real *values, int64_t components, int64_t channels) {
  const int64_t stride = p->num_sources, n = p->num_targets;
  if (p->exchange && p->exchange->reverse) {
    if (p->exchange->reverse(p->exchange->context, values, (int32_t)components, (int32_t)channels, stride))
      return fail(p, CLEBSCH_EXCHANGE_FAILED, "exchange: reverse() has failed");
    return CLEBSCH_OK;
  }
  for (int64_t c = 0; p->owners && c < components; c++)
    for (int64_t i = n; i < stride; i++) {
      real *to = values + (c * stride + p->owners[i - n]) * channels;
      const real *from = values + (c * stride + i) * channels;
      for (int64_t k = 0; k < channels; k++) to[k] += from[k];
    }
  return CLEBSCH_OK;
}
