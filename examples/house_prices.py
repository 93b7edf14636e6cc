"""House prices in Ames: a small network with weight decay and dropout on and off, beside ridge regression.

Missing values become medians and columns of their own, texts one-hot columns; everything is fitted on the training
folds. The score is the root mean squared error of the logarithm of the price, over five folds.

    python examples/house_prices.py AmesHousing.csv

The environment variable GRAPHC_AMES names the file as well.
"""

import argparse
import os
from pathlib import Path

from graphc.demo import houses


def main(argv=None):
    """Prints the table; returns its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=os.environ.get("GRAPHC_AMES"))
    parser.add_argument("--epochs", type=int, default=houses.EPOCHS)
    options = parser.parse_args(argv)
    if options.file is None:
        print("skipped: name AmesHousing.csv, or set GRAPHC_AMES")
        return []
    return houses.run(Path(options.file), epochs=options.epochs)["rows"]


if __name__ == "__main__":
    main()
