#include "noisy_data.hpp"

#include <jko/core/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace jko::estimators {

void check_observations(const char* where, const Panel& panel, Index dimension) {
  if (panel.empty()) throw ShapeError(fmt::format("{}: there are no paths", where));
  for (const Path& path : panel) {
    path.validate();
    if (path.values.rows() != dimension) throw ShapeError(fmt::format("{}: the data have dimension {}, but the model {}", where, path.values.rows(), dimension));
  }
  const auto constant = [](const Path& path) { return (path.values.colwise() - path.values.col(0)).isZero(0); };
  if (std::all_of(panel.begin(), panel.end(), constant)) throw DomainError(fmt::format("{}: the data are constant, so no diffusion fits them", where));
}

std::vector<Parameter> with_noise(std::vector<Parameter> list) {
  list.push_back({.name = "noise", .lower = 0, .positive = true});
  return list;
}

Vector with_noise(const ConstVectorRef& theta, double noise) {
  Vector out(theta.size() + 1);
  out << theta, noise;
  return out;
}

void describe(const Panel& panel, std::string estimator, Fit& fit) {
  fit.estimator = std::move(estimator);
  fit.model += ", with measurement noise";
  fit.theorem = "maximum likelihood at fixed dt, n -> infinity";
  for (const Path& path : panel) {
    fit.n += path.transitions();
    fit.duration += path.times[path.times.size() - 1] - path.times[0];
  }
}

}  // namespace jko::estimators
