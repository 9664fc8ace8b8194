#include <jko/reference/langevin_sampler.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>

#include <cmath>
#include <vector>

namespace jko {
namespace {

constexpr Index block = 256;  // chains that are evaluated together

struct Point {
  Matrix x, gradient;
  Vector value;
};

Point evaluated(const Model& model, Matrix x) {
  Point p{std::move(x), {}, {}};
  p.gradient = model.potential().evaluate({1, 0}, p.x, model.theta());
  p.value = model.potential().evaluate({0, 0}, p.x, model.theta()).row(0).transpose();
  return p;
}

}  // namespace

void LangevinOptions::validate() const {
  check_positive("langevin_sampler", "step h", step);
  check_at_least("langevin_sampler", "steps", steps, 1);
  check_at_least("langevin_sampler", "threads", threads, 1);
}

LangevinResult langevin_sampler(const Model& model, const Particles& start, const LangevinOptions& o) {
  o.validate();
  check_size("langevin_sampler", "the particles' dimension", start.dimension(), model.dimension());
  const Index d = start.dimension(), n = start.size();
  const double h = o.step, beta = model.beta(), noise = std::sqrt(2 * h / beta);
  const Index blocks = (n + block - 1) / block;
  Matrix end(d, n);
  std::vector<double> accepted(static_cast<std::size_t>(blocks), 0.0);
  parallel_blocks(n, block, o.threads, [&](Index begin, Index last) {
    const Index count = last - begin;
    std::vector<RandomStream> random;
    for (Index i = begin; i < last; ++i) random.emplace_back(o.seed, "langevin", static_cast<std::uint64_t>(i));
    Point now = evaluated(model, start.points().middleCols(begin, count));
    Matrix z(d, count);
    for (int k = 0; k < o.steps; ++k) {
      for (Index i = 0; i < count; ++i) random[static_cast<std::size_t>(i)].fill_normal(z.col(i));
      Point next = evaluated(model, now.x - h * now.gradient + noise * z);
      if (o.method == LangevinMethod::ula) {
        now = std::move(next);
        if (!now.x.allFinite()) break;
        continue;
      }
      for (Index i = 0; i < count; ++i) {
        // log of pi(y) q(y -> x) / (pi(x) q(x -> y)), q(x -> .) = N(x - h grad Psi(x), 2h/beta I).
        const double back = (now.x.col(i) - next.x.col(i) + h * next.gradient.col(i)).squaredNorm();
        const double ratio = beta * (now.value[i] - next.value[i]) - beta / (4 * h) * (back - noise * noise * z.col(i).squaredNorm());
        const double u = random[static_cast<std::size_t>(i)].uniform();
        if (std::log(u) < ratio) {  // false for NaN: a proposal outside the domain is refused
          now.x.col(i) = next.x.col(i);
          now.gradient.col(i) = next.gradient.col(i);
          now.value[i] = next.value[i];
          accepted[static_cast<std::size_t>(begin / block)] += 1;
        }
      }
    }
    end.middleCols(begin, count) = now.x;
  });
  LangevinResult result;
  if (!end.allFinite()) {
    result.status = Status::not_finite;
    result.particles = start;
    return result;
  }
  result.status = Status::converged;
  result.particles = start.with_coordinates(end.reshaped());
  if (o.method == LangevinMethod::mala) {
    double total = 0;
    for (const double a : accepted) total += a;
    result.acceptance = total / (static_cast<double>(n) * o.steps);
  }
  return result;
}

}  // namespace jko
