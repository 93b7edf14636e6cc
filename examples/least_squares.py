"""Gauss-Newton and Levenberg-Marquardt in one kernel each.

The Jacobian of the residuals stands inside the loop. Data, starting points and certified results are those of the
Statistical Reference Datasets (NIST, https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml): Misra1a is easy, Rat43
and MGH10 are of its highest level of difficulty.

    python examples/least_squares.py [PROBLEM ...] [--steps 20000]
"""

import argparse

import numpy as np

import graphc as gx

MISRA1A = """77.6 10.07 114.9 14.73 141.1 17.94 190.8 23.93 239.9 29.61 289.0 35.18 332.8 40.02 378.4 44.82
    434.8 50.76 477.3 55.05 536.8 61.01 593.1 66.40 689.1 75.47 760.0 81.78"""
RAT43 = """1 16.08 2 33.83 3 65.80 4 97.20 5 191.55 6 326.20 7 386.87 8 520.53 9 590.03 10 651.92 11 724.93
    12 699.56 13 689.96 14 637.56 15 717.41"""
MGH10 = """50 34780 55 28610 60 23650 65 19630 70 16370 75 13720 80 11540 85 9744 90 8261 95 7030 100 6005
    105 5147 110 4427 115 3820 120 3307 125 2872"""

# data, model, where NIST starts (far, near), certified parameters, certified sum of squares
PROBLEMS = {
    "Misra1a": (
        MISRA1A,
        lambda x, b: b[0] * (1 - gx.exp(-b[1] * x)),
        ([500, 1e-4], [250, 5e-4]),
        [2.3894212918e02, 5.5015643181e-04],
        1.2455138894e-01,
    ),
    "Rat43": (
        RAT43,
        lambda x, b: b[0] / (1 + gx.exp(b[1] - b[2] * x)) ** (1 / b[3]),
        ([100, 10, 1, 1], [700, 5, 0.75, 1.3]),
        [6.9964151270e02, 5.2771253025e00, 7.5962938329e-01, 1.2792483859e00],
        8.7864049080e03,
    ),
    "MGH10": (
        MGH10,
        lambda x, b: b[0] * gx.exp(b[1] / (x + b[2])),
        ([2, 4e5, 2.5e4], [0.02, 4000, 250]),
        [5.6096364710e-03, 6.1813463463e03, 3.4522363462e02],
        8.7945855171e01,
    ),
}


def build(data, model, size, steps, damped):
    """From a start: parameters, their sum of squares and how many steps it took."""
    g = gx.Graph("least squares", float_dtype="float64")
    start, (x, y) = g.input("start", (size,)), np.array(data.split(), float).reshape(-1, 2).T

    def residuals(b):
        return model(g.constant(x), b) - y

    def step(c):
        """Along the solution of (J'J + damping D) d = -J'r, with D the largest diagonal of J'J so far (More 1978)."""
        r, b = residuals(c["b"]), c["b"]
        j = gx.jacobian(r, b)
        most = gx.maximum(c["most"], gx.sqrt(gx.sum(j * j, 0)))  # parameters differ by many powers of ten
        scaled = j / most
        slope = r @ scaled
        if damped:
            d = gx.linalg.solve(scaled.T @ scaled + c["damping"] * g.eye(size), -slope)
        else:
            d = gx.linalg.lstsq(scaled, -r)
        new = b + d / most
        loss = gx.sum(residuals(new) ** 2)
        better = loss < c["loss"] if damped else gx.isfinite(loss)
        return {
            "b": gx.where(better, new, b),
            "loss": gx.where(better, loss, c["loss"]),
            "damping": c["damping"] * gx.where(better, 0.5, 3.0),
            "left": gx.sum(slope * slope) / gx.sum(r * r),  # the squared cosine between residuals and what J reaches
            "most": most,
            "steps": c["steps"] + 1,
        }

    first = {
        "b": start,
        "loss": gx.sum(residuals(start) ** 2),
        "damping": 1e-2,
        "left": 1.0,
        "most": g.zeros((size,)),
        "steps": 0,
    }
    last = gx.while_loop(lambda c: (c["left"] > 1e-22) & (c["damping"] < 1e12) & (c["steps"] < steps), step, first)
    return gx.compile([start], [last["b"], last["loss"], last["steps"]])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help=", ".join(PROBLEMS) + "; without, all")
    parser.add_argument("--steps", type=int, default=20000, help="the most that are made")
    options = parser.parse_args(argv)
    digits = {}
    print(f"{'':<10}{'':<22}{'from':<6}{'steps':>6}  {'digits right':>12}  sum of squares")
    for name in options.problems or PROBLEMS:
        data, model, starts, certified, least = PROBLEMS[name]
        for damped, way in ((False, "Gauss-Newton"), (True, "Levenberg-Marquardt")):
            solve = build(data, model, len(certified), options.steps, damped)
            for start, place in zip(starts, ("far", "near"), strict=True):
                b, loss, steps = solve(np.array(start, float))
                error = np.max(np.abs(b / certified - 1)) if np.all(np.isfinite(b)) else np.inf
                right = digits[name, way, place] = float(max(0, -np.log10(error + 1e-11)))
                print(f"{name:<10}{way:<22}{place:<6}{steps:>6}{right:>14.1f}  {loss:.10e} ({least:.10e})")
    return digits


if __name__ == "__main__":
    main()
