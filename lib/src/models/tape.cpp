#include "tape.hpp"

#include <jko/core/error.hpp>

#include "../core/vector_math.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <tuple>

namespace jko {
namespace {

constexpr Index block = 64;  // points a row: some fifty rows, as formulas have, stay in the first cache

using Function = double (*)(double);
const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> table{
      {"exp", std::exp},   {"log", std::log},   {"sin", std::sin},   {"cos", std::cos},   {"tan", std::tan},     {"asin", std::asin},   {"acos", std::acos},
      {"atan", std::atan}, {"sinh", std::sinh}, {"cosh", std::cosh}, {"tanh", std::tanh}, {"asinh", std::asinh}, {"acosh", std::acosh}, {"atanh", std::atanh}};
  return table;
}

JKO_VECTOR_CLONES void add(const double* __restrict a, const double* __restrict b, Index n, double* __restrict out) {
  for (Index l = 0; l < n; ++l) out[l] = a[l] + b[l];
}
JKO_VECTOR_CLONES void multiply(const double* __restrict a, const double* __restrict b, Index n, double* __restrict out) {
  for (Index l = 0; l < n; ++l) out[l] = a[l] * b[l];
}
JKO_VECTOR_CLONES void divide(const double* __restrict a, const double* __restrict b, Index n, double* __restrict out) {
  for (Index l = 0; l < n; ++l) out[l] = a[l] / b[l];
}

}  // namespace

/// Fills nodes_ in the order of evaluation; equal nodes are one.
class Tape::Compiler {
 public:
  Compiler(Tape& tape, const std::vector<GiNaC::symbol>& variables, const std::vector<GiNaC::symbol>& parameters) : nodes_(tape.nodes_) {
    for (std::size_t i = 0; i < variables.size(); ++i) seen_[variables[i]] = push({.operation = Operation::variable, .a = static_cast<int>(i), .varies = true});
    for (std::size_t i = 0; i < parameters.size(); ++i) seen_[parameters[i]] = push({.operation = Operation::parameter, .a = static_cast<int>(i)});
  }

  int compile(const GiNaC::ex& e) {
    const auto found = seen_.find(e);
    if (found != seen_.end()) return found->second;
    const int node = fresh(e);
    seen_[e] = node;
    return node;
  }

 private:
  int push(const Node& node) {
    nodes_.push_back(node);
    return static_cast<int>(nodes_.size()) - 1;
  }
  [[nodiscard]] bool varies(int a) const { return a >= 0 && nodes_[static_cast<std::size_t>(a)].varies; }

  int constant(double value) {
    const auto [at, added] = constants_.try_emplace(value, 0);
    if (added) at->second = push({.operation = Operation::constant, .number = value});
    return at->second;
  }
  int combine(Operation operation, int a, int b = -1) {
    const auto [at, added] = combined_.try_emplace({operation, a, b}, 0);
    if (added) at->second = push({.operation = operation, .a = a, .b = b, .varies = varies(a) || varies(b)});
    return at->second;
  }
  int integer_power(int base, long n) {
    int out = -1;
    for (int square = base;; square = combine(Operation::multiply, square, square)) {
      if (n & 1) out = out < 0 ? square : combine(Operation::multiply, out, square);
      if ((n >>= 1) == 0) return out;
    }
  }

  int power(const GiNaC::ex& base, const GiNaC::ex& exponent) {
    if (GiNaC::is_a<GiNaC::numeric>(exponent)) {
      const auto& number = GiNaC::ex_to<GiNaC::numeric>(exponent);
      if (number.is_negative()) return combine(Operation::divide, constant(1), compile(GiNaC::power(base, -exponent)));
      if (number.is_integer() && number < 64) return integer_power(compile(base), number.to_long());
      if (number == GiNaC::numeric(1, 2)) return combine(Operation::square_root, compile(base));
    }
    return combine(Operation::power, compile(base), compile(exponent));
  }

  int fresh(const GiNaC::ex& e) {
    if (GiNaC::is_a<GiNaC::numeric>(e) || GiNaC::is_a<GiNaC::constant>(e)) {
      const GiNaC::ex value = e.evalf();
      if (!GiNaC::is_a<GiNaC::numeric>(value) || !GiNaC::ex_to<GiNaC::numeric>(value).is_real()) throw DomainError(fmt::format("formula: the constant {} is not real", text(e)));
      return constant(GiNaC::ex_to<GiNaC::numeric>(value).to_double());
    }
    if (GiNaC::is_a<GiNaC::add>(e)) {
      int out = -1;
      for (const GiNaC::ex& term : ordered(e)) out = out < 0 ? compile(term) : combine(Operation::add, out, compile(term));
      return out;
    }
    if (GiNaC::is_a<GiNaC::mul>(e)) {
      int above = -1, below = -1;
      for (const GiNaC::ex& factor : ordered(e)) {
        const bool inverse = GiNaC::is_a<GiNaC::power>(factor) && factor.op(1).info(GiNaC::info_flags::negative);
        int& side = inverse ? below : above;
        const int node = compile(inverse ? GiNaC::ex(GiNaC::power(factor.op(0), -factor.op(1))) : factor);
        side = side < 0 ? node : combine(Operation::multiply, side, node);
      }
      return below < 0 ? above : combine(Operation::divide, above < 0 ? constant(1) : above, below);
    }
    if (GiNaC::is_a<GiNaC::power>(e)) return power(e.op(0), e.op(1));
    if (GiNaC::is_a<GiNaC::function>(e) && e.nops() == 1) {
      const auto known = functions().find(GiNaC::ex_to<GiNaC::function>(e).get_name());
      if (known != functions().end()) {
        const int a = compile(e.op(0));
        return push({.operation = Operation::function, .a = a, .function = known->second, .varies = varies(a)});
      }
    }
    throw DomainError(fmt::format("formula: {} cannot be evaluated", text(e)));
  }

  /// The operands in an order of their own: GiNaC's depends on addresses, and with it the last bits would differ from run to run.
  std::vector<GiNaC::ex> ordered(const GiNaC::ex& e) {
    std::vector<GiNaC::ex> out(e.begin(), e.end());
    std::stable_sort(out.begin(), out.end(), [this](const GiNaC::ex& a, const GiNaC::ex& b) { return key(a) < key(b); });
    return out;
  }
  /// A hash (FNV-1a) of what is written, whatever the order of terms and factors.
  std::uint64_t key(const GiNaC::ex& e) {
    const auto found = keys_.find(e);
    if (found != keys_.end()) return found->second;
    std::vector<std::uint64_t> inner;
    for (const GiNaC::ex& operand : e) inner.push_back(key(operand));
    if (GiNaC::is_a<GiNaC::add>(e) || GiNaC::is_a<GiNaC::mul>(e)) std::sort(inner.begin(), inner.end());
    std::string word = inner.empty() ? text(e) : GiNaC::ex_to<GiNaC::basic>(e).class_name();
    if (GiNaC::is_a<GiNaC::function>(e)) word = GiNaC::ex_to<GiNaC::function>(e).get_name();
    std::uint64_t hash = 14695981039346656037u;
    const auto mix = [&](std::uint64_t byte) { hash = (hash ^ byte) * 1099511628211u; };
    for (const char c : word) mix(static_cast<unsigned char>(c));
    for (const std::uint64_t part : inner) {
      for (int shift = 0; shift < 64; shift += 8) mix(part >> shift & 0xff);
    }
    return keys_[e] = hash;
  }

  static std::string text(const GiNaC::ex& e) {
    std::ostringstream out;
    out << e;
    return out.str();
  }

  std::vector<Node>& nodes_;
  std::map<GiNaC::ex, int, GiNaC::ex_is_less> seen_;
  std::map<GiNaC::ex, std::uint64_t, GiNaC::ex_is_less> keys_;
  std::map<double, int> constants_;
  std::map<std::tuple<Operation, int, int>, int> combined_;
};

Tape::Tape(const std::vector<GiNaC::ex>& outputs, const std::vector<GiNaC::symbol>& variables, const std::vector<GiNaC::symbol>& parameters) {
  Compiler compiler(*this, variables, parameters);
  for (const GiNaC::ex& e : outputs) outputs_.push_back(compiler.compile(e));
}

void Tape::apply(std::size_t index, double* rows, Index width, Index count) const {
  const Node& node = nodes_[index];
  double* const out = rows + static_cast<Index>(index) * width;
  const double *const a = rows + node.a * width, *const b = rows + node.b * width;
  switch (node.operation) {
    case Operation::constant: std::fill_n(out, count, node.number); return;
    case Operation::add: return add(a, b, count, out);
    case Operation::multiply: return multiply(a, b, count, out);
    case Operation::divide: return divide(a, b, count, out);
    case Operation::power:
      for (Index l = 0; l < count; ++l) out[l] = std::pow(a[l], b[l]);
      return;
    case Operation::square_root:
      for (Index l = 0; l < count; ++l) out[l] = std::sqrt(a[l]);
      return;
    case Operation::function:
      for (Index l = 0; l < count; ++l) out[l] = node.function(a[l]);
      return;
    case Operation::variable:
    case Operation::parameter: return;  // filled by run()
  }
}

void Tape::run(const ConstMatrixRef& points, const ConstVectorRef& theta, const std::vector<Output>& outputs) const {
  const Index n = points.cols(), width = std::min(n, block);
  if (n == 0) return;
  thread_local std::vector<double> buffer;
  buffer.resize(nodes_.size() * static_cast<std::size_t>(width));
  double* const rows = buffer.data();
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].operation == Operation::parameter) std::fill_n(rows + static_cast<Index>(i) * width, width, theta[nodes_[i].a]);
    else if (!nodes_[i].varies) apply(i, rows, width, width);
  }
  for (Index first = 0; first < n; first += width) {
    const Index count = std::min(width, n - first);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].operation == Operation::variable) {
        for (Index l = 0; l < count; ++l) rows[static_cast<Index>(i) * width + l] = points(nodes_[i].a, first + l);
      } else if (nodes_[i].varies) {
        apply(i, rows, width, count);
      }
    }
    for (std::size_t c = 0; c < outputs.size(); ++c) {
      const double* const row = rows + outputs_[c] * width;
      double* const to = outputs[c].to + first * outputs[c].step;
      for (Index l = 0; l < count; ++l) to[l * outputs[c].step] = row[l];
    }
  }
}

}  // namespace jko
