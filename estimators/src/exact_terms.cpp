// Transition laws in closed form: Ornstein-Uhlenbeck (Vasicek), geometric Brownian motion, square root (CIR), Jacobi.
#include "diffusion_terms.hpp"
#include "dual.hpp"
#include "log_bessel.hpp"
#include "phi_functions.hpp"

#include <jko/core/error.hpp>

#include <boost/math/special_functions/digamma.hpp>
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

using Three = Dual<3>;
constexpr double infinity = std::numeric_limits<double>::infinity();

Three normal_log_density(const Three& residual, const Three& variance) { return -0.5 * (residual * residual / variance + log(variance) + std::log(2 * std::numbers::pi)); }

Three lgamma_of(const Three& a) { return a.chain(std::lgamma(a.v), boost::math::digamma(a.v)); }

struct Vasicek {
  Three kappa, mu, sigma;
  double dt = -1;
  Three decay, variance;
  Three operator()(double x, double next, double step) {
    if (step != dt) {
      dt = step;
      decay = exp(-kappa * dt);
      const Three z = -2.0 * kappa * dt;
      const Phi f = phi(z.v);
      variance = sigma * sigma * dt * z.chain(f.one, f.one - f.two);
    }
    return normal_log_density(next - mu - (x - mu) * decay, variance);
  }
};

/// c = 2 kappa/(sigma^2 (1 - e^{-kappa D})), u = c x e^{-kappa D}, v = c x', q = 2 kappa mu/sigma^2 - 1: p = c e^{-u-v} (v/u)^{q/2} I_q(2 sqrt(uv)).
struct SquareRoot {
  Three kappa, mu, sigma;
  double dt = -1;
  Three c, log_c, decay, q;
  Three operator()(double x, double next, double step) {
    if (step != dt) {
      dt = step;
      decay = exp(-kappa * dt);
      const Phi f = phi(-kappa.v * dt);
      // 2 kappa/(1 - e^{-kappa D}) = 2/(D phi_1(-kappa D)): kappa = 0 is admitted.
      c = 2.0 / (sigma * sigma * dt * (-kappa * dt).chain(f.one, f.one - f.two));
      log_c = log(c);
      q = 2.0 * kappa * mu / (sigma * sigma) - 1;
    }
    if (!(q.v > -1)) return -infinity;
    const Three u = c * x * decay, v = c * next, z = 2.0 * sqrt(u * v);
    const LogBessel bessel = log_bessel_i(q.v, z.v);
    Three value(bessel.value);
    for (std::size_t i = 0; i < 3; ++i) value.d[i] = bessel.by_order * q.d[i] + bessel.by_argument * z.d[i];
    return log_c - u - v + 0.5 * q * (kappa * dt + std::log(next / x)) + value;
  }
};

/// p(x'|x) = w(x') sum_n e^{-lambda_n D} P_n(x) P_n(x')/h_n, lambda_n = kappa n + sigma^2 n (n-1)/2, P_n the Jacobi polynomials orthogonal under the stationary
/// Beta(a, b) law w, a = 2 kappa mu/sigma^2, b = 2 kappa (1-mu)/sigma^2; by the three-term recurrence of the orthonormal polynomials.
struct Jacobi {
  Three kappa, mu, sigma;
  Three operator()(double x, double next, double dt) const {
    const Three s2 = sigma * sigma, a = 2.0 * kappa * mu / s2, b = 2.0 * kappa * (1 - mu) / s2;
    if (!(a.v > 0 && b.v > 0)) return -infinity;
    // Orthonormal recurrence x p_n = A_{n+1} p_{n+1} + B_n p_n + A_n p_{n-1} on (0, 1) with the weight x^{a-1} (1-x)^{b-1}.
    const Three al = b - 1, be = a - 1;
    Three before_x, before_y, now_x(1), now_y(1), sum(1), previous_a;
    double largest = 1;
    for (int n = 0; n < 4000; ++n) {
      const Three t = 2.0 * n + al + be;
      const Three centre = n == 0 ? a / (a + b) : 0.5 * (1 + (be * be - al * al) / (t * (t + 2)));
      const double m = n + 1;
      const Three u = 2 * m + al + be;
      const Three squared = n == 0 ? a * b / ((a + b) * (a + b) * (a + b + 1)) : m * (m + al) * (m + be) * (m + al + be) / (u * u * (u + 1) * (u - 1));
      const Three next_a = sqrt(squared);
      const Three up_x = ((x - centre) * now_x - previous_a * before_x) / next_a, up_y = ((next - centre) * now_y - previous_a * before_y) / next_a;
      before_x = now_x, before_y = now_y, now_x = up_x, now_y = up_y, previous_a = next_a;
      const Three lambda = m * kappa + 0.5 * m * (m - 1) * s2;
      const Three term = exp(-lambda * dt) * now_x * now_y;
      sum += term;
      largest = std::max(largest, std::abs(term.v));
      if (lambda.v * dt > 40 && std::abs(term.v) < 1e-17 * largest) break;
    }
    // Cancellation leaves about 1e-15 of the largest term.
    if (!(sum.v > 1e-13 * largest)) return -infinity;
    return log(sum) + (a - 1) * std::log(next) + (b - 1) * std::log1p(-next) + lgamma_of(a + b) - lgamma_of(a) - lgamma_of(b);
  }
};

template <class Kernel>
void run(Kernel kernel, const Transitions& data, Terms& out) {
  for (Index i = 0; i < data.size(); ++i) {
    const Index at = data.start[static_cast<std::size_t>(i)];
    const Three value = kernel(data.x[at], data.x[at + 1], data.dt[i]);
    out.log_density[i] = value.v;
    for (Index j = 0; j < 3; ++j) out.scores(j, i) = value.d[static_cast<std::size_t>(j)];
  }
}

}  // namespace

Terms exact_terms(const Transitions& data, const Diffusion& diffusion) {
  const Vector& theta = diffusion.parameters();
  Terms out(theta.size(), data.size());
  using Law = DiffusionFamily::Law;
  const auto inputs = [&] { return std::array<Three, 3>{Three::input(theta[0], 0), Three::input(theta[1], 1), Three::input(theta[2], 2)}; };
  switch (diffusion.family().law()) {
    case Law::vasicek: {
      const auto [kappa, mu, sigma] = inputs();
      run(Vasicek{kappa, mu, sigma, -1, {}, {}}, data, out);
      return out;
    }
    case Law::square_root: {
      const auto [kappa, mu, sigma] = inputs();
      run(SquareRoot{kappa, mu, sigma, -1, {}, {}, {}, {}}, data, out);
      return out;
    }
    case Law::jacobi: {
      const auto [kappa, mu, sigma] = inputs();
      run(Jacobi{kappa, mu, sigma}, data, out);
      return out;
    }
    case Law::geometric: {
      const double sigma = theta[1];
      for (Index i = 0; i < data.size(); ++i) {
        const Index at = data.start[static_cast<std::size_t>(i)];
        const double dt = data.dt[i], residual = std::log(data.x[at + 1] / data.x[at]) - (theta[0] - 0.5 * sigma * sigma) * dt, z = residual / (sigma * sigma * dt);
        out.log_density[i] = -0.5 * (std::log(2 * std::numbers::pi * sigma * sigma * dt) + residual * z) - std::log(data.x[at + 1]);
        out.scores(0, i) = z * dt;
        out.scores(1, i) = -z * sigma * dt + residual * z / sigma - 1 / sigma;
      }
      return out;
    }
    case Law::none: break;
  }
  throw DomainError(fmt::format("log_likelihood: no exact transition law is known for {}; use fokker-planck", diffusion.family().describe()));
}

}  // namespace jko::estimators
