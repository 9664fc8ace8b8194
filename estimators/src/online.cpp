#include <jko/estimators/online.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace jko::estimators {
namespace {

/// Stacked covariance from that of step k, k = 0, 1, ...
template <class Covariance>
Matrix stacked(Index p, int steps, OnlineData data, const Covariance& covariance) {
  Matrix out = Matrix::Zero(p * steps, p * steps);
  for (int k = 0; k < steps; ++k) {
    for (int l = 0; l < steps; ++l) {
      if (k == l || data == OnlineData::accumulated) out.block(p * k, p * l, p, p) = covariance(std::max(k, l));
    }
  }
  return out;
}

}  // namespace

std::vector<Panel> split_into_batches(const Path& path, int batches) {
  path.validate();
  check_at_least("split_into_batches", "number of batches", batches, 1);
  const Index size = path.transitions() / batches;
  if (size < 1) throw DomainError(fmt::format("split_into_batches: {} transitions do not make {} batches", path.transitions(), batches));
  std::vector<Panel> out;
  for (Index k = 0; k < batches; ++k) out.push_back({Path{path.times.segment(k * size, size + 1), path.values.middleCols(k * size, size + 1)}});
  return out;
}

std::vector<Fit> online_fits(const std::vector<Panel>& batches, const Model& start, Transition transition, OnlineData data, const FitOptions& options) {
  std::vector<Fit> out;
  Panel so_far;
  for (const Panel& batch : batches) {
    const bool accumulated = data == OnlineData::accumulated;
    if (accumulated) so_far.insert(so_far.end(), batch.begin(), batch.end());
    const Model begin = accumulated && !out.empty() ? start.with_parameters(out.back().estimate) : start;
    out.push_back(fit(accumulated ? so_far : batch, begin, transition, options));
    const Status status = out.back().status;
    if (!is_success(status) && status != Status::parameter_at_bound) throw NotConverged(fmt::format("online_fits: batch {}: {}", out.size(), describe(status)));
  }
  return out;
}

FlowOptions with_estimates(FlowOptions options, const std::vector<Fit>& fits) {
  if (static_cast<int>(fits.size()) < options.steps) throw ShapeError(fmt::format("with_estimates: {} steps need as many fits, but there are {}", options.steps, fits.size()));
  options.sensitivity = Sensitivity::per_step;
  std::vector<Vector> estimates;
  for (const Fit& fit : fits) estimates.push_back(fit.estimate);
  options.parameters_at = [estimates = std::move(estimates)](int k) { return estimates[static_cast<std::size_t>(k - 1)]; };
  return options;
}

Matrix online_covariance(const std::vector<Fit>& fits, int steps, OnlineData data) {
  check_at_least("online_covariance", "steps", steps, 1);
  check_at_least("online_covariance", "number of fits", static_cast<long long>(fits.size()), steps);
  return stacked(fits.front().estimate.size(), steps, data, [&](int k) -> const Matrix& { return fits[static_cast<std::size_t>(k)].sandwich; });
}

Matrix online_covariance(const ConstMatrixRef& batch_covariance, int steps, OnlineData data) {
  check_at_least("online_covariance", "steps", steps, 1);
  return stacked(batch_covariance.rows(), steps, data, [&](int k) { return Matrix(batch_covariance / (data == OnlineData::accumulated ? k + 1.0 : 1.0)); });
}

}  // namespace jko::estimators
