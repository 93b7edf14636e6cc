"""Draws the pictures of the documentation with the examples: python docs/make_images.py [NAME ...]

fashion-mnist, lenet and houses need GRAPHC_FASHION_MNIST and GRAPHC_AMES, and are left as they are without.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
COMMANDS = {
    "chain.svg": ["chain_rule"],
    "neuron.svg": ["neuron"],
    "xor.svg": ["xor", "--steps", "1"],
    "softmax.svg": ["softmax_classifier"],
    "weight-decay.svg": ["weight_decay"],
    "dropout.svg": ["weight_decay", "--dropout"],
    "activations.png": ["activations"],
    "descent.png": ["descent"],
    "optimizers.png": ["optimizers"],
    "savings.png": ["savings"],
    "overfitting.png": ["overfitting"],
    "fashion-mnist.png": ["fashion_mnist"],
    "lenet.png": ["lenet", "--epochs", "5"],
    "houses.png": ["house_prices"],
}
NEEDS = {"fashion-mnist.png": "GRAPHC_FASHION_MNIST", "lenet.png": "GRAPHC_FASHION_MNIST", "houses.png": "GRAPHC_AMES"}


def main(names: Sequence[str]) -> None:
    """Draws the pictures of these names, all of them by default."""
    for name in names or COMMANDS:
        if name in NEEDS and not os.environ.get(NEEDS[name]):
            print(f"{name}: skipped, set {NEEDS[name]}")
            continue
        example, *options = COMMANDS[name]
        file = DOCS.parent / "examples" / f"{example}.py"
        places = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
        subprocess.run([sys.executable, str(file), *options, "--save", str(IMAGES / name)], check=True, env=places)


if __name__ == "__main__":
    main(sys.argv[1:])
