"""A cache of their own for the tests, and data sets where they are at hand."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

os.environ["GRAPHC_CACHE_DIR"] = os.environ.get("GRAPHC_TEST_CACHE") or tempfile.mkdtemp(prefix="graphc-tests-")


# What CI runs on each version of Python and of the packages, and for other processors: some minutes that touch every
# part. A file stands for all its tests, or is followed by the beginnings of their names.
CORE = """
test_graph test_rewrite test_entry test_words test_optim test_floors
test_ops: values symbolic
test_dtypes: functions operands where casts a_cast every_op_takes_every_dtype_or_refuses_it_and_writes_its_results_alone[1
test_special_values: elementwise nan
test_control: a_scan_is loops_in a_branch_runs a_while_loop random_numbers
test_edges: rows_of an_empty a_slice sizes
test_executable: structures inputs outputs out_is updates parameters labels run_batches calls_from a_forked threads dropout
test_native: a_function state scalars arguments sizes
test_lower: a_form other dtypes
test_lazy: the_interpreter bad_input
test_cache: all_that_decides the_code_can records a_warm_start settings without_a_compiler
test_engines: functions an_engine private none exported a_later
test_export_python: state arguments
test_file: golden training the_graph_goes_on
test_onnx: every_op_agrees_or_is_refused_with_its_reason[float32-s integers
test_scipy: quad_over filters value_and_gradient
test_shards: one_thread
test_sums: known_sizes[shape0
test_tiles: every_depth nan kernels
"""
_CHOSEN = {
    name: words.split() if mark else [""]
    for line in CORE.split("\n")
    for name, mark, words in ([line.partition(":")] if ":" in line else [(n, "", "") for n in line.split()])
}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run of the core alone does not read the other files."""
    alone = config.option.markexpr.startswith("core") and collection_path.suffix == ".py"
    return True if alone and collection_path.stem not in _CHOSEN else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        beginnings = _CHOSEN.get(item.path.stem, []) if item.path.parent == Path(__file__).parent else []
        if item.name.startswith(tuple(f"test_{words}" for words in beginnings)):
            item.add_marker("core")


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
