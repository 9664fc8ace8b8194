#include "fit_posterior.hpp"

#include "console.hpp"

#include <jko/core/error.hpp>
#include <jko/core/nearest.hpp>
#include <jko/estimators/sampler.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <vector>

namespace jko::cli {
namespace {

using estimators::Prior;

double number_of(const std::string& text, const std::string& item) {
  double out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) throw ParseError("--priors", 0, 0, fmt::format("'{}' is no number in '{}'", text, item));
  return out;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  std::istringstream list(text);
  for (std::string item; std::getline(list, item, separator);) out.push_back(item);
  return out;
}

/// Flat between the bounds, then what the text says.
std::vector<Prior> priors_of(const Problem& problem, const std::string& text) {
  std::vector<std::string> names;
  std::vector<Prior> out;
  for (std::size_t i = 0; i < problem.parameters.size(); ++i) {
    names.push_back(problem.parameters[i].name);
    out.push_back({.lower = problem.options.lower[i], .upper = problem.options.upper[i]});
  }
  for (const std::string& item : split(text, ',')) {
    const auto equals = item.find('=');
    const auto parts = equals == std::string::npos ? std::vector<std::string>() : split(item.substr(equals + 1), ':');
    if (parts.size() != 3) throw ParseError("--priors", 0, 0, fmt::format("'{}' is not of the form name=normal:LOCATION:DEVIATION, name=log-normal:LOCATION:DEVIATION or name=gamma:SHAPE:SCALE", item));
    const std::string name = item.substr(0, equals);
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw ParseError("--priors", 0, 0, fmt::format("unknown parameter '{}'; the nearest is '{}'", name, nearest_name(name, names)));
    const auto k = static_cast<std::size_t>(found - names.begin());
    if (problem.options.fixed[k]) throw ParseError("--priors", 0, 0, fmt::format("{} is fixed and has no prior", name));
    const std::vector<std::string> kinds{"normal", "log-normal", "gamma"};
    if (parts[0] == "normal") out[k].kind = Prior::Kind::normal;
    else if (parts[0] == "log-normal") out[k].kind = Prior::Kind::log_normal;
    else if (parts[0] == "gamma") out[k].kind = Prior::Kind::gamma;
    else throw ParseError("--priors", 0, 0, fmt::format("prior '{}' is unknown; the nearest is '{}'", parts[0], nearest_name(parts[0], kinds)));
    out[k].location = number_of(parts[1], item);
    out[k].scale = number_of(parts[2], item);
  }
  return out;
}

}  // namespace

PosteriorSummary sample_posterior(const Problem& problem, const estimators::Fit& fit, const PosteriorArguments& a, double level, std::uint64_t seed, int threads) {
  if (!problem.likelihood) throw DomainError(fmt::format("fit: --posterior needs a transition likelihood, which {} is not", problem.estimator));
  const auto all = priors_of(problem, a.priors);
  if (!is_success(fit.status)) return {"posterior  none: the sampler starts from a fit that has converged\n", nullptr};
  std::vector<Index> free;
  std::vector<Prior> priors;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (problem.options.fixed[i]) continue;
    free.push_back(static_cast<Index>(i));
    priors.push_back(all[i]);
  }
  if (free.empty()) throw DomainError("fit: --posterior: every parameter is fixed");
  const auto density = estimators::posterior(priors, [&](const Vector& some) {
    Vector whole = fit.estimate;
    whole(free) = some;
    const auto l = problem.likelihood(whole);
    return estimators::LogDensity{l.value, Vector(l.gradient(free))};
  });
  Console console;
  const auto p = estimators::sample(density, fit.estimate(free), fit.covariance(free, free),
                                    {.proposal = a.proposal == "langevin" ? estimators::Proposal::langevin : estimators::Proposal::random_walk, .chains = a.chains, .warm_up = a.warm_up, .draws = a.draws, .seed = seed,
                                     .threads = threads, .observer = &console});
  if (p.cancelled) return {"posterior  cancelled\n", {{"cancelled", true}}};
  const Vector lower = p.quantile(0.5 * (1 - level)), median = p.quantile(0.5), upper = p.quantile(0.5 * (1 + level)), error = p.monte_carlo_error();
  PosteriorSummary out;
  out.text = fmt::format("posterior  {} chains of {} draws after {} of warm-up, {}; accepted {:.2f} to {:.2f}\n{:<12} {:>13} {:>12} {:>13} {:>27} {:>10} {:>8}\n", a.chains, a.draws, a.warm_up, a.proposal, p.acceptance.minCoeff(),
                         p.acceptance.maxCoeff(), "parameter", "mean", "deviation", "median", fmt::format("{:g} % interval", 100 * level), "effective", "R-hat");
  Json list = Json::array();
  for (std::size_t k = 0; k < free.size(); ++k) {
    const auto i = static_cast<Index>(k);
    const std::string& name = problem.parameters[static_cast<std::size_t>(free[k])].name;
    out.text += fmt::format("{:<12} {:>13.7g} {:>12.5g} {:>13.7g} {:>27} {:>10.0f} {:>8.4f}\n", name, p.mean[i], p.deviation[i], median[i], fmt::format("[{:.6g}, {:.6g}]", lower[i], upper[i]), p.effective_size[i], p.split_rhat[i]);
    list.push_back({{"name", name}, {"mean", number(p.mean[i])}, {"deviation", number(p.deviation[i])}, {"median", number(median[i])}, {"lower", number(lower[i])}, {"upper", number(upper[i])},
                    {"effective_size", number(p.effective_size[i])}, {"monte_carlo_error", number(error[i])}, {"split_rhat", number(p.split_rhat[i])}});
  }
  if (!(p.split_rhat.maxCoeff() < 1.01)) out.text += "warning: R-hat exceeds 1.01: the chains have not mixed; raise --warm-up and --draws\n";
  out.json = {{"proposal", a.proposal}, {"chains", a.chains}, {"warm_up", a.warm_up}, {"draws", a.draws}, {"level", level}, {"acceptance", numbers(p.acceptance)}, {"parameters", list}};
  if (!a.file.empty()) {
    std::vector<std::string> columns{"chain"};
    for (const Index i : free) columns.push_back(problem.parameters[static_cast<std::size_t>(i)].name);
    columns.emplace_back("log_density");
    Matrix table(static_cast<Index>(a.chains) * a.draws, static_cast<Index>(columns.size()));
    for (Index c = 0; c < a.chains; ++c) {
      auto block = table.middleRows(c * a.draws, a.draws);
      block.col(0).setConstant(static_cast<double>(c + 1));
      block.middleCols(1, static_cast<Index>(free.size())) = p.chains[static_cast<std::size_t>(c)].transpose();
      block.rightCols(1) = p.log_density[static_cast<std::size_t>(c)];
    }
    write_atomically(a.file, format_csv(columns, table));
  }
  return out;
}

}  // namespace jko::cli
