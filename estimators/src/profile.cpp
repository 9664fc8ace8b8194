#include <jko/estimators/profile.hpp>

#include <jko/core/check.hpp>
#include <jko/core/nearest.hpp>

#include <boost/math/distributions/normal.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace jko::estimators {
namespace {

struct Point {
  double psi, deviance;
};

/// Walks from the estimate to one end. The signed root of the deviance is nearly linear in psi, so the secant rule inside a bracket is quick.
class Side {
 public:
  Side(const Fit& fit, Index k, const Refit& refit, const ProfileOptions& options, double sign, double z, std::vector<Point>& visited, Profile& out)
      : fit_(fit), k_(k), refit_(refit), options_(options), sign_(sign), z_(z), visited_(visited), out_(out), start_(fit.estimate) {
    const auto index = static_cast<std::size_t>(k);
    const auto& bounds = sign > 0 ? options.fit.upper : options.fit.lower;
    if (!bounds.empty()) bound_ = bounds[index];
    else bound_ = sign * std::numeric_limits<double>::infinity();
  }

  ProfileEnd find() {
    const double estimate = fit_.estimate[k_], unit = fit_.standard_errors()[k_];
    double inside = estimate, root_inside = 0, outside = 0, root_outside = 0;
    double psi = estimate + sign_ * z_ * unit;
    bool bracketed = false;
    for (int i = 0; i < options_.max_refits; ++i) {
      bool at_bound = false;
      if (!bracketed && sign_ * psi >= sign_ * bound_) {
        psi = bound_;
        at_bound = true;
      }
      const double root = signed_root(psi);
      if (out_.higher_found) return {psi, Status::stalled};
      if (std::abs(root - z_) <= options_.tolerance) return {psi, Status::converged};
      if (root < z_) {
        if (at_bound) return {psi, Status::parameter_at_bound};
        inside = psi;
        root_inside = root;
      } else {
        outside = psi;
        root_outside = root;
        bracketed = true;
      }
      if (!bracketed) {
        // At most doubled: where the root hardly grows the likelihood may never fall, and the walk ends at infinity.
        const double slope = root_inside / std::abs(inside - estimate);
        const double linear = slope > 0 ? std::abs(z_ / slope) * 1.05 : std::numeric_limits<double>::infinity();
        psi = estimate + sign_ * std::min(linear, 2 * std::abs(inside - estimate));
        if (std::abs(psi - estimate) > 1e9 * unit) return {sign_ * std::numeric_limits<double>::infinity(), Status::converged};
        continue;
      }
      // The secant, kept in the middle nine tenths of the bracket; plain halving where the outer end is infinitely bad.
      double weight = std::isfinite(root_outside) ? (z_ - root_inside) / (root_outside - root_inside) : 0.5;
      if (i % 6 == 5) weight = 0.5;
      psi = inside + std::clamp(weight, 1e-3, 1 - 1e-3) * (outside - inside);
      // Rounding: the bracket cannot shrink further.
      if (std::abs(outside - inside) <= 1e-13 * (std::abs(inside) + std::abs(outside))) return {inside, Status::stalled};
    }
    return {inside, Status::iteration_limit};
  }

 private:
  double signed_root(double psi) {
    FitOptions options = options_.fit;
    options.fixed = fit_.fixed;
    options.fixed[static_cast<std::size_t>(k_)] = true;
    Vector start = start_;
    start[k_] = psi;
    std::optional<Fit> at;
    if (first_) {
      // First order: the other estimates move along the regression on this one, which may leave the parameter space.
      Vector shifted = fit_.estimate + fit_.covariance.col(k_) / fit_.covariance(k_, k_) * (psi - fit_.estimate[k_]);
      shifted[k_] = psi;
      at = admissible_fit(shifted, options);
    }
    if (!at) at = admissible_fit(start, options);
    if (!at || !std::isfinite(at->log_likelihood)) return std::numeric_limits<double>::infinity();
    start_ = at->estimate;
    first_ = false;
    const double deviance = 2 * (fit_.log_likelihood - at->log_likelihood);
    // 1e-9 |l|: the rounding of the sum, generously.
    if (deviance < -options_.tolerance - 1e-9 * std::abs(fit_.log_likelihood)) out_.higher_found = true;
    visited_.push_back({psi, std::max(deviance, 0.0)});
    return std::sqrt(std::max(deviance, 0.0));
  }

  /// Nothing where the start is outside the parameter space (beta = 0, say): the likelihood is zero there.
  std::optional<Fit> admissible_fit(const Vector& start, const FitOptions& options) {
    ++out_.refits;
    try {
      return refit_(start, options);
    } catch (const DomainError&) {
      return std::nullopt;
    }
  }

  const Fit& fit_;
  Index k_;
  const Refit& refit_;
  const ProfileOptions& options_;
  double sign_, z_, bound_ = 0;
  std::vector<Point>& visited_;
  Profile& out_;
  Vector start_;
  bool first_ = true;
};

}  // namespace

Profile profile(const Fit& fit, std::string_view parameter, const Refit& refit, const ProfileOptions& options) {
  if (!(options.level > 0 && options.level < 1)) throw DomainError(fmt::format("profile: level is {}, but must lie in (0, 1)", options.level));
  check_positive("profile", "tolerance", options.tolerance);
  check_at_least("profile", "max_refits", options.max_refits, 2);
  const auto found = std::find(fit.names.begin(), fit.names.end(), parameter);
  if (found == fit.names.end()) throw DomainError(fmt::format("profile: '{}' is no parameter of the fit; the nearest is '{}'", parameter, nearest_name(parameter, fit.names)));
  const Index k = found - fit.names.begin();
  if (fit.fixed[static_cast<std::size_t>(k)]) throw DomainError(fmt::format("profile: {} is fixed", parameter));
  if (!std::isfinite(fit.log_likelihood) || !(fit.standard_errors()[k] > 0)) throw DomainError(fmt::format("profile: the fit has no likelihood or no standard error for {}", parameter));
  const double z = boost::math::quantile(boost::math::normal(), 0.5 * (1 + options.level));
  Profile out{std::string(parameter), fit.estimate[k], options.level, {}, {}, {}, {}, 0, false};
  std::vector<Point> visited{{fit.estimate[k], 0}};
  out.lower = Side(fit, k, refit, options, -1, z, visited, out).find();
  out.upper = Side(fit, k, refit, options, +1, z, visited, out).find();
  std::sort(visited.begin(), visited.end(), [](const Point& a, const Point& b) { return a.psi < b.psi; });
  out.points.resize(static_cast<Index>(visited.size()));
  out.deviance.resize(out.points.size());
  for (std::size_t i = 0; i < visited.size(); ++i) {
    out.points[static_cast<Index>(i)] = visited[i].psi;
    out.deviance[static_cast<Index>(i)] = visited[i].deviance;
  }
  return out;
}

}  // namespace jko::estimators
