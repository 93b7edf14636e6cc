"""The rule by which a node's gradient comes from those of its readers, as a formula and in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.ir.tensor import Tensor
from graphc.look.expression import formula, number_text, product

Word = Callable[[Tensor], "str | None"]
MOST_TERMS = 6


def gradient_rule(gradient: Tensor, of: Mapping[int, str], word: Word) -> tuple[str, str] | None:
    """A gradient as a formula and in words; None where that would be long.

    ``of`` has words for the gradients of the readers, by the number of the tensor; ``word`` names forward nodes.
    """

    def named(tensor: Tensor) -> str | None:
        return of.get(tensor.id) or word(tensor)

    terms: dict[str, tuple[float, str | None]] = {}
    waiting = [gradient]
    while waiting:
        term = waiting.pop()
        if term.op.name == "add" and term.id not in of:  # what several readers ask for is added, the last first
            waiting += term.inputs
            continue
        found = product(term, named)
        if found is None or len(terms) == MOST_TERMS:
            return None
        scale, rest = found
        if rest in terms:  # both operands of ``x * x`` hand the same back
            terms[rest] = terms[rest][0] + scale, None
        else:
            terms[rest] = scale, _phrase(term, of, named)
    text = " + ".join(_scaled(scale, rest) for rest, (scale, _) in terms.items()).replace("+ -", "- ")
    return text, " plus ".join(phrase or _scaled(scale, rest) for rest, (scale, phrase) in terms.items())


def _scaled(scale: float, rest: str) -> str:
    if not rest or abs(scale) != 1:
        return " * ".join(filter(None, (number_text(scale), rest)))
    return rest if scale == 1 else f"-{rest}"


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
