"""Products with a batch: as more rows of one product, summed over the batch, and beside pieces of a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx

SIZES = (0, 1, 2, 3, 9, 40)


def layer(inputs: int, outputs: Any, length: int = 12, symbol: bool = False) -> gx.Executable:
    """Loss and weight gradient of a layer on (batch, length, inputs)."""
    g = gx.Graph("layer", float_dtype="float64")
    x = g.input("x", shape=("b", length, inputs), dtype="float64")
    w = g.input("w", shape=(inputs, "k" if symbol else outputs), dtype="float64")
    y = x @ w
    loss = gx.sum(y * y)
    return gx.compile([x, w], [loss, *gx.grad(loss, [w, x])])


def check_layer(exe: gx.Executable, inputs: int, outputs: int, length: int) -> None:
    rng = np.random.default_rng(0)
    for b in SIZES:
        x, w = rng.normal(size=(b, length, inputs)), rng.normal(size=(inputs, outputs))
        y = x @ w
        wanted = (y * y).sum(), 2 * np.einsum("bsi,bso->io", x, y), 2 * y @ w.T
        for got, want in zip(exe(x, w), wanted, strict=True):
            np.testing.assert_allclose(got, want, 1e-11, 1e-11)


def calls(exe: gx.Executable) -> list[str]:
    return [line.strip() for line in exe.source.splitlines() if line.strip().startswith(("tile_", "gemm_"))]


@pytest.mark.parametrize("blas", ["tiles", "openblas"])
def test_a_batch_is_more_rows_and_a_weight_gradient_one_product(blas: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_BLAS", blas)
    exe = layer(20, 30)
    assert len(calls(exe)) == 3 and "for i0" not in "".join(calls(exe))
    assert all("hi - lo" in line for line in calls(exe)), calls(exe)
    check_layer(exe, 20, 30, 12)


def test_a_large_weight_gradient_is_one_product_of_all_rows() -> None:
    exe = layer(150, 200)
    assert sum("12*n0" in line for line in calls(exe)) == 1, calls(exe)
    check_layer(exe, 150, 200, 12)


def test_a_weight_gradient_of_a_size_that_is_not_known() -> None:
    check_layer(layer(20, None, symbol=True), 20, 33, 12)


def test_rows_of_one_and_inner_sizes_of_one() -> None:
    for length, inputs, outputs in ((1, 20, 30), (12, 1, 30), (9, 20, 9), (1, 1, 1)):
        check_layer(layer(inputs, outputs, length), inputs, outputs, length)


def test_a_batch_that_does_not_go_on_where_rows_end() -> None:
    g = gx.Graph("views", float_dtype="float64")
    x = g.input("x", shape=("b", 10, 24), dtype="float64")
    w = g.input("w", shape=(16, 20), dtype="float64")
    part = x[:, 1:9, 4:20]
    y = part @ w
    loss = gx.sum(gx.tanh(y))
    exe = gx.compile([x, w], [loss, *gx.grad(loss, [w, x])])
    rng = np.random.default_rng(1)
    for b in SIZES:
        a, v = rng.normal(size=(b, 10, 24)), rng.normal(size=(16, 20))
        p = a[:, 1:9, 4:20]
        back = 1 - np.tanh(p @ v) ** 2
        full = np.zeros_like(a)
        full[:, 1:9, 4:20] = back @ v.T
        for got, want in zip(exe(a, v), (np.tanh(p @ v).sum(), np.einsum("bsi,bso->io", p, back), full), strict=True):
            np.testing.assert_allclose(got, want, 1e-11, 1e-11)


def test_two_batch_axes_are_summed_together() -> None:
    g = gx.Graph("two", float_dtype="float64")
    a = g.input("a", shape=("b", "h", 6, 16), dtype="float64")
    c = g.input("c", shape=("b", "h", 6, 20), dtype="float64")
    exe = gx.compile([a, c], gx.sum(gx.swapaxes(a, -1, -2) @ c, (0, 1)))
    rng = np.random.default_rng(2)
    for b, h in ((0, 3), (1, 1), (4, 5), (9, 2)):
        x, y = rng.normal(size=(b, h, 6, 16)), rng.normal(size=(b, h, 6, 20))
        np.testing.assert_allclose(exe(x, y), np.einsum("bhsi,bhso->io", x, y), 1e-11, 1e-11)


def test_a_product_that_something_else_reads_is_kept() -> None:
    g = gx.Graph("kept", float_dtype="float64")
    a = g.input("a", shape=("b", 16, 20), dtype="float64")
    c = g.input("c", shape=("b", 20, 24), dtype="float64")
    made = a @ c
    exe = gx.compile([a, c], [made, gx.sum(made, 0)])
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(5, 16, 20)), rng.normal(size=(5, 20, 24))
    for got, want in zip(exe(x, y), (x @ y, (x @ y).sum(0)), strict=True):
        np.testing.assert_allclose(got, want, 1e-11, 1e-11)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_bits_of_a_weight_gradient_do_not_depend_on_threads(threads: int) -> None:
    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(64, 40, 100)), rng.normal(size=(100, 120))
    found = []
    for count in (1, threads):
        g = gx.Graph("layer", float_dtype="float64")
        a, v = (g.input(n, shape=s, dtype="float64") for n, s in (("x", ("b", 40, 100)), ("w", (100, 120))))
        loss = gx.sum(gx.tanh(a @ v))
        found.append(gx.compile([a, v], [loss, *gx.grad(loss, [v])], threads=count)(x, w))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


# ---- pieces


def attention(length: int, width: int) -> gx.Executable:
    g = gx.Graph("attention", float_dtype="float64")
    x = g.input("x", shape=("b", length, 3, width), dtype="float64")
    parts = gx.permute_dims(x, (2, 0, 1, 3))
    q, k, v = parts[0], parts[1], parts[2]
    loss = gx.sum(gx.softmax(q @ gx.swapaxes(k, -1, -2)) @ v)
    return gx.compile([x], [loss, gx.grad(loss, x)])


def test_gradients_of_pieces_are_one_concatenation_in_the_same_pass() -> None:
    exe = attention(16, 24)
    kept = exe.stages["schedule"]
    assert "concat" in kept and " place" not in kept
    assert kept.count("shards of b") == 1, kept
    rng, step = np.random.default_rng(5), 1e-6

    def value(x: np.ndarray) -> float:
        q, k, v = np.moveaxis(x, 2, 0)
        s = np.exp(q @ k.swapaxes(-1, -2))
        return float((s / s.sum(-1, keepdims=True) @ v).sum())

    for b in (1, 3):
        x = rng.normal(size=(b, 16, 3, 24)) / 4
        loss, gradient = exe(x)
        np.testing.assert_allclose(loss, value(x), 1e-12)
        d = rng.normal(size=x.shape)
        slope = (value(x + step * d) - value(x - step * d)) / (2 * step)
        np.testing.assert_allclose((gradient * d).sum(), slope, 1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_pieces_in_any_order_and_of_any_size(order: tuple[int, ...]) -> None:
    g = gx.Graph("pieces", float_dtype="float64")
    x = g.input("x", shape=("n", 10), dtype="float64")
    cuts = ((0, 3), (3, 4), (4, 10))
    pieces = [gx.exp(x[:, cuts[k][0] : cuts[k][1]] * (k + 1.0)) for k in order]
    loss = gx.sum(gx.concat(pieces, 1) ** 2)
    exe = gx.compile([x], gx.grad(loss, x))
    assert " place" not in exe.stages["schedule"]
    a = np.random.default_rng(6).normal(size=(7, 10))
    rate = np.repeat([1.0, 2.0, 3.0], [3, 1, 6])
    np.testing.assert_allclose(exe(a), 2 * rate * np.exp(2 * rate * a), 1e-12)


def test_pieces_that_overlap_or_leave_a_gap_are_added() -> None:
    g = gx.Graph("pieces", float_dtype="float64")
    x = g.input("x", shape=("n", 10), dtype="float64")
    loss = gx.sum(x[:, :6] ** 2) + gx.sum(x[:, 4:8] ** 3)
    exe = gx.compile([x], gx.grad(loss, x))
    a = np.random.default_rng(7).normal(size=(7, 10))
    want = np.zeros_like(a)
    want[:, :6] += 2 * a[:, :6]
    want[:, 4:8] += 3 * a[:, 4:8] ** 2
    np.testing.assert_allclose(exe(a), want, 1e-12)


@pytest.mark.parametrize("turned", [False, True])
def test_who_reads_along_an_axis_waits_for_all_parts(turned: bool) -> None:
    """One part is made along the other axis, in a group of its own."""
    g = gx.Graph("parts", float_dtype="float64")
    x, y = (g.input(n, shape=(k, "n"), dtype="float64") for n, k in (("x", 5), ("y", 1)))
    parts = [gx.exp(y), gx.exp(x)] if turned else [gx.exp(x), gx.exp(y)]
    both = gx.concat(parts, 0)
    exe = gx.compile([x, y], [both, gx.sum(gx.tanh(gx.permute_dims(both, (1, 0))), 1)], threads=4)
    schedule = exe.stages["schedule"]
    assert schedule.index("tanh") > schedule.index("stage 1") > max(schedule.rindex("concat"), schedule.rindex("exp"))
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(5, 100_000)), rng.normal(size=(1, 100_000))
    want = np.exp(np.concatenate([b, a] if turned else [a, b]))
    for _ in range(5):
        found = exe(a, b)
        np.testing.assert_allclose(found[0], want, 1e-12)
        np.testing.assert_allclose(found[1], np.tanh(want).sum(0), 1e-12)


LAYOUTS = [  # batch of a, rows, inner, columns, batch of b
    ((), 1, 40, 30, ()), ((), 20, 40, 1, ()), ((), 1, 5, 30, ()), ((), 20, 1, 30, ()), ((), 3, 40, 4, ()),
    ((), 8, 40, 8, ()), ((), 3, 5, 30, ()), ((), 20, 5, 4, ()), ((6,), 1, 40, 30, ()), ((6,), 1, 5, 4, ()),
    ((6,), 1, 40, 30, (6,)), ((6,), 20, 40, 1, (6,)), ((6,), 3, 40, 4, (6,)), ((6,), 3, 5, 4, ()), ((2, 3), 1, 9, 11, (3,)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
def test_products_in_every_layout(turned: str, dtype: str) -> None:
    """Loops, tiles and vectors, each operand as it is or transposed, alone, in a batch and by a shared matrix."""
    rng = np.random.default_rng(0)
    g = gx.Graph("layouts")
    given, found, want = [], [], []
    for batch, rows, inner, columns, other in LAYOUTS:
        sides = []
        for letter, shape in (("a", (*batch, rows, inner)), ("b", (*other, inner, columns))):
            array = rng.integers(-9, 9, shape).astype(dtype)
            given.append(np.ascontiguousarray(array.swapaxes(-1, -2)) if letter in turned else array)
            tensor = g.input(f"{letter}{len(given)}", given[-1].shape, dtype)
            sides.append(gx.swapaxes(tensor, -1, -2) if letter in turned else tensor)
            want.append(array)
        found.append(sides[0] @ sides[1])
    exe = gx.compile(list(g.inputs.values()), found)
    for value, left, right in zip(exe(*given), want[::2], want[1::2], strict=True):
        np.testing.assert_array_equal(value, left @ right)  # small integers, so exact in any order


def test_a_row_times_a_matrix_reads_it_as_it_lies() -> None:
    """A vector times a matrix is inner products or a sum of rows, whichever follows memory."""
    for dims, w_dims, expression, name in (
        ((1, 600), (40, 600), lambda x, w: x @ w.T, "dots"),
        ((600,), (40, 600), lambda x, w: x @ w.T, "dots"),
        ((600, 1), (40, 600), lambda x, w: w @ x, "dots"),
        ((1, 600), (600, 40), lambda x, w: x @ w, "ranks"),
        ((600, 1), (600, 40), lambda x, w: w.T @ x, "ranks"),
        ((5, 1, 600), (40, 600), lambda x, w: x @ w.T, "tile"),
        (("n", 1, 600), (600, 40), lambda x, w: x @ w, "tile"),
    ):
        g = gx.Graph("vector")
        x, w = g.input("x", dims), g.input("w", w_dims)
        assert f"{name}_f32(" in gx.compile([x, w], expression(x, w)).source, (dims, w_dims)


def test_the_transpose_of_a_product_is_not_copied() -> None:
    compiled = []
    for shape, of in (((200, 300), lambda w: w.T), ((300, 200), lambda w: w)):
        g = gx.Graph("turned")
        x, w = g.input("x", ("n", 300)), g.input("w", shape)
        compiled.append(gx.compile([x, w], gx.grad(gx.sum(gx.tanh(x @ of(w))), w)))
    turned, straight = compiled
    assert turned.source.count("tile_f32(") == 2 and turned.memory(n=9) < straight.memory(n=9) + 4 * 300 * 200
    a, b = np.random.default_rng(0).normal(size=(2, 200, 300)).astype(np.float32)
    want = (1 - np.tanh(a[:9].astype(float) @ b.T.astype(float)) ** 2).T @ a[:9]
    np.testing.assert_allclose(turned(a[:9], b), want, 1e-3, 1e-3)
