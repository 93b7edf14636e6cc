"""ONNX's operators on signals: Fourier transforms, and the mel scale."""

from __future__ import annotations

import numpy as np

from graphc.ir import dims
from graphc.ir.tensor import Tensor
from graphc.ir.types import FLOAT32, normalize_axis
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import FIXED, Reading
from graphc.ops import assembly, index, shape
from graphc.ops.apply import apply
from graphc.ops.fourier import fft, ifft, irfft

MOST_BINS = 1 << 16


def _parts(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Real and imaginary parts, which lie side by side along the last axis."""
    return x[..., 0], x[..., 1] if x.shape[-1] == 2 else None


def _joined(parts: tuple[Tensor, Tensor]) -> Tensor:
    return assembly.stack(list(parts), -1)


def dft(at: Reading) -> Tensor:
    x = at.tensor()
    inverse, half = bool(at.attribute("inverse", 0)), bool(at.attribute("onesided", 0))
    axis = at.attribute("axis", 1) if at.opset < 20 else at.integers(2)[0] if at.has(2) else -2
    axis = normalize_axis(axis, x.ndim, "DFT")
    if not isinstance(x.shape[-1], int):
        at.refuse(f"the last axis of {x.type} must be a number, 1 or 2; declare it")
    if axis == x.ndim - 1 or x.shape[-1] not in (1, 2):
        at.fail(f"expected real and imaginary parts along the last axis of {x.type}, and another one to go along")
    n = at.vector(1)[0] if at.has(1) else 2 * (x.shape[axis] - 1) if inverse and half else x.shape[axis]
    wanted = dims.floor_divide(n, 2) + 1 if inverse and half else n
    if wanted != x.shape[axis]:
        if not isinstance(wanted, int) or not isinstance(x.shape[axis], int):
            at.refuse(f"a length {n} for the axis {x.shape[axis]} must be a number, and the axis too")
        front = (slice(None),) * axis
        x = index.getitem(x, (*front, slice(0, wanted)))
        x = assembly.pad(x, [(0, wanted - s if a == axis else 0) for a, s in enumerate(x.shape)])  # type: ignore[operator]
    re, im = _parts(x)
    if inverse and half:
        if not isinstance(n, int):
            at.refuse(f"the length {n} must be a number")
        im = re * 0 if im is None else im
        return shape.expand_dims(irfft(re, im, n, axis), -1)
    y = _joined((ifft if inverse else fft)(re, im, axis))
    return index.getitem(y, (*(slice(None),) * axis, slice(0, dims.floor_divide(n, 2) + 1))) if half else y


def stft(at: Reading) -> Tensor:
    x = at.tensor()
    (step,) = at.integers(1)
    length = at.vector(3)[0] if at.has(3) else at.tensor(2).shape[0]
    if step < 1 or x.ndim != 3:
        at.fail(f"a step of {step} along {x.type}")
    count = dims.floor_divide(x.shape[1] - length, step) + 1
    starts = shape.expand_dims(shape.iota(x.graph, count) * step, 1)
    if not isinstance(x.shape[-1], int):
        at.refuse(f"the last axis of {x.type} must be a number, 1 or 2; declare it")
    frames = apply("take", x, starts + shape.iota(x.graph, length), axis=1)  # in range as they are counted
    re, im = _parts(frames)
    if at.has(2):
        re, im = re * at.tensor(2), None if im is None else im * at.tensor(2)
    y = _joined(fft(re, im, 2))
    return y[:, :, : dims.floor_divide(length, 2) + 1] if at.attribute("onesided", 1) else y


def mel_weight_matrix(at: Reading) -> Tensor:
    """Triangles of equal width on the mel scale, by which spectra are summed."""
    given = [at.number(k) for k in range(5)]
    if None in given:
        at.refuse(f"all its operands must be known; {FIXED}")
    count, length, rate, low, high = given
    assert count and length and rate and low is not None and high is not None
    if not (0 < count <= MOST_BINS and 0 < length <= MOST_BINS and rate > 0 and high > low >= 0):
        at.fail(f"{count} bins of {length} from {low} to {high} at {rate}")
    mel = [2595 * np.log10(1 + edge / 700) for edge in (low, high)]
    marks = mel[0] + np.arange(count + 2) * (mel[1] - mel[0]) / (count + 2)
    bins = ((length + 1) * 700 * (10 ** (marks / 2595) - 1) // rate).astype(np.int64)
    rows = np.arange(length // 2 + 1)[:, None]
    left, centre, right = bins[:-2], bins[1:-1], bins[2:]
    rising = np.where(left < centre, (rows - left) / np.maximum(centre - left, 1), rows == centre)
    falling = (right - rows) / np.maximum(right - centre, 1)
    weights = np.where((rows >= left) & (rows <= centre), rising, 0)
    weights = np.where((rows >= centre) & (rows < right), falling, weights)
    dtype = at.to("output_datatype").dtype if "output_datatype" in at.attributes else FLOAT32
    return at.graph.constant(weights, dtype)


SIGNAL: dict[str, Reader] = {"DFT": dft, "STFT": stft, "MelWeightMatrix": mel_weight_matrix}

__all__ = ["SIGNAL"]
