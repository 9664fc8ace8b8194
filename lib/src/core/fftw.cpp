#include "fftw.hpp"

#include <jko/core/error.hpp>

#include <fftw3.h>

#include <mutex>

namespace jko {
namespace {

std::mutex& planner() {
  static std::mutex lock;
  return lock;
}

std::shared_ptr<void> owned(fftw_plan plan) {
  if (!plan) throw Error("fftw: no plan for these sizes");
  return {plan, [](void* p) {
            const std::lock_guard guard(planner());
            fftw_destroy_plan(static_cast<fftw_plan>(p));
          }};
}

}  // namespace

FftwPlan FftwPlan::real_to_complex(int rank, const int* sizes, double* real, double* complex) {
  FftwPlan out;
  fftw_plan plan = nullptr;
  {
    const std::lock_guard guard(planner());
    plan = fftw_plan_dft_r2c(rank, sizes, real, reinterpret_cast<fftw_complex*>(complex), FFTW_ESTIMATE);
  }
  out.plan_ = owned(plan);
  return out;
}

FftwPlan FftwPlan::complex_to_real(int rank, const int* sizes, double* complex, double* real) {
  FftwPlan out;
  fftw_plan plan = nullptr;
  {
    const std::lock_guard guard(planner());
    plan = fftw_plan_dft_c2r(rank, sizes, reinterpret_cast<fftw_complex*>(complex), real, FFTW_ESTIMATE);
  }
  out.plan_ = owned(plan);
  out.kind_ = 1;
  return out;
}

void FftwPlan::execute(double* in, double* out) const {
  const auto plan = static_cast<fftw_plan>(plan_.get());
  if (kind_ == 0) fftw_execute_dft_r2c(plan, in, reinterpret_cast<fftw_complex*>(out));
  else fftw_execute_dft_c2r(plan, reinterpret_cast<fftw_complex*>(in), out);
}

}  // namespace jko
