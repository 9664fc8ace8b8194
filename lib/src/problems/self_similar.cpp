#include <jko/problems/self_similar.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <boost/math/tools/roots.hpp>

#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

namespace jko::problems {
namespace {

using std::numbers::pi;

/// int (1 - |x|^2)^p dx over the unit ball.
double ball_integral(int d, double p) { return std::exp(0.5 * d * std::log(pi) + std::lgamma(p + 1) - std::lgamma(p + 1 + 0.5 * d)); }
/// int (1 + |x|^2)^{-p} dx, p > d/2.
double tail_integral(int d, double p) { return std::exp(0.5 * d * std::log(pi) + std::lgamma(p - 0.5 * d) - std::lgamma(p)); }
double ball_volume(int d) { return ball_integral(d, 0); }

void check_dimension(const char* where, int d) { check_in(where, "dimension", d, 1, 3); }

}  // namespace

double SelfSimilar::density(double radius, double scale) const {
  check_positive(name_, "scale", scale);
  return profile_(radius / scale) / std::pow(scale, dimension_);
}

double SelfSimilar::flow(double scale, double t) const {
  check_positive(name_, "scale", scale);
  check_nonnegative(name_, "time t", t);
  const double a = exponent_ + 1, start = std::pow(scale, a);
  // y = l^a solves y' = a (A - kappa y).
  const double grown = kappa_ == 0 ? t : -std::expm1(-a * kappa_ * t) / (a * kappa_);
  return std::pow(start * std::exp(-a * kappa_ * t) + a * strength_ * grown, 1 / a);
}

double SelfSimilar::jko(double scale, double h) const {
  check_positive(name_, "scale", scale);
  check_positive(name_, "step size h", h);
  const double b = 1 + h * kappa_;
  if (b <= 0) throw DomainError(fmt::format("{}: 1 + h kappa is {}, but must be positive", name_, b));
  // g(l) = b l - m - h A l^{-q}: negative at m/b, and for q > -1 eventually positive; convex for q < 0 and increasing for q >= 0, so the root is unique.
  const auto g = [&](double l) { return b * l - scale - h * strength_ * std::pow(l, -exponent_); };
  double lower = scale / b, upper = 2 * lower;
  while (g(upper) < 0) upper *= 2;
  std::uintmax_t limit = 200;
  const auto root = boost::math::tools::toms748_solve(g, lower, upper, boost::math::tools::eps_tolerance<double>(52), limit);
  return 0.5 * (root.first + root.second);
}

double SelfSimilar::stationary() const {
  if (!(kappa_ > 0)) throw DomainError(fmt::format("{}: kappa is {}, but a stationary state needs it positive", name_, kappa_));
  return std::pow(strength_ / kappa_, 1 / (exponent_ + 1));
}

double SelfSimilar::w2(double scale, double other) const { return std::sqrt(second_moment_) * std::abs(scale - other); }

double SelfSimilar::energy(double scale) const {
  check_positive(name_, "scale", scale);
  // The internal part has derivative -M2 A l^{-q}, as the velocity of a dilation is A l^{-q-1} x.
  const double change = exponent_ == 1 ? -std::log(scale) : (std::pow(scale, 1 - exponent_) - 1) / (exponent_ - 1);
  return internal_at_one_ + second_moment_ * (0.5 * kappa_ * scale * scale + strength_ * change);
}

double SelfSimilar::slope(double scale) const { return std::sqrt(second_moment_) * std::abs(kappa_ * scale - strength_ * std::pow(scale, -exponent_)); }

GridDensity SelfSimilar::on_grid(std::shared_ptr<const Grid> grid, double scale, int samples) const {
  check_at_least(name_, "samples", samples, 1);
  if (!grid) throw DomainError(fmt::format("{}: the grid is missing", name_));
  check_size(name_, "the grid's dimension", grid->dimension(), dimension_);
  grid->validate();
  check_positive(name_, "scale", scale);
  const Matrix centres = grid->points();
  const int d = dimension_;
  Index count = 1;
  for (int a = 0; a < d; ++a) count *= samples;
  Vector values = Vector::Zero(grid->size()), offset(d);
  for (Index s = 0; s < count; ++s) {
    Index rest = s;
    for (int a = 0; a < d; ++a) {
      offset[a] = ((static_cast<double>(rest % samples) + 0.5) / samples - 0.5) * grid->width(a);
      rest /= samples;
    }
    for (Index i = 0; i < values.size(); ++i) values[i] += profile_((centres.col(i) + offset).norm() / scale);
  }
  const double total = values.sum() * grid->cell_volume();
  check_positive(name_, "mass of the profile at the sample points in the box", total);
  values /= total;
  return {std::move(grid), std::move(values)};
}

SelfSimilar barenblatt(int d, double m, double c, double kappa) {
  check_dimension("barenblatt", d);
  check_positive("barenblatt", "coefficient", c);
  check_finite("barenblatt", "exponent", m);
  check_finite("barenblatt", "kappa", kappa);
  if (m == 1 || !(m > d / (d + 2.0))) throw DomainError(fmt::format("barenblatt: exponent is {}, but must exceed d/(d+2) = {:.4g} and differ from 1", m, d / (d + 2.0)));
  SelfSimilar out;
  out.name_ = "barenblatt";
  out.source_ = m > 1 ? "Barenblatt1952" : "Vazquez2007";
  out.dimension_ = d;
  out.kappa_ = kappa;
  out.exponent_ = d * (m - 1) + 1;
  const double p = 1 / std::abs(m - 1);
  double k = 0;
  if (m > 1) {
    k = 1 / ball_integral(d, p);
    // int |x|^2 (1-|x|^2)^p = I(p) - I(p+1), and int P^m has the exponent p m = p + 1.
    out.second_moment_ = k * (ball_integral(d, p) - ball_integral(d, p + 1));
    out.internal_at_one_ = c / (m - 1) * std::pow(k, m) * ball_integral(d, p + 1);
    out.profile_ = [k, p](double r) { return r < 1 ? k * std::pow(1 - r * r, p) : 0.0; };
  } else {
    k = 1 / tail_integral(d, p);
    // p m = p - 1 here.
    out.second_moment_ = k * (tail_integral(d, p - 1) - tail_integral(d, p));
    out.internal_at_one_ = c / (m - 1) * std::pow(k, m) * tail_integral(d, p - 1);
    out.support_ = std::numeric_limits<double>::infinity();
    out.profile_ = [k, p](double r) { return k * std::pow(1 + r * r, -p); };
  }
  out.strength_ = 2 * c * m * std::pow(k, m - 1) / std::abs(m - 1);
  return out;
}

SelfSimilar log_gas(double alpha, double kappa) {
  check_positive("log_gas", "alpha", alpha);
  check_finite("log_gas", "kappa", kappa);
  SelfSimilar out;
  out.name_ = "log_gas";
  out.source_ = "Wigner1955";
  out.kappa_ = kappa;
  out.strength_ = 2 * alpha;  // P.V. int P_l(y)/(x - y) dy = 2x/l^2
  out.second_moment_ = 0.25;
  // int int log|x - y| P P = -1/4 - log 2 for the unit semicircle.
  out.internal_at_one_ = 0.5 * alpha * (0.25 + std::numbers::ln2);
  out.profile_ = [](double r) { return r < 1 ? 2 / pi * std::sqrt(1 - r * r) : 0.0; };
  return out;
}

SelfSimilar newtonian_ball(int d, double alpha, double kappa) {
  check_dimension("newtonian_ball", d);
  check_positive("newtonian_ball", "alpha", alpha);
  check_finite("newtonian_ball", "kappa", kappa);
  SelfSimilar out;
  out.name_ = "newtonian_ball";
  out.source_ = "Serfaty2015";
  out.dimension_ = d;
  out.kappa_ = kappa;
  const double volume = ball_volume(d);
  out.strength_ = alpha / (d * volume);  // Gauss: the field at |x| is that of the mass inside
  out.exponent_ = d - 1;
  out.second_moment_ = d / (d + 2.0);
  // Half the integral of the potential over the ball: for d = 3, alpha/(4 pi) * 3/5; d = 2, alpha/(2 pi) * 1/8; d = 1, -alpha/2 * 1/3 (mean distance 2/3).
  out.internal_at_one_ = d == 3 ? alpha * 3 / (20 * pi) : d == 2 ? alpha / (16 * pi) : -alpha / 6;
  const double height = 1 / volume;
  out.profile_ = [height](double r) { return r < 1 ? height : 0.0; };
  return out;
}

SelfSimilar mckean_vlasov_gaussian(int d, double beta, double kappa, double alpha) {
  check_dimension("mckean_vlasov_gaussian", d);
  check_positive("mckean_vlasov_gaussian", "inverse temperature beta", beta);
  check_finite("mckean_vlasov_gaussian", "kappa", kappa);
  check_finite("mckean_vlasov_gaussian", "alpha", alpha);
  SelfSimilar out;
  out.name_ = "mckean_vlasov_gaussian";
  out.source_ = "derived";
  out.dimension_ = d;
  out.kappa_ = kappa + alpha;
  out.strength_ = 1 / beta;
  out.second_moment_ = d;
  out.support_ = std::numeric_limits<double>::infinity();
  out.internal_at_one_ = -0.5 * d / beta * (std::log(2 * pi) + 1);
  const double height = std::pow(2 * pi, -0.5 * d);
  out.profile_ = [height](double r) { return height * std::exp(-0.5 * r * r); };
  return out;
}

}  // namespace jko::problems
