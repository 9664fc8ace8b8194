#pragma once
/// W * rho on a grid with walls.
#include "../core/fftw_plan.hpp"

#include <jko/measures/grid_density.hpp>
#include <jko/models/potential.hpp>

#include <vector>

namespace jko {

/// (W * rho)_i = V sum_j W(x_i - x_j) rho_j by FFTs of twice the cells an axis (no wrap-around). W where it is infinite at 0 (logarithmic, Newtonian)
/// enters there by its mean over the cell. O(cells log cells) time, about 2^{d+2} cells of memory.
class GridConvolution {
 public:
  /// Throws DomainError where W is NaN, or infinite away from 0.
  GridConvolution(const Grid& grid, const Potential& kernel, const ConstVectorRef& theta);
  [[nodiscard]] Vector operator()(const ConstVectorRef& density) const;

 private:
  std::vector<Index> cells_;
  std::vector<int> padded_;  // last axis first, as FFTW counts
  Index real_size_ = 1, complex_size_ = 1;
  FftwBuffer<fftw_complex> kernel_;
  mutable FftwBuffer<double> real_;
  mutable FftwBuffer<fftw_complex> complex_;
  FftwPlan forward_, backward_;
};

}  // namespace jko
