#include "tridiagonal.hpp"

#include <jko/core/parallel.hpp>

#include <algorithm>

namespace jko {
namespace {

constexpr Index small = 128;              // below, chains cost more than they save
constexpr Index worth_a_thread = 200000;  // below, waking a thread costs more than it saves

/// Rows first, first + step, ...; the running values of an elimination along them stay in registers.
struct Chain {
  Index first, length, step;
  /// Coupling of row i to row i + 1, or to the separator after the last one, is off_diagonal[coupling + step * i].
  [[nodiscard]] Index coupling() const { return step > 0 ? first : first - 1; }
};

constexpr std::size_t parts = 8;

struct Partition {
  std::array<Index, parts - 1> separators;
  std::array<Chain, parts> chains;
  explicit Partition(Index rows) {
    const Index inner = static_cast<Index>(parts) - 1, length = (rows - inner) / static_cast<Index>(parts), first = rows - inner - inner * length;
    chains[0] = {0, first, 1};
    for (std::size_t k = 0; k + 1 < parts; ++k) {
      separators[k] = first + static_cast<Index>(k) * (length + 1);
      chains[k + 1] = {separators[k] + 1, length, 1};
    }
    chains[parts - 1] = {rows - 1, length, -1};
  }
};

struct Elimination {
  double pivot = 0, fill = 0;   // of the row ahead; at the end: what the separator ahead loses, and its coupling to the other one
  double lost = 0;              // what the fill-in separator's pivot loses
  bool positive = true;
};

template <std::size_t L>
void eliminate(const Chain* chains, const double* d, const double* e, double* inverse, double* fill, Elimination* states) {
  Chain c[L];
  Elimination s[L];
  std::copy(chains, chains + L, c);
  std::copy(states, states + L, s);
  const auto row = [&](std::size_t k, Index i, bool last) {
    const Index at = c[k].first + c[k].step * i;
    const double inv = 1 / s[k].pivot;
    s[k].positive = s[k].positive && s[k].pivot > 0;
    inverse[at] = inv;
    fill[at] = s[k].fill;
    s[k].lost += s[k].fill * s[k].fill * inv;
    const double coupling = e[c[k].coupling() + c[k].step * i], factor = coupling * inv;
    s[k].pivot = last ? factor * coupling : d[at + c[k].step] - factor * coupling;
    s[k].fill = -factor * s[k].fill;
  };
  Index common = c[0].length;
  for (std::size_t k = 1; k < L; ++k) common = std::min(common, c[k].length);
  for (Index i = 0; i + 1 < common; ++i) {
    for (std::size_t k = 0; k < L; ++k) row(k, i, false);
  }
  for (std::size_t k = 0; k < L; ++k) {
    for (Index i = common - 1; i < c[k].length; ++i) row(k, i, i + 1 == c[k].length);
  }
  std::copy(s, s + L, states);
}

struct Substitution {
  double right = 0;  // of the row ahead; at the end: what the separator ahead loses
  double lost = 0;   // what the fill-in separator loses
};

template <std::size_t L>
void substitute_forward(const Chain* chains, const double* e, const double* inverse, const double* fill, double* x, Substitution* states) {
  Chain c[L];
  Substitution s[L];
  std::copy(chains, chains + L, c);
  std::copy(states, states + L, s);
  const auto row = [&](std::size_t k, Index i, bool last) {
    const Index at = c[k].first + c[k].step * i;
    const double scaled = s[k].right * inverse[at];
    x[at] = s[k].right;
    s[k].lost += fill[at] * scaled;
    const double loss = e[c[k].coupling() + c[k].step * i] * scaled;
    s[k].right = last ? loss : x[at + c[k].step] - loss;
  };
  Index common = c[0].length;
  for (std::size_t k = 1; k < L; ++k) common = std::min(common, c[k].length);
  for (Index i = 0; i + 1 < common; ++i) {
    for (std::size_t k = 0; k < L; ++k) row(k, i, false);
  }
  for (std::size_t k = 0; k < L; ++k) {
    for (Index i = common - 1; i < c[k].length; ++i) row(k, i, i + 1 == c[k].length);
  }
  std::copy(s, s + L, states);
}

/// next: the separator ahead; held: the fill-in separator.
template <std::size_t L>
void substitute_backward(const Chain* chains, const double* e, const double* inverse, const double* fill, double* x, const double* ahead, const double* held) {
  Chain c[L];
  double next[L], h[L];
  std::copy(chains, chains + L, c);
  std::copy(ahead, ahead + L, next);
  std::copy(held, held + L, h);
  const auto row = [&](std::size_t k, Index i) {
    const Index at = c[k].first + c[k].step * i;
    next[k] = ((x[at] - fill[at] * h[k]) - e[c[k].coupling() + c[k].step * i] * next[k]) * inverse[at];
    x[at] = next[k];
  };
  Index common = c[0].length;
  for (std::size_t k = 1; k < L; ++k) common = std::min(common, c[k].length);
  for (std::size_t k = 0; k < L; ++k) {
    for (Index i = c[k].length - 1; i >= common; --i) row(k, i);
  }
  for (Index i = common - 1; i >= 0; --i) {
    for (std::size_t k = 0; k < L; ++k) row(k, i);
  }
}

/// Calls work(0) and work(4), on two threads where that pays.
template <class Work>
void share(Index rows, int threads, const Work& work) {
  parallel_for(2, threads > 1 && rows >= worth_a_thread ? 2 : 1, [&](Index half) { work(4 * static_cast<std::size_t>(half)); });
}

}  // namespace

bool Tridiagonal::factor(const Vector& diagonal, const Vector& off_diagonal, int threads) {
  rows_ = diagonal.size();
  inverse_.resize(rows_);
  const double* const d = diagonal.data();
  const double* const e = off_diagonal.data();
  double* const inverse = inverse_.data();
  if (rows_ < small) {
    double pivot = d[0];
    for (Index i = 0; i < rows_; ++i) {
      if (!(pivot > 0)) return false;
      inverse[i] = 1 / pivot;
      if (i + 1 < rows_) pivot = d[i + 1] - e[i] * e[i] * inverse[i];
    }
    return true;
  }
  fill_.resize(rows_);
  double* const fill = fill_.data();
  const Partition p(rows_);
  std::array<Elimination, parts> s;
  for (std::size_t k = 0; k < parts; ++k) {
    s[k].pivot = d[p.chains[k].first];
    if (k > 0 && k + 1 < parts) s[k].fill = e[p.separators[k - 1]];
  }
  share(rows_, threads, [&](std::size_t k) { eliminate<4>(p.chains.data() + k, d, e, inverse, fill, s.data() + k); });
  for (const Elimination& state : s) {
    if (!state.positive) return false;
  }
  // Separator k loses what chain k carries into it and what chain k + 1 took as fill-in; the last chain ends at the last separator.
  for (std::size_t k = 0; k + 1 < parts; ++k) {
    pivots_[k] = d[p.separators[k]] - s[k].pivot - (k + 2 < parts ? s[k + 1].lost : s[k + 1].pivot);
    if (k > 0) {
      couplings_[k - 1] = s[k].fill;
      pivots_[k] -= s[k].fill * s[k].fill / pivots_[k - 1];
    }
    if (!(pivots_[k] > 0)) return false;
  }
  return true;
}

void Tridiagonal::solve(const Vector& off_diagonal, MatrixRef columns, int threads) const {
  const double* const e = off_diagonal.data();
  const double* const inverse = inverse_.data();
  const double* const fill = fill_.data();
  for (Index j = 0; j < columns.cols(); ++j) {
    double* const x = columns.col(j).data();
    if (rows_ < small) {
      for (Index i = 1; i < rows_; ++i) x[i] -= e[i - 1] * inverse[i - 1] * x[i - 1];
      x[rows_ - 1] *= inverse[rows_ - 1];
      for (Index i = rows_ - 2; i >= 0; --i) x[i] = (x[i] - e[i] * x[i + 1]) * inverse[i];
      continue;
    }
    const Partition p(rows_);
    std::array<Substitution, parts> s;
    for (std::size_t k = 0; k < parts; ++k) s[k].right = x[p.chains[k].first];
    share(rows_, threads, [&](std::size_t k) { substitute_forward<4>(p.chains.data() + k, e, inverse, fill, x, s.data() + k); });
    std::array<double, parts - 1> y;
    for (std::size_t k = 0; k + 1 < parts; ++k) {
      y[k] = x[p.separators[k]] - s[k].right - (k + 2 < parts ? s[k + 1].lost : s[k + 1].right);
      if (k > 0) y[k] -= couplings_[k - 1] / pivots_[k - 1] * y[k - 1];
    }
    for (std::size_t k = parts - 1; k-- > 0;) {
      y[k] = (y[k] - (k + 2 < parts ? couplings_[k] * y[k + 1] : 0.0)) / pivots_[k];
      x[p.separators[k]] = y[k];
    }
    std::array<double, parts> ahead{}, held{};
    for (std::size_t k = 0; k < parts; ++k) {
      ahead[k] = y[std::min(k, parts - 2)];
      held[k] = k > 0 && k + 1 < parts ? y[k - 1] : 0.0;
    }
    share(rows_, threads, [&](std::size_t k) { substitute_backward<4>(p.chains.data() + k, e, inverse, fill, x, ahead.data() + k, held.data() + k); });
  }
}

}  // namespace jko
