#include "ranks.hpp"

#ifdef JKO_MPI

#define OMPI_SKIP_MPICXX
#include <mpi.h>

#include <numeric>

namespace jko::cli {

Ranks::Ranks(int& argc, char**& argv) { MPI_Init(&argc, &argv); }
Ranks::~Ranks() { MPI_Finalize(); }

int rank() {
  int out = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &out);
  return out;
}

int rank_count() {
  int out = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &out);
  return out;
}

std::vector<std::string> gather(const std::string& text) {
  const int mine = static_cast<int>(text.size()), count = rank_count();
  std::vector<int> sizes(static_cast<std::size_t>(count)), offsets(sizes);
  MPI_Gather(&mine, 1, MPI_INT, sizes.data(), 1, MPI_INT, 0, MPI_COMM_WORLD);
  std::exclusive_scan(sizes.begin(), sizes.end(), offsets.begin(), 0);
  std::string all(static_cast<std::size_t>(rank() == 0 ? offsets.back() + sizes.back() : 0), '\0');
  MPI_Gatherv(text.data(), mine, MPI_CHAR, all.data(), sizes.data(), offsets.data(), MPI_CHAR, 0, MPI_COMM_WORLD);
  std::vector<std::string> out;
  for (std::size_t r = 0; rank() == 0 && r < sizes.size(); ++r) out.push_back(all.substr(static_cast<std::size_t>(offsets[r]), static_cast<std::size_t>(sizes[r])));
  return out;
}

int leave(int status) {
  if (rank_count() > 1) MPI_Abort(MPI_COMM_WORLD, status);
  return status;
}

}  // namespace jko::cli

#else

namespace jko::cli {

Ranks::Ranks(int&, char**&) {}
Ranks::~Ranks() = default;
int rank() { return 0; }
int rank_count() { return 1; }
std::vector<std::string> gather(const std::string& text) { return {text}; }
int leave(int status) { return status; }

}  // namespace jko::cli

#endif
