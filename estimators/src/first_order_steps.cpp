#include "first_order_steps.hpp"

#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/transport/exact.hpp>

#include <Eigen/QR>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace jko::estimators {
namespace {

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

/// The transport term of sorted samples.
void add_line(FirstOrderStep& s, const Vector& from, double tau, const TestFunctions& tests) {
  const Vector to = s.x.row(0).transpose();
  const Matrix& first = s.gradient.front();
  const Vector moved = (cell_means(from, to.size()) - to) / tau;
  s.transport = first * moved / static_cast<double>(to.size());
  // int phi'(Q1) (Q0 - Q1) du: a sample moves its quantile function by -(1{X <= x} - F)/rho, so that its influence is an integral of the integrand's
  // derivative in Q0 or Q1 up to X; between order statistics the mass is constant.
  s.departure = Matrix::Zero(tests.size(), from.size());
  for (Index j = 1; j < from.size(); ++j) {
    const Matrix point = Matrix::Constant(1, 1, at_mass(to, j, from.size()));
    s.departure.col(j) = s.departure.col(j - 1) + tests.gradient(point).front() * ((from[j] - from[j - 1]) / tau);
  }
  s.arrival = Matrix::Zero(tests.size(), to.size());
  for (Index j = 1; j < to.size(); ++j) {
    const Matrix point = Matrix::Constant(1, 1, 0.5 * (to[j] + to[j - 1]));
    const double image = at_mass(from, j, to.size());
    s.arrival.col(j) = s.arrival.col(j - 1) + (tests.laplacian(point) * (image - point(0, 0)) - tests.gradient(point).front()) * ((to[j] - to[j - 1]) / tau);
  }
}

/// E grad phi . (T - x), contributions of the points of arrival: size x n, the mean over columns is the moment.
Matrix moved(const ExactTransport& plan, const Matrix& x, const Matrix& from, const std::vector<Matrix>& gradient) {
  Matrix displacement = Matrix::Zero(x.rows(), x.cols());
  for (const auto& [i, j, mass] : plan.plan) displacement.col(i) += mass * static_cast<double>(x.cols()) * (from.col(j) - x.col(i));
  Matrix out = Matrix::Zero(gradient.front().rows(), x.cols());
  for (std::size_t c = 0; c < gradient.size(); ++c) out += gradient[c] * displacement.row(static_cast<Index>(c)).asDiagonal();
  return out;
}

ExactTransport plan_between(const Matrix& x, const Matrix& from) {
  ExactTransport plan = exact_transport(Particles(x), Particles(from));
  require(plan.status, "fit_first_order: the transport between two snapshots");
  return plan;
}

/// The transport term by the optimal coupling, and its influence functions. Perturbing the laws perturbs T = grad psi by grad zeta, where for all f
///   E grad f(T(x)) . grad zeta(x) = delta E_0 f - delta E_1 f(T);
/// with f such that E grad f(T) . grad zeta = E grad phi . grad zeta for all zeta (an elliptic equation, weak), the term moves by
///   delta E_0 f + delta E_1 [grad phi . (T - x) - f(T)].
/// f is sought among polynomials of the tests' degree, against these as zeta: exact for Gaussian laws and quadratic tests, f = phi + O(tau) in general.
void add_coupling(FirstOrderStep& s, const Matrix& from, double tau, const TestFunctions& tests) {
  const Index n = s.x.cols(), q = tests.size();
  const ExactTransport plan = plan_between(s.x, from);
  const Matrix contribution = moved(plan, s.x, from, s.gradient);
  s.transport = contribution.rowwise().mean() / tau;
  const auto departing = tests.gradient(from);
  Matrix mixed = Matrix::Zero(q, q), own = Matrix::Zero(q, q);  // E grad f_a(T) . grad zeta_b and E grad phi_a . grad zeta_b
  for (std::size_t c = 0; c < departing.size(); ++c) {
    Matrix image = Matrix::Zero(q, n);
    for (const auto& [i, j, mass] : plan.plan) image.col(i) += mass * departing[c].col(j);
    mixed += image * s.gradient[c].transpose();
    own += s.gradient[c] * s.gradient[c].transpose() / static_cast<double>(n);
  }
  // C mixed = own.
  const Matrix coefficients = mixed.transpose().colPivHouseholderQr().solve(own.transpose()).transpose();
  s.departure = coefficients * tests.value(from) / tau;
  s.arrival = contribution / tau;
  for (const auto& [i, j, mass] : plan.plan) s.arrival.col(i) -= mass * static_cast<double>(n) * s.departure.col(j);
}

std::vector<Index> shuffled(Index n, RandomStream& random) {
  std::vector<Index> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), Index{0});
  for (Index i = n - 1; i > 0; --i) std::swap(out[static_cast<std::size_t>(i)], out[random.below(static_cast<std::uint64_t>(i) + 1)]);
  return out;
}

/// The moment over two halves of both samples, together: linear parts of the sampling error are those of the whole, what differs is of second order.
Vector halved(const FirstOrderStep& s, const Matrix& from, double tau, RandomStream random) {
  const Index n = s.x.cols(), m = from.cols();
  const auto to_order = shuffled(n, random), from_order = shuffled(m, random);
  Vector out = Vector::Zero(s.transport.size());
  for (int half = 0; half < 2; ++half) {
    const auto part = [half](const std::vector<Index>& order) {
      const auto middle = order.begin() + static_cast<std::ptrdiff_t>(order.size() / 2);
      return half == 0 ? std::vector<Index>(order.begin(), middle) : std::vector<Index>(middle, order.end());
    };
    const auto to_part = part(to_order), from_part = part(from_order);
    const Matrix x = s.x(Eigen::all, to_part), y = from(Eigen::all, from_part);
    std::vector<Matrix> gradient;
    for (const Matrix& g : s.gradient) gradient.emplace_back(g(Eigen::all, to_part));
    out += moved(plan_between(x, y), x, y, gradient).rowwise().sum() / (tau * static_cast<double>(n));
  }
  return out;
}

}  // namespace

TestFunctions::TestFunctions(int degree, Vector centre, Vector scale) : degree_(degree), centre_(std::move(centre)), scale_(std::move(scale)) {
  const auto d = static_cast<std::size_t>(centre_.size());
  std::vector<int> at(d, 0);
  // By degree, then in reverse lexicographic order.
  for (int total = 1; total <= degree; ++total) {
    const auto fill = [&](auto&& self, std::size_t c, int left) -> void {
      if (c + 1 == d) {
        at[c] = left;
        exponents_.push_back(at);
        return;
      }
      for (at[c] = left; at[c] >= 0; --at[c]) self(self, c + 1, left - at[c]);
      at[c] = 0;
    };
    fill(fill, 0, total);
  }
}

std::vector<Matrix> TestFunctions::powers(const ConstMatrixRef& x) const {
  std::vector<Matrix> out;
  for (Index c = 0; c < x.rows(); ++c) {
    Matrix p = Matrix::Ones(degree_ + 1, x.cols());
    for (int k = 1; k <= degree_; ++k) p.row(k) = p.row(k - 1).array() * (x.row(c).array() - centre_[c]) / scale_[c];
    out.push_back(std::move(p));
  }
  return out;
}

Matrix TestFunctions::value(const ConstMatrixRef& x) const {
  const auto p = powers(x);
  Matrix out(size(), x.cols());
  for (Index a = 0; a < size(); ++a) {
    const auto& e = exponents_[static_cast<std::size_t>(a)];
    out.row(a).setConstant(1.0 / std::accumulate(e.begin(), e.end(), 0));
    for (std::size_t c = 0; c < e.size(); ++c) out.row(a).array() *= p[c].row(e[c]).array();
  }
  return out;
}

std::vector<Matrix> TestFunctions::gradient(const ConstMatrixRef& x) const {
  const auto p = powers(x);
  std::vector<Matrix> out(p.size(), Matrix::Zero(size(), x.cols()));
  for (Index a = 0; a < size(); ++a) {
    const auto& e = exponents_[static_cast<std::size_t>(a)];
    const double total = std::accumulate(e.begin(), e.end(), 0);
    for (std::size_t c = 0; c < e.size(); ++c) {
      if (e[c] == 0) continue;
      out[c].row(a) = e[c] / (total * scale_[static_cast<Index>(c)]) * p[c].row(e[c] - 1);
      for (std::size_t k = 0; k < e.size(); ++k) {
        if (k != c) out[c].row(a).array() *= p[k].row(e[k]).array();
      }
    }
  }
  return out;
}

Matrix TestFunctions::laplacian(const ConstMatrixRef& x) const {
  const auto p = powers(x);
  Matrix out = Matrix::Zero(size(), x.cols());
  for (Index a = 0; a < size(); ++a) {
    const auto& e = exponents_[static_cast<std::size_t>(a)];
    const double total = std::accumulate(e.begin(), e.end(), 0);
    for (std::size_t c = 0; c < e.size(); ++c) {
      if (e[c] < 2) continue;
      const double s = scale_[static_cast<Index>(c)];
      Eigen::RowVectorXd term = e[c] * (e[c] - 1) / (total * s * s) * p[c].row(e[c] - 2);
      for (std::size_t k = 0; k < e.size(); ++k) {
        if (k != c) term.array() *= p[k].row(e[k]).array();
      }
      out.row(a) += term;
    }
  }
  return out;
}

std::vector<FirstOrderStep> first_order_steps(const Snapshots& snapshots, const TestFunctions& tests, int splits, std::uint64_t seed, int threads) {
  const Index count = static_cast<Index>(snapshots.samples.size()) - 1;
  const bool line = snapshots.dimension() == 1;
  const auto sample = [&](Index k) {
    Matrix x = snapshots.samples[static_cast<std::size_t>(k)];
    if (line) std::sort(x.data(), x.data() + x.size());
    return x;
  };
  const auto tau = [&](Index k) { return snapshots.times[k + 1] - snapshots.times[k]; };
  std::vector<FirstOrderStep> out(static_cast<std::size_t>(count));
  parallel_for(count, threads, [&](Index k) {
    FirstOrderStep& s = out[static_cast<std::size_t>(k)];
    s.x = sample(k + 1);
    s.gradient = tests.gradient(s.x);
    s.laplacian = tests.laplacian(s.x);
    s.map_bias = Vector::Zero(tests.size());
    if (line) add_line(s, sample(k).row(0).transpose(), tau(k), tests);
    else add_coupling(s, sample(k), tau(k), tests);
  });
  if (line || splits == 0) return out;
  // The bias is c n^{-2/d}, in the plane c log(n)/n; halves have the same with n/2.
  const auto d = static_cast<double>(snapshots.dimension());
  const auto factor = [&](Index k) {
    const double points = static_cast<double>(std::min(snapshots.samples[static_cast<std::size_t>(k)].cols(), snapshots.samples[static_cast<std::size_t>(k) + 1].cols()));
    return d > 2 ? 1 / (std::exp2(2 / d) - 1) : std::log(points) / (std::log(points) - 2 * std::log(2.0));
  };
  Matrix differences(tests.size(), count * splits);
  parallel_for(count * splits, threads, [&](Index task) {
    const Index k = task / splits;
    const FirstOrderStep& s = out[static_cast<std::size_t>(k)];
    differences.col(task) = halved(s, sample(k), tau(k), RandomStream(seed, "halves of snapshots", static_cast<std::uint64_t>(task))) - s.transport;
  });
  for (Index k = 0; k < count; ++k) out[static_cast<std::size_t>(k)].map_bias = factor(k) * differences.middleCols(k * splits, splits).rowwise().mean();
  return out;
}

}  // namespace jko::estimators
