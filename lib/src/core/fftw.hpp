#pragma once
/// FFTW plans as values. Planning is not thread-safe, so all of it happens under one lock; ESTIMATE plans, so that bits repeat between runs.
#include <memory>

namespace jko {

class FftwPlan {
 public:
  FftwPlan() = default;
  /// Real numbers, last size fastest, to (product of sizes but the last) x (last/2 + 1) complex numbers, interleaved. The arrays serve for planning
  /// only and may be overwritten; both must be aligned as Eigen's are.
  static FftwPlan real_to_complex(int rank, const int* sizes, double* real, double* complex);
  static FftwPlan complex_to_real(int rank, const int* sizes, double* complex, double* real);  ///< destroys its input
  /// Other arrays of the same sizes and alignment; may be called from several threads.
  void execute(double* in, double* out) const;

 private:
  std::shared_ptr<void> plan_;
  int kind_ = 0;
};

}  // namespace jko
