#include <jko/core/antiderivative.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace jko {
namespace {

constexpr int degree = Antiderivative::degree;

double clenshaw(const std::array<double, degree + 2>& c, double z) {
  double one = 0, two = 0;
  for (std::size_t k = c.size() - 1; k > 0; --k) {
    const double next = c[k] + 2 * z * one - two;
    two = one;
    one = next;
  }
  return c[0] + z * one - two;
}

}  // namespace

Antiderivative::Antiderivative(double lower, double upper, const std::function<Vector(const Matrix&)>& f) {
  struct Part {
    double lower, upper;
    int depth;
    double tail;  ///< of the part that it is half of, relative
  };
  static const Matrix cosine = [] {
    Matrix out(degree + 1, degree + 1);
    for (int k = 0; k <= degree; ++k) {
      for (int i = 0; i <= degree; ++i) out(k, i) = std::cos(std::numbers::pi * k * (i + 0.5) / (degree + 1));
    }
    return out;
  }();
  std::vector<Part> todo;
  for (int i = 3; i >= 0; --i) todo.push_back({lower + (upper - lower) * i / 4, lower + (upper - lower) * (i + 1) / 4, 0, 1});
  double sum = 0;
  while (!todo.empty()) {
    const Part part = todo.back();
    todo.pop_back();
    const double middle = 0.5 * (part.lower + part.upper), half = 0.5 * (part.upper - part.lower);
    Vector c = cosine * f(middle + half * cosine.row(1).array()) * (2.0 / (degree + 1));
    c[0] *= 0.5;
    if (!c.allFinite()) {
      ok_ = false;
      return;
    }
    const double tail = std::max(std::abs(c[degree]), std::abs(c[degree - 1])) / c.cwiseAbs().maxCoeff();
    const bool rounding = tail < 1e-6 && tail > 0.5 * part.tail;  // f itself has no more digits: halving changes nothing
    if (tail > 1e-14 && !rounding && part.depth < 40) {
      todo.push_back({middle, part.upper, part.depth + 1, tail});
      todo.push_back({part.lower, middle, part.depth + 1, tail});
      continue;
    }
    Piece piece{part.lower, part.upper, 0, {}};
    for (int k = 1; k <= degree + 1; ++k) {
      const double before = k == 1 ? 2 * c[0] : c[k - 1], after = k < degree ? c[k + 1] : 0;
      piece.series[static_cast<std::size_t>(k)] = half * (before - after) / (2 * k);
    }
    piece.series[0] = sum - clenshaw(piece.series, -1);
    sum = piece.end = clenshaw(piece.series, 1);
    pieces_.push_back(piece);
  }
}

double Antiderivative::operator()(double x) const {
  const auto found = std::lower_bound(pieces_.begin(), pieces_.end() - 1, x, [](const Piece& piece, double value) { return piece.upper < value; });
  if (!(found->upper > found->lower)) return found->end;
  return clenshaw(found->series, (2 * x - found->lower - found->upper) / (found->upper - found->lower));
}

std::array<double, 5> Antiderivative::derivatives(double x, int order) const {
  const auto found = std::lower_bound(pieces_.begin(), pieces_.end() - 1, x, [](const Piece& piece, double value) { return piece.upper < value; });
  std::array<double, 5> out{};
  const double width = found->upper - found->lower;
  if (!(width > 0)) return out;
  const double z = (2 * x - found->lower - found->upper) / width;
  std::array<double, degree + 2> c = found->series;
  double scale = 1;
  for (int k = 0; k <= order; ++k, scale *= 2 / width) {
    out[static_cast<std::size_t>(k)] = scale * clenshaw(c, z);
    // c'_{j-1} = c'_{j+1} + 2 j c_j, c'_0 halved.
    std::array<double, degree + 2> d{};
    for (std::size_t j = c.size() - 1; j >= 1; --j) d[j - 1] = (j + 1 < d.size() ? d[j + 1] : 0) + 2 * static_cast<double>(j) * c[j];
    d[0] *= 0.5;
    c = d;
  }
  return out;
}

double Antiderivative::inverse(double value) const {
  const auto found = std::lower_bound(pieces_.begin(), pieces_.end() - 1, value, [](const Piece& piece, double v) { return piece.end < v; });
  double low = -1, high = 1;
  for (int k = 0; k < 54; ++k) {  // bisection to the last bit: F increases
    const double z = 0.5 * (low + high);
    (clenshaw(found->series, z) < value ? low : high) = z;
  }
  return 0.5 * (found->lower + found->upper) + 0.25 * (low + high) * (found->upper - found->lower);
}

}  // namespace jko
