#include <jko/estimators/first_order_conditions.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace jko::estimators {
namespace {

/// Derivatives of z^i/i, z = (x - centre)/scale.
struct Tests {
  int degree;
  double centre, scale;
  [[nodiscard]] Matrix first(const ConstVectorRef& x) const {  // degree x n
    Matrix out(degree, x.size());
    for (Index n = 0; n < x.size(); ++n) {
      double power = 1 / scale;
      for (int i = 0; i < degree; ++i, power *= (x[n] - centre) / scale) out(i, n) = power;
    }
    return out;
  }
  [[nodiscard]] Matrix second(const ConstVectorRef& x) const {
    Matrix out(degree, x.size());
    for (Index n = 0; n < x.size(); ++n) {
      double power = 1 / (scale * scale);
      out(0, n) = 0;
      for (int i = 1; i < degree; ++i, power *= (x[n] - centre) / scale) out(i, n) = i * power;
    }
    return out;
  }
};

/// The parts of a step's conditions that depend on the data only.
struct Step {
  Vector x;                    ///< arrival, sorted
  Matrix first, second;        ///< of the test functions there
  Vector transport;            ///< E phi' (T - x)/tau
  Matrix arrival, departure;   ///< influence functions of that term at the sorted samples (not centred)
};

/// Mean of the quantile function of `from` (sorted) over each cell of n equal masses.
Vector cell_means(const Vector& from, Index n) {
  const auto size = static_cast<double>(from.size()), cells = static_cast<double>(n);
  Vector out = Vector::Zero(n);
  for (Index i = 0; i < n; ++i) {
    const double a = static_cast<double>(i) * size / cells, b = static_cast<double>(i + 1) * size / cells;
    for (Index j = static_cast<Index>(a); j < std::min(static_cast<Index>(std::ceil(b - 1e-12 * size)), from.size()); ++j) {
      out[i] += from[j] * (std::min(b, static_cast<double>(j + 1)) - std::max(a, static_cast<double>(j)));
    }
    out[i] /= b - a;
  }
  return out;
}

/// The sorted sample's value at mass i/n: between two order statistics their mean.
double at_mass(const Vector& sorted, Index i, Index n) {
  const double position = static_cast<double>(i) * static_cast<double>(sorted.size()) / static_cast<double>(n);
  const Index below = std::clamp<Index>(static_cast<Index>(std::ceil(position - 1e-9)) - 1, 0, sorted.size() - 1);
  const Index above = std::clamp<Index>(static_cast<Index>(std::floor(position + 1e-9)), 0, sorted.size() - 1);
  return 0.5 * (sorted[below] + sorted[above]);
}

Step step_of(const Vector& from, const Vector& to, double tau, const Tests& tests) {
  Step s{to, tests.first(to), tests.second(to), {}, {}, {}};
  const Vector moved = (cell_means(from, to.size()) - to) / tau;
  s.transport = s.first * moved / static_cast<double>(to.size());
  // int phi'(Q1) (Q0 - Q1) du: a sample moves its quantile function by -(1{X <= x} - F)/rho, so that its influence is an integral of the integrand's
  // derivative in Q0 or Q1 up to X; between order statistics the mass is constant.
  s.departure = Matrix::Zero(tests.degree, from.size());
  for (Index j = 1; j < from.size(); ++j) {
    const Vector point = Vector::Constant(1, at_mass(to, j, from.size()));
    s.departure.col(j) = s.departure.col(j - 1) + tests.first(point) * ((from[j] - from[j - 1]) / tau);
  }
  s.arrival = Matrix::Zero(tests.degree, to.size());
  for (Index j = 1; j < to.size(); ++j) {
    const Vector point = Vector::Constant(1, 0.5 * (to[j] + to[j - 1]));
    const double image = at_mass(from, j, to.size());
    s.arrival.col(j) = s.arrival.col(j - 1) + (tests.second(point) * (image - point[0]) - tests.first(point)) * ((to[j] - to[j - 1]) / tau);
  }
  return s;
}

/// Contributions of each arrival point to the conditions and to their derivative in the parameters (theta, 1/beta, interaction theta).
struct Contributions {
  Matrix value;                   ///< degree x n; its mean is the condition without the transport term
  std::vector<Matrix> slope;      ///< a parameter each, likewise
  Matrix influence;               ///< of the mean of value, not centred: differs from value for the interaction, which has two samples
};

Contributions contributions(const Step& s, const FreeEnergy& energy) {
  const Index n = s.x.size();
  const Matrix points = s.x.transpose();
  Contributions out{Matrix::Zero(s.first.rows(), n), {}, {}};
  if (const auto* part = energy.potential()) {
    const Matrix slope = part->potential->evaluate({1, 0}, points, part->theta), by_theta = part->potential->evaluate({1, 1}, points, part->theta);
    out.value -= s.first * slope.row(0).asDiagonal();
    for (Index j = 0; j < by_theta.rows(); ++j) out.slope.push_back(-(s.first * by_theta.row(j).asDiagonal()));
  }
  if (const auto* part = energy.entropy()) {
    out.value += s.second / part->beta;
    out.slope.push_back(s.second);  // in 1/beta
  }
  out.influence = out.value;
  if (const auto* part = energy.interaction()) {
    const Index count = part->theta.size();
    std::vector<Matrix> slope(static_cast<std::size_t>(count), Matrix::Zero(s.first.rows(), n));
    for (Index i = 0; i < n; ++i) {
      const Matrix difference = (s.x[i] - s.x.array()).matrix().transpose();
      const Vector force = part->kernel->evaluate({1, 0}, difference, part->theta).row(0).transpose();
      const Matrix by_theta = part->kernel->evaluate({1, 1}, difference, part->theta);
      out.value.col(i) -= s.first.col(i) * force.mean();
      // The second projection: this point as the one that pulls, W' odd.
      out.influence.col(i) += -s.first.col(i) * force.mean() + s.first * force / static_cast<double>(n);
      for (Index j = 0; j < count; ++j) slope[static_cast<std::size_t>(j)].col(i) = -s.first.col(i) * by_theta.row(j).mean();
    }
    out.slope.insert(out.slope.end(), slope.begin(), slope.end());
  }
  return out;
}

Matrix covariance_of(const Matrix& rows) {
  const Matrix centred = rows.colwise() - rows.rowwise().mean();
  const auto n = static_cast<double>(rows.cols());
  return centred * centred.transpose() / (n * (n - 1));
}

/// Everything at one parameter value.
struct State {
  Vector g;                   ///< conditions
  Matrix jacobian;            ///< conditions x all parameters
  Matrix omega;
  std::vector<Contributions> parts;
};

State evaluate(const std::vector<Step>& steps, const FreeEnergy& energy) {
  const Index q = steps.front().first.rows(), total = q * static_cast<Index>(steps.size());
  State out{Vector(total), Matrix::Zero(total, energy.parameters().size()), Matrix::Zero(total, total), {}};
  for (std::size_t k = 0; k < steps.size(); ++k) {
    out.parts.push_back(contributions(steps[k], energy));
    const Index row = q * static_cast<Index>(k);
    out.g.segment(row, q) = steps[k].transport + out.parts[k].value.rowwise().mean();
    for (std::size_t j = 0; j < out.parts[k].slope.size(); ++j) out.jacobian.block(row, static_cast<Index>(j), q, 1) = out.parts[k].slope[j].rowwise().mean();
  }
  // Snapshot s is where step s - 1 arrives and step s departs.
  for (std::size_t s = 0; s <= steps.size(); ++s) {
    const bool arrives = s > 0, departs = s < steps.size();
    const Index n = arrives ? steps[s - 1].x.size() : steps[s].departure.cols();
    Matrix rows((arrives ? q : 0) + (departs ? q : 0), n);
    if (arrives) rows.topRows(q) = steps[s - 1].arrival + out.parts[s - 1].influence;
    if (departs) rows.bottomRows(q) = steps[s].departure;
    const Index first = arrives ? q * (static_cast<Index>(s) - 1) : 0;
    out.omega.block(first, first, rows.rows(), rows.rows()) += covariance_of(rows);
  }
  return out;
}

}  // namespace

FirstOrderFit fit_first_order(const Snapshots& snapshots, const FreeEnergy& start, const FirstOrderOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  snapshots.validate();
  if (snapshots.dimension() != 1 || start.dimension() > 1) throw DomainError("fit_first_order: the snapshots and the energy must be one-dimensional");
  if (start.porous_medium()) throw DomainError("fit_first_order: the energy has a porous-medium part, whose condition needs the density");
  check_in("fit_first_order", "degree", options.degree, 1, 8);
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
  if (step_count * options.degree < p) throw DomainError(fmt::format("fit_first_order: {} conditions cannot determine {} parameters: raise the degree or add snapshots", step_count * options.degree, p));

  // Standardised by all snapshots together.
  double sum = 0, square = 0, size = 0;
  std::vector<Vector> sorted;
  for (const Matrix& sample : snapshots.samples) {
    sorted.emplace_back(sample.row(0).transpose());
    std::sort(sorted.back().begin(), sorted.back().end());
    if (sorted.back()[0] == sorted.back()[sorted.back().size() - 1]) throw DomainError("fit_first_order: a snapshot is constant");
    sum += sample.sum();
    size += static_cast<double>(sample.cols());
    fit.n += sample.cols();
  }
  const double centre = sum / size;
  for (const Vector& s : sorted) square += (s.array() - centre).square().sum();
  const Tests tests{options.degree, centre, std::sqrt(square / size)};
  std::vector<Step> steps;
  for (std::size_t k = 0; k + 1 < sorted.size(); ++k) {
    steps.push_back(step_of(sorted[k], sorted[k + 1], snapshots.times[static_cast<Index>(k) + 1] - snapshots.times[static_cast<Index>(k)], tests));
  }
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
  Matrix a(step_count * options.degree, p);
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
    const Matrix weighted = weight.solve(a);
    const Matrix information = a.transpose() * weighted;
    const Vector scale = information.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
    const Eigen::LDLT<Matrix> solver(scale.asDiagonal() * information * scale.asDiagonal());
    if (!weight.isPositive() || weight.vectorD().minCoeff() <= 0 || !solver.isPositive() || solver.vectorD().minCoeff() <= 1e-12) {
      fit.status = Status::singular_information;
      break;
    }
    const Matrix inverse = scale.asDiagonal() * solver.solve(Matrix(scale.asDiagonal()));
    Vector move = -inverse * (weighted.transpose() * Vector(unit.asDiagonal() * at.g));
    covariance.setZero();
    for (Index i = 0; i < p; ++i) {
      for (Index j = 0; j < p; ++j) covariance(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]) = inverse(i, j);
    }
    // 1/beta stays positive during the iteration: at most nine tenths of the way to zero.
    for (Index j = 0; j < p; ++j) {
      if (free[static_cast<std::size_t>(j)] == beta_at && x[beta_at] + move[j] <= 0) move *= -0.9 * x[beta_at] / move[j];
    }
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
    if (fit.gradient_norm <= options.tolerance) {
      fit.status = Status::converged;
      break;
    }
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
  if (beta_at >= 0 && !fit.fixed[static_cast<std::size_t>(beta_at)] && x[beta_at] < 1e-12) {
    fit.status = Status::no_minimiser;
    fit.warnings.emplace_back("the conditions ask for a negative 1/beta: the steps are too large, or the family is wrong");
  }
  fit.estimate = x;
  if (beta_at >= 0) {
    const double beta = 1 / x[beta_at];
    fit.estimate[beta_at] = beta;
    covariance.row(beta_at) *= -beta * beta;
    covariance.col(beta_at) *= -beta * beta;
  }
  fit.covariance = fit.sandwich = covariance;
  const auto df = static_cast<int>(at.g.size() - p);
  if (fit.status == Status::converged) {
    const Vector unit = at.omega.diagonal().cwiseSqrt().cwiseInverse();
    const Vector g = unit.asDiagonal() * at.g;
    const double hansen = g.dot(weight.solve(g));
    out.overidentification = {"over-identification", hansen, df, df > 0 ? chi_square_tail(hansen, df) : 1.0};
    // The weakest direction of the weighted Jacobian, and whether its gradient differs from sampling noise.
    const Matrix whitened = a.transpose() * weight.solve(a);
    const Vector scale = whitened.diagonal().cwiseSqrt().cwiseInverse();
    const Eigen::SelfAdjointEigenSolver<Matrix> e(scale.asDiagonal() * whitened * scale.asDiagonal());
    const Vector direction = scale.asDiagonal() * e.eigenvectors().col(0);
    const Index q = options.degree;
    double statistic = 0;
    int rank = 0;
    for (std::size_t k = 0; k < steps.size(); ++k) {
      Matrix along = Matrix::Zero(q, steps[k].x.size());
      for (Index j = 0; j < p; ++j) along += direction[j] * at.parts[k].slope[static_cast<std::size_t>(free[static_cast<std::size_t>(j)])];
      const Vector mean = along.rowwise().mean();
      const Eigen::SelfAdjointEigenSolver<Matrix> spread(covariance_of(along));
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
