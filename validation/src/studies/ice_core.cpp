#include "studies.hpp"

#include <jko/estimators/bands.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/estimators/stationary.hpp>
#include <jko/flows/flow.hpp>
#include <jko/io/csv.hpp>
#include <jko/models/diffusion.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/quantile_step.hpp>

#include <boost/math/distributions/chi_squared.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::validation {
namespace {

using estimators::Fit;
using estimators::Transition;

constexpr const char* file = "grip_d18o_100yr_11.7_91.7ka.csv";

/// The stationary law by JKO steps so large that none of the start is left, with its sensitivities: theory.md 2.2 (c) holds at any h for which 1 + h min Psi'' > 0; here it is at least a half.
FlowState<QuantileFunction> stationary_law(const Model& model, double lowest_curvature, double mean, double variance, Index cells) {
  const auto flow = Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(mean, variance, cells),
                                       {.h = std::min(100.0, lowest_curvature < 0 ? -0.5 / lowest_curvature : 100.0), .steps = 40, .sensitivity = Sensitivity::shared, .keep_every = 40})
                        .run();
  require(flow.status, "ice_core: the stationary law");
  return flow.final_state();
}

/// Distribution function of exp(-beta Psi)/Z at the points and its derivatives in (theta, beta), by the trapezoidal rule on a fine grid.
struct Stationary {
  Vector distribution;
  Matrix derivative;
};
Stationary closed_form(const Model& model, const Vector& points, double lower, double upper) {
  constexpr Index n = 200001;
  const Vector x = Vector::LinSpaced(n, lower, upper);
  const double log_z = estimators::log_partition(model), width = x[1] - x[0];
  const Matrix psi = model.potential().evaluate({0, 0}, x.transpose(), model.theta()), by_theta = model.potential().evaluate({0, 1}, x.transpose(), model.theta());
  const Vector density = (-model.beta() * psi.row(0).transpose().array() - log_z).exp();
  Matrix statistic(by_theta.rows() + 1, n);
  statistic << model.beta() * by_theta, psi;
  const Vector mean = statistic * density * width;
  Stationary out{Vector::Zero(points.size()), Matrix::Zero(points.size(), statistic.rows())};
  for (Index k = 0; k < points.size(); ++k) {
    for (Index i = 1; i < n && x[i - 1] < points[k]; ++i) {
      const double part = std::min(1.0, (points[k] - x[i - 1]) / width);  // of the last cell, with the density linear in it
      const double before = part * (1 - 0.5 * part), after = part - before;
      out.distribution[k] += width * (before * density[i - 1] + after * density[i]);
      out.derivative.row(k) -= width * (before * density[i - 1] * (statistic.col(i - 1) - mean) + after * density[i] * (statistic.col(i) - mean)).transpose();
    }
  }
  return out;
}

}  // namespace

StudyResult ice_core(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "GRIP ice core, delta-18-O in per mille, means over 100 years from 91.7 to 11.7 thousand years before present (Johnsen et al. 1997). Dansgaard-Oeschger events suggest two wells: the potential "
      "a/4 (x-m)^4 - b/2 (x-m)^2 + c (x-m) is fitted by the Fokker-Planck likelihood, which the diagnostic asks for at this spacing (the Shoji-Ozaki fit stands beside it), and an Ornstein-Uhlenbeck model, which it contains, by the exact one. "
      "The stationary law of the fit is the fixed point of the JKO step at any "
      "step size; forty large steps (h = 1/(2b) where the potential has two wells, else 100 kyr) reach it with its sensitivities, which are checked against the closed form of theory.md 2.2 (c).";
  const auto path_to_file = options.data_directory / file;
  if (options.data_directory.empty() || !std::filesystem::exists(path_to_file)) {
    result.notes.push_back(fmt::format("skipped: {} is not in the data folder (--data); the series may not be redistributed.", file));
    return result;
  }
  const CsvTable table = read_csv(path_to_file);
  const Vector values = table.values.col(table.column("d18O"));
  const Index n = values.size();
  const estimators::Path path{Vector::LinSpaced(n, 0, 0.1 * static_cast<double>(n - 1)), values.transpose()};
  const double mean = values.mean(), variance = (values.array() - mean).square().mean();

  const Model ou(ornstein_uhlenbeck(), Vector{{1, mean}}, 0.3), well(formula("a/4*(x-m)^4 - b/2*(x-m)^2 + c*(x-m)"), Vector{{1, mean, 1, 0}}, 0.3);
  const Fit ou_fit = estimators::fit({path}, ou, Transition::exact), shoji_ozaki = estimators::fit({path}, well, Transition::shoji_ozaki);
  const Fit fit = estimators::fit({path}, shoji_ozaki.estimate.allFinite() ? well.with_parameters(shoji_ozaki.estimate) : well, Transition::fokker_planck);
  const auto tail = [](double ratio) { return boost::math::cdf(boost::math::complement(boost::math::chi_squared(2), std::max(0.0, ratio))); };
  Table fits{"fits", "Fits (per mille, thousands of years), and twice the gain in log-likelihood over the Ornstein-Uhlenbeck fit on 2 degrees of freedom (p asymptotic).",
             {"model", "estimator", "parameter", "estimate", "s.e.", "sandwich s.e."}, {}};
  for (const auto& [f, id] : {std::pair{&ou_fit, "ou-fit"}, std::pair{&fit, "double-well-fit"}, std::pair{&shoji_ozaki, "double-well-shoji-ozaki"}}) {
    for (Index i = 0; i < f->estimate.size(); ++i) {
      fits.rows.push_back({f->model, f->estimator, f->names[static_cast<std::size_t>(i)], fmt::format("{:.5g}", f->estimate[i]), fmt::format("{:.2g}", f->standard_errors()[i]), fmt::format("{:.2g}", f->sandwich_errors()[i])});
    }
    fits.rows.push_back({f->model, f->estimator, "log-likelihood", fmt::format("{:.3f}", f->log_likelihood), "", ""});
    const double ratio = 2 * (f->log_likelihood - ou_fit.log_likelihood);
    if (f != &ou_fit) fits.rows.push_back({f->model, f->estimator, "likelihood ratio", fmt::format("{:.2f}, p = {:.2g}", ratio, tail(ratio)), "", ""});
    result.checks.push_back(is_success(f->status) ? analysis::check_at_most(id, "the likelihood's gradient vanishes at the estimate", f->estimator, f->gradient_norm, 1e-6, 0, "in units of one standard error")
                                                  : analysis::inconclusive(id, "the likelihood's gradient vanishes at the estimate", f->estimator, std::string(describe(f->status))));
  }
  result.tables.push_back(std::move(fits));
  if (!is_success(fit.status)) return result;
  const auto advice = estimators::recommend({path}, as_diffusion(well.with_parameters(fit.estimate)));
  // a z^3 - b z + c has three real zeros where 4 b^3 > 27 a c^2.
  const auto wells = [](const Fit& f) { return 4 * f.estimate[2] * f.estimate[2] * f.estimate[2] > 27 * f.estimate[0] * f.estimate[3] * f.estimate[3] ? "two wells" : "one well"; };
  result.notes.push_back(fmt::format("{}. The potential fitted by Fokker-Planck has {}, the one fitted by Shoji-Ozaki {}; b is {:.2g} sandwich standard errors from zero, so that the series does not decide between one and two. It does decide against the quadratic.",
                                     advice.reason, wells(fit), wells(shoji_ozaki), fit.estimate[2] / fit.sandwich_errors()[2]));

  const Model fitted = well.with_parameters(fit.estimate);
  const auto state = stationary_law(fitted, -fit.estimate[2], mean, variance, 800), coarse = stationary_law(fitted, -fit.estimate[2], mean, variance, 400);
  const Vector points = Vector::LinSpaced(61, mean - 5, mean + 6);
  const auto distribution = estimators::distribution(state.measure, points), rough = estimators::distribution(coarse.measure, points);
  const auto exact = closed_form(fitted, points, state.measure.nodes()[0] - 2, state.measure.nodes()[800] + 2);
  // Second order in the cells: the finer law's error is a third of the change; twice the change leaves room for the place of a point within its cell.
  result.checks.push_back(analysis::check_at_most("stationary-law", "JKO's fixed point at a large step is exp(-beta Psi)/Z: largest difference of the distribution functions", "theory.md 2.2 (c)",
                                                  (distribution.value - exact.distribution).cwiseAbs().maxCoeff(), 0, 2 * (distribution.value - rough.value).cwiseAbs().maxCoeff(), "twice the change from 400 to 800 cells"));
  const Matrix sensitivity = distribution.gradient * state.tangent, rough_sensitivity = rough.gradient * coarse.tangent;
  const Vector scale = fit.sandwich_errors();  // in units of one standard error of each parameter
  result.checks.push_back(analysis::check_at_most("stationary-sensitivity", "its sensitivity is -beta pi (d_theta Psi - E d_theta Psi): largest difference for the distribution function, in s.e. of the parameters",
                                                  "theory.md 2.2 (c)", ((sensitivity - exact.derivative) * scale.asDiagonal()).cwiseAbs().maxCoeff(), 0,
                                                  2 * ((sensitivity - rough_sensitivity) * scale.asDiagonal()).cwiseAbs().maxCoeff(), "twice the change from 400 to 800 cells"));

  const auto band = estimators::band(estimators::density(state.measure, points), points, state.tangent, fit.sandwich, {.seed = options.seed});
  const auto list = [](const Vector& v) { return std::vector<double>(v.begin(), v.end()); };
  Figure figure{"stationary", "Stationary density of the potential fitted by Fokker-Planck with its 95 % bands from the estimation error (sandwich): pointwise (dark) and simultaneous (light), cut at zero; points: histogram of the data, whose "
                              "error bars count the series as independent and are too short.", "delta-18-O, per mille", "density", false, false, {}};
  Series histogram{"data", Series::Style::points, {}, {}, {}, {}, 6};
  constexpr int bins = 22;
  const double width = 11.0 / bins;
  for (int b = 0; b < bins; ++b) {
    const double left = mean - 5 + b * width;
    const auto inside = static_cast<double>((values.array() >= left && values.array() < left + width).count());
    histogram.x.push_back(left + 0.5 * width);
    histogram.y.push_back(inside / (static_cast<double>(n) * width));
    histogram.error.push_back(std::sqrt(inside) / (static_cast<double>(n) * width));
  }
  const auto positive = [&](const Vector& v) { return list(v.cwiseMax(0)); };  // symmetric intervals reach below zero in the tails, where a density does not
  figure.series = {{"95 %, all x", Series::Style::band, list(points), positive(band.simultaneous_lower), list(band.simultaneous_upper), {}, 5},
                   {"95 %, each x", Series::Style::band, list(points), positive(band.lower), list(band.upper), {}, 0},
                   {"fit", Series::Style::line, list(points), list(band.estimate), {}, {}, 0},
                   std::move(histogram)};
  result.figures.push_back(std::move(figure));
  return result;
}

}  // namespace jko::validation
