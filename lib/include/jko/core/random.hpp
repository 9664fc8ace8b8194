#pragma once
/// Counter-based random streams (Philox 4x64-10, [Salmon2011]): a stream is addressed by (seed, purpose, index), so
/// replication i of a study draws the same numbers whatever the number of threads and whoever runs it.
#include <jko/core/types.hpp>

#include <array>
#include <cstdint>
#include <string_view>

namespace jko {

class RandomStream {
 public:
  /// purpose is a short text ("path", "bootstrap"); it is hashed (FNV-1a) into the key with the seed.
  RandomStream(std::uint64_t seed, std::string_view purpose, std::uint64_t index = 0);

  std::uint64_t bits();                       ///< 64 uniform random bits
  double uniform();                           ///< in (0, 1): never 0, never 1; step 2^-53
  double normal();                            ///< N(0, 1) by inversion of the distribution function (one draw each)
  double exponential();                       ///< rate 1, by inversion
  double gamma(double shape);                 ///< Gamma(shape, 1), shape >= 1, by rejection ([MarsagliaTsang2000]): a random number of draws
  std::uint64_t below(std::uint64_t n);       ///< uniform in {0, ..., n-1}, unbiased; n > 0
  void fill_normal(VectorRef out);            ///< the same numbers as repeated normal()

 private:
  std::array<std::uint64_t, 2> key_{};
  std::array<std::uint64_t, 4> counter_{};
  std::array<std::uint64_t, 4> block_{};
  int next_ = 4;
};

}  // namespace jko
