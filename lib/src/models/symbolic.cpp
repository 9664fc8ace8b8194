#include "symbolic.hpp"

#include <jko/core/check.hpp>
#include <jko/core/nearest.hpp>

#include <fmt/format.h>
#include <muParser.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <sstream>

namespace jko {
namespace {


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

[[noreturn]] void fail(std::string_view where, std::size_t position, std::string_view message) { throw ParseError(where, 0, static_cast<long>(position) + 1, message); }

}  // namespace

std::mutex& ginac_lock() {
  static std::mutex lock;
  return lock;
}

void collect_parameters(std::string_view where, std::string_view text, const std::vector<std::string>& variables, const std::vector<Parameter>& bounds, std::vector<Parameter>& known) {
  if (text.find_first_not_of(" \t") == std::string_view::npos) fail(where, 0, "the formula is empty");
  for (const Word& word : words(text)) {
    if (word.call) {
      if (std::find(functions().begin(), functions().end(), word.text) == functions().end()) {
        fail(where, word.position, fmt::format("unknown or not smooth function '{}'; the nearest known one is '{}'", word.text, nearest_name(word.text, functions())));
      }
      continue;
    }
    if (word.text == "Pi" || std::find(variables.begin(), variables.end(), word.text) != variables.end()) continue;
    const bool numbered = word.text.size() > 1 && word.text[0] == 'x' && std::all_of(word.text.begin() + 1, word.text.end(), [](char c) { return std::isdigit(static_cast<unsigned char>(c)); });
    if (word.text == "x" || numbered) {
      fail(where, word.position, fmt::format("variable '{}' is unknown: with dimension {} the variables are {}", word.text, variables.size(), fmt::join(variables, ", ")));
    }
    for (const char* reserved : {"I", "Euler", "Catalan", "Digits"}) {
      if (word.text == reserved) fail(where, word.position, fmt::format("'{}' is a reserved name", word.text));
    }
    const auto same = [&](const Parameter& p) { return p.name == word.text; };
    if (std::none_of(known.begin(), known.end(), same)) {
      const auto bound = std::find_if(bounds.begin(), bounds.end(), same);
      known.push_back(bound != bounds.end() ? *bound : Parameter{word.text});
    }
  }
}

/// One component of a derivative: a constant, or the index of a bytecode.
struct SymbolicFunction::Component {
  std::string code;  ///< muParser text; empty for zero
};

/// A set of muParser evaluators with variables of their own; taken by one thread at a time. Points are evaluated one by one: Debian's muParser runs its
/// bulk mode through OpenMP, whose threads nobody asked for and whose barriers spin when the machine is busy.
class SymbolicFunction::Evaluator {
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

SymbolicFunction::SymbolicFunction(std::string_view where, std::string_view text, const std::vector<std::string>& variables, const std::vector<Parameter>& parameters) {
  const std::lock_guard guard(ginac_lock());
  GiNaC::symtab table;
  for (std::size_t i = 0; i < variables.size(); ++i) {
    variables_.emplace_back(fmt::format("v{}", i));
    table[variables[i]] = variables_.back();
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    symbols_.emplace_back(fmt::format("p{}", i));
    table[parameters[i].name] = symbols_.back();
  }
  try {
    GiNaC::parser reader(table, true);
    expression_ = reader(std::string(text));
  } catch (const GiNaC::parse_error& e) {
    fail(where, e.column > 0 ? e.column - 1 : 0, "the formula cannot be understood from here on");
  } catch (const std::exception& e) {
    fail(where, 0, fmt::format("the formula has no value: {}", e.what()));
  }
}

SymbolicFunction::~SymbolicFunction() {
  const std::lock_guard guard(ginac_lock());
  expression_ = 0;
  variables_.clear();
  symbols_.clear();
}

void SymbolicFunction::evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const {
  std::unique_ptr<Evaluator> evaluator = take(which);
  evaluator->run(points, theta, out);
  const std::lock_guard guard(pool_lock_);
  pools_[{which.x, which.theta}].push_back(std::move(evaluator));
}

/// The components of a derivative as muParser text, x indices fastest.
const std::vector<SymbolicFunction::Component>& SymbolicFunction::components(Derivative which) const {
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

std::unique_ptr<SymbolicFunction::Evaluator> SymbolicFunction::take(Derivative which) const {
  {
    const std::lock_guard guard(pool_lock_);
    auto& pool = pools_[{which.x, which.theta}];
    if (!pool.empty()) {
      auto evaluator = std::move(pool.back());
      pool.pop_back();
      return evaluator;
    }
  }
  return std::make_unique<Evaluator>(static_cast<int>(variables_.size()), static_cast<int>(symbols_.size()), components(which));
}

}  // namespace jko
