#pragma once
/// FFTW's planner is the one part of it that threads must not share: every plan of the library is made and destroyed under this lock, with
/// FFTW_ESTIMATE, so that the plan and the bits do not depend on timings.
#include <fftw3.h>

#include <memory>
#include <mutex>

namespace jko {

inline std::mutex& fftw_planner() {
  static std::mutex mutex;
  return mutex;
}

struct FftwPlanDeleter {
  void operator()(fftw_plan plan) const {
    const std::lock_guard lock(fftw_planner());
    fftw_destroy_plan(plan);
  }
};
using FftwPlan = std::unique_ptr<std::remove_pointer_t<fftw_plan>, FftwPlanDeleter>;

}  // namespace jko
