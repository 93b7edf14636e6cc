"""ONNX: weights in a file beside the model are read, as its size and offsets allow; no other file ever is."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
helper = onnx.helper
W = np.arange(6, dtype=np.float32).reshape(2, 3)
NAME = "m.onnx.data"


def outside(name: str, array: Any, **entries: Any) -> Any:
    """A tensor like ``array`` whose data lie elsewhere."""
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def written(folder: Path, *tensors: Any, constant: Any = None) -> Path:
    """A model that adds all its weights to x."""
    names = [t.name for t in tensors]
    nodes = [helper.make_node("Sum", ["x", *names, *(["c"] if constant else [])], ["y"])]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["c"], value=constant))
    infos = [helper.make_tensor_value_info(name, 1, (2, 3)) for name in "xy"]
    made = helper.make_model(
        helper.make_graph(nodes, "g", infos[:1], infos[1:], tensors), opset_imports=[helper.make_opsetid("", 18)]
    )
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    return folder / "m.onnx"


def added(path: Path) -> Any:
    g = gx.from_onnx(path)
    return gx.compile([g["x"]], g.outputs[0], backend="numpy")(np.zeros((2, 3), np.float32))


def test_weights_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several in one file, with and without a length, in an attribute too; the path may be relative."""
    (tmp_path / NAME).write_bytes(b"\xff" * 8 + W.tobytes() + (10 * W).tobytes())
    tensors = [
        outside("a", W, location=NAME, offset=8, length=24, checksum="0" * 40),
        outside("b", W, location=NAME, offset=32),
    ]
    path = written(tmp_path, *tensors)
    assert added(path).tolist() == (11 * W).tolist()
    monkeypatch.chdir(tmp_path)
    assert added(Path("m.onnx")).tolist() == (11 * W).tolist()
    g = gx.from_onnx(path)
    assert list(g.parameters) == ["a", "b"] and g.state["b"].tolist() == (10 * W).tolist()
    assert added(written(tmp_path, constant=tensors[1])).tolist() == (10 * W).tolist()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_every_dtype(dtype: str, tmp_path: Path) -> None:
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    (tmp_path / NAME).write_bytes(array.tobytes())
    path = written(tmp_path, outside("a", array, location=NAME))
    model = onnx.load(path, load_external_data=False)
    model.graph.node[0].CopyFrom(helper.make_node("Identity", ["a"], ["y"]))
    model.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    path.write_bytes(model.SerializeToString())
    g = gx.from_onnx(path)
    found = gx.compile([], g.outputs[0], backend="numpy")()
    assert found.dtype == array.dtype and found.tolist() == array.tolist()


def test_what_onnx_writes_is_read(tmp_path: Path) -> None:
    w = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    model = onnx.load(written(tmp_path, onnx.numpy_helper.from_array(w, "w")))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location=NAME, size_threshold=0)
    assert added(tmp_path / "m.onnx").tolist() == w.tolist()


ESCAPES = [
    "/etc/passwd", "../secret", "..", ".", "", "a/../../secret", "./s", "x\0", "\\secret", "..\\secret", "C:secret",
]  # fmt: skip
REFUSED: list[tuple[dict[str, Any], type[gx.GraphcError], str]] = [
    *(({"location": name}, gx.GraphFileError, "which is not the name of a file") for name in ESCAPES),
    ({}, gx.GraphFileError, "which is not the name of a file"),
    ({"location": "folder/data"}, gx.UnsupportedOpError, "read are only files beside the model"),
    ({"location": "nowhere"}, gx.GraphFileError, "'nowhere' beside the model: No such file"),
    ({"location": "n" * 300}, gx.GraphFileError, "beside the model: File name too long"),
    ({"location": "folder"}, gx.GraphFileError, "a link or not a file"),
    ({"location": "link"}, gx.GraphFileError, "a link or not a file"),
    ({"location": "hard"}, gx.GraphFileError, "a link or not a file"),
    ({"location": "pipe"}, gx.GraphFileError, "a link or not a file"),
    ({"location": NAME, "offset": 8}, gx.GraphFileError, "24 bytes are needed, its data are bytes 8 to 24 of 'm.onnx.data', which has 24"),
    ({"location": NAME, "offset": 8, "length": 24}, gx.GraphFileError, "bytes 8 to 32 of 'm.onnx.data', which has 24"),
    ({"location": NAME, "length": 23}, gx.GraphFileError, "24 bytes are needed"),
    ({"location": NAME, "length": 25}, gx.GraphFileError, "24 bytes are needed"),
    ({"location": NAME, "offset": 10**17}, gx.GraphFileError, "24 bytes are needed"),
    ({"location": NAME, "offset": -1}, gx.GraphFileError, "the offset of its data must be a number of bytes, found '-1'"),
    ({"location": NAME, "offset": "1e1"}, gx.GraphFileError, "the offset of its data must be"),
    ({"location": NAME, "offset": "9" * 400}, gx.GraphFileError, "the offset of its data must be"),
    ({"location": NAME, "length": "x"}, gx.GraphFileError, "the length of its data must be"),
]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
@pytest.mark.parametrize("case", REFUSED, ids=lambda c: str(c[0])[:40])
def test_no_other_file_is_read(case: Any, tmp_path: Path) -> None:
    entries, kind, text = case
    folder = tmp_path / "models"
    (folder / "folder").mkdir(parents=True)
    secret = tmp_path / "secret"
    for place in (secret, folder / NAME, folder / "folder" / "data"):
        place.write_bytes(W.tobytes())
    (folder / "link").symlink_to(NAME)
    os.link(secret, folder / "hard")
    os.mkfifo(folder / "pipe")
    path = written(folder, outside("a", W, **entries))
    with pytest.raises(kind, match=rf"^m\.onnx: initializer 'a': .*{text}"):
        gx.from_onnx(path)


def test_tensors_that_share_bytes_would_fill_memory(tmp_path: Path) -> None:
    """A small file cannot be asked for again and again."""
    (tmp_path / NAME).write_bytes(W.tobytes())
    path = written(tmp_path, *(outside(f"w{k}", W, location=NAME) for k in range(3)))
    with pytest.raises(gx.UnsupportedOpError, match=r"'w1': tensors that share bytes of 'm\.onnx\.data'"):
        gx.from_onnx(path)


def test_a_tensor_that_is_in_two_places(tmp_path: Path) -> None:
    tensor = outside("a", W, location=NAME)
    tensor.external_data.add(key="location", value="other")
    with pytest.raises(gx.GraphFileError, match="it is said twice where its data lie"):
        gx.from_onnx(written(tmp_path, tensor))
    tensor = onnx.numpy_helper.from_array(W, "a")
    tensor.external_data.add(key="location", value=NAME)
    with pytest.raises(gx.GraphFileError, match="its data lie in another file, which is not read"):
        gx.from_onnx(written(tmp_path, tensor))


def test_a_small_model_takes_little_memory(tmp_path: Path) -> None:
    """Never more is asked for than the file holds."""
    path = written(tmp_path, onnx.numpy_helper.from_array(W, "a"))
    added(path)
    tracemalloc.start()
    gx.from_onnx(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 << 20
