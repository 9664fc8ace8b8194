#include <jko/core/status.hpp>

#include <jko/core/error.hpp>

#include <fmt/format.h>

#include <array>

namespace jko {
namespace {

struct Entry {
  Status status;
  std::string_view name;
  std::string_view sentence;
};

constexpr std::array entries{
    Entry{Status::not_run, "not_run", "nothing was computed yet"},
    Entry{Status::converged, "converged", "converged to the requested tolerance"},
    Entry{Status::stalled, "stalled", "rounding error stopped progress above the tolerance: loosen the tolerance or rescale the problem"},
    Entry{Status::iteration_limit, "iteration_limit", "the iteration limit was reached: raise it or start from a better guess"},
    Entry{Status::step_not_convex, "step_not_convex", "the step is too large for the potential's concavity (1 + h kappa <= 0): reduce h below 1/|kappa|"},
    Entry{Status::no_minimiser, "no_minimiser", "the objective has no minimiser: make the potential confining or reduce h"},
    Entry{Status::not_finite, "not_finite", "the energy is infinite or NaN where the measure has mass: check the potential on the support"},
    Entry{Status::order_lost, "order_lost", "the scheme's extrapolation is no measure: reduce h or use the JKO scheme"},
    Entry{Status::parameter_at_bound, "parameter_at_bound", "the optimum lies on a bound: its standard error is not valid; widen the bound or fix the parameter"},
    Entry{Status::singular_information, "singular_information", "the information matrix is singular: fix a parameter or use more data"},
    Entry{Status::cancelled, "cancelled", "stopped on request: resume from the checkpoint"},
};

const Entry& entry(Status status) {
  for (const Entry& e : entries) {
    if (e.status == status) return e;
  }
  return entries[0];
}

}  // namespace

std::string_view name(Status status) { return entry(status).name; }
std::string_view describe(Status status) { return entry(status).sentence; }

Status status_from_name(std::string_view text) {
  for (const Entry& e : entries) {
    if (e.name == text) return e.status;
  }
  throw DomainError(fmt::format("status: unknown name '{}'", text));
}

void require(Status status, std::string_view where) {
  if (!is_success(status)) throw NotConverged(fmt::format("{}: {}", where, describe(status)));
}

}  // namespace jko
