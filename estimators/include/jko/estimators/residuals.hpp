#pragma once
/// Residual diagnostics: do the transitions of the data follow the fitted law?
#include <jko/estimators/hypothesis.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>

#include <functional>

namespace jko::estimators {

/// Probability integral transforms u_i = P(X_{i+1} <= x_{i+1} | x_i): independent and uniform under the true transition law ([Rosenblatt1952]).
/// From the transitions' log-density as a function of the next value; the integral by the trapezoidal rule in t, y = c + s sinh t, to 1e-10, c and s
/// from `centre` and `scale` (any rough guess of where the density lies and how wide it is; the tails are searched from there). NaN where the density
/// does not integrate to one within 1e-3: the transform of a pseudo-density that is none has no meaning.
[[nodiscard]] double transform_by_density(const std::function<double(double)>& log_density, double next, double centre, double scale);

/// The transforms of every transition of a one-dimensional panel. Gaussian schemes: mean and variance are read off the log-density at three points, where it is a
/// parabola, to about 1e-8. The others (Elerian, Hermite, Fokker-Planck, exact laws but the Gaussian one): Simpson's rule on both sides of the observation over
/// ten local standard deviations, 64 intervals each, a few 1e-5. NaN where the scheme's variance is inadmissible or its mass is not one to 1e-2.
[[nodiscard]] Vector transforms(const Panel& panel, const Model& model, Transition transition);
[[nodiscard]] Vector transforms(const Panel& panel, const Diffusion& diffusion, Transition transition);

struct ResidualDiagnostics {
  Vector transforms;          ///< u_i in (0, 1), in the order of the transitions
  TestResult kolmogorov;      ///< sup |F_n - u|, p by Kolmogorov's law with Stephens' correction; degrees of freedom 0
  TestResult ljung_box;       ///< of the normal scores Phi^{-1}(u): n (n+2) sum r_k^2/(n-k)
  TestResult ljung_box_squares;  ///< of their squares: volatility that the model lacks
  double mean = 0, variance = 0; ///< of the normal scores, 0 and 1 under the law
};

/// Tests of given transforms; `lags` >= 1. The parameters were estimated on the same data, so the p-values are approximate: Kolmogorov's is too large.
[[nodiscard]] ResidualDiagnostics diagnose(const ConstVectorRef& transforms, int lags = 10);

}  // namespace jko::estimators
