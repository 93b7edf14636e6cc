"""Sequences and optional values of models, whose lengths are known when a model is read, and parts by known masks."""

from __future__ import annotations

import numpy as np

from graphc.ir.tensor import Tensor
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import FIXED, Held, Reading
from graphc.ops import assembly, index, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops.apply import cast

MOST_ITEMS = 1024
MOST_COUNTED = 1 << 20  # comparisons for each row of text
TERMS = ("TF", "IDF", "TFIDF")


def _sequence(at: Reading, items: list[Held]) -> Held:
    if len(items) > MOST_ITEMS:
        at.refuse(f"a sequence of {len(items)} values is not read, at most {MOST_ITEMS}")
    return Held(at.graph, at.name, items=items)


def _items(at: Reading, slot: int = 0) -> list[Held]:
    found = at.held(slot).items
    if found is None:
        at.fail(f"operand {slot} must be a sequence")
    return list(found)


def _position(at: Reading, slot: int, size: int, behind: int = 0) -> int:
    """A place in a sequence of so many; ``behind`` says how many there are behind the last."""
    told = at.number(slot)
    if told is None:
        at.refuse(f"the position must be known; {FIXED}")
    if not -size <= told < size + behind:
        at.fail(f"position {told} of {size}")
    return int(told) + (size if told < 0 else 0)


def construct(at: Reading) -> Held:
    return _sequence(at, [at.held(k) for k in range(len(at.operands))])


def insert(at: Reading) -> Held:
    items = _items(at)
    items.insert(_position(at, 2, len(items), 1) if at.has(2) else len(items), at.held(1))
    return _sequence(at, items)


def erase(at: Reading) -> Held:
    items = _items(at)
    del items[_position(at, 1, len(items)) if at.has(1) else -1]
    return _sequence(at, items)


def split_to_sequence(at: Reading) -> Held:
    """Into parts of sizes that are told, or of one size; without either, of 1, whose axis may go."""
    x, axis = at.tensor(), at.axis(0, at.tensor().ndim)
    size = x.shape[axis]
    if not isinstance(size, int):
        at.refuse(f"the size {size} of axis {axis} must be a number")
    told = at.integers(1) if at.has(1) else (1,)
    one = not at.has(1) or at.tensor(1).ndim == 0
    if min(told, default=0) < (1 if one else 0):
        at.fail(f"parts of {told}")
    sizes = [min(told[0], size - k) for k in range(0, size, told[0])] if one else list(told)
    if sum(sizes) != size or len(sizes) > MOST_ITEMS:
        at.fail(f"parts of {sizes[:9]} of {size}")
    ends = np.cumsum(sizes).tolist()
    front = (slice(None),) * axis
    parts = [index.getitem(x, (*front, slice(end - n, end))) for n, end in zip(sizes, ends, strict=True)]
    if not at.has(1) and not at.attribute("keepdims", 1):
        parts = [shape.squeeze(part, axis) for part in parts]
    return _sequence(at, [Held(at.graph, at.name, tensor=t, kind=at.kind()) for t in parts])


def concat_from_sequence(at: Reading) -> Held:
    items = _items(at)
    if not items:
        at.refuse("an empty sequence does not tell what its elements are")
    parts, new = [held.tensor() for held in items], bool(at.attribute("new_axis", 0))
    axis = at.axis(0, parts[0].ndim + new)
    made = assembly.stack(parts, axis) if new else assembly.concat(parts, axis)
    return Held(at.graph, at.name, tensor=made, kind=items[0].kind)


def get_element(at: Reading) -> Held:
    return at.held(0)


def has_element(at: Reading) -> Held:
    return Held(at.graph, at.name, array=np.array(at.has(0)))


def optional(at: Reading) -> Held:
    return at.held(0) if at.has(0) else at.refuse("an optional value that is empty is not read")


# ---- parts by masks that are known


def compress(at: Reading) -> Held:
    known = at.held(1).known
    if known is None:
        at.refuse(f"how many elements are kept depends on data; the mask must be known; {FIXED}")
    x = at.tensor() if "axis" in at.attributes else shape.ravel(at.tensor())
    axis, places = at.axis(0, x.ndim), np.flatnonzero(known)
    return Held(at.graph, at.name, tensor=index.take(x, at.graph.constant(places), axis), kind=at.kind())


def non_zero(at: Reading) -> Held:
    known = at.held(0).known
    if known is None:
        at.refuse(f"how many elements are not 0 depends on data; {FIXED}")
    return Held(at.graph, at.name, array=np.array(np.nonzero(known), np.int64))


def tf_idf(at: Reading) -> Tensor:
    """How often some sequences of numbers occur in each row, numbers between them left out as well."""
    x, mode = at.tensor(), at.attribute("mode", "")
    low, high, most = (at.attribute(n, 0) for n in ("min_gram_length", "max_gram_length", "max_skip_count"))
    starts, places, pool = (at.attribute(n, ()) for n in ("ngram_counts", "ngram_indexes", "pool_int64s"))
    weights = np.array(at.attribute("weights", (1.0,) * len(places)), np.float32)
    if not pool:
        at.refuse("a pool of text is not read; use numbers")
    if mode not in TERMS or not 0 < low <= high or most < 0 or x.ndim not in (1, 2) or len(weights) != len(places):
        at.fail(f"mode {mode[:40]!r} with grams of {low} to {high} in {x.type}")
    rows = x if x.ndim == 2 else shape.expand_dims(x, 0)
    length = rows.shape[1]
    if not isinstance(length, int) or length * len(pool) * (most + 1) > MOST_COUNTED:
        at.refuse(f"rows of {length} numbers are not read with a pool of {len(pool)}")
    ends, counts, first = [*starts[1:], len(pool)], [], 0
    for n, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        grams = np.array(pool[start:end], np.int64).reshape(-1, n)
        which, first = places[first : first + len(grams)], first + len(grams)
        for skip in range(most + 1 if n > 1 else 1):
            span = (n - 1) * (skip + 1) + 1
            if low <= n <= high and span <= length and len(grams):
                parts = [rows[:, k * (skip + 1) : length - span + 1 + k * (skip + 1)] for k in range(n)]
                same = [e.equal(shape.expand_dims(p, 1), grams[:, k : k + 1]) for k, p in enumerate(parts)]
                hit = same[0]
                for other in same[1:]:
                    hit = e.logical_and(hit, other)
                counts.append((which, reduce.sum(cast(hit, weights.dtype), -1)))
    size = max(places) + 1
    total = shape.filled(at.graph, 0, (rows.shape[0], size), weights.dtype)
    for which, found in counts:
        spread = np.zeros((len(which), size), np.float32)
        spread[np.arange(len(which)), list(which)] = 1
        total = total + found @ at.graph.constant(spread)
    ordered = np.zeros(size, np.float32)
    ordered[list(places)] = weights
    if mode != "TF":
        total = (cast(e.greater(total, 0), weights.dtype) if mode == "IDF" else total) * at.graph.constant(ordered)
    return total if x.ndim == 2 else total[0]


SEQUENCES: dict[str, Reader] = {
    "SequenceConstruct": construct, "SequenceEmpty": lambda at: _sequence(at, []), "SequenceInsert": insert,
    "SequenceErase": erase, "SequenceAt": lambda at: _items(at)[_position(at, 1, len(_items(at)))],
    "SequenceLength": lambda at: Held(at.graph, at.name, sizes=len(_items(at))),
    "SplitToSequence": split_to_sequence, "ConcatFromSequence": concat_from_sequence,
    "Optional": optional, "OptionalGetElement": get_element, "OptionalHasElement": has_element,
    "Compress": compress, "NonZero": non_zero, "TfIdfVectorizer": tf_idf,
}  # fmt: skip

__all__ = ["SEQUENCES"]
