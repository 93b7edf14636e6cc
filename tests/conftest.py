"""A cache of their own for the tests, and data sets where they are at hand."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

os.environ["GRAPHC_CACHE_DIR"] = os.environ.get("GRAPHC_TEST_CACHE") or tempfile.mkdtemp(prefix="graphc-tests-")


def _data(variable: str) -> Path:
    given = os.environ.get(variable)
    if not given or not Path(given).exists():
        pytest.skip(f"set {variable} to the place of the data")
    return Path(given)


@pytest.fixture
def fashion_mnist_directory() -> Path:
    """The directory of the four IDX files, from GRAPHC_FASHION_MNIST."""
    return _data("GRAPHC_FASHION_MNIST")


@pytest.fixture
def ames_file() -> Path:
    """AmesHousing.csv, from GRAPHC_AMES."""
    return _data("GRAPHC_AMES")
