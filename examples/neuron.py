"""One sigmoid neuron: the chain rule, node by node, by hand and by the graph.

python examples/neuron.py
"""

from graphc.demo.small import neuron


def main() -> dict:
    """Prints every node's value and derivative."""
    return neuron(x=1.5, w=0.8, b=-0.4, target=1.0)


if __name__ == "__main__":
    main()
