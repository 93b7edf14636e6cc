"""JSON from strangers: bounded, with one reading of every text, and records with exactly the fields they need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from graphc.errors import GraphFileError

# What a text may hold; together they bound the memory that it takes to read.
MOST = {"[": 400_000, "{": 200_000, ",": 1_500_000, ":": 600_000}
MOST_QUOTES = 3_000_000
LONGEST_NUMBER = 20  # digits that no number has; all are integers of 64 bits, other ones are written as text


def parse(data: bytes, place: str) -> Any:
    """The value of a JSON text in ASCII. GraphFileError for anything that readers of JSON may take differently:
    doubled keys, NaN, fractions, long numbers; and for texts that are too deep or have too many parts."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise GraphFileError(f"{place}: byte {error.start} is not ASCII") from None
    bare = text.replace("\\\\", "").replace('\\"', "")
    if bare.count('"') > MOST_QUOTES:
        raise GraphFileError(f"{place}: too many strings")
    outside = "".join(bare.split('"')[::2])
    for mark, most in MOST.items():
        if outside.count(mark) > most:
            raise GraphFileError(f"{place}: more than {most} times {mark!r}")
    if long := _LONG_NUMBER.search(outside):
        raise GraphFileError(f"{place}: {long[0]}... is not an integer of 64 bits")
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise GraphFileError(f"{place}: nested too deeply") from None
    except ValueError as error:
        raise GraphFileError(f"{place}: {str(error)[:200]}") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        double = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {show(double)} stands twice")
    return out


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not an integer; other numbers are written as text")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_no_number, parse_constant=_no_number)
_LONG_NUMBER = re.compile(rf"\d{{{LONGEST_NUMBER}}}")


def dump(value: Any) -> bytes:
    """The one text of ``value`` that files hold."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def record(value: Any, place: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` where it is an object with exactly ``fields``, each of its type (or one of several)."""
    if type(value) is not dict:
        raise GraphFileError(f"{place}: expected an object, found {show(value)}")
    for name in fields:
        if name not in value:
            raise GraphFileError(f"{place}: the field {name} is missing")
    for name in value:
        if name not in fields:
            raise GraphFileError(f"{place}: there is no field {show(name)}")
        expected = fields[name] if isinstance(fields[name], tuple) else (fields[name],)
        if type(value[name]) not in expected:
            words = " or ".join(_WORDS[t] for t in expected)
            raise GraphFileError(f"{place}: {name}: expected {words}, found {show(value[name])}")
    return value


_WORDS = {dict: "an object", list: "a list", str: "text", int: "an integer", bool: "true or false", type(None): "null"}


def numbers(value: list[Any], place: str, below: int) -> list[int]:
    """``value`` where it holds integers from 0 up to ``below`` only."""
    for k, entry in enumerate(value):
        if type(entry) is not int or not 0 <= entry < below:
            raise GraphFileError(f"{place}: entry {k}: expected an integer from 0 to {below - 1}, found {show(entry)}")
    return value


def show(value: Any) -> str:
    """A value in an error, never long."""
    if isinstance(value, str):
        return repr(value[:60]) + ("..." if len(value) > 60 else "")
    return repr(value) if value is None or isinstance(value, (int, bool)) else _WORDS[type(value)]


__all__ = ["dump", "numbers", "parse", "record", "show"]
