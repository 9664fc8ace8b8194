#pragma once
/// Gaussian likelihoods whose mean is a polynomial of low degree in x, from sums over the data.
#include "transitions.hpp"

#include <optional>
#include <vector>

namespace jko::estimators {

/// X' - x ~ N(t sum_k m_k z^k, v q), z = (x - centre)/scale, with m and v functions of theta alone and t, q known: the log-likelihood is a function of (m, v) and of moments that are summed once. So is Euler for a
/// polynomial drift and sigma(x; theta) = s(theta) g(x); so are Shoji-Ozaki and the exact law for a linear drift, with a set of sums for each distinct dt (64 at most).
/// Centring and scaling keep the moments' matrix well conditioned. An evaluation costs O(P K^2), the scores O(n (P + K)).
class LinearGaussian {
 public:
  /// None where the scheme and the family are not of this form, or there are more distinct dt.
  [[nodiscard]] static std::optional<LinearGaussian> of(const Transitions& data, const Diffusion& diffusion, Transition scheme);
  /// The diffusion may differ from that of of() in its parameters only.
  [[nodiscard]] LikelihoodValue operator()(const Diffusion& diffusion, bool with_scores) const;

 private:
  static constexpr int most = 4;  // coefficients of the drift
  struct Group {
    double dt = 0;     ///< of the law; 1 for Euler, whose dt is in t and q
    double n = 0, squares = 0, logarithms = 0;  ///< count, sum y^2/q, sum log q
    std::array<double, most> cross{};           ///< sum y t z^k/q
    std::array<double, 2 * most - 1> moments{};  ///< sum t^2 z^k/q
  };
  /// m and v with their derivatives in theta.
  struct Law {
    Vector mean;
    double variance;
    Matrix d_mean;  // K x P
    Vector d_variance;
  };
  [[nodiscard]] Law law(const Diffusion& diffusion, double dt) const;

  const Transitions* data_ = nullptr;
  bool euler_ = false;
  Index terms_ = 0;  ///< K
  double centre_ = 0, scale_ = 1;
  Vector inverse_;   ///< 1/q
  std::vector<Group> groups_;
  std::vector<unsigned char> group_of_;  ///< empty for one group
};

}  // namespace jko::estimators
