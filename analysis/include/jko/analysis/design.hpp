#pragma once
/// Simulation studies at scale: cells (sample sizes, models, ...) x replications as one work list that can be stopped, resumed, split between processes and
/// machines, and merged, to the same bits however it was split.
#include <jko/analysis/moments.hpp>
#include <jko/core/progress.hpp>
#include <jko/core/random.hpp>
#include <jko/core/status.hpp>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace jko::analysis {

/// Writes the outcome of one replication and answers whether there is one. It draws from `random` only.
using Replicate = std::function<bool(RandomStream& random, VectorRef outcome)>;

struct Design {
  std::string name;                ///< part of the random streams' address and of the file's fingerprint
  std::string recipe;              ///< everything else the outcomes depend on, as text: shards of other recipes are refused
  std::vector<std::string> cells;  ///< a label each; part of the streams' address
  Index dimension = 1;             ///< of an outcome
  Index replications = 1000;       ///< of every cell, >= 2
  Index blocks = 50;               ///< of every cell, >= 2; replications are cut into this many fixed blocks, so memory does not grow with replications
  std::uint64_t seed = 1;
  std::function<Replicate(Index cell)> worker;  ///< called once a block: the place for buffers
  void validate() const;
  [[nodiscard]] std::string fingerprint() const;
};

/// Blocks `index`, index + count, ... of the work list.
struct Shard {
  int index = 0;
  int count = 1;
  void validate() const;
};

struct DesignOptions {
  Shard shard{};
  int threads = 1;                   ///< the bits do not depend on it
  std::filesystem::path file{};      ///< finished blocks are kept here and found again; empty: nowhere
  double save_every = 10;            ///< seconds between saves
  Observer* observer = nullptr;      ///< sees replications done and asked for
};

/// The summaries of finished blocks.
class DesignBlocks {
 public:
  DesignBlocks() = default;
  explicit DesignBlocks(const Design& design);
  [[nodiscard]] bool complete() const;
  [[nodiscard]] Index finished() const;       ///< blocks
  /// Adds the blocks of `other`; throws DomainError where the fingerprints differ.
  void merge(const DesignBlocks& other);
  /// JSON that restores every bit (cpu time is not part of the results).
  [[nodiscard]] std::string text() const;
  static DesignBlocks parse(const std::string& text, const std::string& source);  ///< throws ParseError
  [[nodiscard]] const std::string& fingerprint() const { return fingerprint_; }

 private:
  friend struct CellSummary;
  friend DesignBlocks run_design(const Design&, const DesignOptions&);
  friend std::vector<struct CellSummary> summarise(const DesignBlocks&);
  struct Block {
    Moments moments;
    Index failed = 0;
    double cpu = 0;  // seconds
    bool done = false;
  };
  std::string fingerprint_;
  std::vector<std::string> cells_;
  Index dimension_ = 0, per_cell_ = 0;
  std::vector<Block> blocks_;  // cell-major
};

/// Runs this shard's blocks, but for those found in the file. Stopped by the observer it keeps (and saves) what is finished: complete() or finished() tell.
[[nodiscard]] DesignBlocks run_design(const Design& design, const DesignOptions& options = {});

struct CellSummary {
  std::string label;
  Moments moments;           ///< of all blocks, merged in order
  Index failed = 0;          ///< replications without an outcome
  Matrix covariance_error;   ///< s.e. of each covariance from the scatter of the blocks': no normality assumed; blocks - 1 degrees of freedom
  double cpu_per_replication = 0;  ///< seconds
  std::vector<Matrix> block_covariances;  ///< of each block, for standard errors of other statistics of the covariance
};
/// s.e. of a statistic of the covariance from its scatter over the blocks (blocks - 1 degrees of freedom).
[[nodiscard]] double scatter_error(const CellSummary& summary, const std::function<double(const Matrix&)>& statistic);
/// Throws NotConverged unless all blocks are there.
[[nodiscard]] std::vector<CellSummary> summarise(const DesignBlocks& blocks);

}  // namespace jko::analysis
