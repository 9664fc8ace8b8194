#include <jko/core/check.hpp>
#include <jko/models/families.hpp>

#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <limits>

namespace jko {
namespace {

/// kappa/2 (x - mu)^2: written out, since it is the hot path of every study.
class OneDimensional final : public Potential {
 public:
  [[nodiscard]] int dimension() const override { return 1; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override {
    static const std::vector<Parameter> list{{"kappa", 0.0}, {"mu"}};
    return list;
  }
  [[nodiscard]] std::string describe() const override { return "kappa/2*(x-mu)^2"; }

  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    const double kappa = theta[0];
    const auto z = points.row(0).array() - theta[1];
    out.setZero();
    switch (10 * which.x + which.theta) {
      case 0: out.row(0) = 0.5 * kappa * z.square(); break;
      case 10: out.row(0) = kappa * z; break;
      case 20: out.row(0).setConstant(kappa); break;
      case 1: out.row(0) = 0.5 * z.square(), out.row(1) = -kappa * z; break;
      case 11: out.row(0) = z, out.row(1).setConstant(-kappa); break;
      case 21: out.row(0).setOnes(); break;
      case 2: out.row(1) = -z, out.row(2) = -z, out.row(3).setConstant(kappa); break;
      case 12: out.row(1).setConstant(-1), out.row(2).setConstant(-1); break;
      default: break;  // zero
    }
  }

  void jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const override {
    const double kappa = theta[0], mu = theta[1];
    if (value != nullptr) {
      for (Index i = 0; i < n; ++i) value[i] = 0.5 * kappa * (x[i] - mu) * (x[i] - mu);
    }
    if (first != nullptr) {
      for (Index i = 0; i < n; ++i) first[i] = kappa * (x[i] - mu);
    }
    if (second != nullptr) {
      for (Index i = 0; i < n; ++i) second[i] = kappa;
    }
  }

  [[nodiscard]] std::optional<Convexity> convexity(const ConstVectorRef& theta) const override {
    return Convexity{theta[0], true, "Psi'' = kappa"};
  }
  [[nodiscard]] std::optional<Quadratic> quadratic(const ConstVectorRef& theta) const override {
    return Quadratic{Matrix::Constant(1, 1, theta[0]), Vector::Constant(1, theta[1])};
  }
  [[nodiscard]] QuadraticTangent quadratic_tangent(const ConstVectorRef&) const override {
    QuadraticTangent tangent{{Matrix::Ones(1, 1), Matrix::Zero(1, 1)}, Matrix::Zero(1, 2)};
    tangent.centre(0, 1) = 1;
    return tangent;
  }
};

class ManyDimensional final : public Potential {
 public:
  explicit ManyDimensional(int dimension) : dimension_(dimension) {
    for (int i = 0; i < d(); ++i) {
      for (int j = 0; j <= i; ++j) {
        parameters_.push_back({fmt::format("k_{}_{}", i + 1, j + 1)});
        entries_.push_back({i, j});
      }
    }
    for (int i = 0; i < d(); ++i) parameters_.push_back({fmt::format("mu_{}", i + 1)});
  }
  [[nodiscard]] int dimension() const override { return dimension_; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return parameters_; }
  [[nodiscard]] std::string describe() const override { return fmt::format("(x-mu)'K(x-mu)/2 on R^{}", dimension_); }

  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    out.setZero();
    const Quadratic q = form(theta);
    const QuadraticTangent tangent = quadratic_tangent(theta);
    const Index p = parameter_count();
    const Index n = d();
    for (Index c = 0; c < points.cols(); ++c) {
      const Vector z = points.col(c) - q.centre;
      auto column = out.col(c);
      if (which.theta == 0) {
        if (which.x == 0) column[0] = 0.5 * z.dot(q.curvature * z);
        if (which.x == 1) column = q.curvature * z;
        if (which.x == 2) column = q.curvature.reshaped();
        continue;
      }
      for (Index j = 0; j < p; ++j) {
        const Matrix& dk = tangent.curvature[static_cast<std::size_t>(j)];
        const Vector dmu = tangent.centre.col(j);
        if (which.theta == 1) {
          if (which.x == 0) column[j] = 0.5 * z.dot(dk * z) - dmu.dot(q.curvature * z);
          if (which.x == 1) column.segment(n * j, n) = dk * z - q.curvature * dmu;
          if (which.x == 2) column.segment(n * n * j, n * n) = dk.reshaped();
          continue;
        }
        for (Index i = 0; i < p; ++i) {
          const Matrix& ek = tangent.curvature[static_cast<std::size_t>(i)];
          const Vector emu = tangent.centre.col(i);
          if (which.x == 0) column[i + p * j] = -emu.dot(dk * z) - dmu.dot(ek * z) + dmu.dot(q.curvature * emu);
          if (which.x == 1) column.segment(n * (i + p * j), n) = -dk * emu - ek * dmu;
        }
      }
    }
  }

  [[nodiscard]] std::optional<Convexity> convexity(const ConstVectorRef& theta) const override {
    const Eigen::SelfAdjointEigenSolver<Matrix> e(form(theta).curvature, Eigen::EigenvaluesOnly);
    return Convexity{e.eigenvalues()[0], true, "least eigenvalue of K"};
  }
  [[nodiscard]] std::optional<Quadratic> quadratic(const ConstVectorRef& theta) const override { return form(theta); }
  [[nodiscard]] QuadraticTangent quadratic_tangent(const ConstVectorRef&) const override {
    QuadraticTangent tangent;
    tangent.centre = Matrix::Zero(d(), parameter_count());
    for (const auto& [i, j] : entries_) {
      Matrix dk = Matrix::Zero(d(), d());
      dk(i, j) = dk(j, i) = 1;
      tangent.curvature.push_back(std::move(dk));
    }
    for (int i = 0; i < d(); ++i) {
      tangent.curvature.push_back(Matrix::Zero(d(), d()));
      tangent.centre(i, static_cast<Index>(entries_.size()) + i) = 1;
    }
    return tangent;
  }

 private:
  [[nodiscard]] int d() const { return dimension_; }
  [[nodiscard]] Quadratic form(const ConstVectorRef& theta) const {
    Quadratic q{Matrix(d(), d()), theta.tail(d())};
    Index at = 0;
    for (const auto& [i, j] : entries_) q.curvature(i, j) = q.curvature(j, i) = theta[at++];
    return q;
  }

  int dimension_;
  std::vector<Parameter> parameters_;
  std::vector<std::pair<int, int>> entries_;
};

}  // namespace

PotentialPtr ornstein_uhlenbeck() { return std::make_shared<OneDimensional>(); }

PotentialPtr ornstein_uhlenbeck(int dimension) {
  check_at_least("ornstein_uhlenbeck", "dimension", dimension, 1);
  return std::make_shared<ManyDimensional>(dimension);
}

}  // namespace jko
