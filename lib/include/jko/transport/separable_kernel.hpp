#pragma once
/// The heat kernel of a box as a truncated separable convolution.
#include <jko/measures/grid_density.hpp>

namespace jko {

/// A function on a grid as mantissa * 2^exponent with one exponent for each tile of cells, so that a kernel may be applied to functions whose range
/// leaves that of double (scalings of entropic transport reach e^{+-10000}).
struct ScaledField {
  Vector mantissa;            ///< one a cell
  std::vector<int> exponent;  ///< one a tile; SeparableKernel::empty_tile where all mantissas are zero
};

/// Cells that share an exponent.
enum class KernelTiles {
  wide,    ///< 64 x 32 x 8: the fastest
  narrow,  ///< 16 x 16 x 8: for functions that vary by more than e^{1000} within the others; up to 1.6 times the time
};

/// out(y) = sum_x K(y - x) in(x) with K(z) proportional to exp(-|z|^2/(2 variance)) over the cells within `radius` standard deviations along every axis,
/// scaled to sum to one. At no-flux walls the input continues by reflection (the Neumann heat kernel), at periodic ones by translation: constants
/// are kept at walls too, and K is symmetric. 1 to 3 dimensions.
///
/// Accuracy: the taps left out weigh about erfc(radius/sqrt 2). Sampling a Gaussian of `variance` = c width^2 reproduces the heat kernel to
/// 2 exp(-2 pi^2 c): 5e-9 for c = 1.
/// Cost: per axis 3 radius sqrt(variance)/width + 1 flops a cell; times in docs/methods/separable_kernel.md.
/// Wrong choice for variance far above (20 width)^2: a cosine transform costs less there, where the range of double suffices.
class SeparableKernel {
 public:
  static constexpr int empty_tile = -(1 << 28);
  /// variance > 0, in x^2; radius > 0, in standard deviations; threads >= 1 (the bits do not depend on it). Throws DomainError.
  SeparableKernel(std::shared_ptr<const Grid> grid, double variance, double radius, int threads = 1, KernelTiles tiles = KernelTiles::wide);

  [[nodiscard]] const Grid& grid() const { return *grid_; }
  [[nodiscard]] double variance() const { return variance_; }
  [[nodiscard]] Index taps(int axis) const { return weights_[static_cast<std::size_t>(axis)].size() - 1; }  ///< to one side

  /// For values whose products stay inside double's range. in and out: one number a cell; they may be the same.
  void apply(const ConstVectorRef& in, VectorRef out) const;
  /// For any range: a cell's result is correct relative to the largest term within the kernel's reach of its tile, down to 1e-300 of it.
  /// out's buffers are reused; in and out must differ.
  void apply(const ScaledField& in, ScaledField& out) const;

  /// Tiles: blocks of cells, see KernelTiles. visit(begin, count) is called for each contiguous run of a tile, in order.
  [[nodiscard]] Index tiles() const;
  template <class Visit>
  void for_each_run(Index tile, const Visit& visit) const {
    const Box t = tile_box(tile);
    for (Index k = t.begin[2]; k < t.end[2]; ++k) {
      for (Index j = t.begin[1]; j < t.end[1]; ++j) visit(t.begin[0] + cells_[0] * (j + cells_[1] * k), t.end[0] - t.begin[0]);
    }
  }

 private:
  struct Box {
    Index begin[3], end[3];
  };
  [[nodiscard]] Box tile_box(Index tile) const;
  [[nodiscard]] Index source(int axis, Index cell) const;  // reflected or wrapped
  void pass(int axis, const double* in, const std::vector<int>& in_exponent, double* out, std::vector<int>& out_exponent) const;

  std::shared_ptr<const Grid> grid_;
  double variance_;
  int threads_;
  Index cells_[3] = {1, 1, 1}, tile_[3] = {1, 1, 1}, tiles_[3] = {1, 1, 1};
  std::vector<Vector> weights_;  // per axis: taps 0, 1, ..., R
  mutable Vector buffer_[2];     // between the passes: one caller at a time
  mutable std::vector<int> exponents_[2];
};

}  // namespace jko
