/* What the program does between kernels. */
#include <string.h>

#include "internal.h"

void run_linear(clebsch_potential *p, const linear_map *map, const void *const *inputs, const void *const *matrices,
                real *result, int64_t rows) {
  const int64_t atoms = p->num_targets, elements = map->by_element ? clebsch_information.num_elements : 1;
  const operand operands[] = {
      {map->jobs, 0}, {inputs, 0}, {matrices, 0}, {map->scales, 0}, {result, 0},
      {map->by_element ? p->order : NULL, 0}, {map->by_element ? p->start : NULL, 0},
      {NULL, map->num_jobs}, {NULL, atoms}, {NULL, atoms}, {NULL, rows}, {NULL, elements}, {NULL, map->channels},
  };
  run_kernel(p, map->function, atoms, map->work * (double)atoms, operands, 13);
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
  static const real c[] = {1, 1.f / 2, 1.f / 6, 1.f / 24, 1.f / 120, 1.f / 720, 1.f / 5040};
  enum { TERMS = 6 };
  const real limit = 87;
#else
  static const real c[] = {1, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880,
                           1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800.};
  enum { TERMS = 12 };
  const real limit = 708;
#endif
  x = x > limit ? limit : x < -limit ? -limit : x;
  const real turns = x * (real)1.4426950408889634;
  const int32_t whole = (int32_t)(turns + (turns < 0 ? (real)-0.5 : (real)0.5));
  const real y = (x - (real)whole * (real)0.693145751953125) - (real)whole * (real)1.42860682030941723212e-6;
  real sum = c[TERMS];
  for (int n = TERMS - 1; n >= 0; n--) sum = c[n] + sum * y;
#if REAL_BYTES == 4
  const union { int32_t bits; real value; } power = {(whole + 127) << 23};
#else
  const union { int64_t bits; real value; } power = {((int64_t)whole + 1023) << 52};
#endif
  return sum * y * power.value + (power.value - 1);
}

static inline real activation(int32_t kind, real x, real *slope) {
  if (kind == SILU) {
    const real sigmoid = 1 / (2 + exponential_less_one(-x));
    *slope = sigmoid * (1 + x * (1 - sigmoid));
    return x * sigmoid;
  }
  if (kind == TANH) {
    const real less_one = exponential_less_one(2 * x), value = less_one / (less_one + 2);
    *slope = 1 - value * value;
    return value;
  }
  *slope = (real)((x > 0) - (x < 0));
  return x < 0 ? -x : x;
}

static void gate_block_forward(const job *g, const gate_block *b, int64_t i) {
  const int64_t K = g->channels;
  real slope;
  for (int32_t m = 0; m < b->dim; m++) {
    const real *x = g->from + ((b->first_in + m) * g->count + i) * K;
    const real *s = b->gate < 0 ? x : g->from + (b->gate * g->count + i) * K;
    real *y = g->to + ((b->first_out + m) * g->count + i) * K;
    for (int64_t k = 0; k < K; k++) {
      const real value = b->scale * activation(b->activation, s[k], &slope);
      y[k] = b->gate < 0 ? value : value * x[k];
    }
  }
}

static void gate_forward_part(void *data, int64_t part, int64_t parts) {
  const job *g = data;
  const int64_t end = share(g->count, part + 1, parts);
  for (int block = 0; block < g->num_blocks; block++)
    for (int64_t i = share(g->count, part, parts); i < end; i++) gate_block_forward(g, &g->blocks[block], i);
}

void gate_forward(clebsch_potential *p, const gate_block *blocks, int count, int64_t channels, const real *x, real *y) {
  job given = {.from = x, .to = y, .channels = channels, .blocks = blocks, .num_blocks = count};
  each(p, gate_forward_part, &given, p->num_targets, 20.0 * (double)(p->num_targets * channels * count));
}

static void gate_block_reverse(const job *g, const gate_block *b, int64_t i) {
  const int64_t K = g->channels;
  real slope;
  if (b->gate < 0) {
    const real *x = g->from + (b->first_in * g->count + i) * K;
    const real *upstream = g->upstream + (b->first_out * g->count + i) * K;
    real *gradient = g->to + (b->first_in * g->count + i) * K;
    for (int64_t k = 0; k < K; k++) {
      activation(b->activation, x[k], &slope);
      gradient[k] = b->scale * slope * upstream[k];
    }
    return;
  }
  const real *s = g->from + (b->gate * g->count + i) * K;
  real *gate_gradient = g->to + (b->gate * g->count + i) * K;
  for (int32_t m = 0; m < b->dim; m++) {
    const real *x = g->from + ((b->first_in + m) * g->count + i) * K;
    const real *upstream = g->upstream + ((b->first_out + m) * g->count + i) * K;
    real *gradient = g->to + ((b->first_in + m) * g->count + i) * K;
    for (int64_t k = 0; k < K; k++) {
      const real value = b->scale * activation(b->activation, s[k], &slope);
      gradient[k] = value * upstream[k];
      gate_gradient[k] = (m ? gate_gradient[k] : 0) + b->scale * slope * x[k] * upstream[k];
    }
  }
}

static void gate_reverse_part(void *data, int64_t part, int64_t parts) {
  const job *g = data;
  const int64_t end = share(g->count, part + 1, parts);
  for (int block = 0; block < g->num_blocks; block++)
    for (int64_t i = share(g->count, part, parts); i < end; i++) gate_block_reverse(g, &g->blocks[block], i);
}

void gate_reverse(clebsch_potential *p, const gate_block *blocks, int count, int64_t channels, const real *x,
                  const real *upstream, real *gradient) {
  job given = {.from = x, .to = gradient, .channels = channels, .blocks = blocks, .num_blocks = count};
  given.upstream = upstream;
  each(p, gate_reverse_part, &given, p->num_targets, 30.0 * (double)(p->num_targets * channels * count));
}

typedef struct {
  clebsch_potential *p;
  const readout *r;
  const real *scalars;
  real *gradient;
} reading;

#define MOST_HIDDEN 4096

static void read_out_part(void *data, int64_t part, int64_t parts) {
  const reading *g = data;
  const readout *r = g->r;
  const int64_t K = r->channels, H = r->hidden, end = share(g->p->num_targets, part + 1, parts);
  real z[MOST_HIDDEN];
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
      for (int64_t h = 0; h < H; h++) {
        real slope;
        energy += r->activation_scale * activation(SILU, z[h], &slope) * r->second[h];
        z[h] = (real)scale * r->activation_scale * slope * r->second[h];
      }
      for (int64_t k = 0; k < K; k++) {
        real sum = 0;
        for (int64_t h = 0; h < H; h++) sum += z[h] * r->first[k * H + h];
        gradient[k] += sum;
      }
    }
    g->p->energy[i] += scale * (double)energy;
  }
}

void read_out(clebsch_potential *p, const readout *r, const real *scalars, real *gradient) {
  reading given = {p, r, scalars, gradient};
  const double work = 4.0 * (double)(p->num_targets * r->channels * (r->hidden ? r->hidden : 1));
  in_parts(p, parts_of(p, p->num_targets, work), read_out_part, &given);
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
