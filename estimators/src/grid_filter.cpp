#include <jko/estimators/grid_filter.hpp>

#include <jko/core/check.hpp>

#include "diffusion_chain.hpp"
#include "maximise.hpp"
#include "noisy_data.hpp"
#include "transitions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <utility>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double reach = 8.5;        // noise deviations beyond which its density is below 2e-16 of its peak
constexpr double chain_error = 1e-12;  // of the entries of exp(dt Q)
constexpr double least_cells = 1.25;   // in one noise deviation of a coarse grid: the midpoint rule's own error, exp(-2 pi^2 least_cells^2), is 4e-14
constexpr Index many = 32;             // transitions that share a time step are worth its matrix

/// Times equal to rounding share a step, named by its first value.
class Steps {
 public:
  explicit Steps(const Panel& panel) {
    std::vector<double> all;
    for (const Path& path : panel) {
      for (Index i = 0; i < path.transitions(); ++i) all.push_back(path.times[i + 1] - path.times[i]);
    }
    std::sort(all.begin(), all.end());
    for (const double dt : all) {
      if (value_.empty() || dt > value_.back() * (1 + 1e-11)) value_.push_back(dt), count_.push_back(0);
      ++count_.back();
    }
  }
  [[nodiscard]] std::size_t size() const { return value_.size(); }
  [[nodiscard]] double value(std::size_t k) const { return value_[k]; }
  [[nodiscard]] Index count(std::size_t k) const { return count_[k]; }
  [[nodiscard]] double longest() const { return value_.back(); }
  [[nodiscard]] std::size_t index(double dt) const { return static_cast<std::size_t>(std::upper_bound(value_.begin(), value_.end(), dt) - value_.begin()) - 1; }

 private:
  std::vector<double> value_;
  std::vector<Index> count_;
};

/// The filter's state: masses at the nodes and their derivatives in (theta, noise), nonzero in [first, last).
struct Masses {
  Vector value;
  Matrix by;  // n x (P + 1)
  Index first = 0, last = 0;
};

/// Nodes within reach of an observation.
std::pair<Index, Index> window(const Vector& x, double centre, double noise) {
  const auto first = std::lower_bound(x.begin(), x.end(), centre - reach * noise), last = std::upper_bound(x.begin(), x.end(), centre + reach * noise);
  return {first - x.begin(), last - x.begin()};
}

/// The noise density at the nodes of [first, last) and its logarithm's derivative in the noise.
void noise_density(const Vector& x, double y, double noise, Index first, Index last, Vector& density, Vector& slope) {
  const double scale = 1 / (noise * std::sqrt(2 * std::numbers::pi));
  density.resize(last - first);
  slope.resize(last - first);
  for (Index i = first; i < last; ++i) {
    const double z = (y - x[i]) / noise;
    density[i - first] = scale * std::exp(-0.5 * z * z);
    slope[i - first] = (z * z - 1) / noise;
  }
}

/// log p(y_i | y_0, ..., y_{i-1}) of all transitions by the chain on one grid, with derivatives in (theta, noise).
Terms filter(const Panel& panel, const Steps& steps, const Diffusion& diffusion, double noise, const ChainGrid& grid) {
  const Vector& x = grid.x();
  const Index n = x.size(), count = diffusion.parameters().size();
  Index total = 0;
  for (const Path& path : panel) total += path.transitions();
  Terms out(count + 1, total);
  out.log_density.setConstant(-infinity);
  out.scores.setZero();
  out.error = Vector::Zero(total);
  const DiffusionChain chain(diffusion, x, true);
  if (!chain.ok()) return out;
  std::vector<DiffusionChain::Rows> matrices(steps.size());
  for (std::size_t k = 0; k < steps.size(); ++k) {
    if (steps.count(k) >= many) matrices[k] = chain.transition(steps.value(k));
  }
  Index column = 0;
  Vector density, slope;
  for (const Path& path : panel) {
    Masses at{Vector::Zero(n), Matrix::Zero(n, count + 1)};
    std::tie(at.first, at.last) = window(x, path.values(0, 0), noise);
    if (at.last <= at.first) at.first = 0, at.last = n;  // far outside the state space: all that there is
    noise_density(x, path.values(0, 0), noise, at.first, at.last, density, slope);
    Vector start = density.cwiseProduct(grid.weight().segment(at.first, at.last - at.first));
    if (!(start.sum() > 0)) return out;
    start /= start.sum();
    at.value.segment(at.first, start.size()) = start;
    at.by.col(count).segment(at.first, start.size()) = start.cwiseProduct(Vector(slope.array() - slope.dot(start)));
    for (Index i = 0; i < path.transitions(); ++i, ++column) {
      const double y = path.values(0, i + 1);
      const std::size_t k = steps.index(path.times[i + 1] - path.times[i]);
      DiffusionChain::Rows direct;
      const bool matrix = matrices[k].value.size() > 0;
      if (!matrix) {
        direct = {at.value.transpose(), {}};
        for (Index j = 0; j < count; ++j) direct.by_theta.emplace_back(at.by.col(j).transpose());
        direct = chain.forward(steps.value(k), direct);
        direct.by_theta.push_back(chain.forward(steps.value(k), {at.by.col(count).transpose(), {}}).value);
      }
      // Within reach of the observation; everywhere, if the forecast has hardly any mass there.
      auto [first, last] = window(x, y, noise);
      for (bool everywhere = false;; everywhere = true) {
        if (everywhere || last <= first) first = 0, last = n, everywhere = true;
        const Index size = last - first, from = at.first, width = at.last - at.first;
        Vector forecast;
        Matrix by(size, count + 1);
        if (matrix) {
          forecast = matrices[k].value.block(from, first, width, size).transpose() * at.value.segment(from, width);
          by.noalias() = matrices[k].value.block(from, first, width, size).transpose() * at.by.middleRows(from, width);
          for (Index j = 0; j < count; ++j) by.col(j).noalias() += matrices[k].by_theta[static_cast<std::size_t>(j)].block(from, first, width, size).transpose() * at.value.segment(from, width);
        } else {
          forecast = direct.value.row(0).segment(first, size).transpose();
          for (Index j = 0; j <= count; ++j) by.col(j) = direct.by_theta[static_cast<std::size_t>(j)].row(0).segment(first, size).transpose();
        }
        noise_density(x, y, noise, first, last, density, slope);
        const double p = forecast.dot(density), share = p * noise * std::sqrt(2 * std::numbers::pi);  // share: of the mass, as if all were at the observation
        if (!(share > 10 * chain_error)) {
          if (!everywhere) continue;
          return out;
        }
        out.log_density[column] = std::log(p);
        out.error[column] = chain_error / share;
        at.value.setZero();
        at.by.setZero();
        at.first = first, at.last = last;
        const Vector posterior = forecast.cwiseProduct(density) / p;
        by.col(count) += forecast.cwiseProduct(slope);
        const Vector score = by.transpose() * density / p;
        at.value.segment(first, size) = posterior;
        at.by.middleRows(first, size) = density.asDiagonal() * by / p - posterior * score.transpose();
        out.scores.col(column) = score;
        break;
      }
    }
  }
  return out;
}

/// A coarse grid and one of half the cells, for these data at these values.
class Grids {
 public:
  Grids(const Panel& panel, const Steps& steps, const Diffusion& diffusion, double noise, const GridFilterOptions& options, int level) : coarse_(make(panel, steps, diffusion, noise, options, level, 1)), fine_(coarse_ok() ? make(panel, steps, diffusion, noise, options, level, 2) : coarse_) {}

  [[nodiscard]] bool coarse_ok() const { return coarse_.ok(); }
  /// Coarse cells in one noise deviation.
  [[nodiscard]] double resolution(double noise) const { return noise / widest_; }
  [[nodiscard]] Index cells() const { return coarse_.x().size(); }

  /// Extrapolated from both grids, or on the coarse one alone: five times cheaper, to see where a fit goes.
  [[nodiscard]] Terms terms(const Panel& panel, const Steps& steps, const Diffusion& diffusion, double noise, bool extrapolate = true) const {
    Terms coarse(diffusion.parameters().size() + 1, 1);
    coarse.scores.setZero();
    coarse.log_density.setConstant(-infinity);
    if (!coarse_.ok() || !fine_.ok() || !(resolution(noise) >= (1 - 1e-9) * least_cells)) return coarse;
    coarse = filter(panel, steps, diffusion, noise, coarse_);
    if (!extrapolate || !std::isfinite(coarse.log_density.sum())) return coarse;
    Terms fine = filter(panel, steps, diffusion, noise, fine_);
    if (!std::isfinite(fine.log_density.sum())) return fine;
    fine.error += coarse.error;
    fine.log_density += (fine.log_density - coarse.log_density) / 3;
    fine.scores += (fine.scores - coarse.scores) / 3;
    return fine;
  }

 private:
  ChainGrid make(const Panel& panel, const Steps& steps, const Diffusion& diffusion, double noise, const GridFilterOptions& options, int level, Index factor) {
    double low = infinity, high = -infinity;
    for (const Path& path : panel) low = std::min(low, path.values.minCoeff()), high = std::max(high, path.values.maxCoeff());
    // Six deviations of noise hold X at an observation but for 2e-9 of its mass; three of the motion, in y, hold what comes back between two observations.
    constexpr double aside = 6;
    const double margin = 3 * std::sqrt(steps.longest());
    const auto [lower, upper] = diffusion.family().state_space();
    const double begin = low - aside * noise, end = high + aside * noise, range = end - begin;
    const double from = begin > lower ? begin : lower + 1e-3 * (std::min(end, upper) - lower), to = end < upper ? end : upper - 1e-3 * (upper - std::max(begin, lower));
    if (!(from < to)) throw DomainError(fmt::format("grid_filter: the observations, {:.6g} to {:.6g}, lie far outside the state space", low, high));
    constexpr Index probe = 64;
    const ChainGrid rough(diffusion, from, to, margin, probe);
    if (!rough.ok()) return rough;
    // The largest sigma where the data are.
    double sigma = 0;
    for (Index i = 0; i < probe; ++i) {
      if (rough.x()[i] >= low - 0.1 * range && rough.x()[i] <= high + 0.1 * range) sigma = std::max(sigma, rough.weight()[i] * probe / rough.length());
    }
    const double cells = std::ceil(std::max(rough.length() * sigma * options.cells_per_noise / noise, static_cast<double>(probe)) * std::pow(1.5, level));
    const Index chosen = std::min(static_cast<Index>(std::min(cells, 1e9)), options.most_cells);
    if (factor == 1) widest_ = rough.length() / static_cast<double>(chosen) * sigma;
    return {diffusion, from, to, margin, factor * chosen};
  }

  double widest_ = 0;
  ChainGrid coarse_, fine_;
};

}  // namespace

void GridFilterOptions::validate() const {
  check_in("grid_filter", "cells_per_noise", cells_per_noise, 1.5, 100);
  check_positive("grid_filter", "tolerance", tolerance);
  check_at_least("grid_filter", "most_cells", most_cells, 64);
}

LikelihoodValue grid_filter_log_likelihood(const Panel& panel, const Diffusion& diffusion, double noise, const GridFilterOptions& options, bool with_scores) {
  options.validate();
  check_observations("grid_filter_log_likelihood", panel, 1);
  check_positive("grid_filter_log_likelihood", "noise", noise);
  const Steps steps(panel);
  const Grids grids(panel, steps, diffusion, noise, options, 0), finer(panel, steps, diffusion, noise, options, 1);
  LikelihoodValue out = collect(finer.terms(panel, steps, diffusion, noise), with_scores);
  out.error += std::abs(out.value - grids.terms(panel, steps, diffusion, noise).log_density.sum());
  return out;
}

Fit fit_grid_filter(const Panel& panel, const Diffusion& start, double noise, const GridFilterOptions& options, const FitOptions& fit_options) {
  const auto begin = std::chrono::steady_clock::now();
  options.validate();
  check_observations("fit_grid_filter", panel, 1);
  check_positive("fit_grid_filter", "noise", noise);
  const auto list = with_noise(start.parameter_list());
  Fit out = prepared_fit(start.family().describe(), list, fit_options);
  describe(panel, "grid-filter", out);
  const Steps steps(panel);
  const Index count = start.parameters().size();
  Vector x = with_noise(start.parameters(), noise);
  constexpr int most_grids = 10;
  int level = 0;
  for (int made = 1;; ++made) {
    const double built = x[count];
    const Grids grids(panel, steps, start.with_parameters(x.head(count)), built, options, level);
    const bool full = grids.cells() >= options.most_cells;
    if (out.fixed.back() && grids.resolution(built) < least_cells) {
      throw DomainError(fmt::format("fit_grid_filter: a noise of {:.4g} needs {:.0f} cells over the data's range, more than most_cells = {}: leave the noise out, or use the particle filter", built,
                                    std::ceil(static_cast<double>(grids.cells()) * least_cells / grids.resolution(built)), options.most_cells));
    }
    const auto terms = [&](const Grids& on, const Vector& at, bool extrapolate) { return on.terms(panel, steps, start.with_parameters(at.head(count)), at[count], extrapolate); };
    const auto objective = [&](bool extrapolate) -> Objective {
      return [&, extrapolate](const Vector& at, bool with_scores) {
        LikelihoodValue value = collect(terms(grids, at, extrapolate), with_scores);
        value.error = 0;  // the grid's error is a smooth function of the parameters, nothing that the optimiser must allow for
        return value;
      };
    };
    // As far down as the grid resolves the noise.
    FitOptions bounded = fit_options;
    if (bounded.lower.empty()) {
      for (const Parameter& p : list) bounded.lower.push_back(p.lower);
    }
    if (!out.fixed.back()) bounded.lower.back() = std::max(bounded.lower.back(), built * std::min(1.0, least_cells / grids.resolution(built)));
    FitOptions loose = bounded;
    loose.tolerance = std::max(fit_options.tolerance, 1e-3);
    loose.max_iterations = std::min(fit_options.max_iterations, 20);  // enough to see where the noise goes
    LikelihoodValue best = objective(false)(x, false);
    if (made > 1 && !std::isfinite(best.value)) {
      out.warnings.push_back(fmt::format("an observation lies more than seven deviations from its forecast once the noise is {:.3g}: the filter has no digits there", x[count]));
      complete(objective(false), list, bounded, x, best, out);
      out.status = Status::not_finite;
      break;
    }
    best = maximise(objective(false), list, loose, x, out);
    if (full && !out.fixed.back() && x[count] <= bounded.lower.back() * (1 + 1e-6)) {
      // What is left is no estimate of the noise: no use in refining it.
      complete(objective(false), list, bounded, x, best, out);
      out.warnings.push_back(fmt::format("the noise runs below {:.3g}, the least that {} cells resolve: leave it out", x[count], grids.cells()));
      break;
    }
    // Where the noise went down its grid is too coarse, where it went up too narrow.
    if (std::isfinite(best.value) && made < most_grids && ((x[count] < 0.8 * built && !full) || x[count] > 1.25 * built)) continue;
    const double error = std::abs(terms(Grids(panel, steps, start.with_parameters(x.head(count)), x[count], options, level + 1), x, true).log_density.sum() - terms(grids, x, true).log_density.sum());
    if (std::isfinite(best.value) && made < most_grids && error > options.tolerance && level < 3 && !full) {
      ++level;
      continue;
    }
    const Objective target = objective(true);
    best = maximise(target, list, bounded, x, out);
    complete(target, list, bounded, x, best, out);
    if (full && grids.resolution(x[count]) < options.cells_per_noise) {
      out.warnings.push_back(fmt::format("{} cells hardly resolve a noise of {:.3g}: leave the noise out", grids.cells(), x[count]));
    } else if (!(error <= options.tolerance)) {
      out.warnings.push_back(fmt::format("the grid's error of the log-likelihood is about {:.1g}", error));
    }
    break;
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
