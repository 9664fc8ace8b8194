#include <jko/analysis/flow_inequalities.hpp>

#include <jko/core/check.hpp>

#include "worst.hpp"

#include <cmath>

namespace jko::analysis {
namespace {

/// Why the trace cannot decide a claim that needs kappa > lowest; empty where it can.
std::string obstacle(const FlowTrace& trace, bool positive, bool minimiser) {
  if (trace.status != Status::converged) return "a step of the flow did not converge: " + std::string(describe(trace.status));
  if (trace.steps.empty()) return "the flow has no steps";
  if (!trace.convexity) return "no convexity constant of the energy is known: solver error is not certified";
  const double kappa = trace.convexity->kappa, h = trace.steps.front().h;
  if (!(1 + kappa * h > 0)) return fmt::format("1 + kappa h = {:.3g} is not positive: the step may have several minimisers", 1 + kappa * h);
  if (positive && !(kappa >= 0)) return fmt::format("kappa = {:.4g} is negative", kappa);
  if (minimiser && !std::isfinite(trace.minimum)) return "the minimiser of the energy has no certificate (it needs kappa > 0)";
  return {};
}

std::string kappa_text(const FlowTrace& trace) {
  return fmt::format("; {}, kappa = {:.4g} ({}{})", trace.measure, trace.convexity->kappa, trace.convexity->proven ? "" : "found numerically, not proven: ", trace.convexity->reason);
}

}  // namespace

std::vector<Check> flow_inequalities(const FlowTrace& trace, const std::string& prefix) {
  std::vector<Check> out;
  const auto& p = trace.points;
  const auto& s = trace.steps;
  const std::size_t n = s.size();
  const double kappa = trace.convexity ? trace.convexity->kappa : 0, h = s.empty() ? 1 : s.front().h, q = 1 + kappa * h;
  const double energy2 = 2 * trace.energy_rounding;  // a difference of two energies

  /// One claim: `fill` updates the worst over the steps.
  const auto add = [&](const char* id, const char* claim, const char* source, const char* tolerance, bool positive, bool minimiser, auto&& fill) {
    const std::string full = prefix + "-" + id;
    if (const std::string why = obstacle(trace, positive, minimiser); !why.empty()) {
      out.push_back(inconclusive(full, claim, source, why));
      return;
    }
    Worst worst;
    fill(worst);
    out.push_back(worst.check(full, claim, source, tolerance + kappa_text(trace)));
  };

  // With xi the residual of the computed step, |xi| = eps: J has derivative at least -eps W2 along the geodesic to rho_{k-1} and is (1/h + kappa)-convex, so
  // F(rho_{k-1}) >= J(rho_k) - eps W2 + (1/h + kappa) W2^2/2; without the last term it is a1. J(rho_k) <= min J + gap <= F(rho_{k-1}) + gap does as well.
  add("descent", "F(rho_k) + W2^2(rho_{k-1}, rho_k)/(2h) <= F(rho_{k-1})", "JKO1998, theory.md a1", "residual eps_k W2 or the step's gap, whichever is smaller, + rounding of two energies", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) {
      const double moved = s[k].moved;
      w.add(p[k + 1].energy + moved * moved / (2 * h), p[k].energy, std::fmin(s[k].residual * moved, s[k].gap) + energy2 + moved * trace.distance_rounding / h, k + 1);
    }
  });
  add("descent-sum", "sum_k W2^2(rho_{k-1}, rho_k) <= 2h (F(rho_0) - min F)", "JKO1998, theory.md a1", "2h sum of eps_k W2 or gaps + certificate of min F + rounding", false, true, [&](Worst& w) {
    double sum = 0, error = 0;
    for (const auto& step : s) {
      sum += step.moved * step.moved;
      error += 2 * h * std::fmin(step.residual * step.moved, step.gap) + 2 * step.moved * trace.distance_rounding;
    }
    w.add(sum, 2 * h * (p[0].energy - trace.minimum), error + 2 * h * (trace.minimum_error + energy2), n);
  });
  add("descent-kappa", "F(rho_{k-1}) - F(rho_k) >= (1/h + kappa/2) W2^2(rho_{k-1}, rho_k)", "theory.md a2", "residual eps_k W2 + rounding", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) {
      const double moved = s[k].moved, factor = 1 / h + kappa / 2;
      w.add(factor * moved * moved, p[k].energy - p[k + 1].energy, s[k].residual * moved + energy2 + 2 * std::abs(factor) * moved * trace.distance_rounding, k + 1);
    }
  });
  // grad mu[rho_k] = xi - (Id - T)/h.
  add("slope-after", "|dF|(rho_k) <= W2(rho_{k-1}, rho_k)/h", "AGS2008, theory.md b4", "residual eps_k + rounding", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) w.add(p[k + 1].slope, s[k].moved / h, s[k].residual + trace.slope_rounding + trace.distance_rounding / h, k + 1);
  });
  // Adding the two inequalities of kappa-convexity between rho_{k-1} and rho_k: (1/h + kappa) W2 <= |dF|(rho_{k-1}) + eps.
  add("slope-before", "W2(rho_{k-1}, rho_k)/h <= |dF|(rho_{k-1})/(1 + kappa h)", "AGS2008, theory.md b4", "eps_k/(1 + kappa h) + rounding", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) w.add(s[k].moved / h, p[k].slope / q, (s[k].residual + trace.slope_rounding) / q + trace.distance_rounding / h, k + 1);
  });
  // J(rho_k) >= min J, so the computed left side is too small by at most the gap.
  add("envelope", "F(rho_{k-1}) - min J <= h |dF|^2(rho_{k-1})/(2(1 + kappa h))", "AGS2008, theory.md b4", "gap of the step + rounding", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) {
      const double objective = p[k + 1].energy + s[k].moved * s[k].moved / (2 * h);
      w.add(p[k].energy - objective, h * p[k].slope * p[k].slope / (2 * q), s[k].gap + energy2 + s[k].moved * trace.distance_rounding / h + h * p[k].slope * trace.slope_rounding / q, k + 1);
    }
  });
  add("contraction", "W2(rho_k, pi) <= (1 + kappa h)^{-k} W2(rho_0, pi)", "theory.md b5, d5", "sum of the steps' W2 certificates q^{-(k-j)} + certificate of pi + rounding", true, true, [&](Worst& w) {
    double error = 0, factor = 1;
    for (std::size_t k = 0; k < n; ++k) {
      error = error / q + s[k].w2_bound;
      factor /= q;
      w.add(p[k + 1].to_minimiser, factor * p[0].to_minimiser, error + (1 + factor) * (trace.minimiser_error + trace.distance_rounding), k + 1);
    }
  });
  // Both parts of b4: s_k <= (s_{k-1} + eps_k)/q + eps_k.
  add("slope-decay", "|dF|(rho_k) <= (1 + kappa h)^{-k} |dF|(rho_0)", "theory.md d5", "e_k = (e_{k-1} + eps_k)/q + eps_k + rounding", false, false, [&](Worst& w) {
    double error = 0, factor = 1;
    for (std::size_t k = 0; k < n; ++k) {
      error = (error + s[k].residual) / q + s[k].residual;
      factor /= q;
      w.add(p[k + 1].slope, factor * p[0].slope, error + (1 + factor) * trace.slope_rounding, k + 1);
    }
  });
  // a2 with its residual, W2 >= h (|dF|(rho_k) - eps_k) and |dF|^2 >= 2 kappa (F - min F):
  // F_k - F* <= q^{-2} [F_{k-1} - F* + (2h + kappa h^2) |dF|(rho_k) eps_k + eps_k W2].
  Vector energy_error = Vector::Zero(static_cast<Index>(n) + 1);
  for (std::size_t k = 0; k < n; ++k) {
    energy_error[static_cast<Index>(k) + 1] = (energy_error[static_cast<Index>(k)] + (2 * h + kappa * h * h) * p[k + 1].slope * s[k].residual + s[k].residual * s[k].moved) / (q * q);
  }
  add("energy-decay", "F(rho_k) - min F <= (1 + kappa h)^{-2k} (F(rho_0) - min F)", "theory.md d5",
      "E_k = q^{-2} [E_{k-1} + eps_k ((2h + kappa h^2) |dF| + W2)] + certificate of min F + rounding", true, true, [&](Worst& w) {
        double factor = 1;
        for (std::size_t k = 1; k <= n; ++k) {
          factor /= q * q;
          w.add(p[k].energy - trace.minimum, factor * (p[0].energy - trace.minimum), energy_error[static_cast<Index>(k)] + 2 * (trace.minimum_error + energy2), k);
        }
      });
  // The discrete EVI at nu = pi with residual, q W_k^2 + 2h (F_k - F*) <= W_{k-1}^2 + 2h eps_k D_k, D_k <= W2(rho_{k-1}, pi) + W2(rho_{k-1}, rho_k), multiplied by
  // q^{k-1} and summed; then F_j - F* is bounded below by the last value through descent (plain) or through energy-decay (sharp).
  const auto regularise = [&](auto&& bound, auto&& scale, bool sharp) {
    return [&, bound, scale, sharp](Worst& w) {
      const double start = p[0].to_minimiser + trace.minimiser_error + trace.distance_rounding;
      double first = 0, later = 0;  // sum q^{j-1} eps_j D_j and sum_j q^{j-1} sum_{i>j} eps_i W2_i
      double weights = 0, power = 1;
      for (std::size_t k = 1; k <= n; ++k) {
        later += weights * s[k - 1].residual * s[k - 1].moved;
        first += power * s[k - 1].residual * (p[k - 1].to_minimiser + trace.minimiser_error + s[k - 1].moved);
        weights += power;
        power *= q;
        const double limit = bound(static_cast<double>(k), power, start * start);
        const double error = scale(static_cast<double>(k), power) * (first + (sharp ? 0 : later)) + (sharp ? energy_error[static_cast<Index>(k)] : 0);
        w.add(p[k].energy - trace.minimum, limit, error + trace.minimum_error + energy2, k);
      }
    };
  };
  const char* regularised = "sum of eps_j D_j through the summed EVI + certificates of min F and pi + rounding";
  add("regularisation", "F(rho_k) - min F <= W2^2(rho_0, pi)/(2kh)", "theory.md d6", regularised, true, true,
      regularise([h](double k, double, double w2) { return w2 / (2 * k * h); }, [kappa, h](double k, double power) { return kappa > 0 ? kappa * h / (power - 1) : 1 / k; }, false));
  if (kappa > 0) {
    add("regularisation-kappa", "F(rho_k) - min F <= kappa W2^2(rho_0, pi)/(2((1 + kappa h)^k - 1))", "theory.md d6", regularised, true, true,
        regularise([kappa](double, double power, double w2) { return kappa * w2 / (2 * (power - 1)); }, [kappa, h](double, double power) { return kappa * h / (power - 1); }, false));
    add("regularisation-sharp", "F(rho_k) - min F <= kappa W2^2(rho_0, pi)/(2 q^{k-1}(q^k - 1))", "theory.md d6", regularised, true, true,
        regularise([kappa, q](double, double power, double w2) { return kappa * w2 * q / (2 * power * (power - 1)); },
                   [kappa, h, q](double, double power) { return kappa * h * q / (power * (power - 1)); }, true));
  }
  return out;
}

std::vector<Check> a_priori_error(const FlowTrace& trace, double distance, double distance_error, const std::string& prefix) {
  check_nonnegative("a_priori_error", "distance", distance);
  check_nonnegative("a_priori_error", "distance_error", distance_error);
  const char* claims[2] = {"W2(rho_n, rho_t) <= sqrt(h (F(rho_0) - min J)), t = nh", "W2(rho_n, rho_t) <= h |dF|(rho_0)/sqrt 2, t = nh"};
  const std::string ids[2] = {prefix + "-a-priori-energy", prefix + "-a-priori-slope"};
  std::vector<Check> out;
  if (const std::string why = obstacle(trace, true, false); !why.empty()) {
    for (int i = 0; i < 2; ++i) out.push_back(inconclusive(ids[i], claims[i], "AGS2008, theory.md b3", why));
    return out;
  }
  const double h = trace.steps.front().h, q = 1 + trace.convexity->kappa * h;
  double solver = 0;
  for (const auto& step : trace.steps) solver = solver / q + step.w2_bound;
  const double drop = std::max(0.0, trace.points[0].energy - trace.points[1].energy - std::pow(trace.steps[0].moved, 2) / (2 * h));
  // The drop is computed with the step's own J, which exceeds min J by at most the gap.
  const double bound = std::sqrt(h * drop), shift = std::sqrt(h * (drop + trace.steps[0].gap + 2 * trace.energy_rounding)) - bound;
  const std::string reason = "error of the exact flow + sum of the steps' W2 certificates + rounding" + kappa_text(trace);
  out.push_back(check_at_most(ids[0], claims[0], "AGS2008, theory.md b3", distance, bound, distance_error + solver + shift + trace.distance_rounding, reason));
  out.push_back(check_at_most(ids[1], claims[1], "AGS2008, theory.md b3", distance, h / std::sqrt(2.0) * trace.points[0].slope,
                              distance_error + solver + h * trace.slope_rounding + trace.distance_rounding, reason));
  return out;
}

Check contraction_between(const FlowTrace& a, const FlowTrace& b, const ConstVectorRef& distances, const std::string& prefix) {
  const std::string id = prefix + "-between", claim = "W2(rho_k, nu_k) <= (1 + kappa h)^{-k} W2(rho_0, nu_0)", source = "theory.md b5";
  check_size("contraction_between", "the distances", distances.size(), static_cast<Index>(a.points.size()));
  check_size("contraction_between", "the second flow", static_cast<Index>(b.points.size()), distances.size());
  if (a.dimension != 1) return inconclusive(id, claim, source, "contraction between two JKO flows is a theorem in one dimension only");
  for (const FlowTrace* trace : {&a, &b}) {
    if (const std::string why = obstacle(*trace, false, false); !why.empty()) return inconclusive(id, claim, source, why);
  }
  const double q = 1 + a.convexity->kappa * a.steps.front().h, rounding = a.distance_rounding + b.distance_rounding;
  if (a.steps.front().h != b.steps.front().h) throw DomainError("contraction_between: the flows have different step sizes");
  Worst worst;
  double error = 0, factor = 1;
  for (std::size_t k = 1; k < a.points.size(); ++k) {
    error = error / q + a.steps[k - 1].w2_bound + b.steps[k - 1].w2_bound;
    factor /= q;
    worst.add(distances[static_cast<Index>(k)], factor * distances[0], error + (1 + factor) * rounding, k);
  }
  return worst.check(id, claim, source, "both flows' W2 certificates q^{-(k-j)} + rounding" + kappa_text(a));
}

}  // namespace jko::analysis
