#pragma once
/// The potential Psi(x; theta) of a Langevin model, with its partial derivatives in batches of points.
#include <jko/core/types.hpp>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace jko {

/// A parameter's name and natural bounds (closed; infinite where there is none).
struct Parameter {
  std::string name;
  double lower = -std::numeric_limits<double>::infinity();
  double upper = std::numeric_limits<double>::infinity();
  bool positive = false;  ///< a scale: zero itself is inadmissible
};

/// Which partial derivative: its order in x and its order in theta.
struct Derivative {
  int x = 0;
  int theta = 0;
};

/// A lower bound kappa of the smallest eigenvalue of Hess Psi, and where it comes from.
struct Convexity {
  double kappa = 0;
  bool proven = false;  ///< true: a closed form; false: the smallest value found numerically (convexity_on in convexity.hpp)
  std::string reason;   ///< one phrase
};

/// Psi(x; theta) and its partial derivatives. Implementations are immutable and may be shared between threads.
class Potential {
 public:
  virtual ~Potential() = default;
  [[nodiscard]] virtual int dimension() const = 0;                           ///< d
  [[nodiscard]] virtual const std::vector<Parameter>& parameters() const = 0;  ///< p of them
  [[nodiscard]] virtual std::string describe() const = 0;                    ///< the formula, as text
  /// Writes the derivative at each column of points (d x n): out is (d^x p^theta) x n; within a column the x indices run
  /// fastest (out[i + d*j] = d^3 Psi/dx_i dtheta_j-like). Every implementation offers x <= 4 with theta = 0, x <= 3
  /// with theta = 1 and x <= 2 with theta = 2. Psi = +inf is allowed (x outside the domain); NaN is not.
  virtual void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const = 0;
  /// One-dimensional fast path: Psi, Psi', Psi'' at n points; a null pointer skips that output. Default: evaluate().
  virtual void jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const;
  /// kappa(theta) where a closed form is known.
  [[nodiscard]] virtual std::optional<Convexity> convexity(const ConstVectorRef& theta) const;
  /// If Psi = (x-mu)' K (x-mu)/2 + const with K symmetric: K and mu (used by the Gaussian step).
  struct Quadratic {
    Matrix curvature;
    Vector centre;
  };
  [[nodiscard]] virtual std::optional<Quadratic> quadratic(const ConstVectorRef& theta) const;
  /// d(K, mu)/dtheta in column j: dK = matrices[j], dmu = centre.col(j). Only where quadratic() answers.
  struct QuadraticTangent {
    std::vector<Matrix> curvature;
    Matrix centre;
  };
  [[nodiscard]] virtual QuadraticTangent quadratic_tangent(const ConstVectorRef& theta) const;

  // Conveniences that allocate.
  [[nodiscard]] Matrix evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta) const;
  [[nodiscard]] int parameter_count() const { return static_cast<int>(parameters().size()); }
  /// Throws ShapeError or DomainError when theta has the wrong size, is not finite or violates a bound.
  void check_parameters(const ConstVectorRef& theta) const;
};

using PotentialPtr = std::shared_ptr<const Potential>;

}  // namespace jko
