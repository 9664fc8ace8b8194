#include <jko/estimators/bands.hpp>

#include <jko/core/check.hpp>
#include <jko/core/random.hpp>

#include "response_band.hpp"

#include <Eigen/Eigenvalues>
#include <boost/math/distributions/normal.hpp>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace jko::estimators {
namespace {

Index cell_of(const QuantileFunction& measure, double x) {
  const Vector& nodes = measure.nodes();
  const Index above = std::upper_bound(nodes.data(), nodes.data() + nodes.size(), x) - nodes.data();
  return std::clamp<Index>(above - 1, 0, measure.cells() - 1);
}

Functionals zeros(const ConstVectorRef& abscissa, const QuantileFunction& measure) {
  return {Vector::Zero(abscissa.size()), Matrix::Zero(abscissa.size(), measure.nodes().size())};
}

}  // namespace

Functionals quantiles(const QuantileFunction& measure, const ConstVectorRef& levels) {
  Functionals out = zeros(levels, measure);
  for (Index k = 0; k < levels.size(); ++k) {
    check_in("quantiles", "level", levels[k], 0, 1);
    double below = 0;
    Index i = 0;
    while (i + 1 < measure.cells() && below + measure.masses()[i] < levels[k]) below += measure.masses()[i++];
    const double t = std::clamp((levels[k] - below) / measure.masses()[i], 0.0, 1.0);
    out.value[k] = (1 - t) * measure.nodes()[i] + t * measure.nodes()[i + 1];
    out.gradient(k, i) = 1 - t;
    out.gradient(k, i + 1) = t;
  }
  return out;
}

Functionals distribution(const QuantileFunction& measure, const ConstVectorRef& points) {
  Functionals out = zeros(points, measure);
  for (Index k = 0; k < points.size(); ++k) {
    const double x = points[k];
    out.value[k] = measure.cdf(x);
    if (!(x > measure.nodes()[0] && x < measure.nodes()[measure.cells()])) continue;
    const Index i = cell_of(measure, x);
    const double width = measure.nodes()[i + 1] - measure.nodes()[i], t = (x - measure.nodes()[i]) / width;
    out.gradient(k, i) = -measure.masses()[i] / width * (1 - t);
    out.gradient(k, i + 1) = -measure.masses()[i] / width * t;
  }
  return out;
}

Functionals density(const QuantileFunction& measure, const ConstVectorRef& points) {
  Functionals out = zeros(points, measure);
  for (Index k = 0; k < points.size(); ++k) {
    const auto local = measure.local_density(points[k]);
    out.value[k] = local.value;
    for (Index j = 0; j < 4 && local.first + j < out.gradient.cols(); ++j) out.gradient(k, local.first + j) = local.gradient[static_cast<std::size_t>(j)];
  }
  return out;
}

Functionals moments(const QuantileFunction& measure) {
  const double mean = measure.mean()[0];
  Functionals out{Vector(2), Matrix::Zero(2, measure.nodes().size())};
  out.value << mean, measure.covariance()(0, 0);
  for (Index i = 0; i < measure.cells(); ++i) {
    const double w = measure.masses()[i], a = measure.nodes()[i] - mean, b = measure.nodes()[i + 1] - mean;
    out.gradient(0, i) += 0.5 * w;
    out.gradient(0, i + 1) += 0.5 * w;
    out.gradient(1, i) += w * (2 * a + b) / 3;
    out.gradient(1, i + 1) += w * (a + 2 * b) / 3;
  }
  return out;
}

Functionals expectation(const QuantileFunction& measure, const std::function<double(double)>& phi,
                        const std::function<double(double)>& derivative) {
  Functionals out{Vector::Zero(1), Matrix::Zero(1, measure.nodes().size())};
  for (const double t : {0.5 - 0.5 / std::sqrt(3.0), 0.5 + 0.5 / std::sqrt(3.0)}) {
    for (Index i = 0; i < measure.cells(); ++i) {
      const double x = (1 - t) * measure.nodes()[i] + t * measure.nodes()[i + 1], w = 0.5 * measure.masses()[i];
      out.value[0] += w * phi(x);
      out.gradient(0, i) += w * (1 - t) * derivative(x);
      out.gradient(0, i + 1) += w * t * derivative(x);
    }
  }
  return out;
}

Functionals moments(const Gaussian& measure) {
  const Index d = measure.dimension(), count = d + d * (d + 1) / 2;
  Functionals out{Vector(count), Matrix::Zero(count, d + d * d)};
  Index row = 0;
  for (Index i = 0; i < d; ++i, ++row) {
    out.value[row] = measure.mean()[i];
    out.gradient(row, i) = 1;
  }
  for (Index j = 0; j < d; ++j) {
    for (Index i = j; i < d; ++i, ++row) {
      out.value[row] = measure.covariance()(i, j);
      out.gradient(row, d + i + d * j) += 0.5;
      out.gradient(row, d + j + d * i) += 0.5;
    }
  }
  return out;
}

namespace {

/// Functionals f(m, v) of a marginal from (f, df/dm, df/dv).
template <class F>
Functionals marginal(const char* where, const Gaussian& measure, const ConstVectorRef& abscissa, Index coordinate, const F& f) {
  const Index d = measure.dimension();
  check_in(where, "coordinate", static_cast<double>(coordinate), 0, static_cast<double>(d - 1));
  const double mean = measure.mean()[coordinate], deviation = std::sqrt(measure.covariance()(coordinate, coordinate));
  Functionals out{Vector(abscissa.size()), Matrix::Zero(abscissa.size(), d + d * d)};
  for (Index k = 0; k < abscissa.size(); ++k) {
    const auto [value, in_mean, in_deviation] = f(abscissa[k], mean, deviation);
    out.value[k] = value;
    out.gradient(k, coordinate) = in_mean;
    out.gradient(k, d + coordinate + d * coordinate) = in_deviation / (2 * deviation);
  }
  return out;
}

struct Response {
  double value, in_mean, in_deviation;
};

}  // namespace

Functionals quantiles(const Gaussian& measure, const ConstVectorRef& levels, Index coordinate) {
  return marginal("quantiles", measure, levels, coordinate, [](double p, double m, double s) {
    if (!(p > 0 && p < 1)) throw DomainError("quantiles: a level must lie in (0, 1)");
    const double z = boost::math::quantile(boost::math::normal(), p);
    return Response{m + s * z, 1, z};
  });
}

Functionals distribution(const Gaussian& measure, const ConstVectorRef& points, Index coordinate) {
  return marginal("distribution", measure, points, coordinate, [](double x, double m, double s) {
    const double z = (x - m) / s, bell = boost::math::pdf(boost::math::normal(), z);
    return Response{boost::math::cdf(boost::math::normal(), z), -bell / s, -bell * z / s};
  });
}

Functionals density(const Gaussian& measure, const ConstVectorRef& points, Index coordinate) {
  return marginal("density", measure, points, coordinate, [](double x, double m, double s) {
    const double z = (x - m) / s, bell = boost::math::pdf(boost::math::normal(), z) / s;
    return Response{bell, bell * z / s, bell * (z * z - 1) / s};
  });
}

void validate(const BandOptions& options) {
  if (!(options.level > 0 && options.level < 1)) throw DomainError("band: level must lie in (0, 1)");
  check_at_least("band", "draws", options.draws, 100);
}

Matrix covariance_root(const ConstMatrixRef& covariance) {
  const Eigen::SelfAdjointEigenSolver<Matrix> e(covariance);
  return e.eigenvectors() * e.eigenvalues().cwiseMax(0.0).cwiseSqrt().asDiagonal();
}

Band band(const Functionals& functionals, const ConstVectorRef& abscissa, const ConstMatrixRef& tangent, const ConstMatrixRef& covariance,
          const BandOptions& options) {
  validate(options);
  check_size("band", "the tangent's rows", tangent.rows(), functionals.gradient.cols());
  check_size("band", "the covariance", covariance.rows(), tangent.cols());
  check_size("band", "the abscissa", abscissa.size(), functionals.value.size());
  return response_band(functionals.value, abscissa, functionals.gradient * tangent * covariance_root(covariance), 1, options);
}

Band response_band(Vector estimate, Vector abscissa, const Matrix& response, Index stride, const BandOptions& options) {
  Band out;
  out.abscissa = std::move(abscissa);
  out.estimate = std::move(estimate);
  out.standard_error = response.rowwise().norm();
  const double z = boost::math::quantile(boost::math::normal(), 0.5 * (1 + options.level));
  out.lower = out.estimate - z * out.standard_error;
  out.upper = out.estimate + z * out.standard_error;

  // Critical value of the largest standardised error; functionals without error (outside the support) do not count.
  Matrix unit((response.rows() + stride - 1) / stride, response.cols());
  for (Index i = 0; i < unit.rows(); ++i) {
    const double error = out.standard_error[stride * i];
    if (error > 0) unit.row(i) = response.row(stride * i) / error;
    else unit.row(i).setZero();
  }
  RandomStream random(options.seed, "simultaneous band");
  std::vector<double> largest(static_cast<std::size_t>(options.draws));
  Vector draw(unit.cols());
  for (double& value : largest) {
    random.fill_normal(draw);
    value = (unit * draw).cwiseAbs().maxCoeff();
  }
  std::sort(largest.begin(), largest.end());
  const auto order = [&](double p) {
    const double rank = std::clamp(p * options.draws, 0.0, options.draws - 1.0);
    return largest[static_cast<std::size_t>(rank)];
  };
  out.critical = order(options.level);
  // The rank of the quantile has the binomial standard error sqrt(p(1-p)/n): read it off the order statistics.
  const double spread = std::sqrt(options.level * (1 - options.level) / options.draws);
  out.critical_error = 0.5 * (order(options.level + spread) - order(options.level - spread));
  out.simultaneous_lower = out.estimate - out.critical * out.standard_error;
  out.simultaneous_upper = out.estimate + out.critical * out.standard_error;
  return out;
}

Band with_step_error(Band band, const ConstVectorRef& finer, int order) {
  check_size("with_step_error", "the finer flow's functionals", finer.size(), band.estimate.size());
  check_at_least("with_step_error", "order", order, 1);
  band.step_error = (band.estimate - finer) / (1 - std::pow(2.0, -order));
  const Vector width = band.step_error.cwiseAbs();
  band.lower -= width;
  band.upper += width;
  band.simultaneous_lower -= width;
  band.simultaneous_upper += width;
  return band;
}

}  // namespace jko::estimators
