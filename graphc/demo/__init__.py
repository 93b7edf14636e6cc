"""``graphc demo``: it runs the programs of ``examples/``; here is what those read, and show besides their figures."""
