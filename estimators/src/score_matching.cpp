#include <jko/estimators/score_matching.hpp>

#include <jko/core/check.hpp>
#include <jko/core/random.hpp>

#include "maximise.hpp"

#include <chrono>
#include <cmath>

namespace jko::estimators {

Fit fit_score_matching(const ConstMatrixRef& sample, const Model& start, const ScoreMatchingOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const Index d = sample.rows(), n = sample.cols(), p = start.theta().size();
  check_size("fit_score_matching", "dimension of the sample", d, start.dimension());
  check_at_least("fit_score_matching", "sample size", n, 2);
  check_at_least("fit_score_matching", "slices", options.slices, 0);
  check_finite("fit_score_matching", "the sample", sample);
  // Directions of every point, drawn once: the objective is a fixed function of the parameters. The whole Laplacian is the d unit vectors, each with weight one;
  // a random unit direction has E v v' = I/d, hence weight d/slices.
  const Index directions = options.slices > 0 ? options.slices : d;
  const double weight = options.slices > 0 ? static_cast<double>(d) / static_cast<double>(directions) : 1.0;
  Matrix v(d * directions, n);
  for (Index i = 0; i < n; ++i) {
    if (options.slices == 0) {
      v.col(i) = Matrix(Matrix::Identity(d, d)).reshaped();
      continue;
    }
    RandomStream random(options.seed, "slices", static_cast<std::uint64_t>(i));
    random.fill_normal(v.col(i));
    for (Index k = 0; k < directions; ++k) v.col(i).segment(d * k, d).normalize();
  }
  const Matrix points = sample;
  const Objective objective = [&](const Vector& parameters, bool with_scores) {
    const Model model = start.with_parameters(parameters);
    const Potential& potential = model.potential();
    const double beta = model.beta();
    const Matrix slope = potential.evaluate({1, 0}, points, model.theta()), curvature = potential.evaluate({2, 0}, points, model.theta());
    const Matrix d_slope = potential.evaluate({1, 1}, points, model.theta()), d_curvature = potential.evaluate({2, 1}, points, model.theta());
    LikelihoodValue out;
    out.gradient = Vector::Zero(p + 1);
    out.expected = Matrix::Zero(p + 1, p + 1);
    if (with_scores) out.scores.resize(p + 1, n);
    Vector score(p + 1), along(p + 1);
    for (Index i = 0; i < n; ++i) {
      score.setZero();
      for (Index k = 0; k < directions; ++k) {
        const auto u = v.col(i).segment(d * k, d);
        const double s = u.dot(slope.col(i)), c = u.dot(curvature.col(i).reshaped(d, d) * u);
        out.value -= weight * (0.5 * beta * beta * s * s - beta * c);
        for (Index j = 0; j < p; ++j) {
          const double ds = u.dot(d_slope.col(i).segment(d * j, d)), dc = u.dot(d_curvature.col(i).segment(d * d * j, d * d).reshaped(d, d) * u);
          along[j] = beta * ds;
          score[j] -= weight * (beta * beta * s * ds - beta * dc);
        }
        along[p] = s;
        score[p] -= weight * (beta * s * s - c);
        out.expected += weight * along * along.transpose();
      }
      out.gradient += score;
      if (with_scores) out.scores.col(i) = score;
    }
    if (!std::isfinite(out.value)) out.value = -std::numeric_limits<double>::infinity();
    return out;
  };
  Fit out = prepared_fit(start, options.fit);
  out.estimator = options.slices > 0 ? "sliced score matching" : "score matching";
  out.theorem = "minimum Fisher distance from independent draws of the stationary law, n -> infinity";
  out.n = n;
  minimise_distance(objective, start, options.fit, out);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
