"""A Kalman filter whose likelihood is maximised.

The flow of the Nile at Aswan, 1871 to 1970, is a level that moves from year to year, seen with noise (Durbin and
Koopman, Time Series Analysis by State Space Methods, 2001, section 2.10). The book's variances and likelihood are
reached; the likelihood is also that of all years at once, one normal distribution in 100 dimensions.

    python examples/kalman.py
"""

import argparse

import numpy as np
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

import graphc as gx

FLOW = """1120 1160 963 1210 1160 1160 813 1230 1370 1140 995 935 1110 994 1020 960 1180 799 958 1140 1100 1210 1150
    1250 1260 1220 1030 1100 774 840 874 694 940 833 701 916 692 1020 1050 969 831 726 456 824 702 1120 1100 832 764
    821 768 845 864 862 698 845 744 796 1040 759 781 865 845 944 984 897 822 1010 771 676 649 846 812 742 801 1040 860
    874 848 890 744 749 838 1050 918 986 797 923 975 815 1020 906 901 1170 912 746 919 718 714 740"""
BOOK = {"noise": 15099.0, "level": 1469.1, "log likelihood": -632.54}


def build():
    """The log likelihood of a series after its first value, its gradient and Hessian by the two log variances."""
    g = gx.Graph("kalman", float_dtype="float64")
    p, y = g.input("log variances", (2,)), g.input("y", ("time",))
    noise, level = gx.exp(p[0]), gx.exp(p[1])

    def step(state, seen):
        mean, variance = state
        variance = variance + level
        total, error = variance + noise, seen - mean
        gain = variance / total
        density = -0.5 * (gx.log(2 * np.pi * total) + error**2 / total)
        return (mean + gain * error, variance * (1 - gain)), (density, mean)

    _, (densities, means) = gx.scan(step, (y[0], noise), y[1:])  # nothing is known of the level before the first year
    loss = -gx.sum(densities)
    slope, bend = gx.grad(loss, p), gx.hessian(loss, p)
    return gx.compile([p, y], [loss, slope]), gx.compile([p, y], bend), gx.compile([p, y], means)


def at_once(p, y):
    """The same without a filter: differences to the first year are normal, with these covariances."""
    noise, level = np.exp(p)
    n = np.arange(1, len(y))
    covariance = noise * (1 + np.eye(len(n))) + level * np.minimum(n[:, None], n)
    return -multivariate_normal(cov=covariance).logpdf(y[1:] - y[0])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args(argv)
    y = np.array(FLOW.split(), float)
    value, bend, _ = build()
    start = np.log([1e4, 1e4])
    best = minimize(value, start, args=(y,), jac=True, hess=bend, method="trust-exact", options={"gtol": 1e-8})
    error = abs(at_once(start, y) - value(start, y)[0])
    deviations = np.sqrt(np.diag(np.linalg.inv(bend(best.x, y))))
    found = {"noise": np.exp(best.x[0]), "level": np.exp(best.x[1]), "log likelihood": -best.fun}
    for k, (name, v) in enumerate(found.items()):
        known = f", log to within {deviations[k]:.2f}" if k < 2 else ""
        print(f"{name:<15}{v:>10.2f}, in the book {BOOK[name]:.2f}{known}")
    print(f"{best.nit} steps of Newton's method; filter and one distribution differ by {error:.1e}")
    return {"found": found, "book": BOOK, "error": error, "steps": best.nit}


if __name__ == "__main__":
    main()
