#pragma once
/// The Lamperti coordinate y(x) = int dx/sigma on the part of the state space that a likelihood needs.
#include <jko/models/diffusion.hpp>

#include "antiderivative.hpp"

namespace jko::estimators {

/// y(x), zero at the middle of the data's range, and its inverse.
class LampertiMap {
 public:
  /// Covers [lower, upper] and `margin` in y beyond it, or less where the state space ends before that.
  LampertiMap(const Diffusion& diffusion, double lower, double upper, double margin);
  [[nodiscard]] bool ok() const { return ok_; }  ///< false where sigma is not positive and finite in the range
  [[nodiscard]] double first() const { return first_; }  ///< the range in y
  [[nodiscard]] double last() const { return last_; }
  [[nodiscard]] Vector forward(const ConstVectorRef& x) const;
  [[nodiscard]] Vector inverse(const ConstVectorRef& y) const;  ///< y inside [first, last]

 private:
  bool ok_ = true;
  double centre_ = 0, scale_ = 0;  ///< scale: the constant sigma, else 0
  double first_ = 0, last_ = 0, shift_ = 0;
  Antiderivative integral_;
};

}  // namespace jko::estimators
