"""Einstein's sums: what NumPy gives, in both forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx

SIZES = dict(zip("abijkl", (2, 3, 4, 5, 2, 3), strict=True))
WORDS = [
    "ij,jk->ik", "ij,jk", "ba", "ji", "ii", "ii->i", "iii->i", "ij->", "i,i", "i,j->ij", "i,i->i", "ij,i->ij", "ij,j->ji",
    "bij,bjk->bik", "bij,kj->bik", "ij,jk,kl->il", "ij,jk,kl,la->ia", "ij,ij,ij->j", "abi,abj->ij", "i,ij,j->", "ii,ij->j",
    "...ij,...jk->...ik", "...i->...", "...i,i...->...", "i...,i...->i...", "a...b->b...a", " a b , b -> a", "ij,kl->ijkl",
    ",i->i", "i,->i", ",->", "i,ij->j",
]  # fmt: skip


@pytest.mark.parametrize("symbolic", [False, True], ids=["known", "symbolic"])
def test_words(symbolic: bool) -> None:
    rng = np.random.default_rng(0)
    g = gx.Graph("g", float_dtype="float64")
    inputs, arrays, made, expected = [], [], {}, {}
    for number, word in enumerate(WORDS):
        operands, tensors = [], []
        for k, term in enumerate(word.split("->")[0].replace(" ", "").split(",")):
            shape = [SIZES[c] for c in term.replace("...", "ab" if word != "...i,i...->..." else "a")]
            operands.append(rng.normal(size=shape))
            names = [f"d{number}_{c}" for c in term.replace("...", "ab" if word != "...i,i...->..." else "a")]
            tensors.append(g.input(f"x{number}_{k}", names if symbolic else shape))
        made[word], expected[word] = gx.einsum(word, *tensors), np.einsum(word, *operands)
        inputs += tensors
        arrays += operands
    for name, found in gx.compile(inputs, made, backend="numpy")(*arrays).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-12, atol=1e-13, err_msg=name)


def test_lists_of_ints_and_axes_that_broadcast() -> None:
    rng = np.random.default_rng(1)
    a, b, c = rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.normal(size=(2, 1, 5, 3))
    g = gx.Graph("g", float_dtype="float64")
    x, y, z = g.input("x", a.shape), g.input("y", b.shape), g.input("z", c.shape)
    calls: list[tuple[Any, Any]] = [
        (gx.einsum(x, [0, 1], y, [1, 2], [2, 0]), np.einsum(a, [0, 1], b, [1, 2], [2, 0])),
        (gx.einsum(x, [5, 3], y, [3, 4]), np.einsum(a, [5, 3], b, [3, 4])),
        (gx.einsum(z, [..., 1], x, [1, 0], [..., 0]), np.einsum(c, [..., 1], a, [1, 0], [..., 0])),
        (gx.einsum("...ij,...j->...i", z, g.constant(rng.normal(size=(4, 3)))), None),
    ]
    shape = calls.pop()[0].shape
    assert shape == (2, 4, 5)
    for found, want in zip(gx.compile([x, y, z], [t for t, _ in calls])(a, b, c), (w for _, w in calls), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-12)


WRONG: list[Any] = [
    ("terms too few", lambda x: gx.einsum("ij", x, x), "1 terms for 2 operands"),
    ("letters too few", lambda x: gx.einsum("i->i", x), "the term 'i' does not fit"),
    ("no letters", lambda x: gx.einsum("i1->i", x), "does not fit"),
    ("two dots", lambda x: gx.einsum("..i->i", x), "does not fit"),
    ("sizes differ", lambda x: gx.einsum("ij,ij->j", x, x.T), "has the sizes 3 and 4"),
    ("diagonal of no square", lambda x: gx.einsum("ii->i", x), "has the sizes 3 and 4"),
    ("letter from nowhere", lambda x: gx.einsum("ij->ijk", x), "no operand has"),
    ("letter twice", lambda x: gx.einsum("ij->ijj", x), "or twice"),
    ("no list", lambda x: gx.einsum(x, 3), "list of ints behind each operand"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_errors(act: Any, text: str) -> None:
    with pytest.raises(gx.ShapeError, match=text) as caught:
        act(gx.Graph("g").input("x", (3, 4)))
    assert "test_einsum.py" in str(caught.value)


def test_a_product_is_one_matrix_product() -> None:
    g = gx.Graph("g")
    x, y = g.input("x", ("b", "n", 64)), g.input("y", (64, 32))
    exe = gx.compile([x, y], gx.einsum("bij,jk->bik", x, y), backend="numpy")
    assert [n.op.name for n in exe.graph.nodes].count("matmul") == 1
