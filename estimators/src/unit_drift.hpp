#pragma once
/// The drift mu of Y = int dx/sigma, dY = mu(Y; theta) dt + dW, with derivatives in y and in theta: what lets schemes for constant sigma serve any sigma.
#include "diffusion_terms.hpp"

#include <jko/core/antiderivative.hpp>
#include <jko/models/lamperti.hpp>

#include <optional>
#include <vector>

namespace jko::estimators {

/// mu = b/sigma - sigma'/2 at x(y). y is zero at the middle of the range of x whatever theta, but elsewhere moves with theta: dy/dtheta at fixed x is -int sigma_theta/sigma^2 dx.
class UnitDrift {
 public:
  /// Covers [lower, upper] and `margin` in y on either side, or less where the state space ends.
  UnitDrift(const Diffusion& diffusion, double lower, double upper, double margin);
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] Index count() const { return diffusion_.parameters().size(); }
  [[nodiscard]] Vector forward(const ConstVectorRef& x) const { return map_.forward(x); }
  [[nodiscard]] Matrix d_forward(const ConstVectorRef& x) const;  ///< dy/dtheta at fixed x, P x n

  /// mu, mu', mu'' in y; derivatives in theta at fixed x (of the point that moves with theta) or at fixed y.
  struct Jet {
    Vector value[3];
    Matrix by_theta[3];
  };
  [[nodiscard]] Jet at_x(const ConstVectorRef& x) const;
  [[nodiscard]] Jet at_y(const ConstVectorRef& y) const;  ///< NaN outside the range; by_theta[2] is left empty
  [[nodiscard]] double first() const { return map_.first(); }  ///< the range in y
  [[nodiscard]] double last() const { return map_.last(); }
  [[nodiscard]] Vector drift(const ConstVectorRef& y) const { return at_x(map_.inverse(y)).value[0]; }  ///< mu at y in the range, ends included

 private:
  Diffusion diffusion_;
  LampertiMap map_;
  bool ok_;
  double centre_;
  std::vector<std::optional<Antiderivative>> d_map_;  // int sigma_theta/sigma^2; none where sigma does not depend on the parameter
};

}  // namespace jko::estimators
