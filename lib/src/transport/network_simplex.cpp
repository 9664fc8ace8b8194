#include "network_simplex.hpp"

#include <lemon/bits/graph_extender.h>
#include <lemon/core.h>
#include <lemon/network_simplex.h>

#include <cmath>

namespace jko::lemon_solver {
namespace {

/// Every arc from n left nodes to m right ones, none of them stored: arc i m + j runs from node i to node n + j.
class FullBipartiteBase {
 public:
  class Node {
   public:
    Node() = default;
    Node(lemon::Invalid) : id_(-1) {}
    bool operator==(Node o) const { return id_ == o.id_; }
    bool operator!=(Node o) const { return id_ != o.id_; }
    bool operator<(Node o) const { return id_ < o.id_; }

   protected:
    friend class FullBipartiteBase;
    explicit Node(int id) : id_(id) {}
    int id_;
  };
  class Arc {
   public:
    Arc() = default;
    Arc(lemon::Invalid) : id_(-1) {}
    bool operator==(Arc o) const { return id_ == o.id_; }
    bool operator!=(Arc o) const { return id_ != o.id_; }
    bool operator<(Arc o) const { return id_ < o.id_; }

   protected:
    friend class FullBipartiteBase;
    explicit Arc(int id) : id_(id) {}
    int id_;
  };
  using NodeNumTag = lemon::True;
  using ArcNumTag = lemon::True;

  [[nodiscard]] int nodeNum() const { return n_ + m_; }
  [[nodiscard]] int arcNum() const { return n_ * m_; }
  [[nodiscard]] int maxNodeId() const { return nodeNum() - 1; }
  [[nodiscard]] int maxArcId() const { return arcNum() - 1; }
  [[nodiscard]] Node source(Arc a) const { return Node(a.id_ / m_); }
  [[nodiscard]] Node target(Arc a) const { return Node(n_ + a.id_ % m_); }
  static int id(Node v) { return v.id_; }
  static int id(Arc a) { return a.id_; }
  static Node nodeFromId(int id) { return Node(id); }
  static Arc arcFromId(int id) { return Arc(id); }
  void first(Node& v) const { v.id_ = nodeNum() - 1; }
  static void next(Node& v) { --v.id_; }
  void first(Arc& a) const { a.id_ = arcNum() - 1; }
  static void next(Arc& a) { --a.id_; }
  void firstOut(Arc& a, Node v) const { a.id_ = v.id_ < n_ ? (v.id_ + 1) * m_ - 1 : -1; }
  void nextOut(Arc& a) const { a.id_ = a.id_ % m_ == 0 ? -1 : a.id_ - 1; }
  void firstIn(Arc& a, Node v) const { a.id_ = v.id_ < n_ ? -1 : (n_ - 1) * m_ + v.id_ - n_; }
  void nextIn(Arc& a) const { a.id_ = a.id_ < m_ ? -1 : a.id_ - m_; }

 protected:
  void construct(int n, int m) {
    n_ = n;
    m_ = m;
  }

 private:
  int n_ = 0, m_ = 0;
};

class FullBipartite : public lemon::DigraphExtender<FullBipartiteBase> {
 public:
  FullBipartite(int n, int m) { FullBipartiteBase::construct(n, m); }
};

}  // namespace

bool network_simplex(int n, int m, const std::int64_t* supply, const std::int64_t* demand, const double* cost, double scale, double unit, const std::function<void(int, int, std::int64_t)>& flow, std::int64_t* from, std::int64_t* to) {
  const FullBipartite graph(n, m);
  using Solver = lemon::NetworkSimplex<FullBipartite, std::int64_t, std::int64_t>;
  Solver solver(graph);
  {
    FullBipartite::ArcMap<std::int64_t> costs(graph);
    for (int arc = 0; arc < n * m; ++arc) costs[FullBipartite::arcFromId(arc)] = std::llround(scale * cost[arc] * unit);
    FullBipartite::NodeMap<std::int64_t> supplies(graph);
    for (int i = 0; i < n; ++i) supplies[FullBipartite::nodeFromId(i)] = supply[i];
    for (int j = 0; j < m; ++j) supplies[FullBipartite::nodeFromId(n + j)] = -demand[j];
    solver.costMap(costs).supplyMap(supplies);
  }
  if (solver.run() != Solver::OPTIMAL) return false;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < m; ++j) {
      const std::int64_t amount = solver.flow(FullBipartite::arcFromId(i * m + j));
      if (amount > 0) flow(i, j, amount);
    }
  }
  for (int i = 0; i < n; ++i) from[i] = -solver.potential(FullBipartite::nodeFromId(i));
  for (int j = 0; j < m; ++j) to[j] = solver.potential(FullBipartite::nodeFromId(n + j));
  return true;
}

}  // namespace jko::lemon_solver
