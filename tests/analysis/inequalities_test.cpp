#include <jko/analysis/flow_inequalities.hpp>
#include <jko/analysis/step_inequalities.hpp>
#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <Eigen/LU>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace jko;
using namespace jko::analysis;

namespace {

Model ou() { return {ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2}; }
Model ou2() { return {ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5}; }
Model cosine() { return {quadratic_cosine(), Vector{{1, 0, 0.3, 1.5}}, 2}; }  // kappa = 1 - 0.3 * 2.25 = 0.325
Model well() { return {double_well(), Vector{{1, 1, 0}}, 2}; }

/// The double well with a term of weight zero, for which no convexity constant is stated.
PotentialPtr well_formula() { return formula("x^4/4 - x^2/2 + e*cosh(x)"); }
FreeEnergy unstated(const PotentialPtr& potential, double beta) {
  FreeEnergy energy;
  energy.add_potential(potential, Vector::Zero(potential->parameter_count())).add_entropy(beta);
  REQUIRE(!energy.convexity());
  return energy;
}

const Check& find(const std::vector<Check>& checks, const std::string& id) {
  const auto at = std::find_if(checks.begin(), checks.end(), [&](const Check& c) { return c.id == id; });
  REQUIRE(at != checks.end());
  return *at;
}

void all_pass(const std::vector<Check>& checks) {
  for (const Check& c : checks) {
    INFO(c.id << ": " << c.statistic << " <= " << c.bound << " + " << c.tolerance << " " << c.reason);
    CHECK(c.verdict == Verdict::pass);
    CHECK(c.tolerance < 1e-8);  // the effects are of order 1e-2 to 1: the check has teeth
  }
}

template <class Step>
FlowTrace trace(const Model& model, const typename Step::Measure& start, double h, int steps) {
  const Step step{FreeEnergy(model)};
  return trace_flow(step, start, h, steps, find_minimiser(step, start));
}

}  // namespace

TEST_CASE("every inequality holds on convex models, for Gaussians and quantile functions") {
  const Gaussian start(Vector{{2}}, Matrix{{2.89}}), start2(Vector{{1, -1}}, Matrix{{1.2, 0.4}, {0.4, 0.7}});
  for (const double h : {0.01, 0.2, 3.0}) {
    all_pass(flow_inequalities(trace<GaussianStep>(ou(), start, h, 12), "ou"));
    all_pass(flow_inequalities(trace<GaussianStep>(ou2(), start2, h, 12), "ou2"));
    all_pass(flow_inequalities(trace<QuantileStep>(cosine(), QuantileFunction::gaussian(1, 0.4, 60, 6), h, 12), "cosine"));
  }
}

TEST_CASE("translations give equality in a2, contraction and decay: a constant one part in a million too large fails") {
  const Gaussian start(Vector{{2}}, Matrix{{1 / (2 * 1.3)}});
  FlowTrace t = trace<GaussianStep>(ou(), start, 0.1, 20);
  for (const Check& c : flow_inequalities(t, "t")) {
    if (c.id == "t-descent-kappa" || c.id == "t-contraction" || c.id == "t-energy-decay" || c.id == "t-slope-decay" || c.id == "t-slope-after" || c.id == "t-slope-before" || c.id == "t-envelope") {
      CHECK(c.verdict == Verdict::pass);
      CHECK(std::abs(c.statistic - c.bound) <= c.tolerance);
    }
  }
  t.convexity->kappa *= 1 + 1e-6;
  const auto wrong = flow_inequalities(t, "t");
  for (const char* id : {"t-descent-kappa", "t-contraction", "t-energy-decay", "t-slope-decay", "t-slope-before", "t-envelope"}) CHECK(find(wrong, id).verdict == Verdict::fail);
}

TEST_CASE("a step that did not move far enough is caught, an inexact one is charged to its certificate") {
  const auto start = QuantileFunction::gaussian(1, 0.4, 60, 6);
  const QuantileStep loose(FreeEnergy(cosine()), {.tolerance = 1e-4});
  const FlowTrace inexact = trace_flow(loose, start, 0.1, 20, find_minimiser(loose, start));
  for (const Check& c : flow_inequalities(inexact, "c")) CHECK(c.verdict == Verdict::pass);
  FlowTrace forged = trace<QuantileStep>(cosine(), start, 0.1, 20);
  forged.points[7].energy = forged.points[6].energy;  // moved, but did not descend
  CHECK(find(flow_inequalities(forged, "c"), "c-descent-kappa").verdict == Verdict::fail);
  forged.steps[3].moved = std::nan("");
  CHECK(find(flow_inequalities(forged, "c"), "c-descent").verdict == Verdict::inconclusive);
}

TEST_CASE("assumptions that fail make the checks inconclusive") {
  const auto start = QuantileFunction::gaussian(0.5, 0.3, 60, 6);
  const auto checks = flow_inequalities(trace<QuantileStep>(well(), start, 0.1, 10), "well");  // kappa = -1
  CHECK(find(checks, "well-descent-kappa").verdict == Verdict::pass);
  CHECK(find(checks, "well-slope-decay").verdict == Verdict::pass);  // q < 1: an upper bound of the growth
  for (const char* id : {"well-contraction", "well-energy-decay", "well-regularisation"}) {
    CHECK(find(checks, id).verdict == Verdict::inconclusive);
    CHECK(find(checks, id).reason.find("negative") != std::string::npos);
  }
  FreeEnergy unknown = unstated(well_formula(), 2);
  const FlowTrace without = trace_flow(QuantileStep(unknown), start, 0.1, 3);
  for (const Check& c : flow_inequalities(without, "q")) CHECK(c.verdict == (c.id == "q-descent" ? Verdict::pass : Verdict::inconclusive));  // a1 needs no kappa where it simply holds
  FlowTrace rising = without;
  rising.points[2].energy = rising.points[1].energy + 1e-6;  // the solver may be at fault, so no fail
  CHECK(find(flow_inequalities(rising, "q"), "q-descent").verdict == Verdict::inconclusive);
  unknown.assume_convexity({-1, false, "of the double well"});
  const auto numerical = flow_inequalities(trace_flow(QuantileStep(unknown), start, 0.1, 3), "q");
  CHECK(find(numerical, "q-descent").verdict == Verdict::pass);
  CHECK(find(numerical, "q-descent").tolerance_reason.find("not proven") != std::string::npos);
  // h = 2 > -1/kappa: several minimisers are possible.
  FlowTrace t = trace<QuantileStep>(well(), start, 0.1, 2);
  t.steps[0].h = 2;
  for (const Check& c : flow_inequalities(t, "w")) CHECK((c.id == "w-descent" || c.verdict == Verdict::inconclusive));
}

TEST_CASE("sides below their own errors decide nothing") {
  FlowTrace t = trace<GaussianStep>(ou(), Gaussian(Vector{{2}}, Matrix{{1 / (2 * 1.3)}}), 0.1, 20);
  t.energy_error = t.distance_error = t.slope_error = 100;
  for (const Check& c : flow_inequalities(t, "t")) {
    CHECK(c.verdict == Verdict::inconclusive);
    CHECK(c.reason.find("exceed") != std::string::npos);
  }
  t.distance_error = 0.5;  // first steps move 0.18; W2 to the minimiser begins at 1.6 and ends below 0.2: decided at first, by equality
  const Check c = find(flow_inequalities(t, "t"), "t-contraction");
  CHECK(c.verdict == Verdict::pass);
  CHECK(c.tolerance_reason.find("left out") != std::string::npos);
}

TEST_CASE("where only gap and certificate are known they take the residual's place; slopes are then inconclusive") {
  FlowTrace t = trace<QuantileStep>(cosine(), QuantileFunction::gaussian(1, 0.4, 60, 6), 0.1, 20);
  for (auto& step : t.steps) step.residual = std::nan("");
  for (const Check& c : flow_inequalities(t, "c")) {
    INFO(c.id << " " << c.reason);
    CHECK(c.verdict == (c.id == "c-slope-after" || c.id == "c-slope-decay" ? Verdict::inconclusive : Verdict::pass));
  }
}

TEST_CASE("Lipschitz estimate: exact for labelled particles in one dimension and translates of Gaussians, inconclusive elsewhere") {
  // From the discrete minimiser moved by a smooth bounded field, so that sup|grad mu| is of order one for any number of particles.
  const ParticleStepOptions options{.energy = {.entropy = ParticleEntropy::spacing}, .tolerance = 1e-12};
  const auto near = [&](const Model& model, double amplitude) {
    Particles at(Vector::LinSpaced(60, -2, 2).transpose());
    const ParticleStep step(FreeEnergy(model), options);
    for (int i = 0; i < 40; ++i) at = step.energy().convexity()->kappa > 0 || i < 0 ? ParticleStep(step).advance(at, 2.0).measure : ParticleStep(step).advance(at, 0.4).measure;
    return Particles(at.points().unaryExpr([&](double x) { return x + amplitude * std::sin(1.3 * x + 0.4); }));
  };
  for (const Model& model : {cosine(), well()}) {
    const ParticleStep step(FreeEnergy(model), options);
    const FlowTrace t = trace_flow(step, near(model, 0.3), 0.3, 8);
    const Check c = lipschitz_estimate(t, "p");
    INFO(c.statistic << " <= " << c.bound << " + " << c.tolerance << " " << c.reason);
    CHECK(c.verdict == Verdict::pass);
    CHECK(c.tolerance < 1e-7 * c.bound);
    FlowTrace wrong = t;
    for (std::size_t k = 1; k < wrong.points.size(); ++k) wrong.points[k].lipschitz = wrong.points[k - 1].lipschitz;  // it did not fall
    CHECK(lipschitz_estimate(wrong, "p").verdict == (model.potential().describe() == cosine().potential().describe() ? Verdict::fail : Verdict::pass));
  }
  // A quadratic potential and a translate of the minimiser: equality, so a larger kappa fails.
  const ParticleStep quadratic(FreeEnergy(ou()), options);
  const auto minimum = find_minimiser(quadratic, Particles(Vector::LinSpaced(40, -1, 2).transpose()));
  FlowTrace t = trace_flow(quadratic, Particles(minimum.measure.points().array() + 1.5), 0.3, 6);
  Check c = lipschitz_estimate(t, "p");
  CHECK(c.verdict == Verdict::pass);
  CHECK(std::abs(c.statistic - c.bound) <= c.tolerance);
  t.convexity->kappa += 1e-5;
  CHECK(lipschitz_estimate(t, "p").verdict == Verdict::fail);
  // Gaussians: translates of pi, in the plane too; the constant is infinite for others.
  const Matrix k{{2, 0.3}, {0.3, 1}};
  c = lipschitz_estimate(trace<GaussianStep>(ou2(), Gaussian(Vector{{1, -1}}, Matrix(1.0 / 1.5 * k.inverse())), 0.3, 6), "g");
  INFO(c.reason);
  CHECK(c.verdict == Verdict::pass);
  CHECK(c.tolerance < 1e-10);
  CHECK(lipschitz_estimate(trace<GaussianStep>(ou2(), Gaussian(Vector{{1, -1}}, k), 0.3, 2), "g").verdict == Verdict::inconclusive);
  CHECK(lipschitz_estimate(trace<QuantileStep>(cosine(), QuantileFunction::gaussian(1, 0.4, 60, 6), 0.1, 2), "q").verdict == Verdict::inconclusive);
}

TEST_CASE("discrete EVI against random measures, also without convexity") {
  RandomStream random(7, "nu");
  std::vector<Gaussian> nu;
  for (int i = 0; i < 40; ++i) {
    Matrix root(2, 2);
    for (double& x : root.reshaped()) x = random.normal();
    nu.emplace_back(Vector{{2 * random.normal(), 2 * random.normal()}}, root * root.transpose() + 0.05 * Matrix::Identity(2, 2));
  }
  const std::vector<Gaussian> from(nu.begin(), nu.begin() + 4);
  for (const double h : {0.05, 1.0}) {
    const Check c = evolution_variational_inequality(GaussianStep(FreeEnergy(ou2())), from, h, nu, "g");
    INFO(c.statistic << " " << c.bound << " " << c.tolerance);
    CHECK(c.verdict == Verdict::pass);
    CHECK(c.tolerance < 1e-8);
  }
  const auto start = QuantileFunction::gaussian(0.5, 0.3, 60, 6);
  std::vector<QuantileFunction> targets;
  for (int i = 0; i < 30; ++i) {
    Vector nodes(start.nodes().size());
    nodes[0] = 3 * random.normal();
    for (Index j = 1; j < nodes.size(); ++j) nodes[j] = nodes[j - 1] + 0.2 * random.exponential();
    targets.push_back(start.with_coordinates(nodes));
  }
  const Check c = evolution_variational_inequality(QuantileStep(FreeEnergy(well())), {start, targets[0]}, 0.2, targets, "q");
  CHECK(c.verdict == Verdict::pass);
  // With a convexity constant that the double well does not have the inequality is false: from the hilltop the energy falls along translations.
  FreeEnergy wrong = unstated(well_formula(), 2);
  wrong.assume_convexity({0, false, "made up"});
  QuantileStep step(wrong);
  const auto top = start.with_coordinates(0.3 * (start.nodes().array() - 0.5)), after = step.advance(top, 0.2).measure;
  const auto moved = after.with_coordinates(after.nodes().array() + 0.3);
  CHECK(evolution_variational_inequality(step, {top}, 0.2, {moved}, "q").verdict == Verdict::fail);
  CHECK(evolution_variational_inequality(QuantileStep(FreeEnergy(well())), {top}, 0.2, {moved}, "q").verdict == Verdict::pass);
}

TEST_CASE("Euler-Lagrange estimate") {
  const Matrix functions2{{1, 0.3, -2}, {0.5, 2, 1}, {0, 1, 0.4}};
  const Gaussian start2(Vector{{1, -1}}, Matrix{{1.2, 0.4}, {0.4, 0.7}});
  const Matrix functions{{0.5, 1, 2, 4}, {0, 1, 2, 3}};
  const auto start = QuantileFunction::gaussian(0.5, 0.3, 200, 6);
  for (const double h : {0.01, 0.3}) {
    const Check g = euler_lagrange(GaussianStep(FreeEnergy(ou2())), {start2}, h, functions2, "g");
    CHECK(g.verdict == Verdict::pass);
    CHECK(g.tolerance < 1e-9);
    const Check q = euler_lagrange(QuantileStep(FreeEnergy(well())), {start}, h, functions, "q");
    INFO(q.statistic << " " << q.bound << " " << q.tolerance);
    CHECK(q.verdict == Verdict::pass);
    CHECK(q.tolerance < 0.2 * q.bound);
  }
  // The claim's constant is 1/2: the left side is second order in h, and about half the bound at small steps for a generic zeta.
  const Check small = euler_lagrange(GaussianStep(FreeEnergy(ou())), {Gaussian(Vector{{2}}, Matrix{{2.89}})}, 0.01, Matrix{{0.3}, {-0.6}}, "g");
  CHECK(small.statistic > 0.3 * small.bound);
  CHECK_THROWS_AS((void)euler_lagrange(QuantileStep(FreeEnergy(well())), {start}, 0.1, Matrix{{1.0}}, "q"), ShapeError);
}

TEST_CASE("a-priori error and contraction between flows") {
  const Gaussian start(Vector{{2}}, Matrix{{2.89}});
  std::vector<Gaussian> states;
  const GaussianStep step{FreeEnergy(ou())};
  for (const int n : {1, 4, 40}) {
    const double h = 1.0 / n;
    states.clear();
    const FlowTrace t = trace_flow(step, start, h, n, {}, &states);
    all_pass(a_priori_error(t, w2(states.back(), OrnsteinUhlenbeck(ou()).law(start, 1)), 0, "ou"));
    CHECK(a_priori_error(t, 1.0 / n * 10, 0, "ou")[1].verdict == Verdict::fail);
  }
  const QuantileStep quantile{FreeEnergy(cosine())};
  const auto a = QuantileFunction::gaussian(1, 0.4, 60, 6);
  const auto b = a.with_coordinates(2 * a.nodes().array() - 3);
  std::vector<QuantileFunction> as, bs;
  const FlowTrace ta = trace_flow(quantile, a, 0.2, 15, {}, &as), tb = trace_flow(quantile, b, 0.2, 15, {}, &bs);
  Vector distances(16);
  for (Index k = 0; k < 16; ++k) distances[k] = w2(as[static_cast<std::size_t>(k)], bs[static_cast<std::size_t>(k)]);
  all_pass({contraction_between(ta, tb, distances, "c")});
  Vector forged = distances;
  forged[15] = distances[0] * std::pow(1 + 0.325 * 0.2, -15) + 1e-8;
  CHECK(contraction_between(ta, tb, forged, "c").verdict == Verdict::fail);
  FlowTrace plane = ta;
  plane.dimension = 2;
  CHECK(contraction_between(plane, tb, distances, "c").verdict == Verdict::inconclusive);
}

TEST_CASE("labelled particles: exact in their own Hilbert space, inconclusive for the blob") {
  RandomStream random(13, "particles");
  Matrix points(1, 40);
  points(0, 0) = -1;
  for (Index i = 1; i < 40; ++i) points(0, i) = points(0, i - 1) + 0.1 * random.exponential();
  const Particles start(points);
  const ParticleStep step(FreeEnergy(cosine()), {.energy = {.entropy = ParticleEntropy::spacing}, .tolerance = 1e-11});
  const auto minimum = find_minimiser(step, start);
  REQUIRE(minimum.status == Status::converged);
  all_pass(flow_inequalities(trace_flow(step, start, 0.2, 12, minimum), "p"));
  std::vector<Particles> nu;
  for (int i = 0; i < 20; ++i) nu.emplace_back(random.normal() + std::exp(0.3 * random.normal()) * points.array());
  all_pass({evolution_variational_inequality(step, {start}, 0.2, nu, "p")});
  const ParticleStep blob(FreeEnergy(cosine()), {.energy = {.bandwidth = 0.3}});
  const FlowTrace of_blob = trace_flow(blob, start, 0.2, 2);
  for (const Check& c : flow_inequalities(of_blob, "b")) CHECK((c.verdict == Verdict::inconclusive) == (c.id != "b-descent"));
  CHECK(lipschitz_estimate(of_blob, "b").verdict == Verdict::inconclusive);
  // Euler-Lagrange needs no convexity: spacing, blob, and an interaction in the plane.
  const Matrix functions{{0.5, 1, 2, 4}, {0, 1, 2, 3}};
  all_pass({euler_lagrange(step, {start}, 0.2, functions, "p")});
  all_pass({euler_lagrange(blob, {start}, 0.2, functions, "b")});
  const Check small = euler_lagrange(step, {start}, 0.01, Matrix{{1.0}, {-0.4}}, "p");
  CHECK(small.statistic > 0.1 * small.bound);  // the constant is not idle
}

TEST_CASE("records of a flow are enough for what they hold") {
  const GaussianStep step{FreeEnergy(ou())};
  const Gaussian start(Vector{{2}}, Matrix{{2.89}});
  const auto run = Flow<GaussianStep>(step, start, {.h = 0.1, .steps = 10}).run();
  const auto checks = flow_inequalities(trace_records(run.records, step.energy_value(start).total, step.energy().convexity(), 1, "Gaussian"), "r");
  CHECK(find(checks, "r-descent").verdict == Verdict::pass);
  CHECK(find(checks, "r-descent-kappa").verdict == Verdict::pass);
  CHECK(find(checks, "r-slope-decay").verdict == Verdict::inconclusive);
  CHECK(find(checks, "r-contraction").verdict == Verdict::inconclusive);
}

TEST_CASE("the minimiser's certificate covers the truth") {
  const GaussianStep step{FreeEnergy(ou2())};
  const auto m = find_minimiser(step, Gaussian(Vector{{5, 5}}, Matrix{{3, 0}, {0, 3}}));
  REQUIRE(m.status == Status::converged);
  CHECK(w2(m.measure, OrnsteinUhlenbeck(ou2()).stationary()) <= m.distance_error + 1e-14);
  CHECK(m.distance_error < 1e-12);
  CHECK(find_minimiser(QuantileStep(FreeEnergy(well())), QuantileFunction::gaussian(0, 1, 20)).status == Status::step_not_convex);
}
