"""Einstein's sums as matrix products, operand after operand from the left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.tensor import Tensor
from graphc.ops.apply import Operand, apply, promoted, public
from graphc.ops.linalg import matmul
from graphc.ops.reduce import sum
from graphc.ops.shape import iota, permute_dims, reshape

Labelled = tuple[Tensor, str]  # a tensor, and a letter for each axis


@public
def einsum(subscripts: str, *operands: Operand) -> Tensor:
    """Products of operands, summed over the letters that the result does not have, as NumPy's.

    ``subscripts`` has a letter for each axis of each operand, as in ``"bij,bjk->bik"``. Without ``->`` the result has
    the letters that stand once, in the order of the alphabet. A letter that stands twice in one operand is its
    diagonal; ``...`` stands for any further axes, which broadcast. Or each operand is followed by a list of ints, and
    a last list says what the result has: ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    Raises ShapeError where letters do not fit the operands, or sizes of one letter differ.

    The dtype is that in which the operands meet.

    >>> from graphc.ir.graph import Graph
    >>> g = Graph("g")
    >>> a, b = g.input("a", ("n", 4)), g.input("b", (4, 5))
    >>> einsum("ij,jk->ki", a, b).shape, einsum(a, [0, 1], b, [1, 2]).shape, einsum("ij->", a).shape
    ((5, n), (n, 5), ())
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _written((subscripts, *operands))
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    words = left.split(",")
    if len(words) != len(operands):
        raise ShapeError(f"{len(words)} terms for {len(operands)} operands")
    tensors = promoted(*operands)
    dots = max(t.ndim - len(w.replace("...", "")) if "..." in w else 0 for t, w in zip(tensors, words, strict=True))
    spare = "".join(chr(0x100000 + k) for k in range(max(dots, 0)))  # letters for the axes that an ellipsis stands for
    named = [(t, _letters(t, w, spare)) for t, w in zip(tensors, words, strict=True)]
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
        raise ShapeError(f"the result {right[:40]!r} has letters that no operand has, or twice")
    return permute_dims(tensor, [letters.index(c) for c in wanted])


def _written(given: Sequence[Any]) -> tuple[str, tuple[Operand, ...]]:
    """Operands with lists of ints behind them, as subscripts and operands."""

    def word(axes: Any) -> str:
        if not isinstance(axes, (list, tuple)) or not all(a is Ellipsis or isinstance(a, int) for a in axes):
            raise ShapeError(f"expected subscripts, or a list of ints behind each operand, found {axes!r}")
        return "".join("..." if a is Ellipsis else chr(0x2000 + a) for a in axes)

    pairs = len(given) // 2
    words = [word(axes) for axes in given[1 : 2 * pairs : 2]]
    result = f"->{word(given[-1])}" if len(given) % 2 else ""
    return ",".join(words) + result, tuple(given[: 2 * pairs : 2])


def _letters(x: Tensor, word: str, spare: str) -> str:
    """A letter for each axis, an ellipsis written out."""
    count = x.ndim - len(word.replace("...", ""))
    letters = word.replace("...", spare[len(spare) - count :] if count > 0 else "")
    if len(letters) != x.ndim or "." in letters or not all(c.isalpha() or ord(c) >= 0x2000 for c in letters):
        raise ShapeError(f"the term {word[:40]!r} does not fit {x.type}")
    return letters


def _diagonal(x: Tensor, letters: str) -> Labelled:
    """Axes of one letter as one axis."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            a, b = letters.index(letter), letters.rindex(letter)
            size = _met(x.shape[a], x.shape[b], letter)
            x = reshape(x, (*x.shape[:b], size, *x.shape[b + 1 :]))
            along = iota(x.graph, size)
            x = apply("take_points", x, along, along, axes=(a, b))
            letters = letters[:b] + letters[b + 1 :]
    return x, letters


def _met(a: Size, b: Size, letter: str) -> Size:
    """The size of a letter that stands twice."""
    if isinstance(a, int) and isinstance(b, int) and a != b:
        raise ShapeError(f"the letter {letter} has the sizes {a} and {b}")
    return a


def _summed(x: Tensor, letters: str, wanted: set[str]) -> Labelled:
    """Without the axes that nothing wants."""
    gone = [k for k, letter in enumerate(letters) if letter not in wanted]
    return (sum(x, gone), "".join(c for c in letters if c in wanted)) if gone else (x, letters)


def _product(a: Labelled, b: Labelled, later: set[str]) -> Labelled:
    """Two operands as one: letters that both have are a batch where ``later`` wants them, else they are summed over."""
    (x, left), (y, right) = _summed(*a, later | set(b[1])), _summed(*b, later | set(a[1]))
    batch = [c for c in left if c in right and c in later]
    inner = [c for c in left if c in right and c not in later]
    for c in inner:
        _met(x.shape[left.index(c)], y.shape[right.index(c)], c)
    rows, columns = [c for c in left if c not in right], [c for c in right if c not in left]
    x = permute_dims(x, [left.index(c) for c in batch + rows + inner])
    y = permute_dims(y, [right.index(c) for c in batch + inner + columns])
    n, m = len(batch), len(inner)
    lead = x.ndim - m
    sizes = x.shape[n:lead], y.shape[n + m :]
    letters = "".join(batch + rows + columns)
    if not inner and not (rows and columns):  # elementwise
        wide = [reshape(t, (*t.shape[:n], *(1 for _ in s))) for t, s in ((x, sizes[1]), (y, sizes[0])) if s]
        return (x * (wide[-1] if sizes[0] else y) if not sizes[1] else wide[0] * y), letters
    one, two = dims.product(sizes[0]), dims.product(sizes[1])
    x = reshape(x, (*x.shape[:n], one, dims.product(x.shape[lead:])))
    y = reshape(y, (*y.shape[:n], dims.product(y.shape[n : n + m]), two))
    out = matmul(x, y)
    return reshape(out, (*out.shape[:n], *sizes[0], *sizes[1])), letters


__all__ = ["einsum"]
