#include "studies.hpp"

#include <jko/estimators/bands.hpp>
#include <jko/estimators/bootstrap.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/flows/flow.hpp>
#include <jko/io/csv.hpp>
#include <jko/models/convexity.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/quantile_step.hpp>

#include <boost/math/distributions/normal.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::validation {

extern const std::string_view treasury_csv;

namespace {

using estimators::Fit;
using estimators::Path;
using estimators::Transition;

constexpr Index held_out = 24;          // months
constexpr double start_time = 1.0 / 48;  // years between the last observation and the flow's start
constexpr double h = 1.0 / 96;           // years
constexpr Index cells = 400;

Path segment(const CsvTable& table, Index first, Index count) {
  Path path{Vector::LinSpaced(count, 0, static_cast<double>(count - 1) / 12), Matrix(1, count)};
  path.values.row(0) = table.values.col(table.column("tcm1y")).segment(first, count).transpose();
  return path;
}

/// The law `start_time` after the observation x0: one Euler transition, with its derivatives in (theta, beta).
struct Start {
  QuantileFunction measure;
  Matrix tangent;
};

Start start_law(const Model& model, double x0) {
  const Matrix at = Matrix::Constant(1, 1, x0);
  const double slope = model.potential().evaluate({1, 0}, at, model.theta())(0, 0);
  const Matrix mixed = model.potential().evaluate({1, 1}, at, model.theta());
  const double variance = 2 * start_time / model.beta(), mean = x0 - slope * start_time;
  Start out{QuantileFunction::gaussian(mean, variance, cells), {}};
  const Vector& nodes = out.measure.nodes();
  out.tangent.resize(nodes.size(), mixed.rows() + 1);
  for (Index j = 0; j < mixed.rows(); ++j) out.tangent.col(j).setConstant(-start_time * mixed(j, 0));
  out.tangent.col(mixed.rows()) = -(nodes.array() - mean) / (2 * model.beta());
  return out;
}

/// With sensitivities unless the step is only to be evaluated (bootstrap, transforms).
FlowResult<QuantileFunction> forecast(const FreeEnergy& energy, const Model& model, double x0, double step_size, Index months, Sensitivity sensitivity,
                                      Observer* observer) {
  Start start = start_law(model, x0);
  const int per_month = static_cast<int>(std::lround(1 / (12 * step_size)));
  // The flow's clock begins start_time after the observation, a quarter of a month: its first month is that much shorter.
  const int steps = per_month * static_cast<int>(months) - static_cast<int>(std::lround(start_time / step_size));
  if (sensitivity == Sensitivity::none) start.tangent.resize(0, 0);
  return Flow<QuantileStep>(QuantileStep(energy), start.measure, {.scheme = Scheme::bdf2, .h = step_size, .steps = steps, .sensitivity = sensitivity}, start.tangent).run(observer);
}

/// The potential's own convexity constant, or a numerical one on the window that the flow visits.
FreeEnergy certified_energy(const Model& model, double x0) {
  FreeEnergy energy(model);
  if (energy.convexity()) return energy;
  const auto trial = forecast(energy, model, x0, h, held_out, Sensitivity::none, nullptr);
  double lower = std::numeric_limits<double>::infinity(), upper = -lower;
  for (const auto& state : trial.states) lower = std::min(lower, state.measure.nodes()[0]), upper = std::max(upper, state.measure.nodes()[cells]);
  const double margin = 0.05 * (upper - lower);
  return energy.assume_convexity(convexity_on(model.potential(), model.theta(), Vector::Constant(1, lower - margin), Vector::Constant(1, upper + margin)));
}

void add_rows(Table& table, const Fit& fit) {
  const Vector se = fit.standard_errors(), robust = fit.sandwich_errors();
  for (Index i = 0; i < fit.estimate.size(); ++i) {
    const auto k = static_cast<std::size_t>(i);
    table.rows.push_back({fit.model, fit.names[k], fmt::format("{:.5g}", fit.estimate[i]), fmt::format("{:.2g}", se[i]), fmt::format("{:.2g}", robust[i])});
  }
  table.rows.push_back({fit.model, "log-likelihood", fmt::format("{:.3f}", fit.log_likelihood), "", ""});
  table.rows.push_back({fit.model, "AIC", fmt::format("{:.2f}", fit.aic()), "", ""});
}

const Vector fan_levels{{0.05, 0.25, 0.5, 0.75, 0.95}};

const FlowState<QuantileFunction>& state_at(const FlowResult<QuantileFunction>& flow, double step_size, Index month) {
  const auto per_month = static_cast<Index>(std::lround(1 / (12 * step_size))), skipped = static_cast<Index>(std::lround(start_time / step_size));
  return flow.states[static_cast<std::size_t>(per_month * month - skipped)];
}

/// Largest ratio of a quantile's error in h (BDF2: a third of the change from 2h to h) to its standard error.
double largest_step_error(const FlowResult<QuantileFunction>& fine, const FlowResult<QuantileFunction>& coarse, const Fit& fit) {
  double worst = 0;
  for (const Index month : {Index{12}, held_out}) {
    const auto& state = state_at(fine, h, month);
    const auto band = estimators::band(estimators::quantiles(state.measure, fan_levels), fan_levels, state.tangent, fit.sandwich);
    const Vector shift = (band.estimate - estimators::quantiles(state_at(coarse, 2 * h, month).measure, fan_levels).value) / 3;
    worst = std::max(worst, shift.cwiseAbs().cwiseQuotient(band.standard_error).maxCoeff());
  }
  return worst;
}

/// The bands' standard errors beside those of a parametric bootstrap of the whole pipeline: path, fit, flow.
void add_bootstrap(StudyResult& result, const Path& path, const Fit& fit, const Model& model, double x0, const StudyOptions& options) {
  const int replications = options.scale == Scale::quick ? 200 : 2000;
  const auto refit = [](const estimators::Panel& panel) -> std::optional<Model> {
    const auto e = estimators::exact_ou_estimate(panel.front().values.row(0).transpose(), 1.0 / 12);
    if (!e.ok) return std::nullopt;
    return Model(ornstein_uhlenbeck(), Vector{{e.kappa, e.mu}}, e.beta);
  };
  const auto statistic = [&](const Model& at) -> std::optional<Vector> {
    const auto flow = forecast(FreeEnergy(at), at, x0, h, held_out, Sensitivity::none, nullptr);
    if (!is_success(flow.status)) return std::nullopt;
    return estimators::quantiles(flow.final_state().measure, fan_levels).value;
  };
  const auto bootstrap = estimators::parametric_bootstrap({path}, model, refit, statistic, {.replications = replications, .seed = options.seed, .threads = options.threads, .observer = options.observer});
  const auto flow = forecast(FreeEnergy(model), model, x0, h, held_out, Sensitivity::shared, nullptr);
  const auto& state = flow.final_state();
  const auto band = estimators::band(estimators::quantiles(state.measure, fan_levels), fan_levels, state.tangent, fit.covariance, {.seed = options.seed});
  const Vector error = bootstrap.standard_error(), bias = bootstrap.mean() - band.estimate;
  Table table{"bootstrap", fmt::format("Ornstein-Uhlenbeck, 24 months ahead: the bands' standard errors (information matrix, as both assume the model) beside a parametric bootstrap of the whole pipeline, {} "
                                       "replications (relative s.e. of its s.e. {:.0f} %), {} of them without an estimate. The bias is real: 46 years are short for a mean reversion of six years.",
                                       replications, 100 / std::sqrt(2.0 * replications), bootstrap.failed),
              {"level", "quantile", "band s.e.", "bootstrap s.e.", "bootstrap bias", "bootstrap 95 %"}, {}};
  const Vector lower = bootstrap.quantile(0.025), upper = bootstrap.quantile(0.975);
  for (Index q = 0; q < 5; ++q) {
    table.rows.push_back({fmt::format("{:.2f}", fan_levels[q]), fmt::format("{:.3f}", band.estimate[q]), fmt::format("{:.3f}", band.standard_error[q]), fmt::format("{:.3f}", error[q]),
                          fmt::format("{:+.3f}", bias[q]), fmt::format("[{:.3f}, {:.3f}]", lower[q], upper[q])});
  }
  result.tables.push_back(std::move(table));
}

/// Fan of one model: checks its certificates and draws it.
void add_forecast(StudyResult& result, const std::string& id, const std::string& label, const Fit& fit, const Model& model, const CsvTable& table,
                  Index cut, const StudyOptions& options) {
  const Vector yields = table.values.col(table.column("tcm1y")), times = table.values.col(table.column("time"));
  const double x0 = yields[cut - 1], t0 = times[cut - 1];
  const FreeEnergy energy = certified_energy(model, x0);
  const auto fine = forecast(energy, model, x0, h, held_out, Sensitivity::shared, options.observer);
  const auto coarse = forecast(energy, model, x0, 2 * h, held_out, Sensitivity::none, options.observer);
  double worst = 0, mass = 0;
  for (const FlowRecord& record : fine.records) worst = std::max(worst, record.step.w2_bound), mass = std::max(mass, std::abs(record.mass - 1));
  if (!is_success(fine.status)) {
    result.checks.push_back(analysis::inconclusive(id + "-certificate", "the flow's steps are certified", "theory.md b7", std::string(describe(fine.status))));
    return;
  }
  const auto convexity = energy.convexity();
  result.checks.push_back(analysis::check_at_most(id + "-certificate", "every step of the forecast is within 1e-8 (% per year, W2) of its exact discrete minimiser", "theory.md b7", worst, 1e-8, 0,
                                                  fmt::format("far below the standard errors of the fan's quantiles, which are above 1e-2; kappa = {:.3g}: {}", convexity->kappa, convexity->reason)));
  result.checks.push_back(analysis::check_at_most(id + "-order-in-h", "the fan's error in h is below its statistical error", "theory.md b8", largest_step_error(fine, coarse, fit), 1, 0,
                                                  "largest |Q_h - Q_2h|/3 over the standard error of the quantile, 12 and 24 months ahead"));
  const Vector& levels = fan_levels;
  Figure figure{id + "-fan", "Quantiles 5, 25, 50, 75 and 95 % of the law flowed by JKO (BDF2) from the last observation before the hold-out; shaded: pointwise 95 % "
                             "bands of each quantile from the estimation error (sandwich); black: the realised yield.",
                "year", "one-year yield, % per year", false, false, {}};
  std::vector<Series> bands(5), lines(5);
  Vector last_shift = Vector::Zero(5);
  Table fan{id + "-quantiles", label + ": quantiles 12 and 24 months ahead, standard error from the estimation, and time-discretisation error estimated from h and 2h.",
            {"months", "level", "quantile", "s.e.", "error in h", "band incl. error in h"}, {}};
  for (Index month = 1; month <= held_out; ++month) {
    const auto& state = state_at(fine, h, month);
    const auto& rough = state_at(coarse, 2 * h, month);
    const auto quantiles = estimators::quantiles(state.measure, levels);
    const auto band = estimators::band(quantiles, levels, state.tangent, fit.sandwich, {.seed = options.seed});
    // BDF2 is of second order: the error at h is a third of the difference to 2h.
    const Vector shift = (quantiles.value - estimators::quantiles(rough.measure, levels).value) / 3;
    for (int q = 0; q < 5; ++q) {
      const auto k = static_cast<std::size_t>(q);
      const double t = t0 + static_cast<double>(month) / 12;
      bands[k].x.push_back(t), bands[k].y.push_back(band.lower[q]), bands[k].upper.push_back(band.upper[q]);
      lines[k].x.push_back(t), lines[k].y.push_back(band.estimate[q]);
      if (month % 12 == 0) {
        fan.rows.push_back({fmt::format("{}", month), fmt::format("{:.2f}", levels[q]), fmt::format("{:.4f}", band.estimate[q]), fmt::format("{:.3f}", band.standard_error[q]),
                            fmt::format("{:.1e}", std::abs(shift[q])),
                            fmt::format("[{:.3f}, {:.3f}]", band.lower[q] - std::abs(shift[q]), band.upper[q] + std::abs(shift[q]))});
      }
    }
  }
  const char* names[] = {"5 %", "25 %", "median", "75 %", "95 %"};
  for (int q = 0; q < 5; ++q) {
    const auto k = static_cast<std::size_t>(q);
    bands[k].style = Series::Style::band, lines[k].style = Series::Style::line;
    bands[k].colour = lines[k].colour = q == 2 ? 1 : (q % 4 == 0 ? 0 : 2);
    lines[k].label = names[4 - q];
    figure.series.push_back(bands[k]);
  }
  for (int q = 4; q >= 0; --q) {
    lines[static_cast<std::size_t>(q)].label = names[q];
    figure.series.push_back(lines[static_cast<std::size_t>(q)]);
  }
  Series realised{"realised", Series::Style::points, {}, {}, {}, {}, 6}, history{"history", Series::Style::line, {}, {}, {}, {}, 7};
  int inside = 0;
  for (Index i = cut - 48; i < cut; ++i) history.x.push_back(times[i]), history.y.push_back(yields[i]);
  for (Index i = 0; i < held_out; ++i) {
    realised.x.push_back(times[cut + i]), realised.y.push_back(yields[cut + i]);
    const auto k = static_cast<std::size_t>(i);
    inside += yields[cut + i] >= lines[0].y[k] && yields[cut + i] <= lines[4].y[k];
  }
  figure.series.push_back(std::move(history));
  figure.series.push_back(std::move(realised));
  result.figures.push_back(std::move(figure));
  result.tables.push_back(std::move(fan));
  result.notes.push_back(fmt::format("{}: {} of 24 realised months lie between the 5 % and 95 % quantiles (dependent: one path).", label, inside));
}

}  // namespace

StudyResult treasury(const StudyOptions& options) {
  StudyResult result;
  const CsvTable table = parse_csv(treasury_csv, "tcm_monthly_1953_1999.csv");
  const Index n = table.values.rows(), cut = n - held_out;
  result.description =
      "Monthly one-year US Treasury constant-maturity yield, April 1953 to September 1999, % per year (Federal Reserve H.15). The last 24 months are held out. "
      "An Ornstein-Uhlenbeck model (exact likelihood) and a quartic potential, that is a cubic drift (Shoji-Ozaki likelihood), are fitted to the rest; each law is carried from the last observation by "
      "JKO steps (BDF2, h = 1/96 year, 400 cells, from one Euler transition over 1/48 year), with its sensitivities to the parameters, so that each quantile has a "
      "standard error. A constant diffusion coefficient is a poor model of interest rates, whose volatility grows with their level: the calibration "
      "below tests the model, not the program.";
  const Path path = segment(table, 0, cut);

  const Model ou(ornstein_uhlenbeck(), (Vector(2) << 0.2, 6).finished(), 1);
  const Fit ou_fit = estimators::fit({path}, ou, Transition::exact);
  const Model quartic_start(quartic(), (Vector(4) << -1, 0.2, 0, 0.001).finished(), 1);
  const Fit quartic_fit = estimators::fit({path}, quartic_start, Transition::shoji_ozaki);
  Table fits{"fits", "Fits up to the cut-off (yields in % per year, time in years).", {"potential", "parameter", "estimate", "s.e.", "sandwich s.e."}, {}};
  for (const Fit* fit : {&ou_fit, &quartic_fit}) {
    add_rows(fits, *fit);
    const std::string id = fit == &ou_fit ? "ou" : "quartic";
    if (is_success(fit->status)) {
      result.checks.push_back(analysis::check_at_most(id + "-fit", "the likelihood's gradient vanishes at the estimate", fit->estimator, fit->gradient_norm, 1e-6, 0,
                                                      "in units of one standard error; rounding of n terms is about 1e-13"));
    } else {
      result.checks.push_back(analysis::inconclusive(id + "-fit", "the likelihood's gradient vanishes at the estimate", fit->estimator, std::string(describe(fit->status))));
    }
    for (const auto& warning : fit->warnings) result.notes.push_back(id + ": " + warning);
  }
  result.tables.push_back(std::move(fits));
  const auto closed = estimators::exact_ou_estimate(path.values.row(0).transpose(), 1.0 / 12);
  result.checks.push_back(analysis::check_equal("ou-closed-form", "the iterated exact likelihood and the AR(1) closed form agree in kappa", "theory.md 3(e)",
                                                ou_fit.estimate[0], closed.kappa, 1e-8 * closed.kappa, "the fit stops at 1e-9 standard errors"));
  add_forecast(result, "ou", "Ornstein-Uhlenbeck", ou_fit, ou.with_parameters(ou_fit.estimate), table, cut, options);
  add_forecast(result, "quartic", "Cubic drift", quartic_fit, quartic_start.with_parameters(quartic_fit.estimate), table, cut, options);
  add_bootstrap(result, path, ou_fit, ou.with_parameters(ou_fit.estimate), path.values(0, cut - 1), options);

  // Rolling origins, twelve months apart, horizon twelve months: the intervals do not overlap.
  std::vector<double> ou_transforms, quartic_transforms;
  Index without = 0;
  Model quartic_begin = quartic_start;
  for (Index origin = 120; origin + 12 < n; origin += 12) {
    const Path past = segment(table, 0, origin + 1);
    const double x = past.values(0, origin), ahead = table.values(origin + 12, table.column("tcm1y"));
    const auto estimate = estimators::exact_ou_estimate(past.values.row(0).transpose(), 1.0 / 12);
    if (estimate.ok) {
      const double phi = std::exp(-estimate.kappa), deviation = std::sqrt((1 - phi * phi) / (estimate.beta * estimate.kappa));
      ou_transforms.push_back(boost::math::cdf(boost::math::normal(), (ahead - estimate.mu - phi * (x - estimate.mu)) / deviation));
    }
    const Fit fit = estimators::fit({past}, quartic_begin, Transition::shoji_ozaki);
    if (is_success(fit.status)) {
      quartic_begin = quartic_start.with_parameters(fit.estimate);
      const auto flow = forecast(FreeEnergy(quartic_begin), quartic_begin, x, h, 12, Sensitivity::none, nullptr);
      if (is_success(flow.status)) {
        quartic_transforms.push_back(flow.final_state().measure.cdf(ahead));
        continue;
      }
    }
    ++without;
  }
  Figure pit{"pit", "Probability integral transforms of the forecasts twelve months ahead, refitted at rolling origins: their distribution function against the diagonal, with "
                    "the pointwise 95 % binomial band of a calibrated forecast.", "transform", "fraction below", false, false, {}};
  Series envelope{"calibrated, 95 %", Series::Style::band, {}, {}, {}, {}, 7}, diagonal{"", Series::Style::dashed, {0, 1}, {0, 1}, {}, {}, 6};
  const auto count = static_cast<double>(ou_transforms.size());
  for (int i = 0; i <= 50; ++i) {
    const double u = i / 50.0, width = 1.959964 * std::sqrt(u * (1 - u) / count);
    envelope.x.push_back(u), envelope.y.push_back(std::max(0.0, u - width)), envelope.upper.push_back(std::min(1.0, u + width));
  }
  pit.series = {std::move(envelope), std::move(diagonal)};
  Table calibration{"calibration", "Calibration over non-overlapping 12-month horizons. The critical value is for known parameters, which makes the test conservative.",
                    {"model", "origins", "Kolmogorov-Smirnov distance", "5 % critical value"}, {}};
  for (auto* transforms : {&ou_transforms, &quartic_transforms}) {
    const bool is_ou = transforms == &ou_transforms;
    std::sort(transforms->begin(), transforms->end());
    Series observed{is_ou ? "Ornstein-Uhlenbeck" : "cubic drift", Series::Style::line, {0}, {0}, {}, {}, is_ou ? 0 : 1};
    const auto size = static_cast<double>(transforms->size());
    double distance = 0;
    for (std::size_t i = 0; i < transforms->size(); ++i) {
      const double u = (*transforms)[i], below = static_cast<double>(i) / size, above = static_cast<double>(i + 1) / size;
      observed.x.insert(observed.x.end(), {u, u});
      observed.y.insert(observed.y.end(), {below, above});
      distance = std::max({distance, u - below, above - u});
    }
    observed.x.push_back(1), observed.y.push_back(1);
    pit.series.push_back(std::move(observed));
    calibration.rows.push_back({is_ou ? "Ornstein-Uhlenbeck" : "cubic drift", fmt::format("{}", transforms->size()), fmt::format("{:.3f}", distance), fmt::format("{:.3f}", 1.358 / std::sqrt(size))});
  }
  result.figures.push_back(std::move(pit));
  result.tables.push_back(std::move(calibration));
  if (without > 0) result.notes.push_back(fmt::format("Cubic drift: {} rolling origins have no forecast (the fit is not identified, or its potential is not confining and the law runs away).", without));
  return result;
}

}  // namespace jko::validation
