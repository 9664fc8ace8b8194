#include <jko/analysis/step_inequalities.hpp>

#include <jko/core/check.hpp>

#include "measure_access.hpp"
#include "worst.hpp"

#include <algorithm>
#include <cmath>

namespace jko::analysis {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

/// The two sides' ingredients of the Euler-Lagrange estimate for one test function.
struct EulerLagrange {
  double value = 0;      ///< inside the absolute value
  double hessian = 0;    ///< sup|Hess zeta|
  double tolerance = 0;
};

EulerLagrange euler_lagrange_terms(const FreeEnergy& energy, const Gaussian& from, const Gaussian& to, double h, const Vector& a, double b, double residual, double) {
  const auto quadratic = energy.potential()->potential->quadratic(energy.potential()->theta);
  const auto damping = [&](const Gaussian& g) { return std::exp(-0.5 * a.dot(g.covariance() * a)); };
  const auto cosine = [&](const Gaussian& g) { return damping(g) * std::cos(a.dot(g.mean()) + b); };
  const double sine = damping(to) * std::sin(a.dot(to.mean()) + b);
  // E grad Psi . grad zeta = -a' K (m - mu) E sin - a' K Sigma a E cos, by E[(x - m) sin] = Sigma a E cos (Stein).
  const Vector ka = quadratic->curvature * a;
  const double drift = -ka.dot(to.mean() - quadratic->centre) * sine - ka.dot(to.covariance() * a) * cosine(to);
  const double laplacian = -a.squaredNorm() * cosine(to);
  EulerLagrange out;
  out.value = (cosine(to) - cosine(from)) / h + drift - laplacian / energy.entropy()->beta;
  out.hessian = a.squaredNorm();
  const double size = 2 / h + std::abs(ka.dot(to.mean() - quadratic->centre)) + std::abs(ka.dot(to.covariance() * a)) + a.squaredNorm() / energy.entropy()->beta;
  const double phase = 1 + std::abs(a.dot(to.mean())) + std::abs(b) + a.dot(to.covariance() * a);  // the arguments of cos and exp carry that many roundings
  out.tolerance = residual * a.norm() + 8 * epsilon * size * phase;
  return out;
}

EulerLagrange euler_lagrange_terms(const FreeEnergy& energy, const QuantileFunction& from, const QuantileFunction& to, double h, const Vector& a, double b, double residual, double moved) {
  const double k = a[0];
  const Index n = to.cells();
  const Vector& w = to.masses();
  const Vector gradient = wasserstein_gradient(energy, to);
  const auto integral = [&](const QuantileFunction& q) {  // of zeta: exact in every cell, by the mean value form of a difference of sines
    double sum = 0;
    for (Index i = 0; i < n; ++i) {
      const double half = 0.5 * k * (q.nodes()[i + 1] - q.nodes()[i]);
      sum += w[i] * std::cos(0.5 * k * (q.nodes()[i + 1] + q.nodes()[i]) + b) * (half == 0 ? 1 : std::sin(half) / half);
    }
    return sum;
  };
  const Vector phi = to.nodes().unaryExpr([&](double x) { return -k * std::sin(k * x + b); });
  double pairing = 0, norm = 0, fourth = 0, size = 0;
  for (Index i = 0; i < n; ++i) {  // phi' M gradient
    pairing += w[i] * (2 * phi[i] * gradient[i] + phi[i] * gradient[i + 1] + phi[i + 1] * gradient[i] + 2 * phi[i + 1] * gradient[i + 1]) / 6;
    size += w[i] * std::abs(k) * (std::abs(gradient[i]) + std::abs(gradient[i + 1]));
    norm += w[i] * (phi[i] * phi[i] + phi[i] * phi[i + 1] + phi[i + 1] * phi[i + 1]) / 3;
    fourth += w[i] * std::pow(to.nodes()[i + 1] - to.nodes()[i], 4);
  }
  EulerLagrange out;
  out.value = (integral(to) - integral(from)) / h + pairing;
  out.hessian = k * k;
  out.tolerance = residual * std::sqrt(norm) + moved / h * std::abs(k * k * k) * std::sqrt(fourth) / 8 + static_cast<double>(n + 16) * epsilon * (2 / h + size);
  return out;
}

EulerLagrange euler_lagrange_terms(const ParticleStep& step, const Particles& from, const Particles& to, double h, const Vector& a, double b, double residual, double) {
  const Matrix gradient = step.particle_energy().slope(to).gradient;
  const Vector& w = to.weights();
  double value = 0, norm = 0, size = 0;
  for (Index i = 0; i < to.size(); ++i) {  // the second integral as sum w grad zeta . (1/w) dF/dx
    const double angle = a.dot(to.points().col(i)) + b, before = a.dot(from.points().col(i)) + b, sine = -std::sin(angle);
    value += w[i] * (2 * std::sin(0.5 * (before + angle)) * std::sin(0.5 * (before - angle)) / h + sine * a.dot(gradient.col(i)));  // a difference of cosines
    norm += w[i] * sine * sine * a.squaredNorm();
    size += w[i] * ((2 + std::abs(angle)) / h + a.norm() * gradient.col(i).norm());
  }
  return {value, a.squaredNorm(), residual * std::sqrt(norm) + static_cast<double>(to.size() + 16) * epsilon * size};
}
template <class Step>
EulerLagrange euler_lagrange_terms(const Step& step, const typename Step::Measure& from, const typename Step::Measure& to, double h, const Vector& a, double b, double residual, double moved) {
  return euler_lagrange_terms(step.energy(), from, to, h, a, b, residual, moved);
}

double spread(const Gaussian&, const Gaussian&, double, double from_nu, double moved) { return from_nu + moved; }
double spread(const QuantileFunction&, const QuantileFunction&, double to_nu, double, double) { return to_nu; }
double spread(const Particles&, const Particles&, double to_nu, double, double) { return to_nu; }

}  // namespace

Check evolution_variational_inequality(const std::optional<Convexity>& convexity, double h, const std::vector<EviInstance>& instances, const std::string& prefix, const std::string& errors) {
  const std::string id = prefix + "-evi", source = "AGS2008, theory.md b1";
  const std::string claim = "[(1 + kappa h) W2^2(rho', nu) + W2^2(rho, rho')]/(2h) <= F(nu) - F(rho') + W2^2(rho, nu)/(2h) for every nu";
  check_positive("evolution_variational_inequality", "step size h", h);
  if (instances.empty()) throw DomainError("evolution_variational_inequality: it needs at least one instance");
  if (!convexity) return inconclusive(id, claim, source, "no convexity constant of the energy is known");
  const double kappa = convexity->kappa, q = 1 + kappa * h;
  if (!(q > 0)) return inconclusive(id, claim, source, fmt::format("1 + kappa h = {:.3g} is not positive", q));
  Worst worst;
  std::size_t index = 0;
  for (const EviInstance& i : instances) {
    const auto square = [&](double distance) { return (2 * distance + i.distance_error) * i.distance_error; };
    worst.add((q * i.to_nu * i.to_nu + i.moved * i.moved) / (2 * h), i.energy_nu - i.energy + i.from_nu * i.from_nu / (2 * h),
              i.solver + i.energy_error + (q * square(i.to_nu) + square(i.moved) + square(i.from_nu)) / (2 * h), ++index);
  }
  return worst.check(id, claim, source, fmt::format("{}; kappa = {:.4g} ({}{})", errors, kappa, convexity->proven ? "" : "found numerically, not proven: ", convexity->reason));
}

template <class Step>
Check evolution_variational_inequality(Step step, const std::vector<typename Step::Measure>& from, double h, const std::vector<typename Step::Measure>& nu,
                                       const std::string& prefix) {
  check_positive("evolution_variational_inequality", "step size h", h);
  if (from.empty() || nu.empty()) throw DomainError("evolution_variational_inequality: it needs at least one start and one nu");
  std::vector<EviInstance> instances;
  const auto convexity = convexity_of(step);
  for (const auto& rho : from) {
    const auto result = step.advance(rho, h);
    const auto& after = result.measure;
    if (!is_success(result.status) && result.status != Status::stalled) {
      Check check = evolution_variational_inequality(convexity, h, {EviInstance{}}, prefix, "");
      return inconclusive(check.id, check.claim, check.source, check.reason.empty() || convexity ? std::string(describe(result.status)) : check.reason);
    }
    const double residual = error_of(step, rho, after, h), moved = distance_between(rho, after), value = step.energy_value(after).total;
    const Rounding r = rounding_at(step, after);
    for (const auto& target : nu) {
      const double to_nu = distance_between(after, target), from_nu = distance_between(rho, target);
      const Rounding rn = rounding_at(step, target);
      instances.push_back({value, step.energy_value(target).total, moved, from_nu, to_nu, residual * spread(after, target, to_nu, from_nu, moved), r.energy + rn.energy, r.distance + rn.distance});
    }
  }
  return evolution_variational_inequality(convexity, h, instances, prefix, "residual times |T_rho^nu - T_rho^rho'| + rounding");
}

template <class Step>
Check euler_lagrange(Step step, const std::vector<typename Step::Measure>& from, double h, const ConstMatrixRef& functions, const std::string& prefix) {
  const std::string id = prefix + "-euler-lagrange", source = "JKO1998, theory.md a3";
  const std::string claim = "|int zeta (rho' - rho)/h + int (grad Psi . grad zeta - Lap zeta/beta) rho'| <= sup|Hess zeta| W2^2(rho, rho')/(2h), zeta = cos(a . x + b)";
  check_positive("euler_lagrange", "step size h", h);
  if (from.empty() || functions.cols() == 0) throw DomainError("euler_lagrange: it needs at least one start and one test function");
  check_size("euler_lagrange", "the rows of the test functions (a, b)", functions.rows(), from.front().dimension() + 1);
  Worst worst;
  std::size_t instance = 0;
  for (const auto& rho : from) {
    const auto result = step.advance(rho, h);
    if (!is_success(result.status) && result.status != Status::stalled) return inconclusive(id, claim, source, std::string(describe(result.status)));
    const double residual = error_of(step, rho, result.measure, h), moved = distance_between(rho, result.measure);
    const Rounding r = rounding_at(step, result.measure);
    for (Index j = 0; j < functions.cols(); ++j) {
      const Vector a = functions.col(j).head(functions.rows() - 1);
      const auto terms = euler_lagrange_terms(step, rho, result.measure, h, a, functions(functions.rows() - 1, j), residual, moved);
      worst.add(std::abs(terms.value), terms.hessian * moved * moved / (2 * h), terms.tolerance + terms.hessian * moved * r.distance / h + r.slope * a.norm(), ++instance);
    }
  }
  return worst.check(id, claim, source, "residual times |grad zeta|, for quantile functions the interpolation error (W2/h) sup|zeta'''| sqrt(sum w dx^4)/8, and rounding");
}

template Check evolution_variational_inequality<GaussianStep>(GaussianStep, const std::vector<Gaussian>&, double, const std::vector<Gaussian>&, const std::string&);
template Check evolution_variational_inequality<QuantileStep>(QuantileStep, const std::vector<QuantileFunction>&, double, const std::vector<QuantileFunction>&, const std::string&);
template Check evolution_variational_inequality<ParticleStep>(ParticleStep, const std::vector<Particles>&, double, const std::vector<Particles>&, const std::string&);
template Check euler_lagrange<GaussianStep>(GaussianStep, const std::vector<Gaussian>&, double, const ConstMatrixRef&, const std::string&);
template Check euler_lagrange<ParticleStep>(ParticleStep, const std::vector<Particles>&, double, const ConstMatrixRef&, const std::string&);
template Check euler_lagrange<QuantileStep>(QuantileStep, const std::vector<QuantileFunction>&, double, const ConstMatrixRef&, const std::string&);

}  // namespace jko::analysis
