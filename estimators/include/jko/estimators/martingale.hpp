#pragma once
/// Martingale estimating functions: consistent at any dt, without a transition density.
#include <jko/estimators/data.hpp>
#include <jko/estimators/fit.hpp>
#include <jko/models/diffusion.hpp>

namespace jko::estimators {

enum class MartingaleKind {
  linear,      ///< parameters of the drift from X' - F alone, the others from the quadratic equation
  quadratic,   ///< X' - F and (X' - F)^2 - phi, weighted as for Gaussian transitions ([BibbySorensen1995])
  optimal,     ///< polynomials in X' up to `degree`, optimally weighted ([GodambeHeyde1987])
  eigenfunctions,  ///< the first `degree` eigenfunctions of the generator, optimally weighted ([KesslerSorensen1999]); ergodic diffusions
};

struct MartingaleOptions {
  MartingaleKind kind = MartingaleKind::quadratic;
  int degree = 2;          ///< of the optimal ones, 1 to 4
  FitOptions fit{};
};

/// G(theta) = sum_i a(x_i; theta) h_i, h = ((X' - x)^k - m_k(x))_k with the conditional moments m_k (conditional_moments.hpp: closed for Pearson diffusions, numerical for all others), so that E[G] = 0 at the truth whatever dt and whatever the
/// law beyond its moments. With F = x + m_1 and phi = m_2 - m_1^2:
///   linear     a = dF/phi for the parameters of the drift, d phi/(2 phi^2) on (X' - F)^2 - phi for the others;
///   quadratic  a h = dF (X' - F)/phi + d phi ((X' - F)^2 - phi)/(2 phi^2): the Gaussian quasi-score;
///   optimal    a = (dm)' V^{-1}, V_kl = m_{k+l} - m_k m_l: the least covariance among all weights of these h, and of all eigenfunction-based ones of the same degree ([KesslerSorensen1999]),
///              because the eigenfunctions of a Pearson diffusion up to that degree span the same polynomials. Degree 1 identifies only what enters F.
///   eigenfunctions  h_k = phi_k(X') - e^{-lambda_k dt} phi_k(x), L phi_k = -lambda_k phi_k, a = (dP phi)' V^{-1} alike, P the semigroup. The same span, and so the same estimate, as powers up to
///              that degree for Pearson diffusions; for others another one, not always a better one (docs/methods/martingale.md). Numerical for every family: eigenvectors of the finite-volume generator on 160 and 320 cells as far as the stationary law reaches, extrapolated.
/// For Gaussian transitions (Vasicek, OU) quadratic and optimal are maximum likelihood; elsewhere its efficiency grows with the degree.
struct MartingaleValue {
  Vector value;           ///< G
  Matrix sensitivity;     ///< -E[dG/dtheta | x_i] summed: sum a dm
  Matrix variance;        ///< sum a V a': the conditional covariance of G under the model
  Matrix terms;           ///< P x n
};
[[nodiscard]] MartingaleValue martingale_function(const Panel& panel, const Diffusion& diffusion, const MartingaleOptions& options = {});

/// Solves G = 0 by scoring from the Euler estimate. covariance = S^{-1} V S^{-T} (Godambe, the model's own V), sandwich with sum g_i g_i' in V's place: sqrt(n)-consistent and normal as n -> infinity at fixed dt for ergodic
/// diffusions. No likelihood.
[[nodiscard]] Fit fit_martingale(const Panel& panel, const Diffusion& start, const MartingaleOptions& options = {});

}  // namespace jko::estimators
