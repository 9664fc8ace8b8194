#pragma once
/// The parts of the first-order conditions that depend on the data only: test functions, optimal maps between snapshots, their influence functions and bias.
#include <jko/estimators/data.hpp>

#include <cstdint>
#include <vector>

namespace jko::estimators {

/// Monomials z^a/|a| of the standardised coordinates z_c = (x_c - centre_c)/scale_c, 1 <= |a| <= degree.
class TestFunctions {
 public:
  TestFunctions(int degree, Vector centre, Vector scale);
  [[nodiscard]] Index size() const { return static_cast<Index>(exponents_.size()); }
  [[nodiscard]] Matrix value(const ConstMatrixRef& x) const;                  ///< size x n
  [[nodiscard]] std::vector<Matrix> gradient(const ConstMatrixRef& x) const;  ///< one a coordinate, size x n
  [[nodiscard]] Matrix laplacian(const ConstMatrixRef& x) const;              ///< size x n

 private:
  [[nodiscard]] std::vector<Matrix> powers(const ConstMatrixRef& x) const;  // one a coordinate, (degree + 1) x n
  int degree_;
  Vector centre_, scale_;
  std::vector<std::vector<int>> exponents_;
};

/// One step's data.
struct FirstOrderStep {
  Matrix x;                      ///< d x n, the points of arrival; sorted in one dimension
  std::vector<Matrix> gradient;  ///< of the test functions there, one a coordinate
  Matrix laplacian;
  Vector transport;              ///< E grad phi . (T - x)/tau
  Vector map_bias;               ///< estimate of that term's bias by the empirical map; zero in one dimension or without splits
  Matrix arrival, departure;     ///< influence functions of that term at the samples (not centred)
};

/// splits: random halvings for the bias, 0 = none. One dimension sorts; more dimensions solve 1 + 2 splits transport problems a step.
[[nodiscard]] std::vector<FirstOrderStep> first_order_steps(const Snapshots& snapshots, const TestFunctions& tests, int splits, std::uint64_t seed, int threads);

}  // namespace jko::estimators
