#pragma once
/// What the studies of flow inequalities share.
#include <jko/analysis/flow_trace.hpp>
#include <jko/validation/study.hpp>

namespace jko::validation {

/// Adds the checks that the case's assumptions allow; the others become one note, with the reason.
void add_claimed(StudyResult& result, const std::vector<analysis::Check>& checks);
/// Case, measure, kappa, h, steps, largest residual, largest W2 certificate, certificate of the minimiser.
void add_trace_row(Table& table, const std::string& what, const analysis::FlowTrace& trace);
/// Decay of distance, slope and energy: measured points and the theorem's lines, each relative to its start.
[[nodiscard]] Figure decay_figure(const std::string& id, const std::string& caption, const analysis::FlowTrace& trace);

}  // namespace jko::validation
