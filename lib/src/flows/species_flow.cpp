#include <jko/flows/species_flow.hpp>

#include <jko/core/check.hpp>

#include <chrono>
#include <utility>

namespace jko {

void SpeciesFlowOptions::validate() const {
  check_positive("species_flow", "h", h);
  check_at_least("species_flow", "steps", steps, 1);
  check_at_least("species_flow", "keep_every", keep_every, 1);
}

SpeciesFlowResult species_flow(SpeciesStep step, std::vector<GridDensity> start, const SpeciesFlowOptions& options, Observer* observer) {
  options.validate();
  SpeciesFlowResult out;
  out.status = Status::converged;
  out.states.push_back({0, 0, std::move(start)});
  SpeciesState current = out.states.front();
  for (int k = 1; k <= options.steps; ++k) {
    if (observer) {
      observer->progress("step", k - 1, options.steps);
      if (observer->stop_requested()) {
        out.status = Status::cancelled;
        break;
      }
    }
    const auto begin = std::chrono::steady_clock::now();
    auto result = step.advance(current.measure, options.h);
    SpeciesRecord record{k, options.h * k, result, step.report(), {}, {}, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()};
    for (const GridDensity& density : result.measure) {
      record.mean.push_back(density.mean());
      record.covariance.push_back(density.covariance());
    }
    out.records.push_back(std::move(record));
    if (!is_success(result.status)) {
      out.status = result.status;
      break;
    }
    current = {k, options.h * k, std::move(result.measure)};
    if (k % options.keep_every == 0 && k < options.steps) out.states.push_back(current);
  }
  if (current.k > out.states.back().k) out.states.push_back(std::move(current));
  return out;
}

}  // namespace jko
