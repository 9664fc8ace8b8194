#include "claims.hpp"

#include "config.hpp"

#include <jko/core/error.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace jko::cli {
namespace {

/// Every second node: the same law on half the cells.
QuantileFunction coarser(const QuantileFunction& q) {
  const Index cells = q.cells() / 2;
  Vector masses(cells), nodes(cells + 1);
  for (Index i = 0; i < cells; ++i) masses[i] = q.masses()[2 * i] + q.masses()[2 * i + 1], nodes[i] = q.nodes()[2 * i];
  nodes[cells] = q.nodes()[2 * cells];
  return {std::make_shared<const Vector>(masses / masses.sum()), nodes};
}

double expectation(const QuantileFunction& law, const Potential& phi) {
  double sum = 0;
  for (const double t : {0.5 - 0.5 / std::sqrt(3.0), 0.5 + 0.5 / std::sqrt(3.0)}) {  // two-point Gauss in each cell
    const Matrix points = ((1 - t) * law.nodes().head(law.cells()) + t * law.nodes().tail(law.cells())).transpose();
    sum += 0.5 * law.masses().dot(phi.evaluate({0, 0}, points, Vector()).row(0));
  }
  return sum;
}

validation::StudyResult run_claims(const Config& config, const validation::StudyOptions& options) {
  validation::StudyResult result;
  const auto& start = std::get<QuantileFunction>(config.start);
  const int order = config.flow.scheme == Scheme::jko ? 1 : 2;
  result.description = fmt::format("The user's claims on E phi(X) at t = {:g} under the flow of the file below ({} from h = {:g}, {} cells). The measured side is extrapolated from h, h/2 and h/4; its error is the last change of the extrapolation and the change on halving the cells. "
                                   "A claim is inconclusive where that error exceeds its tolerance.", config.flow.h * config.flow.steps, name(config.flow.scheme), config.flow.h, start.cells());
  Status status = Status::converged;
  const auto law_at = [&](const QuantileFunction& from, int refine) {
    FlowOptions flow = config.flow;
    flow.h /= refine, flow.steps *= refine, flow.keep_every = flow.steps;
    const auto r = Flow<QuantileStep>(QuantileStep(config.energy), from, flow).run(options.observer);
    if (is_success(status)) status = r.status;
    return r.final_state().measure;
  };
  const std::array laws{law_at(start, 1), law_at(start, 2), law_at(start, 4)};
  const QuantileFunction half = law_at(start.cells() % 2 == 0 ? coarser(start) : start, 1);
  validation::Table table{"claims", "Measured sides.", {"claim", "phi", "h", "h/2", "h/4", "extrapolated", "error", "claimed"}, {}};
  for (const Claim& claim : config.claims) {
    if (!is_success(status) || start.cells() % 2 != 0) {
      result.checks.push_back(analysis::inconclusive(claim.id, claim.text, claim.source, is_success(status) ? "an even number of cells is needed, to halve them" : fmt::format("a step did not converge: {}", describe(status))));
      continue;
    }
    const auto phi = formula(claim.functional);
    const double a = expectation(laws[0], *phi), b = expectation(laws[1], *phi), c = expectation(laws[2], *phi), factor = order == 1 ? 2 : 4;
    const double once = (factor * b - a) / (factor - 1), again = (factor * c - b) / (factor - 1), error = std::abs(again - once) + std::abs(a - expectation(half, *phi));
    table.rows.push_back({claim.id, claim.functional, fmt::format("{:.8g}", a), fmt::format("{:.8g}", b), fmt::format("{:.8g}", c), fmt::format("{:.8g}", again), fmt::format("{:.1e}", error), fmt::format("{}{:.8g}", claim.at_most ? "at most " : "", claim.value)});
    if (!(error <= claim.tolerance)) {
      result.checks.push_back(analysis::inconclusive(claim.id, claim.text, claim.source, fmt::format("the measurement's own error, {:.2g}, exceeds the claim's tolerance, {:.2g}: take a smaller h or more cells", error, claim.tolerance)));
      continue;
    }
    const std::string why = fmt::format("{}; and the measurement's error {:.2g}", claim.reason, error);
    result.checks.push_back(claim.at_most ? analysis::check_at_most(claim.id, claim.text, claim.source, again, claim.value, claim.tolerance + error, why)
                                          : analysis::check_equal(claim.id, claim.text, claim.source, again, claim.value, claim.tolerance + error, why));
  }
  result.tables.push_back(std::move(table));
  return result;
}

}  // namespace

validation::Study claims_study(const std::filesystem::path& file) {
  const Config config = read_config(file);
  if (config.claims.empty()) throw ParseError(file.string(), 1, 0, "there is no [[claim]]");
  if (!std::holds_alternative<QuantileFunction>(config.start) || config.start.index() != 1 || std::get<QuantileFunction>(config.start).cells() < 4) throw ParseError(file.string(), 1, 0, "claims need a [flow] with step = \"quantile\" and an [initial] law");
  return {.name = file.stem().string(), .title = fmt::format("Own claims: {}", file.filename().string()), .run = [config](const validation::StudyOptions& o) { return run_claims(config, o); }};
}

}  // namespace jko::cli
