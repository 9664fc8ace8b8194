// Simulated densities: Euler paths between two observations, plain or drawn towards the second one, with pathwise derivatives.
#include "simulated_terms.hpp"

#include <jko/core/check.hpp>
#include <jko/core/error.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

using Coefficient = DiffusionFamily::Coefficient;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// Paths side by side, with their derivatives in theta.
struct Paths {
  Vector z, log_weight;
  Matrix d_z, d_log_weight;  // P x paths
};

}  // namespace

void SimulatedOptions::validate() const {
  check_at_least("simulated_log_likelihood", "substeps", substeps, 2);
  check_at_least("simulated_log_likelihood", "paths", paths, 4);
  if (paths % 2 != 0) throw DomainError("simulated_log_likelihood: paths must be even: half of them are mirrored");
  check_at_least("simulated_log_likelihood", "threads", threads, 1);
}

Terms simulated_terms(const Transitions& data, const Diffusion& diffusion, const SimulatedOptions& options) {
  const DiffusionFamily& family = diffusion.family();
  const DiffusionFamily::Interval space = family.state_space();
  const Vector& theta = diffusion.parameters();
  const Index count = theta.size(), n = data.size(), k = options.paths, pairs = k / 2, m = options.substeps;
  const bool bridge = options.importance == Importance::modified_bridge;
  Terms out(count, n);
  out.variance = Vector(n);
  const Index block = std::max<Index>(1, 512 / k), blocks = (n + block - 1) / block;
  std::vector<Matrix> score_variance(static_cast<std::size_t>(blocks), Matrix::Zero(count, count));
  parallel_for(blocks, options.threads, [&](Index which) {
    const Index first = which * block, size = std::min(block, n - first), total = size * k;
    Matrix normal(m - 1, total);
    for (Index i = 0; i < size; ++i) {
      RandomStream random(options.seed, "simulated likelihood", static_cast<std::uint64_t>(first + i));
      for (Index j = 0; j < pairs; ++j) {
        for (Index s = 0; s + 1 < m; ++s) {
          normal(s, i * k + j) = random.normal();
          normal(s, i * k + pairs + j) = -normal(s, i * k + j);
        }
      }
    }
    Paths at{Vector(total), Vector::Zero(total), Matrix::Zero(count, total), Matrix::Zero(count, total)};
    for (Index i = 0; i < size; ++i) at.z.segment(i * k, k).setConstant(data.from[first + i]);
    const double inside = data.from[first];  // where dead paths wait
    for (Index s = 0; s < m; ++s) {
      const Matrix points = at.z.transpose();
      const auto evaluate = [&](Coefficient c, int x, int t) { return family.evaluate(c, {x, t}, points, theta); };
      const Matrix b = evaluate(Coefficient::drift, 0, 0), b1 = evaluate(Coefficient::drift, 1, 0), db = evaluate(Coefficient::drift, 0, 1);
      const Matrix sigma = evaluate(Coefficient::diffusion, 0, 0), sigma1 = evaluate(Coefficient::diffusion, 1, 0), dsigma = evaluate(Coefficient::diffusion, 0, 1);
      for (Index q = 0; q < total; ++q) {
        if (at.log_weight[q] == -infinity) continue;
        const Index t = first + q / k;
        const double h = data.dt[t] / static_cast<double>(m), z = at.z[q], v = sigma(0, q);
        const auto left = static_cast<double>(m - s);
        const bool last = s + 1 == m;
        const double xi = last ? 0 : normal(s, q), width = last ? 0 : std::sqrt(bridge ? h * (left - 1) / left : h);
        const double next = last ? data.next[t] : (bridge ? z + (data.next[t] - z) / left : z + b(0, q) * h) + v * width * xi;
        if (!(v > 0) || !std::isfinite(next) || !(next > space.lower && next < space.upper)) {
          at.log_weight[q] = -infinity;
          at.z[q] = inside;
          continue;
        }
        const double residual = next - z - b(0, q) * h, u = residual / (v * v * h);
        if (last) at.log_weight[q] -= 0.5 * (residual * u + std::log(2 * std::numbers::pi * h)) + std::log(v);
        else if (bridge) at.log_weight[q] += 0.5 * (xi * xi - residual * u + std::log((left - 1) / left));
        for (Index j = 0; j < count; ++j) {
          const double dz = at.d_z(j, q), d_drift = db(j, q) + b1(0, q) * dz, d_sigma = dsigma(j, q) + sigma1(0, q) * dz;
          const double d_next = last ? 0 : (bridge ? dz - dz / left : dz + h * d_drift) + width * xi * d_sigma;
          const double d_density = -u * (d_next - dz - h * d_drift) + residual * u / v * d_sigma;
          if (last) at.d_log_weight(j, q) += d_density - d_sigma / v;
          else if (bridge) at.d_log_weight(j, q) += d_density;
          at.d_z(j, q) = d_next;
        }
        at.z[q] = last ? z : next;
      }
    }
    // The mean weight, its relative variance over the pairs, and that of the score, a ratio of means.
    for (Index i = 0; i < size; ++i) {
      const auto weights = at.log_weight.segment(i * k, k);
      const double top = weights.maxCoeff();
      const Index t = first + i;
      if (!std::isfinite(top)) {
        out.log_density[t] = -infinity;
        out.scores.col(t).setZero();
        out.variance[t] = 0;
        continue;
      }
      const Vector w = (weights.array() - top).exp();
      const double mean = w.mean();
      const auto d = at.d_log_weight.middleCols(i * k, k);
      const Vector score = d * w / (mean * static_cast<double>(k));
      out.log_density[t] = top + std::log(mean);
      out.scores.col(t) = score;
      const double scale = 1 / (static_cast<double>(pairs) * static_cast<double>(pairs - 1) * mean * mean);
      double spread = 0;
      for (Index j = 0; j < pairs; ++j) {
        const double pair = 0.5 * (w[j] + w[j + pairs]);
        spread += (pair - mean) * (pair - mean);
        const Vector g = 0.5 * (w[j] * (d.col(j) - score) + w[j + pairs] * (d.col(j + pairs) - score));
        score_variance[static_cast<std::size_t>(which)] += scale * g * g.transpose();
      }
      out.variance[t] = scale * spread;
    }
  });
  out.score_variance = Matrix::Zero(count, count);
  for (const Matrix& part : score_variance) out.score_variance += part;
  return out;
}

}  // namespace jko::estimators
