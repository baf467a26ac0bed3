/* Between the files of the runtime. */
#ifndef CLEBSCH_INTERNAL_H
#define CLEBSCH_INTERNAL_H

#include "runtime.h"

/* pool.c: task(data, part, parts) on several threads at once, on this one alone where that is all there is to do. */
typedef void (*task)(void *data, int64_t part, int64_t parts);

pool *pool_new(int32_t threads);
void pool_free(pool *workers);
int64_t parts_of(const clebsch_potential *p, int64_t items, double work);
void in_parts(clebsch_potential *p, int64_t parts, task function, void *data);

static inline int64_t share(int64_t items, int64_t part, int64_t parts) { return items * part / parts; }

/* system.c: what a system is, before and after the program. */
int fail(clebsch_potential *p, int code, const char *format, ...);
int prepare(clebsch_potential *p, const clebsch_system *system);
void geometry(clebsch_potential *p);
int finish(clebsch_potential *p, const clebsch_system *system, clebsch_result *result);
void release(clebsch_potential *p);

/* repulsion.c: the nuclear repulsion, and the map that keeps the network out of the cores. */
double seen_factor(double r, double core_radius, double *slope);
double repulsion_energy(double r, double charge_i, double charge_j, double core_radius, double *slope);

#endif
