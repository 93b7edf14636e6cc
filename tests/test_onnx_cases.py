"""ONNX's own test cases: what is read is right, and no legal model is called damaged."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from onnx_cases import run

# of all cases; of the others most are of text and sequences, or want a shape from data
READ = {"as they are": 0.65, "with symbols for sizes": 0.5}


def check(found: dict[str, Any], least: float) -> None:
    wrong = {case: what for case, what in found.items() if what[0] not in ("right", "right when fixed", "not read")}
    assert not wrong, wrong
    count = Counter(what for what, _ in found.values())
    assert count["right"] >= least * len(found), count


@pytest.mark.slow
@pytest.mark.parametrize("form", READ)
def test_every_case(form: str) -> None:
    check(run(symbols=form != "as they are"), READ[form])


@pytest.mark.nightly
def test_every_case_compiled() -> None:
    check(run(backend="numba"), READ["as they are"])
