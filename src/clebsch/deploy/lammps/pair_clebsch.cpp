/* pair_style clebsch: compiled potentials in LAMMPS.

   This file is built against the headers of LAMMPS and is therefore distributed under the GNU General Public License,
   version 2, as LAMMPS is; it is no part of the clebsch package in the sense of that licence. It links neither Python
   nor PyTorch: potentials are shared libraries made by `clebsch compile`, opened at run time.

     pair_style clebsch [threads N]
     pair_coeff * * potential.so [more.so ...] C H NULL O

   Of several libraries, a committee, energies and forces are the mean. The deviation of their forces,
   sqrt(mean_k |F_k - F|^2) of every atom in eV/Angstrom, is offered to `fix pair` as "deviation".
*/

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <string>
#include <vector>

#include "atom.h"
#include "clebsch.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "lammpsplugin.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "update.h"
#include "version.h"

namespace LAMMPS_NS {

/* A library, and the potential in it. */
struct Member {
  std::string path;
  void *library = nullptr;
  clebsch_potential *potential = nullptr;
  const clebsch_info *info = nullptr;
  decltype(&clebsch_open) open = nullptr;
  decltype(&clebsch_close) close = nullptr;
  decltype(&clebsch_set_threads) set_threads = nullptr;
  decltype(&clebsch_compute) compute = nullptr;
  decltype(&clebsch_error) text = nullptr;
  decltype(&clebsch_describe) describe = nullptr;
  std::vector<int32_t> element_of_type; /* -1 for NULL */
};

class PairClebsch : public Pair {
 public:
  PairClebsch(LAMMPS *lmp);
  ~PairClebsch() override;
  void compute(int, int) override;
  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;
  double memory_usage() override;

 private:
  void add_member(const std::string &);
  void remove_members();
  void map_types(Member &, const std::vector<std::string> &);
  void gather();
  void evaluate(Member &, std::vector<double> &, double);
  void complete(std::vector<double> &);
  void tally_atoms(double);
  void find_deviation(const std::vector<std::vector<double>> &, const std::vector<double> &);
  char *features(int, int);
  static int forward(void *, void *, int32_t, int32_t, int64_t);
  static int reverse(void *, void *, int32_t, int32_t, int64_t);

  std::vector<Member> members;
  int threads = 1;
  double cutoff = 0.0;

  /* The system as clebsch.h has it; `where` is the place in it of every atom of LAMMPS, or -1. */
  std::vector<int> where, who;
  std::vector<int32_t> neighbors;
  std::vector<int64_t> first;
  std::vector<int32_t> species;
  std::vector<int> types;
  std::vector<double> vectors, energies, gradients;
  int64_t num_owned = 0;
  double virial_sum[9];

  /* What is communicated: the features of a layer, or forces. */
  void *values = nullptr;
  int32_t components = 0, channels = 0;
  int64_t stride = 0;
  size_t real_bytes = 8;

  int deviation_wanted = 0;
  std::vector<double> deviation;
};

}    // namespace LAMMPS_NS

using namespace LAMMPS_NS;

PairClebsch::PairClebsch(LAMMPS *lmp) : Pair(lmp)
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
}

PairClebsch::~PairClebsch()
{
  remove_members();
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }
}

void PairClebsch::remove_members()
{
  for (auto &member : members) {
    if (member.potential) member.close(member.potential);
    if (member.library) dlclose(member.library);
  }
  members.clear();
  cutoff = 0.0;
}

/* Settings --------------------------------------------------------------------------------------------------- */

void PairClebsch::settings(int narg, char **arg)
{
  if (narg != 0 && narg != 2) error->all(FLERR, "pair_style clebsch: expected nothing, or threads N");
  if (narg == 2) {
    if (strcmp(arg[0], "threads") != 0)
      error->all(FLERR, "pair_style clebsch: expected threads N, got '{}'", arg[0]);
    threads = utils::inumeric(FLERR, arg[1], false, lmp);
  }
}

static bool is_library(const std::string &name)
{
  return name.size() > 3 && name.compare(name.size() - 3, 3, ".so") == 0;
}

void PairClebsch::coeff(int narg, char **arg)
{
  std::vector<std::string> files, symbols;
  for (int k = 2; k < narg; k++) (symbols.empty() && is_library(arg[k]) ? files : symbols).emplace_back(arg[k]);
  if (narg < 4 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0 || files.empty() ||
      (int) symbols.size() != atom->ntypes)
    error->all(FLERR, "pair_coeff of clebsch: expected `pair_coeff * * potential.so` and the element of each of the {} "
               "atom types, or NULL; got {} libraries and {} elements", atom->ntypes, files.size(), symbols.size());
  if (!allocated) {
    memory->create(setflag, atom->ntypes + 1, atom->ntypes + 1, "pair:setflag");
    memory->create(cutsq, atom->ntypes + 1, atom->ntypes + 1, "pair:cutsq");
    allocated = 1;
  }
  remove_members(); /* a second pair_coeff takes the place of the first */
  for (const auto &file : files) add_member(file);
  for (auto &member : members) map_types(member, symbols);
  if (force->pair && force->pair != this) { /* hybrid has asked before, when nothing was known */
    force->pair->comm_forward = std::max(force->pair->comm_forward, comm_forward);
    force->pair->comm_reverse = std::max(force->pair->comm_reverse, comm_reverse);
    force->pair->comm_reverse_off = std::max(force->pair->comm_reverse_off, comm_reverse_off);
  }
  const auto &types_of = members[0].element_of_type;
  for (int i = 1; i <= atom->ntypes; i++)
    for (int j = 1; j <= atom->ntypes; j++) setflag[i][j] = types_of[i] >= 0 && types_of[j] >= 0;
}

/* Loading a file that is cut short would end the program without a word. */
static bool is_whole(const std::string &path)
{
  FILE *file = fopen(path.c_str(), "rb");
  if (!file) return false;
  char magic[16];
  uint64_t length = 0;
  bool whole = fseek(file, -24, SEEK_END) == 0;
  const long place = ftell(file);
  whole = whole && fread(&length, 8, 1, file) == 1 && fread(magic, 16, 1, file) == 1;
  fclose(file);
  return whole && memcmp(magic, "clebsch library\0", 16) == 0 && length + 32 == (uint64_t) place;
}

void PairClebsch::add_member(const std::string &name)
{
  Member m;
  m.path = name.find('/') == std::string::npos ? "./" + name : name;
  FILE *file = fopen(m.path.c_str(), "rb");
  if (!file) error->all(FLERR, "pair_style clebsch: there is no file '{}' here, or it may not be read", name);
  fclose(file);
  if (!is_whole(m.path))
    error->all(FLERR, "pair_style clebsch: '{}' is no library made by `clebsch compile`, or a part is missing; copy or "
               "compile it again", name);
  m.library = dlopen(m.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!m.library) error->all(FLERR, "pair_style clebsch: '{}' cannot be loaded: {}", name, dlerror());
  auto find = [&](const char *symbol) {
    void *found = dlsym(m.library, symbol);
    if (!found) error->all(FLERR, "pair_style clebsch: '{}' has no {}; compile it again", name, symbol);
    return found;
  };
  m.describe = (decltype(m.describe)) find("clebsch_describe");
  m.open = (decltype(m.open)) find("clebsch_open");
  m.close = (decltype(m.close)) find("clebsch_close");
  m.set_threads = (decltype(m.set_threads)) find("clebsch_set_threads");
  m.compute = (decltype(m.compute)) find("clebsch_compute");
  m.text = (decltype(m.text)) find("clebsch_error");
  if (m.open(CLEBSCH_ABI, &m.potential)) error->all(FLERR, "pair_style clebsch: '{}': {}", name, m.text(nullptr));
  if (m.set_threads(m.potential, threads))
    error->all(FLERR, "pair_style clebsch: '{}': {}", name, m.text(m.potential));
  m.info = m.describe();
  cutoff = std::max(cutoff, m.info->r_max);
  const int doubles = (m.info->exchange_size * m.info->real_bytes + 7) / 8;
  comm_forward = std::max(comm_forward, doubles);
  comm_reverse = std::max(comm_reverse, std::max(doubles, 3));
  comm_reverse_off = comm_reverse;
  members.push_back(m);
}

void PairClebsch::map_types(Member &member, const std::vector<std::string> &symbols)
{
  member.element_of_type.assign(atom->ntypes + 1, -1);
  for (int type = 1; type <= atom->ntypes; type++) {
    const std::string &symbol = symbols[type - 1];
    if (symbol == "NULL") continue;
    std::string known;
    for (int k = 0; k < member.info->num_elements; k++) {
      if (symbol == member.info->symbols[k]) member.element_of_type[type] = k;
      known += std::string(k ? ", " : "") + member.info->symbols[k];
    }
    if (member.element_of_type[type] < 0)
      error->all(FLERR, "pair_coeff of clebsch: '{}' does not know the element {}; it knows {}", member.path, symbol,
                 known);
  }
}

void PairClebsch::init_style()
{
  if (strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style clebsch: units are {}; write `units metal`: potentials are in eV and Angstrom",
               update->unit_style);
  for (int k = 1; atom->molecular != Atom::ATOMIC && k < 4; k++)
    if (force->special_lj[k] == 0.0)
      error->all(FLERR, "pair_style clebsch: bonded atoms are left out of the neighbour list; write "
                 "`special_bonds lj/coul 1.0 1.0 1.0`, or bonds beside this pair style are counted twice");
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

double PairClebsch::init_one(int i, int j)
{
  if (!setflag[i][j]) error->all(FLERR, "pair_style clebsch: the types {} and {} have no element", i, j);
  return cutoff;
}

/* Evaluation --------------------------------------------------------------------------------------------------- */

void PairClebsch::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  gather();
  const double weight = 1.0 / (double) members.size();
  const bool complete_here = !force->newton_pair;
  std::vector<std::vector<double>> every;
  std::vector<double> mean(3 * where.size(), 0.0);
  for (auto &member : members) {
    std::vector<double> forces(3 * where.size(), 0.0);
    evaluate(member, forces, weight);
    if (complete_here || (deviation_wanted && members.size() > 1)) complete(forces);
    for (size_t k = 0; k < mean.size(); k++) mean[k] += weight * forces[k];
    if (deviation_wanted) every.push_back(std::move(forces));
  }
  double **f = atom->f;
  for (size_t i = 0; i < where.size(); i++)
    for (int d = 0; d < 3; d++) f[i][d] += mean[3 * i + d];
  if (deviation_wanted) find_deviation(every, mean);
}

void PairClebsch::gather()
{
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost;
  const auto &element = members[0].element_of_type;
  where.assign(nall, -1);
  who.clear();
  for (int ii = 0; ii < list->inum; ii++)
    if (element[atom->type[list->ilist[ii]]] >= 0) who.push_back(list->ilist[ii]);
  num_owned = (int64_t) who.size();
  for (int i = nlocal; i < nall; i++)
    if (element[atom->type[i]] >= 0) who.push_back(i);
  types.resize(who.size());
  for (size_t k = 0; k < who.size(); k++) {
    where[who[k]] = (int) k;
    types[k] = atom->type[who[k]];
  }
  double **x = atom->x;
  const double most = cutoff * cutoff;
  first.assign(1, 0);
  neighbors.clear();
  vectors.clear();
  for (int64_t k = 0; k < num_owned; k++) {
    const int i = who[k];
    for (int jj = 0; jj < list->numneigh[i]; jj++) {
      const int j = list->firstneigh[i][jj] & NEIGHMASK;
      const double v[3] = {x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]};
      const double square = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
      if (square >= most || where[j] < 0) continue; /* what is not a number stays, and is noticed */
      neighbors.push_back(where[j]);
      vectors.insert(vectors.end(), v, v + 3);
    }
    first.push_back((int64_t) neighbors.size());
  }
}

/* Forces of all atoms by one potential; energies and virials, times a weight, go where LAMMPS wants them. */
void PairClebsch::evaluate(Member &member, std::vector<double> &forces, double weight)
{
  species.resize(who.size() + 1);
  for (size_t k = 0; k < who.size(); k++) species[k] = member.element_of_type[types[k]];
  energies.resize(num_owned + 1);
  if (vflag_atom) gradients.resize(vectors.size() + 1);
  std::vector<double> found(3 * who.size() + 3, 0.0);
  const int64_t num_ghosts = (int64_t) who.size() - num_owned;
  clebsch_system system = {num_owned, num_ghosts, species.data(), first.data(), neighbors.data(),
                           nullptr, vectors.data(), nullptr};
  clebsch_result result = {0.0, energies.data(), vflag_atom ? gradients.data() : nullptr, found.data(), virial_sum};
  const clebsch_exchange exchange = {this, forward, reverse};
  real_bytes = member.info->real_bytes;
  if (member.compute(member.potential, &system, &exchange, &result)) {
    const std::string text = member.text(member.potential);
    error->one(FLERR, "pair_style clebsch: '{}': {} (atoms are counted from 0 as this process has them, at step {})",
               member.path, text, update->ntimestep);
  }
  for (size_t k = 0; k < who.size(); k++)
    for (int d = 0; d < 3; d++) forces[3 * who[k] + d] = found[3 * k + d];
  if (eflag_global) eng_vdwl += weight * result.energy;
  if (eflag_atom)
    for (int64_t k = 0; k < num_owned; k++) eatom[who[k]] += weight * energies[k];
  static const int row[] = {0, 1, 2, 0, 0, 1}, column[] = {0, 1, 2, 1, 2, 2};
  if (vflag_global)
    for (int k = 0; k < 6; k++) virial[k] -= weight * virial_sum[3 * row[k] + column[k]];
  if (vflag_atom) tally_atoms(weight);
}

/* Half of the virial of a pair to either atom; all of it to the first one where ghosts have no say. */
void PairClebsch::tally_atoms(double weight)
{
  static const int row[] = {0, 1, 2, 0, 0, 1}, column[] = {0, 1, 2, 1, 2, 2};
  const double part = force->newton_pair ? 0.5 * weight : weight;
  for (int64_t k = 0; k < num_owned; k++)
    for (int64_t pair = first[k]; pair < first[k + 1]; pair++)
      for (int d = 0; d < 6; d++) {
        const double v = -part * vectors[3 * pair + row[d]] * gradients[3 * pair + column[d]];
        vatom[who[k]][d] += v;
        if (force->newton_pair) vatom[who[neighbors[pair]]][d] += v;
      }
}

/* Add the forces on ghosts to those on their owners. */
void PairClebsch::complete(std::vector<double> &forces)
{
  values = forces.data();
  components = 0;
  comm->reverse_comm(this, 3);
  for (size_t k = 3 * atom->nlocal; k < forces.size(); k++) forces[k] = 0.0;
}

void PairClebsch::find_deviation(const std::vector<std::vector<double>> &every, const std::vector<double> &mean)
{
  deviation.assign(atom->nmax, 0.0);
  for (int i = 0; i < atom->nlocal; i++) {
    double sum = 0.0;
    for (const auto &forces : every)
      for (int d = 0; d < 3; d++) sum += (forces[3 * i + d] - mean[3 * i + d]) * (forces[3 * i + d] - mean[3 * i + d]);
    deviation[i] = sqrt(sum / (double) every.size());
  }
}

/* Communication ------------------------------------------------------------------------------------------------ */

static size_t doubles_of(int components, int channels, size_t bytes) { return (components * channels * bytes + 7) / 8; }

int PairClebsch::forward(void *context, void *values, int32_t components, int32_t channels, int64_t stride)
{
  auto self = (PairClebsch *) context;
  self->values = values, self->components = components, self->channels = channels, self->stride = stride;
  self->comm->forward_comm(self, (int) doubles_of(components, channels, self->real_bytes));
  return 0;
}

int PairClebsch::reverse(void *context, void *values, int32_t components, int32_t channels, int64_t stride)
{
  auto self = (PairClebsch *) context;
  self->values = values, self->components = components, self->channels = channels, self->stride = stride;
  self->comm->reverse_comm(self, (int) doubles_of(components, channels, self->real_bytes));
  return 0;
}

/* The features of one component of an atom. */
char *PairClebsch::features(int component, int place)
{
  return (char *) values + (component * stride + place) * channels * real_bytes;
}

int PairClebsch::pack_forward_comm(int n, int *atoms, double *buffer, int, int *)
{
  const size_t size = doubles_of(components, channels, real_bytes), bytes = channels * real_bytes;
  for (int k = 0; k < n; k++) {
    const int place = where[atoms[k]];
    for (int c = 0; c < components && place >= 0; c++)
      memcpy((char *) (buffer + k * size) + c * bytes, features(c, place), bytes);
  }
  return (int) (n * size);
}

void PairClebsch::unpack_forward_comm(int n, int begin, double *buffer)
{
  const size_t size = doubles_of(components, channels, real_bytes), bytes = channels * real_bytes;
  for (int k = 0; k < n; k++) {
    const int place = where[begin + k];
    for (int c = 0; c < components && place >= 0; c++)
      memcpy(features(c, place), (char *) (buffer + k * size) + c * bytes, bytes);
  }
}

int PairClebsch::pack_reverse_comm(int n, int begin, double *buffer)
{
  if (!components) {
    memcpy(buffer, (double *) values + 3 * begin, 3 * n * sizeof(double));
    return 3 * n;
  }
  const size_t size = doubles_of(components, channels, real_bytes), bytes = channels * real_bytes;
  for (int k = 0; k < n; k++) {
    const int place = where[begin + k];
    for (int c = 0; c < components && place >= 0; c++)
      memcpy((char *) (buffer + k * size) + c * bytes, features(c, place), bytes);
  }
  return (int) (n * size);
}

template <typename T> static void add_to(char *target, const char *source, int count)
{
  for (int k = 0; k < count; k++) ((T *) target)[k] += ((const T *) source)[k];
}

void PairClebsch::unpack_reverse_comm(int n, int *atoms, double *buffer)
{
  if (!components) {
    for (int k = 0; k < n; k++)
      for (int d = 0; d < 3; d++) ((double *) values)[3 * atoms[k] + d] += buffer[3 * k + d];
    return;
  }
  const size_t size = doubles_of(components, channels, real_bytes), bytes = channels * real_bytes;
  for (int k = 0; k < n; k++) {
    const int place = where[atoms[k]];
    for (int c = 0; c < components && place >= 0; c++) {
      const char *source = (const char *) (buffer + k * size) + c * bytes;
      (real_bytes == 4 ? add_to<float> : add_to<double>)(features(c, place), source, channels);
    }
  }
}

/* What others may ask for -------------------------------------------------------------------------------------- */

void *PairClebsch::extract(const char *name, int &dim)
{
  dim = 0;
  return strcmp(name, "deviation_flag") == 0 ? (void *) &deviation_wanted : nullptr;
}

void *PairClebsch::extract_peratom(const char *name, int &columns)
{
  columns = 0;
  if (strcmp(name, "deviation") != 0) return nullptr;
  if ((int) deviation.size() < atom->nmax) deviation.resize(atom->nmax, 0.0);
  return (void *) deviation.data();
}

double PairClebsch::memory_usage()
{
  double bytes = Pair::memory_usage() + (double) (vectors.capacity() + gradients.capacity()) * sizeof(double);
  return bytes + (double) neighbors.capacity() * sizeof(int32_t);
}

static Pair *make_pair(LAMMPS *lmp) { return new PairClebsch(lmp); }

extern "C" void lammpsplugin_init(void *lmp, void *handle, void *registration)
{
  lammpsplugin_t plugin;
  memset(&plugin, 0, sizeof plugin);
  plugin.version = LAMMPS_VERSION;
  plugin.style = "pair";
  plugin.name = "clebsch";
  plugin.info = "compiled potentials of clebsch";
  plugin.author = "The clebsch developers";
  plugin.creator.v1 = (lammpsplugin_factory1 *) &make_pair;
  plugin.handle = handle;
  (*(lammpsplugin_regfunc *) registration)(&plugin, lmp);
}
