#pragma once
/// The online statistical JKO scheme: estimates that change from step to step (theory.md 2.3).
#include <jko/estimators/likelihood.hpp>
#include <jko/flows/flow.hpp>

namespace jko::estimators {

/// Which data the estimate of step k uses.
enum class OnlineData {
  fresh,        ///< batch k only
  accumulated,  ///< batches 1, ..., k
};

/// A path cut into `batches` consecutive segments of equally many transitions (the last transitions that do not fill a segment are left
/// out); neighbours share their end point, so that no transition is lost between them.
[[nodiscard]] std::vector<Panel> split_into_batches(const Path& path, int batches);

/// One fit a step. Accumulated fits begin at the one before. Throws NotConverged naming the first batch whose fit has no estimate (a batch too
/// short for its parameters, say): a flow with silently reused estimates would have another law. The batch estimates are those of `fit`:
/// biased by O(1/m), which theory.md 2.6 shows no step size removes.
[[nodiscard]] std::vector<Fit> online_fits(const std::vector<Panel>& batches, const Model& start, Transition transition, OnlineData data,
                                           const FitOptions& options = {});

/// The flow's options with the fits' estimates as the parameters of its steps and per-step sensitivities; at least as many fits as steps.
[[nodiscard]] FlowOptions with_estimates(FlowOptions options, const std::vector<Fit>& fits);

/// Covariance of the stacked estimates of the first `steps` fits (sandwich). Fresh: block diagonal. Accumulated: Cov(k, l) is the covariance of the
/// later of the two, as for means of independent batches. Segments of one path are asymptotically independent given their transitions.
[[nodiscard]] Matrix online_covariance(const std::vector<Fit>& fits, int steps, OnlineData data);
/// The same for identical batches with covariance C: fresh, C in every block; accumulated, block (k, l) is C/max(k, l).
[[nodiscard]] Matrix online_covariance(const ConstMatrixRef& batch_covariance, int steps, OnlineData data);

}  // namespace jko::estimators
