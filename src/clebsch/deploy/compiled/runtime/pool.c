/* Threads that wait for work: a few microseconds awake, then asleep. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "internal.h"

#define MOST_OPERANDS 64 /* more than the kernels of the highest degrees have */
#define SPINS 2000
#define WORK_PER_THREAD 2e4 /* operations below which another thread is not worth waking */

struct pool {
  pthread_mutex_t lock;
  pthread_cond_t go;
  atomic_long round;
  atomic_int pending;
  int stop, size;
  pid_t owner; /* a forked process has none of the threads */
  task function;
  void *data;
  int64_t parts;
  pthread_t *threads;
};

typedef struct {
  pool *workers;
  int number;
} member;

static _Thread_local int thread_number = 0, team_size = 1;

static int number_of_thread(void) { return thread_number; }
static int size_of_team(void) { return team_size; }

static void work_on(pool *w, int number) {
  thread_number = number;
  team_size = w->size;
  for (int64_t part = number; part < w->parts; part += w->size) w->function(w->data, part, w->parts);
  thread_number = 0;
  team_size = 1;
}

static void *wait_for_work(void *argument) {
  member me = *(member *)argument;
  free(argument);
  pool *w = me.workers;
  for (long seen = 0;;) {
    for (int spin = 0; spin < SPINS && atomic_load(&w->round) == seen; spin++) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    if (atomic_load(&w->round) == seen) {
      pthread_mutex_lock(&w->lock);
      while (atomic_load(&w->round) == seen) pthread_cond_wait(&w->go, &w->lock);
      pthread_mutex_unlock(&w->lock);
    }
    seen = atomic_load(&w->round);
    if (w->stop) return NULL;
    work_on(w, me.number);
    atomic_fetch_sub(&w->pending, 1);
  }
}

pool *pool_new(int32_t threads) {
  pool *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->threads = calloc((size_t)threads, sizeof *w->threads);
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->go, NULL);
  w->size = 1;
  w->owner = getpid();
  for (int number = 1; w->threads && number < threads; number++) {
    member *me = malloc(sizeof *me);
    if (me) *me = (member){w, number};
    if (!me || pthread_create(&w->threads[number], NULL, wait_for_work, me)) {
      free(me);
      break;
    }
    w->size = number + 1;
  }
  if (w->size == threads) return w;
  pool_free(w);
  return NULL;
}

static void start(pool *w) {
  pthread_mutex_lock(&w->lock);
  atomic_fetch_add(&w->round, 1);
  pthread_cond_broadcast(&w->go);
  pthread_mutex_unlock(&w->lock);
}

void pool_free(pool *w) {
  if (!w || w->owner != getpid()) return; /* in a forked process, whoever waited there is waited for for ever */
  w->stop = 1;
  start(w);
  for (int number = 1; number < w->size; number++) pthread_join(w->threads[number], NULL);
  pthread_cond_destroy(&w->go);
  pthread_mutex_destroy(&w->lock);
  free(w->threads);
  free(w);
}

int64_t parts_of(const clebsch_potential *p, int64_t items, double work) {
  if (!p->workers || p->workers->owner != getpid()) return 1;
  double most = work / WORK_PER_THREAD;
  int64_t parts = most < p->threads ? (int64_t)most : p->threads;
  if (parts > items) parts = items;
  return parts < 1 ? 1 : parts;
}

void in_parts(clebsch_potential *p, int64_t parts, task function, void *data) {
  pool *w = p->workers;
  if (parts == 1) {
    function(data, 0, 1);
    return;
  }
  w->function = function;
  w->data = data;
  w->parts = parts;
  atomic_store(&w->pending, w->size - 1);
  start(w);
  work_on(w, 0);
  while (atomic_load(&w->pending)) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

/* A kernel finds the parts that are its thread's by itself. */
static void call(void *data, int64_t part, int64_t parts) {
  (void)parts;
  if (part == thread_number) (*(kernel *)data)((int64_t *)((char *)data + sizeof(kernel)));
}

void run_kernel(clebsch_potential *p, kernel function, int64_t items, double work, const operand *operands, int count) {
  struct {
    kernel function;
    int64_t data[4 + 2 * MOST_OPERANDS];
  } given = {.function = function};
  int64_t parts = parts_of(p, items, work);
  given.data[0] = parts;
  given.data[1] = items;
  given.data[2] = (int64_t)(intptr_t)number_of_thread;
  given.data[3] = (int64_t)(intptr_t)size_of_team;
  for (int k = 0; k < count; k++) {
    given.data[4 + 2 * k] = operands[k].address ? (int64_t)(intptr_t)operands[k].address : operands[k].number;
    given.data[5 + 2 * k] = 0;
  }
  in_parts(p, parts, call, &given);
}
