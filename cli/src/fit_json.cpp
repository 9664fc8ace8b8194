#include "fit_json.hpp"

#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::cli {
namespace {

Json rows(const Matrix& matrix) {
  Json out = Json::array();
  for (Index i = 0; i < matrix.rows(); ++i) {
    out.push_back(Json::array());
    for (Index j = 0; j < matrix.cols(); ++j) out.back().push_back(number(matrix(i, j)));
  }
  return out;
}

}  // namespace

Json number(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

Json numbers(const ConstVectorRef& values) {
  Json out = Json::array();
  for (const double x : values) out.push_back(number(x));
  return out;
}

Json fit_json(const estimators::Fit& fit, const std::string& family) {
  Json parameters = Json::array();
  const Matrix intervals = fit.intervals();
  for (Index i = 0; i < fit.estimate.size(); ++i) {
    const auto k = static_cast<std::size_t>(i);
    parameters.push_back({{"name", fit.names[k]}, {"estimate", number(fit.estimate[i])}, {"fixed", static_cast<bool>(fit.fixed[k])}, {"standard_error", number(fit.standard_errors()[i])},
                          {"sandwich_error", number(fit.sandwich_errors()[i])}, {"lower", number(intervals(i, 0))}, {"upper", number(intervals(i, 1))}});
  }
  for (Index i = 0; i < fit.monte_carlo_errors.size(); ++i) parameters[static_cast<std::size_t>(i)]["monte_carlo_error"] = number(fit.monte_carlo_errors[i]);
  return {{"status", name(fit.status)}, {"message", describe(fit.status)}, {"family", family}, {"model", fit.model}, {"estimator", fit.estimator}, {"theorem", fit.theorem}, {"n", fit.n}, {"T", fit.duration},
          {"log_likelihood", number(fit.log_likelihood)}, {"gradient_norm", number(fit.gradient_norm)}, {"parameters", parameters}, {"covariance", rows(fit.covariance)},
          {"sandwich", rows(fit.sandwich)}, {"aic", number(fit.aic())}, {"bic", number(fit.bic())}, {"iterations", fit.iterations}, {"starts", fit.starts}, {"starts_agreed", fit.agreed}, {"warnings", fit.warnings}, {"seconds", fit.seconds}, {"version", JKO_VERSION}};
}

FittedParameters read_fit(const std::string& file, const std::vector<Parameter>& list) {
  const auto count = static_cast<Index>(list.size());
  FittedParameters out{Vector(count), Matrix(count, count), Matrix(count, count), {}};
  try {
    const auto json = nlohmann::json::parse(read_file(file));
    out.estimator = json.at("estimator").get<std::string>();
    if (static_cast<Index>(json.at("parameters").size()) != count) throw ParseError(file, 0, 0, "its parameters are not those of the model");
    for (Index i = 0; i < count; ++i) {
      const auto& p = json.at("parameters").at(static_cast<std::size_t>(i));
      const std::string& expected = list[static_cast<std::size_t>(i)].name;
      if (p.at("name").get<std::string>() != expected) throw ParseError(file, 0, 0, fmt::format("parameter '{}' stands where the model has '{}'", p.at("name").get<std::string>(), expected));
      out.estimate[i] = p.at("estimate").get<double>();
      for (Index j = 0; j < count; ++j) {
        const auto entry = [&](const char* key) { return json.at(key).at(static_cast<std::size_t>(i)).at(static_cast<std::size_t>(j)).get<double>(); };
        out.sandwich(i, j) = entry("sandwich");
        out.information(i, j) = entry("covariance");
      }
    }
  } catch (const nlohmann::json::exception& e) {
    throw ParseError(file, 0, 0, fmt::format("this is no result of jko fit: {}", e.what()));
  }
  return out;
}

}  // namespace jko::cli
