#include <jko/landau/kernel.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>

#include "../core/vector_math.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace jko {
namespace {

constexpr Index lanes = 32;  // particles of a tile

struct Tile {
  Index d, n;
  const double* v;         // the tile's velocities, coordinate k at [k * lanes + i]
  const double* f;         // and forces
  const double* all_v;     // coordinate k of particle j at [k * n + j]
  const double* all_f;
  const double* w;
  double gamma;
  double* out;             // coordinate k at [k * lanes + i]
};

enum class Power { minus_one, minus_two, minus_three, any };

/// out += w_j |z|^gamma (|z|^2 g - z (z . g)), z = v_i - v_j, g = F_i - F_j
template <Index D, Power P>
[[gnu::always_inline]] inline void pair_body(const Tile& t) {
  double square[lanes], product[lanes];
  for (Index j = 0; j < t.n; ++j) {
    for (Index i = 0; i < lanes; ++i) square[i] = product[i] = 0;
    for (Index k = 0; k < D; ++k) {
      for (Index i = 0; i < lanes; ++i) {
        const double z = t.v[k * lanes + i] - t.all_v[k * t.n + j];
        square[i] += z * z;
        product[i] += z * (t.f[k * lanes + i] - t.all_f[k * t.n + j]);
      }
    }
    const double w = t.w[j];
    double factor[lanes];
    for (Index i = 0; i < lanes; ++i) {
      const double s = square[i] > 0 ? square[i] : 1.0;  // where z = 0 the factor multiplies zeros
      if constexpr (P == Power::minus_one) factor[i] = w / std::sqrt(s);
      else if constexpr (P == Power::minus_two) factor[i] = w / s;
      else if constexpr (P == Power::minus_three) factor[i] = w / (s * std::sqrt(s));
      else factor[i] = w * std::pow(s, 0.5 * t.gamma);
    }
    for (Index k = 0; k < D; ++k) {
      for (Index i = 0; i < lanes; ++i) {
        t.out[k * lanes + i] += factor[i] * (square[i] * (t.f[k * lanes + i] - t.all_f[k * t.n + j]) - (t.v[k * lanes + i] - t.all_v[k * t.n + j]) * product[i]);
      }
    }
  }
}

JKO_VECTOR_CLONES void plane_minus_one(const Tile& t) { pair_body<2, Power::minus_one>(t); }
JKO_VECTOR_CLONES void plane_minus_two(const Tile& t) { pair_body<2, Power::minus_two>(t); }
JKO_VECTOR_CLONES void plane_minus_three(const Tile& t) { pair_body<2, Power::minus_three>(t); }
JKO_VECTOR_CLONES void space_minus_one(const Tile& t) { pair_body<3, Power::minus_one>(t); }
JKO_VECTOR_CLONES void space_minus_two(const Tile& t) { pair_body<3, Power::minus_two>(t); }
JKO_VECTOR_CLONES void space_minus_three(const Tile& t) { pair_body<3, Power::minus_three>(t); }

void pairs(const Tile& t) {
  const bool plane = t.d == 2;
  if (t.gamma == -1) return plane ? plane_minus_one(t) : space_minus_one(t);
  if (t.gamma == -2) return plane ? plane_minus_two(t) : space_minus_two(t);
  if (t.gamma == -3) return plane ? plane_minus_three(t) : space_minus_three(t);
  if (plane) pair_body<2, Power::any>(t);
  else pair_body<3, Power::any>(t);
}

}  // namespace

void LandauKernel::validate() const {
  check_positive("landau", "kernel strength B", strength);
  check_in("landau", "exponent gamma", gamma, -4, 1);
}

Matrix LandauKernel::drift(const Particles& p, const ConstMatrixRef& forces, int threads) const {
  validate();
  const Index d = p.dimension(), n = p.size();
  if (d != 2 && d != 3) throw DomainError(fmt::format("landau: the velocities have dimension {}, but must have 2 or 3", d));
  check_size("landau", "the forces' rows", forces.rows(), d);
  check_size("landau", "the forces' columns", forces.cols(), n);
  const Vector& w = p.weights();
  if (gamma == 0) {
    // A(v - v_j) is a polynomial: sums over j are moments. Velocities are centred first, which changes no difference.
    const Matrix v = p.points().colwise() - p.mean(), wf = forces * w.asDiagonal();
    const Matrix second = v * w.asDiagonal() * v.transpose();  // sum w v v'
    const Matrix mixed = wf * v.transpose();                   // sum w F v'
    const Vector total = wf.rowwise().sum(), square = wf * v.colwise().squaredNorm().transpose(), along = v * (v.cwiseProduct(wf)).colwise().sum().transpose();
    const double trace = mixed.trace(), energy = second.trace();
    Matrix out(d, n);
    for (Index i = 0; i < n; ++i) {
      const Vector x = v.col(i), force = forces.col(i);
      const double size = x.squaredNorm();
      const Vector own = (size + energy) * force - x * x.dot(force) - second * force;
      const Vector others = size * total - 2 * (mixed * x) + square - (x * x.dot(total) - trace * x - mixed.transpose() * x + along);
      out.col(i) = -strength * (own - others);
    }
    return out;
  }
  Matrix velocities = p.points().transpose(), all = forces.transpose(), out(d, n);
  parallel_blocks(n, lanes, threads, [&](Index begin, Index end) {
    std::vector<double> v(static_cast<std::size_t>(d * lanes)), f(v), sums(v);
    for (Index k = 0; k < d; ++k) {
      for (Index i = 0; i < lanes; ++i) {
        v[static_cast<std::size_t>(k * lanes + i)] = velocities(std::min(begin + i, end - 1), k);
        f[static_cast<std::size_t>(k * lanes + i)] = all(std::min(begin + i, end - 1), k);
      }
    }
    pairs({d, n, v.data(), f.data(), velocities.data(), all.data(), w.data(), gamma, sums.data()});
    for (Index i = begin; i < end; ++i) {
      for (Index k = 0; k < d; ++k) out(k, i) = -strength * sums[static_cast<std::size_t>(k * lanes + i - begin)];
    }
  });
  return out;
}

Bkw::Bkw(int dimension, double strength, double amplitude) : d_(dimension), strength_(strength), amplitude_(amplitude) {
  check_at_least("bkw", "dimension", dimension, 2);
  check_positive("bkw", "kernel strength B", strength);
  check_positive("bkw", "amplitude C", amplitude);
  check_in("bkw", "amplitude C", amplitude, 0, 1);
}

double Bkw::spread(double t) const { return 1 - amplitude_ * std::exp(-2 * strength_ * (d_ - 1) * t); }

double Bkw::start() const { return std::max(0.0, std::log(amplitude_ * (d_ + 2) / 2.0) / (2 * strength_ * (d_ - 1))); }

Vector Bkw::density(const ConstMatrixRef& v, double t) const {
  check_size("bkw", "the velocities' dimension", v.rows(), d_);
  // start() is rounded; at it the density's smallest value may be -1e-17.
  if (!(t >= start() * (1 - 1e-12))) throw DomainError(fmt::format("bkw: time is {}, but the density is negative before {}", t, start()));
  const double k = spread(t), p = ((d_ + 2) * k - d_) / (2 * k), q = (1 - k) / (2 * k * k);
  const Eigen::ArrayXd square = v.colwise().squaredNorm().transpose().array();
  return std::pow(2 * std::numbers::pi * k, -0.5 * d_) * ((-0.5 / k * square).exp() * (std::max(p, 0.0) + q * square)).matrix();
}

Matrix Bkw::score(const ConstMatrixRef& v, double t) const {
  check_size("bkw", "the velocities' dimension", v.rows(), d_);
  const double k = spread(t), p = ((d_ + 2) * k - d_) / (2 * k), q = (1 - k) / (2 * k * k);
  const Eigen::ArrayXd square = v.colwise().squaredNorm().transpose().array();
  return v * (-1 / k + 2 * q / (p + q * square)).matrix().asDiagonal();
}

double Bkw::fourth_moment(double t) const {
  // E|x|^4 = d(d+2) K^2 and E|x|^6 = d(d+2)(d+4) K^3 for N(0, K I): P d(d+2) K^2 + Q d(d+2)(d+4) K^3 = d(d+2) K (2 - K).
  const double k = spread(t);
  return d_ * (d_ + 2) * k * (2 - k);
}

Matrix landau_maxwell_covariance(const ConstMatrixRef& start, double strength, double t) {
  check_covariance("landau_maxwell_covariance", "start", start);
  check_positive("landau_maxwell_covariance", "kernel strength B", strength);
  check_nonnegative("landau_maxwell_covariance", "time t", t);
  const auto d = static_cast<double>(start.rows());
  const Matrix end = start.trace() / d * Matrix::Identity(start.rows(), start.rows());
  return end + (start - end) * std::exp(-4 * d * strength * t);
}

}  // namespace jko
