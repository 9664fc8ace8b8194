#include <jko/analysis/design.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/io/atomic_file.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>

#include <time.h>

namespace jko::analysis {
namespace {

using Json = nlohmann::ordered_json;

double thread_cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Replications [begin, end) of a cell's block.
std::pair<Index, Index> range(const Design& design, Index block) {
  return {block * design.replications / design.blocks, (block + 1) * design.replications / design.blocks};
}

}  // namespace

void Design::validate() const {
  if (name.empty()) throw DomainError("design: name is empty");
  if (cells.empty()) throw DomainError("design: there are no cells");
  if (!worker) throw DomainError("design: worker is not given");
  check_at_least("design", "dimension", dimension, 1);
  check_at_least("design", "blocks", blocks, 2);
  check_at_least("design", "replications a block", replications / blocks, 2);
}

std::string Design::fingerprint() const {
  return fmt::format("jko {}; {}; {}; cells {}; dimension {}; {} replications in {} blocks; seed {}", JKO_VERSION, name, recipe, fmt::join(cells, ", "), dimension, replications,
                     blocks, seed);
}

void Shard::validate() const {
  check_at_least("shard", "count", count, 1);
  check_in("shard", "index", index, 0, count - 1);
}

DesignBlocks::DesignBlocks(const Design& design)
    : fingerprint_(design.fingerprint()), cells_(design.cells), dimension_(design.dimension), per_cell_(design.blocks), blocks_(design.cells.size() * static_cast<std::size_t>(design.blocks)) {}

Index DesignBlocks::finished() const {
  return std::count_if(blocks_.begin(), blocks_.end(), [](const Block& b) { return b.done; });
}
bool DesignBlocks::complete() const { return !blocks_.empty() && finished() == static_cast<Index>(blocks_.size()); }

void DesignBlocks::merge(const DesignBlocks& other) {
  if (fingerprint_ != other.fingerprint_) throw DomainError(fmt::format("design: these shards are of different designs: '{}' and '{}'", fingerprint_, other.fingerprint_));
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (!blocks_[i].done) blocks_[i] = other.blocks_[i];
  }
}

std::string DesignBlocks::text() const {
  Json blocks = Json::array();
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& b = blocks_[i];
    if (b.done) blocks.push_back({{"block", i}, {"failed", b.failed}, {"cpu", b.cpu}, {"moments", b.moments.pack()}});
  }
  return Json{{"design", fingerprint_}, {"cells", cells_}, {"dimension", dimension_}, {"blocks_per_cell", per_cell_}, {"blocks", blocks}}.dump() + "\n";
}

DesignBlocks DesignBlocks::parse(const std::string& text, const std::string& source) {
  try {
    const Json json = Json::parse(text);
    DesignBlocks out;
    out.fingerprint_ = json.at("design").get<std::string>();
    out.cells_ = json.at("cells").get<std::vector<std::string>>();
    out.dimension_ = json.at("dimension").get<Index>();
    out.per_cell_ = json.at("blocks_per_cell").get<Index>();
    if (out.per_cell_ < 2 || out.dimension_ < 1 || out.cells_.empty()) throw ParseError(source, 0, 0, "the design's sizes are damaged");
    out.blocks_.resize(out.cells_.size() * static_cast<std::size_t>(out.per_cell_));
    for (const Json& b : json.at("blocks")) {
      Block& block = out.blocks_.at(b.at("block").get<std::size_t>());
      block = {Moments::unpack(b.at("moments").get<std::vector<double>>(), out.dimension_), b.at("failed").get<Index>(), b.at("cpu").get<double>(), true};
    }
    return out;
  } catch (const nlohmann::json::exception& e) {
    throw ParseError(source, 0, 0, e.what());
  } catch (const std::out_of_range&) {
    throw ParseError(source, 0, 0, "a block's number is out of range");
  } catch (const ShapeError& e) {
    throw ParseError(source, 0, 0, e.what());
  }
}

DesignBlocks run_design(const Design& design, const DesignOptions& options) {
  design.validate();
  options.shard.validate();
  check_at_least("run_design", "threads", options.threads, 1);
  DesignBlocks out(design);
  if (!options.file.empty() && std::filesystem::exists(options.file)) {
    const auto found = DesignBlocks::parse(read_file(options.file), options.file.string());
    if (found.fingerprint() != out.fingerprint()) {
      throw DomainError(fmt::format("design: {} holds finished work of another design (scale, seed or version differ): remove it or choose another folder", options.file.string()));
    }
    out.merge(found);
  }
  std::vector<std::size_t> todo;
  double asked = 0, done = 0;
  for (std::size_t i = 0; i < out.blocks_.size(); ++i) {
    if (static_cast<int>(i % static_cast<std::size_t>(options.shard.count)) != options.shard.index) continue;
    const auto [begin, end] = range(design, static_cast<Index>(i) % design.blocks);
    asked += static_cast<double>(end - begin);
    if (out.blocks_[i].done) done += static_cast<double>(end - begin);
    else todo.push_back(i);
  }
  const auto run_block = [&](std::size_t i) {
    const double begin_cpu = thread_cpu_seconds();
    const Index cell = static_cast<Index>(i) / design.blocks;
    const auto [begin, end] = range(design, static_cast<Index>(i) % design.blocks);
    const std::string purpose = design.name + "/" + design.cells[static_cast<std::size_t>(cell)];
    const Replicate replicate = design.worker(cell);
    DesignBlocks::Block& block = out.blocks_[i];
    block.moments = Moments(design.dimension);
    Vector outcome(design.dimension);
    for (Index r = begin; r < end; ++r) {
      RandomStream random(design.seed, purpose, static_cast<std::uint64_t>(r));
      if (replicate(random, outcome) && outcome.allFinite()) block.moments.add(outcome);
      else ++block.failed;
    }
    block.cpu = thread_cpu_seconds() - begin_cpu;
    block.done = true;
  };
  const auto save = [&] {
    if (!options.file.empty()) write_atomically(options.file, out.text());
  };
  // Waves of a few blocks a thread, so that the observer is asked often and from this thread.
  using Clock = std::chrono::steady_clock;
  auto saved = Clock::now();
  const std::size_t wave = options.threads == 1 ? 1 : 4 * static_cast<std::size_t>(options.threads);
  for (std::size_t at = 0; at < todo.size(); at += wave) {
    if (options.observer && options.observer->stop_requested()) break;
    const std::size_t size = std::min(wave, todo.size() - at);
    parallel_for(static_cast<Index>(size), options.threads, [&](Index i) { run_block(todo[at + static_cast<std::size_t>(i)]); });
    for (std::size_t i = at; i < at + size; ++i) {
      const auto [begin, end] = range(design, static_cast<Index>(todo[i]) % design.blocks);
      done += static_cast<double>(end - begin);
    }
    if (options.observer) options.observer->progress(design.name + ": replications", done, asked);
    if (std::chrono::duration<double>(Clock::now() - saved).count() >= options.save_every) {
      save();
      saved = Clock::now();
    }
  }
  save();
  return out;
}

std::vector<CellSummary> summarise(const DesignBlocks& blocks) {
  if (!blocks.complete()) {
    throw NotConverged(fmt::format("design: {} of {} blocks are finished; run the missing shards, then merge", blocks.finished(), blocks.blocks_.size()));
  }
  std::vector<CellSummary> out;
  const auto per_cell = static_cast<std::size_t>(blocks.per_cell_);
  for (std::size_t c = 0; c < blocks.cells_.size(); ++c) {
    CellSummary summary{blocks.cells_[c], Moments(blocks.dimension_), 0, Matrix::Zero(blocks.dimension_, blocks.dimension_), 0, {}};
    Matrix mean = summary.covariance_error, square = mean;
    double cpu = 0;
    for (std::size_t b = 0; b < per_cell; ++b) {
      const auto& block = blocks.blocks_[c * per_cell + b];
      summary.moments.merge(block.moments);
      summary.failed += block.failed;
      cpu += block.cpu;
      const Matrix covariance = block.moments.covariance();
      mean += covariance / static_cast<double>(per_cell);
      square += covariance.cwiseAbs2() / static_cast<double>(per_cell);
      summary.block_covariances.push_back(covariance);
    }
    summary.covariance_error = ((square - mean.cwiseAbs2()).cwiseMax(0) / static_cast<double>(per_cell - 1)).cwiseSqrt();
    summary.cpu_per_replication = cpu / (summary.moments.count() + static_cast<double>(summary.failed));
    out.push_back(std::move(summary));
  }
  return out;
}

double scatter_error(const CellSummary& summary, const std::function<double(const Matrix&)>& statistic) {
  const auto n = static_cast<double>(summary.block_covariances.size());
  double mean = 0, square = 0;
  for (const Matrix& covariance : summary.block_covariances) mean += statistic(covariance) / n;
  for (const Matrix& covariance : summary.block_covariances) square += std::pow(statistic(covariance) - mean, 2);
  return std::sqrt(square / (n * (n - 1)));
}

}  // namespace jko::analysis
