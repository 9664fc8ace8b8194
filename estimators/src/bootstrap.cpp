#include <jko/estimators/bootstrap.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/reference/simulate.hpp>

#include <algorithm>
#include <cmath>

namespace jko::estimators {

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

Bootstrap parametric_bootstrap(const Panel& panel, const Model& fitted, const std::function<std::optional<Model>(const Panel&)>& refit,
                               const std::function<std::optional<Vector>(const Model&)>& statistic, const BootstrapOptions& options) {
  check_at_least("parametric_bootstrap", "replications", options.replications, 2);
  for (const Path& path : panel) path.validate();
  const auto total = static_cast<std::size_t>(options.replications);
  std::vector<std::optional<Vector>> results(total);
  Bootstrap out;
  // Rounds between which the observer is asked; their size does not change any number.
  const int round = 8 * options.threads;
  int done = 0;
  while (done < options.replications) {
    if (options.observer && options.observer->stop_requested()) {
      out.cancelled = true;
      break;
    }
    const int now = std::min(round, options.replications - done);
    parallel_for(now, options.threads, [&](Index i) {
      const auto b = static_cast<std::size_t>(done + i);
      Panel simulated = panel;
      for (std::size_t p = 0; p < simulated.size(); ++p) {
        const std::uint64_t stream = static_cast<std::uint64_t>(b) * simulated.size() + p;
        try {
          simulated[p].values = simulate_path(fitted, panel[p].values.col(0), panel[p].times, stream, {.substeps = options.substeps, .seed = options.seed});
        } catch (const DomainError&) {  // the path blew up: no data, no estimate
          return;
        }
      }
      const auto model = refit(simulated);
      if (model) results[b] = statistic(*model);
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
  if (kept.size() < 2) throw NotConverged("parametric_bootstrap: fewer than two replications have an estimate");
  out.draws.resize(kept.front()->size(), static_cast<Index>(kept.size()));
  for (std::size_t k = 0; k < kept.size(); ++k) out.draws.col(static_cast<Index>(k)) = *kept[k];
  return out;
}

}  // namespace jko::estimators
