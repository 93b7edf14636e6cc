"""The rule by which a node's gradient comes from those of its readers, as a formula and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from graphc.ir.tensor import Tensor
from graphc.look.expression import formula

Word = Callable[[Tensor], "str | None"]
MOST_TERMS = 6


def gradient_rule(gradient: Tensor, of: Mapping[int, str], word: Word) -> tuple[str, str] | None:
    """A gradient as a formula and in words; None where that would be long.

    ``of`` has words for the gradients of the readers, by the number of the tensor; ``word`` names forward nodes.
    """

    def named(tensor: Tensor) -> str | None:
        return of.get(tensor.id) or word(tensor)

    terms, phrases, waiting = list[str](), list[str](), [gradient]
    while waiting:
        term = waiting.pop()
        if term.op.name == "add" and term.id not in of:  # what several readers ask for is added
            waiting += reversed(term.inputs)
            continue
        text = of.get(term.id) or formula(term, named)
        if text is None or len(terms) == MOST_TERMS:
            return None
        terms.append(text)
        phrases.append(_phrase(term, of, named) or text)
    return " + ".join(_gathered(terms)), " plus ".join(_gathered(phrases))


def _gathered(terms: Sequence[str]) -> list[str]:
    """Equal terms once, with their number: both operands of ``x * x`` hand the same back."""
    return [term if count == 1 else f"{count} * ({term})" for term, count in Counter(terms).items()]


def _phrase(term: Tensor, of: Mapping[int, str], named: Word) -> str | None:
    """A term in words; None where they would say no more than the formula."""
    if term.id in of:
        return f"{of[term.id]} unchanged"
    if term.op.name == "constant":
        return "1: it starts here"
    first = of.get(term.inputs[0].id) if term.inputs else None
    if first is None:
        return None
    other = term.inputs[-1]
    factor = named(other) or formula(other, named)
    match term.op.name:
        case "broadcast_to":
            return f"{first} for every element that was summed"
        case "sum" | "sum_broadcast":
            return f"{first} summed over what it was broadcast along"
        case "neg":
            return f"{first} with the other sign"
        case "multiply":
            return f"{first} times {factor}"
        case "divide":
            return f"{first} over {factor}"
        case "matmul":
            return f"{first} times the other matrix, {factor}"
        case "where":
            return f"{first} where {formula(term.inputs[0], named)}, else 0"
    return None


__all__ = ["gradient_rule"]
