#include <jko/estimators/bootstrap.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/models/lamperti.hpp>
#include <jko/reference/simulate.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::estimators {
namespace {

/// Runs the replications in rounds, between which the observer is asked, and keeps those that succeed, in order.
Bootstrap replicate(std::string_view where, const BootstrapOptions& options, const std::function<std::optional<Vector>(std::uint64_t)>& replication) {
  check_at_least(where, "replications", options.replications, 2);
  std::vector<std::optional<Vector>> results(static_cast<std::size_t>(options.replications));
  Bootstrap out;
  const int round = 8 * options.threads;  // changes no number
  int done = 0;
  while (done < options.replications) {
    if (options.observer && options.observer->stop_requested()) {
      out.cancelled = true;
      break;
    }
    const int now = std::min(round, options.replications - done);
    parallel_for(now, options.threads, [&](Index i) {
      const auto b = static_cast<std::size_t>(done + i);
      results[b] = replication(b);
    });
    done += now;
    if (options.observer) options.observer->progress("bootstrap", done, options.replications);
  }
  std::vector<const Vector*> kept;
  for (int b = 0; b < done; ++b) {
    const auto& r = results[static_cast<std::size_t>(b)];
    if (r && r->allFinite()) kept.push_back(&*r);
    else ++out.failed;
  }
  if (kept.size() < 2) throw NotConverged(fmt::format("{}: fewer than two replications have an estimate", where));
  out.draws.resize(kept.front()->size(), static_cast<Index>(kept.size()));
  for (std::size_t k = 0; k < kept.size(); ++k) out.draws.col(static_cast<Index>(k)) = *kept[k];
  return out;
}

}  // namespace

Vector Bootstrap::mean() const { return draws.rowwise().mean(); }

Vector Bootstrap::standard_error() const {
  const Matrix centred = draws.colwise() - mean();
  return (centred.rowwise().squaredNorm() / static_cast<double>(draws.cols() - 1)).cwiseSqrt();
}

Vector Bootstrap::quantile(double probability) const {
  check_in("bootstrap", "probability", probability, 0, 1);
  Vector out(draws.rows());
  for (Index i = 0; i < draws.rows(); ++i) {
    Vector row = draws.row(i);
    std::sort(row.begin(), row.end());
    const double rank = probability * static_cast<double>(row.size() - 1);
    const Index below = std::min(static_cast<Index>(rank), row.size() - 1), above = std::min(below + 1, row.size() - 1);
    out[i] = row[below] + (rank - static_cast<double>(below)) * (row[above] - row[below]);
  }
  return out;
}

Matrix Bootstrap::covariance() const {
  const Matrix centred = draws.colwise() - mean();
  return centred * centred.transpose() / static_cast<double>(draws.cols() - 1);
}

Vector Bootstrap::bias_corrected(const ConstVectorRef& estimate) const {
  check_size("bootstrap", "the estimate", estimate.size(), draws.rows());
  return 2 * estimate - mean();
}

Bootstrap parametric_bootstrap(const Panel& panel, const Model& fitted, const std::function<std::optional<Model>(const Panel&)>& refit,
                               const std::function<std::optional<Vector>(const Model&)>& statistic, const BootstrapOptions& options) {
  for (const Path& path : panel) path.validate();
  return replicate("parametric_bootstrap", options, [&](std::uint64_t b) -> std::optional<Vector> {
    Panel simulated = panel;
    for (std::size_t p = 0; p < simulated.size(); ++p) {
      const std::uint64_t stream = b * simulated.size() + p;
      try {
        simulated[p].values = simulate_path(fitted, panel[p].values.col(0), panel[p].times, stream, {.substeps = options.substeps, .seed = options.seed});
      } catch (const DomainError&) {  // the path blew up: no data, no estimate
        return std::nullopt;
      }
    }
    const auto model = refit(simulated);
    return model ? statistic(*model) : std::nullopt;
  });
}

Bootstrap parametric_bootstrap(const Panel& panel, const Diffusion& fitted, double lower, double upper, const std::function<std::optional<Diffusion>(const Panel&)>& refit,
                               const std::function<std::optional<Vector>(const Diffusion&)>& statistic, const BootstrapOptions& options) {
  for (const Path& path : panel) path.validate();
  const Lamperti lamperti(fitted, lower, upper);
  return replicate("parametric_bootstrap", options, [&](std::uint64_t b) -> std::optional<Vector> {
    Panel simulated = panel;
    for (std::size_t p = 0; p < simulated.size(); ++p) {
      try {
        const Vector first = lamperti.forward(panel[p].values.row(0).head(1).transpose());
        const Matrix y = simulate_path(lamperti.model(), first, panel[p].times, b * simulated.size() + p, {.substeps = options.substeps, .seed = options.seed});
        simulated[p].values = lamperti.inverse(y.row(0).transpose()).transpose();
      } catch (const DomainError&) {  // out of the range: no data, no estimate
        return std::nullopt;
      }
    }
    const auto diffusion = refit(simulated);
    return diffusion ? statistic(*diffusion) : std::nullopt;
  });
}

Bootstrap path_bootstrap(const Panel& panel, const std::function<std::optional<Vector>(const Panel&)>& statistic, const BootstrapOptions& options) {
  for (const Path& path : panel) path.validate();
  check_at_least("path_bootstrap", "number of paths", static_cast<long long>(panel.size()), 2);
  return replicate("path_bootstrap", options, [&](std::uint64_t b) {
    RandomStream random(options.seed, "path bootstrap", b);
    Panel drawn;
    for (std::size_t p = 0; p < panel.size(); ++p) drawn.push_back(panel[random.below(panel.size())]);
    return statistic(drawn);
  });
}

Bootstrap block_bootstrap(const Path& path, Index length, const std::function<std::optional<Vector>(const Panel&)>& statistic, const BootstrapOptions& options) {
  path.validate();
  const Index n = path.transitions();
  check_in("block_bootstrap", "length", static_cast<double>(length), 1, static_cast<double>(n));
  return replicate("block_bootstrap", options, [&](std::uint64_t b) {
    RandomStream random(options.seed, "block bootstrap", b);
    Panel drawn;
    for (Index left = n; left > 0; left -= length) {
      const auto begin = static_cast<Index>(random.below(static_cast<std::uint64_t>(n - length + 1)));
      const Index size = std::min(length, left);
      drawn.push_back({path.times.segment(begin, size + 1), path.values.middleCols(begin, size + 1)});
    }
    return statistic(drawn);
  });
}

Bootstrap snapshot_bootstrap(const Snapshots& snapshots, const std::function<std::optional<Vector>(const Snapshots&)>& statistic, const BootstrapOptions& options) {
  snapshots.validate();
  return replicate("snapshot_bootstrap", options, [&](std::uint64_t b) {
    RandomStream random(options.seed, "snapshot bootstrap", b);
    Snapshots drawn = snapshots;
    for (std::size_t k = 0; k < drawn.samples.size(); ++k) {
      const Matrix& sample = snapshots.samples[k];
      for (Index i = 0; i < sample.cols(); ++i) drawn.samples[k].col(i) = sample.col(static_cast<Index>(random.below(static_cast<std::uint64_t>(sample.cols()))));
    }
    return statistic(drawn);
  });
}

}  // namespace jko::estimators
