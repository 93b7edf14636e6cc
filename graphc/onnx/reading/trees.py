"""Ensembles of decision trees of ai.onnx.ml, and what its classifiers have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.tensor import Tensor
from graphc.ir.types import FLOAT32, is_float
from graphc.onnx.reading.elementwise import Reader
from graphc.onnx.reading.held import Reading
from graphc.ops import assembly, control, index, reduce, shape
from graphc.ops import elementwise as e
from graphc.ops import functions as f
from graphc.ops.apply import apply, cast
from graphc.ops.softmax import softmax

MOST_WEIGHTS = 1 << 24  # of all leaves and targets
TESTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "BRANCH_LEQ": e.less_equal, "BRANCH_LT": e.less, "BRANCH_GTE": e.greater_equal, "BRANCH_GT": e.greater,
    "BRANCH_EQ": e.equal, "BRANCH_NEQ": e.not_equal,
}  # fmt: skip
MEMBER = "BRANCH_MEMBER"
NUMBERED = [*TESTS, MEMBER]  # as the newest operator names them


@dataclass
class Forest:
    """Nodes of all trees: what each tests, and the places of the nodes behind it, which are its own for a leaf."""

    roots: Any
    modes: Any  # names of tests; text
    features: Any
    splits: Any
    missing: Any  # whether NaN counts as true
    yes: Any
    no: Any
    weights: Any  # for each node and target

    def parts(self) -> tuple[Any, ...]:
        """What there is for each node."""
        return self.modes, self.features, self.splits, self.missing, self.yes, self.no, self.weights

    def depth(self, at: Reading) -> int:
        """The longest way to a leaf."""
        level, deep = np.unique(self.roots), 0
        while True:
            inner = level[(self.yes[level] != level) | (self.no[level] != level)]
            if not inner.size:
                return deep
            deep += 1
            if deep > len(self.yes):
                at.fail("a tree without an end")
            level = np.unique(np.concatenate([self.yes[inner], self.no[inner]]))

    def leaves(self, at: Reading, x: Tensor) -> Tensor:
        """The place of each row's leaf in each tree, by a loop over levels."""
        g = at.graph
        if int(self.features.min(initial=0)) < 0:
            at.fail("a feature below 0")
        features = index.in_range(g.constant(self.features), x.shape[1], "feature")
        splits, yes, no = (g.constant(a) for a in (self.splits.astype(x.dtype), self.yes, self.no))
        missing = g.constant(self.missing) if self.missing.any() else None
        kinds = [kind for kind in TESTS if (self.modes == kind).any()]
        number = {kind: k for k, kind in enumerate(kinds)}
        modes = g.constant(np.array([number.get(m, 0) for m in self.modes])) if len(kinds) > 1 else None
        rows = shape.reshape(shape.iota(g, x.shape[0]), (-1, 1))

        def step(node: Tensor, _: None) -> tuple[Tensor, None]:
            value = apply("take_points", x, rows, _at(features, node), axes=(0, 1))
            split = _at(splits, node)
            on = TESTS[kinds[0]](value, split) if kinds else e.equal(node, node)
            for kind in kinds[1:]:
                assert modes is not None
                on = e.where(e.equal(_at(modes, node), number[kind]), TESTS[kind](value, split), on)
            if missing is not None:
                on = e.where(e.isnan(value), _at(missing, node), on)
            return e.where(on, _at(yes, node), _at(no, node)), None

        first = shape.broadcast_to(g.constant(self.roots), (x.shape[0], len(self.roots)))
        node, _ = control.loop(g, step, first, None, self.depth(at))
        return node  # type: ignore[no-any-return]

    def scores(self, at: Reading, x: Tensor, how: str) -> Tensor:
        """The weights of each row's leaves, put together for each target."""
        x = x if is_float(x.dtype) else cast(x, FLOAT32)
        found = _at(at.graph.constant(self.weights.astype(x.dtype)), self.leaves(at, x))  # (rows, trees, targets)
        if how in ("SUM", "AVERAGE"):
            total = reduce.sum(found, 1)
            return total / len(self.roots) if how == "AVERAGE" else total
        if how not in ("MIN", "MAX"):
            at.fail(f"aggregate_function {how[:40]!r} is none of ONNX's")
        return (reduce.min if how == "MIN" else reduce.max)(found, 1)


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Elements at places that are in range."""
    return apply("take", values, places, axis=0)


def _weights(at: Reading, nodes: int, targets: int, how: str, leaves: Any, ids: Any, values: Any) -> Any:
    if not 0 < nodes * targets <= MOST_WEIGHTS:
        at.refuse(f"{nodes} nodes of {targets} targets are not read, at most {MOST_WEIGHTS} together")
    if not len(leaves) == len(ids) == len(values) or (len(ids) and not 0 <= min(ids) <= max(ids) < targets):
        at.fail("leaves, targets and weights do not fit together")
    limit = np.finfo(np.float32).max
    empty = {"MIN": limit, "MAX": -limit}.get(how, 0.0)
    out = np.full((nodes, targets), empty)
    if how in ("MIN", "MAX"):
        (np.minimum if how == "MIN" else np.maximum).at(out, (leaves, ids), values)
    else:
        np.add.at(out, (leaves, ids), values)
    return out


def _listed(at: Reading, name: str, default: Any = ()) -> Any:
    """Numbers of an attribute, or of the tensor that is given in its place."""
    other = f"{name}_as_tensor"
    return at.array(other) if other in at.attributes else np.array(at.attribute(name, default))


def _texts(at: Reading, name: str) -> list[str]:
    held = at.attributes.get(name)
    return [] if held is None else [s.decode("utf-8", "replace") for s in held.strings]


def _forest(at: Reading, what: str, targets: int, how: str) -> Forest:
    """Trees of which each node has its tree and its number there."""
    trees, numbers = at.attribute("nodes_treeids", ()), at.attribute("nodes_nodeids", ())
    place = {pair: k for k, pair in enumerate(zip(trees, numbers, strict=True))}
    modes = np.array(_texts(at, "nodes_modes"))
    count = len(place)
    if not count or len(trees) != count or len(modes) != count:
        at.fail(f"{len(modes)} modes for {len(trees)} nodes, of which {count} differ")
    unknown = set(modes) - {"LEAF", *TESTS}
    if unknown:
        at.fail(f"the mode {min(unknown)[:40]!r} is none of ONNX's")
    behind = []
    for name in ("nodes_truenodeids", "nodes_falsenodeids"):
        told = at.attribute(name, ())
        if len(told) != count:
            at.fail(f"{len(told)} {name} for {count} nodes")
        pairs = zip(trees, told, modes, strict=True)
        behind.append(np.array([k if m == "LEAF" else place[t, n] for k, (t, n, m) in enumerate(pairs)]))
    splits, features = _listed(at, "nodes_values"), np.array(at.attribute("nodes_featureids", ()), np.int64)
    missing = np.array(at.attribute("nodes_missing_value_tracks_true", (0,) * count), np.int64) != 0
    if not len(splits) == len(features) == len(missing) == count:
        at.fail(f"{len(splits)} values and {len(features)} features for {count} nodes")
    first: dict[int, int] = {}
    for k, tree in enumerate(trees):
        first.setdefault(tree, k)
    inner = modes != "LEAF"
    named = zip(at.attribute(f"{what}_treeids", ()), at.attribute(f"{what}_nodeids", ()), strict=True)
    leaves = [place[pair] for pair in named]
    values = _listed(at, f"{what}_weights")
    weights = _weights(at, count, targets, how, leaves, list(at.attribute(f"{what}_ids", ())), values)
    yes, no = behind
    features, splits = np.where(inner, features, 0), np.where(inner, splits, 0)
    return Forest(np.array(list(first.values())), modes, features, splits, missing, yes, no, weights)


def tree_regressor(at: Reading) -> Tensor:
    targets, how = at.attribute("n_targets", 1), at.attribute("aggregate_function", "SUM")
    scores = _forest(at, "target", targets, how).scores(at, at.tensor(), how)
    base = _listed(at, "base_values")
    return transformed(at, scores + at.graph.constant(base.astype(scores.dtype)) if base.size else scores)


def tree_classifier(at: Reading) -> list[Tensor]:
    """The label with the highest score, and the scores. Two classes may share one."""
    labels, ids = at.attribute("classlabels_int64s", ()), at.attribute("class_ids", ())
    if not labels:
        at.refuse("labels that are text are not read; train on integers")
    scores = _forest(at, "class", len(labels), "SUM").scores(at, at.tensor(), "SUM")
    base = _listed(at, "base_values").astype(np.float32)
    if len(labels) == 2 and len(set(ids)) == 1:
        s = scores[:, ids[0]]
        s = s + float(base[-1]) if base.size else s
        return scores_of_two(at, s, labels, bool(np.min(_listed(at, "class_weights"), initial=0) >= 0))
    scores = scores + at.graph.constant(base.astype(scores.dtype)) if base.size else scores
    return labelled(at, scores, labels)


def tree_ensemble(at: Reading) -> Tensor:
    """The newest operator: inner nodes and leaves are listed apart, and numbered one after the other here."""
    modes, splits = np.ravel(at.array("nodes_modes")).astype(np.int64), np.ravel(at.array("nodes_splits"))
    ids, values = at.attribute("leaf_targetids", ()), np.ravel(at.array("leaf_weights"))
    n, leaves = len(modes), len(ids)
    names = ("nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs", "nodes_featureids")
    yes, no, yes_leaf, no_leaf, features = (np.array(at.attribute(name, ()), np.int64) for name in names)
    missing = np.array(at.attribute("nodes_missing_value_tracks_true", (0,) * n), np.int64) != 0
    if any(len(part) != n for part in (splits, missing, yes, no, yes_leaf, no_leaf, features)):
        at.fail(f"splits, children and features do not fit {n} nodes")
    if ((modes < 0) | (modes >= len(NUMBERED))).any():
        at.fail(f"modes must lie in 0 to {len(NUMBERED) - 1}")
    yes, no = np.where(yes_leaf != 0, n + yes, yes), np.where(no_leaf != 0, n + no, no)
    roots, own, zeros = np.array(at.attribute("tree_roots", ()), np.int64), np.arange(n, n + leaves), np.zeros(leaves)
    yes, no = np.concatenate([yes, own]), np.concatenate([no, own])
    features, splits = np.concatenate([features, own * 0]), np.concatenate([splits, zeros])
    missing, named = np.concatenate([missing, zeros != 0]), [*(NUMBERED[m] for m in modes), *["LEAF"] * leaves]
    if any(not part.size or part.min() < 0 or part.max() >= n + leaves for part in (yes, no, roots)):
        at.fail(f"a node that is none of {n}, or a leaf that is none of {leaves}")
    how = {0: "AVERAGE", 1: "SUM", 2: "MIN", 3: "MAX"}.get(at.attribute("aggregate_function", 1), "")
    weights = _weights(at, n + leaves, at.attribute("n_targets", 1), how, own, list(ids), values)
    forest = Forest(roots, np.array(named), features, splits, missing, yes, no, weights)
    return transformed(at, _asked(at, forest).scores(at, at.tensor(), how))


def _asked(at: Reading, forest: Forest) -> Forest:
    """Nodes that ask for one of some values as chains of nodes that each ask for one."""
    asking = np.flatnonzero(forest.modes == MEMBER)
    if not asking.size:
        return forest
    told = np.ravel(at.array("membership_values"))
    groups = np.split(told, np.flatnonzero(np.isnan(told)))[: len(asking)]
    groups = [group[~np.isnan(group)] for group in groups]
    if len(groups) != len(asking) or not all(group.size for group in groups):
        at.fail(f"{len(groups)} sets of values for {len(asking)} nodes that ask for one")
    more = sum(len(group) - 1 for group in groups)
    whole = len(forest.modes)
    made = Forest(forest.roots, *(np.concatenate([a, np.repeat(a[-1:], more, 0)]) for a in forest.parts()))
    for node, group in zip(asking.tolist(), groups, strict=True):
        chain = [node, *range(whole, whole + len(group) - 1)]
        whole += len(group) - 1
        made.modes[chain], made.splits[chain], made.features[chain] = "BRANCH_EQ", group, made.features[node]
        made.missing[chain], made.yes[chain] = made.missing[node], made.yes[node]
        made.no[chain] = [*chain[1:], made.no[node]]
    return made


# ---- of all classifiers


def transformed(at: Reading, scores: Tensor) -> Tensor:
    """``post_transform``."""
    kinds: Mapping[Any, Callable[[Tensor], Tensor]] = {
        "NONE": e.identity, "SOFTMAX": softmax, "LOGISTIC": f.sigmoid, 0: e.identity, 1: softmax, 2: f.sigmoid
    }  # fmt: skip
    kind = at.attribute("post_transform") or "NONE"
    if kind not in kinds:
        at.refuse(f"post_transform {str(kind)[:40]!r} is not read; read are NONE, SOFTMAX and LOGISTIC")
    return kinds[kind](scores)


def labelled(at: Reading, scores: Tensor, labels: Sequence[int]) -> list[Tensor]:
    """The label of the highest score, and the scores."""
    return [best(at, scores, labels), transformed(at, scores)]


def best(at: Reading, votes: Tensor, labels: Sequence[int]) -> Tensor:
    """The label of the most votes."""
    if not labels:
        at.refuse("labels that are text are not read; train on integers")
    if votes.shape[-1] != len(labels):
        at.refuse(f"{votes.shape[-1]} scores for {len(labels)} classes are not read")
    return _at(at.graph.constant(np.array(labels, np.int64)), reduce.argmax(votes, -1))


def scores_of_two(at: Reading, score: Tensor, labels: Sequence[int], positive: bool) -> list[Tensor]:
    """Two classes by one score: with weights that are all ``positive`` it is a probability, else its sign decides."""
    on = e.greater(score, 0.5 if positive else 0.0)
    pair = assembly.stack([1 - score if positive else -score, score], -1)
    label = e.where(on, at.graph.constant(np.array(labels[1])), at.graph.constant(np.array(labels[0])))
    return [label, pair if positive else transformed(at, pair)]


TREES: dict[str, Reader] = {
    "TreeEnsembleRegressor": tree_regressor, "TreeEnsembleClassifier": tree_classifier, "TreeEnsemble": tree_ensemble,
}  # fmt: skip

__all__ = ["TREES", "best", "labelled", "transformed"]
