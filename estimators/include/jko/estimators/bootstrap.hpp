#pragma once
/// Parametric bootstrap of a whole pipeline: the check of asymptotic bands ([EfronTibshirani1993]).
#include <jko/core/progress.hpp>
#include <jko/estimators/data.hpp>
#include <jko/models/model.hpp>

#include <cstdint>
#include <functional>
#include <optional>

namespace jko::estimators {

struct BootstrapOptions {
  int replications = 200;  ///< >= 2; a standard error from B replications has itself the relative error 1/sqrt(2B)
  int substeps = 20;       ///< Euler-Maruyama steps between two observations, where the model has no exact law
  std::uint64_t seed = 1;
  int threads = 1;         ///< the numbers do not depend on it
  Observer* observer = nullptr;
};

struct Bootstrap {
  Matrix draws;                   ///< statistics x successful replications
  int failed = 0;                 ///< replications without an estimate or a statistic; a share above a few per cent spoils the rest
  bool cancelled = false;         ///< the observer stopped it; the draws so far are kept
  [[nodiscard]] Vector mean() const;
  [[nodiscard]] Vector standard_error() const;
  [[nodiscard]] Vector quantile(double probability) const;  ///< of each statistic's draws
};

/// Replication b simulates data of the shape of `panel` (its times and first values) from `fitted`, re-estimates, and evaluates the statistic (a flow's
/// functionals, say) at that estimate. `refit` and `statistic` answer nothing where they fail; they are called from several threads.
[[nodiscard]] Bootstrap parametric_bootstrap(const Panel& panel, const Model& fitted, const std::function<std::optional<Model>(const Panel&)>& refit,
                                             const std::function<std::optional<Vector>(const Model&)>& statistic, const BootstrapOptions& options = {});

}  // namespace jko::estimators
