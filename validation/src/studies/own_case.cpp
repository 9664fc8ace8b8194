#include "own_case.hpp"

#include "ou_case.hpp"

#include <jko/analysis/stationary_limit.hpp>
#include <jko/core/error.hpp>
#include <jko/models/convexity.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/fokker_planck.hpp>

#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace jko::validation {
namespace {

double number(const std::string& key, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) throw ParseError("--set " + key, 0, 0, fmt::format("'{}' is not a number", text));
  return value;
}

/// "a=1,b=2" in the order of the potential's parameters, all of them.
Vector parameters_from(const std::string& text, const Potential& potential) {
  Vector out = Vector::Constant(potential.parameter_count(), std::nan(""));
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size()), equals = text.find('=', at);
    if (equals == std::string::npos || equals > end) throw ParseError("--set parameters", 0, static_cast<long>(at) + 1, "expected name=value,name=value");
    const std::string name = text.substr(at, equals - at);
    const auto found = std::find_if(potential.parameters().begin(), potential.parameters().end(), [&](const Parameter& p) { return p.name == name; });
    if (found == potential.parameters().end()) throw ParseError("--set parameters", 0, static_cast<long>(at) + 1, fmt::format("the potential {} has no parameter '{}'", potential.describe(), name));
    out[found - potential.parameters().begin()] = number("parameters", std::string_view(text).substr(equals + 1, end - equals - 1));
    at = end + 1;
  }
  for (Index i = 0; i < out.size(); ++i) {
    if (std::isnan(out[i])) throw ParseError("--set parameters", 0, 0, fmt::format("'{}' of {} has no value", potential.parameters()[static_cast<std::size_t>(i)].name, potential.describe()));
  }
  return out;
}

OwnCase make(std::string name, const Model& model, double mean, double variance, double t, double lower, double upper, Index cells) {
  OwnCase out{std::move(name),
              fmt::format("Psi = {}, beta = {:g}, from N({:g}, {:g}) to t = {:g}, box [{:g}, {:g}]", model.potential().describe(), model.beta(), mean, variance, t, lower, upper),
              {model, [=](double x) { return std::exp(-(x - mean) * (x - mean) / (2 * variance)); }, lower, upper, cells, t, 40}, mean, variance, {}, 0, {}, {}};
  const FokkerPlanck solver(model, lower, upper, cells);
  const Vector pi = solver.stationary();
  const double walls = std::max(pi[0], pi[cells - 1]) * (upper - lower);
  if (!(walls < 1e-6)) out.failed.push_back(fmt::format("pi is not negligible at the walls of [{:g}, {:g}] (density times width {:.1g}): the potential does not confine there", lower, upper, walls));
  const double edge = std::min(mean - lower, upper - mean) / std::sqrt(variance);
  if (!(edge > 5)) out.failed.push_back(fmt::format("the start reaches the walls: they are {:.1f} standard deviations from its mean, and 5 are asked for", edge));
  const double width = (upper - lower) / static_cast<double>(cells), deviation = std::sqrt(variance);
  // Studies refine from half the cells: there two cells a standard deviation are the least at which second differences of a Gaussian are in their asymptotic range (relative error 1/48 at its centre).
  if (!(width <= deviation / 4)) out.failed.push_back(fmt::format("the cells are too wide: {:.2g} against a quarter of the start's standard deviation, {:.2g}; set cells, or lower and upper nearer to the start", width, deviation / 4));
  const Index p = model.theta().size();
  if (p > 0 && cells >= 6) {
    const Matrix fine = analysis::stationary_information(model, lower, upper, cells), half = analysis::stationary_information(model, lower, upper, cells / 2);
    const double change = (fine - half).cwiseAbs().maxCoeff() / fine.cwiseAbs().maxCoeff();
    if (!(change < 0.1)) out.failed.push_back(fmt::format("the cells do not resolve pi: the parameters' information changes by {:.0f} % on halving them; set cells", 100 * change));
  }
  out.unresolved = out.failed;
  const Matrix information = p > 0 ? analysis::stationary_information(model, lower, upper, cells) : Matrix();
  const Vector scale = p > 0 ? Vector(information.diagonal().cwiseSqrt()) : Vector();
  bool identified = p > 0 && information.allFinite() && scale.minCoeff() > 0;
  if (identified) {
    const Matrix correlation = scale.cwiseInverse().asDiagonal() * information * scale.cwiseInverse().asDiagonal();
    identified = Eigen::SelfAdjointEigenSolver<Matrix>(correlation, Eigen::EigenvaluesOnly).eigenvalues()[0] > 1e-9;
    if (identified) {
      out.covariance = Matrix::Zero(p + 1, p + 1);
      out.covariance.topLeftCorner(p, p) = information.inverse();
    }
  }
  if (!identified) out.failed.push_back("the information of the parameters in a stationary draw is singular: they are not identified together");
  if (pi.minCoeff() > 0) out.gap = analysis::generator_spectrum(model, lower, upper, cells, 2).eigenvalues[1];
  return out;
}

OwnCase standard(const std::string& name) {
  // Boxes where both the start and pi are below 1e-8 of their maxima at the walls, and pi does not underflow.
  if (name == "ou") return make(name, ou_case::model(), ou_case::m0, 1.2, 0.8, -4.6, 8.4, 260);
  return make("double-well", Model(double_well(), Vector{{1, 1, 0}}, 2), 0.5, 0.3, 0.8, -3.6, 3.6, 240);
}

}  // namespace

std::string OwnCase::why() const { return fmt::format("assumption not met: {}", fmt::join(failed, "; ")); }
std::string OwnCase::why_unresolved() const { return fmt::format("assumption not met: {}", fmt::join(unresolved, "; ")); }

FreeEnergy OwnCase::energy() const {
  FreeEnergy out(grid.model);
  if (!out.convexity()) out.assume_convexity(convexity_on(grid.model.potential(), grid.model.theta(), Vector::Constant(1, grid.lower), Vector::Constant(1, grid.upper)));
  return out;
}

std::vector<OwnCase> own_cases(const StudyOptions& options, const std::vector<std::string>& defaults) {
  std::vector<OwnCase> out;
  if (options.settings.empty()) {
    for (const std::string& name : defaults) out.push_back(standard(name));
    return out;
  }
  const auto text = [&](const std::string& key, const std::string& fallback) {
    const auto found = options.settings.find(key);
    return found == options.settings.end() ? fallback : found->second;
  };
  const auto value = [&](const std::string& key, double fallback) { return options.settings.contains(key) ? number(key, text(key, "")) : fallback; };
  if (options.settings.contains("potential") && options.settings.contains("family")) throw DomainError("--set: give a potential or a family, not both");
  if (!options.settings.contains("potential") && !options.settings.contains("family")) throw DomainError("--set: an own case needs potential=... (a formula in x) or family=...");
  const PotentialPtr potential = options.settings.contains("potential") ? formula(text("potential", "")) : family(text("family", ""));
  const Model model(potential, parameters_from(text("parameters", ""), *potential), value("beta", 1));
  const double mean = value("start-mean", 0), variance = value("start-variance", 1), t = value("t", 1), deviation = std::sqrt(variance);
  if (!(variance > 0) || !(t > 0)) throw DomainError("--set: start-variance and t must be positive");
  // Without a box: outwards from the start until exp(-beta Psi) is 1e-9 of its largest value seen on the way.
  const auto wall = [&](double sign) {
    const auto log_weight = [&](double x) { return -model.beta() * potential->evaluate({0, 0}, Matrix::Constant(1, 1, x), model.theta())(0, 0); };
    double x = mean, best = log_weight(mean);
    for (int i = 0; i < 4000; ++i, x += sign * 0.05 * deviation) {
      best = std::max(best, log_weight(x));
      if (std::abs(x - mean) >= 6 * deviation && log_weight(x) < best + std::log(1e-9)) break;
    }
    return x;
  };
  const double lower = options.settings.contains("lower") ? value("lower", 0) : wall(-1), upper = options.settings.contains("upper") ? value("upper", 0) : wall(1);
  out.push_back(make("own", model, mean, variance, t, lower, upper, static_cast<Index>(value("cells", 240))));
  return out;
}

std::vector<Setting> own_case_settings() {
  return {{"potential", "formula of Psi in x and its parameters, as in kappa/2*(x-mu)^2"},
          {"family", "or a named family: double-well, quadratic-cosine, ..."},
          {"parameters", "name=value,... all of the potential's"},
          {"beta", "inverse temperature (1)"},
          {"start-mean", "mean of the Gaussian start (0)"},
          {"start-variance", "its variance (1)"},
          {"t", "time (1)"},
          {"lower", "left wall of the box (found from the potential)"},
          {"upper", "right wall"},
          {"cells", "finite volumes (240)"}};
}

}  // namespace jko::validation
