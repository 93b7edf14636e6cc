"""ONNX's Einsum as matrix products, operand after operand."""

from __future__ import annotations

from collections import Counter

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.tensor import Tensor
from graphc.onnx.reading.held import Reading
from graphc.ops import reduce, shape
from graphc.ops.apply import cast
from graphc.ops.elementwise import equal, where
from graphc.ops.linalg import matmul

Labelled = tuple[Tensor, str]  # a tensor, and a letter for each axis


def einsum(at: Reading) -> Tensor:
    equation = at.attribute("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    written = left.split(",")
    operands = at.tensors()
    if len(written) != len(operands):
        at.fail(f"{len(written)} terms for {len(operands)} operands")
    dots = max((t.ndim - len(w.replace("...", "")) for t, w in zip(operands, written, strict=True)), default=0)
    spare = "".join(chr(0x100 + k) for k in range(max(dots, 0)))  # letters for the axes that an ellipsis stands for
    named: list[Labelled] = []
    for tensor, word in zip(operands, written, strict=True):
        count = tensor.ndim - len(word.replace("...", ""))
        letters = word.replace("...", spare[len(spare) - count :] if count > 0 else "")
        if len(letters) != tensor.ndim:
            at.fail(f"the term {word[:40]!r} does not fit {tensor.type}")
        named.append((tensor, letters))
    if not arrow:
        counts = Counter(letter for _, letters in named for letter in letters)
        right = "..." + "".join(sorted(c for c, n in counts.items() if n == 1 and c not in spare))
    wanted = right.replace("...", spare)
    out = _diagonal(*named[0])
    for k, other in enumerate(named[1:], 2):
        later = set(wanted).union(*(letters for _, letters in named[k:]))
        out = _product(out, _diagonal(*other), later)
    tensor, letters = _summed(*out, set(wanted))
    if sorted(letters) != sorted(wanted):
        at.fail(f"the result {right[:40]!r} has letters that no operand has, or twice")
    return cast(shape.permute_dims(tensor, [letters.index(c) for c in wanted]), operands[0].dtype)


def _diagonal(x: Tensor, letters: str) -> Labelled:
    """Axes of one letter as one axis."""
    for letter in set(letters):
        while letters.count(letter) > 1:
            a, b = letters.index(letter), letters.rindex(letter)
            here, there = (shape.iota(x.graph, x.shape[k]) for k in (a, b))
            here = shape.reshape(here, tuple(x.shape[a] if k == a else 1 for k in range(x.ndim)))
            there = shape.reshape(there, tuple(x.shape[b] if k == b else 1 for k in range(x.ndim)))
            x = reduce.sum(where(equal(here, there), x, 0), b)
            letters = letters[:b] + letters[b + 1 :]
    return x, letters


def _summed(x: Tensor, letters: str, wanted: set[str]) -> Labelled:
    """Without the axes that nothing wants."""
    gone = [k for k, letter in enumerate(letters) if letter not in wanted]
    return (reduce.sum(x, gone), "".join(c for c in letters if c in wanted)) if gone else (x, letters)


def _product(a: Labelled, b: Labelled, later: set[str]) -> Labelled:
    """Two operands as one: letters that both have are a batch where ``later`` wants them, else they are summed over."""
    (x, left), (y, right) = _summed(*a, later | set(b[1])), _summed(*b, later | set(a[1]))
    batch = [c for c in left if c in right and c in later]
    inner = [c for c in left if c in right and c not in later]
    for c in inner:
        met = x.shape[left.index(c)], y.shape[right.index(c)]
        if met[0] != met[1] and all(isinstance(s, int) for s in met):
            raise ShapeError(f"the letter {c} has the sizes {met[0]} and {met[1]}")
    rows, columns = [c for c in left if c not in right], [c for c in right if c not in left]
    x = shape.permute_dims(x, [left.index(c) for c in batch + rows + inner])
    y = shape.permute_dims(y, [right.index(c) for c in batch + inner + columns])
    n, m = len(batch), len(inner)
    lead = x.ndim - m
    sizes = x.shape[n:lead], y.shape[n + m :]
    one, two = dims.product(sizes[0]), dims.product(sizes[1])
    x = shape.reshape(x, (*x.shape[:n], one, dims.product(x.shape[lead:])))
    y = shape.reshape(y, (*y.shape[:n], dims.product(y.shape[n : n + m]), two))
    out = matmul(x, y)
    return shape.reshape(out, (*out.shape[:n], *sizes[0], *sizes[1])), "".join(batch + rows + columns)


__all__ = ["einsum"]
