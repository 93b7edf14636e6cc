"""A 64-32-10 ReLU network on 1,797 scans of digits.

The scans are 8 by 8 pixels and come with scikit-learn, so nothing is fetched; every fifth one is for testing. The
network is that of fashion_mnist.py, smaller: weights N(0, 0.1), batches of 32, SGD 0.1.

    python examples/digits.py [--epochs 30]
"""

from fashion_mnist import network
from images import arguments, fit

from graphc.demo.data import DataError, digits


def main(argv=None):
    """Trains and prints an epoch a line; returns the figures."""
    options = arguments(__doc__, epochs=30).parse_args(argv)
    try:
        data = digits()
    except DataError as error:
        raise SystemExit(str(error)) from None
    print("64-32-10 network, ReLU, SGD 0.1")
    return fit(lambda: network(64, options.seed, hidden=32, std=0.1), data, options, 32)[0]


if __name__ == "__main__":
    main()
