"""A race car in least time, by collocation for trust-constr.

The problem is that of CasADi's example (Andersson et al. 2019): position p and speed v obey p' = v, v' = u - v with a
throttle u from 0 to 1, and the track allows a speed of 1 - sin(2 pi p) / 2. States lie on trapezoids in time. SciPy's
trust-constr takes the constraints' sparse Jacobian and the Lagrangian's sparse Hessian, each compiled to one kernel.

    python examples/race_car.py [--intervals 40]
"""

import argparse

import numpy as np
from scipy.optimize import Bounds, NonlinearConstraint, minimize

import graphc as gx

# The least time on so many intervals, by CasADi 3.8.2 and IPOPT; multiple shooting on 100, its example, gives 1.9046.
CASADI = {20: 1.9018787, 40: 1.9047656, 100: 1.9046613}


def build(n):
    """Constraints c (0 where motions fit, the speed left), their Jacobian, and the Hessian of their weighted sum."""
    g = gx.Graph("race car", float_dtype="float64")
    z, weights = g.input("z", (3 * n + 3,)), g.input("weights", (2 * n + n + 1,))
    p, v, u, time = z[: n + 1], z[n + 1 : 2 * n + 2], z[2 * n + 2 : 3 * n + 2], z[3 * n + 2]
    half = time / (2 * n)
    moves = p[1:] - p[:-1] - half * (v[1:] + v[:-1])
    speeds = v[1:] - v[:-1] - half * (2 * u - v[1:] - v[:-1])
    c = gx.concat([moves, speeds, 1 - gx.sin(2 * np.pi * p) / 2 - v])
    slopes, bends = gx.sparse_jacobian(c, z), gx.sparse_hessian(gx.sum(weights * c), z)
    value, jacobian = gx.compile([z], c), gx.compile([z], slopes.data)
    hessian = gx.compile([z, weights], bends.data)
    return (
        value,
        lambda z: slopes.to_scipy(jacobian(z)),
        lambda z, weights: bends.to_scipy(hessian(z, weights)),
        (slopes, bends),
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--intervals", type=int, default=40)
    options = parser.parse_args(argv)
    n = options.intervals
    value, jacobian, hessian, (slopes, bends) = build(n)
    inf, none, one = np.inf, np.zeros, np.ones
    low = np.concatenate([none(1), -inf * one(n - 1), one(1), none(1), -inf * one(n), none(n), none(1)])
    high = np.concatenate([none(1), inf * one(n - 1), one(1), none(1), inf * one(n), one(n), inf * one(1)])
    start = np.concatenate([np.linspace(0, 1, n + 1), none(1), 0.5 * one(n), 0.5 * one(n), 2 * one(1)])
    fits = NonlinearConstraint(value, none(3 * n + 1), np.r_[none(2 * n), inf * one(n + 1)], jacobian, hessian)
    pick = np.zeros(3 * n + 3)
    pick[-1] = 1.0
    best = minimize(
        lambda z: z[-1],
        start,
        jac=lambda z: pick,
        hess=lambda z: np.zeros((3 * n + 3, 3 * n + 3)),
        method="trust-constr",
        constraints=fits,
        bounds=Bounds(low, high),
        options={"maxiter": 400, "gtol": 1e-7, "xtol": 1e-10, "barrier_tol": 1e-7},
    )
    print(f"{3 * n + 3} variables; Jacobian {slopes.shape}, {slopes.nnz} elements in {slopes.n_colors} colours")
    print(f"Hessian: {bends.nnz} elements in {bends.n_colors} colours")
    known = f" ({CASADI[n]:.4f} by CasADi and IPOPT)" if n in CASADI else ""
    print(f"{best.nit} steps: constraints hold to {best.constr_violation:.1e}, T = {best.fun:.4f}{known}")
    return {"time": float(best.fun), "off": float(best.constr_violation), "casadi": CASADI.get(n), "z": best.x}


if __name__ == "__main__":
    main()
