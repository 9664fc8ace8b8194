#include <jko/estimators/particle_filter.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>

#include "maximise.hpp"
#include "noisy_data.hpp"

#include <Eigen/Cholesky>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <numeric>
#include <utility>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// b and the scalar sigma at columns of points, with their derivatives in the model's parameters.
struct Coefficients {
  Matrix drift, sigma;      // d x n, 1 x n
  Matrix d_drift, d_sigma;  // d P x n (the component fastest), P x n
};

struct Dynamics {
  Index dimension, parameters;
  std::function<Coefficients(const Matrix& points)> at;
  DiffusionFamily::Interval space;  ///< of a diffusion
  [[nodiscard]] bool inside(const ConstVectorRef& x) const { return x.allFinite() && (dimension > 1 || (x[0] > space.lower && x[0] < space.upper)); }
};

Dynamics dynamics_of(const Model& model) {
  const Index d = model.dimension(), p = model.theta().size();
  return {d, p + 1, [model, d, p](const Matrix& points) {
            const Potential& potential = model.potential();
            const Index n = points.cols();
            const double sigma = std::sqrt(2 / model.beta());
            Coefficients out{-potential.evaluate({1, 0}, points, model.theta()), Matrix::Constant(1, n, sigma), Matrix::Zero(d * (p + 1), n), Matrix::Zero(p + 1, n)};
            out.d_drift.topRows(d * p) = -potential.evaluate({1, 1}, points, model.theta());
            out.d_sigma.row(p).setConstant(-0.5 * sigma / model.beta());
            return out;
          }, {}};
}

Dynamics dynamics_of(const Diffusion& diffusion) {
  return {1, diffusion.parameters().size(), [diffusion](const Matrix& points) {
            using Coefficient = DiffusionFamily::Coefficient;
            const auto evaluate = [&](Coefficient c, int order) { return diffusion.family().evaluate(c, {0, order}, points, diffusion.parameters()); };
            return Coefficients{evaluate(Coefficient::drift, 0), evaluate(Coefficient::diffusion, 0), evaluate(Coefficient::drift, 1), evaluate(Coefficient::diffusion, 1)};
          }, diffusion.family().state_space()};
}

/// Weighted particles with the smoothed score terms of the last transitions.
struct Cloud {
  Matrix x;                  // d x n
  Vector weight;             // normalised; zero: dead
  Matrix total;              // (P + 1) x n, the sum of `held`
  std::vector<Matrix> held;  // a ring of the last terms
  std::size_t oldest = 0;

  void select(const std::vector<Index>& from) {
    x = Matrix(x(Eigen::all, from));
    total = Matrix(total(Eigen::all, from));
    for (Matrix& term : held) term = Matrix(term(Eigen::all, from));
  }
};

/// Systematic: one uniform number; along the line in one dimension, where a particle's offspring then stays close to it whatever the parameters.
void resample(Cloud& cloud, double uniform) {
  const Index n = cloud.x.cols();
  std::vector<Index> order(static_cast<std::size_t>(n)), from(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), Index{0});
  if (cloud.x.rows() == 1) std::sort(order.begin(), order.end(), [&](Index a, Index b) { return cloud.x(0, a) < cloud.x(0, b) || (cloud.x(0, a) == cloud.x(0, b) && a < b); });
  double sum = 0;
  std::size_t next = 0;
  Index last = order.front();
  for (const Index k : order) {
    sum += cloud.weight[k];
    if (cloud.weight[k] > 0) last = k;
    while (next < from.size() && (static_cast<double>(next) + uniform) / static_cast<double>(n) < sum) from[next++] = k;
  }
  while (next < from.size()) from[next++] = last;  // the weights sum to one less a rounding
  cloud.select(from);
  cloud.weight.setConstant(1 / static_cast<double>(n));
}

/// One filter along one path: log p(y_i | y_0, ..., y_{i-1}) and its score for each transition, in `value` and the columns of `scores`; false where all particles died. Stream first + i is of observation i.
bool run(const Path& path, const Dynamics& dynamics, double noise, const ParticleFilterOptions& options, std::uint64_t first, VectorRef value, MatrixRef scores) {
  const Index n = options.particles, d = dynamics.dimension, count = dynamics.parameters;
  const double dimension = static_cast<double>(d), constant = -0.5 * dimension * std::log(2 * std::numbers::pi * noise * noise);
  Cloud cloud{Matrix(d, n), Vector::Constant(n, 1 / static_cast<double>(n)), Matrix::Zero(count + 1, n), {}};
  {
    RandomStream random(options.seed, "particle filter", first);
    for (Index k = 0; k < n; ++k) {
      double square = 0;
      for (Index c = 0; c < d; ++c) {
        const double xi = random.normal();
        cloud.x(c, k) = path.values(c, 0) + noise * xi;
        square += xi * xi;
      }
      cloud.total(count, k) = (square - dimension) / noise;
      if (!dynamics.inside(cloud.x.col(k))) cloud.weight[k] = 0;
    }
  }
  if (!(cloud.weight.sum() > 0)) return false;
  if (cloud.weight.minCoeff() == 0) {
    cloud.weight /= cloud.weight.sum();
    resample(cloud, 0.5);
  }
  cloud.held.push_back(cloud.total);
  Vector before = cloud.total * cloud.weight;
  for (Index i = 0; i < path.transitions(); ++i) {
    RandomStream random(options.seed, "particle filter", first + static_cast<std::uint64_t>(i) + 1);
    const Vector y = path.values.col(i + 1);
    const double dt = path.times[i + 1] - path.times[i], h = dt / options.substeps;
    Vector log_weight = Vector::Zero(n);
    Matrix term = Matrix::Zero(count + 1, n);
    const Vector shelter = cloud.x.col(0);  // where the dead wait
    Vector residual(d);
    for (int s = 0; s < options.substeps; ++s) {
      const Coefficients at = dynamics.at(cloud.x);
      const double left = dt - h * s;
      for (Index k = 0; k < n; ++k) {
        const double sigma = at.sigma(0, k), variance = sigma * sigma * h;
        double gain = 0, spread = variance;
        if (options.proposal == Proposal::guided) {
          gain = variance / (sigma * sigma * left + noise * noise);
          spread = variance * (1 - gain);
        }
        const double deviation = std::sqrt(spread);
        double proposed = 0, square = 0;  // squares of the standardised noise, and of the residual under the model
        for (Index c = 0; c < d; ++c) {
          const double xi = random.normal(), b = at.drift(c, k), z = cloud.x(c, k);
          residual[c] = gain * (y[c] - z - b * left) + deviation * xi;
          cloud.x(c, k) = z + b * h + residual[c];
          proposed += xi * xi;
          square += residual[c] * residual[c];
        }
        if (log_weight[k] == -infinity) continue;
        if (!dynamics.inside(cloud.x.col(k)) || !(sigma > 0)) {
          log_weight[k] = -infinity;
          continue;
        }
        if (gain > 0) log_weight[k] += 0.5 * (proposed - square / variance + dimension * std::log1p(-gain));
        // d log N(residual; 0, sigma^2 h)
        const double radial = (square / variance - dimension) / sigma, inverse = 1 / (sigma * sigma);
        for (Index j = 0; j < count; ++j) term(j, k) += radial * at.d_sigma(j, k) + inverse * residual.dot(at.d_drift.col(k).segment(d * j, d));
      }
      for (Index k = 0; k < n; ++k) {
        if (log_weight[k] == -infinity) cloud.x.col(k) = shelter, term.col(k).setZero();
      }
    }
    for (Index k = 0; k < n; ++k) {
      const double square = (y - cloud.x.col(k)).squaredNorm() / (noise * noise);
      log_weight[k] += constant - 0.5 * square;
      term(count, k) = (square - dimension) / noise;
    }
    const double top = log_weight.maxCoeff();
    if (!std::isfinite(top)) return false;
    cloud.weight = cloud.weight.cwiseProduct(Vector((log_weight.array() - top).exp()));
    const double sum = cloud.weight.sum();
    if (!(sum > 0)) return false;
    cloud.weight /= sum;
    value[i] = top + std::log(sum);
    cloud.total += term;
    scores.col(i) = cloud.total * cloud.weight - before;
    if (static_cast<int>(cloud.held.size()) <= options.lag) {
      cloud.held.push_back(std::move(term));
    } else {
      cloud.total -= cloud.held[cloud.oldest];
      cloud.held[cloud.oldest] = std::move(term);
      cloud.oldest = (cloud.oldest + 1) % cloud.held.size();
    }
    before = cloud.total * cloud.weight;
    if (1 / cloud.weight.squaredNorm() < 0.5 * static_cast<double>(n)) resample(cloud, random.uniform());
  }
  return true;
}

LikelihoodValue particle(const Panel& panel, const Dynamics& dynamics, double noise, const ParticleFilterOptions& options, bool with_scores) {
  options.validate();
  check_observations("particle_log_likelihood", panel, dynamics.dimension);
  check_positive("particle_log_likelihood", "noise", noise);
  std::vector<Index> begin{0};
  for (const Path& path : panel) begin.push_back(begin.back() + path.transitions());
  const Index total = begin.back(), count = dynamics.parameters + 1, r = options.replicates, paths = static_cast<Index>(panel.size());
  Matrix values(total, r);
  std::vector<Matrix> scores(static_cast<std::size_t>(r), Matrix(count, total));
  std::vector<char> alive(static_cast<std::size_t>(r * paths), 1);
  parallel_for(r * paths, options.threads, [&](Index job) {
    const Index replicate = job / paths, p = job % paths;
    const auto path = static_cast<std::size_t>(p);
    const Index from = begin[path], size = begin[path + 1] - from;
    alive[static_cast<std::size_t>(job)] = run(panel[path], dynamics, noise, options, static_cast<std::uint64_t>(replicate * (total + paths) + from + p), values.col(replicate).segment(from, size),
                                               scores[static_cast<std::size_t>(replicate)].middleCols(from, size));
  });
  LikelihoodValue out;
  out.gradient = Vector::Zero(count);
  out.expected = Matrix::Zero(count, count);
  out.score_variance = Matrix::Zero(count, count);
  if (std::count(alive.begin(), alive.end(), 0) > 0) {
    out.value = -infinity;
    return out;
  }
  const auto replicates = static_cast<double>(r), pairs = replicates * (replicates - 1);
  const Vector logs = values.colwise().sum().transpose();
  out.value = logs.mean();
  out.variance = (logs.array() - out.value).square().sum() / pairs;
  Matrix mean = Matrix::Zero(count, total);
  for (const Matrix& s : scores) mean += s / replicates;
  out.gradient = mean.rowwise().sum();
  Matrix own = Matrix::Zero(count, count);
  for (const Matrix& s : scores) {
    own.noalias() += s * s.transpose();
    const Vector off = s.rowwise().sum() - out.gradient;
    out.score_variance += off * off.transpose() / pairs;
  }
  out.expected = (replicates * replicates * mean * mean.transpose() - own) / pairs;
  if (with_scores) out.scores = std::move(mean);
  return out;
}

using Evaluate = std::function<LikelihoodValue(const Vector& at, std::uint64_t seed)>;

/// x moved by the step, at most nine tenths of the way to an open bound.
Vector moved(const std::vector<Parameter>& list, const FitOptions& options, const Vector& x, const Vector& step) {
  Vector out = x + step;
  for (Index i = 0; i < x.size(); ++i) {
    const auto k = static_cast<std::size_t>(i);
    const double lower = options.lower.empty() ? list[k].lower : std::max(options.lower[k], list[k].lower), upper = options.upper.empty() ? list[k].upper : std::min(options.upper[k], list[k].upper);
    if (out[i] <= lower) out[i] = list[k].positive && lower <= 0 ? x[i] - 0.9 * (x[i] - lower) : lower;
    out[i] = std::min(out[i], upper);
  }
  return out;
}

Fit fit(const Evaluate& evaluate, const std::vector<Parameter>& list, Vector x, std::uint64_t seed, int replicates, const FitOptions& options, Fit out) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<Index> free;
  for (Index i = 0; i < x.size(); ++i) {
    if (!out.fixed[static_cast<std::size_t>(i)]) free.push_back(i);
  }
  const Index count = x.size();
  Matrix inverse = Matrix::Zero(count, count);
  const auto invert = [&](const Matrix& information) {
    const Matrix block = information(free, free);
    const Vector scale = block.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
    const Eigen::LDLT<Matrix> factor(scale.asDiagonal() * block * scale.asDiagonal());
    if (factor.info() != Eigen::Success || !factor.isPositive() || !(factor.vectorD().minCoeff() > 1e-6)) return false;
    const Matrix solved = scale.asDiagonal() * factor.solve(Matrix(scale.asDiagonal()));
    inverse.setZero();
    inverse(free, free) = solved;
    return true;
  };
  /// The largest component of the step in standard errors, and of its simulation's standard deviation.
  const auto sizes = [&](const LikelihoodValue& at) {
    const Vector step = inverse * at.gradient, error = (inverse * at.score_variance * inverse).diagonal().cwiseMax(0.0).cwiseSqrt();
    std::pair<double, double> result{0, 0};
    for (const Index i : free) {
      result.first = std::max(result.first, std::abs(step[i]) / std::sqrt(inverse(i, i)));
      result.second = std::max(result.second, error[i] / std::sqrt(inverse(i, i)));
    }
    return result;
  };
  out.covariance = out.sandwich = Matrix::Zero(count, count);
  out.estimate = x;
  out.iterations = 1;
  LikelihoodValue at = evaluate(x, seed);
  const auto finish = [&](Status status) {
    out.status = status;
    out.estimate = x;
    out.log_likelihood = at.value;
    out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return out;
  };
  if (!std::isfinite(at.value)) return finish(Status::not_finite);
  /// Takes the step, halved until the log-likelihood has not fallen by more than its noise.
  const auto take = [&](Vector step) {
    for (int halving = 0; halving < 12; ++halving, step *= 0.5) {
      const Vector trial = moved(list, options, x, step);
      LikelihoodValue next = evaluate(trial, seed + static_cast<std::uint64_t>(out.iterations++));
      if (!(next.value >= at.value - 3 * std::sqrt(at.variance + next.variance))) continue;
      x = trial;
      at = std::move(next);
      return true;
    }
    return false;
  };
  // Towards the root, each step with fresh random numbers. The outer product of the mean scores has their simulation noise in it, and errs on the side of short steps; but it is never indefinite.
  constexpr double longest = 4;  // in standard errors: far away the information is that of another place
  bool near = free.empty();
  for (int iteration = 0; iteration < std::min(options.max_iterations, 60) && !near; ++iteration) {
    if (!invert(at.scores * at.scores.transpose())) return finish(Status::singular_information);
    const auto [size, error] = sizes(at);
    near = size <= 3 * error && error <= 1;
    const Vector step = inverse * at.gradient;
    if (!near && !take(size > longest ? Vector(longest / size * step) : step)) return finish(Status::stalled);
  }
  if (!near) return finish(Status::iteration_limit);
  // Averaging: with gains 1/k the iterate is the mean of the roots that single steps propose. For the errors the information is pooled: products of the scores of any two different filters.
  Matrix scores = Matrix::Zero(count, at.scores.cols()), own = Matrix::Zero(count, count), noise = own;
  double filters = 0;
  const auto pool = [&] {
    const double r = replicates;
    scores += r * at.scores;
    own += r * r * at.scores * at.scores.transpose() - r * (r - 1) * at.expected;
    noise += at.score_variance;
    filters += r;
  };
  for (int k = 1; k <= averaged && !free.empty(); ++k) {
    pool();
    if (!invert(scores * scores.transpose() / (filters * filters))) return finish(Status::singular_information);
    if (!take(inverse * at.gradient / k)) return finish(Status::stalled);
  }
  pool();
  if (!free.empty() && !invert((scores * scores.transpose() - own) / (filters * (filters - 1)))) return finish(Status::singular_information);
  out.covariance = out.sandwich = inverse;
  out.monte_carlo_errors = (inverse * noise * inverse / ((averaged + 1.0) * averaged)).diagonal().cwiseMax(0.0).cwiseSqrt();
  const auto [size, error] = sizes(at);
  out.gradient_norm = size;
  return finish(size <= 4 * error || free.empty() ? Status::converged : Status::iteration_limit);
}

template <class M>
Fit fit_any(const Panel& panel, const M& start, const std::vector<Parameter>& own, const std::string& label, double noise, const ParticleFilterOptions& options, const FitOptions& fit_options) {
  options.validate();
  check_observations("fit_particle_filter", panel, dynamics_of(start).dimension);
  check_positive("fit_particle_filter", "noise", noise);
  const auto list = with_noise(own);
  Fit out = prepared_fit(label, list, fit_options);
  describe(panel, "particle-filter", out);
  out.theorem = "maximum likelihood of the model with Euler substeps at fixed dt, n -> infinity; errors by the outer product of the scores";
  const Evaluate evaluate = [&](const Vector& at, std::uint64_t seed) {
    ParticleFilterOptions own_options = options;
    own_options.seed = seed;
    return particle(panel, dynamics_of(start.with_parameters(at.head(at.size() - 1))), at[at.size() - 1], own_options, true);
  };
  double variance = 0;
  const Evaluate watched = [&](const Vector& at, std::uint64_t seed) {
    LikelihoodValue value = evaluate(at, seed);
    variance = value.variance;
    return value;
  };
  out = fit(watched, list, with_noise(start.parameters(), noise), options.seed, options.replicates, fit_options, out);
  if (out.monte_carlo_errors.size() > 0) {
    const double worst = (out.monte_carlo_errors.array() / out.standard_errors().array().max(1e-300)).maxCoeff();
    if (worst > 0.5) out.warnings.push_back(fmt::format("the estimates' Monte-Carlo errors reach {:.2g} standard errors: use more particles", worst));
  }
  const double single = variance * options.replicates;
  if (single > 1) out.warnings.push_back(fmt::format("the simulated log-likelihood is about {:.2g} too low and known to {:.2g} (one standard deviation): use more particles", 0.5 * single, std::sqrt(variance)));
  return out;
}

}  // namespace

void ParticleFilterOptions::validate() const {
  check_at_least("particle_filter", "particles", particles, 16);
  check_at_least("particle_filter", "substeps", substeps, 1);
  check_at_least("particle_filter", "replicates", replicates, 2);
  check_at_least("particle_filter", "lag", lag, 1);
  check_at_least("particle_filter", "threads", threads, 1);
}

LikelihoodValue particle_log_likelihood(const Panel& panel, const Model& model, double noise, const ParticleFilterOptions& options, bool with_scores) {
  return particle(panel, dynamics_of(model), noise, options, with_scores);
}

LikelihoodValue particle_log_likelihood(const Panel& panel, const Diffusion& diffusion, double noise, const ParticleFilterOptions& options, bool with_scores) {
  return particle(panel, dynamics_of(diffusion), noise, options, with_scores);
}

Fit fit_particle_filter(const Panel& panel, const Model& start, double noise, const ParticleFilterOptions& options, const FitOptions& fit_options) {
  return fit_any(panel, start, start.parameter_list(), start.potential().describe(), noise, options, fit_options);
}

Fit fit_particle_filter(const Panel& panel, const Diffusion& start, double noise, const ParticleFilterOptions& options, const FitOptions& fit_options) {
  return fit_any(panel, start, start.parameter_list(), start.family().describe(), noise, options, fit_options);
}

}  // namespace jko::estimators
