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
  from.resize(n);
  next.resize(n);
  start.reserve(static_cast<std::size_t>(n));
  Index at = 0, transition = 0;
  for (const Path& path : panel) {
    const Index count = path.transitions();
    x.segment(at, count + 1) = path.values.row(0).transpose();
    dt.segment(transition, count) = path.times.tail(count) - path.times.head(count);
    from.segment(transition, count) = x.segment(at, count);
    next.segment(transition, count) = x.segment(at + 1, count);
    for (Index i = 0; i < count; ++i) start.push_back(at + i);
    paths.emplace_back(at, at + count);
    at += count + 1;
    transition += count;
  }
}

Transitions Transitions::thinned(Index stride) const {
  const Index count = (size() + stride - 1) / stride;
  Transitions out;
  out.x.resize(2 * count);
  out.dt.resize(count);
  out.from.resize(count);
  out.next.resize(count);
  for (Index k = 0; k < count; ++k) {
    out.x[2 * k] = out.from[k] = from[k * stride];
    out.x[2 * k + 1] = out.next[k] = next[k * stride];
    out.dt[k] = dt[k * stride];
    out.start.push_back(2 * k);
    out.paths.emplace_back(2 * k, 2 * k + 1);
  }
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
  out.variance = terms.variance.sum();
  out.score_variance = std::move(terms.score_variance);
  if (terms.expected.size() > 0) out.expected = std::move(terms.expected);
  else out.expected.noalias() = terms.scores * terms.scores.transpose();
  if (with_scores) out.scores = std::move(terms.scores);
  return out;
}

}  // namespace jko::estimators
