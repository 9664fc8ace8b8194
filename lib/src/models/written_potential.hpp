#pragma once
/// One-dimensional potentials written once as a template `static T psi(const T& x, const T* theta)`; see taylor.hpp.
#include <jko/models/potential.hpp>

#include "taylor.hpp"

namespace jko {

/// Family offers psi, parameters(), text() and convexity(theta).
template <class Family>
class WrittenPotential final : public Potential {
 public:
  [[nodiscard]] int dimension() const override { return 1; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override {
    static const std::vector<Parameter> list = Family::parameters();
    return list;
  }
  [[nodiscard]] std::string describe() const override { return Family::text(); }
  [[nodiscard]] std::optional<Convexity> convexity(const ConstVectorRef& theta) const override { return Family::convexity(theta); }

  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    using T = taylor::Series<taylor::HyperDual, 4>;
    constexpr double factorial[] = {1, 1, 2, 6, 24};
    const Index p = theta.size();
    std::vector<T> parameters(static_cast<std::size_t>(p));
    const auto at = [&](Index i, Index a, Index b) {  // derivative in theta_a and theta_b; -1 for none
      for (Index j = 0; j < p; ++j) parameters[static_cast<std::size_t>(j)] = T(taylor::HyperDual(theta[j], j == a ? 1 : 0, j == b ? 1 : 0, 0));
      const taylor::HyperDual c = Family::psi(T::variable(points(0, i)), parameters.data()).c[static_cast<std::size_t>(which.x)];
      return factorial[which.x] * (a < 0 ? c.value : b < 0 ? c.a : c.ab);
    };
    for (Index i = 0; i < points.cols(); ++i) {
      if (which.theta == 0) out(0, i) = at(i, -1, -1);
      for (Index a = 0; a < p && which.theta == 1; ++a) out(a, i) = at(i, a, -1);
      for (Index a = 0; a < p && which.theta == 2; ++a) {
        for (Index b = 0; b <= a; ++b) out(a + p * b, i) = out(b + p * a, i) = at(i, a, b);
      }
    }
  }

  void jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const override {
    using T = taylor::Series<double, 2>;
    std::vector<T> parameters;
    for (const double t : theta) parameters.emplace_back(t);
    for (Index i = 0; i < n; ++i) {
      const T psi = Family::psi(T::variable(x[i]), parameters.data());
      if (value != nullptr) value[i] = psi.c[0];
      if (first != nullptr) first[i] = psi.c[1];
      if (second != nullptr) second[i] = 2 * psi.c[2];
    }
  }
};

}  // namespace jko
