"""A pendulum from its energy, by SciPy's integrators.

The right-hand side is by gx.grad, solvers are from SciPy and in njit, the period is by quad. The graph holds the energy
H(q, p) = p^2 / 2 - cos q. Its gradient gives Hamilton's equations q' = dH/dp, p' = -dH/dq, for
scipy.integrate.solve_ivp, which calls Python, and for a Runge-Kutta loop in one njit function. The period of a swing
from rest at angle a is an integral, 4 K(sin^2(a / 2)), that scipy.integrate.quad takes without Python.

    python examples/pendulum.py [--angle 2.5] [--save pendulum.png]
"""

import argparse
import time

import numba
import numpy as np
import scipy.integrate
import scipy.special

import graphc as gx


def pendulum():
    """Energy and right-hand side as functions of (t, y) with y = (q, p)."""
    g = gx.Graph("pendulum", float_dtype="float64")
    t, y = g.input("t", shape=(), dtype="float64"), g.input("y", shape=(2,), dtype="float64")
    energy = y[1] ** 2 / 2 - gx.cos(y[0])
    slope = gx.grad(energy, y)
    rhs = gx.stack([slope[1], -slope[0]])
    return gx.compile([y], energy), gx.compile([t, y], rhs, unused="ignore")


def period_integrand():
    """1 / sqrt(1 - m sin^2 x), of x and m."""
    g = gx.Graph("period", float_dtype="float64")
    x, m = g.input("x", shape=(), dtype="float64"), g.input("m", shape=(), dtype="float64")
    return gx.compile([x, m], gx.rsqrt(1 - m * gx.sin(x) ** 2))


@numba.njit(cache=True)
def runge_kutta(f, y, step, steps):
    """States after each of ``steps`` steps of the classical method of order four."""
    out = np.empty((steps + 1, y.size))
    out[0] = y
    for k in range(steps):
        t = k * step
        a = f(t, y)
        b = f(t + step / 2, y + step / 2 * a)
        c = f(t + step / 2, y + step / 2 * b)
        d = f(t + step, y + step * c)
        y = y + step / 6 * (a + 2 * b + 2 * c + d)
        out[k + 1] = y
    return out


def main(argv=None):
    """Prints period and drift of the energy; returns (period, drift) by each way, and the exact period."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--angle", type=float, default=2.5, help="where it starts, between 0 and pi")
    parser.add_argument("--save", metavar="FILE", help="draw angle and energy over time")
    options = parser.parse_args(argv)

    energy, rhs = pendulum()
    start, m = np.array([options.angle, 0.0]), np.sin(options.angle / 2) ** 2
    quarter, _ = scipy.integrate.quad(
        period_integrand().low_level("double (int, double *)"), 0, np.pi / 2, args=(m,), epsabs=1e-12
    )
    exact, found = 4 * scipy.special.ellipk(m), {"quad": (4 * quarter, 0.0)}

    def turn(t, y):
        return y[1]

    turn.direction = -1  # from forth to back: once in each period
    until = 3.5 * exact
    for name, function in (("solve_ivp", rhs), ("solve_ivp, njit", rhs.njit)):
        function(0.0, start)
        began = time.perf_counter()
        solved = scipy.integrate.solve_ivp(function, (0, until), start, events=turn, rtol=1e-9, atol=1e-9)
        spent = time.perf_counter() - began
        turns = solved.t_events[0][solved.t_events[0] > exact / 2]
        drift = abs(energy(np.ascontiguousarray(solved.y[:, -1])) - energy(start))
        found[name] = (float(turns[-1] / len(turns)), float(drift))
        print(f"{name:<16} {solved.nfev:>6} calls, {1e6 * spent / solved.nfev:8.3f} us each")
    steps = 4000
    runge_kutta(rhs.njit, start, 0.1, 1)  # compiles
    began = time.perf_counter()
    path = runge_kutta(rhs.njit, start, until / steps, steps)
    spent = time.perf_counter() - began
    print(f"{'Runge-Kutta':<16} {4 * steps:>6} calls, {1e6 * spent / (4 * steps):8.3f} us each")
    at = np.flatnonzero((path[1:-1, 1] > 0) & (path[2:, 1] <= 0)) + 1
    t = (at + path[at, 1] / (path[at, 1] - path[at + 1, 1])) * until / steps
    found["Runge-Kutta"] = (float(t[-1] / len(t)), float(abs(energy(path[-1]) - energy(start))))

    print(f"\n{'':<16}{'period':>14}{'off by':>12}{'energy drift':>14}")
    for name, (period, drift) in found.items():
        print(f"{name:<16}{period:>14.9f}{abs(period - exact):>12.1e}{drift:>14.1e}")
    if options.save:
        from plotting import figure

        fig, (angle, change) = figure(1, 2)
        times = np.linspace(0, until, steps + 1)
        angle.plot(times, path[:, 0])
        angle.set(xlabel="t", ylabel="angle")
        change.plot(times, [energy(y) - energy(start) for y in path])
        change.set(xlabel="t", ylabel="energy gained by Runge-Kutta")
        fig.savefig(options.save, dpi=110)
    return {"exact": exact, **found}


if __name__ == "__main__":
    main()
