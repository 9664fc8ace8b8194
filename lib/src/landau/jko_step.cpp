#include <jko/landau/jko_step.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace jko {
namespace {

/// The basis at the particles: values in d rows a function, Jacobians (d^2, column-major) likewise.
struct Basis {
  Index count = 0;
  Matrix values;     // (d P) x N
  Matrix jacobians;  // (d^2 P) x N
};

/// Normalised Hermite polynomials He_n/sqrt(n!) and derivatives sqrt(n) He_{n-1}/sqrt((n-1)!).
struct Hermite {
  Matrix value, slope;  // (degree + 1) x N
  Hermite(const Eigen::ArrayXd& z, int degree) : value(degree + 1, z.size()), slope(Matrix::Zero(degree + 1, z.size())) {
    value.row(0).setOnes();
    for (int n = 1; n <= degree; ++n) {
      value.row(n) = (z.transpose() * value.row(n - 1).array() - (n > 1 ? std::sqrt(n - 1.0) * value.row(n - 2).array() : 0.0 * value.row(0).array())) / std::sqrt(static_cast<double>(n));
      slope.row(n) = std::sqrt(static_cast<double>(n)) * value.row(n - 1);
    }
  }
};

Basis evaluate(const Particles& p, const LandauJkoOptions& o) {
  const Index d = p.dimension(), n = p.size();
  const double scale = std::sqrt(p.covariance().trace() / static_cast<double>(d));
  const Matrix z = (p.points().colwise() - p.mean()) / scale;
  Basis b;
  if (o.basis == LandauBasis::radial) {
    b.count = o.degree + 1;
    b.values.resize(d * b.count, n);
    b.jacobians.resize(d * d * b.count, n);
    for (Index i = 0; i < n; ++i) {
      const double square = z.col(i).squaredNorm();
      double power = 1;  // (|z|^2/(d + 2k))^k grows slowly where the particles are
      for (Index k = 0; k < b.count; ++k) {
        const double size = std::pow(static_cast<double>(d + 2 * k), static_cast<double>(k));
        b.values.col(i).segment(d * k, d) = power / size * z.col(i);
        Matrix jacobian = power * Matrix::Identity(d, d);
        if (k > 0 && square > 0) jacobian += 2 * static_cast<double>(k) * power / square * z.col(i) * z.col(i).transpose();
        b.jacobians.col(i).segment(d * d * k, d * d) = (jacobian / (size * scale)).reshaped();
        power *= square;
      }
    }
    return b;
  }
  std::vector<Hermite> factors;
  for (Index k = 0; k < d; ++k) factors.emplace_back(z.row(k).transpose().array(), o.degree);
  std::vector<std::vector<int>> exponents;
  std::vector<int> exponent(static_cast<std::size_t>(d), 0);
  for (;;) {
    if (std::accumulate(exponent.begin(), exponent.end(), 0) <= o.degree) exponents.push_back(exponent);
    std::size_t k = 0;
    while (k < exponent.size() && ++exponent[k] > o.degree) exponent[k++] = 0;
    if (k == exponent.size()) break;
  }
  b.count = d * static_cast<Index>(exponents.size());
  b.values = Matrix::Zero(d * b.count, n);
  b.jacobians = Matrix::Zero(d * d * b.count, n);
  for (std::size_t e = 0; e < exponents.size(); ++e) {
    Eigen::ArrayXXd terms(d + 1, n);  // the product, and its derivative in each coordinate
    terms.setOnes();
    for (Index k = 0; k < d; ++k) {
      const auto degree = exponents[e][static_cast<std::size_t>(k)];
      for (Index row = 0; row <= d; ++row) {
        terms.row(row) *= (row == k + 1 ? factors[static_cast<std::size_t>(k)].slope : factors[static_cast<std::size_t>(k)].value).row(degree).array();
      }
    }
    for (Index k = 0; k < d; ++k) {
      const Index function = d * static_cast<Index>(e) + k;
      b.values.row(d * function + k) = terms.row(0);
      for (Index l = 0; l < d; ++l) b.jacobians.row(d * d * function + k + d * l) = terms.row(l + 1) / scale;
    }
  }
  return b;
}

/// Everything a step needs at one set of particles.
struct Forms {
  Matrix fields;     // (d P) x N: xi_p(v_i) = sum_j w_j A (phi_i - phi_j)
  Matrix quadratic;  // P x P
  Vector linear;     // sum_i w_i div xi_p(v_i)
  Matrix gradients;  // (d^2 P) x N: Jacobians of xi_p at v_i; only for the exact determinant
};

/// Sums over the particles `members`, whose weights are scaled to sum 1; adds share * (.) to the forms.
void add_sums(const LandauKernel& kernel, const Particles& all, const Basis& basis, const std::vector<Index>& members, bool gradients, int threads, Forms& forms) {
  const Index d = all.dimension(), n = static_cast<Index>(members.size()), count = basis.count;
  Matrix v(d, n), phi(d * count, n), jacobians(d * d * count, n);
  Vector w(n);
  for (Index i = 0; i < n; ++i) {
    const Index m = members[static_cast<std::size_t>(i)];
    v.col(i) = all.points().col(m);
    phi.col(i) = basis.values.col(m);
    jacobians.col(i) = basis.jacobians.col(m);
    w[i] = all.weights()[m];
  }
  const double share = w.sum();
  w /= share;
  const Particles p(v, w);
  Matrix fields(d * count, n);
  for (Index q = 0; q < count; ++q) fields.middleRows(d * q, d) = -kernel.drift(p, phi.middleRows(d * q, d), threads);

  // mean_i = sum_j w_j A(v_i - v_j), pull_i = sum_j w_j |z|^gamma z; with gradients also sum_j w_j |z|^gamma g z' and its companion for gamma != 0.
  const double b = kernel.strength, gamma = kernel.gamma;
  Matrix mean(d * d, n), pull(d, n), outer, along;
  if (gamma == 0) {
    const Matrix x = v.colwise() - p.mean();
    const Matrix second = x * w.asDiagonal() * x.transpose();
    for (Index i = 0; i < n; ++i) {
      mean.col(i) = (b * ((x.col(i).squaredNorm() + second.trace()) * Matrix::Identity(d, d) - x.col(i) * x.col(i).transpose() - second)).reshaped();
      pull.col(i) = x.col(i);
    }
    if (gradients) {
      // sum_j w_j (phi_i - phi_j)(x_i - x_j)' = (phi_i - mean phi) x_i' + cov(phi, x), x centred.
      outer.resize(d * d * count, n);
      const Vector centre = phi * w;
      for (Index q = 0; q < count; ++q) {
        const Matrix mixed = phi.middleRows(d * q, d) * w.asDiagonal() * x.transpose();
        for (Index i = 0; i < n; ++i) outer.col(i).segment(d * d * q, d * d) = ((phi.col(i).segment(d * q, d) - centre.segment(d * q, d)) * x.col(i).transpose() + mixed).reshaped();
      }
    }
  } else {
    if (gradients) outer = along = Matrix::Zero(d * d * count, n);
    parallel_for(n, threads, [&](Index i) {
      Matrix sum = Matrix::Zero(d, d);
      Vector force = Vector::Zero(d);
      for (Index j = 0; j < n; ++j) {
        const Vector z = v.col(i) - v.col(j);
        const double square = z.squaredNorm();
        if (square == 0) continue;
        const double power = w[j] * std::pow(square, 0.5 * gamma);
        sum += power * (square * Matrix::Identity(d, d) - z * z.transpose());
        force += power * z;
        if (!gradients) continue;
        for (Index q = 0; q < count; ++q) {
          const Vector g = phi.col(i).segment(d * q, d) - phi.col(j).segment(d * q, d);
          outer.col(i).segment(d * d * q, d * d) += (power * g * z.transpose()).reshaped();
          along.col(i).segment(d * d * q, d * d) += (power * z.dot(g) / square * z * z.transpose()).reshaped();
        }
      }
      mean.col(i) = (b * sum).reshaped();
      pull.col(i) = force;
    });
  }
  for (Index q = 0; q < count; ++q) {
    const Matrix weighted = fields.middleRows(d * q, d) * w.asDiagonal();
    for (Index r = 0; r < count; ++r) forms.quadratic(r, q) += 2 * share * phi.middleRows(d * r, d).cwiseProduct(weighted).sum();
    double divergence = 0;
    for (Index i = 0; i < n; ++i) {
      divergence += w[i] * (mean.col(i).dot(jacobians.col(i).segment(d * d * q, d * d)) - 2 * (static_cast<double>(d) - 1) * b * phi.col(i).segment(d * q, d).dot(pull.col(i)));
    }
    forms.linear[q] += share * divergence;
  }
  for (Index i = 0; i < n; ++i) {
    const Index m = members[static_cast<std::size_t>(i)];
    forms.fields.col(m) = fields.col(i);
    if (!gradients) continue;
    for (Index q = 0; q < count; ++q) {
      // D_z(A(z) g) = B |z|^gamma [gamma (g - z (z.g)/|z|^2) z' + 2 g z' - (z.g) I - z g'], and A applied to the Jacobian of phi.
      const Matrix h = outer.col(i).segment(d * d * q, d * d).reshaped(d, d);
      Matrix jacobian = mean.col(i).reshaped(d, d) * jacobians.col(i).segment(d * d * q, d * d).reshaped(d, d) + b * ((2 + gamma) * h - h.trace() * Matrix::Identity(d, d) - h.transpose());
      if (gamma != 0) jacobian -= b * gamma * along.col(i).segment(d * d * q, d * d).reshaped(d, d);
      forms.gradients.col(m).segment(d * d * q, d * d) = jacobian.reshaped();
    }
  }
}

/// log|det(I + sum_p c_p G_p)| summed with the weights; nothing where a determinant is not positive.
std::optional<double> log_determinants(const Matrix& gradients, const Vector& c, const Vector& w, Index d) {
  double sum = 0;
  for (Index i = 0; i < w.size(); ++i) {
    const Matrix map = Matrix::Identity(d, d) + (gradients.col(i).reshaped(d * d, c.size()) * c).reshaped(d, d);
    const double determinant = map.determinant();
    if (!(determinant > 0)) return std::nullopt;
    sum += w[i] * std::log(determinant);
  }
  return sum;
}

}  // namespace

void LandauJkoOptions::validate() const {
  check_in("landau_jko", "degree", degree, 0, basis == LandauBasis::radial ? 6 : 12);
  check_positive("landau_jko", "time step dt", dt);
  check_at_least("landau_jko", "steps", steps, 1);
  check_positive("landau_jko", "tolerance", tolerance);
  check_at_least("landau_jko", "max_iterations", max_iterations, 1);
  if (batch != 0) check_at_least("landau_jko", "batch", batch, 2);
  check_at_least("landau_jko", "threads", threads, 1);
}

LandauJkoResult landau_jko(const LandauKernel& kernel, const Particles& start, const LandauJkoOptions& o, Observer* observer) {
  o.validate();
  kernel.validate();
  check_at_least("landau_jko", "the number of particles", start.size(), 2);
  const Index d = start.dimension(), n = start.size();
  if (d != 2 && d != 3) throw DomainError(fmt::format("landau_jko: the velocities have dimension {}, but must have 2 or 3", d));
  if (!(start.weights().minCoeff() > 0)) throw DomainError("landau_jko: a weight is 0; remove that particle");
  if (!(start.covariance().trace() > 0)) throw DomainError("landau_jko: all particles coincide");
  const bool exact = o.log_determinant == LogDeterminant::exact;
  LandauJkoResult result{Status::converged, start, {}};
  const auto record = [&](LandauJkoRecord r) {
    const Particles& p = result.particles;
    r.energy = 0.5 * p.points().colwise().squaredNorm().dot(p.weights());
    r.momentum = p.mean();
    r.covariance = p.covariance();
    result.records.push_back(std::move(r));
  };
  record({});
  for (int k = 1; k <= o.steps; ++k) {
    if (observer && observer->stop_requested()) {
      result.status = Status::cancelled;
      return result;
    }
    const Particles& p = result.particles;
    const Vector& w = p.weights();
    const Basis basis = evaluate(p, o);
    const Index count = basis.count;
    Forms forms{Matrix::Zero(d * count, n), Matrix::Zero(count, count), Vector::Zero(count), exact ? Matrix(Matrix::Zero(d * d * count, n)) : Matrix()};
    std::vector<Index> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), Index{0});
    if (o.batch == 0 || o.batch >= n) {
      add_sums(kernel, p, basis, order, exact, o.threads, forms);
    } else {
      // A random partition (Fisher and Yates); what does not fill a batch joins the last one.
      RandomStream random(o.seed, "landau batches", static_cast<std::uint64_t>(k));
      for (std::size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
      const Index batches = n / o.batch;
      for (Index b = 0; b < batches; ++b) {
        const auto first = order.begin() + b * o.batch, last = b + 1 == batches ? order.end() : first + o.batch;
        add_sums(kernel, p, basis, std::vector<Index>(first, last), exact, o.threads, forms);
      }
    }
    if (!forms.quadratic.allFinite() || !forms.linear.allFinite()) {
      result.status = Status::not_finite;
      return result;
    }
    // Coordinates y in the range of the quadratic form, scaled so that it is |y|^2.
    const Eigen::SelfAdjointEigenSolver<Matrix> e(0.5 * (forms.quadratic + forms.quadratic.transpose()));
    const double largest = e.eigenvalues()[count - 1];
    Index null = 0;
    while (null < count && !(e.eigenvalues()[null] > 1e-12 * largest)) ++null;
    const Index rank = count - null;
    const Matrix into = e.eigenvectors().rightCols(rank) * e.eigenvalues().tail(rank).cwiseSqrt().cwiseInverse().asDiagonal();
    const Vector slope = into.transpose() * forms.linear;
    Vector y = 2 * o.dt * slope;  // minimises |y|^2/2 - 2 dt slope . y
    int iterations = 1;
    double entropy_change = -slope.dot(y);
    if (exact) {
      const auto objective = [&](const Vector& at) -> std::optional<double> {
        const auto sum = log_determinants(forms.gradients, into * at, w, d);
        if (!sum) return std::nullopt;
        return 0.5 * at.squaredNorm() - 2 * o.dt * *sum;
      };
      auto value = objective(y);
      for (int i = 0; (!value || *value > 0) && i < 60; ++i) {  // towards u = 0, where the objective is 0
        y *= 0.5;
        value = objective(y);
      }
      if (!value || *value > 0) {
        y.setZero();
        value = 0.0;
      }
      bool settled = false;
      for (iterations = 0; iterations < o.max_iterations && !settled; ++iterations) {
        Vector gradient = y;
        Matrix hessian = Matrix::Identity(rank, rank);
        const Vector c = into * y;
        for (Index i = 0; i < n; ++i) {
          const auto each = forms.gradients.col(i).reshaped(d * d, count);
          const Matrix inverse = (Matrix::Identity(d, d) + (each * c).reshaped(d, d)).inverse();
          // Columns (I + M)^{-1} G_p in the coordinates y.
          Matrix columns = each * into;
          for (Index r = 0; r < rank; ++r) columns.col(r) = (inverse * columns.col(r).reshaped(d, d)).eval().reshaped();
          Matrix transposed(d * d, rank);
          for (Index r = 0; r < d; ++r) {
            gradient -= 2 * o.dt * w[i] * columns.row(r + d * r).transpose();
            for (Index s = 0; s < d; ++s) transposed.row(s + d * r) = columns.row(r + d * s);
          }
          hessian += 2 * o.dt * w[i] * columns.transpose() * transposed;
        }
        // Eigenvalues by absolute value: a Newton step where the Hessian is positive definite (near the minimum), a descent direction anywhere.
        const Eigen::SelfAdjointEigenSolver<Matrix> system(0.5 * (hessian + hessian.transpose()));
        const Vector size = system.eigenvalues().cwiseAbs().cwiseMax(1e-8 * system.eigenvalues().cwiseAbs().maxCoeff());
        const Vector p_newton = -system.eigenvectors() * (system.eigenvectors().transpose() * gradient).cwiseQuotient(size);
        const double decrement = -gradient.dot(p_newton);
        if (decrement <= o.tolerance * o.dt) {
          settled = true;
          break;
        }
        bool accepted = false;
        for (double t = 1; t > 1e-10 && !accepted; t *= 0.5) {
          const auto there = objective(y + t * p_newton);
          if (there && *there <= *value - 1e-4 * t * decrement) {
            y += t * p_newton;
            value = there;
            accepted = true;
          }
        }
        if (!accepted) {
          result.status = Status::stalled;
          return result;
        }
      }
      if (!settled) {
        result.status = Status::iteration_limit;
        return result;
      }
      entropy_change = -*log_determinants(forms.gradients, into * y, w, d);
    }
    const Vector c = into * y;
    Matrix moved = p.points();
    for (Index q = 0; q < count; ++q) moved += c[q] * forms.fields.middleRows(d * q, d);
    if (!moved.allFinite()) {
      result.status = Status::not_finite;
      return result;
    }
    const double before = result.records.back().entropy_change;
    result.particles = Particles(moved, w);
    LandauJkoRecord r;
    r.t = k * o.dt;
    r.entropy_change = before + entropy_change;
    r.dissipation = 0.5 * y.squaredNorm();
    r.iterations = iterations;
    r.rank = rank;
    record(std::move(r));
    if (observer) observer->progress("landau_jko", k, o.steps);
  }
  return result;
}

}  // namespace jko
