#include "polynomial.hpp"

#include <jko/core/check.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace jko {
namespace {

/// n (n-1) ... (n-k+1)
double falling(int n, int k) {
  double product = 1;
  for (int i = 0; i < k; ++i) product *= n - i;
  return product;
}

double monomial_derivative(const Monomial& term, int order, double x) {
  if (order > term.power) return 0;
  return term.coefficient * falling(term.power, order) * std::pow(x, term.power - order);
}

}  // namespace

Polynomial::Polynomial(std::vector<Monomial> terms, std::string text) : terms_(std::move(terms)), text_(std::move(text)) {
  for (const Monomial& term : terms_) {
    parameters_.push_back(term.parameter);
    degree_ = std::max(degree_, term.power);
  }
}

void Polynomial::evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const {
  out.setZero();
  if (which.theta >= 2) return;  // linear in theta
  for (Index i = 0; i < points.cols(); ++i) {
    for (std::size_t j = 0; j < terms_.size(); ++j) {
      const double derivative = monomial_derivative(terms_[j], which.x, points(0, i));
      if (which.theta == 0) {
        out(0, i) += theta[static_cast<Index>(j)] * derivative;
      } else {
        out(static_cast<Index>(j), i) = derivative;
      }
    }
  }
}

std::vector<double> Polynomial::coefficients(const ConstVectorRef& theta) const {
  std::vector<double> c(static_cast<std::size_t>(degree_) + 1, 0.0);
  for (std::size_t j = 0; j < terms_.size(); ++j) {
    c[static_cast<std::size_t>(terms_[j].power)] += theta[static_cast<Index>(j)] * terms_[j].coefficient;
  }
  return c;
}

void Polynomial::jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const {
  std::vector<double> c = coefficients(theta);
  for (double* out : {value, first, second}) {
    if (out != nullptr) {
      const double* const coefficient = c.data();
      const int top = static_cast<int>(c.size()) - 1;
      for (Index i = 0; i < n; ++i) {
        double sum = coefficient[top];
        for (int k = top - 1; k >= 0; --k) sum = sum * x[i] + coefficient[k];
        out[i] = sum;
      }
    }
    // Coefficients of the derivative, for the next output.
    for (std::size_t k = 1; k < c.size(); ++k) c[k - 1] = static_cast<double>(k) * c[k];
    if (c.size() > 1) c.pop_back();
    else c[0] = 0;
  }
}

std::optional<Convexity> Polynomial::convexity(const ConstVectorRef& theta) const {
  // inf Psi'' for degree <= 4: Psi'' = 2 c2 + 6 c3 x + 12 c4 x^2.
  const std::vector<double> c = coefficients(theta);
  const auto at = [&](std::size_t k) { return k < c.size() ? c[k] : 0.0; };
  if (degree_ > 4) return std::nullopt;
  if (at(4) > 0) return Convexity{2 * at(2) - 0.75 * at(3) * at(3) / at(4), true, "minimum of the quadratic Psi''"};
  if (at(4) == 0 && at(3) == 0) return Convexity{2 * at(2), true, "Psi'' is constant"};
  return std::nullopt;  // Psi'' is unbounded below
}

}  // namespace jko
