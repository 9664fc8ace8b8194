#pragma once
/// Bootstraps of a whole pipeline, parametric and by resampling: the check of asymptotic bands ([EfronTibshirani1993]).
#include <jko/core/progress.hpp>
#include <jko/estimators/data.hpp>
#include <jko/models/diffusion.hpp>
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
  [[nodiscard]] Matrix covariance() const;
  [[nodiscard]] Vector bias_corrected(const ConstVectorRef& estimate) const;  ///< 2 estimate - mean: removes the bias to first order, adds noise of 1/sqrt(B) standard errors
};

/// Replication b simulates data of the shape of `panel` (its times and first values) from `fitted`, re-estimates, and evaluates the statistic (a flow's
/// functionals, say) at that estimate. `refit` and `statistic` answer nothing where they fail; they are called from several threads.
[[nodiscard]] Bootstrap parametric_bootstrap(const Panel& panel, const Model& fitted, const std::function<std::optional<Model>(const Panel&)>& refit,
                                             const std::function<std::optional<Vector>(const Model&)>& statistic, const BootstrapOptions& options = {});

/// The same for a one-dimensional diffusion by its coefficients, simulated by Euler-Maruyama in its Lamperti coordinate (models/lamperti.hpp) on [lower, upper]; a path that leaves
/// the range has no estimate and is counted as failed.
[[nodiscard]] Bootstrap parametric_bootstrap(const Panel& panel, const Diffusion& fitted, double lower, double upper, const std::function<std::optional<Diffusion>(const Panel&)>& refit,
                                             const std::function<std::optional<Vector>(const Diffusion&)>& statistic, const BootstrapOptions& options = {});

/// Draws whole paths of a panel with replacement: right for independent paths whatever the model, useless for fewer than a dozen.
[[nodiscard]] Bootstrap path_bootstrap(const Panel& panel, const std::function<std::optional<Vector>(const Panel&)>& statistic, const BootstrapOptions& options = {});

/// Draws stretches of `length` consecutive transitions with replacement (moving blocks, [Kunsch1989]) until there are as many transitions as in the path. A
/// replication is a panel of stretches, so that no transition is made up where two of them meet; for a Markov likelihood length 1 is enough under
/// the model, longer stretches keep the dependence of misspecified scores.
[[nodiscard]] Bootstrap block_bootstrap(const Path& path, Index length, const std::function<std::optional<Vector>(const Panel&)>& statistic,
                                        const BootstrapOptions& options = {});

/// Draws the points of each snapshot with replacement, each snapshot for itself: independent samples of the populations, whatever their law. Optimal maps
/// are solved again in each replication; points drawn twice make them a little rougher than those of the data.
[[nodiscard]] Bootstrap snapshot_bootstrap(const Snapshots& snapshots, const std::function<std::optional<Vector>(const Snapshots&)>& statistic, const BootstrapOptions& options = {});

}  // namespace jko::estimators
