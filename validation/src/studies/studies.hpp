#pragma once
/// One function a study; study.cpp lists them.
#include <jko/validation/study.hpp>

namespace jko::validation {

[[nodiscard]] StudyResult speed(const StudyOptions& options);
[[nodiscard]] StudyResult treasury(const StudyOptions& options);
[[nodiscard]] StudyResult rates(const StudyOptions& options);
[[nodiscard]] StudyResult order_in_h(const StudyOptions& options);
[[nodiscard]] StudyResult corrector(const StudyOptions& options);
[[nodiscard]] StudyResult inequalities(const StudyOptions& options);
[[nodiscard]] StudyResult grid_flows(const StudyOptions& options);
[[nodiscard]] StudyResult functional_inequalities(const StudyOptions& options);
[[nodiscard]] StudyResult inexact_jko(const StudyOptions& options);
[[nodiscard]] StudyResult offline(const StudyOptions& options);
[[nodiscard]] StudyResult ice_core(const StudyOptions& options);
[[nodiscard]] StudyResult estimators(const StudyOptions& options);
[[nodiscard]] StudyResult online(const StudyOptions& options);
[[nodiscard]] StudyResult offline_limits(const StudyOptions& options);
[[nodiscard]] StudyResult online_limits(const StudyOptions& options);
[[nodiscard]] StudyResult plane_limits(const StudyOptions& options);
[[nodiscard]] StudyResult regimes(const StudyOptions& options);
[[nodiscard]] StudyResult stationary_limits(const StudyOptions& options);
[[nodiscard]] StudyResult offline_design(const StudyOptions& options);
[[nodiscard]] StudyResult online_design(const StudyOptions& options);

}  // namespace jko::validation
