"""The network of fashion_mnist.py as a C library, and the program examples/c/fashion_mnist.c that trains it.

    python examples/export_fashion_mnist.py DIRECTORY [--cpu x86-64-v3] [--pixels 784]
    cc -O2 examples/c/fashion_mnist.c -I DIRECTORY DIRECTORY/libfashion.a -lm -o train
    ./train FOLDER [EPOCHS]

FOLDER holds the four IDX files, not gzipped. The program needs no Python: only the C library and libm.
"""

import argparse

from fashion_mnist import network

import graphc as gx


def main(argv=None):
    """Writes the library; returns the two executables in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--cpu", default="native")
    parser.add_argument("--pixels", type=int, default=784, help="of an image")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    train, infer = network(options.pixels, options.seed)
    try:
        gx.export_c(options.directory, name="fashion", cpu=options.cpu, train=train, infer=infer)
    except gx.ExportError as error:
        raise SystemExit(error.message) from None
    print(f"wrote {options.directory}: see README.md there")
    return train, infer


if __name__ == "__main__":
    main()
