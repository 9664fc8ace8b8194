#include <jko/energies/particle_energy.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/measures/gaussian_sums.hpp>

#include "../steps/tridiagonal.hpp"

#include <Eigen/Cholesky>
#include <boost/math/special_functions/digamma.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace jko {
namespace {

using Policy = boost::math::policies::policy<boost::math::policies::promote_double<false>>;

/// g(rho) with two derivatives.
struct Local {
  double temperature = 0, coefficient = 0, exponent = 2;
  explicit Local(const FreeEnergy& energy) {
    if (energy.entropy()) temperature = 1 / energy.entropy()->beta;
    if (energy.porous_medium()) {
      coefficient = energy.porous_medium()->coefficient;
      exponent = energy.porous_medium()->exponent;
    }
  }
  [[nodiscard]] double power(double rho, double order) const { return coefficient == 0 ? 0 : coefficient * std::pow(rho, order); }
  [[nodiscard]] double first(double rho) const { return temperature / rho + power(rho, exponent - 2); }
  [[nodiscard]] double second(double rho) const { return -temperature / (rho * rho) + (exponent - 2) * power(rho, exponent - 3); }
};

bool has_local(const FreeEnergy& energy) { return energy.entropy() || energy.porous_medium(); }

std::vector<Index> sorted_by_first(const Matrix& x) {
  std::vector<Index> order(static_cast<std::size_t>(x.cols()));
  std::iota(order.begin(), order.end(), Index{0});
  std::sort(order.begin(), order.end(), [&](Index a, Index b) { return x(0, a) != x(0, b) ? x(0, a) < x(0, b) : a < b; });
  return order;
}

/// The gaps between neighbours on the line.
struct Gaps {
  std::vector<Index> order;
  Vector mass, width;  // N - 1
  explicit Gaps(const Particles& p) : order(sorted_by_first(p.points())), mass(p.size() - 1), width(p.size() - 1) {
    for (Index k = 0; k < mass.size(); ++k) {
      const Index a = order[static_cast<std::size_t>(k)], b = order[static_cast<std::size_t>(k + 1)];
      mass[k] = 0.5 * (p.weights()[a] + p.weights()[b]);
      width[k] = p.points()(0, b) - p.points()(0, a);
      if (!(width[k] > 0)) throw DomainError(fmt::format("particle_energy: two particles coincide at x = {}; the spacing entropy needs distinct points", p.points()(0, a)));
    }
  }
};

/// Each point's k-th neighbour, by a sweep along the first coordinate.
struct Neighbours {
  std::vector<Index> index;
  Vector distance;
  Neighbours(const Particles& p, int k, int threads) : index(static_cast<std::size_t>(p.size())), distance(p.size()) {
    const Matrix& x = p.points();
    const Index n = p.size();
    if (n <= k) throw DomainError(fmt::format("particle_energy: neighbour {} needs at least {} particles, but there are {}", k, k + 1, n));
    const auto order = sorted_by_first(x);
    parallel_for(n, threads, [&](Index at) {
      const Index i = order[static_cast<std::size_t>(at)];
      std::vector<std::pair<double, Index>> best;  // the k nearest so far, nearest first
      Index left = at - 1, right = at + 1;
      for (;;) {
        const double reach = static_cast<int>(best.size()) < k ? std::numeric_limits<double>::infinity() : best.back().first;
        const double to_left = left >= 0 ? x(0, i) - x(0, order[static_cast<std::size_t>(left)]) : std::numeric_limits<double>::infinity();
        const double to_right = right < n ? x(0, order[static_cast<std::size_t>(right)]) - x(0, i) : std::numeric_limits<double>::infinity();
        const double next = std::min(to_left, to_right);
        if (!(next * next <= reach) || !std::isfinite(next)) break;
        const Index j = order[static_cast<std::size_t>(to_left <= to_right ? left-- : right++)];
        const std::pair<double, Index> candidate{(x.col(i) - x.col(j)).squaredNorm(), j};
        best.insert(std::upper_bound(best.begin(), best.end(), candidate), candidate);
        if (static_cast<int>(best.size()) > k) best.pop_back();
      }
      index[static_cast<std::size_t>(i)] = best.back().second;
      distance[i] = std::sqrt(best.back().first);
    });
    Index worst = 0;
    if (!(distance.minCoeff(&worst) > 0)) {
      throw DomainError(fmt::format("particle_energy: particle {} coincides with its neighbour {}; the nearest-neighbour entropy needs distinct points", worst, k));
    }
  }
};

/// Sums over the differences x_i - x_j of an interaction kernel.
class Interaction {
 public:
  Interaction(const FreeEnergy::InteractionPart& part, const Particles& p, int threads) : part_(part), p_(p), threads_(threads), quadratic_(part.kernel->quadratic(part.theta)) {
    check_size("particle_energy", "the interaction kernel's dimension", part.kernel->dimension(), p.dimension());
    const double at_zero = part.kernel->evaluate({0, 0}, Matrix::Zero(p.dimension(), 1), part.theta)(0, 0);
    self_ = std::isfinite(at_zero);
    at_zero_ = at_zero;
    if (quadratic_ && quadratic_->centre.squaredNorm() > 0) quadratic_.reset();
  }
  [[nodiscard]] double value() const {
    if (quadratic_) return 0.5 * at_zero_ + 0.5 * (quadratic_->curvature * p_.covariance()).trace();
    Vector rows = Vector::Zero(p_.size());
    each({0, 0}, [&](Index i, double w, Index, const auto& kernel) { rows[i] += w * kernel[0]; });
    return 0.5 * rows.dot(p_.weights());
  }
  [[nodiscard]] Matrix gradient() const {
    if (quadratic_) return quadratic_->curvature * (p_.points().colwise() - p_.mean());
    Matrix out = Matrix::Zero(p_.dimension(), p_.size());
    each({1, 0}, [&](Index i, double w, Index, const auto& kernel) { out.col(i) += w * kernel; });
    return out;
  }
  /// (d p) x N: d(gradient)/d(theta)
  [[nodiscard]] Matrix parameter_gradient() const {
    Matrix out = Matrix::Zero(p_.dimension() * part_.theta.size(), p_.size());
    each({1, 1}, [&](Index i, double w, Index, const auto& kernel) { out.col(i) += w * kernel; });
    return out;
  }
  [[nodiscard]] Matrix apply(const Matrix& v) const {
    if (quadratic_) return quadratic_->curvature * (v.colwise() - v * p_.weights());
    const Index d = p_.dimension();
    Matrix out = Matrix::Zero(d, p_.size());
    each({2, 0}, [&](Index i, double w, Index j, const auto& kernel) { out.col(i) += w * (kernel.reshaped(d, d) * (v.col(i) - v.col(j))); });
    return out;
  }

 private:
  /// Calls body(i, w_j, j, derivative at x_i - x_j) for all pairs but singular ones, j in order for each i. The kernel is evaluated on some thousand
  /// differences at once: a call of a formula has a fixed cost.
  template <class Body>
  void each(Derivative which, const Body& body) const {
    const Index n = p_.size(), rows = std::max<Index>(1, 4096 / n);
    parallel_blocks(n, rows, threads_, [&](Index begin, Index end) {
      Matrix z(p_.dimension(), (end - begin) * n);
      for (Index i = begin; i < end; ++i) {
        z.middleCols((i - begin) * n, n) = (-p_.points()).colwise() + p_.points().col(i);
        if (!self_) z.col((i - begin) * n + i).setOnes();  // any point where the kernel is finite
      }
      const Matrix kernel = part_.kernel->evaluate(which, z, part_.theta);
      for (Index i = begin; i < end; ++i) {
        for (Index j = 0; j < n; ++j) {
          if (self_ || j != i) body(i, p_.weights()[j], j, kernel.col((i - begin) * n + j));
        }
      }
    });
  }

  const FreeEnergy::InteractionPart& part_;
  const Particles& p_;
  int threads_;
  std::optional<Potential::Quadratic> quadratic_;
  double at_zero_ = 0;
  bool self_ = true;
};

GaussianSums blob_sums(const Particles& p, const ParticleEnergyOptions& o) { return {p.points(), o.bandwidth, {.tail = o.tail, .threads = o.threads}}; }

/// The estimate of entropy and porous medium: values of the two, and the gradient of each where wanted.
struct LocalParts {
  double entropy = 0, porous = 0;
  Matrix entropy_gradient, porous_gradient;
};

LocalParts local_parts(const FreeEnergy& energy, const Particles& p, const ParticleEnergyOptions& o, bool gradients) {
  const Local local(energy);
  const double m = local.exponent;
  LocalParts out;
  if (gradients) out.entropy_gradient = out.porous_gradient = Matrix::Zero(p.dimension(), p.size());
  if (o.entropy == ParticleEntropy::blob) {
    const GaussianSums sums = blob_sums(p, o);
    const Eigen::ArrayXd rho = sums.value(p.weights()).array();
    if (energy.entropy()) out.entropy = local.temperature * p.weights().dot(rho.log().matrix());
    if (energy.porous_medium()) out.porous = local.coefficient / (m - 1) * p.weights().dot(rho.pow(m - 1).matrix());
    if (gradients && energy.entropy()) out.entropy_gradient = local.temperature * sums.pair_gradient(p.weights(), rho.inverse().matrix());
    if (gradients && energy.porous_medium()) out.porous_gradient = local.coefficient * sums.pair_gradient(p.weights(), rho.pow(m - 2).matrix());
  } else if (o.entropy == ParticleEntropy::spacing) {
    const Gaps gaps(p);
    for (Index k = 0; k < gaps.mass.size(); ++k) {
      const double mass = gaps.mass[k], width = gaps.width[k], rho = mass / width;
      if (energy.entropy()) out.entropy += local.temperature * mass * std::log(rho);
      if (energy.porous_medium()) out.porous += mass / (m - 1) * local.power(rho, m - 1);
      if (!gradients) continue;
      const Index a = gaps.order[static_cast<std::size_t>(k)], b = gaps.order[static_cast<std::size_t>(k + 1)];
      const double entropy = local.temperature * rho, porous = rho * local.power(rho, m - 1);
      out.entropy_gradient(0, a) += entropy / p.weights()[a];
      out.entropy_gradient(0, b) -= entropy / p.weights()[b];
      out.porous_gradient(0, a) += porous / p.weights()[a];
      out.porous_gradient(0, b) -= porous / p.weights()[b];
    }
  } else {
    const Neighbours near(p, o.neighbour, o.threads);
    const auto n = static_cast<double>(p.size()), d = static_cast<double>(p.dimension());
    const double log_ball = 0.5 * d * std::log(std::numbers::pi) - boost::math::lgamma(0.5 * d + 1, Policy());
    out.entropy = -local.temperature * (boost::math::digamma(n, Policy()) - boost::math::digamma(static_cast<double>(o.neighbour), Policy()) + log_ball +
                                        d * near.distance.array().log().mean());
    for (Index i = 0; gradients && i < p.size(); ++i) {
      const Index j = near.index[static_cast<std::size_t>(i)];
      const Vector push = -local.temperature * d / (near.distance[i] * near.distance[i]) * (p.points().col(i) - p.points().col(j));  // times N w = 1
      out.entropy_gradient.col(i) += push;
      out.entropy_gradient.col(j) -= push;
    }
  }
  return out;
}

class ParticleCurvature final : public ParticleEnergy::Curvature {
 public:
  ParticleCurvature(const FreeEnergy& energy, const ParticleEnergyOptions& options, const Particles& p) : p_(p) {
    const Index d = p.dimension();
    if (energy.potential()) potential_ = energy.potential()->potential->evaluate({2, 0}, p.points(), energy.potential()->theta);
    if (energy.interaction()) interaction_ = std::make_unique<Interaction>(*energy.interaction(), p_, options.threads);
    if (!has_local(energy)) return;
    const Local local(energy);
    if (options.entropy == ParticleEntropy::blob) {
      sums_ = std::make_unique<GaussianSums>(blob_sums(p, options));
      const Vector rho = sums_->value(p.weights());
      first_ = rho.unaryExpr([&](double r) { return local.first(r); });
      second_ = rho.unaryExpr([&](double r) { return local.second(r); });
    } else if (options.entropy == ParticleEntropy::spacing) {
      gaps_ = std::make_unique<Gaps>(p);
      stiffness_.resize(gaps_->mass.size());
      for (Index k = 0; k < stiffness_.size(); ++k) {
        // m phi(D), phi = g(m/D): the second derivative in D is m (g'' rho^2 + 2 g' rho)/D^2.
        const double width = gaps_->width[k], rho = gaps_->mass[k] / width;
        stiffness_[k] = gaps_->mass[k] * rho * (local.second(rho) * rho + 2 * local.first(rho)) / (width * width);
      }
    } else {
      near_ = std::make_unique<Neighbours>(p, options.neighbour, options.threads);
      strength_ = local.temperature * static_cast<double>(d);
    }
  }

  [[nodiscard]] Matrix apply(const Matrix& v) const override {
    const Index d = p_.dimension();
    Matrix out = Matrix::Zero(d, p_.size());
    if (potential_.size() > 0) {
      for (Index i = 0; i < p_.size(); ++i) out.col(i) = potential_.col(i).reshaped(d, d) * v.col(i);
    }
    if (interaction_) out += interaction_->apply(v);
    if (sums_) out += sums_->pair_hessian(p_.weights(), first_, second_.cwiseProduct(sums_->directional(p_.weights(), v)), v);
    if (gaps_) {
      for (Index k = 0; k < stiffness_.size(); ++k) {
        const Index a = gaps_->order[static_cast<std::size_t>(k)], b = gaps_->order[static_cast<std::size_t>(k + 1)];
        const double pull = stiffness_[k] * (v(0, b) - v(0, a));
        out(0, a) -= pull / p_.weights()[a];
        out(0, b) += pull / p_.weights()[b];
      }
    }
    if (near_) {
      for (Index i = 0; i < p_.size(); ++i) {
        const Index j = near_->index[static_cast<std::size_t>(i)];
        const double square = near_->distance[i] * near_->distance[i];
        const Vector z = p_.points().col(i) - p_.points().col(j), u = v.col(i) - v.col(j);
        const Vector push = -strength_ / square * (u - 2 * z.dot(u) / square * z);
        out.col(i) += push;
        out.col(j) -= push;
      }
    }
    return out;
  }

  [[nodiscard]] Matrix precondition(const Matrix& r, double h) const override {
    const Index d = p_.dimension(), n = p_.size();
    Matrix out(d, n);
    if (gaps_) {
      // Tridiagonal in the order of the points; concave potentials are left out so that it stays positive definite.
      Vector diagonal(n), off(n - 1), side(n);
      for (Index k = 0; k < n; ++k) {
        const Index i = gaps_->order[static_cast<std::size_t>(k)];
        diagonal[k] = p_.weights()[i] * (1 / h + (potential_.size() > 0 ? std::max(0.0, potential_(0, i)) : 0.0));
        side[k] = p_.weights()[i] * r(0, i);
      }
      diagonal.head(n - 1) += stiffness_;
      diagonal.tail(n - 1) += stiffness_;
      off = -stiffness_;
      Tridiagonal system;
      if (!system.factor(diagonal, off)) return h * r;
      system.solve(off, side);
      for (Index k = 0; k < n; ++k) out(0, gaps_->order[static_cast<std::size_t>(k)]) = side[k];
      return out;
    }
    if (potential_.size() == 0) return h * r;
    for (Index i = 0; i < n; ++i) {
      const Matrix block = Matrix::Identity(d, d) / h + Matrix(potential_.col(i).reshaped(d, d));
      const Eigen::LLT<Matrix> cholesky(block);
      out.col(i) = cholesky.info() == Eigen::Success ? Vector(cholesky.solve(r.col(i))) : Vector(h * r.col(i));
    }
    return out;
  }

 private:
  Particles p_;
  Matrix potential_;
  std::unique_ptr<Interaction> interaction_;
  std::unique_ptr<GaussianSums> sums_;
  std::unique_ptr<Gaps> gaps_;
  std::unique_ptr<Neighbours> near_;
  Vector first_, second_, stiffness_;
  double strength_ = 0;
};

void check_fit(const FreeEnergy& energy, const ParticleEnergyOptions& o, const Particles& p) {
  check_at_least("particle_energy", "the number of particles", p.size(), 1);
  if (energy.dimension() > 0) check_size("particle_energy", "the particles' dimension", p.dimension(), energy.dimension());
  if (!has_local(energy)) return;
  if (o.entropy == ParticleEntropy::spacing) {
    if (p.dimension() != 1) throw DomainError(fmt::format("particle_energy: the spacing entropy is for one dimension, but the particles have {}", p.dimension()));
    check_at_least("particle_energy", "the number of particles (spacing entropy)", p.size(), 2);
  }
  if (o.entropy != ParticleEntropy::blob && !(p.weights().minCoeff() > 0)) throw DomainError("particle_energy: a weight is 0; remove that particle");
  if (o.entropy == ParticleEntropy::nearest_neighbour) {
    if (energy.porous_medium()) throw DomainError("particle_energy: the nearest-neighbour estimate is for the entropy only; use blob or spacing with a porous medium");
    if (!((p.weights().array() - p.weights()[0]).abs().maxCoeff() <= 1e-12 * p.weights()[0])) {
      throw DomainError("particle_energy: the nearest-neighbour entropy needs equal weights");
    }
  }
}

}  // namespace

std::string_view name(ParticleEntropy entropy) {
  switch (entropy) {
    case ParticleEntropy::blob: return "blob";
    case ParticleEntropy::nearest_neighbour: return "nearest-neighbour";
    case ParticleEntropy::spacing: return "spacing";
  }
  return "?";
}

ParticleEntropy particle_entropy_from_name(std::string_view text) {
  for (const auto entropy : {ParticleEntropy::blob, ParticleEntropy::nearest_neighbour, ParticleEntropy::spacing}) {
    if (name(entropy) == text) return entropy;
  }
  throw DomainError(fmt::format("particle_energy: entropy is '{}', but must be one of blob, nearest-neighbour, spacing", text));
}

void ParticleEnergyOptions::validate() const {
  check_positive("particle_energy", "bandwidth", bandwidth);
  if (!(tail >= 0 && tail < 1)) throw DomainError(fmt::format("particle_energy: tail is {}, but must lie in [0, 1)", tail));
  check_at_least("particle_energy", "neighbour", neighbour, 1);
  check_at_least("particle_energy", "threads", threads, 1);
}

ParticleEnergy::ParticleEnergy(FreeEnergy energy, ParticleEnergyOptions options) : energy_(std::move(energy)), options_(options) {
  options_.validate();
  if (energy_.congestion()) throw DomainError("particle_energy: a bound of the density has no meaning for particles; use a step on a grid");
}

EnergyValue ParticleEnergy::value(const Particles& p) const {
  check_fit(energy_, options_, p);
  EnergyValue value;
  const auto add = [&](const char* part, double amount) {
    value.parts.emplace_back(part, amount);
    value.total += amount;
  };
  if (const auto* part = energy_.potential()) add("potential", part->potential->evaluate({0, 0}, p.points(), part->theta).row(0).dot(p.weights()));
  if (has_local(energy_)) {
    const LocalParts local = local_parts(energy_, p, options_, false);
    if (energy_.entropy()) add("entropy", local.entropy);
    if (energy_.porous_medium()) add("porous_medium", local.porous);
  }
  if (const auto* part = energy_.interaction()) add("interaction", Interaction(*part, p, options_.threads).value());
  return value;
}

ParticleEnergy::Slope ParticleEnergy::slope(const Particles& p) const {
  check_fit(energy_, options_, p);
  Slope out{{}, Matrix::Zero(p.dimension(), p.size())};
  const auto add = [&](const char* part, double amount) {
    out.value.parts.emplace_back(part, amount);
    out.value.total += amount;
  };
  if (const auto* part = energy_.potential()) {
    add("potential", part->potential->evaluate({0, 0}, p.points(), part->theta).row(0).dot(p.weights()));
    out.gradient += part->potential->evaluate({1, 0}, p.points(), part->theta);
  }
  if (has_local(energy_)) {
    const LocalParts local = local_parts(energy_, p, options_, true);
    if (energy_.entropy()) add("entropy", local.entropy);
    if (energy_.porous_medium()) add("porous_medium", local.porous);
    out.gradient += local.entropy_gradient + local.porous_gradient;
  }
  if (const auto* part = energy_.interaction()) {
    const Interaction interaction(*part, p, options_.threads);
    add("interaction", interaction.value());
    out.gradient += interaction.gradient();
  }
  return out;
}

Matrix ParticleEnergy::parameter_slope(const Particles& p) const {
  check_fit(energy_, options_, p);
  const Index d = p.dimension(), n = p.size();
  Matrix out(d * n, energy_.parameters().size());
  Index at = 0;
  // An evaluation's column i holds d^x_k dtheta_q in row k + d q.
  const auto add = [&](const Matrix& derivative, Index parameters) {
    for (Index q = 0; q < parameters; ++q) out.col(at++) = derivative.middleRows(d * q, d).reshaped();
  };
  if (const auto* part = energy_.potential()) add(part->potential->evaluate({1, 1}, p.points(), part->theta), part->theta.size());
  if (has_local(energy_)) {
    const LocalParts local = local_parts(energy_, p, options_, true);
    if (energy_.entropy()) out.col(at++) = -local.entropy_gradient.reshaped() / energy_.entropy()->beta;
    if (energy_.porous_medium()) out.col(at++) = local.porous_gradient.reshaped() / energy_.porous_medium()->coefficient;
  }
  if (const auto* part = energy_.interaction(); part && part->theta.size() > 0) add(Interaction(*part, p, options_.threads).parameter_gradient(), part->theta.size());
  return out;
}

std::unique_ptr<ParticleEnergy::Curvature> ParticleEnergy::curvature(const Particles& p) const {
  check_fit(energy_, options_, p);
  return std::make_unique<ParticleCurvature>(energy_, options_, p);
}

std::optional<Convexity> ParticleEnergy::convexity() const {
  if (has_local(energy_) && options_.entropy != ParticleEntropy::spacing) return std::nullopt;
  return energy_.convexity();
}

}  // namespace jko
