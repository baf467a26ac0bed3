/* The functions of clebsch.h. This file is compiled for any processor: it is the one that looks at the processor. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "internal.h"

static char open_error[256];

const clebsch_info *clebsch_describe(void) { return &clebsch_information; }

#if defined(__x86_64__)
#define BIT(value, number) ((value) >> (number) & 1)

/* The level of this processor, 3 for x86-64-v3 and so on; 2 below that. */
static int processor_level(void) {
  uint32_t a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !BIT(c, 27)) return 2; /* the system keeps no large registers */
  const int fma = BIT(c, 12) && BIT(c, 28) && BIT(c, 29) && BIT(c, 22);
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 2;
  if (!fma || (low & 0x6) != 0x6 || !BIT(b, 3) || !BIT(b, 5) || !BIT(b, 8)) return 2;
  const int wide = BIT(b, 16) && BIT(b, 17) && BIT(b, 28) && BIT(b, 30) && BIT(b, 31);
  return wide && (low & 0xe6) == 0xe6 ? 4 : 3;
}
#endif

static int processor_can(const char *name) {
#if defined(__x86_64__)
  if (!strcmp(name, "x86-64-v3")) return processor_level() >= 3;
  if (!strcmp(name, "x86-64-v4")) return processor_level() >= 4;
#endif
  return name != NULL;
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
