#include <jko/models/formula.hpp>

#include <jko/core/check.hpp>
#include <jko/core/nearest.hpp>

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <fmt/format.h>
#include <ginac/ginac.h>
#include <muParser.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <mutex>
#include <sstream>

namespace jko {
namespace {

/// GiNaC's reference counts are not atomic: one lock for all of its use.
std::mutex& ginac_lock() {
  static std::mutex lock;
  return lock;
}

const std::vector<std::string>& functions() {
  static const std::vector<std::string> names{"exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "pow"};
  return names;
}

struct Word {
  std::string text;
  std::size_t position;
  bool call;  ///< followed by an opening parenthesis
};

std::vector<Word> words(std::string_view text) {
  std::vector<Word> out;
  const auto letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; };
  const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) || c == '.'; };
  for (std::size_t i = 0; i < text.size();) {
    if (digit(text[i])) {  // a number, with its exponent
      while (i < text.size() && digit(text[i])) ++i;
      if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
        std::size_t j = i + 1;
        if (j < text.size() && (text[j] == '+' || text[j] == '-')) ++j;
        if (j < text.size() && digit(text[j])) {
          while (j < text.size() && digit(text[j])) ++j;
          i = j;
        }
      }
    } else if (letter(text[i])) {
      std::size_t j = i;
      while (j < text.size() && (letter(text[j]) || std::isdigit(static_cast<unsigned char>(text[j])))) ++j;
      std::size_t k = j;
      while (k < text.size() && text[k] == ' ') ++k;
      out.push_back({std::string(text.substr(i, j - i)), i, k < text.size() && text[k] == '('});
      i = j;
    } else {
      ++i;
    }
  }
  return out;
}

/// One component of a derivative: a constant, or the index of a bytecode.
struct Component {
  std::string code;  ///< muParser text; empty for zero
};

/// A set of muParser evaluators with variables of their own; taken by one thread at a time. Points are evaluated one by one: Debian's muParser runs its
/// bulk mode through OpenMP, whose threads nobody asked for and whose barriers spin when the machine is busy.
class Evaluator {
 public:
  Evaluator(int variables, int parameters, const std::vector<Component>& components) : values_(static_cast<std::size_t>(variables + parameters)) {
    for (const Component& component : components) {
      parsers_.emplace_back();
      if (component.code.empty()) continue;
      mu::Parser& parser = parsers_.back();
      parser.DefineFun("pow", static_cast<double (*)(double, double)>(std::pow));
      parser.DefineFun("log", static_cast<double (*)(double)>(std::log));
      for (int i = 0; i < variables + parameters; ++i) {
        parser.DefineVar(i < variables ? fmt::format("v{}", i) : fmt::format("p{}", i - variables), &values_[static_cast<std::size_t>(i)]);
      }
      parser.SetExpr(component.code);
    }
    used_.reserve(components.size());
    for (const Component& component : components) used_.push_back(!component.code.empty());
  }

  void run(const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) {
    const Index variables = points.rows();
    std::copy(theta.begin(), theta.end(), values_.begin() + variables);
    for (Index k = 0; k < points.cols(); ++k) {
      for (Index i = 0; i < variables; ++i) values_[static_cast<std::size_t>(i)] = points(i, k);
      for (std::size_t c = 0; c < parsers_.size(); ++c) out(static_cast<Index>(c), k) = used_[c] ? parsers_[c].Eval() : 0.0;
    }
  }

 private:
  std::vector<double> values_;
  std::vector<mu::Parser> parsers_;
  std::vector<bool> used_;
};

class Formula final : public Potential {
 public:
  Formula(std::string_view text, int dimension, const std::vector<Parameter>& bounds) : text_(text), dimension_(dimension) {
    check_at_least("formula", "dimension", dimension, 1);
    const auto fail = [](std::size_t position, std::string_view message) { throw ParseError("formula", 0, static_cast<long>(position) + 1, message); };
    if (text.find_first_not_of(" \t") == std::string_view::npos) fail(0, "the formula is empty");
    std::vector<std::string> variable_names;
    for (int i = 0; i < dimension; ++i) variable_names.push_back(dimension == 1 ? "x" : fmt::format("x{}", i + 1));
    for (const Word& word : words(text)) {
      if (word.call) {
        if (std::find(functions().begin(), functions().end(), word.text) == functions().end()) {
          fail(word.position, fmt::format("unknown or not smooth function '{}'; the nearest known one is '{}'", word.text, nearest_name(word.text, functions())));
        }
        continue;
      }
      if (word.text == "Pi" || std::find(variable_names.begin(), variable_names.end(), word.text) != variable_names.end()) continue;
      const bool numbered = word.text.size() > 1 && word.text[0] == 'x' && std::all_of(word.text.begin() + 1, word.text.end(), [](char c) { return std::isdigit(static_cast<unsigned char>(c)); });
      if (word.text == "x" || numbered) {
        fail(word.position, fmt::format("variable '{}' is unknown: with dimension {} the variables are {}", word.text, dimension, fmt::join(variable_names, ", ")));
      }
      if (word.text == "beta") fail(word.position, "'beta' is the inverse temperature's name and cannot be a parameter of the potential");
      for (const char* reserved : {"I", "Euler", "Catalan", "Digits"}) {
        if (word.text == reserved) fail(word.position, fmt::format("'{}' is a reserved name", word.text));
      }
      const auto same = [&](const Parameter& p) { return p.name == word.text; };
      if (std::none_of(parameters_.begin(), parameters_.end(), same)) {
        const auto bound = std::find_if(bounds.begin(), bounds.end(), same);
        parameters_.push_back(bound != bounds.end() ? *bound : Parameter{word.text});
      }
    }
    const std::lock_guard guard(ginac_lock());
    GiNaC::symtab table;
    for (int i = 0; i < dimension; ++i) {
      variables_.emplace_back(fmt::format("v{}", i));
      table[variable_names[static_cast<std::size_t>(i)]] = variables_.back();
    }
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      symbols_.emplace_back(fmt::format("p{}", i));
      table[parameters_[i].name] = symbols_.back();
    }
    try {
      GiNaC::parser reader(table, true);
      expression_ = reader(text_);
    } catch (const GiNaC::parse_error& e) {
      fail(e.column > 0 ? e.column - 1 : 0, "the formula cannot be understood from here on");
    } catch (const std::exception& e) {
      fail(0, fmt::format("the formula has no value: {}", e.what()));
    }
    hessian_is_constant_ = true;
    for (const auto& a : variables_) {
      for (const auto& b : variables_) {
        const GiNaC::ex second = expression_.diff(a).diff(b).expand();
        for (const auto& c : variables_) hessian_is_constant_ = hessian_is_constant_ && !second.has(c);
      }
    }
    if (hessian_is_constant_) degree_ = 2;
    else if (dimension == 1 && expression_.expand().is_polynomial(variables_[0])) degree_ = expression_.expand().degree(variables_[0]);
  }

  ~Formula() override {
    const std::lock_guard guard(ginac_lock());
    expression_ = 0;
    variables_.clear();
    symbols_.clear();
  }
  Formula(const Formula&) = delete;
  Formula& operator=(const Formula&) = delete;

  [[nodiscard]] int dimension() const override { return dimension_; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::string describe() const override { return text_; }

  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    std::unique_ptr<Evaluator> evaluator = take(which);
    evaluator->run(points, theta, out);
    const std::lock_guard guard(pool_lock_);
    pools_[{which.x, which.theta}].push_back(std::move(evaluator));
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
  using Key = std::pair<int, int>;

  /// The components of a derivative as muParser text, x indices fastest.
  [[nodiscard]] const std::vector<Component>& components(Derivative which) const {
    const std::lock_guard guard(ginac_lock());
    auto found = code_.find({which.x, which.theta});
    if (found != code_.end()) return found->second;
    std::vector<GiNaC::ex> level{expression_};
    const auto differentiate = [&](const std::vector<GiNaC::symbol>& by) {
      std::vector<GiNaC::ex> next;
      for (const auto& symbol : by) {
        for (const GiNaC::ex& e : level) next.push_back(e.diff(symbol));
      }
      level = std::move(next);
    };
    for (int i = 0; i < which.x; ++i) differentiate(variables_);
    for (int i = 0; i < which.theta; ++i) differentiate(symbols_);
    std::vector<Component> out;
    for (const GiNaC::ex& e : level) {
      if (e.is_zero()) {
        out.push_back({});
        continue;
      }
      std::ostringstream code;
      code.precision(17);
      GiNaC::ex(e.evalf()).print(GiNaC::print_csrc_double(code));
      out.push_back({code.str()});
    }
    return code_.emplace(Key{which.x, which.theta}, std::move(out)).first->second;
  }

  [[nodiscard]] std::unique_ptr<Evaluator> take(Derivative which) const {
    {
      const std::lock_guard guard(pool_lock_);
      auto& pool = pools_[{which.x, which.theta}];
      if (!pool.empty()) {
        auto evaluator = std::move(pool.back());
        pool.pop_back();
        return evaluator;
      }
    }
    return std::make_unique<Evaluator>(dimension_, parameter_count(), components(which));
  }

  std::string text_;
  int dimension_;
  std::vector<Parameter> parameters_;
  std::vector<GiNaC::symbol> variables_, symbols_;
  GiNaC::ex expression_;
  bool hessian_is_constant_ = false;
  int degree_ = 1000;  ///< in x, of a polynomial; the large value says that it is none (or not one-dimensional)
  mutable std::map<Key, std::vector<Component>> code_;
  mutable std::mutex pool_lock_;
  mutable std::map<Key, std::vector<std::unique_ptr<Evaluator>>> pools_;
};

}  // namespace

PotentialPtr formula(std::string_view text, int dimension, const std::vector<Parameter>& bounds) {
  return std::make_shared<Formula>(text, dimension, bounds);
}

}  // namespace jko
