#include <jko/estimators/sampler.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>

#include <Eigen/Cholesky>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::estimators {
namespace {

double infinity() { return std::numeric_limits<double>::infinity(); }

/// Value and slope of a log-prior, without its constant.
std::pair<double, double> log_prior(const Prior& p, double x) {
  if (!(x > p.lower && x < p.upper)) return {-infinity(), 0};
  switch (p.kind) {
    case Prior::Kind::flat: return {0, 0};
    case Prior::Kind::normal: {
      const double z = (x - p.location) / p.scale;
      return {-0.5 * z * z, -z / p.scale};
    }
    case Prior::Kind::log_normal: {
      if (x <= 0) return {-infinity(), 0};
      const double z = (std::log(x) - p.location) / p.scale;
      return {-0.5 * z * z - std::log(x), -(z / p.scale + 1) / x};
    }
    case Prior::Kind::gamma:
      if (x <= 0) return {-infinity(), 0};
      return {(p.location - 1) * std::log(x) - x / p.scale, (p.location - 1) / x - 1 / p.scale};
  }
  return {-infinity(), 0};
}

struct Chain {
  Matrix draws;
  Vector log_density;
  double acceptance = 0;
};

Chain run_chain(const LogDensityFunction& density, const Vector& start, const Matrix& scale, const SamplerOptions& options, std::uint64_t index) {
  const Index p = start.size();
  const bool langevin = options.proposal == Proposal::langevin;
  RandomStream random(options.seed, "metropolis", index);
  Matrix root = scale.llt().matrixL();
  Vector z(p);
  // Scattered starts: two deviations of the preconditioner, drawn again where the density is zero there.
  Vector x = start;
  LogDensity at = density(x);
  for (int attempt = 0; attempt < 100; ++attempt) {
    random.fill_normal(z);
    const Vector trial = start + 2 * root * z;
    const LogDensity there = density(trial);
    if (std::isfinite(there.value)) {
      x = trial;
      at = there;
      break;
    }
  }
  // Optimal scalings for many dimensions; the adaptation starts there.
  double log_s = std::log(langevin ? 1.65 / std::pow(static_cast<double>(p), 1.0 / 6) : 2.38 / std::sqrt(static_cast<double>(p)));
  const double target = langevin ? 0.574 : (p == 1 ? 0.44 : 0.25);
  Vector mean = Vector::Zero(p);
  Matrix second = Matrix::Zero(p, p);
  int seen = 0, accepted = 0;
  Chain out{Matrix(p, options.draws), Vector(options.draws), 0};
  const int total = options.warm_up + options.draws;
  const auto drift = [&](const LogDensity& d, double s) { return Vector(0.5 * s * s * (root * (root.transpose() * d.gradient))); };
  for (int step = 0; step < total; ++step) {
    const double s = std::exp(log_s);
    random.fill_normal(z);
    Vector trial = x + s * root * z;
    if (langevin) trial += drift(at, s);
    const LogDensity next = density(trial);
    double log_ratio = next.value - at.value;
    if (langevin && std::isfinite(next.value)) {
      const Vector back = root.triangularView<Eigen::Lower>().solve(x - trial - drift(next, s)) / s;
      log_ratio += 0.5 * (z.squaredNorm() - back.squaredNorm());
    }
    // The draw is made in any case, so that the stream does not depend on the outcome.
    const double u = random.uniform();
    const bool accept = std::isfinite(next.value) && std::log(u) < log_ratio;
    if (accept) {
      x = trial;
      at = next;
    }
    if (step < options.warm_up) {
      const double probability = std::isfinite(next.value) ? std::min(1.0, std::exp(log_ratio)) : 0.0;
      log_s += (probability - target) / std::pow(step + 1.0, 0.6);
      // The second quarter of the warm-up gives C, the second half adapts s to it.
      if (step >= options.warm_up / 4 && step < options.warm_up / 2) {
        ++seen;
        const Vector gap = x - mean;
        mean += gap / seen;
        second += gap * (x - mean).transpose();
      }
      if (step + 1 == options.warm_up / 2 && seen > 10 * p) {
        const Matrix covariance = second / (seen - 1);
        const Eigen::LLT<Matrix> factor(0.5 * (covariance + covariance.transpose()));
        if (factor.info() == Eigen::Success) root = factor.matrixL();
      }
      continue;
    }
    const Index k = step - options.warm_up;
    accepted += accept ? 1 : 0;
    out.draws.col(k) = x;
    out.log_density[k] = at.value;
  }
  out.acceptance = static_cast<double>(accepted) / options.draws;
  return out;
}

}  // namespace

LogDensityFunction posterior(const std::vector<Prior>& priors, LogDensityFunction log_likelihood) {
  for (const Prior& p : priors) {
    if (p.kind != Prior::Kind::flat) check_positive("posterior", "scale of a prior", p.scale);
    if (p.kind == Prior::Kind::gamma) check_positive("posterior", "shape of a gamma prior", p.location);
    check_finite("posterior", "location of a prior", p.location);
    if (!(p.lower < p.upper)) throw DomainError(fmt::format("posterior: a prior's support is [{}, {}], which is empty", p.lower, p.upper));
  }
  return [priors, likelihood = std::move(log_likelihood)](const Vector& x) {
    check_size("posterior", "the parameters", x.size(), static_cast<Index>(priors.size()));
    LogDensity out{0, Vector::Zero(x.size())};
    for (Index i = 0; i < x.size(); ++i) {
      const auto [value, slope] = log_prior(priors[static_cast<std::size_t>(i)], x[i]);
      out.value += value;
      out.gradient[i] = slope;
    }
    if (!std::isfinite(out.value)) return LogDensity{-infinity(), Vector::Zero(x.size())};
    const LogDensity data = likelihood(x);
    out.value = std::isfinite(data.value) ? out.value + data.value : -infinity();
    out.gradient += data.gradient;
    return out;
  };
}

Mixing mixing(const ConstMatrixRef& chains) {
  check_at_least("mixing", "draws a chain", chains.rows(), 4);
  check_at_least("mixing", "number of chains", chains.cols(), 1);
  const Index half = chains.rows() / 2, m = 2 * chains.cols();
  Matrix split(half, m);
  for (Index c = 0; c < chains.cols(); ++c) {
    split.col(2 * c) = chains.col(c).head(half);
    split.col(2 * c + 1) = chains.col(c).tail(half);
  }
  const auto n = static_cast<double>(half), count = static_cast<double>(m);
  const Vector mean = split.colwise().mean().transpose();
  Vector variance(m);
  for (Index c = 0; c < m; ++c) variance[c] = (split.col(c).array() - mean[c]).square().sum() / (n - 1);
  const double within = variance.mean(), between = n * (mean.array() - mean.mean()).square().sum() / (count - 1);
  Mixing out;
  if (!(within > 0)) return {0, std::numeric_limits<double>::infinity()};  // chains that never moved
  const double total = (n - 1) / n * within + between / n;
  out.split_rhat = std::sqrt(total / within);
  // rho_t = 1 - (within - mean autocovariance)/total; sums of neighbouring pairs are positive in theory, and made to decrease.
  const auto correlation = [&](Index lag) {
    double covariance = 0;
    for (Index c = 0; c < m; ++c) {
      const auto centred = split.col(c).array() - mean[c];
      covariance += (centred.head(half - lag) * centred.tail(half - lag)).sum() / (n * count);
    }
    return 1 - (within - covariance) / total;
  };
  double sum = 0, last = std::numeric_limits<double>::infinity();
  for (Index lag = 0; lag + 1 < half; lag += 2) {
    double pair = (lag == 0 ? 1.0 : correlation(lag)) + correlation(lag + 1);
    if (!(pair > 0)) break;
    pair = std::min(pair, last);
    last = pair;
    sum += pair;
  }
  // Antithetic chains may be better than independent ones, by no more than log10 of their number.
  const double time = std::max(2 * sum - 1, 1 / std::log10(n * count));
  out.effective_size = n * count / time;
  return out;
}

Vector Posterior::quantile(double probability) const {
  check_in("posterior", "probability", probability, 0, 1);
  Vector out(mean.size());
  for (Index i = 0; i < out.size(); ++i) {
    std::vector<double> all;
    for (const Matrix& c : chains) all.insert(all.end(), c.row(i).begin(), c.row(i).end());
    std::sort(all.begin(), all.end());
    const double rank = probability * static_cast<double>(all.size() - 1);
    const auto below = static_cast<std::size_t>(rank), above = std::min(below + 1, all.size() - 1);
    out[i] = all[below] + (rank - static_cast<double>(below)) * (all[above] - all[below]);
  }
  return out;
}

Vector Posterior::monte_carlo_error() const { return deviation.array() / effective_size.array().sqrt(); }

Posterior sample(const LogDensityFunction& log_density, const ConstVectorRef& start, const ConstMatrixRef& scale, const SamplerOptions& options) {
  check_at_least("sample", "chains", options.chains, 2);
  check_at_least("sample", "warm_up", options.warm_up, 0);
  check_at_least("sample", "draws", options.draws, 4);
  const Index p = start.size();
  check_size("sample", "the scale's rows", scale.rows(), p);
  check_covariance("sample", "the scale", scale);
  if (!std::isfinite(log_density(start).value)) throw DomainError("sample: the density is zero or not finite at the start");
  std::vector<Chain> chains(static_cast<std::size_t>(options.chains));
  Posterior out;
  const int round = options.threads;
  for (int done = 0; done < options.chains; done += round) {
    if (options.observer && options.observer->stop_requested()) {
      out.cancelled = true;
      return out;
    }
    const int now = std::min(round, options.chains - done);
    parallel_for(now, options.threads, [&](Index i) {
      const auto c = static_cast<std::size_t>(done + i);
      chains[c] = run_chain(log_density, start, scale, options, c);
    });
    if (options.observer) options.observer->progress("chains", done + now, options.chains);
  }
  out.acceptance.resize(options.chains);
  for (std::size_t c = 0; c < chains.size(); ++c) {
    out.acceptance[static_cast<Index>(c)] = chains[c].acceptance;
    out.chains.push_back(std::move(chains[c].draws));
    out.log_density.push_back(std::move(chains[c].log_density));
  }
  const double total = static_cast<double>(options.chains) * options.draws;
  out.mean = Vector::Zero(p);
  for (const Matrix& c : out.chains) out.mean += c.rowwise().sum() / total;
  out.covariance = Matrix::Zero(p, p);
  for (const Matrix& c : out.chains) {
    const Matrix centred = c.colwise() - out.mean;
    out.covariance += centred * centred.transpose() / (total - 1);
  }
  out.deviation = out.covariance.diagonal().cwiseSqrt();
  out.effective_size.resize(p);
  out.split_rhat.resize(p);
  for (Index i = 0; i < p; ++i) {
    Matrix columns(options.draws, options.chains);
    for (Index c = 0; c < columns.cols(); ++c) columns.col(c) = out.chains[static_cast<std::size_t>(c)].row(i).transpose();
    const Mixing m = mixing(columns);
    out.effective_size[i] = m.effective_size;
    out.split_rhat[i] = m.split_rhat;
  }
  return out;
}

}  // namespace jko::estimators
