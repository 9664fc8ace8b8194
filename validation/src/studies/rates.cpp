#include "studies.hpp"

#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/io/csv.hpp>

#include <boost/math/distributions/chi_squared.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace jko::validation {

extern const std::string_view treasury_csv;

namespace {

using estimators::Fit;
using estimators::Panel;
using estimators::Transition;

Panel even_path(const Vector& values, double dt) { return {{Vector::LinSpaced(values.size(), 0, dt * static_cast<double>(values.size() - 1)), values.transpose()}}; }

struct Row {
  const char* family;
  Vector start;
  Transition scheme;
};

/// Fits side by side; both errors of each estimate.
std::vector<Fit> add_table(StudyResult& result, std::string id, std::string caption, const Panel& panel, const std::vector<Row>& rows) {
  Table table{std::move(id), std::move(caption), {"model", "estimator", "parameter", "estimate", "s.e.", "sandwich s.e.", "ratio", "log-likelihood", "AIC", "status"}, {}};
  std::vector<Fit> fits;
  for (const Row& row : rows) {
    const Fit fit = estimators::fit(panel, Diffusion(diffusion_family(row.family), row.start), row.scheme);
    const Vector se = fit.standard_errors(), robust = fit.sandwich_errors();
    for (Index i = 0; i < fit.estimate.size(); ++i) {
      const bool first = i == 0;
      table.rows.push_back({first ? row.family : "", first ? fit.estimator : "", fit.names[static_cast<std::size_t>(i)], fmt::format("{:.5g}", fit.estimate[i]), fmt::format("{:.2g}", se[i]),
                            fmt::format("{:.2g}", robust[i]), se[i] > 0 ? fmt::format("{:.2f}", robust[i] / se[i]) : "", first ? fmt::format("{:.3f}", fit.log_likelihood) : "",
                            first ? fmt::format("{:.2f}", fit.aic()) : "", first ? std::string(name(fit.status)) : ""});
    }
    fits.push_back(fit);
  }
  result.tables.push_back(std::move(table));
  return fits;
}

void add_treasury(StudyResult& result) {
  const CsvTable table = parse_csv(treasury_csv, "tcm_monthly_1953_1999.csv");
  const Vector yields = table.values.col(table.column("tcm1y"));
  const double dt = 1.0 / 12;
  const Panel panel = even_path(yields, dt);
  const Vector linear{{0.2, 5.5, 1}}, ckls{{1, -0.2, 0.3, 1}};
  const auto fits = add_table(result, "treasury", "One-year Treasury yield, monthly, April 1953 to September 1999, % per year, dt = 1/12 year. The ratio of the two errors is one where the model is right: it is not.", panel,
                              {{"vasicek", linear, Transition::exact},
                               {"vasicek", linear, Transition::euler},
                               {"vasicek", linear, Transition::shoji_ozaki},
                               {"cir", linear, Transition::exact},
                               {"cir", linear, Transition::euler},
                               {"cir", linear, Transition::shoji_ozaki},
                               {"cir", linear, Transition::hermite_2},
                               {"ckls", ckls, Transition::euler},
                               {"ckls", ckls, Transition::shoji_ozaki},
                               {"ckls", ckls, Transition::kessler_2},
                               {"ckls", ckls, Transition::hermite_2}});
  const char* source = "ShojiOzaki1998";
  result.checks.push_back(analysis::check_equal("vasicek-maxima", "Vasicek: the exact and Euler likelihoods have the same maximum (both are an AR(1) regression)", source, fits[1].log_likelihood, fits[0].log_likelihood, 1e-7,
                                                "each is at its maximum to a scaled gradient of 1e-9; rounding of 557 terms"));
  result.checks.push_back(analysis::check_equal("vasicek-map", "Vasicek: κ = −log(1 − κ_E Δ)/Δ between the exact and the Euler estimate", source, -std::log(1 - fits[1].estimate[0] * dt) / dt, fits[0].estimate[0],
                                                1e-8 * fits[0].standard_errors()[0], "a scaled gradient of 1e-9 in both"));
  result.checks.push_back(analysis::check_equal("cir-maxima", "CIR: the Shoji–Ozaki likelihood is Euler's with another κ and σ", source, fits[5].log_likelihood, fits[4].log_likelihood, 1e-7, "as above"));
  result.checks.push_back(analysis::check_equal("ckls-gamma", "CKLS: Shoji–Ozaki and Euler give the same γ", source, fits[8].estimate[3], fits[7].estimate[3], 1e-7 * fits[7].standard_errors()[3], "as above"));
  const Diffusion cir(diffusion_family("cir"), fits[3].estimate);
  // One step of May 1980 is seven standard deviations of the fitted model: there the spectral series has three digits and the density comes from the short-time expansion (fokker_planck_density.hpp).
  const auto numerical = estimators::log_likelihood(panel, cir, Transition::fokker_planck);
  result.checks.push_back(analysis::check_equal("cir-fokker-planck", "CIR at its estimate, the whole series: the Fokker–Planck log-likelihood is the exact one", "AitSahalia2002", numerical.value,
                                                estimators::log_likelihood(panel, cir, Transition::exact).value, numerical.error + 1e-9, fmt::format("the error that the likelihood reports, {:.1e}, and the rounding of 557 closed terms", numerical.error)));
  result.checks.push_back(analysis::check_at_most("cir-fokker-planck-error", "and the error that it reports is within its stopping rule", "AitSahalia2002", numerical.error, 1e-6, 0, "refined until the value moves by at most 1e-6"));
  // Errors of the expansion: dt^3 an observation, against n terms.
  result.checks.push_back(analysis::check_at_most("cir-hermite", "CIR: the second-order Hermite estimate is within a tenth of a standard error of the exact one", "AitSahalia2002",
                                                  ((fits[6].estimate - fits[3].estimate).cwiseAbs().cwiseQuotient(fits[3].standard_errors())).maxCoeff(), 0.1, 0,
                                                  "log p is right to O(Δ³), 6e-4 times constants of order κ³ an observation: below a tenth of a standard error over 557"));
}

void add_irates(StudyResult& result, const std::filesystem::path& folder) {
  constexpr const char* file = "irates_mcculloch_kwon_monthly.csv";
  if (folder.empty() || !std::filesystem::exists(folder / file)) {
    result.notes.push_back(fmt::format("skipped: {} is not in the data folder (--data).", file));
    return;
  }
  const CsvTable table = read_csv(folder / file);
  std::vector<double> rates;
  for (Index i = 0; i < table.values.rows(); ++i) {
    if (const double t = table.values(i, 0); t > 1964.471 && t < 1989.333) rates.push_back(table.values(i, table.column("r1")));
  }
  const Panel panel = even_path(Eigen::Map<const Vector>(rates.data(), static_cast<Index>(rates.size())), 1.0 / 12);
  const Vector start{{1, -0.2, 0.3, 1}}, linear{{0.5, 6, 0.8}};
  const auto fits = add_table(result, "irates", "One-month rate of McCulloch and Kwon, July 1964 to April 1989, % per year (a fraction would change σ by 100^(γ−1)).", panel,
                              {{"ckls", start, Transition::euler},
                               {"ckls", start, Transition::kessler_2},
                               {"ckls", start, Transition::ozaki},
                               {"ckls", start, Transition::shoji_ozaki},
                               {"ckls", start, Transition::hermite_2},
                               {"cir", linear, Transition::exact},
                               {"vasicek", linear, Transition::exact}});
  const std::vector<std::pair<Vector, double>> published{{Vector{{2.07695, -0.26319, 0.130216, 1.45132}}, -237.8786},
                                                         {Vector{{2.14335, -0.27434, 0.125980, 1.46917}}, -237.7845},
                                                         {Vector{{2.11532, -0.26905, 0.126523, 1.46491}}, -237.8356},
                                                         {Vector{{2.10150, -0.26647, 0.131671, 1.45131}}, -237.8786}};
  for (std::size_t k = 0; k < published.size(); ++k) {
    const auto& [estimate, value] = published[k];
    const double worst = (fits[k].estimate - estimate).cwiseAbs().cwiseQuotient(fits[k].standard_errors()).maxCoeff();
    result.checks.push_back(analysis::check_at_most("ckls-" + fits[k].estimator, fmt::format("CKLS by {}: a published package's fit is reproduced", fits[k].estimator), "Iacus2008", worst, 0.01, 0,
                                                    "largest difference in standard errors: printed digits, and a stopping rule that left 1e-5 of the log-likelihood"));
    result.checks.push_back(analysis::check_equal("ckls-value-" + fits[k].estimator, "the maximised log-likelihood too", "Iacus2008", fits[k].log_likelihood, value, 1e-4, "four printed digits, twice their rounding"));
  }
}

void add_ice_core(StudyResult& result, const std::filesystem::path& folder) {
  constexpr const char* file = "grip_d18o_100yr_11.7_91.7ka.csv";
  if (folder.empty() || !std::filesystem::exists(folder / file)) {
    result.notes.push_back(fmt::format("skipped: {} is not in the data folder (--data).", file));
    return;
  }
  const CsvTable table = read_csv(folder / file);
  Vector values = table.values.col(table.column("d18O"));
  values.array() -= values.mean();
  const Panel panel = even_path(values, 0.1);
  const Diffusion line(diffusion_formula("c0+c1*x", "sigma", {}, {{.name = "sigma", .lower = 0, .positive = true}}), Vector{{0, -1, 3}});
  const Diffusion cubic(diffusion_formula("c0+c1*x+c2*x^2+c3*x^3", "sigma", {}, {{.name = "sigma", .lower = 0, .positive = true}}), Vector{{0, -1, 0, -0.1, 3}});
  Table out{"ice-core", "GRIP δ¹⁸O about its mean, per mille and thousands of years, dt = 0.1: a cubic drift (two wells where it has three roots) against a line. Last column: the Fokker–Planck log-likelihood at the "
            "row's cubic estimate. Fokker–Planck is the likelihood of the model to the digits shown; Hermite-2 is close to it, although unnormalised (next table). dt is too coarse for the Gaussian laws of Euler, "
            "Shoji–Ozaki and Kessler-2 under a cubic drift: their ratios of 7 to 9 are three times too small, and their estimates lose several units of log-likelihood.",
            {"estimator", "log L, line", "log L, cubic", "likelihood ratio", "p (χ², 2)", "Fokker–Planck log L"}, {}};
  std::vector<double> right;  // Fokker-Planck log L at each row's estimate
  double error = 0;           // the largest it reports
  Fit expansion;
  for (const Transition scheme : {Transition::euler, Transition::shoji_ozaki, Transition::kessler_2, Transition::hermite_2, Transition::fokker_planck}) {
    const Fit one = estimators::fit(panel, line, scheme), two = estimators::fit(panel, cubic, scheme);
    const double ratio = 2 * (two.log_likelihood - one.log_likelihood);
    const auto value = estimators::log_likelihood(panel, cubic.with_parameters(two.estimate), Transition::fokker_planck);
    right.push_back(value.value);
    error = std::max(error, value.error);
    out.rows.push_back({std::string(name(scheme)), fmt::format("{:.3f}", one.log_likelihood), fmt::format("{:.3f}", two.log_likelihood), fmt::format("{:.2f}", ratio),
                        ratio > 0 ? fmt::format("{:.2g}", boost::math::cdf(boost::math::complement(boost::math::chi_squared(2), ratio))) : "", fmt::format("{:.3f}", right.back())});
    if (scheme == Transition::hermite_2) expansion = two;
    if (scheme == Transition::euler) {
      result.checks.push_back(analysis::check_equal("ice-core-ratio", "GRIP: Euler's likelihood ratio of the cubic drift over the line is the 7.4 found with the data", "Iacus2008", ratio, 7.4, 0.05, "the printed digits"));
      const auto advice = estimators::recommend(panel, cubic.with_parameters(two.estimate));
      result.notes.push_back("GRIP: " + advice.reason + ".");
    }
  }
  result.tables.push_back(std::move(out));
  const Diffusion fitted = cubic.with_parameters(expansion.estimate);
  result.checks.push_back(analysis::check_equal("ice-core-hermite", "GRIP: at the estimate of Hermite-2 its log-likelihood is the Fokker–Planck one, although unnormalised", "AitSahalia2002", expansion.log_likelihood, right[3],
                                                std::abs(estimators::log_likelihood(panel, fitted, Transition::hermite_3).value - expansion.log_likelihood), "the expansion's next term, the difference to Hermite-3"));
  result.checks.push_back(analysis::check_at_most("ice-core-maximum", "GRIP: no estimate has a higher Fokker–Planck log-likelihood than the Fokker–Planck fit's", "AitSahalia2002", *std::max_element(right.begin(), right.end() - 1) - right[4],
                                                  0, 2 * error, fmt::format("the numerical errors of both, at most {:.0e} each; the scaled gradient of 1e-6 leaves 1e-12", error)));
  // Trapezoidal rule, exponentially accurate for a bell of deviation 0.85 on points 0.045 apart; x' within 9 of x.
  Table mass{"ice-core-mass", "The mass ∫ p(x′ | x) dx′ of the two laws at the Hermite-2 estimate: the expansion loses it where few data are (the series lies between −3.9 and 4.6).", {"x", "hermite-2", "fokker-planck"}, {}};
  for (const double x : {-4.0, -2.0, 0.0, 2.0, 4.0}) {
    double sum[2] = {0, 0};
    const Vector grid = Vector::LinSpaced(401, x - 9, x + 9);
    const Vector density = estimators::fokker_planck_density(fitted, Vector::Constant(401, x), grid, 0.1, 1).log_density.array().exp();
    for (Index i = 0; i < grid.size(); ++i) {
      sum[0] += 0.045 * std::exp(estimators::log_likelihood({{Vector{{0, 0.1}}, Matrix{{x, grid[i]}}}}, fitted, Transition::hermite_2).value);
      sum[1] += 0.045 * density[i];
    }
    mass.rows.push_back({fmt::format("{:g}", x), fmt::format("{:.4f}", sum[0]), fmt::format("{:.6f}", sum[1])});
  }
  result.tables.push_back(std::move(mass));
}

}  // namespace

StudyResult rates(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "Real data under each likelihood, side by side, with the errors from the observed information and from the sandwich. On interest rates the sandwich is larger, up to two and a half times for the diffusion "
      "coefficient: the models are wrong there, and the errors from the information too small. Checked: identities between the likelihoods that hold on any data, fits published with a package, and the "
      "Fokker-Planck likelihood against the exact one.";
  add_treasury(result);
  add_irates(result, options.data_directory);
  add_ice_core(result, options.data_directory);
  return result;
}

}  // namespace jko::validation
