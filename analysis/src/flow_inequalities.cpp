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
  const double energy2 = 2 * trace.energy_error;  // a difference of two energies

  /// One claim: `fill` updates the worst over the steps.
  enum class Needs { steps, residual };
  const auto add = [&](const char* id, const char* claim, const char* source, const char* tolerance, bool positive, bool minimiser, auto&& fill, Needs needs = Needs::steps) {
    const std::string full = prefix + "-" + id;
    std::string why = obstacle(trace, positive, minimiser);
    if (why.empty() && needs == Needs::residual && std::isnan(s.front().residual)) why = "the residual of the optimality condition is not known, and a gap does not bound slopes";
    if (!why.empty()) {
      out.push_back(inconclusive(full, claim, source, why));
      return;
    }
    Worst worst;
    fill(worst);
    out.push_back(worst.check(full, claim, source, tolerance + kappa_text(trace)));
  };
  const auto square_error = [&](double distance) { return (2 * distance + trace.distance_error) * trace.distance_error; };  // of distance^2

  // With xi the residual of the computed step, |xi| = eps: J has derivative at least -eps W2 along the geodesic to rho_{k-1} and is (1/h + kappa)-convex, so
  // F(rho_{k-1}) >= J(rho_k) - eps W2 + (1/h + kappa) W2^2/2; without the last term it is a1. J(rho_k) <= min J + gap <= F(rho_{k-1}) + gap does as well.
  // With the certificate w >= W2(rho_k, exact step): F(rho_{k-1}) >= min J + (1/h + kappa)(W2 - w)^2/2. Each tolerance is the smaller of the two where both are known.
  const auto descended = [&](const FlowTrace::Step& step) { return std::fmin(step.residual * step.moved, step.gap); };
  const char* descent = "W2^2(rho_{k-1}, rho_k)/(2h) <= F(rho_{k-1}) - F(rho_k)";
  const auto fill_descent = [&](bool certified) {
    return [&, certified](Worst& w) {
      for (std::size_t k = 0; k < n; ++k) {
        w.add(s[k].moved * s[k].moved / (2 * h), p[k].energy - p[k + 1].energy, (certified ? descended(s[k]) : 0) + energy2 + square_error(s[k].moved) / (2 * h), k + 1);
      }
    };
  };
  if (trace.status == Status::converged && n > 0 && !(trace.convexity && q > 0)) {
    // a1 needs no convexity where no solver's error has to be bounded: the computed step may simply satisfy it.
    Worst worst;
    fill_descent(false)(worst);
    Check check = worst.check(prefix + "-descent", descent, "JKO1998, theory.md a1", "the errors of two energies and a distance; no convexity constant bounds the solver's error, and none is allowed for; " + trace.measure);
    if (check.verdict == Verdict::fail) check = inconclusive(check.id, check.claim, check.source, "it is violated, but no convexity constant of the energy is known: the solver may not have found the minimiser");
    out.push_back(std::move(check));
  } else {
    add("descent", descent, "JKO1998, theory.md a1", "residual eps_k W2 or the step's gap, whichever is smaller, + errors of two energies", false, false, fill_descent(true));
  }
  add("descent-sum", "sum_k W2^2(rho_{k-1}, rho_k) <= 2h (F(rho_0) - min F)", "JKO1998, theory.md a1", "2h sum of eps_k W2 or gaps + certificate of min F + errors of energies and distances", false, true, [&](Worst& w) {
    double sum = 0, error = 0;
    for (const auto& step : s) {
      sum += step.moved * step.moved;
      error += 2 * h * descended(step) + square_error(step.moved);
    }
    w.add(sum, 2 * h * (p[0].energy - trace.minimum), error + 2 * h * (trace.minimum_error + energy2), n);
  });
  add("descent-kappa", "(1/h + kappa/2) W2^2(rho_{k-1}, rho_k) <= F(rho_{k-1}) - F(rho_k)", "theory.md a2", "residual eps_k W2, or gap and certificate, + errors of two energies and a distance", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) {
      const double moved = s[k].moved, factor = 1 / h + kappa / 2, solver = std::fmin(s[k].residual * moved, s[k].gap + q / h * moved * s[k].w2_bound);
      w.add(factor * moved * moved, p[k].energy - p[k + 1].energy, solver + energy2 + std::abs(factor) * square_error(moved), k + 1);
    }
  });
  // grad mu[rho_k] = xi - (Id - T)/h.
  add("slope-after", "|dF|(rho_k) <= W2(rho_{k-1}, rho_k)/h", "AGS2008, theory.md b4", "residual eps_k + errors of a slope and a distance", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) w.add(p[k + 1].slope, s[k].moved / h, s[k].residual + trace.slope_error + trace.distance_error / h, k + 1);
  }, Needs::residual);
  // Adding the two inequalities of kappa-convexity between rho_{k-1} and rho_k: (1/h + kappa) W2 <= |dF|(rho_{k-1}) + eps. The exact step is at most w nearer.
  add("slope-before", "W2(rho_{k-1}, rho_k)/h <= |dF|(rho_{k-1})/(1 + kappa h)", "AGS2008, theory.md b4", "eps_k/(1 + kappa h) or the W2 certificate over h, + errors of a slope and a distance", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) w.add(s[k].moved / h, p[k].slope / q, std::fmin(s[k].residual / q, s[k].w2_bound / h) + trace.slope_error / q + trace.distance_error / h, k + 1);
  });
  // J(rho_k) >= min J, so the computed left side is too small by at most the gap.
  add("envelope", "F(rho_{k-1}) - min J <= h |dF|^2(rho_{k-1})/(2(1 + kappa h))", "AGS2008, theory.md b4", "gap of the step + errors of energies, a distance and a slope", false, false, [&](Worst& w) {
    for (std::size_t k = 0; k < n; ++k) {
      const double objective = p[k + 1].energy + s[k].moved * s[k].moved / (2 * h), slope = p[k].slope;
      w.add(p[k].energy - objective, h * slope * slope / (2 * q), s[k].gap + energy2 + square_error(s[k].moved) / (2 * h) + h * (2 * slope + trace.slope_error) * trace.slope_error / (2 * q), k + 1);
    }
  });
  add("contraction", "W2(rho_k, pi) <= (1 + kappa h)^{-k} W2(rho_0, pi)", "theory.md b5, d5", "sum of the steps' W2 certificates q^{-(k-j)} + certificate of pi + errors of distances", true, true, [&](Worst& w) {
    double error = 0, factor = 1;
    for (std::size_t k = 0; k < n; ++k) {
      error = error / q + s[k].w2_bound;
      factor /= q;
      w.add(p[k + 1].to_minimiser, factor * p[0].to_minimiser, error + (1 + factor) * (trace.minimiser_error + trace.distance_error), k + 1);
    }
  });
  // Both parts of b4: s_k <= (s_{k-1} + eps_k)/q + eps_k.
  add("slope-decay", "|dF|(rho_k) <= (1 + kappa h)^{-k} |dF|(rho_0)", "theory.md d5", "e_k = (e_{k-1} + eps_k)/q + eps_k + errors of two slopes", false, false, [&](Worst& w) {
    double error = 0, factor = 1;
    for (std::size_t k = 0; k < n; ++k) {
      error = (error + s[k].residual) / q + s[k].residual;
      factor /= q;
      w.add(p[k + 1].slope, factor * p[0].slope, error + (1 + factor) * trace.slope_error, k + 1);
    }
  }, Needs::residual);
  // a2 with its residual, W2 >= h (|dF|(rho_k) - eps_k) and |dF|^2 >= 2 kappa (F - min F):
  // F_k - F* <= q^{-2} [F_{k-1} - F* + (2h + kappa h^2) |dF|(rho_k) eps_k + eps_k W2]. Or, the exact step decays, and F(rho_k) exceeds its energy by at most
  // gap + (W2(exact)^2 - W2^2)/(2h) <= gap + (2 W2 w + w^2)/(2h).
  Vector energy_error = Vector::Zero(static_cast<Index>(n) + 1);
  for (std::size_t k = 0; k < n; ++k) {
    const double before = energy_error[static_cast<Index>(k)], w = s[k].w2_bound;
    energy_error[static_cast<Index>(k) + 1] = std::fmin((before + (2 * h + kappa * h * h) * p[k + 1].slope * s[k].residual + s[k].residual * s[k].moved) / (q * q),
                                                        before / (q * q) + s[k].gap + (2 * s[k].moved + w) * w / (2 * h));
  }
  add("energy-decay", "F(rho_k) - min F <= (1 + kappa h)^{-2k} (F(rho_0) - min F)", "theory.md d5",
      "E_k = q^{-2} [E_{k-1} + eps_k ((2h + kappa h^2) |dF| + W2)], or by gap and certificate, + certificate of min F + errors of energies", true, true, [&](Worst& w) {
        double factor = 1;
        for (std::size_t k = 1; k <= n; ++k) {
          factor /= q * q;
          w.add(p[k].energy - trace.minimum, factor * (p[0].energy - trace.minimum), energy_error[static_cast<Index>(k)] + 2 * (trace.minimum_error + energy2), k);
        }
      });
  // The discrete EVI at nu = pi, q W_k^2 + 2h (F_k - F*) <= W_{k-1}^2 + 2h S_k with S_k what the solver adds: eps_k D_k, D_k <= W2(rho_{k-1}, pi) + W2(rho_{k-1}, rho_k), or
  // gap_k + (1/h + kappa) w_k W_k. Multiplied by q^{k-1} and summed; then F_j - F* is bounded below by the last value through descent (plain) or through energy-decay (sharp).
  const auto regularise = [&](auto&& bound, auto&& scale, bool sharp) {
    return [&, bound, scale, sharp](Worst& w) {
      const double known = trace.minimiser_error + trace.distance_error, start = p[0].to_minimiser;
      double first = 0, later = 0;  // sum q^{j-1} S_j and sum_j q^{j-1} sum_{i>j} of what descent i lost
      double weights = 0, power = 1;
      for (std::size_t k = 1; k <= n; ++k) {
        const auto& step = s[k - 1];
        later += weights * descended(step);
        first += power * std::fmin(step.residual * (p[k - 1].to_minimiser + known + step.moved), step.gap + q / h * step.w2_bound * (p[k].to_minimiser + known));
        weights += power;
        power *= q;
        const double limit = bound(static_cast<double>(k), power, start * start), raised = bound(static_cast<double>(k), power, (start + known) * (start + known));
        const double error = raised - limit + scale(static_cast<double>(k), power) * (first + (sharp ? 0 : later)) + (sharp ? energy_error[static_cast<Index>(k)] : 0);
        w.add(p[k].energy - trace.minimum, limit, error + trace.minimum_error + energy2, k);
      }
    };
  };
  const char* regularised = "the steps' errors through the summed EVI + certificates of min F and pi + errors of energies";
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
  const double bound = std::sqrt(h * drop), shift = std::sqrt(h * (drop + trace.steps[0].gap + 2 * trace.energy_error)) - bound;
  const std::string reason = "error of the exact flow + sum of the steps' W2 certificates + rounding" + kappa_text(trace);
  out.push_back(check_at_most(ids[0], claims[0], "AGS2008, theory.md b3", distance, bound, distance_error + solver + shift + trace.distance_error, reason));
  out.push_back(check_at_most(ids[1], claims[1], "AGS2008, theory.md b3", distance, h / std::sqrt(2.0) * trace.points[0].slope,
                              distance_error + solver + h * trace.slope_error + trace.distance_error, reason));
  return out;
}

Check lipschitz_estimate(const FlowTrace& trace, const std::string& prefix) {
  const std::string id = prefix + "-lipschitz", claim = "(1 + kappa h) sup|grad dF/drho[rho_k]| <= sup|grad dF/drho[rho_{k-1}]|", source = "FerrariSantambrogio2021, theory.md b9";
  if (const std::string why = obstacle(trace, false, false); !why.empty()) return inconclusive(id, claim, source, why);
  for (const auto& point : trace.points) {
    if (!std::isfinite(point.lipschitz)) return inconclusive(id, claim, source, trace.lipschitz_unknown);
  }
  const double q = 1 + trace.convexity->kappa * trace.steps.front().h;
  Worst worst;
  // u = grad mu[rho_k] - xi is (T - Id)/h with T the map to rho_{k-1}. Where |u| is largest the maximum principle gives |grad mu[rho_{k-1}]| >= (1 + kappa h)|u| - r, r = sup|xi|.
  for (std::size_t k = 1; k < trace.points.size(); ++k) {
    worst.add(q * trace.points[k].lipschitz, trace.points[k - 1].lipschitz, (1 + q) * (trace.steps[k - 1].residual_sup + trace.lipschitz_error), k);
  }
  return worst.check(id, claim, source, "(2 + kappa h)(sup of the residual + error of a Lipschitz constant)" + kappa_text(trace));
}

Check contraction_between(const FlowTrace& a, const FlowTrace& b, const ConstVectorRef& distances, const std::string& prefix) {
  const std::string id = prefix + "-between", claim = "W2(rho_k, nu_k) <= (1 + kappa h)^{-k} W2(rho_0, nu_0)", source = "theory.md b5";
  check_size("contraction_between", "the distances", distances.size(), static_cast<Index>(a.points.size()));
  check_size("contraction_between", "the second flow", static_cast<Index>(b.points.size()), distances.size());
  if (a.dimension != 1) return inconclusive(id, claim, source, "contraction between two JKO flows is a theorem in one dimension only");
  for (const FlowTrace* trace : {&a, &b}) {
    if (const std::string why = obstacle(*trace, false, false); !why.empty()) return inconclusive(id, claim, source, why);
  }
  const double q = 1 + a.convexity->kappa * a.steps.front().h, rounding = a.distance_error + b.distance_error;
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
