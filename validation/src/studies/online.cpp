#include "ou_case.hpp"
#include "studies.hpp"

#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/flows/flow.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::validation {
namespace {

constexpr double horizon = 1.2;

/// theory.md 2.3, noise of unit variance in kappa: Var U_m, Cov(U_m, U_v), Var U_v at time t.
Vector brownian_limit(double t) {
  using namespace ou_case;
  const double v = 1 / (beta * kappa), d = v0 - v, e = std::exp(-kappa * t);
  return Vector{{(m0 - mu) * (m0 - mu) * e * e * t, 2 * (m0 - mu) * e * (v * (1 - e * e) / (2 * kappa) + d * t * e * e),
                 4 * (v * v * (1 - e * e * e * e) / (4 * kappa) + v * d * (e * e - e * e * e * e) / kappa + d * d * t * e * e * e * e)}};
}

/// The same at a finite step, to first order in the noise: the sum over the steps of the squared exact sensitivities, over h.
Vector linearised(int steps) {
  const double h = horizon / steps;
  const auto run = Flow<GaussianStep>(GaussianStep(FreeEnergy(ou_case::model())), ou_case::start(), {.h = h, .steps = steps, .sensitivity = Sensitivity::per_step, .keep_every = steps}).run();
  const Matrix& tangent = run.final_state().tangent;
  Vector out = Vector::Zero(3);
  for (int k = 0; k < steps; ++k) {
    const double m = tangent(0, 3 * k), v = tangent(1, 3 * k);
    out += Vector{{m * m, m * v, v * v}} / h;
  }
  return out;
}

/// (m/h) Cov of mean and variance over replications with kappa + sigma z/sqrt(batch) in every step, sigma = 1.
Vector simulated(int batch, int steps, int replications, const StudyOptions& options) {
  const double h = horizon / steps;
  Matrix ends(2, replications);
  parallel_blocks(replications, 32, options.threads, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      RandomStream random(options.seed, fmt::format("online kappa {}", batch), static_cast<std::uint64_t>(r));
      FlowOptions flow{.h = h, .steps = steps, .keep_every = steps};
      flow.parameters_at = [&](int) { return Vector{{ou_case::kappa + random.normal() / std::sqrt(batch), ou_case::mu, ou_case::beta}}; };
      ends.col(r) = Flow<GaussianStep>(GaussianStep(FreeEnergy(ou_case::model())), ou_case::start(), flow).run().final_state().measure.coordinates();
    }
  });
  const Matrix centred = ends.colwise() - ends.rowwise().mean();
  const Matrix covariance = centred * centred.transpose() / (replications - 1) * (batch / h);
  return Vector{{covariance(0, 0), covariance(0, 1), covariance(1, 1)}};
}

void add_kappa_noise(StudyResult& result, const StudyOptions& options) {
  const char* names[] = {"var-mean", "cov", "var-variance"};
  constexpr int steps = 30;
  const int replications = options.scale == Scale::quick ? 4000 : 40000;
  const Vector limit = brownian_limit(horizon), at[] = {linearised(60), linearised(120), linearised(240)};
  const Vector small = simulated(100, steps, replications, options), large = simulated(400, steps, replications, options), exact = linearised(steps);
  const Vector extrapolated = (4 * large - small) / 3;  // removes the term of order 1/m
  Table table{"kappa-noise", "Noise in kappa: (m/h) covariance of mean and variance at t = 1.2. Left: exact sensitivities, extrapolated to h = 0, against the Brownian-forced limit. Right: replications at h = 0.04 "
                             "extrapolated in 1/m from m = 100 and 400, against the sensitivities at that h; the bracket is one Monte-Carlo s.e.",
              {"entry", "h = 0.01", "h = 0.005", "extrapolated", "Brownian limit", "replications", "sensitivities, h = 0.04"}, {}};
  // s.e. of a sample covariance of a Gaussian pair.
  const auto error_of = [&](int i) { return std::sqrt(((i == 1 ? exact[0] * exact[2] : exact[i] * exact[i]) + exact[i] * exact[i]) / replications); };
  for (int i = 0; i < 3; ++i) {
    const double again = 2 * at[2][i] - at[1][i], once = 2 * at[1][i] - at[0][i], value = (4 * again - once) / 3;
    const double error = error_of(i) * std::sqrt(17.0) / 3;
    result.checks.push_back(analysis::check_equal(fmt::format("brownian-limit-{}", names[i]), fmt::format("{}: the sensitivities' (m/h) covariance tends to the Brownian-forced limit as h to 0", names[i]), "theory.md 2.3, Theorem ON",
                                                  value, limit[i], std::abs(value - again), "the last change of the extrapolation in h"));
    result.checks.push_back(analysis::check_sampled(fmt::format("kappa-noise-{}", names[i]), fmt::format("{}: replications have the covariance of the exact sensitivities", names[i]), "theory.md 2.3", extrapolated[i], exact[i],
                                                    {.standard_error = error, .what = fmt::format("s.e. of the extrapolation in 1/m over {} replications", replications)}));
    table.rows.push_back({names[i], fmt::format("{:.5f}", at[1][i]), fmt::format("{:.5f}", at[2][i]), fmt::format("{:.6f}", value), fmt::format("{:.6f}", limit[i]), fmt::format("{:.4f} ({:.4f})", extrapolated[i], error), fmt::format("{:.4f}", exact[i])});
  }
  result.tables.push_back(std::move(table));
}

}  // namespace

StudyResult online(const StudyOptions& options) {
  if (!options.settings.empty()) return online_limits(options);  // the same claims for any potential
  constexpr double h = 0.02;
  constexpr int steps = 60, batch = 20;
  const int replications = options.scale == Scale::quick ? 4000 : 40000;
  const double tau2 = 1 / (ou_case::beta * ou_case::kappa);  // variance of one observation
  StudyResult result;
  result.description = fmt::format(
      "Step k uses the mean of a fresh batch of m = {} stationary observations as mu (unbiased). The variance of the flow's mean over {} replications, times m/h, is "
      "compared with the exact finite-h law kappa tau^2 [1 - (1 + h kappa)^(-2k)]/(2 + h kappa) and with its Brownian-forced limit "
      "kappa tau^2 (1 - exp(-2 kappa t))/2. The checks use the exact law: at h = {} the limit differs from it by a visible O(h). With noise in kappa the flow is not linear in it: the "
      "covariance of mean and variance from exact sensitivities is extrapolated to h = 0 against the Brownian-forced limit, and replications are compared with the sensitivities at finite h.",
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
    result.checks.push_back(analysis::check_sampled(fmt::format("finite-h-variance-{}", k), fmt::format("(m/h) Var m_k at k = {} has the exact finite-h value", k), "theory.md 2.3", variance, theory,
                                                    {.standard_error = theory * relative_error, .what = fmt::format("s.e. of a normal variance, sqrt(2/R), over {} replications; the mean is linear in normal batch means, so the law is exact", replications)}));
  }
  result.figures.push_back({"online-variance", "(m/h) Var of the mean against time: replications with one s.e., the exact law and its limit.", "time t", "(m/h) Var", false, false,
                            {std::move(measured), std::move(exact), std::move(limit)}});
  result.tables.push_back(std::move(table));
  add_kappa_noise(result, options);
  return result;
}

}  // namespace jko::validation
