#pragma once
/// Formulas parsed and differentiated by GiNaC and evaluated in blocks of points (tape.hpp): what potentials and diffusions written as text share.
#include <jko/models/potential.hpp>

#include "tape.hpp"

#include <ginac/ginac.h>

#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <tuple>

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
  /// As DiffusionFamily::jet, of one variable.
  void jet(const ConstVectorRef& x, const ConstVectorRef& theta, std::vector<Vector>& value, std::vector<Matrix>& gradient) const;
  /// As Potential::jet, of one variable.
  void jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const;

  // For inspection, under ginac_lock().
  [[nodiscard]] const GiNaC::ex& expression() const { return expression_; }
  [[nodiscard]] const std::vector<GiNaC::symbol>& variables() const { return variables_; }
  [[nodiscard]] const std::vector<GiNaC::symbol>& symbols() const { return symbols_; }  ///< the parameters

 private:
  enum class Kind { derivative, jet, some_orders };  ///< of a tape; its two numbers: orders in x and theta; orders below the first; a sum of 2^k over the orders k
  using Key = std::tuple<Kind, int, int>;
  /// Compiled at first use.
  [[nodiscard]] const Tape& tape(Key key) const;
  [[nodiscard]] std::vector<GiNaC::ex> outputs(Key key) const;

  std::vector<GiNaC::symbol> variables_, symbols_;
  GiNaC::ex expression_;
  mutable std::shared_mutex tapes_lock_;
  mutable std::map<Key, std::unique_ptr<const Tape>> tapes_;
};

}  // namespace jko
