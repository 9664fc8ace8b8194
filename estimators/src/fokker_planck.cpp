#include "fokker_planck.hpp"

#include <jko/core/check.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/models/lamperti.hpp>

#include "diffusion_terms.hpp"

#include <Eigen/Eigenvalues>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

using Coefficient = DiffusionFamily::Coefficient;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double cut = 35;          // e^-35 = 6e-16: states beyond have no weight
constexpr int taps = 8;             // points of the table's interpolation
constexpr int fine = 8;             // table nodes a basis node
constexpr Index block = 256;        // transitions at once: their buffers stay in the second-level cache
constexpr Index patch_nodes = 96;   // of a patch; the eigenproblem costs the cube
constexpr Index single_nodes = 144; // a window of so many nodes is not divided
// Absolute error of the series in units of e^{-lambda_0 dt}/sqrt(dt): the states beyond the cut (e^-35 times their number) and the rounding of the eigenvectors. Against closed laws at five to nine
// deviations, refinements 0 to 6 and dt from 1 to 0.01, up to 1.7e-14 was seen; this is twice that, rounded up.
constexpr double rounding = 4e-14;
constexpr double tail = 1e-8;       // error of log p from which on the short-time expansion is tried: about five deviations and more

/// b, sigma and their derivatives at points, as far as mu and V need them.
struct Coefficients {
  Vector mu, potential, sigma, sigma_slope;
  Matrix d_drift, d_sigma;  // P x n
  Coefficients(const Diffusion& diffusion, const ConstVectorRef& x, bool with_gradient) {
    const DiffusionFamily& family = diffusion.family();
    const Vector& theta = diffusion.parameters();
    const Matrix points = x.transpose();
    const auto row = [&](Coefficient c, int order) { return Vector(family.evaluate(c, {order, 0}, points, theta).row(0).transpose()); };
    const Vector b = row(Coefficient::drift, 0), b1 = row(Coefficient::drift, 1);
    sigma = row(Coefficient::diffusion, 0);
    if (family.constant_diffusion()) {
      sigma_slope = Vector::Zero(x.size());
      mu = b.cwiseQuotient(sigma);
      potential = 0.5 * (mu.array().square() + b1.array());
    } else {
      sigma_slope = row(Coefficient::diffusion, 1);
      const Vector sigma2 = row(Coefficient::diffusion, 2);
      mu = b.array() / sigma.array() - 0.5 * sigma_slope.array();
      // sigma d mu/dx
      potential = 0.5 * (mu.array().square() + b1.array() - b.array() * sigma_slope.array() / sigma.array() - 0.5 * sigma.array() * sigma2.array());
    }
    if (!with_gradient) return;
    d_drift = family.evaluate(Coefficient::drift, {0, 1}, points, theta);
    d_sigma = family.evaluate(Coefficient::diffusion, {0, 1}, points, theta);
  }
};

/// Weights of the interpolation at u in [0, 1) from nodes -3, ..., 4.
std::array<double, taps> weights(double u) {
  static const std::array<double, taps> scale = [] {
    std::array<double, taps> out{};
    for (int i = 0; i < taps; ++i) {
      double product = 1;
      for (int j = 0; j < taps; ++j) {
        if (j != i) product *= i - j;
      }
      out[static_cast<std::size_t>(i)] = 1 / product;
    }
    return out;
  }();
  std::array<double, taps> before{}, out{};
  double product = 1;
  for (int i = 0; i < taps; ++i) {
    before[static_cast<std::size_t>(i)] = product;
    product *= u + 3 - i;
  }
  product = 1;
  for (int i = taps - 1; i >= 0; --i) {
    const auto k = static_cast<std::size_t>(i);
    out[k] = before[k] * product * scale[k];
    product *= u + 3 - i;
  }
  return out;
}

/// (e^{-a t} - e^{-b t})/(b - a) = int_0^t e^{-(t-s) b - s a} ds
double divided(double a, double b, double t) {
  const double z = 0.5 * (b - a) * t;
  // sinh(z)/z by its series where the difference would cancel: z^4/120 is below 1e-15 for z = 1e-3.
  const double ratio = std::abs(z) < 1e-3 ? 1 + z * z / 6 : std::sinh(z) / z;
  return std::abs(z) < 20 ? t * std::exp(-0.5 * (a + b) * t) * ratio : (std::exp(-a * t) - std::exp(-b * t)) / (b - a);
}

/// The semigroup on one window, Dirichlet at both ends.
class Patch {
 public:
  /// Nodes begin + i length/n, i = 1, ..., n - 1.
  Patch(const Diffusion& diffusion, const LampertiMap& map, double begin, double length, Index n, double shortest, bool with_gradient) : begin_(begin) {
    const double pi = std::numbers::pi, spacing = length / static_cast<double>(n), dn = static_cast<double>(n);
    const Vector y = begin + spacing * Vector::LinSpaced(n - 1, 1, dn - 1).array();
    const Coefficients at(diffusion, map.inverse(y), with_gradient);
    ok_ = at.potential.allFinite() && at.sigma.minCoeff() > 0;
    if (!ok_) return;
    // Kinetic energy and derivative of the cardinal functions of the sine basis, at their nodes.
    Vector half(2 * n), cotangent(2 * n);  // 1/sin^2 and cot of pi k/(2n)
    for (Index k = 1; k < 2 * n; ++k) {
      const double s = std::sin(pi * static_cast<double>(k) / (2 * dn));
      half[k] = 1 / (s * s);
      cotangent[k] = std::cos(pi * static_cast<double>(k) / (2 * dn)) / s;
    }
    const double kinetic = pi * pi / (4 * length * length);
    Matrix h(n - 1, n - 1);
    for (Index j = 1; j < n; ++j) {
      for (Index i = j + 1; i < n; ++i) h(i - 1, j - 1) = ((i - j) % 2 == 0 ? kinetic : -kinetic) * (half[i - j] - half[i + j]);
      h(j - 1, j - 1) = kinetic * ((2 * dn * dn + 1) / 3 - half[2 * j]) + at.potential[j - 1];
    }
    const Eigen::SelfAdjointEigenSolver<Matrix> eigen(h);  // reads the lower triangle
    ok_ = eigen.info() == Eigen::Success;
    if (!ok_) return;
    const Vector& lambda = eigen.eigenvalues();
    const Matrix& u = eigen.eigenvectors();
    states_ = 1;
    while (states_ < n - 1 && (lambda[states_] - lambda[0]) * shortest < cut) ++states_;
    Index kept = states_;
    std::vector<Matrix> change;
    if (with_gradient) {
      // chi_l = psi_l' - mu psi_l; sigma d sigma d_xx acts on psi_l as (d sigma/sigma)(-2 lambda_l psi_l - 2 mu chi_l - sigma_x chi_l).
      Matrix slope(n - 1, n - 1);
      for (Index j = 1; j < n; ++j) {
        for (Index i = 1; i < n; ++i) {
          const double sign = (i - j) % 2 == 0 ? 1 : -1, first = i == j ? 0 : (i > j ? cotangent[i - j] : -cotangent[j - i]);
          slope(i - 1, j - 1) = sign * 0.5 * pi / length * (first - cotangent[i + j]);
        }
      }
      const Matrix chi = slope * u - at.mu.asDiagonal() * u;
      double largest = 0;
      for (Index j = 0; j < at.d_drift.rows(); ++j) {
        const Vector ratio = at.d_sigma.row(j).transpose().cwiseQuotient(at.sigma);
        const Vector alpha = at.d_drift.row(j).transpose().array() / at.sigma.array() - ratio.array() * (at.sigma_slope + 2 * at.mu).array();
        Matrix m = u.transpose() * (alpha.asDiagonal() * chi);
        if (!ratio.isZero(0)) m -= 2 * (u.transpose() * (ratio.asDiagonal() * u)) * lambda.asDiagonal();
        largest = std::max(largest, m.topLeftCorner(states_, states_).cwiseAbs().maxCoeff());
        change.push_back(std::move(m));
      }
      // Rows and columns beyond the states enter with (e^{-lambda_l t} - ...)/(lambda_k - lambda_l): kept where above 1e-11 of the largest.
      for (Index k = states_; k < n - 1; ++k) {
        double coupling = 0;
        for (Index l = 0; l < states_; ++l) {
          const double weight = std::exp(-(lambda[l] - lambda[0]) * shortest) / ((lambda[k] - lambda[l]) * shortest);
          for (const Matrix& m : change) coupling = std::max({coupling, std::abs(m(k, l)) * weight, std::abs(m(l, k)) * weight});
        }
        if (coupling > 1e-11 * largest) kept = k + 1;
      }
    }
    lambda_ = lambda.head(kept);
    for (const Matrix& m : change) change_.push_back(m.topLeftCorner(kept, kept));
    // The table: the sine series of each state on a grid `fine` times finer, with taps/2 nodes beyond the ends (odd there).
    const Index period = 2 * fine * n, count = fine * n + 1 + taps;
    Vector sine(period);
    for (Index k = 0; k < period; ++k) sine[k] = std::sin(2 * pi * static_cast<double>(k) / static_cast<double>(period));
    Matrix analysis(n - 1, n - 1), synthesis(n - 1, count);
    for (Index k = 1; k < n; ++k) {
      for (Index i = 1; i < n; ++i) analysis(k - 1, i - 1) = sine[(k * i * fine) % period];
      for (Index f = 0; f < count; ++f) synthesis(k - 1, f) = sine[(((f - taps / 2) * k) % period + period) % period];
    }
    rows_ = (kept + 3) / 4 * 4;
    table_ = Matrix::Zero(rows_, count);
    // psi = u/sqrt(spacing) at the nodes: normalised in y.
    table_.topRows(kept).noalias() = (2 / (dn * std::sqrt(spacing))) * (analysis * u.leftCols(kept)).transpose() * synthesis;
    per_node_ = fine / spacing;
  }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] Index states() const { return states_; }
  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] const Vector& lambda() const { return lambda_; }
  [[nodiscard]] const std::vector<Matrix>& change() const { return change_; }
  /// psi_0, ..., psi_{count-1} at y; count a multiple of 4.
  void states_at(double y, Index count, double* out) const {
    const double position = (y - begin_) * per_node_;
    const double node = std::floor(position);
    if (!(node >= 0 && node < static_cast<double>(table_.cols() - taps))) {  // outside the window: no path of this length comes from inside
      std::fill_n(out, count, 0.0);
      return;
    }
    const auto w = weights(position - node);
    const double* const column = table_.data() + (static_cast<Index>(node) + 1) * rows_;
    for (Index k = 0; k < count; k += 4) {
      double sum[4] = {0, 0, 0, 0};
      const double* source = column + k;
      for (int q = 0; q < taps; ++q, source += rows_) {
        for (int lane = 0; lane < 4; ++lane) sum[lane] += w[static_cast<std::size_t>(q)] * source[lane];
      }
      for (int lane = 0; lane < 4; ++lane) out[k + lane] = sum[lane];
    }
  }

 private:
  double begin_, per_node_ = 0;
  bool ok_ = true;
  Index states_ = 0, rows_ = 0;
  Vector lambda_;
  std::vector<Matrix> change_;
  Matrix table_;
};

/// Patches for transitions of length in [shortest, longest] between y values in [lower, upper].
class Windows {
 public:
  Windows(const Diffusion& diffusion, const LampertiMap& map, double lower, double upper, double shortest, double longest, bool with_gradient, int refinement) {
    const double level = std::pow(1.25, refinement), margin = reach(longest, refinement);
    // Where the process will not go: V dt above 5 cut, outside the data.
    constexpr Index samples = 256;
    const double from = std::max(map.first(), lower - margin), to = std::min(map.last(), upper + margin);
    const Vector grid = Vector::LinSpaced(samples + 1, from, to);
    const Vector inner = grid.segment(1, samples - 1);  // the ends may be those of the state space
    const Vector v = Coefficients(diffusion, map.inverse(inner), false).potential;
    double bottom = infinity;
    for (Index i = 0; i < v.size(); ++i) {
      if (std::isfinite(v[i])) bottom = std::min(bottom, v[i]);
    }
    const auto closed = [&](Index i) { return !((v[i] - bottom) * shortest < 5 * cut * level); };
    Index first = 0, last = v.size() - 1;
    for (Index i = 0; i < v.size() && inner[i] < lower; ++i) {
      if (closed(i)) first = i;
    }
    for (Index i = v.size() - 1; i >= 0 && inner[i] > upper; --i) {
      if (closed(i)) last = i;
    }
    const double begin = first == 0 ? from : inner[first], end = last == v.size() - 1 ? to : inner[last];
    // The shortest wave of a state that counts, sampled 1.8 times as densely as Nyquist asks for: steep wells have long tails in wave number.
    const double energy = cut / shortest + std::max(0.0, -bottom), spacing = std::numbers::pi / (1.8 * level * std::sqrt(2 * energy));
    const double width = end - begin;
    ok_ = std::isfinite(width) && width > 0 && std::isfinite(bottom);
    if (!ok_) return;
    const double nodes = std::max(16.0, std::ceil(width / spacing));
    if (nodes <= static_cast<double>(single_nodes) * level) {
      add(diffusion, map, begin, width, static_cast<Index>(nodes), shortest, with_gradient);
      centres_.push_back(0.5 * (begin + end));
      return;
    }
    const double length = std::max(static_cast<double>(patch_nodes) * level * spacing, 3 * margin), core = length - 2 * margin;
    if (length >= width || length / spacing > 1000) {  // a spread of times and drifts that no basis of sensible size resolves
      ok_ = length < width || nodes <= 1000;
      if (ok_) add(diffusion, map, begin, width, static_cast<Index>(nodes), shortest, with_gradient), centres_.push_back(0.5 * (begin + end));
      return;
    }
    const double patches = std::ceil((width - 2 * margin) / core), stride = (width - length) / std::max(1.0, patches - 1);
    for (double k = 0; k < patches && ok_; ++k) {
      add(diffusion, map, begin + k * stride, length, static_cast<Index>(std::ceil(length / spacing)), shortest, with_gradient);
      centres_.push_back(begin + k * stride + 0.5 * length);
    }
  }

  [[nodiscard]] static double reach(double dt, int refinement) { return 5.0 * std::sqrt(dt) * (1 + 0.15 * refinement); }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] const std::vector<Patch>& patches() const { return patches_; }
  /// The patch in whose middle the pair lies.
  [[nodiscard]] std::size_t patch(double y, double next) const {
    const double middle = 0.5 * (y + next);
    const auto above = std::lower_bound(centres_.begin(), centres_.end(), middle);
    if (above == centres_.begin()) return 0;
    if (above == centres_.end()) return centres_.size() - 1;
    const auto k = static_cast<std::size_t>(above - centres_.begin());
    return middle - centres_[k - 1] < centres_[k] - middle ? k - 1 : k;
  }

 private:
  void add(const Diffusion& diffusion, const LampertiMap& map, double begin, double length, Index n, double shortest, bool with_gradient) {
    patches_.emplace_back(diffusion, map, begin, length, n, shortest, with_gradient);
    ok_ = patches_.back().ok();
  }

  bool ok_ = true;
  std::vector<Patch> patches_;
  std::vector<double> centres_;
};

/// sum_k e^{-lambda_k dt} psi_k(y) psi_k(y') of the transitions `list` of one patch, the relative derivatives, and the relative error.
void kernel(const Patch& patch, const Transitions& data, const Vector& y, const std::vector<Index>& list, bool with_gradient, Vector& out, Matrix& scores, Vector& error) {
  const Index kept = patch.lambda().size(), rows = patch.rows(), states = std::min(rows, (patch.states() + 3) / 4 * 4);
  const Vector& lambda = patch.lambda();
  const double reference = data.dt[list.front()];
  // Equal to rounding of the times: 1e-11 relative moves log p by as much.
  const bool even = std::all_of(list.begin(), list.end(), [&](Index i) { return std::abs(data.dt[i] - reference) <= 1e-11 * reference; });
  Vector decay = Vector::Zero(rows);
  const auto set_decay = [&](double dt, double* target) {
    for (Index k = 0; k < kept; ++k) target[k] = std::exp(-lambda[k] * dt);
  };
  set_decay(reference, decay.data());
  std::vector<Matrix> operators;  // even: change * divided difference; else change/(lambda_k - lambda_l) off the near-diagonal
  std::vector<std::pair<Index, Index>> near;
  if (with_gradient) {
    double longest = 0;
    for (const Index i : list) longest = std::max(longest, data.dt[i]);
    Matrix factor(kept, kept);
    for (Index l = 0; l < kept; ++l) {
      for (Index k = 0; k < kept; ++k) {
        if (even) {
          factor(k, l) = divided(lambda[l], lambda[k], reference);
        } else if (std::abs(lambda[k] - lambda[l]) * longest < 1e-3) {
          near.emplace_back(k, l);
          factor(k, l) = 0;
        } else {
          factor(k, l) = 1 / (lambda[k] - lambda[l]);
        }
      }
    }
    for (const Matrix& change : patch.change()) operators.emplace_back(change.cwiseProduct(factor).transpose());
  }
  const Index used = with_gradient ? rows : states;
  Matrix psi(used, 2 * block), decayed(kept, 2 * block), decays(used, 2 * block), product(kept, 2 * block);
  std::vector<Index> transition(2 * block);
  for (std::size_t at = 0; at < list.size();) {
    // Columns of a block: a transition takes a column and the next; the last observation of one is the first of its successor.
    Index columns = 0, previous = -2;
    while (at < list.size() && columns + 2 <= 2 * block) {
      const Index i = list[at++], observation = data.start[static_cast<std::size_t>(i)];
      if (observation != previous) {
        patch.states_at(y[observation], used, psi.col(columns).data());
        transition[static_cast<std::size_t>(columns++)] = -1;
      }
      transition[static_cast<std::size_t>(columns - 1)] = i;
      patch.states_at(y[observation + 1], used, psi.col(columns).data());
      transition[static_cast<std::size_t>(columns++)] = -1;
      previous = observation + 1;
    }
    const Index pairs = columns - 1;
    for (Index c = 0; c < pairs; ++c) {
      const Index i = transition[static_cast<std::size_t>(c)];
      if (i < 0) {
        if (!even) decays.col(c).setZero();
        continue;
      }
      const double* weight = decay.data();
      if (!even) {
        decays.col(c).setZero();
        set_decay(data.dt[i], decays.col(c).data());
        weight = decays.col(c).data();
      }
      double sum[4] = {0, 0, 0, 0};
      const double *a = psi.col(c).data(), *b = psi.col(c + 1).data();
      for (Index k = 0; k < states; k += 4) {
        for (int lane = 0; lane < 4; ++lane) sum[lane] += weight[k + lane] * a[k + lane] * b[k + lane];
      }
      const double value = (sum[0] + sum[1]) + (sum[2] + sum[3]);
      const double floor = rounding * weight[0] / std::sqrt(data.dt[i]);
      out[i] = value > floor ? value : 0;  // NaN too
      if (value > floor) error[i] = floor / value;
    }
    if (!with_gradient) continue;
    const auto first = psi.topLeftCorner(kept, pairs), second = psi.block(0, 1, kept, pairs);
    for (std::size_t j = 0; j < operators.size(); ++j) {
      Vector change(pairs);
      if (even) {
        product.leftCols(pairs).noalias() = operators[j] * first;
        change = product.leftCols(pairs).cwiseProduct(second).colwise().sum().transpose();
      } else {
        const auto weight = decays.topLeftCorner(kept, pairs);
        product.leftCols(pairs).noalias() = operators[j] * first;
        change = product.leftCols(pairs).cwiseProduct(weight.cwiseProduct(second)).colwise().sum().transpose();
        decayed.leftCols(pairs) = weight.cwiseProduct(first);
        product.leftCols(pairs).noalias() = operators[j] * decayed.leftCols(pairs);
        change -= product.leftCols(pairs).cwiseProduct(second).colwise().sum().transpose();
        for (const auto& [k, l] : near) {
          const double m = patch.change()[j](k, l);
          for (Index c = 0; c < pairs; ++c) {
            const Index i = transition[static_cast<std::size_t>(c)];
            if (i >= 0) change[c] += m * divided(lambda[l], lambda[k], data.dt[i]) * first(k, c) * second(l, c);
          }
        }
      }
      for (Index c = 0; c < pairs; ++c) {
        const Index i = transition[static_cast<std::size_t>(c)];
        if (i >= 0) scores(static_cast<Index>(j), i) = change[c] / out[i];
      }
    }
  }
}

/// Unlikely transitions, where the absolute error of the series leaves few digits or none: the third-order short-time expansion of log p, whose error is relative. Its last term |l_3 - l_2| stands
/// for its error; since the terms go like powers q^k of one number, |l_2 - l_1|^{3/2} is of the same size, and catches a last term that passes through zero. The more exact of the two is taken.
void replace_tails(const Transitions& data, const Diffusion& diffusion, bool with_gradient, Terms& out) {
  std::vector<Index> list;
  Panel pairs;
  for (Index i = 0; i < data.size(); ++i) {
    if (out.error[i] <= tail) continue;
    const Index at = data.start[static_cast<std::size_t>(i)];
    list.push_back(i);
    pairs.push_back({Vector{{0, data.dt[i]}}, data.x.segment(at, 2).transpose()});
  }
  if (list.empty()) return;
  const Transitions unlikely(pairs);
  const Terms third = hermite_terms(unlikely, diffusion, 3), second = hermite_terms(unlikely, diffusion, 2), first = hermite_terms(unlikely, diffusion, 1);
  for (std::size_t k = 0; k < list.size(); ++k) {
    const auto from = static_cast<Index>(k);
    const double error = std::max(std::abs(third.log_density[from] - second.log_density[from]), std::pow(std::abs(second.log_density[from] - first.log_density[from]), 1.5));
    if (!(error < 1 && error < out.error[list[k]] && third.scores.col(from).allFinite())) continue;
    out.log_density[list[k]] = third.log_density[from];
    out.error[list[k]] = error;
    if (with_gradient) out.scores.col(list[k]) = third.scores.col(from);
  }
}

}  // namespace

Terms fokker_planck_terms(const Transitions& data, const Diffusion& diffusion, bool with_gradient, int refinement, Index* states) {
  const Index n = data.size(), count = diffusion.parameters().size();
  Terms out(with_gradient ? count : 0, n);
  out.log_density.setConstant(-infinity);
  out.error = Vector::Constant(n, infinity);
  out.scores.setZero();
  const double longest = data.dt.maxCoeff(), shortest = data.dt.minCoeff(), low = data.x.minCoeff(), high = data.x.maxCoeff();
  const LampertiMap map(diffusion, low, high, Windows::reach(longest, refinement));
  if (!map.ok()) return out;
  const Vector y = map.forward(data.x);
  // Groups of similar dt share a basis.
  std::vector<std::vector<Index>> groups(static_cast<std::size_t>(std::floor(std::log(longest / shortest) / std::log(4.0) + 1e-9)) + 1);
  for (Index i = 0; i < n; ++i) {
    const auto g = static_cast<std::size_t>(std::floor(std::log(data.dt[i] / shortest) / std::log(4.0) + 1e-9));
    groups[std::min(g, groups.size() - 1)].push_back(i);
  }
  Vector value = Vector::Zero(n);
  if (states != nullptr) *states = 0;
  for (const auto& group : groups) {
    if (group.empty()) continue;
    double least = infinity, most = 0;
    for (const Index i : group) least = std::min(least, data.dt[i]), most = std::max(most, data.dt[i]);
    const Windows windows(diffusion, map, y.minCoeff(), y.maxCoeff(), least, most, with_gradient, refinement);
    if (!windows.ok()) return out;
    std::vector<std::vector<Index>> lists(windows.patches().size());
    for (const Index i : group) {
      const Index at = data.start[static_cast<std::size_t>(i)];
      lists[windows.patch(y[at], y[at + 1])].push_back(i);
    }
    for (std::size_t k = 0; k < lists.size(); ++k) {
      if (!lists[k].empty()) kernel(windows.patches()[k], data, y, lists[k], with_gradient, value, out.scores, out.error);
      if (states != nullptr) *states += windows.patches()[k].states();
    }
  }
  const Vector log_sigma = diffusion.family().evaluate(Coefficient::diffusion, {}, data.x.transpose(), diffusion.parameters()).row(0).transpose().array().log();
  // S = int mu dy = int b/sigma^2 dx - (log sigma)/2.
  const Antiderivative integral(low, high, [&](const Matrix& x) -> Vector {
    const Matrix drift = diffusion.family().evaluate(Coefficient::drift, {}, x, diffusion.parameters()), sigma = diffusion.family().evaluate(Coefficient::diffusion, {}, x, diffusion.parameters());
    return (drift.array() / sigma.array().square()).row(0).transpose();
  });
  if (!integral.ok()) return out;
  Vector s(data.x.size());
  for (Index i = 0; i < s.size(); ++i) s[i] = integral(data.x[i]) - 0.5 * log_sigma[i];
  for (Index i = 0; i < n; ++i) {
    const Index at = data.start[static_cast<std::size_t>(i)];
    if (value[i] > 0) out.log_density[i] = std::log(value[i]) + s[at + 1] - s[at] - log_sigma[at + 1];
  }
  replace_tails(data, diffusion, with_gradient, out);
  return out;
}

FokkerPlanckDensity fokker_planck_density(const Diffusion& diffusion, const ConstVectorRef& x, const ConstVectorRef& next, double dt, int refinement) {
  check_positive("fokker_planck_density", "time step dt", dt);
  check_at_least("fokker_planck_density", "refinement", refinement, 0);
  check_size("fokker_planck_density", "the end points", next.size(), x.size());
  check_at_least("fokker_planck_density", "number of points", x.size(), 1);
  diffusion.check_values("fokker_planck_density", x);
  diffusion.check_values("fokker_planck_density", next);
  Panel pairs;
  for (Index i = 0; i < x.size(); ++i) pairs.push_back({Vector{{0, dt}}, Matrix{{x[i], next[i]}}});
  const Transitions data(pairs);
  FokkerPlanckDensity out;
  const Terms terms = fokker_planck_terms(data, diffusion, false, refinement, &out.states);
  out.log_density = terms.log_density;
  out.log_error = terms.error;
  const Vector finer = fokker_planck_terms(data, diffusion, false, refinement + 1).log_density;
  for (Index i = 0; i < x.size(); ++i) {
    if (std::isfinite(out.log_density[i]) || std::isfinite(finer[i])) out.error = std::max(out.error, std::abs(std::exp(out.log_density[i]) - std::exp(finer[i])));
  }
  return out;
}

}  // namespace jko::estimators
