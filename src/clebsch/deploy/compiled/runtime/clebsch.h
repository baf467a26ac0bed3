/* A compiled potential: what a shared library made by `clebsch compile` offers to any program.
 *
 * Energies are in eV, lengths in Angstrom. One library holds one potential; it needs neither Python nor PyTorch.
 * Functions return CLEBSCH_OK or a code below; clebsch_error() then has the text. A potential may be used by one thread
 * at a time; several potentials may be open at once. docs/compiled.md has examples in C and Fortran.
 */
#ifndef CLEBSCH_H
#define CLEBSCH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define CLEBSCH_ABI 1 /* of this header; clebsch_open() compares it with that of the library */

enum {
  CLEBSCH_OK = 0,
  CLEBSCH_BAD_INPUT = 1,       /* an index, element or position that cannot be; the text names it */
  CLEBSCH_NO_MEMORY = 2,       /* the system is too large for this machine */
  CLEBSCH_OTHER_PROCESSOR = 3, /* the library was compiled for a processor that can do more than this one */
  CLEBSCH_OTHER_ABI = 4,       /* header and library belong to different versions */
  CLEBSCH_NOT_FINITE = 5,      /* an energy or a derivative is not finite: atoms on top of each other */
  CLEBSCH_EXCHANGE_FAILED = 6  /* a callback returned another value than 0 */
};

typedef struct clebsch_potential clebsch_potential;

/* What a potential is made for. */
typedef struct {
  int32_t abi;
  int32_t real_bytes;            /* 4 or 8: numbers of the network, and of the features that are exchanged */
  int32_t num_elements;
  const char *const *symbols;    /* [num_elements] chemical symbols in the order of the element index */
  const int32_t *atomic_numbers; /* [num_elements] */
  double r_max;                  /* cutoff */
  int32_t num_layers;            /* an atom feels others up to num_layers * r_max away */
  int32_t num_exchanges;         /* calls of forward(), and of reverse(), per evaluation */
  int32_t exchange_size;         /* numbers of one atom in the largest of them */
  const char *processor;         /* what the processor has to be, such as "x86-64-v3" */
  const char *metadata;          /* JSON: version, SHA-256 of the potential, training */
  const unsigned char *frames;   /* reference frames, for `clebsch verify` */
  int64_t frames_bytes;
} clebsch_info;

/* Atoms and who is near whom. Owned atoms come first; ghosts, behind them, are copies of atoms that others own. */
typedef struct {
  int64_t num_atoms;        /* owned atoms: those whose energies are wanted */
  int64_t num_ghosts;
  const int32_t *species;   /* [num_atoms + num_ghosts] index of the element */
  const int64_t *first;     /* [num_atoms + 1] the pairs of owned atom i are first[i] ... first[i + 1] - 1 */
  const int32_t *neighbors; /* [pairs] atom j of every pair, a ghost or not; pairs beyond r_max are left out */
  const double *positions;  /* [num_atoms + num_ghosts][3], or NULL if vectors are given */
  const double *vectors;    /* [pairs][3] r_j - r_i, or NULL for the difference of the positions */
  const int32_t *owners;    /* [num_ghosts] the owned atom that each ghost is a copy of; NULL: see clebsch_exchange */
} clebsch_system;

/* Values of ghosts, if their owners are in other processes. Number k of component c of an atom is
 * values[(c * stride + atom) * channels + k], of real_bytes bytes. Both are called equally often on every process. */
typedef struct {
  void *context;
  /* Copy the values of owned atoms to their ghosts. Returns 0, or another number to stop the evaluation. */
  int (*forward)(void *context, void *values, int32_t components, int32_t channels, int64_t stride);
  /* Add the values of ghosts to those of their owners. */
  int (*reverse)(void *context, void *values, int32_t components, int32_t channels, int64_t stride);
} clebsch_exchange;

/* Where results go; what is NULL is not wanted. */
typedef struct {
  double energy;         /* sum over the owned atoms, with E0 */
  double *node_energy;   /* [num_atoms] */
  double *edge_gradient; /* [pairs][3] dE/d(r_j - r_i); zero beyond r_max */
  double *forces;        /* [num_atoms + num_ghosts][3] -dE/dr; those of ghosts are to be added to their owners,
                            which is done, and they are zero, if owners are given */
  double *virial;        /* [3][3] sum of (r_j - r_i) (dE/d(r_j - r_i))^T; over the volume, the stress */
} clebsch_result;

const clebsch_info *clebsch_describe(void);

int clebsch_open(int32_t abi, clebsch_potential **potential);
void clebsch_close(clebsch_potential *potential);

/* Threads of an evaluation, 1 at first; they live until the potential is closed. */
int clebsch_set_threads(clebsch_potential *potential, int32_t threads);

/* Energies and derivatives of a system; exchange may be NULL if there are no ghosts, or owners are given. */
int clebsch_compute(clebsch_potential *potential, const clebsch_system *system, const clebsch_exchange *exchange,
                    clebsch_result *result);

/* The text of the last error; potential may be NULL after a failed clebsch_open(). */
const char *clebsch_error(const clebsch_potential *potential);

/* Bytes that the potential holds for the largest system so far. */
int64_t clebsch_memory(const clebsch_potential *potential);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
