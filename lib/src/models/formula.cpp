#include <jko/models/formula.hpp>

#include <jko/core/check.hpp>

#include "symbolic.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <fmt/format.h>

#include <algorithm>

namespace jko {
namespace {

class Formula final : public Potential {
 public:
  Formula(std::string_view text, int dimension, const std::vector<Parameter>& bounds) : text_(text), dimension_(dimension) {
    check_at_least("formula", "dimension", dimension, 1);
    std::vector<std::string> variable_names;
    for (int i = 0; i < dimension; ++i) variable_names.push_back(dimension == 1 ? "x" : fmt::format("x{}", i + 1));
    collect_parameters("formula", text, variable_names, bounds, parameters_);
    if (std::any_of(parameters_.begin(), parameters_.end(), [](const Parameter& p) { return p.name == "beta"; })) {
      throw ParseError("formula", 0, static_cast<long>(text.find("beta")) + 1, "'beta' is the inverse temperature's name and cannot be a parameter of the potential");
    }
    function_ = std::make_unique<SymbolicFunction>("formula", text, variable_names, parameters_);
    const std::lock_guard guard(ginac_lock());
    const auto& variables = function_->variables();
    const GiNaC::ex& expression = function_->expression();
    hessian_is_constant_ = true;
    for (const auto& a : variables) {
      for (const auto& b : variables) {
        const GiNaC::ex second = expression.diff(a).diff(b).expand();
        for (const auto& c : variables) hessian_is_constant_ = hessian_is_constant_ && !second.has(c);
      }
    }
    if (hessian_is_constant_) degree_ = 2;
    else if (dimension == 1 && expression.expand().is_polynomial(variables[0])) degree_ = expression.expand().degree(variables[0]);
  }

  [[nodiscard]] int dimension() const override { return dimension_; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::string describe() const override { return text_; }

  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    function_->evaluate(which, points, theta, out);
  }
  void jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const override {
    if (dimension_ != 1) throw ShapeError("potential: jet() is for one dimension");
    function_->jet(x, n, theta, value, first, second);
  }

  [[nodiscard]] std::optional<Convexity> convexity(const ConstVectorRef& theta) const override {
    if (degree_ > 4) return std::nullopt;
    const Matrix origin = Matrix::Zero(dimension_, 1);
    if (hessian_is_constant_) {
      const Matrix hessian = evaluate({2, 0}, origin, theta).reshaped(dimension_, dimension_);
      return Convexity{Eigen::SelfAdjointEigenSolver<Matrix>(hessian, Eigen::EigenvaluesOnly).eigenvalues()[0], true, "Hess Psi is constant"};
    }
    if (dimension_ != 1) return std::nullopt;
    // Psi'' = a + b x + c x^2/2.
    const double a = evaluate({2, 0}, origin, theta)(0, 0), b = evaluate({3, 0}, origin, theta)(0, 0), c = evaluate({4, 0}, origin, theta)(0, 0);
    if (c > 0) return Convexity{a - 0.5 * b * b / c, true, "minimum of the quadratic Psi''"};
    if (c == 0 && b == 0) return Convexity{a, true, "Psi'' is constant"};
    return std::nullopt;  // Psi'' is unbounded below
  }

  [[nodiscard]] std::optional<Quadratic> quadratic(const ConstVectorRef& theta) const override {
    if (!hessian_is_constant_) return std::nullopt;
    const Matrix origin = Matrix::Zero(dimension_, 1);
    Quadratic q{evaluate({2, 0}, origin, theta).reshaped(dimension_, dimension_), {}};
    const Eigen::FullPivLU<Matrix> solver(q.curvature);
    if (!solver.isInvertible()) return std::nullopt;
    q.centre = -solver.solve(Vector(evaluate({1, 0}, origin, theta).col(0)));
    return q;
  }

  [[nodiscard]] QuadraticTangent quadratic_tangent(const ConstVectorRef& theta) const override {
    const auto q = quadratic(theta);
    if (!q) return Potential::quadratic_tangent(theta);
    const Matrix origin = Matrix::Zero(dimension_, 1);
    const Index d = dimension_, p = parameter_count();
    const Matrix curvature = evaluate({2, 1}, origin, theta), slope = evaluate({1, 1}, origin, theta);
    const Eigen::FullPivLU<Matrix> solver(q->curvature);
    QuadraticTangent out;
    out.centre.resize(d, p);
    for (Index j = 0; j < p; ++j) {
      out.curvature.emplace_back(curvature.col(0).segment(d * d * j, d * d).reshaped(d, d));
      // K mu = -grad Psi(0), differentiated.
      out.centre.col(j) = -solver.solve(Vector(out.curvature.back() * q->centre + slope.col(0).segment(d * j, d)));
    }
    return out;
  }

 private:
  std::string text_;
  int dimension_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<SymbolicFunction> function_;
  bool hessian_is_constant_ = false;
  int degree_ = 1000;  ///< in x, of a polynomial; the large value says that it is none (or not one-dimensional)
};

}  // namespace

PotentialPtr formula(std::string_view text, int dimension, const std::vector<Parameter>& bounds) {
  return std::make_shared<Formula>(text, dimension, bounds);
}

}  // namespace jko
