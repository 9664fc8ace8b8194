#pragma once
/// Symmetric positive definite tridiagonal systems, by elimination of four chains at once.
#include <jko/core/types.hpp>

#include <array>

namespace jko {

/// Plain elimination waits for one division a row. Here seven separator rows cut a large matrix into eight chains, four of which are eliminated
/// side by side on a thread: the first from the top, the last from the bottom, those between with one column of fill-in towards the
/// separator above; a 7 x 7 tridiagonal system joins them. The partition depends on the size only, so any number of threads gives the same bits.
class Tridiagonal {
 public:
  /// False where a pivot is not positive. Cost: one division and about six multiplications a row.
  [[nodiscard]] bool factor(const Vector& diagonal, const Vector& off_diagonal, int threads = 1);
  /// Solves in place, column by column; factor() must have answered true with the same off_diagonal.
  void solve(const Vector& off_diagonal, MatrixRef columns, int threads = 1) const;

 private:
  Index rows_ = 0;
  Vector inverse_;                     // 1/pivot
  Vector fill_;                        // coupling of a row to its chain's separator
  std::array<double, 7> pivots_{};     // of the separators, eliminated in order
  std::array<double, 6> couplings_{};  // of a separator to the next
};

}  // namespace jko
