#include "dual_ascent.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <utility>

namespace jko {

WeightedMetric::WeightedMetric(std::shared_ptr<const Grid> grid, int threads) : grid_(std::move(grid)), threads_(threads) {
  for (int a = 0; a < grid_->dimension(); ++a) solvers_.emplace_back(*grid_, a);
  up_ = down_ = Vector::Zero(grid_->size());
}

void WeightedMetric::set(const Vector& weights, Vector diagonal) {
  diagonal_ = std::move(diagonal);
  whole_diagonal_ = diagonal_;
  Index stride = 1;
  const Vector inverse = diagonal_.cwiseInverse();
  for (int a = 0; a < grid_->dimension(); ++a) {
    // (D + L) v = r with z = D v is (I + L D^{-1}) z = r, whose columns sum to one: what LineSolver solves.
    const Index n = grid_->cells[static_cast<std::size_t>(a)], inner = stride, last = weights.size() - stride;
    const double scale = 0.5 / (grid_->width(a) * grid_->width(a));
    for (Index i = 0; i < last; ++i) {
      const double m = scale * (weights[i] + weights[i + inner]);
      up_[i] = m * inverse[i + inner];
      down_[i] = m * inverse[i];
    }
    for (Index i = 0; i < last; ++i) {
      if (n > 1 && i / inner % n + 1 < n) {
        const double m = scale * (weights[i] + weights[i + inner]);
        whole_diagonal_[i] += m;
        whole_diagonal_[i + inner] += m;
      }
    }
    // Entries that join the end of a line to another are not read.
    solvers_[static_cast<std::size_t>(a)].factor(up_.data(), down_.data(), a + 1 < grid_->dimension() ? 0.5 : 1.0, false, threads_);
    stride *= n;
  }
}

void WeightedMetric::apply(Vector& r) const {
  const int d = grid_->dimension();
  const Vector local = 0.1 * r.cwiseQuotient(whole_diagonal_);  // see the header
  for (int a = 0; a < d; ++a) solvers_[static_cast<std::size_t>(a)].solve(r.data(), threads_);
  for (int a = d - 2; a >= 0; --a) solvers_[static_cast<std::size_t>(a)].solve(r.data(), threads_);
  r = r.cwiseQuotient(diagonal_) + local;
}

DualAscentResult dual_ascent(TransportDual& dual, Vector& phi, const DualAscentOptions& options) {
  constexpr std::size_t memory = 6;
  struct Pair {
    Vector s, y;
    double inverse;  // 1/(s.y)
  };
  std::deque<Pair> pairs;
  DualAscentResult out;
  Vector gradient, direction, next, next_gradient;
  out.value = dual.evaluate(phi, gradient);
  out.evaluations = 1;
  for (;;) {
    out.residual = gradient.cwiseAbs().sum();
    if (!std::isfinite(out.value) || !std::isfinite(out.residual)) {
      out.status = Status::not_finite;
      return out;
    }
    if (out.residual <= options.tolerance) {
      out.status = Status::converged;
      return out;
    }
    if (out.iterations >= options.max_iterations) {
      out.status = Status::iteration_limit;
      return out;
    }
    ++out.iterations;
    direction = gradient;
    std::vector<double> alpha(pairs.size());
    for (std::size_t i = pairs.size(); i-- > 0;) {
      alpha[i] = pairs[i].inverse * pairs[i].s.dot(direction);
      direction -= alpha[i] * pairs[i].y;
    }
    dual.metric(direction);
    for (std::size_t i = 0; i < pairs.size(); ++i) direction += (alpha[i] - pairs[i].inverse * pairs[i].y.dot(direction)) * pairs[i].s;
    double slope = gradient.dot(direction);
    if (!(slope > 0)) {  // rounding in the pairs
      pairs.clear();
      direction = gradient;
      dual.metric(direction);
      slope = gradient.dot(direction);
    }
    bool taken = false;
    // Halving: 2^-40 of a step that is right to a factor is below rounding.
    double t = 1;
    for (int k = 0; k < 40 && !taken; ++k, t *= 0.5) {
      next = phi + t * direction;
      const double value = dual.evaluate(next, next_gradient);
      ++out.evaluations;
      if (!std::isfinite(value)) continue;
      const double rounding = 1e-13 * (std::abs(value) + std::abs(out.value));
      const double end_slope = next_gradient.dot(direction);
      taken = value >= out.value + 1e-4 * t * slope || (value >= out.value - rounding && std::abs(end_slope) <= 0.9 * slope);
      if (taken) {
        out.value = value;
        Pair pair{t * direction, gradient - next_gradient, 0};
        const double sy = pair.s.dot(pair.y);
        if (sy > std::numeric_limits<double>::epsilon() * std::sqrt(pair.s.squaredNorm() * pair.y.squaredNorm())) {
          pair.inverse = 1 / sy;
          if (pairs.size() == memory) pairs.pop_front();
          pairs.push_back(std::move(pair));
        }
        phi.swap(next);
        gradient.swap(next_gradient);
      }
    }
    if (!taken) {
      // The point kept is evaluated again, so that the caller's state belongs to it.
      out.value = dual.evaluate(phi, gradient);
      ++out.evaluations;
      out.residual = gradient.cwiseAbs().sum();
      out.status = Status::stalled;
      return out;
    }
  }
}

}  // namespace jko
