#include "ou_case.hpp"
#include "studies.hpp"

#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/flows/flow.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::validation {

StudyResult online(const StudyOptions& options) {
  constexpr double h = 0.02;
  constexpr int steps = 60, batch = 20;
  const int replications = options.scale == Scale::quick ? 4000 : 40000;
  const double tau2 = 1 / (ou_case::beta * ou_case::kappa);  // variance of one observation
  StudyResult result;
  result.description = fmt::format(
      "Step k uses the mean of a fresh batch of m = {} stationary observations as mu (unbiased). The variance of the flow's mean over {} replications, times m/h, is "
      "compared with the exact finite-h law kappa tau^2 [1 - (1 + h kappa)^(-2k)]/(2 + h kappa) and with its Brownian-forced limit "
      "kappa tau^2 (1 - exp(-2 kappa t))/2. The checks use the exact law: at h = {} the limit differs from it by a visible O(h).",
      batch, replications, h);
  Matrix means(steps, replications);
  parallel_blocks(replications, 32, options.threads, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      RandomStream random(options.seed, "online", static_cast<std::uint64_t>(r));
      Vector parameters = ou_case::model().parameters();
      FlowOptions flow{.h = h, .steps = steps, .keep_every = steps};
      flow.parameters_at = [&](int) {
        double sum = 0;
        for (int i = 0; i < batch; ++i) sum += random.normal();
        parameters[1] = ou_case::mu + std::sqrt(tau2) * sum / batch;
        return parameters;
      };
      const auto run = Flow<GaussianStep>(GaussianStep(FreeEnergy(ou_case::model())), ou_case::start(), flow).run();
      for (int k = 0; k < steps; ++k) means(k, r) = run.records[static_cast<std::size_t>(k)].mean[0];
    }
  });
  Series measured{"replications", Series::Style::points, {}, {}, {}, {}, 0}, exact{"exact, h = 0.02", Series::Style::line, {}, {}, {}, {}, 1},
      limit{"limit h to 0", Series::Style::dashed, {}, {}, {}, {}, 2};
  const double relative_error = std::sqrt(2.0 / (replications - 1));
  Table table{"variance", "(m/h) Var of the mean.", {"t", "replications", "s.e.", "exact finite h", "Brownian limit"}, {}};
  for (int k = 1; k <= steps; ++k) {
    const auto row = means.row(k - 1).array();
    const double variance = (row - row.mean()).square().sum() / (replications - 1) * batch / h, t = k * h;
    const double theory = ou_case::kappa * tau2 * (1 - std::pow(1 + h * ou_case::kappa, -2 * k)) / (2 + h * ou_case::kappa);
    const double brownian = ou_case::kappa * tau2 * (1 - std::exp(-2 * ou_case::kappa * t)) / 2;
    exact.x.push_back(t), exact.y.push_back(theory);
    limit.x.push_back(t), limit.y.push_back(brownian);
    if (k % 5 != 0) continue;
    measured.x.push_back(t), measured.y.push_back(variance), measured.error.push_back(theory * relative_error);
    if (k % 20 != 0) continue;
    table.rows.push_back({fmt::format("{:.2f}", t), fmt::format("{:.4f}", variance), fmt::format("{:.4f}", theory * relative_error), fmt::format("{:.4f}", theory), fmt::format("{:.4f}", brownian)});
    result.checks.push_back(analysis::check_equal(fmt::format("finite-h-variance-{}", k), fmt::format("(m/h) Var m_k at k = {} has the exact finite-h value", k),
                                                  "theory.md 2.3", variance, theory, 4 * theory * relative_error,
                                                  "4 s.e. of a Gaussian variance, sqrt(2/R); the mean is linear in Gaussian batch means, so the law is exact"));
  }
  result.figures.push_back({"online-variance", "(m/h) Var of the mean against time: replications with one s.e., the exact law and its limit.", "time t", "(m/h) Var", false, false,
                            {std::move(measured), std::move(exact), std::move(limit)}});
  result.tables = {std::move(table)};
  return result;
}

}  // namespace jko::validation
