#pragma once
/// Free energies of weighted particles: values by parts, gradients, Hessian products.
#include <jko/energies/free_energy.hpp>
#include <jko/measures/particles.hpp>

#include <memory>

namespace jko {

/// How the density that entropy and porous medium need is read off the particles.
enum class ParticleEntropy {
  blob,               ///< rho * G with a Gaussian G: smooth, any dimension, any weights ([CarrilloCraigPatacchini2019])
  nearest_neighbour,  ///< Kozachenko-Leonenko: consistent for the entropy, equal weights, not smooth ([KozachenkoLeonenko1987])
  spacing,            ///< one dimension: constant density between neighbours; convex in the positions
};
[[nodiscard]] std::string_view name(ParticleEntropy entropy);
[[nodiscard]] ParticleEntropy particle_entropy_from_name(std::string_view name);  ///< "blob", "nearest-neighbour", "spacing"; throws DomainError

struct ParticleEnergyOptions {
  ParticleEntropy entropy = ParticleEntropy::blob;
  double bandwidth = 0.1;  ///< blob: standard deviation s of G, in the unit of x, > 0 (measures/bandwidth.hpp has rules)
  double tail = 1e-15;     ///< blob: as in GaussianSumsOptions
  int neighbour = 1;       ///< nearest neighbour: the k-th is used, >= 1
  int threads = 1;         ///< >= 1; the bits do not depend on it
  void validate() const;
};

/// F(x_1, ..., x_N) for measures sum_i w_i delta_{x_i}:
///
///   potential     sum_i w_i Psi(x_i)
///   interaction   1/2 sum_ij w_i w_j W(x_i - x_j), the terms i = j only where W(0) is finite (a logarithm has none)
///   blob          sum_i w_i g(rho_i), rho_i = sum_j w_j G(x_i - x_j), g = beta^{-1} log rho + c/(m-1) rho^{m-1}: tends to the
///                 entropy of the law as N grows and s falls; for fixed s it is that of rho against rho * G, biased by O(s^2)
///   nearest       -beta^{-1} [psi(N) - psi(k) + log(volume of the unit ball) + (d/N) sum_i log r_i], r_i the distance to the k-th neighbour
///   spacing       sum over neighbours of m (beta^{-1} log(m/D) + c/(m'-1) (m/D)^{m'-1}), D their distance, m the mean of their weights
///
/// Cost: blob and interaction are pair sums, about 1 ns a pair for the blob within reach (measures/gaussian_sums.hpp) and the kernel's evaluation a pair for
/// the interaction (O(N) where it is quadratic); the others N log N. Errors: DomainError where the estimator does not fit (spacing in more
/// than one dimension, nearest neighbours with unequal weights or fewer than k + 1 points, coinciding points for either), or for an energy with congestion.
class ParticleEnergy {
 public:
  explicit ParticleEnergy(FreeEnergy energy, ParticleEnergyOptions options = {});

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  [[nodiscard]] const ParticleEnergyOptions& options() const { return options_; }
  void set_parameters(const ConstVectorRef& parameters) { energy_.set_parameters(parameters); }

  [[nodiscard]] EnergyValue value(const Particles& particles) const;
  struct Slope {
    EnergyValue value;
    Matrix gradient;  ///< d x N, in L2(w): column i is (1/w_i) dF/dx_i, the velocity of the gradient flow with the other sign
  };
  [[nodiscard]] Slope slope(const Particles& particles) const;
  /// d(gradient)/d(parameters) in the order of FreeEnergy::parameters(): column p is d x N, stored by columns.
  [[nodiscard]] Matrix parameter_slope(const Particles& particles) const;

  /// The second derivative at one point.
  class Curvature {
   public:
    virtual ~Curvature() = default;
    /// d(gradient) along v (d x N).
    [[nodiscard]] virtual Matrix apply(const Matrix& v) const = 0;
    /// Roughly (1/h + Hessian)^{-1} r: the potential, with the spacing entropy where there is one, positive definite.
    [[nodiscard]] virtual Matrix precondition(const Matrix& r, double h) const = 0;
  };
  [[nodiscard]] std::unique_ptr<Curvature> curvature(const Particles& particles) const;

  /// The constant of FreeEnergy::convexity() where it holds for the labelled positions in L2(w): without entropy and porous medium, or with spacing (on the cone of
  /// ordered points); nullopt for blob and nearest neighbours, which are not convex.
  [[nodiscard]] std::optional<Convexity> convexity() const;

 private:
  FreeEnergy energy_;
  ParticleEnergyOptions options_;
};

}  // namespace jko
