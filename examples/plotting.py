"""Where the plots of the examples go."""


def figure(rows=1, columns=1, size=(9, 4)):
    """A matplotlib figure and its axes; one line that names the extra where matplotlib is missing."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        raise SystemExit('this plots with matplotlib: pip install "graphc[demo]"') from None
    return plt.subplots(rows, columns, figsize=size, layout="constrained")
