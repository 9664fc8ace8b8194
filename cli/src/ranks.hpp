#pragma once
/// The processes that run one command together: those of mpirun for the program jko-mpi (-Dmpi=enabled), this one alone for jko.
#include <string>
#include <vector>

namespace jko::cli {

/// Lives as long as main(): starts and ends MPI.
class Ranks {
 public:
  Ranks(int& argc, char**& argv);
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
};

[[nodiscard]] int rank();        ///< 0, ..., rank_count() - 1
[[nodiscard]] int rank_count();
/// The texts of all ranks, in their order, on rank 0; empty on the others. Every rank must call it.
[[nodiscard]] std::vector<std::string> gather(const std::string& text);
/// Ends all ranks: one that fails must not leave the others waiting. Returns `status` where there is only one.
int leave(int status);

}  // namespace jko::cli
