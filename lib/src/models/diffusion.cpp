#include <jko/models/diffusion.hpp>

#include <jko/core/check.hpp>
#include <jko/core/nearest.hpp>

#include "symbolic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace jko {
namespace {

using Coefficient = DiffusionFamily::Coefficient;
using Law = DiffusionFamily::Law;
constexpr double infinity = std::numeric_limits<double>::infinity();

class FormulaDiffusion final : public DiffusionFamily {
 public:
  FormulaDiffusion(std::string_view drift, std::string_view diffusion, Interval state_space, const std::vector<Parameter>& bounds, Law law)
      : text_(fmt::format("dX = ({}) dt + ({}) dW", drift, diffusion)), state_space_(state_space), law_(law) {
    if (!(state_space.lower < state_space.upper)) throw DomainError(fmt::format("diffusion: the state space ({}, {}) is empty", state_space.lower, state_space.upper));
    const std::vector<std::string> variable{"x"};
    collect_parameters("drift", drift, variable, bounds, parameters_);
    collect_parameters("diffusion", diffusion, variable, bounds, parameters_);
    drift_ = std::make_unique<SymbolicFunction>("drift", drift, variable, parameters_);
    diffusion_ = std::make_unique<SymbolicFunction>("diffusion", diffusion, variable, parameters_);
    const std::lock_guard guard(ginac_lock());
    if (diffusion_->expression().is_zero()) throw DomainError("diffusion: sigma is zero; a deterministic path has no likelihood");
    const GiNaC::symbol &x = diffusion_->variables()[0], &z = drift_->variables()[0];
    const GiNaC::ex sigma = diffusion_->expression(), b = drift_->expression().expand();
    constant_ = separable_ = !sigma.has(x);
    if (!constant_) {  // d^2 log sigma/dx dtheta = 0
      separable_ = true;
      const GiNaC::ex slope = sigma.diff(x);
      for (const GiNaC::symbol& theta : diffusion_->symbols()) separable_ = separable_ && (slope.diff(theta) * sigma - slope * sigma.diff(theta)).normal().is_zero();
    }
    if (b.is_polynomial(z)) degree_ = b.degree(z);
  }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::string describe() const override { return text_; }
  [[nodiscard]] Interval state_space() const override { return state_space_; }
  [[nodiscard]] bool constant_diffusion() const override { return constant_; }
  [[nodiscard]] bool separable_diffusion() const override { return separable_; }
  [[nodiscard]] int drift_degree(const ConstVectorRef&) const override { return degree_; }
  [[nodiscard]] Law law() const override { return law_; }
  using DiffusionFamily::evaluate;
  void evaluate(Coefficient coefficient, Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    (coefficient == Coefficient::drift ? *drift_ : *diffusion_).evaluate(which, points, theta, out);
  }
  void jet(Coefficient coefficient, const ConstVectorRef& x, const ConstVectorRef& theta, std::vector<Vector>& value, std::vector<Matrix>& gradient) const override {
    (coefficient == Coefficient::drift ? *drift_ : *diffusion_).jet(x, theta, value, gradient);
  }

 private:
  std::string text_;
  Interval state_space_;
  Law law_;
  bool constant_ = false, separable_ = false;
  int degree_ = -1;
  std::vector<Parameter> parameters_;
  std::unique_ptr<SymbolicFunction> drift_, diffusion_;
};

/// Drift polynomial in x, sigma = s x^g: the hot families, written out.
class PowerDiffusion final : public DiffusionFamily {
 public:
  /// One term of the drift: sign theta_i (theta_j or 1) x^power; j < 0 for none.
  struct Term {
    double sign;
    int first, second, power;
  };
  /// exponent < 0: the parameter after sigma is the exponent.
  PowerDiffusion(std::string text, std::vector<Parameter> parameters, std::vector<Term> drift, int sigma, double exponent, Law law)
      : text_(std::move(text)), parameters_(std::move(parameters)), drift_(std::move(drift)), sigma_(sigma), exponent_(exponent), law_(law) {}
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::string describe() const override { return text_; }
  [[nodiscard]] Interval state_space() const override { return exponent_ == 0 ? Interval{} : Interval{0, infinity}; }
  [[nodiscard]] bool constant_diffusion() const override { return exponent_ == 0; }
  [[nodiscard]] bool separable_diffusion() const override { return exponent_ >= 0; }
  [[nodiscard]] int drift_degree(const ConstVectorRef&) const override {
    int degree = 0;
    for (const Term& term : drift_) degree = std::max(degree, term.power);
    return degree;
  }
  [[nodiscard]] Law law() const override { return law_; }
  using DiffusionFamily::evaluate;
  void evaluate(Coefficient coefficient, Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    if (which.theta > 1) throw DomainError("diffusion: derivatives beyond the first order in the parameters are not offered");
    if (out.outerStride() == out.rows()) std::fill_n(out.data(), out.size(), 0.0);  // Eigen would clear column by column
    else out.setZero();
    if (coefficient == Coefficient::drift) {
      for (const Term& term : drift_) {
        if (which.x > term.power) continue;
        double factor = term.sign;
        for (int i = 0; i < which.x; ++i) factor *= term.power - i;
        const double a = theta[term.first], b = term.second < 0 ? 1 : theta[term.second];
        add(out, which.theta == 0 ? 0 : term.first, factor * (which.theta == 0 ? a * b : b), term.power - which.x, points);
        if (which.theta == 1 && term.second >= 0) add(out, term.second, factor * a, term.power - which.x, points);
      }
      return;
    }
    const double s = theta[sigma_], g = exponent_ < 0 ? theta[sigma_ + 1] : exponent_;
    double factor = 1, slope = 0;  // g (g-1) ... and its derivative in g
    for (int i = 0; i < which.x; ++i) slope = slope * (g - i) + factor, factor *= g - i;
    const Index row = which.theta == 0 ? 0 : sigma_;
    if (g == 0 && exponent_ == 0) {
      if (which.x == 0) out.row(row).setConstant(which.theta == 0 ? s : 1);
      return;
    }
    const double scale = (which.theta == 0 ? s : 1) * factor;
    const auto fill = [&](const auto& power) {
      for (Index i = 0; i < points.cols(); ++i) out(row, i) = scale * power(points(0, i));
    };
    if (g == 0.5 && exponent_ == 0.5) {
      switch (which.x) {
        case 0: return fill([](double x) { return std::sqrt(x); });
        case 1: return fill([](double x) { return 1 / std::sqrt(x); });
        default: return fill([&](double x) { return std::sqrt(x) / integer_power(x, which.x); });
      }
    }
    if (g == 1 && exponent_ == 1) {
      if (which.x == 0) fill([](double x) { return x; });
      if (which.x == 1) out.row(row).setConstant(scale);
      return;
    }
    for (Index i = 0; i < points.cols(); ++i) {
      const double x = points(0, i), power = std::pow(x, g - which.x);
      out(row, i) = scale * power;
      if (which.theta == 1 && exponent_ < 0) out(sigma_ + 1, i) = s * power * (slope + factor * std::log(x));
    }
  }
  /// x^g once for all derivatives of sigma.
  void jet(Coefficient coefficient, const ConstVectorRef& x, const ConstVectorRef& theta, std::vector<Vector>& value, std::vector<Matrix>& gradient) const override {
    if (coefficient == Coefficient::drift || exponent_ == 0 || exponent_ == 1) return DiffusionFamily::jet(coefficient, x, theta, value, gradient);
    const double s = theta[sigma_], g = exponent_ < 0 ? theta[sigma_ + 1] : exponent_;
    const Vector inverse = x.cwiseInverse();
    Vector power = x.cwiseSqrt(), logarithm;
    if (g != 0.5) power = x.array().pow(g);
    if (exponent_ < 0) logarithm = x.array().log();
    double factor = 1, slope = 0;  // as in evaluate()
    for (std::size_t k = 0; k < value.size(); ++k) {
      const Index rows = gradient[k].rows();
      double *const v = value[k].data(), *const d = gradient[k].data() + sigma_;
      gradient[k].setZero();
      for (Index i = 0; i < x.size(); ++i) {
        v[i] = s * factor * power[i];
        d[rows * i] = factor * power[i];
        if (exponent_ < 0) d[rows * i + 1] = s * power[i] * (slope + factor * logarithm[i]);
      }
      power = power.cwiseProduct(inverse);
      slope = slope * (g - static_cast<double>(k)) + factor;
      factor *= g - static_cast<double>(k);
    }
  }

 private:
  static double integer_power(double x, int n) {
    double out = 1;
    for (; n > 0; --n) out *= x;
    return out;
  }
  static void add(MatrixRef out, Index row, double factor, int power, const ConstMatrixRef& points) {
    switch (power) {
      case 0: out.row(row).array() += factor; break;
      case 1: out.row(row) += factor * points.row(0); break;
      default:
        for (Index i = 0; i < points.cols(); ++i) out(row, i) += factor * integer_power(points(0, i), power);
    }
  }

  std::string text_;
  std::vector<Parameter> parameters_;
  std::vector<Term> drift_;
  int sigma_;
  double exponent_;
  Law law_;
};

class Langevin final : public DiffusionFamily {
 public:
  explicit Langevin(PotentialPtr potential) : potential_(std::move(potential)), parameters_(potential_->parameters()) { parameters_.push_back({.name = "beta", .lower = 0.0, .positive = true}); }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::string describe() const override { return potential_->describe(); }
  [[nodiscard]] bool constant_diffusion() const override { return true; }
  [[nodiscard]] PotentialPtr potential() const override { return potential_; }
  [[nodiscard]] int drift_degree(const ConstVectorRef& theta) const override { return potential_->quadratic(theta.head(theta.size() - 1)) ? 1 : -1; }
  using DiffusionFamily::evaluate;
  void evaluate(Coefficient coefficient, Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    const Index p = theta.size() - 1;
    if (which.theta > 1) throw DomainError("diffusion: derivatives beyond the first order in the parameters are not offered");
    if (coefficient == Coefficient::drift) {
      const Matrix slope = -potential_->evaluate({which.x + 1, which.theta}, points, theta.head(p));
      out.topRows(slope.rows()) = slope;
      if (which.theta == 1) out.row(p).setZero();
      return;
    }
    out.setZero();
    const double sigma = std::sqrt(2 / theta[p]);
    if (which.x == 0) out.row(which.theta == 0 ? 0 : p).setConstant(which.theta == 0 ? sigma : -0.5 * sigma / theta[p]);
  }

 private:
  PotentialPtr potential_;
  std::vector<Parameter> parameters_;
};

}  // namespace

PotentialPtr DiffusionFamily::potential() const { return nullptr; }
int DiffusionFamily::drift_degree(const ConstVectorRef&) const { return -1; }

void DiffusionFamily::jet(Coefficient coefficient, const ConstVectorRef& x, const ConstVectorRef& theta, std::vector<Vector>& value, std::vector<Matrix>& gradient) const {
  const Eigen::Map<const Matrix> points(x.data(), 1, x.size());
  for (std::size_t k = 0; k < value.size(); ++k) {
    evaluate(coefficient, {static_cast<int>(k), 0}, points, theta, MatrixRef(Eigen::Map<Matrix>(value[k].data(), 1, x.size())));
    evaluate(coefficient, {static_cast<int>(k), 1}, points, theta, MatrixRef(gradient[k]));
  }
}

Matrix DiffusionFamily::evaluate(Coefficient coefficient, Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta) const {
  Index rows = 1;
  for (int i = 0; i < which.theta; ++i) rows *= parameter_count();
  Matrix out(rows, points.cols());
  evaluate(coefficient, which, points, theta, MatrixRef(out));
  return out;
}

Diffusion::Diffusion(DiffusionPtr family, Vector theta) : family_(std::move(family)), theta_(std::move(theta)) {
  if (!family_) throw DomainError("diffusion: the family is missing");
  check_size("diffusion", "the parameter vector", theta_.size(), family_->parameter_count());
  for (Index i = 0; i < theta_.size(); ++i) {
    const Parameter& p = parameter_list()[static_cast<std::size_t>(i)];
    check_finite("diffusion", "parameter " + p.name, theta_[i]);
    check_in("diffusion", "parameter " + p.name, theta_[i], p.lower, p.upper);
    if (p.positive) check_positive("diffusion", "parameter " + p.name, theta_[i]);
  }
}

double Diffusion::drift(double x) const { return family_->evaluate(Coefficient::drift, {}, Matrix::Constant(1, 1, x), theta_)(0, 0); }
double Diffusion::diffusion(double x) const { return family_->evaluate(Coefficient::diffusion, {}, Matrix::Constant(1, 1, x), theta_)(0, 0); }

void Diffusion::check_values(std::string_view where, const ConstVectorRef& values) const {
  const auto [lower, upper] = family_->state_space();
  for (Index i = 0; i < values.size(); ++i) {
    if (!(values[i] > lower && values[i] < upper)) {
      throw DomainError(fmt::format("{}: value {} is {}, but the state space of {} is ({}, {})", where, i + 1, values[i], family_->describe(), lower, upper));
    }
  }
}

DiffusionPtr diffusion_formula(std::string_view drift, std::string_view diffusion, DiffusionFamily::Interval state_space, const std::vector<Parameter>& bounds) {
  return std::make_shared<FormulaDiffusion>(drift, diffusion, state_space, bounds, Law::none);
}

DiffusionPtr langevin_diffusion(PotentialPtr potential) {
  if (!potential) throw DomainError("diffusion: the potential is missing");
  if (potential->dimension() != 1) throw DomainError(fmt::format("diffusion: the model has dimension {}, but must be one-dimensional", potential->dimension()));
  return std::make_shared<Langevin>(std::move(potential));
}

Diffusion as_diffusion(const Model& model) { return {langevin_diffusion(model.potential_ptr()), model.parameters()}; }

std::vector<std::string> diffusion_names() { return {"vasicek", "gbm", "cir", "ckls", "hyperbolic", "jacobi", "student", "cubic"}; }

DiffusionPtr diffusion_family(std::string_view name) {
  const Parameter kappa{"kappa"}, mu{"mu"}, sigma{.name = "sigma", .lower = 0, .positive = true}, delta{.name = "delta", .lower = 0, .positive = true};
  const std::vector<PowerDiffusion::Term> reversion{{1, 0, 1, 0}, {-1, 0, -1, 1}};
  if (name == "vasicek") return std::make_shared<PowerDiffusion>("dX = kappa*(mu-x) dt + sigma dW", std::vector{kappa, mu, sigma}, reversion, 2, 0.0, Law::vasicek);
  if (name == "gbm") {
    return std::make_shared<PowerDiffusion>("dX = mu*x dt + sigma*x dW", std::vector{mu, sigma}, std::vector<PowerDiffusion::Term>{{1, 0, -1, 1}}, 1, 1.0, Law::geometric);
  }
  if (name == "cir") {
    return std::make_shared<PowerDiffusion>("dX = kappa*(mu-x) dt + sigma*sqrt(x) dW", std::vector{Parameter{"kappa", 0}, Parameter{"mu", 0}, sigma}, reversion, 2, 0.5, Law::square_root);
  }
  if (name == "ckls") {
    return std::make_shared<PowerDiffusion>("dX = (a+b*x) dt + sigma*x^gamma dW", std::vector{Parameter{"a"}, Parameter{"b"}, sigma, Parameter{"gamma", 0}},
                                            std::vector<PowerDiffusion::Term>{{1, 0, -1, 0}, {1, 1, -1, 1}}, 2, -1.0, Law::none);
  }
  if (name == "cubic") {
    return std::make_shared<PowerDiffusion>("dX = (a*x-c*x^3) dt + sigma dW", std::vector{Parameter{"a"}, Parameter{"c"}, sigma}, std::vector<PowerDiffusion::Term>{{1, 0, -1, 1}, {-1, 1, -1, 3}}, 2, 0.0,
                                            Law::none);
  }
  const auto formula = [](std::string_view drift, std::string_view diffusion, DiffusionFamily::Interval interval, const std::vector<Parameter>& bounds, Law law) {
    return std::make_shared<FormulaDiffusion>(drift, diffusion, interval, bounds, law);
  };
  if (name == "hyperbolic") return formula("-kappa*(x-mu)/sqrt(delta^2+(x-mu)^2)", "sigma", {}, {delta, sigma}, Law::none);
  if (name == "jacobi") return formula("kappa*(mu-x)", "sigma*sqrt(x*(1-x))", {0, 1}, {{"kappa", 0}, {"mu", 0, 1}, sigma}, Law::jacobi);
  if (name == "student") return formula("kappa*(mu-x)", "sigma*sqrt(delta^2+(x-mu)^2)", {}, {{"kappa", 0}, delta, sigma}, Law::none);
  throw DomainError(fmt::format("diffusion: '{}' is unknown; the nearest name is '{}'", name, nearest_name(name, diffusion_names())));
}

}  // namespace jko
