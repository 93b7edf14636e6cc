"""The chain rule and the total differential.

One variable through four functions, and one variable on two ways:

    y = f1(f2(f3(f4(x))))                    dy/dx = f1'(f2) f2'(f3) f3'(f4) f4'(x)
    y = f(u1(x), u2(x))                      dy/dx = df/du1 du1/dx + df/du2 du2/dx

Read from the left, each factor needs only what was handed on from behind: the derivative of y with respect to a
function's result, times that function's own slope, is the derivative with respect to its argument. Nothing is computed
twice, and where a value has several readers, what they hand back is added.

    python examples/chain_rule.py [--x 0.5] [--save chain.svg]
"""

import argparse
import math

import graphc as gx


def chain():
    """``log(1 + exp(sin(x**2)))`` as four functions, from the inside out."""
    g = gx.Graph("chain", float_dtype="float64")
    x = g.input("x", dtype="float64")
    f4 = gx.square(x).named("f4")
    f3 = gx.sin(f4).named("f3")
    f2 = gx.exp(f3).named("f2")
    return g, gx.log1p(f2).named("f1")


def total():
    """``u1 * u2`` with ``u1 = sin(x)`` and ``u2 = exp(x)``."""
    g = gx.Graph("total differential", float_dtype="float64")
    x = g.input("x", dtype="float64")
    u1, u2 = gx.sin(x).named("u1"), gx.exp(x).named("u2")
    return g, (u1 * u2).named("y")


def main(argv=None):
    """Prints both; returns (by hand, by graph) of both derivatives by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--x", type=float, default=0.5)
    parser.add_argument("--save", metavar="FILE", help="draw the total differential as SVG")
    options = parser.parse_args(argv)
    x = options.x

    f4, f3 = x * x, math.sin(x * x)
    f2 = math.exp(f3)
    slopes = {"f1'(f2)": 1 / (1 + f2), "f2'(f3)": f2, "f3'(f4)": math.cos(f4), "f4'(x)": 2 * x}
    by_hand = math.prod(slopes.values())
    _, y = chain()
    seen = gx.inspect(y, {"x": x})
    print(seen)
    print("\nfrom behind, each slope times what was handed on:")
    handed = 1.0
    for (name, slope), node in zip(slopes.items(), ("f2", "f3", "f4", "x"), strict=True):
        handed *= slope
        print(f"  times {name:<8} {slope:>9.6f}   dy/d{node:<3} = {handed:>9.6f}   graph {seen[node].gradient:>9.6f}")

    u1, u2 = math.sin(x), math.exp(x)
    first, second = u2 * math.cos(x), u1 * math.exp(x)
    _, y = total()
    way = gx.inspect(y, {"x": x})
    print(f"\n{way}")
    print(
        f"\nthe total differential: df/du1 du1/dx + df/du2 du2/dx = {first:.6f} + {second:.6f} = {first + second:.6f}"
    )
    if options.save:
        way.to_svg(options.save)
        print(f"drawn in {options.save}")
    return {
        "chain": (by_hand, float(seen["x"].gradient)),
        "total differential": (first + second, float(way["x"].gradient)),
    }


if __name__ == "__main__":
    main()
