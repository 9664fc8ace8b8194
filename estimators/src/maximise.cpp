#include "maximise.hpp"

#include <jko/core/error.hpp>

#include <Eigen/Cholesky>
#include <fmt/format.h>
#include <nlopt.hpp>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>

namespace jko::estimators {
namespace {

struct Box {
  Vector lower, upper;
  std::vector<bool> open;  ///< lower bound not admissible itself (a scale > 0)
  Box(const std::vector<Parameter>& list, const FitOptions& options) {
    const auto count = static_cast<Index>(list.size());
    lower.resize(count);
    upper.resize(count);
    for (std::size_t k = 0; k < list.size(); ++k) open.push_back(list[k].positive && (options.lower.empty() || options.lower[k] <= 0));
    for (Index i = 0; i < count; ++i) {
      const auto k = static_cast<std::size_t>(i);
      lower[i] = options.lower.empty() ? list[k].lower : std::max(options.lower[k], list[k].lower);
      upper[i] = options.upper.empty() ? list[k].upper : std::min(options.upper[k], list[k].upper);
    }
  }
};

/// The inverse of the block of the free parameters, in a matrix of the full size.
Matrix restricted_inverse(const Matrix& information, const std::vector<Index>& free, bool& positive) {
  const auto k = static_cast<Index>(free.size());
  Matrix block(k, k);
  for (Index i = 0; i < k; ++i) {
    for (Index j = 0; j < k; ++j) block(i, j) = information(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]);
  }
  Matrix out = Matrix::Zero(information.rows(), information.cols());
  positive = block.allFinite();
  if (!positive || k == 0) return out;
  // Scaled to a unit diagonal, so that units do not decide what is singular.
  const Vector scale = block.diagonal().cwiseAbs().cwiseSqrt().cwiseMax(1e-300).cwiseInverse();
  const Eigen::LDLT<Matrix> factor(scale.asDiagonal() * block * scale.asDiagonal());
  positive = factor.info() == Eigen::Success && factor.isPositive() && factor.vectorD().minCoeff() > 1e-12;
  if (!positive) return out;
  const Matrix inverse = scale.asDiagonal() * factor.solve(Matrix(Matrix::Identity(k, k))) * scale.asDiagonal();
  for (Index i = 0; i < k; ++i) {
    for (Index j = 0; j < k; ++j) out(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]) = inverse(i, j);
  }
  return out;
}

/// Free parameters that no bound holds: a parameter at its bound with the gradient pointing outwards is held.
std::vector<Index> movable(const Fit& fit, const Box& box, const Vector& x, const Vector& gradient) {
  std::vector<Index> out;
  for (Index i = 0; i < x.size(); ++i) {
    const bool held = (x[i] <= box.lower[i] && gradient[i] < 0) || (x[i] >= box.upper[i] && gradient[i] > 0);
    if (!fit.fixed[static_cast<std::size_t>(i)] && !held) out.push_back(i);
  }
  return out;
}

/// x + step, cut at the bounds parameter by parameter; an open bound is approached by nine tenths of the way.
Vector within(const Box& box, const Vector& x, const Vector& step) {
  Vector out = x + step;
  for (Index i = 0; i < x.size(); ++i) {
    if (out[i] <= box.lower[i]) out[i] = box.open[static_cast<std::size_t>(i)] ? x[i] - 0.9 * (x[i] - box.lower[i]) : box.lower[i];
    out[i] = std::min(out[i], box.upper[i]);
  }
  return out;
}

/// -d^2 log L/dx^2 by differences of the exact gradient; `inverse` scales them. In units of the standard error the likelihood's fourth derivative is about c/n with c of order one. Central differences at
/// d = 0.01 are off by d^2 c/(6 n), below 2e-8 for n >= 1000; for fewer data they are extrapolated (Richardson) from d = 0.05: error d^4 c/n^2. Rounding adds epsilon sqrt(n)/d.
Matrix observed_information(const Objective& objective, const Box& box, const Vector& x, const std::vector<Index>& free, const Matrix& inverse, Fit& fit) {
  Matrix information = Matrix::Zero(x.size(), x.size());
  const bool many = fit.n >= 1000;
  for (const Index i : free) {
    double d = (many ? 0.01 : 0.05) * std::sqrt(inverse(i, i));
    if (x[i] - d <= box.lower[i]) d = 0.5 * (x[i] - box.lower[i]);
    if (x[i] + d >= box.upper[i]) d = std::min(d, 0.5 * (box.upper[i] - x[i]));
    const auto difference = [&](double s) {
      Vector up = x, down = x;
      up[i] += s;
      down[i] -= s;
      fit.iterations += 2;
      return Vector((objective(up, false).gradient - objective(down, false).gradient) / (2 * s));
    };
    information.col(i) = many ? Vector(-difference(d)) : Vector(-(4 * difference(0.5 * d) - difference(d)) / 3);
  }
  return 0.5 * (information + information.transpose());
}

constexpr int patience = 10;  // scoring steps before the observed information replaces the expected one

LikelihoodValue score(const Objective& objective, const Box& box, const FitOptions& options, Vector& x, Fit& fit) {
  LikelihoodValue at = objective(x, false);
  Matrix newton;
  fit.status = Status::iteration_limit;
  for (int iteration = 0; iteration < options.max_iterations; ++iteration) {
    ++fit.iterations;
    if (!std::isfinite(at.value)) {
      fit.status = Status::not_finite;
      return at;
    }
    const auto free = movable(fit, box, x, at.gradient);
    bool positive = false;
    const Matrix inverse = restricted_inverse(at.expected, free, positive);
    if (!positive) {
      fit.status = Status::singular_information;
      return at;
    }
    const double before = iteration > 0 ? fit.gradient_norm : std::numeric_limits<double>::infinity();
    fit.gradient_norm = 0;
    for (const Index i : free) fit.gradient_norm = std::max(fit.gradient_norm, std::abs(at.gradient[i]) * std::sqrt(inverse(i, i)));
    // A value known to within an error has a gradient with an error as well: it is at its rounding where it is small and no longer falls.
    const bool rounded = at.error > 0 && fit.gradient_norm <= 1e-6 && fit.gradient_norm > 0.5 * before;
    if (fit.gradient_norm <= options.tolerance || rounded) {
      fit.status = Status::converged;
      return at;
    }
    Vector step = inverse * at.gradient;
    if (iteration > 0 && iteration % patience == 0 && fit.gradient_norm > 1e-6) {
      // Where scores' outer products stand in for the information, or the model is wrong, scoring converges linearly; Newton's step does not.
      newton = observed_information(objective, box, x, free, inverse, fit);
    }
    if (newton.size() > 0) {
      const Matrix observed = restricted_inverse(newton, free, positive);
      if (positive) step = observed * at.gradient;
    }
    bool moved = false;
    for (int halving = 0; halving < 60 && !moved; ++halving, step *= 0.5) {
      const Vector trial = within(box, x, step);
      if (trial == x) break;
      LikelihoodValue next = objective(trial, false);
      // 1e-12 |value| is the rounding of a sum of n terms of that size; a numerical likelihood brings its own.
      if (next.value >= at.value + 1e-4 * (trial - x).dot(at.gradient) - 1e-12 * std::abs(at.value) - at.error) {
        x = trial;
        at = std::move(next);
        moved = true;
      }
    }
    if (!moved) {
      // The gradient's own rounding is about sqrt(n) epsilon in units of the standard error.
      fit.status = fit.gradient_norm <= 1e-6 ? Status::converged : Status::stalled;
      return at;
    }
  }
  return at;
}

/// Derivative-free and indifferent to -infinity: a search for where scoring may begin again.
void search(const Objective& objective, const Box& box, const FitOptions& options, Vector& x, Fit& fit) {
  std::vector<Index> free;
  for (Index i = 0; i < x.size(); ++i) {
    if (!fit.fixed[static_cast<std::size_t>(i)]) free.push_back(i);
  }
  struct Data {
    const Objective& objective;
    const std::vector<Index>& free;
    Vector x;
    int calls = 0;
    std::exception_ptr error;
    nlopt::opt* optimiser = nullptr;
  } data{objective, free, x, 0, nullptr, nullptr};
  nlopt::opt optimiser(nlopt::LN_SBPLX, static_cast<unsigned>(free.size()));
  data.optimiser = &optimiser;
  std::vector<double> begin, lower, upper, first;
  for (const Index i : free) {
    const double open = box.open[static_cast<std::size_t>(i)] ? 1e-8 * (1 + std::abs(x[i])) : 0;
    lower.push_back(box.lower[i] + open);
    upper.push_back(box.upper[i]);
    begin.push_back(std::clamp(x[i], lower.back(), upper.back()));
    first.push_back(0.2 * (std::abs(x[i]) + 0.1));
  }
  optimiser.set_lower_bounds(lower);
  optimiser.set_upper_bounds(upper);
  optimiser.set_initial_step(first);
  optimiser.set_xtol_rel(1e-4);
  optimiser.set_maxeval(std::min(400, options.max_iterations) * static_cast<int>(free.size()));
  optimiser.set_max_objective(
      [](const std::vector<double>& z, std::vector<double>&, void* pointer) {
        Data& d = *static_cast<Data*>(pointer);
        ++d.calls;
        try {
          for (std::size_t k = 0; k < z.size(); ++k) d.x[d.free[k]] = z[k];
          const double value = d.objective(d.x, false).value;
          return std::isfinite(value) ? value : -1e300;
        } catch (...) {  // NLopt would lose it
          d.error = std::current_exception();
          d.optimiser->force_stop();
          return -1e300;
        }
      },
      &data);
  double value = 0;
  try {
    (void)optimiser.optimize(begin, value);
  } catch (const nlopt::roundoff_limited&) {  // as good as it gets
  } catch (const nlopt::forced_stop&) {
    if (data.error) std::rethrow_exception(data.error);
  } catch (const std::runtime_error&) {  // no progress: scoring will say so
  }
  fit.iterations += data.calls;
  for (std::size_t k = 0; k < free.size(); ++k) x[free[k]] = begin[k];
}

}  // namespace

Fit prepared_fit(const std::string& model, const std::vector<Parameter>& list, const FitOptions& options) {
  Fit out;
  out.model = model;
  out.fixed = options.fixed.empty() ? std::vector<bool>(list.size(), false) : options.fixed;
  if (out.fixed.size() != list.size()) throw ShapeError("fit: the list of fixed parameters does not fit the model");
  for (const auto* bounds : {&options.lower, &options.upper}) {
    if (!bounds->empty() && bounds->size() != list.size()) throw ShapeError("fit: the list of bounds does not fit the model");
  }
  const Box box(list, options);
  for (Index i = 0; i < box.lower.size(); ++i) {
    out.names.push_back(list[static_cast<std::size_t>(i)].name);
    if (!(box.lower[i] <= box.upper[i])) throw DomainError(fmt::format("fit: the bounds of {} are [{}, {}], which is empty", out.names.back(), box.lower[i], box.upper[i]));
  }
  return out;
}

LikelihoodValue maximise(const Objective& objective, const std::vector<Parameter>& list, const FitOptions& options, Vector& x, Fit& fit) {
  const Box box(list, options);
  for (Index i = 0; i < x.size(); ++i) {
    if (!fit.fixed[static_cast<std::size_t>(i)]) x[i] = std::clamp(x[i], box.lower[i], box.upper[i]);
  }
  LikelihoodValue best = score(objective, box, options, x, fit);
  if (is_success(fit.status) || fit.free_parameters() == 0) return best;
  const Vector before = x;
  const double value = best.value;
  search(objective, box, options, x, fit);
  const Status first = fit.status;
  LikelihoodValue again = score(objective, box, options, x, fit);
  if (is_success(fit.status) || again.value > value) return again;
  x = before;
  fit.status = first;
  return best;
}

void minimise_distance(const Objective& objective, const Model& start, const FitOptions& options, Fit& fit) {
  Vector x = start.parameters();
  const LikelihoodValue best = maximise(objective, start, options, x, fit);
  complete(objective, start, options, x, best, fit);
  fit.covariance = fit.sandwich;
  fit.log_likelihood = std::numeric_limits<double>::quiet_NaN();
}

void complete(const Objective& objective, const std::vector<Parameter>& list, const FitOptions& options, const Vector& x, const LikelihoodValue& best, Fit& fit) {
  const Box box(list, options);
  const Index count = x.size();
  fit.log_likelihood = best.value;
  fit.estimate = x;
  fit.covariance = fit.sandwich = Matrix::Zero(count, count);
  if (!std::isfinite(best.value)) return;
  const auto free = movable(fit, box, x, best.gradient);
  if (static_cast<int>(free.size()) < fit.free_parameters()) {
    if (is_success(fit.status)) fit.status = Status::parameter_at_bound;
    for (Index i = 0; i < count; ++i) {
      if (!fit.fixed[static_cast<std::size_t>(i)] && std::find(free.begin(), free.end(), i) == free.end()) {
        fit.warnings.push_back(fmt::format("{} is at its bound {:g} and is treated as known", fit.names[static_cast<std::size_t>(i)], x[i]));
      }
    }
  }
  bool positive = false;
  const Matrix scale = restricted_inverse(best.expected, free, positive);
  if (positive) {
    const Matrix information = observed_information(objective, box, x, free, scale, fit);
    fit.covariance = restricted_inverse(information, free, positive);
    if (positive) {
      const Matrix scores = objective(x, true).scores;
      fit.sandwich = fit.covariance * (scores * scores.transpose()) * fit.covariance;
    }
  }
  if (!positive) fit.status = Status::singular_information;
}

}  // namespace jko::estimators
