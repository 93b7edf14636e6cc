"""Sizes from text: the printed form of a `Dim`, read by a small grammar of its own.

Nothing is evaluated and Python's parser takes no part, so names come back as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from graphc.errors import ShapeError
from graphc.ir import dims
from graphc.ir.dims import Dim, Size

LONGEST = 1 << 16  # characters
DEEPEST = 50  # parentheses inside one another
MOST_TERMS = 4096
MOST_FACTORS = 64
LARGEST = 1 << 63  # of a number
HIGHEST_POWER = 16

_TOKEN = re.compile(r"\s*(\d+|\*\*|//|[-+*(),]|[^\s\d()+*/,-][^\s()+*/,-]*)")
MOST_PARTS = 16  # of a function
_FUNCTIONS: dict[str, tuple[range, Callable[..., Size]]] = {  # each with how many operands it takes
    "broadcast": (range(2, 3), dims.broadcast),
    "not_one": (range(1, 2), dims.not_one),
    "bound": (range(2, 3), dims.bound),
    "min": (range(2, MOST_PARTS + 1), lambda *parts: dims.least(parts)),
}


def parse(text: str, most_terms: int = MOST_TERMS) -> Size:
    """The size that its printed form stands for; ShapeError for any other text.

    ``most_terms`` bounds the work: how many terms a product may have before like ones meet. Printed forms need 1.

    >>> n = dims.symbol("n")
    >>> parse(str(2 * n + 1)) == 2 * n + 1, parse("(n)//(2)")
    (True, (n)//(2))
    """
    if len(text) > LONGEST:
        _refuse(text)
    tokens, at = [], 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            _refuse(text)
        tokens.append(match[1])
        at = match.end()
    reader = _Reader(text, tokens, most_terms)
    size = reader.sum()
    if reader.next is not None:
        _refuse(text)
    return size


class _Reader:
    """Recursive descent over the tokens, with Python's precedence."""

    def __init__(self, text: str, tokens: list[str], most_terms: int) -> None:
        self.text, self.tokens, self.most_terms = text, tokens, most_terms
        self.at, self.depth = 0, 0

    @property
    def next(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, *expected: str) -> str:
        found = self.next
        if found is None or (expected and found not in expected):
            _refuse(self.text)
        self.at += 1
        return found

    def sum(self) -> Size:
        self.depth += 1
        if self.depth > DEEPEST:
            _refuse(self.text)
        parts = [(self.product(), 1)]
        while self.next in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            parts.append((self.product(), sign))
        self.depth -= 1
        return parts[0][0] if len(parts) == 1 else dims.combine(parts)

    def product(self) -> Size:
        out = self.factor()
        factors = 1
        while self.next in ("*", "//"):
            factors += 1
            if factors > MOST_FACTORS:
                _refuse(self.text)
            if self.take() == "*":
                out = self.times(out, self.factor())
                continue
            right = self.factor()
            if right == 0:
                _refuse(self.text)
            out = dims.floor_divide(out, right)
        return out

    def factor(self) -> Size:
        minus = 1
        while self.next == "-":
            self.take()
            minus = -minus
        out = base = self.atom()
        if self.next == "**":
            self.take()
            power = self.number(self.take())
            if power > HIGHEST_POWER:
                _refuse(self.text)
            out = 1
            for _ in range(power):
                out = self.times(out, base)
        return dims.multiply(minus, out) if minus < 0 else out

    def atom(self) -> Size:
        token = self.take()
        if token == "(":
            inner = self.sum()
            self.take(")")
            return inner
        if token[0].isdigit():
            return self.number(token)
        if self.next == "(" and token in _FUNCTIONS:
            counts, function = _FUNCTIONS[token]
            self.take("(")
            given = [self.sum()]
            while self.take(",", ")") == ",":
                given.append(self.sum())
            if len(given) not in counts:
                _refuse(self.text)
            return function(*given)
        if not token.isidentifier():
            _refuse(self.text)
        return dims.symbol(token)

    def number(self, token: str) -> int:
        if not (token.isascii() and token.isdigit() and len(token) < 20 and int(token) < LARGEST):
            _refuse(self.text)
        return int(token)

    def times(self, left: Size, right: Size) -> Size:
        if _terms(left) * _terms(right) > self.most_terms:
            _refuse(self.text)
        return dims.multiply(left, right)


def _terms(size: Size) -> int:
    return len(size.terms) if isinstance(size, Dim) else 1


def _refuse(text: str) -> NoReturn:
    raise ShapeError(f"{text[:80]!r} is not a size")


__all__ = ["parse"]
