#pragma once
/// The lower envelope of the parabolas (i - j)^2/2 + f_i over the integers j.
#include <jko/core/types.hpp>

#include <cmath>
#include <cstdint>
#include <vector>

namespace jko {

/// argmin over i in [0, count) of (i - y_j)^2/2 + f[i], y_j = shift + j/samples, for j = 0, ..., n-1, or -1 everywhere where all f are +inf. O(count + n).
  /// True where i^2/2 + f_i is strictly convex.
class LowerEnvelope {
 public:
  bool argmin(const double* f, Index count, Index n, double shift, std::int32_t* out, Index samples = 1) {
    const double spacing = 1 / static_cast<double>(samples);
    if (static_cast<Index>(height_.size()) < count) {
      height_.resize(static_cast<std::size_t>(count));
      hull_.resize(static_cast<std::size_t>(count));
    }
    double* const h = height_.data();
    std::int32_t* const hull = hull_.data();
    for (Index i = 0; i < count; ++i) {
      const double x = static_cast<double>(i);
      h[i] = 0.5 * x * x + f[i];
    }
    // Kantorovich potentials are c-concave: then all points are on the hull. (A NaN from inf - inf counts as a bend.)
    Index bends = 0;
    for (Index i = 1; i + 1 < count; ++i) bends += !(h[i + 1] - h[i] > h[i] - h[i - 1]);
    if (bends == 0 && h[0] < HUGE_VAL && h[count - 1] < HUGE_VAL) {
      std::int32_t k = 0;
      const auto last = static_cast<std::int32_t>(count - 1);
      for (Index j = 0; j < n; ++j) {
        const double y = static_cast<double>(j) * spacing + shift;
        while (k < last && h[k + 1] - h[k] <= y) ++k;
        out[j] = k;
      }
      return true;
    }
    // Lower convex hull of the points (i, h_i), by cross-multiplied slopes.
    Index size = 0;
    for (Index c = 0; c < count; ++c) {
      if (h[c] == HUGE_VAL) continue;
      while (size >= 2) {
        const std::int32_t a = hull[size - 2], b = hull[size - 1];
        if ((h[c] - h[b]) * static_cast<double>(b - a) > (h[b] - h[a]) * static_cast<double>(c - b)) break;
        --size;
      }
      hull[size++] = static_cast<std::int32_t>(c);
    }
    if (size == 0) {
      for (Index j = 0; j < n; ++j) out[j] = -1;
      return false;
    }
    Index k = 0;
    std::int32_t at = hull[0];
    for (Index j = 0; j < n; ++j) {
      const double y = static_cast<double>(j) * spacing + shift;
      while (k + 1 < size) {
        const std::int32_t next = hull[k + 1];
        if (h[next] - h[at] > static_cast<double>(next - at) * y) break;
        at = next;
        ++k;
      }
      out[j] = at;
    }
    return false;
  }

 private:
  std::vector<double> height_;
  std::vector<std::int32_t> hull_;
};

}  // namespace jko
