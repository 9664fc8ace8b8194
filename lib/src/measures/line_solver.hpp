#pragma once
/// Tridiagonal systems along the lines of a grid's axis, many lines at a time.
#include <jko/measures/grid_density.hpp>

#include <vector>

namespace jko {

/// (I - s A) u = b for A that couples neighbours along one axis and conserves mass:
///   (A u)_k = up_k u_{k+1} + down_{k-1} u_{k-1} - (down_k + up_{k-1}) u_k,  up, down >= 0,
/// an M-matrix of unit column sums: the elimination needs no pivoting and keeps the sign and sum of b. Lines are solved side by side, so that vector
/// instructions and not the recurrence set the pace.
class LineSolver {
 public:
  LineSolver(const Grid& grid, int axis);
  /// up, down: of the edge between cell k and its right neighbour, at cell k's place (the last cell of a line is ignored). Where `shared` every line has
  /// the coefficients of the first, and only the first `cells` entries are read.
  void factor(const double* up, const double* down, double s, bool shared, int threads);
  /// field becomes u = (I - s A)^{-1} field.
  void solve(double* field, int threads) const;
  /// field becomes 2 u - field = (I + s A)(I - s A)^{-1} field: a Crank-Nicolson step of 2 s at the cost of the solve alone.
  void reflect(double* field, int threads) const;

 private:
  void run(double* field, bool reflect, int threads) const;
  Index cells_, stride_, outer_;
  bool shared_ = false;
  std::vector<double> pivot_, left_, right_;  // z_k = b_k + left z_{k-1};  u_k = pivot z_k + right u_{k+1}; stored in the order of use
};

}  // namespace jko
