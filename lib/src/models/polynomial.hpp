#pragma once
/// One-dimensional potentials that are linear in their parameters over monomials: Psi = sum_j theta_j c_j x^{n_j}.
#include <jko/models/potential.hpp>

namespace jko {

struct Monomial {
  Parameter parameter;
  double coefficient;  ///< c_j
  int power;           ///< n_j >= 1
};

class Polynomial final : public Potential {
 public:
  Polynomial(std::vector<Monomial> terms, std::string text);
  [[nodiscard]] int dimension() const override { return 1; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::string describe() const override { return text_; }
  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override;
  void jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const override;
  [[nodiscard]] std::optional<Convexity> convexity(const ConstVectorRef& theta) const override;

 private:
  [[nodiscard]] std::vector<double> coefficients(const ConstVectorRef& theta) const;  ///< of x^0, x^1, ...

  std::vector<Monomial> terms_;
  std::vector<Parameter> parameters_;
  std::string text_;
  int degree_ = 0;
};

}  // namespace jko
