#include <jko/analysis/design.hpp>
#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>

#include <doctest/doctest.h>

#include <cmath>

#include <unistd.h>

using namespace jko;
using namespace jko::analysis;

namespace {

Design design_of(Index replications) {
  Design d{.name = "test", .recipe = "x, x^2", .cells = {"a", "b", "c"}, .dimension = 2, .replications = replications, .blocks = 8, .seed = 5, .worker = {}};
  d.worker = [](Index cell) -> Replicate {
    return [cell](RandomStream& random, VectorRef out) {
      const double x = random.normal() + static_cast<double>(cell);
      out << x, x * x;
      return random.uniform() > 0.01;  // one in a hundred fails
    };
  };
  return d;
}

/// Everything but the cpu time.
std::vector<double> bits(const DesignBlocks& blocks) {
  std::vector<double> out;
  for (const CellSummary& s : summarise(blocks)) {
    for (const double x : s.moments.pack()) out.push_back(x);
    for (const double x : s.covariance_error.reshaped()) out.push_back(x);
    out.push_back(static_cast<double>(s.failed));
  }
  return out;
}

struct StopAfter : Observer {
  int left;
  explicit StopAfter(int waves) : left(waves) {}
  bool stop_requested() override { return left-- <= 0; }
};

}  // namespace

TEST_CASE("streaming moments are those of the two-pass formulas, added or merged") {
  const Index n = 500;
  Matrix x(3, n);
  RandomStream random(3, "moments");
  for (Index i = 0; i < n; ++i) {
    for (Index k = 0; k < 3; ++k) x(k, i) = 5 + std::pow(random.normal() + 0.3 * static_cast<double>(k), static_cast<int>(k) + 1);
  }
  Moments all(3), merged(3);
  for (Index i = 0; i < n; ++i) all.add(x.col(i));
  for (const auto& [begin, end] : {std::pair<Index, Index>{0, 1}, {1, 120}, {120, 120}, {120, 430}, {430, 500}}) {
    Moments part(3);
    for (Index i = begin; i < end; ++i) part.add(x.col(i));
    merged.merge(part);
  }
  const Vector mean = x.rowwise().mean();
  const Matrix centred = x.colwise() - mean, covariance = centred * centred.transpose() / static_cast<double>(n - 1);
  const Vector m2 = centred.array().square().rowwise().mean(), m3 = centred.array().cube().rowwise().mean(), m4 = centred.array().square().square().rowwise().mean();
  for (const Moments& m : {all, merged, Moments::unpack(all.pack(), 3)}) {
    CHECK(m.count() == static_cast<double>(n));
    CHECK((m.mean() - mean).cwiseAbs().maxCoeff() < 1e-13);  // 500 roundings of numbers of size 5
    CHECK((m.covariance() - covariance).cwiseAbs().maxCoeff() < 1e-11 * covariance.cwiseAbs().maxCoeff());
    CHECK((m.skewness() - Vector(m3.array() / m2.array().pow(1.5))).cwiseAbs().maxCoeff() < 1e-11);
    CHECK((m.excess_kurtosis() - Vector(m4.array() / m2.array().square() - 3)).cwiseAbs().maxCoeff() < 1e-10);
  }
  CHECK(Moments::unpack(all.pack(), 3).pack() == all.pack());
  CHECK(std::isnan(Moments(2).covariance()(0, 0)));
  CHECK_THROWS_AS(all.merge(Moments(2)), ShapeError);
}

TEST_CASE("the same bits for any threads, any split, and after an interruption") {
  const Design d = design_of(1003);
  const auto whole = bits(run_design(d));
  CHECK(bits(run_design(d, {.threads = 3})) == whole);
  DesignBlocks sharded(d);
  for (int i = 2; i >= 0; --i) {
    const auto part = run_design(d, {.shard = {i, 3}});
    CHECK(!part.complete());
    CHECK_THROWS_AS((void)summarise(part), NotConverged);
    sharded.merge(DesignBlocks::parse(part.text(), "memory"));
  }
  CHECK(bits(sharded) == whole);

  const auto file = std::filesystem::temp_directory_path() / ("jko-design-test-" + std::to_string(::getpid()) + ".json");
  StopAfter stop(5);
  const auto first = run_design(d, {.file = file, .observer = &stop});
  CHECK(first.finished() == 5);
  int fresh = 0;
  Design counted = d;
  counted.worker = [&](Index cell) {
    ++fresh;
    return d.worker(cell);
  };
  CHECK(bits(run_design(counted, {.file = file})) == whole);
  CHECK(fresh == 3 * 8 - 5);
  Design other = d;
  other.recipe = "another";
  CHECK_THROWS_AS((void)run_design(other, {.file = file}), DomainError);
  CHECK_THROWS_AS((void)DesignBlocks::parse("{\"design\": 3}", "memory"), ParseError);
  std::filesystem::remove(file);
}

TEST_CASE("summaries of a known law, and their standard errors") {
  const auto cells = summarise(run_design(design_of(8000), {.threads = 2}));
  for (std::size_t c = 0; c < 3; ++c) {
    const double m = static_cast<double>(c);
    CHECK(std::abs(static_cast<double>(cells[c].failed) - 80) < 5 * std::sqrt(80.0));
    // x ~ N(m, 1): Var x = 1, Cov(x, x^2) = 2m, Var x^2 = 2 + 4 m^2; 12 checks, each at 8 standard errors with 7 degrees of freedom: false alarm 12 * 9e-5 = 1e-3.
    CHECK(std::abs(cells[c].moments.covariance()(0, 0) - 1) < 8 * cells[c].covariance_error(0, 0));
    CHECK(std::abs(cells[c].moments.covariance()(1, 0) - 2 * m) < 8 * cells[c].covariance_error(1, 0));
    CHECK(std::abs(cells[c].moments.covariance()(1, 1) - 2 - 4 * m * m) < 8 * cells[c].covariance_error(1, 1));
    CHECK(std::abs(cells[c].moments.mean()[0] - m) < 5 * cells[c].moments.mean_error()[0]);
    // The s.e. of a variance is sqrt(2/n); from 8 blocks it is known to 1/sqrt(14) = 27 %: within a factor 3 (8.3 > chi^2_7/9 at 1e-6 either side: false alarm 1e-3).
    CHECK(cells[c].covariance_error(0, 0) > std::sqrt(2.0 / 8000) / 3);
    CHECK(cells[c].covariance_error(0, 0) < std::sqrt(2.0 / 8000) * 3);
  }
  CHECK_THROWS_AS((void)run_design(design_of(10)), DomainError);
  CHECK_THROWS_AS((void)run_design(design_of(100), {.shard = {2, 2}}), DomainError);
}
