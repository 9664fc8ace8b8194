#pragma once
/// Formulas parsed and differentiated by GiNaC and evaluated in bulk by muParser: what potentials and diffusions written as text share.
#include <jko/models/potential.hpp>

#include <ginac/ginac.h>

#include <map>
#include <memory>
#include <mutex>
#include <string_view>

namespace jko {

/// GiNaC's reference counts are not atomic: one lock for all of its use.
[[nodiscard]] std::mutex& ginac_lock();

/// The words of `text` that are neither variables, nor functions, nor Pi, appended to `known` in the order of first appearance, with the bounds that
/// `bounds` gives them. Throws ParseError for an unknown function, a variable out of range or a reserved name; `variables` are x or x1, ..., xd.
void collect_parameters(std::string_view where, std::string_view text, const std::vector<std::string>& variables, const std::vector<Parameter>& bounds, std::vector<Parameter>& known);

/// f(x; theta) with its partial derivatives of any order. Safe to share between threads.
class SymbolicFunction {
 public:
  SymbolicFunction(std::string_view where, std::string_view text, const std::vector<std::string>& variables, const std::vector<Parameter>& parameters);
  ~SymbolicFunction();
  SymbolicFunction(const SymbolicFunction&) = delete;
  SymbolicFunction& operator=(const SymbolicFunction&) = delete;

  /// As Potential::evaluate.
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const;

  // For inspection, under ginac_lock().
  [[nodiscard]] const GiNaC::ex& expression() const { return expression_; }
  [[nodiscard]] const std::vector<GiNaC::symbol>& variables() const { return variables_; }
  [[nodiscard]] const std::vector<GiNaC::symbol>& symbols() const { return symbols_; }  ///< the parameters

 private:
  struct Component;
  class Evaluator;
  using Key = std::pair<int, int>;
  [[nodiscard]] const std::vector<Component>& components(Derivative which) const;
  [[nodiscard]] std::unique_ptr<Evaluator> take(Derivative which) const;

  std::vector<GiNaC::symbol> variables_, symbols_;
  GiNaC::ex expression_;
  mutable std::map<Key, std::vector<Component>> code_;
  mutable std::mutex pool_lock_;
  mutable std::map<Key, std::vector<std::unique_ptr<Evaluator>>> pools_;
};

}  // namespace jko
