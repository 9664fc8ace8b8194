#pragma once
/// The entropic (Schroedinger) JKO step of Gaussians in closed form: the bias that entropic solvers carry, and what is left of it after debiasing.
namespace jko::problems {

/// One coordinate of Psi = kappa x^2/2 with entropy/beta (coordinates decouple where kappa and the variances are diagonal together). The step minimises
///
///   F(rho) + OT_eps(rho, mu)/h - theta eps H(rho)/h,   OT_eps = min int |x-y|^2/2 dpi + eps int pi log pi,   H = int rho log rho.
///
/// OT_eps refers to Lebesgue measure; relative to mu x rho it would lack eps H. With s the covariance of the optimal plan, s^2 + eps s = a v for
/// variances a (start) and v, the optimality condition is (derived)
///
///   (1 + h kappa) v = h/beta + (1/2 - theta) eps + sqrt(a v + eps^2/4).
///
/// theta = 0 adds about (eps/2h) H to the energy, so that with eps = alpha h the flow has the extra diffusion alpha/2 [Baradat2025]; theta = 1/2 leaves O(eps^2).
struct EntropicGaussian {
  double kappa = 0;    ///< 1 + h kappa > 0
  double beta = 1;     ///< > 0
  double epsilon = 0;  ///< >= 0; 0 is the exact JKO step
  double theta = 0;    ///< share of eps H that is subtracted, in [0, 1/2]

  void validate() const;
  [[nodiscard]] double variance(double from, double h) const;  ///< v after one step from variance a > 0
  [[nodiscard]] double mean(double from, double h) const;      ///< from/(1 + h kappa): entropy does not bias means
  /// Variance at which the step stands still; kappa > 0.
  [[nodiscard]] double stationary(double h) const;
};

}  // namespace jko::problems
