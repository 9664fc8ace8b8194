#pragma once
/// Linear-algebra vocabulary of the whole project.
///
/// Shapes: a set of n points in R^d is a d x n matrix, one point a column. A batch of k-index quantities
/// (a Hessian at each point, say) is a matrix with one column a point, the column being the quantity stored
/// in column-major order.
#include <Eigen/Core>

namespace jko {

using Index = Eigen::Index;
using Vector = Eigen::VectorXd;
using Matrix = Eigen::MatrixXd;
using VectorRef = Eigen::Ref<Vector>;
using MatrixRef = Eigen::Ref<Matrix>;
using ConstVectorRef = Eigen::Ref<const Vector>;
using ConstMatrixRef = Eigen::Ref<const Matrix>;

}  // namespace jko
