#include <jko/core/random.hpp>

#include <jko/core/check.hpp>

#include <Random123/philox.h>
#include <boost/math/special_functions/erf.hpp>

#include <cmath>
#include <numbers>

namespace jko {
namespace {

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211ULL;
  }
  return hash;
}

using Policy = boost::math::policies::policy<boost::math::policies::promote_double<false>>;

}  // namespace

RandomStream::RandomStream(std::uint64_t seed, std::string_view purpose, std::uint64_t index)
    : key_{seed, fnv1a(purpose)}, counter_{0, 0, index, 0} {}

std::uint64_t RandomStream::bits() {
  if (next_ == 4) {
    const r123::Philox4x64::ctr_type counter{{counter_[0], counter_[1], counter_[2], counter_[3]}};
    const r123::Philox4x64::key_type key{{key_[0], key_[1]}};
    const auto block = r123::Philox4x64{}(counter, key);
    for (std::size_t i = 0; i < 4; ++i) block_[i] = block[i];
    if (++counter_[0] == 0) ++counter_[1];
    next_ = 0;
  }
  return block_[static_cast<std::size_t>(next_++)];
}

double RandomStream::uniform() {
  // 53 bits centred in their cell: the smallest value is 2^-54, the largest 1 - 2^-54 rounds below 1.
  const double u = (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53;
  return u < 1.0 ? u : 1.0 - 0x1p-53;
}

double RandomStream::normal() {
  return -std::numbers::sqrt2 * boost::math::erfc_inv(2.0 * uniform(), Policy());
}

double RandomStream::exponential() { return -std::log(uniform()); }

double RandomStream::gamma(double shape) {
  if (!(shape >= 1) || !std::isfinite(shape)) throw DomainError("random_stream: gamma(shape) needs 1 <= shape < infinity");
  const double d = shape - 1.0 / 3.0, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double z = normal(), root = 1 + c * z;
    if (root <= 0) continue;
    const double v = root * root * root, u = uniform();
    if (u < 1 - 0.0331 * z * z * z * z || std::log(u) < 0.5 * z * z + d * (1 - v + std::log(v))) return d * v;
  }
}

std::uint64_t RandomStream::below(std::uint64_t n) {
  if (n == 0) throw DomainError("random_stream: below(n) needs n > 0");
  const std::uint64_t limit = n * (~std::uint64_t{0} / n);  // reject the incomplete last period
  std::uint64_t draw = bits();
  while (draw >= limit) draw = bits();
  return draw % n;
}

void RandomStream::fill_normal(VectorRef out) {
  for (Index i = 0; i < out.size(); ++i) out[i] = normal();
}

}  // namespace jko
