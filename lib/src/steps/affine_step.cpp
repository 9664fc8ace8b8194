#include <jko/steps/affine_step.hpp>

#include <jko/core/check.hpp>

#include "certificate.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

namespace jko {
namespace {

FreeEnergy without_entropy(const FreeEnergy& energy) {
  FreeEnergy forces;
  if (const auto* part = energy.potential()) forces.add_potential(part->potential, part->theta);
  if (const auto* part = energy.interaction()) forces.add_interaction(part->kernel, part->theta);
  return forces;
}

double inner(const Vector& w, const Matrix& a, const Matrix& b) { return a.cwiseProduct(b).colwise().sum().dot(w); }

/// log det of a symmetric matrix; NaN unless it is positive definite.
double log_determinant(const Matrix& a) {
  const Eigen::LLT<Matrix> factor(a);
  if (factor.info() != Eigen::Success) return std::numeric_limits<double>::quiet_NaN();
  return 2 * Matrix(factor.matrixL()).diagonal().array().log().sum();
}

/// The fields a' + A'(y - m): d translations, then a basis of the symmetric matrices.
class Fields {
 public:
  explicit Fields(const Particles& from) : weights_(from.weights()), centred_(from.points().colwise() - from.mean()) {
    const Index d = from.dimension();
    for (Index i = 0; i < d; ++i) {
      for (Index j = 0; j <= i; ++j) {
        Matrix e = Matrix::Zero(d, d);
        e(i, j) = e(j, i) = 1;
        basis_.push_back(std::move(e));
      }
    }
  }

  [[nodiscard]] Index translations() const { return centred_.rows(); }
  [[nodiscard]] Index size() const { return translations() + static_cast<Index>(basis_.size()); }
  [[nodiscard]] const Matrix& basis(Index k) const { return basis_[static_cast<std::size_t>(k - translations())]; }
  [[nodiscard]] const Matrix& centred() const { return centred_; }
  [[nodiscard]] Matrix field(Index k) const {
    if (k < translations()) return Vector::Unit(translations(), k).replicate(1, centred_.cols());
    return basis(k) * centred_;
  }
  [[nodiscard]] Matrix matrix(const Vector& z) const {
    Matrix sum = Matrix::Zero(translations(), translations());
    for (Index k = translations(); k < size(); ++k) sum += z[k] * basis(k);
    return sum;
  }
  /// Inner products with every field: of g_i, those with translations are the mean, those with matrices tr(E sum_i w_i g_i (y_i - m)').
  [[nodiscard]] Vector project(const Matrix& g) const {
    const Matrix weighted = g * weights_.asDiagonal();
    const Matrix moment = weighted * centred_.transpose();
    Vector out(size());
    out.head(translations()) = weighted.rowwise().sum();
    for (Index k = translations(); k < size(); ++k) out[k] = basis(k).cwiseProduct(moment).sum();
    return out;
  }
  [[nodiscard]] Matrix gram() const {
    Matrix out(size(), size());
    for (Index k = 0; k < size(); ++k) out.col(k) = project(field(k));
    return 0.5 * (out + out.transpose());
  }

 private:
  Vector weights_;
  Matrix centred_;
  std::vector<Matrix> basis_;
};

/// Derivative of -log det A along the fields.
Vector entropy_slope(const Fields& fields, const Matrix& inverse) {
  Vector out = Vector::Zero(fields.size());
  for (Index k = fields.translations(); k < fields.size(); ++k) out[k] = -inverse.cwiseProduct(fields.basis(k)).sum();
  return out;
}

/// Second derivative of J along the fields, at the moved particles.
Matrix hessian(const Fields& fields, const ParticleEnergy& forces, const Particles& moved, const Matrix& gram, const Matrix& inverse, double beta, double h) {
  const auto curvature = forces.curvature(moved);
  Matrix out(fields.size(), fields.size());
  for (Index k = 0; k < fields.size(); ++k) out.col(k) = fields.project(curvature->apply(fields.field(k)));
  out += gram / h;
  for (Index k = fields.translations(); k < fields.size(); ++k) {
    const Matrix turned = inverse * fields.basis(k) * inverse / beta;
    for (Index l = fields.translations(); l < fields.size(); ++l) out(l, k) += turned.cwiseProduct(fields.basis(l)).sum();
  }
  return 0.5 * (out + out.transpose());
}

}  // namespace

void AffineStepOptions::validate() const {
  check_positive("affine_step", "tolerance", tolerance);
  check_at_least("affine_step", "max_iterations", max_iterations, 1);
}

AffineStep::AffineStep(FreeEnergy energy, AffineStepOptions options) : energy_(std::move(energy)), forces_(without_entropy(energy_)), options_(options) {
  options_.validate();
  if (!energy_.entropy()) throw DomainError("affine_step: the energy has no entropy, without which the map may lose its rank; use the particle step");
  if (energy_.porous_medium() || energy_.congestion()) throw DomainError("affine_step: porous-medium and congestion parts need the density; use the particle step");
}

void AffineStep::set_parameters(const ConstVectorRef& parameters) {
  energy_.set_parameters(parameters);
  forces_ = ParticleEnergy(without_entropy(energy_));
}

EnergyValue AffineStep::energy_value(const Particles& measure) const {
  EnergyValue value = forces_.value(measure);
  // int g log g of a Gaussian g with this covariance.
  const double d = measure.dimension();
  const double entropy = -0.5 * (log_determinant(measure.covariance()) + d * std::log(2 * std::numbers::pi) + d) / energy_.entropy()->beta;
  value.parts.insert(value.parts.begin() + (energy_.potential() ? 1 : 0), {"entropy", entropy});
  value.total += entropy;
  return value;
}

StepResult<Particles> AffineStep::advance(const Particles& from, double h) {
  check_positive("affine_step", "step size h", h);
  if (std::isnan(log_determinant(from.covariance()))) {
    throw DomainError(fmt::format("affine_step: the covariance of the {} particles is singular; in {} dimensions at least {} points in general position are needed", from.size(),
                                  from.dimension(), from.dimension() + 1));
  }
  const Vector& w = from.weights();
  const double beta = energy_.entropy()->beta;
  const auto convexity = energy_.convexity();
  const double kappa = convexity ? convexity->kappa : 0;
  const Fields fields(from);
  StepResult<Particles> result;
  result.measure = from_ = result_ = from;
  h_ = h;
  linear_ = Matrix::Identity(from.dimension(), from.dimension());
  centre_ = from.mean();
  if (!(1 + h * kappa > 0)) {
    result.status = Status::step_not_convex;
    return result;
  }
  const auto move = [&](const Matrix& linear, const Vector& centre) { return from.with_coordinates(((linear * fields.centred()).colwise() + centre).reshaped()); };
  const auto objective = [&](const Particles& x, const Matrix& linear) {
    return forces_.value(x).total - log_determinant(linear) / beta + std::pow(label_distance(x, from), 2) / (2 * h);
  };
  const double scale = std::max(1.0, std::sqrt(from.covariance().trace()));
  const Matrix gram = fields.gram();
  const Eigen::LLT<Matrix> gram_factor(gram);
  Particles x = from;
  double value = objective(x, linear_), eps = 0, floor = 0;
  Matrix inverse;
  Vector gradient;
  const auto measure_residual = [&] {
    const auto slope = forces_.slope(x);
    inverse = linear_.llt().solve(Matrix::Identity(linear_.rows(), linear_.cols()));
    const Vector barrier = entropy_slope(fields, inverse) / beta;
    gradient = fields.project(slope.gradient + (x.points() - from.points()) / h) + barrier;
    const auto norm = [&](const Vector& g) { return std::sqrt(g.dot(gram_factor.solve(g))); };
    floor = 4 * std::numeric_limits<double>::epsilon() * (std::sqrt(inner(w, slope.gradient, slope.gradient) + inner(w, x.points(), x.points()) / (h * h)) + norm(barrier));
    return norm(gradient);
  };
  if (std::isfinite(value)) eps = measure_residual();
  if (!std::isfinite(value) || !std::isfinite(eps)) {
    result.status = Status::not_finite;
    result.energy = energy_value(from);
    return result;
  }
  result.status = Status::iteration_limit;
  for (;;) {
    if (h * eps / (1 + h * kappa) <= options_.tolerance * scale || eps <= floor) {
      result.status = Status::converged;
      break;
    }
    if (result.iterations == options_.max_iterations) break;
    ++result.iterations;
    // Newton in the metric of the fields; where J bends downwards the eigenvalue's absolute value gives a descent direction, at least 1e-8 of the largest so that it stays finite.
    const Eigen::GeneralizedSelfAdjointEigenSolver<Matrix> modes(hessian(fields, forces_, x, gram, inverse, beta, h), gram);
    const Vector bends = modes.eigenvalues().cwiseAbs().cwiseMax(1e-8 * modes.eigenvalues().cwiseAbs().maxCoeff());
    const Vector direction = -modes.eigenvectors() * (modes.eigenvectors().transpose() * gradient).cwiseQuotient(bends);
    const double descent = gradient.dot(direction);
    // Armijo; near the minimum J's rounding exceeds its decrease, and a smaller residual counts instead.
    const double rounding = 16 * std::numeric_limits<double>::epsilon() * (std::abs(value) + scale * scale / h);
    const Matrix linear = linear_;
    const Vector centre = centre_;
    const double eps_before = eps, value_before = value;
    bool accepted = false;
    for (double t = 1; t > 1e-12 && !accepted; t *= 0.5) {
      linear_ = linear + t * fields.matrix(direction);
      centre_ = centre + t * direction.head(fields.translations());
      if (std::isnan(log_determinant(linear_))) continue;
      const Particles candidate = move(linear_, centre_);
      const double there = objective(candidate, linear_);
      if (!(there <= value_before + 1e-4 * t * descent + rounding)) continue;
      x = candidate;
      value = there;
      eps = measure_residual();
      accepted = there <= value_before + 1e-4 * t * descent || eps < eps_before;
    }
    if (!accepted) {
      linear_ = linear;
      centre_ = centre;
      x = move(linear_, centre_);
      value = value_before;
      eps = measure_residual();
      result.status = Status::stalled;
      break;
    }
    if (value < -1e100 || !std::isfinite(eps)) {
      result.status = Status::no_minimiser;
      break;
    }
  }
  result.residual = eps;
  if (convexity) certify_by_residual(result, h, 1 + h * kappa);
  result.w2_moved = label_distance(x, from);
  result.energy = energy_value(x);
  result.objective = result.energy.total + std::pow(result.w2_moved, 2) / (2 * h);
  result.measure = result_ = x;
  return result;
}

Matrix AffineStep::tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const {
  if (result_.size() == 0) throw DomainError("affine_step: tangent() needs an advance() before it");
  const Index d = result_.dimension(), n = result_.size(), rows = d * n, columns = std::max(from_tangent.cols(), parameter_tangent.cols());
  const double beta = energy_.entropy()->beta;
  const Fields fields(from_);
  const Matrix gram = fields.gram(), inverse = linear_.llt().solve(Matrix::Identity(d, d));
  const Eigen::LDLT<Matrix> factor(hessian(fields, forces_, result_, gram, inverse, beta, h_));
  const auto curvature = forces_.curvature(result_);
  // d(derivative of J) at a fixed map, column by column, then the map's answer.
  Matrix change = Matrix::Zero(fields.size(), columns), out = Matrix::Zero(rows, columns);
  if (from_tangent.size() > 0) {
    check_size("affine_step", "the start's tangent", from_tangent.rows(), rows);
    const Matrix residual = forces_.slope(result_).gradient + (result_.points() - from_.points()) / h_;
    for (Index j = 0; j < columns; ++j) {
      const Matrix dy = from_tangent.col(j).reshaped(d, n);
      const Matrix centred = dy.colwise() - dy * from_.weights();
      const Matrix carried = linear_ * centred;
      change.col(j) += fields.project(curvature->apply(carried) + (carried - dy) / h_);
      const Matrix moment = residual * from_.weights().asDiagonal() * centred.transpose();
      for (Index k = fields.translations(); k < fields.size(); ++k) change(k, j) += fields.basis(k).cwiseProduct(moment).sum();
      out.col(j) += carried.reshaped();
    }
  }
  if (parameter_tangent.size() > 0) {
    check_size("affine_step", "the parameter tangent", parameter_tangent.rows(), energy_.parameters().size());
    const Matrix slopes = forces_.parameter_slope(result_);  // without beta, which stands after the potential's parameters
    const Index at = energy_.potential() ? energy_.potential()->theta.size() : 0;
    Matrix along(fields.size(), slopes.cols() + 1);
    for (Index p = 0; p < slopes.cols(); ++p) along.col(p < at ? p : p + 1) = fields.project(slopes.col(p).reshaped(d, n));
    along.col(at) = -entropy_slope(fields, inverse) / (beta * beta);
    change += along * parameter_tangent;
  }
  const Matrix answer = -factor.solve(change);
  for (Index j = 0; j < columns; ++j) {
    out.col(j) += ((fields.matrix(answer.col(j)) * fields.centred()).colwise() + Vector(answer.col(j).head(d))).reshaped();
  }
  return out;
}

}  // namespace jko
