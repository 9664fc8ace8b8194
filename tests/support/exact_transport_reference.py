#!/usr/bin/env python3
"""The reference values of tests/lib/transport/exact_test.cpp: SciPy's HiGHS linear program and POT's network simplex.

Debian: python3-numpy python3-scipy python3-pot. Run: python3 tests/support/exact_transport_reference.py
"""
import numpy as np
import ot
from scipy.optimize import linprog

n, m = 40, 55
i, j = np.arange(n), np.arange(m)
x = np.stack([np.sin(i + 1.0), np.cos(2.0 * i)])
y = np.stack([np.sin(3.0 * j) + 0.5, np.cos(j + 0.3)])
a = 1.0 + i % 5
b = 2.0 + j % 3
a, b = a / a.sum(), b / b.sum()


def both(cost):
    equations = np.zeros((n + m, n * m))
    for k in range(n):
        equations[k, k * m:(k + 1) * m] = 1
    for k in range(m):
        equations[n + k, k::m] = 1
    lp = linprog(cost.ravel(), A_eq=equations, b_eq=np.concatenate([a, b]), method="highs",
                 options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10})
    return lp.fun, ot.emd2(a, b, cost, numItermax=10**7)


squares = ((x[:, :, None] - y[:, None, :]) ** 2).sum(axis=0)
print("squared distances: HiGHS %.15g, POT %.15g" % both(squares))
print("distances:         HiGHS %.15g, POT %.15g" % both(np.sqrt(squares)))
