#pragma once
/// A field on a grid as a smooth function: value, gradient and Hessian anywhere.
#include "../measures/line_solver.hpp"

#include <jko/measures/grid_density.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

namespace jko {

/// The tensor product of interpolating cubic splines through the values at the cell centres, mirrored at the walls ([Unser1999]): C^2, normal derivatives zero there.
/// Points are in cells: cell k's centre is at k. Derivatives are in these units; axes beyond the dimension have 0.
class SplineField {
 public:
  static constexpr int most = 3;  // axes
  using Point = std::array<double, most>;

  SplineField(const Grid& grid, Vector values, int threads) : dimension_(grid.dimension()), coefficients_(std::move(values)) {
    Index stride = 1;
    const std::vector<double> ones(static_cast<std::size_t>(*std::max_element(grid.cells.begin(), grid.cells.end())), 1.0);
    for (int a = 0; a < dimension_; ++a) {
      const auto axis = static_cast<std::size_t>(a);
      // (c_{k-1} + 4 c_k + c_{k+1})/6 = value: I - s A of a unit graph Laplacian with s = -1/6.
      LineSolver filter(grid, a);
      filter.factor(ones.data(), ones.data(), -1.0 / 6, true, threads);
      filter.solve(coefficients_.data(), threads);
      cells_[axis] = grid.cells[axis];
      stride_[axis] = stride;
      stride *= cells_[axis];
    }
  }

  struct Jet {
    double value = 0;
    Point gradient{};
    std::array<Point, most> hessian{};
  };
  [[nodiscard]] Jet jet(const Point& at) const {
    std::array<std::array<Index, 4>, most> cell{};
    std::array<std::array<std::array<double, 4>, 3>, most> w{};  // of value, slope and curvature
    for (std::size_t a = 0; a < static_cast<std::size_t>(dimension_); ++a) {
      const double floor = std::floor(at[a]), t = at[a] - floor, s = 1 - t;
      w[a][0] = {s * s * s / 6, 2.0 / 3 - t * t * (1 - 0.5 * t), 2.0 / 3 - s * s * (1 - 0.5 * s), t * t * t / 6};
      w[a][1] = {-0.5 * s * s, t * (1.5 * t - 2), s * (2 - 1.5 * s), 0.5 * t * t};
      w[a][2] = {s, 3 * t - 2, 3 * s - 2, t};
      for (std::size_t m = 0; m < 4; ++m) cell[a][m] = stride_[a] * mirrored(static_cast<Index>(floor) - 1 + static_cast<Index>(m), cells_[a]);
    }
    for (std::size_t a = static_cast<std::size_t>(dimension_); a < most; ++a) w[a][0][0] = 1;
    const std::size_t count1 = dimension_ > 1 ? 4 : 1, count2 = dimension_ > 2 ? 4 : 1;
    Jet out;
    for (std::size_t c = 0; c < count2; ++c) {
      double plane[3][3] = {};
      for (std::size_t b = 0; b < count1; ++b) {
        double line[3] = {};
        for (std::size_t a = 0; a < 4; ++a) {
          const double f = coefficients_[cell[0][a] + cell[1][b] + cell[2][c]];
          for (std::size_t i = 0; i < 3; ++i) line[i] += w[0][i][a] * f;
        }
        for (std::size_t i = 0; i < 3; ++i) {
          for (std::size_t j = 0; i + j < 3; ++j) plane[i][j] += line[i] * w[1][j][b];
        }
      }
      const auto& z = w[2];
      out.value += plane[0][0] * z[0][c];
      out.gradient[0] += plane[1][0] * z[0][c];
      out.gradient[1] += plane[0][1] * z[0][c];
      out.gradient[2] += plane[0][0] * z[1][c];
      out.hessian[0][0] += plane[2][0] * z[0][c];
      out.hessian[0][1] += plane[1][1] * z[0][c];
      out.hessian[1][1] += plane[0][2] * z[0][c];
      out.hessian[0][2] += plane[1][0] * z[1][c];
      out.hessian[1][2] += plane[0][1] * z[1][c];
      out.hessian[2][2] += plane[0][0] * z[2][c];
    }
    out.hessian[1][0] = out.hessian[0][1];
    out.hessian[2][0] = out.hessian[0][2];
    out.hessian[2][1] = out.hessian[1][2];
    return out;
  }

  [[nodiscard]] Point centre(Index i) const {
    Point out{};
    for (std::size_t a = 0; a < static_cast<std::size_t>(dimension_); ++a) out[a] = static_cast<double>(i / stride_[a] % cells_[a]);
    return out;
  }

 private:
  /// The cell that stands for k: reflected at the walls as often as needed.
  static Index mirrored(Index k, Index n) {
    const Index m = (k % (2 * n) + 2 * n) % (2 * n);
    return m < n ? m : 2 * n - 1 - m;
  }
  int dimension_;
  std::array<Index, most> cells_{1, 1, 1}, stride_{0, 0, 0};
  Vector coefficients_;
};

}  // namespace jko
