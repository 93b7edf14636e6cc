"""Layered drawings of acyclic graphs: columns from left to right, few crossings, straight edges where there is room.

Sugiyama, Tagawa and Toda, Methods for Visual Understanding of Hierarchical System Structures, 1981.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]
Edge = tuple[int, int]

SWEEPS = 12
BEND = 6.0  # height that an edge takes where it passes a column


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of boxes, and the points that each edge passes; the upper left corner is (0, 0).

    An edge leaves its first column level with the box there, crosses others on the level, and enters the last one so:
    it may bend between columns, where there are no boxes.
    """

    places: dict[int, Point]
    routes: dict[Edge, list[Point]]
    width: float
    height: float


def layered(sizes: Mapping[int, Point], edges: Sequence[Edge], gap: Point) -> Layout:
    """Places boxes of ``sizes`` (width, height), given so that every edge leads to a later one.

    >>> found = layered({0: (10, 10), 1: (10, 10), 2: (10, 10)}, [(0, 2), (1, 2)], gap=(20, 10))
    >>> found.places
    {0: (5.0, 5.0), 1: (5.0, 25.0), 2: (35.0, 15.0)}
    """
    level = _levels(sizes, edges)
    heights = {key: size[1] for key, size in sizes.items()}
    columns: list[list[int]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for key in sizes:
        columns[level[key]].append(key)
    paths: dict[Edge, list[int]] = {}  # an edge over several columns passes a point in each
    links: list[Edge] = []
    for edge in dict.fromkeys(edges):
        path = [edge[0]]
        for column in range(level[edge[0]] + 1, level[edge[1]]):
            point = -1 - len(heights)
            heights[point] = BEND
            columns[column].append(point)
            path.append(point)
        paths[edge] = [*path, edge[1]]
        links += pairwise(paths[edge])
    before, after = _neighbours(links, 1), _neighbours(links, 0)
    columns = _ordered(columns, before, after, links)
    y = _heights(columns, heights, before, after, gap[1])
    x: dict[int, float] = {}
    left: dict[int, float] = {}
    right: dict[int, float] = {}
    edge_of_column = 0.0
    for members in columns:
        wide = _widest(sizes, members)
        x |= dict.fromkeys(members, edge_of_column + wide / 2)
        left |= dict.fromkeys(members, edge_of_column)
        right |= dict.fromkeys(members, edge_of_column + wide)
        edge_of_column += wide + gap[0]
    top = min((y[k] - heights[k] / 2 for k in y), default=0.0)
    bottom = max((y[k] + heights[k] / 2 for k in y), default=0.0)
    level_of = {key: y[key] - top for key in y}
    return Layout(
        {key: (x[key], level_of[key]) for key in sizes},
        {
            edge: [point for a, b in pairwise(path) for point in ((right[a], level_of[a]), (left[b], level_of[b]))]
            for edge, path in paths.items()
        },
        max(edge_of_column - gap[0], 0.0),
        bottom - top,
    )


def width(sizes: Mapping[int, Point], edges: Sequence[Edge], gap: float) -> float:
    """The width that `layered` needs.

    >>> width({0: (10, 10), 1: (10, 10), 2: (30, 10)}, [(0, 2), (1, 2)], gap=20)
    60.0
    """
    columns: dict[int, list[int]] = {}
    for key, level in _levels(sizes, edges).items():
        columns.setdefault(level, []).append(key)
    return sum(_widest(sizes, members) for members in columns.values()) + gap * (len(columns) - 1)


def _widest(sizes: Mapping[int, Point], members: Sequence[int]) -> float:
    return max((float(sizes[key][0]) for key in members if key in sizes), default=0.0)


def _levels(sizes: Mapping[int, Point], edges: Sequence[Edge]) -> dict[int, int]:
    """The column of each box: after all that leads to it; what nothing leads to stands beside its first reader."""
    level = dict.fromkeys(sizes, 0)
    before, after = _neighbours(edges, 1), _neighbours(edges, 0)
    for key in sizes:
        level[key] = max((level[k] + 1 for k in before.get(key, ())), default=0)
    for key in sizes:
        if key not in before and key in after:
            level[key] = min(level[k] for k in after[key]) - 1
    return level


def _neighbours(edges: Sequence[Edge], end: int) -> dict[int, list[int]]:
    """The other ends of the edges of each box: what leads to it (end 1), or where it leads (end 0)."""
    found: dict[int, list[int]] = {}
    for edge in edges:
        found.setdefault(edge[end], []).append(edge[1 - end])
    return found


def _ordered(
    columns: list[list[int]], before: dict[int, list[int]], after: dict[int, list[int]], links: Sequence[Edge]
) -> list[list[int]]:
    """The columns, each in the order that was found to cross fewest edges: by the mean place of neighbours."""
    best, fewest = [list(c) for c in columns], _crossings(columns, links)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        neighbours = before if forward else after
        place = {key: k for column in columns for k, key in enumerate(column)}
        for column in columns if forward else columns[::-1]:
            means = {k: sum(place[n] for n in neighbours[k]) / len(neighbours[k]) for k in column if k in neighbours}
            column.sort(key=lambda k: means.get(k, place[k]))
            place |= {key: k for k, key in enumerate(column)}
        crossings = _crossings(columns, links)
        if crossings < fewest:
            best, fewest = [list(c) for c in columns], crossings
    return best


def _crossings(columns: Sequence[Sequence[int]], links: Sequence[Edge]) -> int:
    place = {key: k for column in columns for k, key in enumerate(column)}
    level = {key: k for k, column in enumerate(columns) for key in column}
    by_level: dict[int, list[Edge]] = {}
    for a, b in links:
        by_level.setdefault(level[a], []).append((place[a], place[b]))
    return sum(
        (a - c) * (b - d) < 0 for pairs in by_level.values() for k, (a, b) in enumerate(pairs) for c, d in pairs[:k]
    )


def _heights(
    columns: Sequence[Sequence[int]],
    heights: Mapping[int, float],
    before: Mapping[int, list[int]],
    after: Mapping[int, list[int]],
    gap: float,
) -> dict[int, float]:
    """Vertical places: each box as near the mean of its neighbours as the others of its column let it."""
    y = dict.fromkeys(heights, 0.0)
    for sweep in range(2 * SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else columns[::-1]:
            wanted = []
            for key in column:
                around = [*before.get(key, ()), *after.get(key, ())] if sweep >= SWEEPS else (
                    (before if forward else after).get(key) or [key]
                )  # fmt: skip
                wanted.append(sum(y[k] for k in around) / len(around) if around else y[key])
            offsets = [0.0]
            for one, next_one in pairwise(column):
                offsets.append(offsets[-1] + (heights[one] + heights[next_one]) / 2 + gap)
            found = _nearest_increasing([w - o for w, o in zip(wanted, offsets, strict=False)])
            y |= {key: f + o for key, f, o in zip(column, found, offsets, strict=False)}
    return y


def _nearest_increasing(values: Sequence[float]) -> list[float]:
    """The increasing sequence with the least squared distance from ``values`` (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (b, m), (a, n) = pools.pop(), pools.pop()
            pools.append(((a * n + b * m) / (n + m), n + m))
    return [mean for mean, count in pools for _ in range(count)]


__all__ = ["Layout", "layered", "width"]
