#include <jko/estimators/identifiability.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <cmath>

namespace jko::estimators {

Identifiability identifiability(const ConstMatrixRef& information, const std::vector<std::string>& names, const std::vector<bool>& fixed) {
  const Index count = information.rows();
  check_size("identifiability", "the information's columns", information.cols(), count);
  check_size("identifiability", "the list of names", static_cast<Index>(names.size()), count);
  check_size("identifiability", "the list of fixed parameters", static_cast<Index>(fixed.size()), count);
  check_finite("identifiability", "the information", information);
  std::vector<Index> free;
  for (Index i = 0; i < count; ++i) {
    if (!fixed[static_cast<std::size_t>(i)]) free.push_back(i);
  }
  Identifiability out;
  out.direction = Vector::Zero(count);
  if (free.empty()) return out;
  const auto k = static_cast<Index>(free.size());
  Matrix block(k, k);
  for (Index i = 0; i < k; ++i) {
    for (Index j = 0; j < k; ++j) block(i, j) = information(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]);
  }
  // A parameter without any information has the eigenvalue zero by itself.
  Vector scale = block.diagonal();
  for (double& s : scale) s = s > 0 ? 1 / std::sqrt(s) : 0;
  const Eigen::SelfAdjointEigenSolver<Matrix> e(scale.asDiagonal() * block * scale.asDiagonal());
  out.smallest = e.eigenvalues()[0];
  Vector v = e.eigenvectors().col(0);
  Index largest = 0;
  v.cwiseAbs().maxCoeff(&largest);
  v /= v[largest];
  for (Index i = 0; i < k; ++i) {
    const Index position = free[static_cast<std::size_t>(i)];
    out.direction[position] = v[i];
    if (std::abs(v[i]) < 0.1) continue;
    const std::string& name = names[static_cast<std::size_t>(position)];
    const std::string size = std::abs(std::abs(v[i]) - 1) < 0.005 ? name : fmt::format("{:.2f} {}", std::abs(v[i]), name);
    if (out.combination.empty()) out.combination = (v[i] < 0 ? "-" : "") + size;
    else out.combination += (v[i] < 0 ? " - " : " + ") + size;
  }
  out.identified = out.smallest > 1e-12;
  out.weak = out.smallest < 1e-4;
  return out;
}

}  // namespace jko::estimators
