#include <jko/estimators/snapshot_flow.hpp>

#include <jko/core/check.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <Eigen/Cholesky>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numbers>
#include <vector>

namespace jko::estimators {
namespace {

/// Gram matrix of the hat functions of cells with these masses.
Matrix gram(const Vector& masses) {
  const Index n = masses.size();
  Matrix out = Matrix::Zero(n + 1, n + 1);
  for (Index i = 0; i < n; ++i) {
    out(i, i) += masses[i] / 3;
    out(i + 1, i + 1) += masses[i] / 3;
    out(i, i + 1) += masses[i] / 6;
    out(i + 1, i) += masses[i] / 6;
  }
  return out;
}

/// Masses between Chebyshev points, light at both ends; cells lighter than `floor` merged with their inner neighbour.
Vector graded_masses(Index cells, double floor) {
  // Edges u = (1 - cos(pi i/n))/2.
  std::vector<double> left;  // of the lower half, then mirrored: exactly symmetric
  const auto edge = [&](Index i) { return 0.5 * (1 - std::cos(std::numbers::pi * static_cast<double>(i) / static_cast<double>(cells))); };
  double last = 0;
  for (Index i = 1; 2 * i <= cells; ++i) {
    if (edge(i) - last < floor) continue;
    left.push_back(edge(i) - last);
    last = edge(i);
  }
  const double middle = 1 - 2 * last;  // zero for an even number of cells that all stand
  std::vector<double> all = left;
  if (middle >= floor) all.push_back(middle);
  else if (!all.empty()) all.back() += 0.5 * middle, left.back() = all.back();
  all.insert(all.end(), left.rbegin(), left.rend());
  Vector out = Eigen::Map<const Vector>(all.data(), static_cast<Index>(all.size()));
  return out / out.sum();
}

/// Hat functions at mass u: a row of nodes.
class Hats {
 public:
  explicit Hats(const Vector& masses) : cumulated_(masses.size() + 1) {
    cumulated_[0] = 0;
    for (Index i = 0; i < masses.size(); ++i) cumulated_[i + 1] = cumulated_[i] + masses[i];
  }
  /// Cell of u and the weight of its upper node.
  [[nodiscard]] std::pair<Index, double> locate(double u) const {
    const Index last = cumulated_.size() - 2;
    const Index cell = std::clamp<Index>(std::upper_bound(cumulated_.begin(), cumulated_.end(), u) - cumulated_.begin() - 1, 0, last);
    return {cell, std::clamp((u - cumulated_[cell]) / (cumulated_[cell + 1] - cumulated_[cell]), 0.0, 1.0)};
  }
  /// int hat(u) Q(u) du, Q the (step) quantile function of the sorted sample.
  [[nodiscard]] Vector project(const Vector& sorted) const {
    const Index nodes = cumulated_.size();
    const auto n = static_cast<double>(sorted.size());
    Vector out = Vector::Zero(nodes);
    Index cell = 0;
    for (Index j = 0; j < sorted.size(); ++j) {
      double a = static_cast<double>(j) / n;
      const double end = static_cast<double>(j + 1) / n;
      while (a < end) {
        const double lower = cumulated_[cell], upper = cell + 2 == nodes ? 1.0 + 1e-9 : cumulated_[cell + 1], b = std::min(end, upper), width = cumulated_[cell + 1] - lower;
        const double middle = (0.5 * (a + b) - lower) / width;  // the hat is linear: midpoint rule exact
        out[cell] += sorted[j] * (b - a) * (1 - middle);
        out[cell + 1] += sorted[j] * (b - a) * middle;
        a = b;
        if (b >= upper) ++cell;
      }
    }
    return out;
  }
  /// Covariance of columns' W' int hat(u) Q^(u) du over the sampling of n points: influence functions by summation over the order statistics.
  [[nodiscard]] Matrix covariance(const Vector& sorted, const Matrix& weights) const {
    const Index n = sorted.size();
    Matrix influence = Matrix::Zero(weights.cols(), n);
    for (Index j = 1; j < n; ++j) {
      const auto [cell, upper] = locate(static_cast<double>(j) / static_cast<double>(n));
      influence.col(j) = influence.col(j - 1) + ((1 - upper) * weights.row(cell) + upper * weights.row(cell + 1)).transpose() * (sorted[j] - sorted[j - 1]);
    }
    const Matrix centred = influence.colwise() - influence.rowwise().mean();
    return centred * centred.transpose() / (static_cast<double>(n) * static_cast<double>(n - 1));
  }

 private:
  Vector cumulated_;
};

/// What the flow is at each snapshot after the first: coordinates and their tangent, columns (parameters, start).
struct Trajectory {
  Status status = Status::converged;
  std::vector<Vector> states;
  std::vector<Matrix> tangents;
};

/// `with_start` adds the derivative in the start's coordinates to the tangent.
template <class Step>
Trajectory trajectory(Step& step, const typename Step::Measure& start, const Vector& times, const SnapshotFlowOptions& options, bool with_start) {
  const Index count = step.energy().parameters().size(), size = start.coordinates().size(), columns = count + (with_start ? size : 0);
  Matrix tangent = Matrix::Zero(size, columns), parameters = Matrix::Zero(count, columns);
  parameters.leftCols(count).setIdentity();
  if (with_start) tangent.rightCols(size).setIdentity();
  Trajectory out;
  typename Step::Measure at = start;
  for (Index k = 1; k < times.size(); ++k) {
    const double h = (times[k] - times[k - 1]) / options.steps;
    for (int i = 0; i < options.steps; ++i) {
      const bool midpoint = options.scheme == Scheme::vim;
      auto next = step.advance(at, midpoint ? 0.5 * h : h);
      // Rounding may stop a step above its tolerance; it is as converged as can be.
      if (!is_success(next.status) && next.status != Status::stalled) {
        out.status = next.status;
        return out;
      }
      const Matrix moved = step.tangent(tangent, parameters);
      if (midpoint) {
        try {
          tangent = geodesic_tangent(at, next.measure, 2, tangent, moved);
          at = geodesic(at, next.measure, 2);
        } catch (const DomainError&) {
          out.status = Status::order_lost;
          return out;
        }
      } else {
        tangent = moved;
        at = next.measure;
      }
    }
    out.states.push_back(at.coordinates());
    out.tangents.push_back(tangent);
  }
  return out;
}

/// Names, fixed parameters and the positions of the free ones; checks the options.
std::vector<Index> prepare(std::string_view where, const std::vector<Parameter>& list, const SnapshotFlowOptions& options, const Snapshots& snapshots, Fit& fit) {
  snapshots.validate();
  check_at_least(where, "steps", options.steps, 1);
  check_positive(where, "tolerance", options.tolerance);
  check_at_least(where, "max_iterations", options.max_iterations, 1);
  if (options.scheme == Scheme::bdf2) throw DomainError(fmt::format("{}: the scheme must be jko or vim", where));
  fit.fixed = options.fixed.empty() ? std::vector<bool>(list.size(), false) : options.fixed;
  if (fit.fixed.size() != list.size()) throw ShapeError(fmt::format("{}: the list of fixed parameters does not fit the energy", where));
  std::vector<Index> free;
  for (std::size_t i = 0; i < list.size(); ++i) {
    fit.names.push_back(list[i].name);
    if (!fit.fixed[i]) free.push_back(static_cast<Index>(i));
  }
  if (free.empty()) throw DomainError(fmt::format("{}: every parameter is fixed", where));
  for (std::size_t k = 1; k < snapshots.samples.size(); ++k) fit.n += snapshots.samples[k].cols();
  fit.duration = snapshots.times[snapshots.times.size() - 1] - snapshots.times[0];
  return free;
}

/// x + move, nine tenths of the way to a bound at most.
Vector inside(const std::vector<Parameter>& list, const Vector& x, const Vector& move) {
  Vector out = x + move;
  for (Index i = 0; i < x.size(); ++i) {
    const Parameter& p = list[static_cast<std::size_t>(i)];
    if (out[i] <= p.lower) out[i] = x[i] - 0.9 * (x[i] - p.lower);
    if (out[i] >= p.upper) out[i] = x[i] + 0.9 * (p.upper - x[i]);
  }
  return out;
}

/// Solves with the block of the free parameters, scaled to a unit diagonal; empty where that is singular.
Matrix free_inverse(const Matrix& a, const std::vector<Index>& free) {
  const auto p = static_cast<Index>(free.size());
  Matrix block(p, p);
  for (Index i = 0; i < p; ++i) {
    for (Index j = 0; j < p; ++j) block(i, j) = a(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]);
  }
  const Vector scale = block.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Eigen::LDLT<Matrix> factor(scale.asDiagonal() * block * scale.asDiagonal());
  if (!block.allFinite() || !factor.isPositive() || factor.vectorD().minCoeff() <= 1e-12) return {};
  const Matrix inverse = scale.asDiagonal() * factor.solve(Matrix(scale.asDiagonal()));
  Matrix out = Matrix::Zero(a.rows(), a.cols());
  for (Index i = 0; i < p; ++i) {
    for (Index j = 0; j < p; ++j) out(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]) = inverse(i, j);
  }
  return out;
}

/// Gauss-Newton or scoring: `model` answers the objective, its (negative) gradient and the curvature at x; nothing where the flow does not exist.
struct Local {
  double objective = std::numeric_limits<double>::infinity();
  Vector descent;
  Matrix curvature;
  Matrix error;      ///< covariance of `descent` where it is known cheaply, for the stopping rule; else the curvature
  Status status = Status::not_finite;
};

template <class Evaluate>
Local descend(const Evaluate& evaluate, const std::vector<Parameter>& list, const std::vector<Index>& free, const SnapshotFlowOptions& options, Vector& x, Fit& fit) {
  Local at = evaluate(x);
  fit.status = Status::iteration_limit;
  for (fit.iterations = 1; fit.iterations <= options.max_iterations; ++fit.iterations) {
    if (!is_success(at.status)) {
      fit.status = at.status;
      return at;
    }
    const Matrix inverse = free_inverse(at.curvature, free);
    if (inverse.size() == 0) {
      fit.status = Status::singular_information;
      return at;
    }
    const Vector step = inverse * at.descent;
    const Matrix covariance = inverse * at.error * inverse;
    fit.gradient_norm = 0;
    for (const Index i : free) fit.gradient_norm = std::max(fit.gradient_norm, std::abs(step[i]) / std::sqrt(std::max(covariance(i, i), 1e-300)));
    if (fit.gradient_norm <= options.tolerance) {
      fit.status = Status::converged;
      return at;
    }
    bool moved = false;
    double shrink = 1;
    for (int halving = 0; halving < 40 && !moved; ++halving, shrink *= 0.5) {
      const Vector trial = inside(list, x, shrink * step);
      Local next = evaluate(trial);
      if (is_success(next.status) && next.objective <= at.objective - 1e-4 * (trial - x).dot(at.descent) + 1e-12 * std::abs(at.objective)) {
        x = trial;
        at = std::move(next);
        moved = true;
      }
    }
    if (!moved) {
      fit.status = fit.gradient_norm <= 1e-4 ? Status::converged : Status::stalled;
      return at;
    }
  }
  --fit.iterations;
  return at;
}

}  // namespace

SnapshotFlowFit fit_snapshot_flow(const Snapshots& snapshots, const FreeEnergy& start_energy, const std::optional<QuantileFunction>& start, const SnapshotFlowOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  SnapshotFlowFit out;
  Fit& fit = out.fit;
  const auto list = start_energy.parameter_list();
  const auto free = prepare("fit_snapshot_flow", list, options, snapshots, fit);
  if (snapshots.dimension() != 1) throw DomainError("fit_snapshot_flow: the snapshots must be one-dimensional");
  check_at_least("fit_snapshot_flow", "cells", options.cells, 2);
  fit.estimator = "snapshot flow, W2";
  fit.theorem = "minimum distance with the flow's exact sensitivities, sample sizes -> infinity";
  if (const auto* part = start_energy.potential()) fit.model = part->potential->describe();
  std::vector<Vector> sorted;
  for (const Matrix& sample : snapshots.samples) {
    sorted.emplace_back(sample.row(0).transpose());
    std::sort(sorted.back().begin(), sorted.back().end());
  }
  // Cells of the known start, or light towards the tails, where the quantile function is steep, but with eight points of every snapshot at least.
  Index smallest = sorted.front().size();
  for (const Vector& sample : sorted) smallest = std::min(smallest, sample.size());
  // A projection that is no measure (the outermost points scatter) is repeated with heavier cells.
  std::optional<QuantileFunction> projected = start;
  for (double points = 8; !projected || !projected->is_monotone(); points *= 1.3) {
    const auto masses = std::make_shared<const Vector>(graded_masses(options.cells, points / static_cast<double>(smallest)));
    if (masses->size() < 2) throw DomainError(fmt::format("fit_snapshot_flow: {} points are too few for a quantile function", smallest));
    projected = QuantileFunction(masses, gram(*masses).ldlt().solve(Hats(*masses).project(sorted.front())));
  }
  const QuantileFunction& origin = *projected;
  const Hats hats(origin.masses());
  const Matrix m = gram(origin.masses());
  const Eigen::LDLT<Matrix> gram_factor(m);
  std::vector<Vector> target;  // projections on the cells
  for (const Vector& sample : sorted) target.emplace_back(gram_factor.solve(hats.project(sample)));

  QuantileStep step(start_energy);
  Vector x = start_energy.parameters();
  const Index count = x.size();
  const auto snapshots_after = static_cast<std::size_t>(snapshots.times.size()) - 1;
  const auto evaluate = [&](const Vector& parameters) {
    Local local;
    step.set_parameters(parameters);
    const Trajectory flow = trajectory(step, origin, snapshots.times, options, false);
    local.status = flow.status;
    if (!is_success(flow.status)) return local;
    local.objective = 0;
    local.descent = Vector::Zero(count);
    local.curvature = local.error = Matrix::Zero(count, count);
    for (std::size_t k = 0; k < snapshots_after; ++k) {
      const Vector gap = target[k + 1] - flow.states[k];
      local.objective += 0.5 * gap.dot(m * gap);
      local.descent += flow.tangents[k].transpose() * (m * gap);
      local.curvature += flow.tangents[k].transpose() * m * flow.tangents[k];
      local.error += hats.covariance(sorted[k + 1], flow.tangents[k]);
    }
    return local;
  };
  const Local at = descend(evaluate, list, free, options, x, fit);
  fit.estimate = x;
  fit.covariance = Matrix::Zero(count, count);
  out.distance = Vector::Zero(static_cast<Index>(snapshots_after));
  if (at.curvature.size() > 0) {
    step.set_parameters(x);
    const Trajectory flow = trajectory(step, origin, snapshots.times, options, !start);
    Matrix spread = at.error;
    Matrix through = Matrix::Zero(origin.nodes().size(), count);  // G'
    for (std::size_t k = 0; k < snapshots_after && is_success(flow.status); ++k) {
      const Vector gap = target[k + 1] - flow.states[k];
      out.distance[static_cast<Index>(k)] = std::sqrt(std::max(gap.dot(m * gap), 0.0));
      if (!start) through += gram_factor.solve(flow.tangents[k].rightCols(through.rows()).transpose() * m * flow.tangents[k].leftCols(count));
    }
    if (!start) spread += hats.covariance(sorted.front(), through);
    if (const Matrix inverse = free_inverse(at.curvature, free); inverse.size() > 0) fit.covariance = inverse * spread * inverse;
  }
  fit.sandwich = fit.covariance;
  fit.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

Fit fit_snapshot_gaussian(const Snapshots& snapshots, const Model& model, const std::optional<Gaussian>& start, const SnapshotFlowOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  Fit fit;
  const auto list = model.parameter_list();
  const auto free = prepare("fit_snapshot_gaussian", list, options, snapshots, fit);
  const Index d = snapshots.dimension(), size = d + d * d;
  if (d != model.dimension() || (start && start->dimension() != d)) throw ShapeError("fit_snapshot_gaussian: the snapshots, the model and the start must have the same dimension");
  fit.estimator = "snapshot flow, Gaussian likelihood";
  fit.theorem = "maximum likelihood of unpaired Gaussian snapshots, sample sizes -> infinity";
  fit.model = model.potential().describe();
  struct Moments {
    Vector mean;
    Matrix covariance;
    double n;
  };
  std::vector<Moments> data;
  for (const Matrix& sample : snapshots.samples) {
    const Vector mean = sample.rowwise().mean();
    const Matrix centred = sample.colwise() - mean;
    data.push_back({mean, centred * centred.transpose() / static_cast<double>(sample.cols()), static_cast<double>(sample.cols())});
  }
  const Gaussian origin = start ? *start : Gaussian(data.front().mean, data.front().covariance);
  GaussianStep step{FreeEnergy(model)};
  Vector x = model.parameters();
  const Index count = x.size();
  // Fisher information in the coordinates (mean, vec covariance), and the score of a sample's moments there.
  const auto information = [&](const Matrix& precision) {
    Matrix out = Matrix::Zero(size, size);
    out.topLeftCorner(d, d) = precision;
    for (Index a = 0; a < d; ++a) {
      for (Index b = 0; b < d; ++b) out.block(d + d * a, d + d * b, d, d) = 0.5 * precision(a, b) * precision;
    }
    return out;
  };
  const auto score = [&](const Vector& point_mean, const Matrix& second, const Matrix& precision) {  // second moment about the flow's mean
    Vector out(size);
    out.head(d) = precision * point_mean;
    out.tail(d * d) = Matrix(0.5 * (precision * second * precision - precision)).reshaped();
    return out;
  };
  const auto evaluate = [&](const Vector& parameters) {
    Local local;
    step.set_parameters(parameters);
    const Trajectory flow = trajectory(step, origin, snapshots.times, options, false);
    local.status = flow.status;
    if (!is_success(flow.status)) return local;
    local.objective = 0;
    local.descent = Vector::Zero(count);
    local.curvature = Matrix::Zero(count, count);
    for (std::size_t k = 0; k < flow.states.size(); ++k) {
      const Moments& sample = data[k + 1];
      const Gaussian law = origin.with_coordinates(flow.states[k]);
      const Eigen::LLT<Matrix> factor(law.covariance());
      const Matrix precision = factor.solve(Matrix(Matrix::Identity(d, d)));
      const Vector gap = sample.mean - law.mean();
      const Matrix second = sample.covariance + gap * gap.transpose();
      const Matrix lower = factor.matrixL();
      local.objective += sample.n * (0.5 * (static_cast<double>(d) * std::log(2 * std::numbers::pi) + precision.cwiseProduct(second).sum()) + lower.diagonal().array().log().sum());
      local.descent += sample.n * flow.tangents[k].transpose() * score(gap, second, precision);
      local.curvature += sample.n * flow.tangents[k].transpose() * information(precision) * flow.tangents[k];
    }
    local.error = local.curvature;
    return local;
  };
  const Local at = descend(evaluate, list, free, options, x, fit);
  fit.estimate = x;
  fit.log_likelihood = -at.objective;
  fit.covariance = fit.sandwich = Matrix::Zero(count, count);
  const Matrix inverse = at.curvature.size() > 0 ? free_inverse(at.curvature, free) : Matrix();
  if (inverse.size() > 0) {
    step.set_parameters(x);
    const Trajectory flow = trajectory(step, origin, snapshots.times, options, !start);
    Matrix scores = Matrix::Zero(count, count), cross = Matrix::Zero(count, size);
    for (std::size_t k = 0; k < flow.states.size(); ++k) {
      const Gaussian law = origin.with_coordinates(flow.states[k]);
      const Matrix precision = law.covariance().llt().solve(Matrix(Matrix::Identity(d, d)));
      const Matrix s = flow.tangents[k].leftCols(count);
      Matrix each(count, snapshots.samples[k + 1].cols());
      for (Index i = 0; i < each.cols(); ++i) {
        const Vector gap = snapshots.samples[k + 1].col(i) - law.mean();
        each.col(i) = s.transpose() * score(gap, gap * gap.transpose(), precision);
      }
      const Matrix centred = each.colwise() - each.rowwise().mean();
      scores += centred * centred.transpose();
      if (!start) cross += data[k + 1].n * s.transpose() * information(precision) * flow.tangents[k].rightCols(size);
    }
    Matrix from_start = Matrix::Zero(count, count), from_start_robust = from_start;
    if (!start) {
      const Moments& first = data.front();
      // Sampling covariance of (mean, vec covariance): under the Gaussian law, and empirical.
      Matrix law = Matrix::Zero(size, size), points(size, snapshots.samples.front().cols());
      law.topLeftCorner(d, d) = first.covariance;
      for (Index a = 0; a < d; ++a) {
        for (Index b = 0; b < d; ++b) {
          for (Index e = 0; e < d; ++e) {
            for (Index f = 0; f < d; ++f) law(d + a + d * b, d + e + d * f) = first.covariance(a, e) * first.covariance(b, f) + first.covariance(a, f) * first.covariance(b, e);
          }
        }
      }
      for (Index i = 0; i < points.cols(); ++i) {
        const Vector gap = snapshots.samples.front().col(i) - first.mean;
        points.col(i) << gap, Matrix(gap * gap.transpose() - first.covariance).reshaped();
      }
      from_start = cross * law * cross.transpose() / first.n;
      from_start_robust = cross * (points * points.transpose()) * cross.transpose() / (first.n * first.n);
    }
    fit.covariance = inverse + inverse * from_start * inverse;
    fit.sandwich = inverse * (scores + from_start_robust) * inverse;
  }
  fit.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return fit;
}

}  // namespace jko::estimators
