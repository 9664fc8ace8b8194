#include <jko/steps/quantile_step.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

constexpr double gauss_left = 0.21132486540518711775;  // (1 - 1/sqrt(3))/2
constexpr double gauss_right = 1 - gauss_left;
constexpr Index interaction_limit = 3000;

/// The two Gauss points of every cell, interleaved: 2N numbers.
Vector gauss_points(const Vector& nodes) {
  const Index cells = nodes.size() - 1;
  Vector points(2 * cells);
  for (Index i = 0; i < cells; ++i) {
    const double width = nodes[i + 1] - nodes[i];
    points[2 * i] = nodes[i] + gauss_left * width;
    points[2 * i + 1] = nodes[i] + gauss_right * width;
  }
  return points;
}

/// Adds the transpose of the interpolation nodes -> Gauss points.
void add_to_nodes(const Vector& at_points, Vector& nodes) {
  for (Index i = 0; 2 * i < at_points.size(); ++i) {
    nodes[i] += gauss_right * at_points[2 * i] + gauss_left * at_points[2 * i + 1];
    nodes[i + 1] += gauss_left * at_points[2 * i] + gauss_right * at_points[2 * i + 1];
  }
}

/// y = M x with M the mass matrix of the piecewise-linear functions of the mass coordinate.
Matrix mass_times(const Vector& masses, const ConstMatrixRef& x) {
  Matrix y = Matrix::Zero(x.rows(), x.cols());
  for (Index j = 0; j < x.cols(); ++j) {
    for (Index i = 0; i < masses.size(); ++i) {
      y(i, j) += masses[i] * (2 * x(i, j) + x(i + 1, j)) / 6;
      y(i + 1, j) += masses[i] * (x(i, j) + 2 * x(i + 1, j)) / 6;
    }
  }
  return y;
}

/// Solves a symmetric positive definite tridiagonal system in place; false where a pivot is not positive.
bool solve_tridiagonal(Vector diagonal, const Vector& off_diagonal, MatrixRef x) {
  const Index n = diagonal.size();
  if (!(diagonal[0] > 0)) return false;
  for (Index i = 1; i < n; ++i) {
    const double factor = off_diagonal[i - 1] / diagonal[i - 1];
    diagonal[i] -= factor * off_diagonal[i - 1];
    if (!(diagonal[i] > 0)) return false;
    for (Index j = 0; j < x.cols(); ++j) x(i, j) -= factor * x(i - 1, j);
  }
  for (Index j = 0; j < x.cols(); ++j) {
    x(n - 1, j) /= diagonal[n - 1];
    for (Index i = n - 2; i >= 0; --i) x(i, j) = (x(i, j) - off_diagonal[i] * x(i + 1, j)) / diagonal[i];
  }
  return true;
}

/// sqrt(g' M^{-1} g).
double dual_norm(const Vector& masses, const Vector& gradient) {
  const Index n = gradient.size();
  Vector diagonal = Vector::Zero(n);
  diagonal.head(n - 1) += masses / 3;
  diagonal.tail(n - 1) += masses / 3;
  Matrix x = gradient;
  const Vector off_diagonal = masses / 6;
  if (!solve_tridiagonal(std::move(diagonal), off_diagonal, x)) return std::numeric_limits<double>::infinity();
  return std::sqrt(std::max(0.0, gradient.dot(x.col(0))));
}

}  // namespace

void QuantileStepOptions::validate() const {
  check_positive("quantile_step", "tolerance", tolerance);
  check_at_least("quantile_step", "max_iterations", max_iterations, 1);
}

QuantileStep::QuantileStep(FreeEnergy energy, QuantileStepOptions options) : energy_(std::move(energy)), options_(options) {
  options_.validate();
  if (energy_.dimension() > 1) {
    throw DomainError(fmt::format("quantile_step: the energy has dimension {}, but must be one-dimensional", energy_.dimension()));
  }
}

EnergyValue QuantileStep::energy_value(const QuantileFunction& measure) const {
  const Vector& masses = measure.masses();
  const Vector densities = measure.cell_densities();
  EnergyValue value;
  const auto add = [&](const char* part, double amount) {
    value.parts.emplace_back(part, amount);
    value.total += amount;
  };
  const Vector points = energy_.potential() || energy_.interaction() ? gauss_points(measure.nodes()) : Vector();
  if (const auto* part = energy_.potential()) {
    Vector psi(points.size());
    part->potential->jet(points.data(), points.size(), part->theta, psi.data(), nullptr, nullptr);
    double sum = 0;
    for (Index i = 0; i < masses.size(); ++i) sum += 0.5 * masses[i] * (psi[2 * i] + psi[2 * i + 1]);
    add("potential", sum);
  }
  if (const auto* part = energy_.entropy()) add("entropy", masses.dot(densities.array().log().matrix()) / part->beta);
  if (const auto* part = energy_.porous_medium()) {
    add("porous_medium", part->coefficient / (part->exponent - 1) * masses.dot(densities.array().pow(part->exponent - 1).matrix()));
  }
  if (const auto* part = energy_.interaction()) {
    double sum = 0;
    Vector differences(points.size()), kernel(points.size());
    for (Index p = 0; p < points.size(); ++p) {
      differences = points[p] - points.array();
      part->kernel->jet(differences.data(), differences.size(), part->theta, kernel.data(), nullptr, nullptr);
      double row = 0;
      for (Index q = 0; q < points.size(); ++q) row += 0.5 * masses[q / 2] * kernel[q];
      sum += 0.5 * masses[p / 2] * row;
    }
    add("interaction", 0.5 * sum);
  }
  return value;
}

double QuantileStep::objective(const Vector& nodes, const Vector& from, double h) const {
  for (Index i = 1; i < nodes.size(); ++i) {
    if (!(nodes[i] > nodes[i - 1])) return std::numeric_limits<double>::infinity();
  }
  const Vector moved = nodes - from;
  return energy_value(QuantileFunction(masses_, nodes)).total + moved.dot(mass_times(*masses_, moved).col(0)) / (2 * h);
}

void QuantileStep::differentiate(const Vector& nodes, const Vector& from, double h, Derivatives& out) const {
  const Vector& masses = *masses_;
  const Index cells = masses.size();
  const Vector moved = nodes - from;
  out.gradient = mass_times(masses, moved).col(0) / h;
  out.diagonal = Vector::Zero(cells + 1);
  out.off_diagonal = masses / (6 * h);
  out.diagonal.head(cells) += masses / (3 * h);
  out.diagonal.tail(cells) += masses / (3 * h);

  const double temperature = energy_.entropy() ? 1 / energy_.entropy()->beta : 0;
  const auto* porous = energy_.porous_medium();
  double rounding = 0;
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  for (Index i = 0; i < cells; ++i) {
    const double width = nodes[i + 1] - nodes[i];
    double slope = -temperature * masses[i] / width;  // derivative of the cell's internal energy in its width
    double curvature = temperature * masses[i] / (width * width);
    if (porous) {
      const double pressure = porous->coefficient * masses[i] * std::pow(masses[i] / width, porous->exponent - 1) / width;
      slope -= pressure;
      curvature += porous->exponent * pressure / width;
    }
    out.gradient[i] -= slope;
    out.gradient[i + 1] += slope;
    out.diagonal[i] += curvature;
    out.diagonal[i + 1] += curvature;
    out.off_diagonal[i] -= curvature;
    // A rounding error epsilon |x| of the width moves the slope by curvature times that; divided by the mass it enters eps.
    const double error = curvature * epsilon * std::max(std::abs(nodes[i]), std::abs(nodes[i + 1])) + epsilon * std::abs(slope);
    rounding += 4 * error * error / masses[i];
  }
  out.rounding = std::sqrt(rounding);

  const Vector points = energy_.potential() || energy_.interaction() ? gauss_points(nodes) : Vector();
  Vector first = Vector::Zero(points.size()), second = Vector::Zero(points.size());  // weighted, at the Gauss points
  if (const auto* part = energy_.potential()) {
    part->potential->jet(points.data(), points.size(), part->theta, nullptr, first.data(), second.data());
    for (Index p = 0; p < points.size(); ++p) {
      first[p] *= 0.5 * masses[p / 2];
      second[p] *= 0.5 * masses[p / 2];
    }
  }
  if (const auto* part = energy_.interaction()) {
    const Index n = points.size();
    out.interaction.resize(n, n);
    Vector differences(n), slope(n);
    for (Index q = 0; q < n; ++q) {
      differences = points[q] - points.array();
      part->kernel->jet(differences.data(), n, part->theta, nullptr, slope.data(), out.interaction.col(q).data());
      const double mass = 0.5 * masses[q / 2];
      double force = 0, curvature = 0;
      for (Index p = 0; p < n; ++p) {
        const double weight = mass * 0.5 * masses[p / 2];
        out.interaction(p, q) *= weight;
        force += weight * slope[p];
        curvature += out.interaction(p, q);
      }
      first[q] += force;
      second[q] += curvature;
    }
  }
  if (points.size() > 0) {
    add_to_nodes(first, out.gradient);
    for (Index i = 0; i < cells; ++i) {
      const double a = second[2 * i], b = second[2 * i + 1];
      out.diagonal[i] += gauss_right * gauss_right * a + gauss_left * gauss_left * b;
      out.diagonal[i + 1] += gauss_left * gauss_left * a + gauss_right * gauss_right * b;
      out.off_diagonal[i] += gauss_left * gauss_right * (a + b);
    }
  }
  out.finite = out.gradient.allFinite() && out.diagonal.allFinite();
}

bool QuantileStep::solve(const Derivatives& at, MatrixRef columns) const {
  if (at.interaction.size() == 0) return solve_tridiagonal(at.diagonal, at.off_diagonal, columns);
  // Conjugate gradients on (tridiagonal - P' B P), preconditioned by the tridiagonal part.
  const auto product = [&](const Vector& x) {
    const Index n = x.size();
    Vector y = at.diagonal.cwiseProduct(x);
    y.head(n - 1) += at.off_diagonal.cwiseProduct(x.tail(n - 1));
    y.tail(n - 1) += at.off_diagonal.cwiseProduct(x.head(n - 1));
    Vector coupled = Vector::Zero(n);
    add_to_nodes(at.interaction * gauss_points(x), coupled);
    return Vector(y - coupled);
  };
  const auto precondition = [&](const Vector& r, Vector& z) {
    Matrix column = r;
    if (!solve_tridiagonal(at.diagonal, at.off_diagonal, column)) return false;
    z = column.col(0);
    return true;
  };
  for (Index j = 0; j < columns.cols(); ++j) {
    Vector r = columns.col(j), x = Vector::Zero(r.size()), z, p;
    if (!precondition(r, z)) return false;
    p = z;
    double rz = r.dot(z);
    const double goal = 1e-28 * rz;  // relative error 1e-14 in the preconditioner's norm: rounding level
    for (int i = 0; i < 500 && rz > goal; ++i) {
      const Vector hp = product(p);
      const double curvature = p.dot(hp);
      if (!(curvature > 0)) return false;
      const double alpha = rz / curvature;
      x += alpha * p;
      r -= alpha * hp;
      if (!precondition(r, z)) return false;
      const double next = r.dot(z);
      p = z + (next / rz) * p;
      rz = next;
    }
    columns.col(j) = x;
  }
  return true;
}

StepResult<QuantileFunction> QuantileStep::advance(const QuantileFunction& from, double h) {
  check_positive("quantile_step", "step size h", h);
  if (energy_.interaction() && from.cells() > interaction_limit) {
    throw DomainError(fmt::format("quantile_step: an interaction on {} cells would take {:.1f} GB, but at most {} cells are allowed",
                                  from.cells(), 32e-9 * static_cast<double>(from.cells() * from.cells()), interaction_limit));
  }
  StepResult<QuantileFunction> result;
  const Vector y = from.nodes();
  Vector x = y;
  if (!from.is_monotone()) {
    // Any increasing start serves: the last result if it is of the same flow, else the sorted nodes pulled apart.
    if (result_.size() == y.size() && masses_ == from.masses_ptr()) {
      x = result_;
    } else {
      std::sort(x.data(), x.data() + x.size());
      const double gap = std::max(x[x.size() - 1] - x[0], 1.0) * 1e-6 / static_cast<double>(x.size());
      for (Index i = 1; i < x.size(); ++i) x[i] = std::max(x[i], x[i - 1] + gap);
    }
  }
  masses_ = from.masses_ptr();
  h_ = h;
  result.measure = from;

  const auto convexity = energy_.convexity();
  const double modulus = 1 + h * (convexity ? convexity->kappa : 0.0);
  const bool certified = convexity && modulus > 0;
  const double scale = std::max(1.0, std::sqrt(std::max(0.0, from.covariance()(0, 0))));
  double value = objective(x, y, h);
  if (!std::isfinite(value)) {
    result.status = Status::not_finite;
    return result;
  }
  Derivatives& at = at_result_;
  double residual = std::numeric_limits<double>::infinity();
  double best = residual;
  int without_progress = 0;
  result.status = Status::iteration_limit;
  for (int iteration = 0;; ++iteration) {
    differentiate(x, y, h, at);
    if (!at.finite) {
      result.status = Status::not_finite;
      break;
    }
    residual = dual_norm(*masses_, at.gradient);
    result.iterations = iteration;
    if (h * residual <= options_.tolerance * scale * std::max(modulus, 1e-300) || residual <= 4 * at.rounding) {
      result.status = Status::converged;
      break;
    }
    if (residual < 0.5 * best) {
      best = residual;
      without_progress = 0;
    } else if (++without_progress > 20) {
      result.status = Status::stalled;
      break;
    }
    if (iteration == options_.max_iterations) break;
    Matrix step = -at.gradient;
    if (!solve(at, step)) {
      result.status = Status::step_not_convex;
      break;
    }
    const Vector direction = step.col(0);
    // Largest step that keeps the order, and the largest relative change of a cell.
    double longest = std::numeric_limits<double>::infinity();
    double change = 0;
    for (Index i = 1; i < x.size(); ++i) {
      const double width = x[i] - x[i - 1];
      const double widening = direction[i] - direction[i - 1];
      change = std::max(change, std::abs(widening) / width);
      if (widening < 0) longest = std::min(longest, -width / widening);
    }
    double t = std::min(1.0, 0.95 * longest);
    const double slope = at.gradient.dot(direction);
    // Where the predicted decrease drowns in the rounding of J, J can no longer judge the step; Newton's full step is then
    // taken if it changes no cell by more than a tenth, so that the quadratic model holds.
    const double noise = 1e-13 * (1 + std::abs(value));
    if (!(change <= 0.1 && -slope <= 10 * noise)) {
      double trial = objective(x + t * direction, y, h);
      int halvings = 0;
      while (!(trial <= value + 1e-4 * t * slope + noise) && ++halvings < 60) {
        t *= 0.5;
        trial = objective(x + t * direction, y, h);
      }
      if (halvings >= 60) {
        result.status = Status::stalled;
        break;
      }
      value = trial;
    }
    x += t * direction;
    if (!(x.cwiseAbs().maxCoeff() < 1e100)) {
      result.status = Status::no_minimiser;
      break;
    }
  }
  result_ = x;
  result.measure = from.with_coordinates(x);
  result.residual = residual;
  if (certified) {
    result.gap = h * residual * residual / (2 * modulus);
    result.w2_bound = h * residual / modulus;
  }
  if (convexity && !(modulus > 0)) result.status = Status::step_not_convex;
  const Vector moved = x - y;
  result.w2_moved = std::sqrt(std::max(0.0, moved.dot(mass_times(*masses_, moved).col(0))));
  result.energy = energy_value(result.measure);
  result.objective = result.energy.total + result.w2_moved * result.w2_moved / (2 * h);
  return result;
}

Matrix QuantileStep::tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const {
  if (result_.size() == 0) throw DomainError("quantile_step: tangent() needs an advance() before it");
  const Vector& masses = *masses_;
  const Index nodes = result_.size();
  Matrix columns = Matrix::Zero(nodes, std::max(from_tangent.cols(), parameter_tangent.cols()));
  if (from_tangent.size() > 0) {
    check_size("quantile_step", "the start's tangent", from_tangent.rows(), nodes);
    columns += mass_times(masses, from_tangent) / h_;
  }
  if (parameter_tangent.size() > 0) {
    check_size("quantile_step", "the parameter tangent", parameter_tangent.rows(), energy_.parameters().size());
    // d(grad F)/d(parameters), one column a parameter, in the order of FreeEnergy::parameters().
    Matrix mixed = Matrix::Zero(nodes, parameter_tangent.rows());
    Index at = 0;
    const Vector points = gauss_points(result_);
    if (const auto* part = energy_.potential()) {
      const Matrix derivative = part->potential->evaluate({1, 1}, points.transpose(), part->theta);
      for (Index j = 0; j < derivative.rows(); ++j) {
        Vector weighted = derivative.row(j).transpose();
        for (Index p = 0; p < weighted.size(); ++p) weighted[p] *= 0.5 * masses[p / 2];
        Vector column = Vector::Zero(nodes);
        add_to_nodes(weighted, column);
        mixed.col(at++) = column;
      }
    }
    const auto add_widths = [&](Index column, auto slope) {  // slope(i) = derivative in the width of cell i
      for (Index i = 0; i < masses.size(); ++i) {
        mixed(i, column) -= slope(i);
        mixed(i + 1, column) += slope(i);
      }
    };
    if (const auto* part = energy_.entropy()) {
      add_widths(at++, [&](Index i) { return masses[i] / ((result_[i + 1] - result_[i]) * part->beta * part->beta); });
    }
    if (const auto* part = energy_.porous_medium()) {
      add_widths(at++, [&](Index i) {
        const double width = result_[i + 1] - result_[i];
        return -masses[i] * std::pow(masses[i] / width, part->exponent - 1) / width;
      });
    }
    if (const auto* part = energy_.interaction()) {
      const Index n = points.size();
      Matrix forces = Matrix::Zero(n, part->theta.size());
      for (Index q = 0; q < n; ++q) {
        const Matrix differences = (points[q] - points.array()).matrix().transpose();
        const Matrix derivative = part->kernel->evaluate({1, 1}, differences, part->theta);
        for (Index p = 0; p < n; ++p) forces.row(q) += 0.25 * masses[q / 2] * masses[p / 2] * derivative.col(p).transpose();
      }
      for (Index j = 0; j < forces.cols(); ++j) {
        Vector column = Vector::Zero(nodes);
        add_to_nodes(forces.col(j), column);
        mixed.col(at++) = column;
      }
    }
    columns -= mixed * parameter_tangent;
  }
  if (!solve(at_result_, columns)) throw DomainError("quantile_step: tangent() needs a step whose Hessian is positive definite");
  return columns;
}

}  // namespace jko
