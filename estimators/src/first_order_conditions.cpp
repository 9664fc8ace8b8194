#include <jko/estimators/first_order_conditions.hpp>

#include "first_order_steps.hpp"

#include <jko/core/check.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace jko::estimators {
namespace {

/// Contributions of each arrival point to the conditions and to their derivative in the parameters (theta, 1/beta, interaction theta).
struct Contributions {
  Matrix value;                   ///< tests x n; its mean is the condition without the transport term
  std::vector<Matrix> slope;      ///< a parameter each, likewise
  Matrix influence;               ///< of the mean of value, not centred: differs from value for the interaction, which has two samples
};

/// sum_c gradient_c diag(field_c): the tests' gradients along a field (d x n).
Matrix along(const std::vector<Matrix>& gradient, const ConstMatrixRef& field) {
  Matrix out = gradient.front() * field.row(0).asDiagonal();
  for (std::size_t c = 1; c < gradient.size(); ++c) out += gradient[c] * field.row(static_cast<Index>(c)).asDiagonal();
  return out;
}

void add_interaction(Contributions& out, const FirstOrderStep& s, const FreeEnergy::InteractionPart& part) {
  const Index n = s.x.cols(), d = s.x.rows(), count = part.theta.size();
  if (part.kernel->quadratic(part.theta)) {  // its force is affine, so that the mean over the others is the force from their mean
    const Matrix from_mean = s.x.colwise() - s.x.rowwise().mean(), force = part.kernel->evaluate({1, 0}, from_mean, part.theta);
    const Matrix by_theta = part.kernel->evaluate({1, 1}, from_mean, part.theta), acting = along(s.gradient, force);
    out.value -= acting;
    // The second projection: this point as the one that pulls, grad W odd; up to a constant.
    out.influence -= acting;
    for (std::size_t c = 0; c < s.gradient.size(); ++c) out.influence += s.gradient[c].rowwise().mean() * force.row(static_cast<Index>(c));
    for (Index j = 0; j < count; ++j) out.slope.push_back(-along(s.gradient, by_theta.middleRows(d * j, d)));
    return;
  }
  Matrix force(d, n), by_theta(d * count, n);
  for (Index i = 0; i < n; ++i) {
    const Matrix difference = (-s.x).colwise() + s.x.col(i);
    const Matrix pull = part.kernel->evaluate({1, 0}, difference, part.theta);
    force.col(i) = pull.rowwise().mean();
    by_theta.col(i) = part.kernel->evaluate({1, 1}, difference, part.theta).rowwise().mean();
    for (std::size_t c = 0; c < s.gradient.size(); ++c) out.influence.col(i) += s.gradient[c] * pull.row(static_cast<Index>(c)).transpose() / static_cast<double>(n);
  }
  const Matrix acting = along(s.gradient, force);
  out.value -= acting;
  out.influence -= acting;
  for (Index j = 0; j < count; ++j) out.slope.push_back(-along(s.gradient, by_theta.middleRows(d * j, d)));
}

Contributions contributions(const FirstOrderStep& s, const FreeEnergy& energy) {
  const Index d = s.x.rows();
  Contributions out{Matrix::Zero(s.laplacian.rows(), s.x.cols()), {}, {}};
  if (const auto* part = energy.potential()) {
    const Matrix by_theta = part->potential->evaluate({1, 1}, s.x, part->theta);
    out.value -= along(s.gradient, part->potential->evaluate({1, 0}, s.x, part->theta));
    for (Index j = 0; j < part->theta.size(); ++j) out.slope.push_back(-along(s.gradient, by_theta.middleRows(d * j, d)));
  }
  if (const auto* part = energy.entropy()) {
    out.value += s.laplacian / part->beta;
    out.slope.push_back(s.laplacian);  // in 1/beta
  }
  out.influence = out.value;
  if (const auto* part = energy.interaction()) add_interaction(out, s, *part);
  return out;
}

/// Of the means of two lists of contributions of the same points.
Matrix covariance_of(const Matrix& a, const Matrix& b) {
  const auto n = static_cast<double>(a.cols());
  return (a.colwise() - a.rowwise().mean()) * (b.colwise() - b.rowwise().mean()).transpose() / (n * (n - 1));
}

/// Everything at one parameter value.
struct State {
  Vector g;                   ///< conditions
  Matrix jacobian;            ///< conditions x all parameters
  Matrix omega;
  std::vector<Matrix> correlation;  ///< of a parameter's column of the Jacobian with the conditions
  std::vector<Contributions> parts;
};

State evaluate(const std::vector<FirstOrderStep>& steps, const FreeEnergy& energy) {
  const Index q = steps.front().laplacian.rows(), total = q * static_cast<Index>(steps.size());
  State out{Vector(total), Matrix::Zero(total, energy.parameters().size()), Matrix::Zero(total, total), {}, {}};
  out.correlation.assign(static_cast<std::size_t>(energy.parameters().size()), Matrix::Zero(total, total));
  for (std::size_t k = 0; k < steps.size(); ++k) {
    out.parts.push_back(contributions(steps[k], energy));
    const Index row = q * static_cast<Index>(k);
    out.g.segment(row, q) = steps[k].transport - steps[k].map_bias + out.parts[k].value.rowwise().mean();
    for (std::size_t j = 0; j < out.parts[k].slope.size(); ++j) out.jacobian.block(row, static_cast<Index>(j), q, 1) = out.parts[k].slope[j].rowwise().mean();
  }
  // Snapshot s is where step s - 1 arrives and step s departs.
  for (std::size_t s = 0; s <= steps.size(); ++s) {
    const bool arrives = s > 0, departs = s < steps.size();
    const Index n = arrives ? steps[s - 1].x.cols() : steps[s].departure.cols();
    Matrix rows((arrives ? q : 0) + (departs ? q : 0), n);
    if (arrives) rows.topRows(q) = steps[s - 1].arrival + out.parts[s - 1].influence;
    if (departs) rows.bottomRows(q) = steps[s].departure;
    const Index first = arrives ? q * (static_cast<Index>(s) - 1) : 0;
    out.omega.block(first, first, rows.rows(), rows.rows()) += covariance_of(rows, rows);
    if (!arrives) continue;
    for (std::size_t j = 0; j < out.correlation.size(); ++j) out.correlation[j].block(first, first, q, rows.rows()) += covariance_of(out.parts[s - 1].slope[j], rows);
  }
  return out;
}

}  // namespace

FirstOrderFit fit_first_order(const Snapshots& snapshots, const FreeEnergy& start, const FirstOrderOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  snapshots.validate();
  if (start.dimension() > 0) check_size("fit_first_order", "the snapshots' dimension", snapshots.dimension(), start.dimension());
  if (start.porous_medium()) throw DomainError("fit_first_order: the energy has a porous-medium part, whose condition needs the density");
  const Index d = snapshots.dimension();
  const int degree = options.degree.value_or(d == 1 ? 4 : 2);
  check_in("fit_first_order", "degree", degree, 1, 8);
  check_in("fit_first_order", "splits", options.splits, 0, 1000);
  check_at_least("fit_first_order", "threads", options.threads, 1);
  check_positive("fit_first_order", "tolerance", options.tolerance);
  check_at_least("fit_first_order", "max_iterations", options.max_iterations, 1);
  const auto list = start.parameter_list();
  FirstOrderFit out;
  Fit& fit = out.fit;
  fit.fixed = options.fixed.empty() ? std::vector<bool>(list.size(), false) : options.fixed;
  if (fit.fixed.size() != list.size()) throw ShapeError("fit_first_order: the list of fixed parameters does not fit the energy");
  fit.estimator = "first-order conditions";
  fit.theorem = "generalised method of moments, sample sizes -> infinity; off by O(tau) where the data are not of the JKO scheme";
  if (const auto* part = start.potential()) fit.model = part->potential->describe();
  std::vector<Index> free;
  Index beta_at = -1;
  for (std::size_t i = 0; i < list.size(); ++i) {
    fit.names.push_back(list[i].name);
    if (!fit.fixed[i]) free.push_back(static_cast<Index>(i));
    if (start.entropy() && list[i].name == "beta") beta_at = static_cast<Index>(i);
  }
  const auto p = static_cast<Index>(free.size());
  const auto step_count = static_cast<Index>(snapshots.samples.size()) - 1;
  if (p == 0) throw DomainError("fit_first_order: every parameter is fixed");
  // Standardised by all snapshots together.
  Vector sum = Vector::Zero(d), square = Vector::Zero(d);
  for (std::size_t k = 0; k < snapshots.samples.size(); ++k) {
    const Matrix& sample = snapshots.samples[k];
    for (Index c = 0; c < d; ++c) {
      if (sample.row(c).minCoeff() == sample.row(c).maxCoeff()) throw DomainError(fmt::format("fit_first_order: the snapshot at time {:g} is constant{}", snapshots.times[static_cast<Index>(k)], d == 1 ? "" : fmt::format(" in coordinate {}", c + 1)));
    }
    sum += sample.rowwise().sum();
    fit.n += sample.cols();
  }
  const Vector centre = sum / static_cast<double>(fit.n);
  for (const Matrix& sample : snapshots.samples) square += (sample.colwise() - centre).rowwise().squaredNorm();
  for (const Matrix& sample : snapshots.samples) {
    if (d > 1 && options.splits > 0) check_at_least("fit_first_order", "the number of points of a snapshot that is halved", sample.cols(), 16);
  }
  const TestFunctions tests(degree, centre, (square / static_cast<double>(fit.n)).cwiseSqrt());
  const Index q = tests.size();
  if (step_count * q < p) throw DomainError(fmt::format("fit_first_order: {} conditions cannot determine {} parameters: raise the degree or add snapshots", step_count * q, p));
  const auto steps = first_order_steps(snapshots, tests, options.splits, options.seed, options.threads);
  fit.duration = snapshots.times[step_count] - snapshots.times[0];

  FreeEnergy energy = start;
  Vector x = energy.parameters();  // with 1/beta in beta's place
  if (beta_at >= 0) x[beta_at] = 1 / x[beta_at];
  const auto set = [&](const Vector& values) {
    Vector natural = values;
    if (beta_at >= 0) natural[beta_at] = 1 / natural[beta_at];
    energy.set_parameters(natural);
  };
  Matrix covariance = Matrix::Zero(x.size(), x.size());
  State at;
  fit.status = Status::iteration_limit;
  Eigen::LDLT<Matrix> weight;
  Matrix a(step_count * q, p);
  bool updating = false;    // far from the optimum least squares with the weights of the last iterate is safer
  std::vector<Index> held;  // parameters that the last move would have carried over their bounds
  for (fit.iterations = 1; fit.iterations <= options.max_iterations; ++fit.iterations) {
    set(x);
    at = evaluate(steps, energy);
    const Vector unit = at.omega.diagonal().cwiseSqrt().cwiseMax(1e-300).cwiseInverse();
    weight.compute(unit.asDiagonal() * at.omega * unit.asDiagonal());
    if (!at.g.allFinite() || !at.omega.allFinite()) {
      fit.status = Status::not_finite;
      break;
    }
    for (Index j = 0; j < p; ++j) a.col(j) = unit.asDiagonal() * at.jacobian.col(free[static_cast<std::size_t>(j)]);
    Matrix adjusted = a;
    if (updating) {
      // The gradient of g' Omega^{-1} g takes from the Jacobian what is correlated with the conditions, and with it a bias of order 1/n.
      const Vector residual = unit.asDiagonal() * weight.solve(Vector(unit.asDiagonal() * at.g));
      for (Index j = 0; j < p; ++j) adjusted.col(j) -= unit.asDiagonal() * (at.correlation[static_cast<std::size_t>(free[static_cast<std::size_t>(j)])] * residual);
    }
    const Matrix weighted = weight.solve(adjusted);
    const Matrix information = a.transpose() * weight.solve(a);
    const Vector scale = information.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
    const Eigen::LDLT<Matrix> solver(scale.asDiagonal() * information * scale.asDiagonal());
    if (!weight.isPositive() || weight.vectorD().minCoeff() <= 0 || !solver.isPositive() || solver.vectorD().minCoeff() <= 1e-12) {
      fit.status = Status::singular_information;
      break;
    }
    const Matrix inverse = scale.asDiagonal() * solver.solve(Matrix(scale.asDiagonal()));
    Vector move = -(weighted.transpose() * a).partialPivLu().solve(weighted.transpose() * Vector(unit.asDiagonal() * at.g));
    covariance.setZero();
    for (Index i = 0; i < p; ++i) {
      for (Index j = 0; j < p; ++j) covariance(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]) = inverse(i, j);
    }
    // 1/beta stays positive during the iteration: at most nine tenths of the way to zero. Where that is a thousandth of its standard error, zero is where the conditions lead.
    bool shortened = false;
    for (Index j = 0; j < p; ++j) {
      if (free[static_cast<std::size_t>(j)] != beta_at || x[beta_at] + move[j] > 0) continue;
      if (x[beta_at] < 1e-3 * std::sqrt(inverse(j, j))) fit.status = Status::no_minimiser;
      shortened = true;
      move *= -0.9 * x[beta_at] / move[j];
    }
    if (fit.status == Status::no_minimiser) break;
    fit.gradient_norm = 0;
    held.clear();
    for (Index j = 0; j < p; ++j) {
      const Index i = free[static_cast<std::size_t>(j)];
      const Parameter& parameter = list[static_cast<std::size_t>(i)];
      const double before = x[i];
      x[i] += move[j];
      if (i != beta_at && !(x[i] > parameter.lower && x[i] < parameter.upper)) {
        x[i] = std::clamp(x[i], parameter.lower, parameter.upper);
        held.push_back(i);
      }
      fit.gradient_norm = std::max(fit.gradient_norm, std::abs(x[i] - before) / std::sqrt(inverse(j, j)));
    }
    if (shortened) continue;
    if (updating && fit.gradient_norm <= options.tolerance) {
      fit.status = Status::converged;
      break;
    }
    updating = updating || fit.gradient_norm < 0.1;
  }
  fit.iterations = std::min(fit.iterations, options.max_iterations);
  if (fit.status == Status::converged && !held.empty() && static_cast<Index>(held.size()) < p) {
    // The others again with these known: their errors are conditional on the bounds.
    FirstOrderOptions rest = options;
    rest.fixed = fit.fixed;
    for (const Index i : held) rest.fixed[static_cast<std::size_t>(i)] = true;
    set(x);
    FirstOrderFit bounded = fit_first_order(snapshots, energy, rest);
    bounded.fit.fixed = fit.fixed;
    if (bounded.fit.status == Status::converged) bounded.fit.status = Status::parameter_at_bound;
    for (const Index i : held) bounded.fit.warnings.push_back(fmt::format("{} is at its bound {:g} and is treated as known", list[static_cast<std::size_t>(i)].name, x[i]));
    return bounded;
  }
  if (fit.status == Status::converged && !held.empty()) fit.status = Status::parameter_at_bound;
  out.conditions = at.g;
  out.condition_covariance = at.omega;
  if (fit.status == Status::no_minimiser) {
    fit.warnings.emplace_back("the conditions ask for a negative 1/beta: too few points to tell beta from the curvature, steps too large, or the wrong family; fix beta where it is known");
  }
  fit.estimate = x;
  if (beta_at >= 0) {
    const double beta = 1 / x[beta_at];
    fit.estimate[beta_at] = beta;
    covariance.row(beta_at) *= -beta * beta;
    covariance.col(beta_at) *= -beta * beta;
  }
  fit.covariance = fit.sandwich = covariance;
  out.correction = Vector::Zero(x.size());
  if (fit.status == Status::converged && d > 1 && options.splits > 0) {
    // To first order the estimate moved by (A' W A)^{-1} A' W bias, A and the bias in units of the conditions' errors.
    Vector bias(at.g.size());
    for (std::size_t k = 0; k < steps.size(); ++k) bias.segment(q * static_cast<Index>(k), q) = steps[k].map_bias;
    const Vector unit = at.omega.diagonal().cwiseSqrt().cwiseInverse();
    const Vector moved = (a.transpose() * weight.solve(a)).ldlt().solve(a.transpose() * weight.solve(Vector(unit.asDiagonal() * bias)));
    for (Index j = 0; j < p; ++j) {
      const Index i = free[static_cast<std::size_t>(j)];
      out.correction[i] = i == beta_at ? -moved[j] / (x[i] * x[i]) : moved[j];
      const double share = std::abs(out.correction[i]) / std::sqrt(covariance(i, i));
      if (share > 0.5) fit.warnings.push_back(fmt::format("the optimal maps' bias moved {} by {:.2g} standard errors; halving the samples estimates it to leading order only: more points, or --bootstrap, would show what is left", fit.names[static_cast<std::size_t>(i)], share));
    }
  }
  const auto df = static_cast<int>(at.g.size() - p);
  if (fit.status == Status::converged || fit.status == Status::no_minimiser) {
    const Vector unit = at.omega.diagonal().cwiseSqrt().cwiseInverse();
    const Vector g = unit.asDiagonal() * at.g;
    const double hansen = g.dot(weight.solve(g));
    out.overidentification = {"over-identification", hansen, df, df > 0 ? chi_square_tail(hansen, df) : 1.0};
    // The weakest direction of the weighted Jacobian, and whether its gradient differs from sampling noise.
    const Matrix whitened = a.transpose() * weight.solve(a);
    const Vector scale = whitened.diagonal().cwiseSqrt().cwiseInverse();
    const Eigen::SelfAdjointEigenSolver<Matrix> e(scale.asDiagonal() * whitened * scale.asDiagonal());
    const Vector direction = scale.asDiagonal() * e.eigenvectors().col(0);
    double statistic = 0;
    int rank = 0;
    for (std::size_t k = 0; k < steps.size(); ++k) {
      Matrix moving = Matrix::Zero(q, steps[k].x.cols());
      for (Index j = 0; j < p; ++j) moving += direction[j] * at.parts[k].slope[static_cast<std::size_t>(free[static_cast<std::size_t>(j)])];
      const Vector mean = moving.rowwise().mean();
      const Eigen::SelfAdjointEigenSolver<Matrix> spread(covariance_of(moving, moving));
      // A test function whose gradient is the same at every point (a constant) has no noise: any value but zero identifies.
      const double floor = 1e-20 * (mean.squaredNorm() + spread.eigenvalues()[q - 1]);
      for (Index i = 0; i < q; ++i) {
        const double projected = spread.eigenvectors().col(i).dot(mean);
        if (spread.eigenvalues()[i] <= floor && projected * projected <= floor) continue;
        statistic += projected * projected / std::max(spread.eigenvalues()[i], floor);
        ++rank;
      }
    }
    rank = std::max(rank - static_cast<int>(p) + 1, 1);
    out.rank = {"rank", statistic, rank, chi_square_tail(statistic, rank)};
    if (out.rank.p_value > options.identification) {
      fit.status = Status::singular_information;
      fit.warnings.emplace_back("the weakest combination of the parameters moves the conditions no more than sampling noise");
    } else if (df > 0 && out.overidentification.p_value < 0.01) {
      fit.warnings.push_back(fmt::format("the steps disagree (over-identification p = {:.2g}): a wrong family, or steps too large for the O(tau) error", out.overidentification.p_value));
    }
  }
  fit.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
