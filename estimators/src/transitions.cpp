#include "transitions.hpp"

#include <jko/core/error.hpp>

#include <fmt/format.h>

#include <utility>

namespace jko::estimators {

Transitions::Transitions(const Panel& panel) {
  Index observations = 0, n = 0;
  for (const Path& path : panel) {
    if (path.values.rows() != 1) throw ShapeError(fmt::format("log_likelihood: the data have dimension {}, but the model 1", path.values.rows()));
    observations += path.values.cols();
    n += path.transitions();
  }
  x.resize(observations);
  dt.resize(n);
  start.reserve(static_cast<std::size_t>(n));
  Index at = 0, transition = 0;
  for (const Path& path : panel) {
    const Index count = path.transitions();
    x.segment(at, count + 1) = path.values.row(0).transpose();
    dt.segment(transition, count) = path.times.tail(count) - path.times.head(count);
    for (Index i = 0; i < count; ++i) start.push_back(at + i);
    paths.emplace_back(at, at + count);
    at += count + 1;
    transition += count;
  }
}

Vector Transitions::from() const {
  Vector out(size());
  for (Index i = 0; i < size(); ++i) out[i] = x[start[static_cast<std::size_t>(i)]];
  return out;
}

Vector Transitions::next() const {
  Vector out(size());
  for (Index i = 0; i < size(); ++i) out[i] = x[start[static_cast<std::size_t>(i)] + 1];
  return out;
}

LikelihoodValue collect(Terms terms, bool with_scores) {
  LikelihoodValue out;
  const Index count = terms.scores.rows();
  out.gradient = Vector::Zero(count);
  out.expected = Matrix::Zero(count, count);
  out.value = terms.log_density.sum();
  if (!std::isfinite(out.value) || !terms.scores.allFinite()) {
    out.value = -std::numeric_limits<double>::infinity();
    return out;
  }
  out.gradient = terms.scores.rowwise().sum();
  out.error = terms.error.sum();
  if (terms.expected.size() > 0) out.expected = std::move(terms.expected);
  else out.expected.noalias() = terms.scores * terms.scores.transpose();
  if (with_scores) out.scores = std::move(terms.scores);
  return out;
}

}  // namespace jko::estimators
