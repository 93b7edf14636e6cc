"""Kinds of arguments on a command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """A ``type=`` for argparse: an int from ``least`` on.

    >>> at_least(1)("3")
    3
    """

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected an int of at least {least}, found {text!r}")
        return value

    return convert
