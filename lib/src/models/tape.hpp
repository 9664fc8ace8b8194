#pragma once
/// Expressions of GiNaC compiled for evaluation in blocks of points.
#include <jko/core/types.hpp>

#include <ginac/ginac.h>

#include <vector>

namespace jko {

/// Several functions of (variables, parameters) as one list of elementary operations on rows of points: a subexpression that occurs in several places is computed once, one without variables once a call.
/// Each point sees the same operations in the same order wherever it lies in a block. Immutable after construction, safe to share between threads.
class Tape {
 public:
  /// Under ginac_lock(). DomainError for a complex constant or a function without a real evaluation.
  Tape(const std::vector<GiNaC::ex>& outputs, const std::vector<GiNaC::symbol>& variables, const std::vector<GiNaC::symbol>& parameters);

  /// Where an output goes: point k at to[k step].
  struct Output {
    double* to;
    Index step;
  };
  /// points: variables x n. outputs: as many as the constructor's, in its order.
  void run(const ConstMatrixRef& points, const ConstVectorRef& theta, const std::vector<Output>& outputs) const;

 private:
  enum class Operation { constant, variable, parameter, add, multiply, divide, power, square_root, function };
  struct Node {
    Operation operation;
    int a = -1, b = -1;  ///< operands; the variable's or parameter's number
    double number = 0;
    double (*function)(double) = nullptr;
    bool varies = false;  ///< with the point
  };
  class Compiler;
  void apply(std::size_t index, double* rows, Index width, Index count) const;

  std::vector<Node> nodes_;
  std::vector<int> outputs_;
};

}  // namespace jko
