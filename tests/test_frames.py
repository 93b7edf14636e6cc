"""Frames, columns and arrays of other libraries as arguments: what converts without loss, and what a refusal names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx

VALUES = np.array([[1, 2.5], [3, -4.0], [5, 6.0]])


def exe(dtype: str = "float32", shape: tuple[Any, ...] = ("n", 2)) -> gx.Executable:
    x = gx.Graph("frames").input("x", shape, dtype)
    return gx.compile([x], gx.identity(x) if dtype == "bool" else x + x, backend="numpy")


class Lent:
    """An array that is to be had by DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_dlpack() -> None:
    for dtype in ("float32", "float64", "int32"):
        given = VALUES.astype(dtype)
        assert np.array_equal(exe()(Lent(given)), (given + given).astype(np.float32)), dtype
    assert np.array_equal(exe().run_batches([Lent(VALUES)], 2), 2 * VALUES)


def test_what_lends_nothing_is_said() -> None:
    class Broken:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise TypeError("lies on another device\nand more")

    with pytest.raises(
        gx.InputDTypeError,
        match=r"input 'x': .* found Broken, of which NumPy can make no array: lies on another device\n",
    ):
        exe()(Broken())


def test_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int32, torch.int64):
        assert np.array_equal(exe()(torch.ones((3, 2), dtype=dtype).T.T), np.full((3, 2), 2)), dtype
    assert np.array_equal(exe().run_batches([torch.tensor(VALUES)], 2), 2 * VALUES)
    with pytest.raises(gx.InputDTypeError, match=r"requires grad\. Use tensor\.detach"):
        exe()(torch.ones((3, 2), requires_grad=True))
    with pytest.raises(gx.InputDTypeError, match=r"bfloat16|BFloat16"):
        exe()(torch.ones((3, 2), dtype=torch.bfloat16))
    with pytest.raises(gx.InputDTypeError, match="float64, which cannot be converted without loss"):
        exe("int64")(torch.tensor(VALUES))


def test_pandas() -> None:
    pd = pytest.importorskip("pandas", reason="needs pandas")
    frame = pd.DataFrame({"a": VALUES[:, 0].astype(int), "b": VALUES[:, 1]})
    for given in (
        frame,
        frame.astype(np.float32),
        frame.astype({"a": "Int64", "b": "Float64"}),
        frame.astype(object).convert_dtypes(),
    ):
        assert np.array_equal(exe()(given), 2 * VALUES)
        assert np.array_equal(exe().run_batches([given], 2), 2 * VALUES)
    large = pd.DataFrame({"a": [2**62], "b": pd.array([3], "UInt8")})
    assert exe("int64").program.results[0].dtype == np.int64 and exe("int64")(large).tolist() == [[2**63 - 2**64, 6]]
    assert exe("float64", ("n",))(frame["b"]).tolist() == (2 * VALUES[:, 1]).tolist()
    twice = pd.DataFrame(VALUES, columns=["a", "a"])
    assert np.array_equal(exe()(twice), 2 * VALUES)
    for changed, text in (
        (frame.assign(b=["x", "y", "z"]), "column 'b': "),
        (frame.assign(b=pd.array([1, None, 2], "Int64")), "column 'b': 1 missing values"),
        (frame.assign(b=pd.to_datetime(["2020"] * 3)), "column 'b': dtype datetime64"),
        (frame.assign(b=[1, None, "c"]), "column 'b': "),
    ):
        with pytest.raises(gx.InputDTypeError, match=f"input 'x': expected .*found {text}"):
            exe()(changed)
    with pytest.raises(gx.InputDTypeError, match="column 'b': float64, which cannot be converted"):
        exe("int64")(frame)
    assert np.isnan(exe()(frame.assign(b=np.nan))).any()


def test_polars() -> None:
    pl = pytest.importorskip("polars", reason="needs polars")
    frame = pl.DataFrame({"a": VALUES[:, 0].astype(int), "b": VALUES[:, 1]})
    assert np.array_equal(exe()(frame), 2 * VALUES) and np.array_equal(exe().run_batches([frame], 2), 2 * VALUES)
    assert exe("float64", ("n",))(frame["b"]).tolist() == (2 * VALUES[:, 1]).tolist()
    with pytest.raises(gx.InputDTypeError, match="column 'b': 1 missing values"):
        exe()(frame.with_columns(b=pl.Series([1, None, 3])))
    with pytest.raises(gx.InputDTypeError, match="column 'b': "):
        exe()(frame.with_columns(b=pl.Series(["x", "y", "z"])))


def test_pyarrow() -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
    table = pa.table({"a": [1, 3, 5], "b": [2.5, -4.0, 6.0]})
    assert np.array_equal(exe()(table), 2 * VALUES)
    with pytest.raises(gx.InputDTypeError, match="column 'b': 1 missing values"):
        exe()(pa.table({"a": [1, 2], "b": [None, 2.0]}))
