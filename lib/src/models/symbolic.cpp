#include "symbolic.hpp"

#include <jko/core/check.hpp>
#include <jko/core/nearest.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

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
  std::vector<Tape::Output> to;
  for (Index c = 0; c < out.rows(); ++c) to.push_back({out.data() + c, out.outerStride()});
  tape({Kind::derivative, which.x, which.theta}).run(points, theta, to);
}

void SymbolicFunction::jet(const ConstVectorRef& x, const ConstVectorRef& theta, std::vector<Vector>& value, std::vector<Matrix>& gradient) const {
  std::vector<Tape::Output> to;
  for (std::size_t k = 0; k < value.size(); ++k) {
    to.push_back({value[k].data(), 1});
    for (Index j = 0; j < gradient[k].rows(); ++j) to.push_back({gradient[k].data() + j, gradient[k].rows()});
  }
  tape({Kind::jet, static_cast<int>(value.size()), 0}).run(Eigen::Map<const Matrix>(x.data(), 1, x.size()), theta, to);
}

void SymbolicFunction::jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const {
  std::vector<Tape::Output> to;
  int orders = 0, power = 1;
  for (double* const out : {value, first, second}) {
    if (out != nullptr) {
      to.push_back({out, 1});
      orders += power;
    }
    power *= 2;
  }
  tape({Kind::some_orders, orders, 0}).run(Eigen::Map<const Matrix>(x, 1, n), theta, to);
}

/// Components with the x indices fastest.
std::vector<GiNaC::ex> SymbolicFunction::outputs(Key key) const {
  const auto [kind, first, second] = key;
  std::vector<GiNaC::ex> out;
  if (kind == Kind::derivative) {
    out = {expression_};
    const auto differentiate = [&](const std::vector<GiNaC::symbol>& by) {
      std::vector<GiNaC::ex> next;
      for (const auto& symbol : by) {
        for (const GiNaC::ex& e : out) next.push_back(e.diff(symbol));
      }
      out = std::move(next);
    };
    for (int i = 0; i < first; ++i) differentiate(variables_);
    for (int i = 0; i < second; ++i) differentiate(symbols_);
    return out;
  }
  GiNaC::ex e = expression_;
  for (int k = 0; kind == Kind::jet ? k < first : k < 3; ++k) {
    if (kind == Kind::jet || (first >> k & 1) != 0) out.push_back(e);
    for (const auto& symbol : symbols_) {
      if (kind == Kind::jet) out.push_back(e.diff(symbol));
    }
    e = e.diff(variables_[0]);
  }
  return out;
}

const Tape& SymbolicFunction::tape(Key key) const {
  {
    const std::shared_lock guard(tapes_lock_);
    const auto found = tapes_.find(key);
    if (found != tapes_.end()) return *found->second;
  }
  const std::unique_lock guard(tapes_lock_);
  auto& entry = tapes_[key];
  if (!entry) {
    const std::lock_guard ginac(ginac_lock());
    try {
      entry = std::make_unique<const Tape>(outputs(key), variables_, symbols_);
    } catch (const std::exception&) {
      tapes_.erase(key);
      throw;
    }
  }
  return *entry;
}

}  // namespace jko
