#pragma once
/// A free energy on the densities of one grid.
#include <jko/energies/free_energy.hpp>
#include <jko/measures/grid_density.hpp>

namespace jko {

/// F of the piecewise-constant density, its first variation and its slope; the potential is evaluated once and the interaction's transform is kept.
///
/// The potential is taken at the cell centres, which is second order in the width; +infinity marks a cell that no mass may enter (an obstacle).
/// The interaction is the discrete convolution (W*rho)_i = sum_j W(x_i - x_j) rho_j dV by FFT: over all of space between cells of the box at no-flux
/// walls (zero padding), the nearest image at periodic ones. Where W is not finite at 0 (logarithm, Newton), the term of a cell with itself is the
/// average of W over one cell about the origin, by recursive cubature (relative error below 1e-6 for integrable powers and logarithms), which leaves
/// an O(width^2) error for the logarithm and for Newton's kernel.
/// Cost: value and first variation O(N) and, with an interaction, two FFTs of 2^d N numbers. Memory 8 N bytes, with an interaction 2^{d+5} N.
class GridEnergy {
 public:
  /// Throws DomainError where the potential or the kernel is NaN or -infinity at a cell, or every cell is an obstacle; ShapeError where dimensions differ.
  GridEnergy(const FreeEnergy& energy, std::shared_ptr<const Grid> grid);

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  [[nodiscard]] const Grid& grid() const { return *grid_; }
  [[nodiscard]] const Vector& potential() const { return potential_; }  ///< Psi at the cell centres; zeros without that part
  /// By parts; +infinity where mass lies on obstacles or above rho_max (1e-12 relative is forgiven).
  [[nodiscard]] EnergyValue value(const ConstVectorRef& density) const;
  /// dF/drho at each cell: Psi + (log rho + 1)/beta + c m/(m-1) rho^{m-1} + W*rho. Where rho = 0 it is the limit: -infinity for entropy and fast
  /// diffusion. The congestion's multiplier is not part of it.
  [[nodiscard]] Vector first_variation(const ConstVectorRef& density) const;
  /// W*rho; zeros without that part.
  [[nodiscard]] Vector interaction(const ConstVectorRef& density) const;
  /// d(dF/drho)/d(parameters) at fixed rho, one column a parameter in the order of FreeEnergy::parameters(); entries of obstacles and of the entropy's
  /// and fast diffusion's infinite limits are zero.
  [[nodiscard]] Matrix parameter_variation(const ConstVectorRef& density) const;
  /// The metric slope |dF|(rho) = ||grad dF/drho||_{L2(rho)} by central differences over faces, each weighed with the logarithmic mean of its two
  /// densities (so that Gibbs densities have slope zero to rounding); faces with an empty side count for degenerate parts only. Second order where
  /// rho is smooth and positive. Without meaning for congestion, whose pressure is not seen.
  [[nodiscard]] double slope(const ConstVectorRef& density) const;

 private:
  struct Convolution;
  FreeEnergy energy_;
  std::shared_ptr<const Grid> grid_;
  Vector potential_;
  std::shared_ptr<const Convolution> convolution_;  // null without an interaction
};

/// Fisher information int |grad log rho|^2 rho = 4 int |grad sqrt rho|^2 by differences of the root over faces.
[[nodiscard]] double fisher_information(const Grid& grid, const ConstVectorRef& density);
/// int rho log rho.
[[nodiscard]] double entropy(const Grid& grid, const ConstVectorRef& density);

}  // namespace jko
