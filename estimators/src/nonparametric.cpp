#include <jko/estimators/nonparametric.hpp>

#include <jko/core/check.hpp>
#include <jko/core/nearest.hpp>

#include "transitions.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <boost/math/distributions/normal.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int candidates = 25;

/// The regression data, sorted by x.
struct Data {
  Vector x, y, weight;
  Index first = 0, last = 0;   ///< cross-validation scores these, last excluded
};

/// A smoother at one smoothing: fitted values and the diagonal of its matrix at the data.
struct AtData {
  Vector fitted, diagonal;
};

double score(const Data& d, const AtData& at) {
  double out = 0;
  for (Index i = d.first; i < d.last; ++i) {
    const double left = 1 - at.diagonal[i];
    if (!(left > 1e-8) || !std::isfinite(at.fitted[i])) return infinity;
    const double r = (d.y[i] - at.fitted[i]) / left;
    out += d.weight[i] * r * r;
  }
  return out;
}

/// Leave-one-out residuals squared; a point that alone determines its fit has none and counts with its plain residual.
Vector squares(const Data& d, const AtData& at) {
  Vector out(d.x.size());
  for (Index i = 0; i < out.size(); ++i) {
    const double left = 1 - at.diagonal[i], r = std::isfinite(at.fitted[i]) ? d.y[i] - at.fitted[i] : 0;
    out[i] = left > 1e-8 ? (r / left) * (r / left) : r * r;
  }
  return out;
}

class Method {
 public:
  virtual ~Method() = default;
  [[nodiscard]] virtual Vector range() const = 0;  ///< candidates, from rough to smooth
  [[nodiscard]] virtual AtData at_data(double smoothing) const = 0;
  /// Estimate and variance at the grid, given the squared residuals; false where a point has no neighbours.
  virtual bool at_grid(double smoothing, const Vector& grid, const Vector& residual_squares, Vector& estimate, Vector& variance) const = 0;
};

/// Local polynomials of degree 0 and 1.
class Kernel final : public Method {
 public:
  Kernel(const Data& data, bool linear) : d_(data), linear_(linear) {
    const Index n = d_.x.size();
    centre_ = d_.x.mean();
    power_.setZero(5, n + 1);
    response_.setZero(4, n + 1);
    for (Index i = 0; i < n; ++i) {
      double z = d_.weight[i];
      for (Index k = 0; k < 5; ++k, z *= d_.x[i] - centre_) {
        power_(k, i + 1) = power_(k, i) + z;
        if (k < 4) response_(k, i + 1) = response_(k, i) + z * d_.y[i];
      }
    }
  }
  [[nodiscard]] Vector range() const override {
    // From a hundredth of the range to twice it, where a local line is a global one.
    const double span = d_.x[d_.x.size() - 1] - d_.x[0];
    return (Vector::LinSpaced(candidates, std::log(0.01 * span), std::log(2 * span))).array().exp();
  }
  [[nodiscard]] AtData at_data(double h) const override {
    const Index n = d_.x.size();
    AtData out{Vector(n), Vector(n)};
    Index begin = 0, end = 0;
    for (Index i = 0; i < n; ++i) {
      const double x = d_.x[i];
      while (d_.x[begin] <= x - h) ++begin;
      while (end < n && d_.x[end] < x + h) ++end;
      // Sums of w (X - x)^m and w y (X - x)^m over the window, from the moving sums about the centre.
      const auto shifted = [&](const Matrix& sums, Index m) {
        static constexpr std::array<std::array<double, 5>, 5> binomial{{{1, 0, 0, 0, 0}, {1, 1, 0, 0, 0}, {1, 2, 1, 0, 0}, {1, 3, 3, 1, 0}, {1, 4, 6, 4, 1}}};
        double sum = 0, factor = 1;
        for (Index k = m; k >= 0; --k, factor *= -(x - centre_)) sum += binomial[static_cast<std::size_t>(m)][static_cast<std::size_t>(k)] * factor * (sums(k, end) - sums(k, begin));
        return sum;
      };
      const auto kernel = [&](const Matrix& sums, Index m) { return shifted(sums, m) - shifted(sums, m + 2) / (h * h); };
      const double s0 = kernel(power_, 0), v0 = kernel(response_, 0);
      if (!linear_) {
        out.fitted[i] = v0 / s0;
        out.diagonal[i] = d_.weight[i] / s0;
        continue;
      }
      const double s1 = kernel(power_, 1), s2 = kernel(power_, 2), v1 = kernel(response_, 1), determinant = s0 * s2 - s1 * s1;
      if (!(determinant > 1e-9 * s0 * s2)) {  // one distinct point
        out.fitted[i] = d_.y[i];
        out.diagonal[i] = 1;
        continue;
      }
      out.fitted[i] = (s2 * v0 - s1 * v1) / determinant;
      out.diagonal[i] = d_.weight[i] * s2 / determinant;
    }
    return out;
  }
  bool at_grid(double h, const Vector& grid, const Vector& residual_squares, Vector& estimate, Vector& variance) const override {
    const double* x = d_.x.data();
    for (Index g = 0; g < grid.size(); ++g) {
      const Index begin = std::upper_bound(x, x + d_.x.size(), grid[g] - h) - x, end = std::lower_bound(x, x + d_.x.size(), grid[g] + h) - x;
      double s0 = 0, s1 = 0, s2 = 0;
      const auto weight = [&](Index i) {
        const double u = (x[i] - grid[g]) / h;
        return d_.weight[i] * (1 - u * u);
      };
      for (Index i = begin; i < end; ++i) {
        const double k = weight(i), z = x[i] - grid[g];
        s0 += k, s1 += k * z, s2 += k * z * z;
      }
      const double determinant = linear_ ? s0 * s2 - s1 * s1 : s0;
      if (!(determinant > (linear_ ? 1e-12 * s0 * s2 : 0))) return false;
      double sum = 0, square = 0;
      for (Index i = begin; i < end; ++i) {
        const double l = weight(i) * (linear_ ? s2 - s1 * (x[i] - grid[g]) : 1) / determinant;
        sum += l * d_.y[i];
        square += l * l * residual_squares[i];
      }
      estimate[g] = sum;
      variance[g] = square;
    }
    return true;
  }

 private:
  const Data& d_;
  bool linear_;
  double centre_ = 0;
  Matrix power_, response_;
};

/// Cubic splines; the basis is turned so that normal matrix and penalty are both diagonal ([DemmlerReinsch1975]).
class Spline final : public Method {
 public:
  Spline(const Data& data, int interior) : d_(data) {
    const Index n = d_.x.size();
    const double low = d_.x[0], high = d_.x[n - 1];
    std::vector<double> inner;
    for (int k = 1; k <= interior; ++k) {
      const double q = d_.x[std::min(n - 1, k * n / (interior + 1))];
      if (q > (inner.empty() ? low : inner.back()) && q < high) inner.push_back(q);
    }
    knots_.assign(4, low);
    knots_.insert(knots_.end(), inner.begin(), inner.end());
    knots_.insert(knots_.end(), 4, high);
    const Index p = static_cast<Index>(knots_.size()) - 4;
    Matrix normal = Matrix::Zero(p, p), penalty = Matrix::Zero(p, p);
    basis_.resize(p, n);
    for (Index i = 0; i < n; ++i) basis_.col(i) = values(d_.x[i], 0);
    normal = basis_ * d_.weight.asDiagonal() * basis_.transpose();
    // Second derivatives are linear on a span: two Gauss points integrate their products exactly.
    for (std::size_t k = 3; k + 4 < knots_.size(); ++k) {
      const double a = knots_[k], b = knots_[k + 1], half = 0.5 * (b - a);
      for (const double sign : {-1.0, 1.0}) {
        const Vector v = values(0.5 * (a + b) + sign * half / std::sqrt(3.0), 2);
        penalty += half * v * v.transpose();
      }
    }
    const Eigen::LLT<Matrix> factor(normal);
    ok_ = factor.info() == Eigen::Success;
    if (!ok_) return;
    const Matrix first = factor.matrixL().solve(penalty), scaled = factor.matrixL().solve(first.transpose());
    // Constants and lines are the penalty's null space: set apart exactly (coefficients 1 and the means of three inner knots), so that the rounding of the largest eigenvalues does not reach them.
    Matrix lines(p, 2);
    for (Index i = 0; i < p; ++i) {
      const auto k = static_cast<std::size_t>(i);
      lines(i, 0) = 1;
      lines(i, 1) = (knots_[k + 1] + knots_[k + 2] + knots_[k + 3]) / 3;
    }
    const Eigen::HouseholderQR<Matrix> qr(Matrix(factor.matrixU() * lines));
    const Matrix q = qr.householderQ() * Matrix::Identity(p, p), rest = q.rightCols(p - 2), bending = rest.transpose() * scaled * rest;
    const Eigen::SelfAdjointEigenSolver<Matrix> e(0.5 * (bending + bending.transpose()));
    roughness_.setZero(p);
    roughness_.tail(p - 2) = e.eigenvalues().cwiseMax(0.0);
    Matrix turned(p, p);
    turned << q.leftCols(2), rest * e.eigenvectors();
    turn_ = factor.matrixU().solve(turned);  // coefficients from turned ones
    basis_ = turn_.transpose() * basis_;
    response_ = basis_ * d_.weight.cwiseProduct(d_.y);
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] Vector range() const override {
    // From next to no penalty on the roughest function to the smoothest bend at a thousandth: a line.
    return (Vector::LinSpaced(candidates, std::log(1e-2 / roughness_[roughness_.size() - 1]), std::log(1e3 / roughness_[2]))).array().exp();
  }
  [[nodiscard]] AtData at_data(double lambda) const override {
    const Vector shrink = (1 + lambda * roughness_.array()).inverse();
    return {basis_.transpose() * shrink.cwiseProduct(response_), d_.weight.cwiseProduct(basis_.cwiseAbs2().transpose() * shrink)};
  }
  bool at_grid(double lambda, const Vector& grid, const Vector& residual_squares, Vector& estimate, Vector& variance) const override {
    const Vector shrink = (1 + lambda * roughness_.array()).inverse();
    const Matrix middle = basis_ * d_.weight.cwiseAbs2().cwiseProduct(residual_squares).asDiagonal() * basis_.transpose();
    const Vector coefficients = shrink.cwiseProduct(response_);
    for (Index g = 0; g < grid.size(); ++g) {
      const Vector v = turn_.transpose() * values(grid[g], 0), l = shrink.cwiseProduct(v);
      estimate[g] = v.dot(coefficients);
      variance[g] = l.dot(middle * l);
    }
    return true;
  }

 private:
  /// All cubic B-splines or their second derivatives at t (de Boor's recursion).
  [[nodiscard]] Vector values(double t, int derivative) const {
    const auto count = static_cast<Index>(knots_.size());
    Vector b = Vector::Zero(count - 1);
    std::size_t span = 3;
    while (span + 5 < knots_.size() && t >= knots_[span + 1]) ++span;
    b[static_cast<Index>(span)] = 1;
    const auto ratio = [](double a, double c) { return c > 0 ? a / c : 0; };
    for (std::size_t degree = 1; degree <= 3; ++degree) {
      const bool differentiate = static_cast<int>(degree) > 3 - derivative;
      for (std::size_t i = 0; i + degree + 1 < knots_.size(); ++i) {
        const double left = knots_[i + degree] - knots_[i], right = knots_[i + degree + 1] - knots_[i + 1];
        const auto k = static_cast<Index>(i);
        b[k] = differentiate ? static_cast<double>(degree) * (ratio(b[k], left) - ratio(b[k + 1], right)) : ratio((t - knots_[i]) * b[k], left) + ratio((knots_[i + degree + 1] - t) * b[k + 1], right);
      }
    }
    return b.head(count - 4);
  }

  const Data& d_;
  bool ok_ = false;
  std::vector<double> knots_;
  Vector roughness_, response_;
  Matrix basis_, turn_;
};

bool smooth(const Data& d, const NonparametricOptions& options, double smoothing, const Vector& grid, Curve& out, AtData& at) {
  std::unique_ptr<Method> method;
  if (options.smoother == Smoother::spline) {
    auto spline = std::make_unique<Spline>(d, options.knots);
    if (!spline->ok()) return false;
    method = std::move(spline);
  } else {
    method = std::make_unique<Kernel>(d, options.smoother == Smoother::local_linear);
  }
  if (!(smoothing > 0)) {
    out.candidates = method->range();
    out.scores.resize(out.candidates.size());
    for (Index k = 0; k < out.candidates.size(); ++k) out.scores[k] = score(d, method->at_data(out.candidates[k]));
    Index best = 0;
    if (!std::isfinite(out.scores.minCoeff(&best))) return false;
    smoothing = out.candidates[best];
  }
  out.smoothing = smoothing;
  at = method->at_data(smoothing);
  out.degrees_of_freedom = at.diagonal.sum();
  Vector variance(grid.size());
  out.estimate.resize(grid.size());
  if (!method->at_grid(smoothing, grid, squares(d, at), out.estimate, variance)) return false;
  out.standard_error = variance.cwiseMax(0.0).cwiseSqrt();
  const double z = boost::math::quantile(boost::math::normal(), 0.5 * (1 + options.level));
  out.lower = out.estimate - z * out.standard_error;
  out.upper = out.estimate + z * out.standard_error;
  return out.estimate.allFinite() && out.standard_error.allFinite();
}

}  // namespace

std::vector<std::string> smoother_names() { return {"nadaraya-watson", "local-linear", "spline"}; }
std::string_view name(Smoother smoother) {
  switch (smoother) {
    case Smoother::nadaraya_watson: return "nadaraya-watson";
    case Smoother::local_linear: return "local-linear";
    case Smoother::spline: return "spline";
  }
  return "unknown";
}
Smoother smoother_from_name(std::string_view text) {
  for (const Smoother s : {Smoother::nadaraya_watson, Smoother::local_linear, Smoother::spline}) {
    if (name(s) == text) return s;
  }
  throw DomainError(fmt::format("fit_nonparametric: smoother '{}' is unknown; the nearest is '{}'", text, nearest_name(text, smoother_names())));
}

NonparametricFit fit_nonparametric(const Panel& panel, const NonparametricOptions& options) {
  if (panel.empty()) throw ShapeError("fit_nonparametric: there is no path");
  for (const Path& path : panel) path.validate();
  check_nonnegative("fit_nonparametric", "drift_smoothing", options.drift_smoothing);
  check_nonnegative("fit_nonparametric", "diffusion_smoothing", options.diffusion_smoothing);
  check_at_least("fit_nonparametric", "points", options.points, 2);
  check_in("fit_nonparametric", "knots", options.knots, 1, 200);
  if (!(options.trim >= 0 && options.trim < 0.5)) throw DomainError(fmt::format("fit_nonparametric: trim is {}, but must lie in [0, 0.5)", options.trim));
  if (!(options.level > 0 && options.level < 1)) throw DomainError(fmt::format("fit_nonparametric: level is {}, but must lie in (0, 1)", options.level));
  const Transitions all(panel);
  const Index n = all.size();
  check_at_least("fit_nonparametric", "number of transitions", n, 10);
  const Vector from = all.from, move = all.next - from;
  std::vector<Index> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index i, Index j) { return from[i] < from[j]; });
  const Vector x = from(order), dx = move(order), dt = all.dt(order);
  if (!(x[n - 1] > x[0])) throw DomainError("fit_nonparametric: the data are constant");
  const auto cut = static_cast<Index>(options.trim * static_cast<double>(n));
  NonparametricFit out;
  out.smoother = options.smoother;
  out.n = n;
  out.duration = dt.sum();
  out.x = Vector::LinSpaced(options.points, x[cut], x[n - 1 - cut]);
  out.status = Status::no_minimiser;
  Data d{x, dx.cwiseQuotient(dt), dt, cut, n - cut};
  AtData at;
  if (!smooth(d, options, options.drift_smoothing, out.x, out.drift, at)) return out;
  // The drift's own smoothing is the residuals'.
  Vector fitted = at.fitted;
  for (Index i = 0; i < n; ++i) {
    if (!std::isfinite(fitted[i])) fitted[i] = 0;
  }
  const Vector residual = dx - fitted.cwiseProduct(dt);
  d.y = residual.cwiseAbs2().cwiseQuotient(dt);
  d.weight.setOnes();
  if (!smooth(d, options, options.diffusion_smoothing, out.x, out.diffusion, at)) return out;
  out.status = Status::converged;
  return out;
}

}  // namespace jko::estimators
