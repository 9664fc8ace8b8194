#include <jko/estimators/delta_method.hpp>

#include <jko/core/check.hpp>
#include <jko/core/nearest.hpp>
#include <jko/models/formula.hpp>

#include <boost/math/distributions/normal.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace jko::estimators {
namespace {

DeltaMethod assembled(const Fit& fit, std::vector<std::string> names, Vector value, Matrix gradient) {
  DeltaMethod out{std::move(names), std::move(value), std::move(gradient), {}, {}};
  out.covariance = out.gradient * fit.covariance * out.gradient.transpose();
  out.sandwich = out.gradient * fit.sandwich * out.gradient.transpose();
  return out;
}

void check_fit(const Fit& fit) {
  const Index count = fit.estimate.size();
  if (count == 0 || fit.covariance.rows() != count || fit.sandwich.rows() != count) throw DomainError("delta_method: the fit has no estimate with a covariance");
}

}  // namespace

Vector DeltaMethod::standard_errors() const { return covariance.diagonal().cwiseMax(0.0).cwiseSqrt(); }
Vector DeltaMethod::sandwich_errors() const { return sandwich.diagonal().cwiseMax(0.0).cwiseSqrt(); }

Matrix DeltaMethod::intervals(double level, bool use_sandwich) const {
  if (!(level > 0 && level < 1)) throw DomainError(fmt::format("delta_method: level is {}, but must lie in (0, 1)", level));
  const double z = boost::math::quantile(boost::math::normal(), 0.5 * (1 + level));
  const Vector error = use_sandwich ? sandwich_errors() : standard_errors();
  Matrix out(value.size(), 2);
  out << value - z * error, value + z * error;
  return out;
}

DeltaMethod delta_method(const Fit& fit, const std::function<Vector(const Vector&)>& function, std::vector<std::string> names) {
  check_fit(fit);
  const Vector value = function(fit.estimate), error = fit.standard_errors();
  if (names.empty()) {
    for (Index i = 0; i < value.size(); ++i) names.push_back(fmt::format("g{}", i + 1));
  }
  check_size("delta_method", "the list of names", static_cast<Index>(names.size()), value.size());
  Matrix gradient = Matrix::Zero(value.size(), fit.estimate.size());
  for (Index i = 0; i < fit.estimate.size(); ++i) {
    if (!(error[i] > 0)) continue;
    const auto difference = [&](double step) {
      Vector up = fit.estimate, down = fit.estimate;
      up[i] += step;
      down[i] -= step;
      return Vector((function(up) - function(down)) / (2 * step));
    };
    const double step = 0.05 * error[i];
    gradient.col(i) = (4 * difference(0.5 * step) - difference(step)) / 3;
  }
  return assembled(fit, std::move(names), value, std::move(gradient));
}

DeltaMethod delta_method(const Fit& fit, std::string_view text) {
  check_fit(fit);
  // Formulas of potentials reserve x and beta: every name goes in under a prefix, and comes out by its position.
  const std::string prefix = "parameter_";
  std::string renamed;
  for (std::size_t i = 0; i < text.size();) {
    const auto word = [&](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
    std::size_t end = i;
    while (end < text.size() && word(text[end])) ++end;
    const std::string_view token = text.substr(i, std::max<std::size_t>(end - i, 1));
    if (end == i || std::isdigit(static_cast<unsigned char>(token.front())) != 0) {
      renamed += token;
    } else {
      const bool call = end < text.size() && text.substr(end).find_first_not_of(' ') != std::string_view::npos && text[end + text.substr(end).find_first_not_of(' ')] == '(';
      const bool parameter = std::find(fit.names.begin(), fit.names.end(), token) != fit.names.end();
      if (!parameter && !call && token != "Pi") throw DomainError(fmt::format("delta_method: '{}' is no parameter of the fit; the nearest is '{}'", token, nearest_name(token, fit.names)));
      renamed += parameter ? prefix + std::string(token) : std::string(token);
    }
    i += token.size();
  }
  const PotentialPtr g = formula(renamed);
  Vector at(g->parameter_count());
  std::vector<Index> position;
  for (Index j = 0; j < at.size(); ++j) {
    const std::string name = g->parameters()[static_cast<std::size_t>(j)].name.substr(prefix.size());
    position.push_back(std::find(fit.names.begin(), fit.names.end(), name) - fit.names.begin());
    at[j] = fit.estimate[position.back()];
  }
  const Matrix origin = Matrix::Zero(1, 1);  // the formula has no x
  Matrix gradient = Matrix::Zero(1, fit.estimate.size());
  if (at.size() > 0) {
    const Matrix slope = g->evaluate({0, 1}, origin, at);
    for (Index j = 0; j < at.size(); ++j) gradient(0, position[static_cast<std::size_t>(j)]) = slope(j, 0);
  }
  return assembled(fit, {std::string(text)}, Vector(g->evaluate({0, 0}, origin, at).col(0)), std::move(gradient));
}

}  // namespace jko::estimators
