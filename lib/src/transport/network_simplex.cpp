#include "network_simplex.hpp"

#include <lemon/bits/graph_extender.h>
#include <lemon/core.h>
#include <lemon/network_simplex.h>
#include <lemon/static_graph.h>

#include <utility>

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

/// ends(arc): the rows and columns of arc `index`, 0 <= index < count.
template <class Graph, class ArcAt, class Cost, class Ends>
bool solve(const Graph& graph, int n, int m, int count, const std::int64_t* supply, const std::int64_t* demand, const ArcAt& arc_at, const Cost& cost, const Ends& ends,
           const std::function<void(int, int, std::int64_t)>& flow, std::int64_t* from, std::int64_t* to) {
  using Solver = lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t>;
  Solver solver(graph);
  {
    typename Graph::template ArcMap<std::int64_t> costs(graph);
    for (int k = 0; k < count; ++k) costs[arc_at(k)] = cost(k);
    typename Graph::template NodeMap<std::int64_t> supplies(graph);
    for (int i = 0; i < n; ++i) supplies[graph.nodeFromId(i)] = supply[i];
    for (int j = 0; j < m; ++j) supplies[graph.nodeFromId(n + j)] = -demand[j];
    solver.costMap(costs).supplyMap(supplies);
  }
  if (solver.run() != Solver::OPTIMAL) return false;
  for (int k = 0; k < count; ++k) {
    const std::int64_t amount = solver.flow(arc_at(k));
    const auto [i, j] = ends(k);
    if (amount > 0) flow(i, j, amount);
  }
  for (int i = 0; i < n; ++i) from[i] = -solver.potential(graph.nodeFromId(i));
  for (int j = 0; j < m; ++j) to[j] = solver.potential(graph.nodeFromId(n + j));
  return true;
}

}  // namespace

bool network_simplex(int n, int m, const std::int64_t* supply, const std::int64_t* demand, const std::int64_t* cost, const std::function<void(int, int, std::int64_t)>& flow, std::int64_t* from, std::int64_t* to) {
  const FullBipartite graph(n, m);
  return solve(graph, n, m, n * m, supply, demand, [](int k) { return FullBipartite::arcFromId(k); }, [&](int k) { return cost[k]; },
               [&](int k) { return std::make_pair(k / m, k % m); }, flow, from, to);
}

bool network_simplex(int n, int m, const std::int64_t* supply, const std::int64_t* demand, const std::vector<Arc>& arcs, const std::function<void(int, int, std::int64_t)>& flow, std::int64_t* from, std::int64_t* to) {
  std::vector<std::pair<int, int>> ends;
  ends.reserve(arcs.size());
  for (const Arc& arc : arcs) ends.emplace_back(arc.from, n + arc.to);
  lemon::StaticDigraph graph;
  graph.build(n + m, ends.begin(), ends.end());
  const auto at = [&](int k) -> const Arc& { return arcs[static_cast<std::size_t>(k)]; };
  return solve(graph, n, m, static_cast<int>(arcs.size()), supply, demand, [](int k) { return lemon::StaticDigraph::arcFromId(k); }, [&](int k) { return at(k).cost; },
               [&](int k) { return std::make_pair(at(k).from, at(k).to); }, flow, from, to);
}

}  // namespace jko::lemon_solver
