#pragma once
/// One-dimensional diffusions dX = b(X; theta) dt + sigma(X; theta) dW.
#include <jko/models/model.hpp>

#include <string_view>

namespace jko {

/// The coefficients b and sigma > 0 of a family, with their partial derivatives in batches of points. Implementations are immutable and may be
/// shared between threads.
class DiffusionFamily {
 public:
  enum class Coefficient { drift, diffusion };
  /// A transition law in closed form, with its parameters in this order.
  enum class Law {
    none,
    vasicek,           ///< (kappa, mu, sigma): Gaussian
    geometric,         ///< (mu, sigma): log-normal
    square_root,       ///< (kappa, mu, sigma): non-central chi-squared
    jacobi,            ///< (kappa, mu, sigma): a series of Jacobi polynomials
  };
  struct Interval {
    double lower = -std::numeric_limits<double>::infinity();
    double upper = std::numeric_limits<double>::infinity();
  };

  virtual ~DiffusionFamily() = default;
  [[nodiscard]] virtual const std::vector<Parameter>& parameters() const = 0;
  [[nodiscard]] virtual std::string describe() const = 0;              ///< "dX = (...) dt + (...) dW"
  [[nodiscard]] virtual Interval state_space() const { return {}; }    ///< an open interval
  [[nodiscard]] virtual bool constant_diffusion() const { return false; }  ///< d sigma/dx = 0
  [[nodiscard]] virtual Law law() const { return Law::none; }
  /// Degree in x of a drift that is a polynomial whatever theta; -1 where it is none, or that is not known. theta: any admissible parameters.
  [[nodiscard]] virtual int drift_degree(const ConstVectorRef& theta) const;
  /// sigma(x; theta) = s(theta) g(x); false also where that is not known.
  [[nodiscard]] virtual bool separable_diffusion() const { return constant_diffusion(); }
  /// Of a Langevin model, whose parameters are then (theta, beta); null otherwise.
  [[nodiscard]] virtual PotentialPtr potential() const;
  /// As Potential::evaluate() in one dimension: out is p^theta x n. Any order in x, orders 0 and 1 in theta. Points must lie in the state space.
  virtual void evaluate(Coefficient coefficient, Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const = 0;

  /// The derivatives in x of all orders below value.size() at once: value[k] takes n numbers, gradient[k] those in theta, parameter_count() x n. The caller sizes both.
  virtual void jet(Coefficient coefficient, const ConstVectorRef& x, const ConstVectorRef& theta, std::vector<Vector>& value, std::vector<Matrix>& gradient) const;

  [[nodiscard]] Matrix evaluate(Coefficient coefficient, Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta) const;
  [[nodiscard]] int parameter_count() const { return static_cast<int>(parameters().size()); }
};

using DiffusionPtr = std::shared_ptr<const DiffusionFamily>;

/// A value: a shared family and its parameters.
class Diffusion {
 public:
  Diffusion(DiffusionPtr family, Vector theta);  ///< throws where theta has the wrong size, is not finite or violates a bound

  [[nodiscard]] const DiffusionFamily& family() const { return *family_; }
  [[nodiscard]] const DiffusionPtr& family_ptr() const { return family_; }
  [[nodiscard]] const Vector& parameters() const { return theta_; }
  [[nodiscard]] const std::vector<Parameter>& parameter_list() const { return family_->parameters(); }
  [[nodiscard]] Diffusion with_parameters(const ConstVectorRef& theta) const { return {family_, theta}; }
  [[nodiscard]] double drift(double x) const;
  [[nodiscard]] double diffusion(double x) const;
  /// Throws DomainError naming the first value (from 1) that lies outside the state space or is not finite.
  void check_values(std::string_view where, const ConstVectorRef& values) const;

 private:
  DiffusionPtr family_;
  Vector theta_;
};

/// b and sigma as formulas in x (formula.hpp); parameters in the order of first appearance, first in the drift. `bounds` may give the parameters'
/// bounds by name. sigma must be positive on the state space; that is checked where it is evaluated. Throws ParseError.
[[nodiscard]] DiffusionPtr diffusion_formula(std::string_view drift, std::string_view diffusion, DiffusionFamily::Interval state_space = {}, const std::vector<Parameter>& bounds = {});

/// The Langevin model -Psi' dt + sqrt(2/beta) dW with the parameters (theta, beta); derivatives as far as the potential has them.
[[nodiscard]] DiffusionPtr langevin_diffusion(PotentialPtr potential);
[[nodiscard]] Diffusion as_diffusion(const Model& model);  ///< throws DomainError unless the model is one-dimensional

[[nodiscard]] std::vector<std::string> diffusion_names();
/// "vasicek": kappa (mu - x), sigma. "gbm": mu x, sigma x on (0, inf). "cir": kappa (mu - x), sigma sqrt(x) on (0, inf). "ckls": a + b x, sigma x^gamma on
/// (0, inf). "hyperbolic": -kappa (x - mu)/sqrt(delta^2 + (x - mu)^2), sigma. "jacobi": kappa (mu - x), sigma sqrt(x (1 - x)) on (0, 1). "student":
/// kappa (mu - x), sigma sqrt(delta^2 + (x - mu)^2). "cubic": a x - c x^3, sigma: two wells at +-sqrt(a/c). All scales are positive.
/// Throws DomainError naming the nearest known name.
[[nodiscard]] DiffusionPtr diffusion_family(std::string_view name);

}  // namespace jko
