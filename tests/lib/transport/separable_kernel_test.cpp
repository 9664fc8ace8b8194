#include <jko/core/error.hpp>
#include <jko/transport/separable_kernel.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;

namespace {

std::shared_ptr<const Grid> box(std::vector<Index> cells, Boundary boundary = Boundary::no_flux) {
  const auto d = static_cast<Index>(cells.size());
  return std::make_shared<const Grid>(Grid{Vector::Zero(d), Vector::Ones(d), std::move(cells), boundary});
}

/// Numbers that look random: fractional parts of i * golden ratio.
Vector numbers(Index n) {
  Vector out(n);
  for (Index i = 0; i < n; ++i) out[i] = std::fmod(static_cast<double>(i + 1) * 0.6180339887498949, 1.0);
  return out;
}

}  // namespace

TEST_CASE("cosines are eigenfunctions of the Neumann heat kernel, walls included") {
  // cos(pi k x) at cell centres is an eigenvector of every reflected symmetric convolution; for a sampled Gaussian of variance c width^2 its
  // eigenvalue is e^{-variance (pi k)^2/2} to 2 e^{-2 pi^2 c} (aliasing) and erfc(radius/sqrt 2) (truncation): 6e-18 and 1e-14 here; rounding of
  // sums of some 40 terms of size one dominates.
  const auto grid = box({70, 45, 9});  // partial tiles along every axis; the kernel reflects several times along the last
  const double variance = 2.0 / (9 * 9);
  const SeparableKernel kernel(grid, variance, 7.75);
  const Matrix x = grid->points();
  const double pi = std::numbers::pi;
  for (const int k : {0, 1, 3}) {
    Vector in(grid->size());
    for (Index i = 0; i < in.size(); ++i) in[i] = std::cos(pi * k * x(0, i)) * std::cos(pi * 2 * x(1, i)) * std::cos(pi * x(2, i));
    Vector out(in.size());
    kernel.apply(in, out);
    const double eigenvalue = std::exp(-0.5 * variance * pi * pi * (k * k + 4 + 1));
    CHECK((out - eigenvalue * in).cwiseAbs().maxCoeff() < 1e-13);
  }
}

TEST_CASE("periodic kernels have waves as eigenfunctions") {
  const auto grid = box({96}, Boundary::periodic);
  const double variance = 3.0 / (96 * 96), pi = std::numbers::pi;
  const SeparableKernel kernel(grid, variance, 7.75);
  Vector in(96), out(96);
  for (Index i = 0; i < 96; ++i) in[i] = std::sin(2 * pi * 5 * (static_cast<double>(i) + 0.2) / 96);
  kernel.apply(in, out);
  CHECK((out - std::exp(-0.5 * variance * std::pow(10 * pi, 2)) * in).cwiseAbs().maxCoeff() < 1e-13);
}

TEST_CASE("the kernel is symmetric, keeps constants and has the same bits on any number of threads") {
  const auto grid = box({130, 50});
  const SeparableKernel one(grid, 4.0 / (130 * 130), 6, 1), three(grid, 4.0 / (130 * 130), 6, 3);
  const Vector f = numbers(grid->size()), g = numbers(grid->size()).reverse();
  Vector kf(f.size()), kg(f.size()), again(f.size());
  one.apply(f, kf);
  one.apply(g, kg);
  three.apply(f, again);
  CHECK(kf == again);
  CHECK(std::abs(g.dot(kf) - f.dot(kg)) <= 1e-12 * g.dot(kf));  // rounding of 6500 terms
  CHECK(std::abs(kf.sum() - f.sum()) <= 1e-12 * f.sum());
  one.apply(Vector::Ones(f.size()), kf);
  CHECK((kf.array() - 1).abs().maxCoeff() < 1e-14);
}

TEST_CASE("scaled fields reach far beyond double's range") {
  // in(x) = e^{c x}: in the interior the kernel multiplies it by e^{variance c^2/2}. c = 4000 on [0, 1] spans e^{4000}; the tiles' exponents
  // hold it. The sampled sum differs from the integral by aliasing, relatively 2 e^{-2 pi^2 c_w} cos(2 pi variance c/width) with c_w = 4: below
  // 1e-33; truncation at 12 deviations around the shifted centre (variance c = 4 width^2 * 4000 = 16 cells = 8 deviations): erfc(4/sqrt 2) = 6e-5
  // for radius 12 and 1e-15 for 16; rounding in log(in) of 4000 eps.
  const Index n = 1000;
  const auto grid = box({n});
  const double variance = 4e-6, c = 4000;
  const SeparableKernel kernel(grid, variance, 16);
  const Vector x = grid->centres(0);
  ScaledField in{Vector(n), {}}, out;
  for (Index tile = 0; tile < kernel.tiles(); ++tile) {
    kernel.for_each_run(tile, [&](Index begin, Index count) {
      const int e = static_cast<int>(std::lround(c * x[begin + count / 2] / std::numbers::ln2));
      in.exponent.push_back(e);
      for (Index i = begin; i < begin + count; ++i) in.mantissa[i] = std::exp(c * x[i] - e * std::numbers::ln2);
    });
  }
  kernel.apply(in, out);
  double worst = 0;
  for (Index tile = 1; tile + 1 < kernel.tiles(); ++tile) {
    kernel.for_each_run(tile, [&](Index begin, Index count) {
      for (Index i = begin; i < begin + count; ++i) {
        const double log_out = std::log(out.mantissa[i]) + out.exponent[static_cast<std::size_t>(tile)] * std::numbers::ln2;
        worst = std::max(worst, std::abs(log_out - (c * x[i] + 0.5 * variance * c * c)));
      }
    });
  }
  CHECK(worst < 1e-11);
}

TEST_CASE("narrow tiles give the same sums") {
  // The same terms in the same order, so only the exponents' powers of two differ: none here.
  for (const auto& cells : {std::vector<Index>{100}, {70, 45}, {20, 17, 11}}) {
    const auto grid = box(cells);
    const double variance = 2.0 / (50 * 50);
    const SeparableKernel wide(grid, variance, 7.75), narrow(grid, variance, 7.75, 1, KernelTiles::narrow);
    const Vector f = numbers(grid->size());
    Vector a(f.size()), b(f.size());
    wide.apply(f, a);
    narrow.apply(f, b);
    CHECK(a == b);
    CHECK(narrow.tiles() > wide.tiles());
  }
}

TEST_CASE("a row of single cells is left alone along its axis") {
  const auto grid = box({1, 40});
  const SeparableKernel kernel(grid, 1e-3, 7.75), line(box({40}), 1e-3, 7.75);
  const Vector f = numbers(40);
  Vector a(40), b(40);
  kernel.apply(f, a);
  line.apply(f, b);
  CHECK((a - b).cwiseAbs().maxCoeff() < 1e-15);
  CHECK_THROWS_AS(SeparableKernel(grid, 0, 7), DomainError);
  CHECK_THROWS_AS(SeparableKernel(grid, std::nan(""), 7), DomainError);
  CHECK_THROWS_AS(SeparableKernel(nullptr, 1, 7), DomainError);
}
