"""The largest orbit that a small thrust reaches.

From the earth's orbit with a constant thrust, whose direction is chosen at every time, to a circular orbit as far out
as possible in 193 days (Moyer and Pinkham 1964; Bryson and Ho, Applied Optimal Control, 1975, section 2.5): radius
1.525, about that of Mars. States and directions lie on trapezoids in time (collocation); SciPy's trust-constr takes
sparse derivatives.

    python examples/orbit_transfer.py [--intervals 40]
"""

import argparse

import numpy as np
from scipy.optimize import Bounds, NonlinearConstraint, minimize

import graphc as gx

THRUST, FLOW, END = 0.1405, 0.0749, 3.32  # in units of the sun's pull, the earth's orbit and the first mass
CASADI = {20: 1.5220605, 40: 1.5244872, 80: 1.5250787}  # the same trapezoids, by CasADi 3.8.2 and IPOPT


def build(n):
    """Constraints, 0 on an orbit, their Jacobian, and the Hessian of their weighted sum; z is r, u, v, direction."""
    g = gx.Graph("orbit", float_dtype="float64")
    z, weights = g.input("z", (4 * n + 4,)), g.input("weights", (3 * n + 2,))
    r, u, v, angle = (z[k * (n + 1) : (k + 1) * (n + 1)] for k in range(4))
    push = THRUST / (1 - FLOW * np.linspace(0, END, n + 1))
    slopes = u, v * v / r - 1 / (r * r) + push * gx.sin(angle), push * gx.cos(angle) - u * v / r
    gaps = [y[1:] - y[:-1] - END / (2 * n) * (dy[1:] + dy[:-1]) for y, dy in zip((r, u, v), slopes, strict=True)]
    c = gx.concat([*gaps, u[n:], v[n:] ** 2 * r[n:] - 1])  # at the end it neither climbs nor falls
    pattern, bends = gx.sparse_jacobian(c, z), gx.sparse_hessian(gx.sum(weights * c), z)
    value, jacobian = gx.compile([z], c), gx.compile([z], pattern.data)
    hessian = gx.compile([z, weights], bends.data)
    return (
        value,
        lambda z: pattern.to_scipy(jacobian(z)),
        lambda z, weights: bends.to_scipy(hessian(z, weights)),
        (pattern, bends),
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--intervals", type=int, default=40)
    options = parser.parse_args(argv)
    n = options.intervals
    value, jacobian, hessian, (pattern, bends) = build(n)
    size, outward = 4 * n + 4, np.zeros(4 * n + 4)
    outward[n] = -1.0
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    low[: n + 1] = 0.5
    for k, first in enumerate((1.0, 0.0, 1.0)):
        low[k * (n + 1)] = high[k * (n + 1)] = first
    part = np.linspace(0, 1, n + 1)
    start = np.concatenate([1 + 0.5 * part, 0 * part, 1 - 0.2 * part, np.where(part < 0.5, 1.0, 5.0)])
    best = minimize(
        lambda z: -z[n],
        start,
        jac=lambda z: outward,
        hess=lambda z: np.zeros((size, size)),
        method="trust-constr",
        constraints=NonlinearConstraint(value, 0, 0, jacobian, hessian),
        bounds=Bounds(low, high),
        options={"maxiter": 400, "gtol": 1e-7, "xtol": 1e-10, "barrier_tol": 1e-7},
    )
    print(f"{size} variables; Jacobian {pattern.shape}, {pattern.nnz} elements in {pattern.n_colors} colours")
    print(f"Hessian: {bends.nnz} elements in {bends.n_colors} colours")
    known = f" ({CASADI[n]:.4f} by CasADi and IPOPT)" if n in CASADI else ""
    print(f"{best.nit} steps: constraints hold to {best.constr_violation:.1e}, radius {-best.fun:.4f}{known}")
    return {"radius": -float(best.fun), "off": float(best.constr_violation), "casadi": CASADI.get(n), "z": best.x}


if __name__ == "__main__":
    main()
