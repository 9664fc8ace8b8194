#include "grid_convolution.hpp"

#include <jko/core/check.hpp>

#include <algorithm>
#include <array>
#include <cmath>

namespace jko {
namespace {

constexpr std::array<double, 4> gauss_nodes{-0.43056815579702629, -0.16999052179242813, 0.16999052179242813, 0.43056815579702629};
constexpr std::array<double, 4> gauss_weights{0.17392742256872693, 0.32607257743127307, 0.32607257743127307, 0.17392742256872693};

/// The mean of W over the cell around 0 by the four-point Gauss rule of each axis, which has no node at 0.
double mean_at_zero(const Grid& grid, const Potential& kernel, const ConstVectorRef& theta) {
  const int d = grid.dimension();
  Index count = 1;
  for (int a = 0; a < d; ++a) count *= 4;
  Matrix points(d, count);
  Vector weights = Vector::Ones(count);
  Index repeat = 1;
  for (int a = 0; a < d; ++a) {
    for (Index i = 0; i < count; ++i) {
      const auto g = static_cast<std::size_t>(i / repeat % 4);
      points(a, i) = gauss_nodes[g] * grid.width(a);
      weights[i] *= gauss_weights[g];
    }
    repeat *= 4;
  }
  return kernel.evaluate({0, 0}, points, theta).row(0).dot(weights);
}

}  // namespace

GridConvolution::GridConvolution(const Grid& grid, const Potential& kernel, const ConstVectorRef& theta) : cells_(grid.cells) {
  const int d = grid.dimension();
  for (int a = d - 1; a >= 0; --a) padded_.push_back(static_cast<int>(2 * cells_[static_cast<std::size_t>(a)]));
  for (const int n : padded_) real_size_ *= n;
  complex_size_ = real_size_ / padded_.back() * (padded_.back() / 2 + 1);
  real_.reset(fftw_alloc_real(static_cast<std::size_t>(real_size_)));
  complex_.reset(fftw_alloc_complex(static_cast<std::size_t>(complex_size_)));
  kernel_.reset(fftw_alloc_complex(static_cast<std::size_t>(complex_size_)));
  {
    const std::lock_guard lock(fftw_planner());
    forward_.reset(fftw_plan_dft_r2c(d, padded_.data(), real_.get(), complex_.get(), FFTW_ESTIMATE));
    backward_.reset(fftw_plan_dft_c2r(d, padded_.data(), complex_.get(), real_.get(), FFTW_ESTIMATE));
  }
  // The kernel at the displacements -n..n-1 of each axis, wrapped; the displacement -n never meets a pair of cells.
  Matrix points(d, real_size_);
  Index repeat = 1;
  for (int a = 0; a < d; ++a) {
    const Index n = cells_[static_cast<std::size_t>(a)];
    for (Index i = 0; i < real_size_; ++i) {
      const Index k = i / repeat % (2 * n);
      points(a, i) = grid.width(a) * static_cast<double>(k < n ? k : k - 2 * n);
    }
    repeat *= 2 * n;
  }
  Vector w = kernel.evaluate({0, 0}, points, theta).row(0).transpose();
  if (!std::isfinite(w[0])) w[0] = mean_at_zero(grid, kernel, theta);
  check_finite("grid_convolution", "the interaction kernel W at the differences of cell centres", w);
  w *= grid.cell_volume() / static_cast<double>(real_size_);  // with FFTW's missing normalisation
  std::copy(w.begin(), w.end(), real_.get());
  fftw_execute(forward_.get());
  for (Index i = 0; i < complex_size_; ++i) {
    kernel_[static_cast<std::size_t>(i)][0] = complex_[static_cast<std::size_t>(i)][0];
    kernel_[static_cast<std::size_t>(i)][1] = complex_[static_cast<std::size_t>(i)][1];
  }
}

Vector GridConvolution::operator()(const ConstVectorRef& density) const {
  const Index n0 = cells_[0], rows = density.size() / n0, n1 = cells_.size() > 1 ? cells_[1] : 1;
  // Row (y_1, y_2) of the grid lies at row y_1 + 2 n1 y_2 of the padded one.
  const auto padded_row = [&](Index row) { return (row % n1 + 2 * n1 * (row / n1)) * 2 * n0; };
  std::fill_n(real_.get(), real_size_, 0.0);
  for (Index row = 0; row < rows; ++row) std::copy_n(density.data() + row * n0, n0, real_.get() + padded_row(row));
  fftw_execute(forward_.get());
  for (Index i = 0; i < complex_size_; ++i) {
    auto& c = complex_[static_cast<std::size_t>(i)];
    const auto& k = kernel_[static_cast<std::size_t>(i)];
    const double re = c[0] * k[0] - c[1] * k[1], im = c[0] * k[1] + c[1] * k[0];
    c[0] = re;
    c[1] = im;
  }
  fftw_execute(backward_.get());
  Vector out(density.size());
  for (Index row = 0; row < rows; ++row) std::copy_n(real_.get() + padded_row(row), n0, out.data() + row * n0);
  return out;
}

}  // namespace jko
