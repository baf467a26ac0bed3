/* The functions of clebsch.h. This file is compiled for any processor: it is the one that looks at the processor. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static char open_error[256];

const clebsch_info *clebsch_describe(void) { return &clebsch_information; }

static int processor_can(const char *name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (!strcmp(name, "x86-64-v3")) return v3;
  if (!strcmp(name, "x86-64-v4"))
    return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
#endif
  return 1;
}

int clebsch_open(int32_t abi, clebsch_potential **potential) {
  *potential = NULL;
  if (abi != CLEBSCH_ABI) {
    snprintf(open_error, sizeof open_error, "the program was compiled with clebsch.h of version %d, this library with "
             "that of version %d; compile one of them again", (int)abi, CLEBSCH_ABI);
    return CLEBSCH_OTHER_ABI;
  }
  if (!processor_can(clebsch_information.processor)) {
    snprintf(open_error, sizeof open_error, "this library is for processors of the level %s, which this one is not; "
             "compile it again here, or with `clebsch compile --cpu` of a lower level", clebsch_information.processor);
    return CLEBSCH_OTHER_PROCESSOR;
  }
  clebsch_potential *p = calloc(1, sizeof *p);
  if (p) p->slots = calloc((size_t)clebsch_model.num_slots + 1, sizeof *p->slots);
  if (!p || !p->slots) {
    free(p);
    snprintf(open_error, sizeof open_error, "no memory");
    return CLEBSCH_NO_MEMORY;
  }
  p->threads = 1;
  p->capacity_targets = p->capacity_sources = p->capacity_edges = -1;
  *potential = p;
  return CLEBSCH_OK;
}

void clebsch_close(clebsch_potential *p) {
  if (!p) return;
  pool_free(p->workers);
  release(p);
  free(p);
}

int clebsch_set_threads(clebsch_potential *p, int32_t threads) {
  if (threads < 1 || threads > 1024) return fail(p, CLEBSCH_BAD_INPUT, "threads: expected 1 to 1024, got %d", (int)threads);
  if (threads == p->threads) return CLEBSCH_OK;
  pool_free(p->workers);
  p->workers = NULL;
  p->threads = 1;
  if (threads == 1) return CLEBSCH_OK;
  p->workers = pool_new(threads);
  if (!p->workers) return fail(p, CLEBSCH_NO_MEMORY, "%d threads cannot be started; ask for fewer", (int)threads);
  p->threads = threads;
  return CLEBSCH_OK;
}

int clebsch_compute(clebsch_potential *p, const clebsch_system *system, const clebsch_exchange *exchange,
                    clebsch_result *result) {
  p->exchange = exchange;
  p->owners = system->owners;
  int status = prepare(p, system);
  if (status) return status;
  geometry(p);
  status = clebsch_program(p);
  return status ? status : finish(p, system, result);
}

const char *clebsch_error(const clebsch_potential *p) { return p ? p->error : open_error; }

int64_t clebsch_memory(const clebsch_potential *p) { return p->bytes; }
