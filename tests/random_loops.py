"""Random programs of loops, branches and derivatives in one another, as text that graphc and JAX run alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

import graphc as gx

Shape = tuple[Any, ...]
INPUTS: dict[str, Shape] = {"x": (3,), "y": (), "m": (3, 3), "rows": ("n", 3), "row": ("n",)}
UNARY = (
    "S.tanh({0})", "S.sin({0})", "S.exp(-{0} * {0})", "S.sigmoid({0})", "S.sqrt({0} * {0} + 0.5)",
    "S.log1p({0} * {0})", "{0} * 0.5 + 0.125", "1.0 / ({0} * {0} + 1.0)", "S.relu({0} - 0.03)", "S.abs({0} + 0.07)",
    "{0} * {0} * 0.5", "S.stop_gradient({0}) * {0} * 0.5",
)  # fmt: skip
BINARY = (
    "{0} + {1} * 0.5", "{0} - {1}", "{0} * {1}", "{0} / ({1} * {1} + 1.0)", "S.where({0} > 0.11, {0}, {1} * 0.5)",
    "S.maximum({0} * 0.9, {1} + 0.013)", "S.tanh({0}) + 0.5 * {1}",
)  # fmt: skip
REDUCED = ("S.sum({0}) * 0.3", "S.sum({0} * {0}) * 0.2", "S.tanh(S.max({0}))", "S.logsumexp({0})")


@dataclass
class Writer:
    """Writes one program. What is known is a list of names with their shapes; a body knows what stands around it."""

    rng: np.random.Generator
    random: bool = False  # whether numbers are drawn, which JAX draws differently
    more: bool = False  # whether there are derivatives of all kinds, and gradients of one's own
    lines: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=count)

    def name(self, letter: str = "v") -> str:
        return f"{letter}{next(self.numbers)}"

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def put(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def pick(self, known: list[tuple[str, Shape]]) -> tuple[str, Shape]:
        """One of what is known, rather a late one."""
        late = self.chance(0.75)
        return known[int(self.rng.integers(max(0, len(known) - 3) if late else 0, len(known)))]

    def block(self, indent: int, known: list[tuple[str, Shape]], depth: int, most: int = 4) -> list[tuple[str, Shape]]:
        """What is known after some more lines."""
        known = [*known]
        for _ in range(int(self.rng.integers(1, most))):
            known += self.statement(indent, known, depth)
        return known

    def statement(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        if depth and self.chance(0.55):
            kinds = [self.scan, self.scan, self.scan, self.map, self.whole, self.branch, self.branch]
            kinds += [self.slope, self.push, self.again, self.many]
            if self.more:
                kinds += [self.pull, self.bend, self.own, self.again, self.many, self.again_twice]
            return kinds[self.rng.integers(len(kinds))](indent, known, depth - 1)
        (a, s), (b, t) = self.pick(known), self.pick(known)
        if self.more and self.chance(0.15):
            return self.further(indent, a, s)
        match int(self.rng.integers(10)):
            case 0 | 1 | 2:
                text, shape = UNARY[self.rng.integers(len(UNARY))].format(a), s
            case 3 | 4 | 5:
                both = joint(s, t)
                if both is None:
                    b, both = f"(S.sum({b}) * 0.3)", s
                text, shape = BINARY[self.rng.integers(len(BINARY))].format(a, b), both
            case 6:
                text, shape = REDUCED[self.rng.integers(len(REDUCED))].format(a), ()
                if s and s[0] == "n":  # which may be 0
                    text = f"S.sum({a}) * 0.3"
            case 7:
                text, shape = self.moved(a, s)
            case 8:
                text, shape = self.product(a, s, b, t)
            case _ if self.random and self.chance(0.7):
                shape = ((), (3,))[self.rng.integers(2)]
                text = f"S.normal(key, {shape}) * {a} * 0.5" if joint(shape, s) == s else f"S.normal(key, {shape})"
                shape = joint(shape, s) or shape
            case _:
                text, shape = f"S.tanh({a})", s
        name = self.name()
        self.put(indent, f"{name} = {text}")
        return [(name, shape)]

    def moved(self, a: str, s: Shape) -> tuple[str, Shape]:
        choices: list[tuple[str, Shape]] = [(f"S.broadcast_to({fit(a, s, ())}, (3,))", (3,))]
        if s:
            choices += [(f"{a}[::-1]", s), (f"S.cumsum({a})", s)]
        if s and s[0] == 3:
            choices += [(f"{a}[1]", s[1:]), (f"S.concat([{a}, {a}[:1] * 0.5])[1:]", s), (f"S.take({a}, [2, 0, 2])", s)]
        if s and s[-1] == 3:
            choices += [(f"S.softmax({a})", s), (f"S.sum({a}, -1)", s[:-1])]
        if s == (3, 3):
            choices += [(f"{a}.T", s), (f"S.reshape({a}, (9,))[2:5]", (3,))]
        if s == (3,):
            choices += [(f"{a}[:, None] * {a} * 0.3", (3, 3)), (f"S.set_at({a}, 1, S.sin({a}[0]))", s)]
        return choices[self.rng.integers(len(choices))]

    def product(self, a: str, s: Shape, b: str, t: Shape) -> tuple[str, Shape]:
        if s and t and s[-1] == 3 and t[0] == 3:
            return f"S.matmul({a}, {b}) * 0.4", s[:-1] + t[1:]
        if s[:1] == ("n",) and t[:1] == ("n",) and s[1:] == (3,):
            return f"S.matmul({a}.T, {b}) * 0.2", s[1:] + t[1:]
        return f"{a} * 0.3", s

    # ---- what holds bodies

    def scan(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        first = [self.pick(known) for _ in range(self.rng.integers(0, 3))]
        shapes = [s if s in ((), (3,), (3, 3)) else (3,) for _, s in first]
        rows = [self.pick([k for k in known if k[1]]) for _ in range(self.rng.integers(0 if first else 1, 3))]
        time: Any = rows[0][1][0] if rows else int(self.rng.integers(0, 4))
        rows = [r for r in rows if r[1][0] == time]
        f, carries, xs = self.name("f"), [self.name() for _ in first], [self.name() for _ in rows]
        self.put(indent, f"def {f}(carry, given):")
        if carries:
            self.put(indent + 1, f"[{', '.join(carries)}] = carry")
        if xs:
            self.put(indent + 1, f"[{', '.join(xs)}] = given")
        inner = [*known, *zip(carries, shapes, strict=True), *((x, s[1:]) for x, (_, s) in zip(xs, rows, strict=True))]
        inner = self.block(indent + 1, inner, depth)
        after = [f"S.tanh({fit(*inner[-1 - k], s)})" for k, s in enumerate(shapes)]
        made = [] if self.chance(0.2) and first else [(v, s) for v, s in (self.pick(inner),) if "n" not in s]
        self.put(indent + 1, f"return [{', '.join(after)}], [{', '.join(v for v, _ in made)}]")
        last, ys = [self.name() for _ in first], [self.name() for _ in made]
        start = ", ".join(fit(v, s, shape) for (v, s), shape in zip(first, shapes, strict=True))
        given = f"[{', '.join(r for r, _ in rows)}]" if rows else f"None, {time}"
        more = ", reverse=True" if self.chance(0.3) else ""
        if self.chance(0.3):
            more += f", checkpoint_every={self.rng.integers(1, 4)}"
        elif self.chance(0.15):
            more += f", unroll={self.rng.integers(2, 4)}"
        self.put(indent, f"[{', '.join(last)}], [{', '.join(ys)}] = S.scan({f}, [{start}], {given}{more})")
        out = list(zip(last, shapes, strict=True))
        for y, (_, s) in zip(ys, made, strict=True):
            if time in (3, "n") and len(s) < 2:
                out.append((y, (time, *s)))
            else:
                self.put(indent, f"{y} = S.sum({y}) * 0.3")
                out.append((y, ()))
        return out or [known[-1]]

    def map(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        return self.each(indent, known, depth, "S.map({f}, {rows})")

    def many(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        return self.each(indent, known, depth, "S.vmap({f})({rows})")

    def each(self, indent: int, known: list[tuple[str, Shape]], depth: int, call: str) -> list[tuple[str, Shape]]:
        rows, s = self.pick([k for k in known if k[1]])
        y, (_, made) = self.function(indent, known, depth, (s[1:],))
        name = self.name()
        self.put(indent, f"{name} = {call.format(f=y, rows=rows)}")
        shape = (s[0], *made)
        if len(shape) > 2 or "n" in made:
            self.put(indent, f"{name} = S.sum({name}) * 0.3")
            shape = ()
        return [(name, shape)]

    def function(
        self, indent: int, known: list[tuple[str, Shape]], depth: int, given: tuple[Shape, ...], to: Shape | None = None
    ) -> tuple[str, tuple[str, Shape]]:
        f, names = self.name("f"), [self.name() for _ in given]
        self.put(indent, f"def {f}({', '.join(names)}):")
        inner = self.block(indent + 1, [*known, *zip(names, given, strict=True)], depth, 3)
        value, shape = inner[-1]
        if to is not None:
            value, shape = fit(value, shape, to), to
        # at times a result that depends on nothing given is of no use: let the first one through
        value = f"{value} + 0.1 * S.sum({names[0]})" if names else value
        self.put(indent + 1, f"return {value}")
        return f, (value, shape)

    def branch(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        (a, s), (b, t) = self.pick(known), self.pick(known)
        to = ((), (3,), (3, 3))[self.rng.integers(3)]
        given: tuple[Shape, ...] = (t,) if self.chance(0.5) else ()
        sides = [self.function(indent, known, depth, given, to)[0] for _ in range(2)]
        name = self.name()
        pred = f"{fit(a, s, ())} > {self.rng.normal() * 0.3:.3f}"
        self.put(indent, f"{name} = S.cond({', '.join([pred, *sides, *([b] if given else [])])})")
        return [(name, to)]

    def whole(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        value, s = self.pick(known)
        to = s if s in ((), (3,), (3, 3)) else (3,)
        most, f, test = int(self.rng.integers(0, 4)), self.name("f"), self.name("f")
        carry, k = self.name(), self.name()
        more = f" & (S.sum({carry}) < {0.3 + self.rng.normal():.3f})" if self.chance(0.5) else ""
        self.put(indent, f"def {test}(carry):")
        self.put(indent + 1, f"{carry}, {k} = carry")
        self.put(indent + 1, f"return ({k} < {most}){more}")
        self.put(indent, f"def {f}(carry):")
        self.put(indent + 1, f"{carry}, {k} = carry")
        inner = [*known, (carry, to)]
        if to and self.chance(0.5):
            at = self.name()
            self.put(indent + 1, f"{at} = S.take({carry}, {k})")
            inner.append((at, to[1:]))
        inner = self.block(indent + 1, inner, depth)
        self.put(indent + 1, f"return S.tanh({fit(*inner[-1], to)}) + 0.1 * {carry}, {k} + 1")
        name = self.name()
        first = fit(value, s, to)
        self.put(indent, f"{name}, {k} = S.while_loop({test}, {f}, ({first}, 0), {most + int(self.rng.integers(2))})")
        return [(name, to)]

    def slope(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        at, s = self.pick(known)
        f, _ = self.function(indent, known, depth, (s,), ())
        name = self.name()
        self.put(indent, f"{name} = S.grad({f}, {at})")
        return [(name, s)]

    def push(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        at, s = self.pick(known)
        f, (_, made) = self.function(indent, known, depth, (s,))
        name = self.name()
        self.put(indent, f"{name} = S.jvp({f}, {at}, {at} * 0.5)")
        return [(name, made)]

    def further(self, indent: int, a: str, s: Shape) -> list[tuple[str, Shape]]:
        choices = [f"S.stop_gradient({a}) * {a}", f"S.where({a} > 0, S.sqrt(S.abs({a}) + 0.1), 0.3 * {a})"]
        if s in ((3,), (3, 3)):
            choices += [f"S.sort({a})", f"S.cumprod(S.tanh({a}))", f"{a} - S.logsumexp({a})", f"{a} * S.max({a})"]
            choices += [f"S.add_at({a}, [2, 0, 2], S.sin({a}))", f"{a} / (S.sum({a} * {a}) + 0.5)"]
        if s == (3, 3):
            choices += [f"S.solve({a} * 0.1 + S.eye3({a}), {a})"]
        name = self.name()
        self.put(indent, f"{name} = {choices[self.rng.integers(len(choices))]}")
        return [(name, s)]

    def pull(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        at, s = self.pick(known)
        f, _ = self.function(indent, known, depth, (s,), to := ((), (3,))[self.rng.integers(2)])
        along, name = fit(*self.pick(known), to), self.name()
        self.put(indent, f"{name} = S.pull({f}, {at}, {along})")
        return [(name, s)]

    def bend(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        small = [k for k in known if k[1] in ((), (3,))]
        if not small:
            return self.slope(indent, known, depth)
        at, s = self.pick(small)
        which = int(self.rng.integers(3))
        f, _ = self.function(indent, known, depth, (s,), () if which else (3,))
        name = self.name()
        if which == 2:
            self.put(indent, f"{name} = S.hvp({f}, {at}, S.cos({at}))")
            return [(name, s)]
        self.put(indent, f"{name} = S.sum(S.{('jacobian', 'hessian')[which]}({f}, {at})) * 0.3")
        return [(name, ())]

    def own(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        at, s = self.pick(known)
        f, _ = self.function(indent, [], 0, (s,), s if s in ((), (3,), (3, 3)) else (3,))
        name, shape = self.name(), s if s in ((), (3,), (3, 3)) else (3,)
        self.put(indent, f"{name} = S.own({f}, {at})")
        return [(name, shape)]

    def again_twice(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        (a, s), (b, t) = self.pick(known), self.pick(known)
        f, (_, made) = self.function(indent, known, depth, (s, t))
        name = self.name()
        self.put(indent, f"{name} = S.checkpoint({f})({a}, {b})")
        return [(name, made)]

    def again(self, indent: int, known: list[tuple[str, Shape]], depth: int) -> list[tuple[str, Shape]]:
        at, s = self.pick(known)
        f, (_, made) = self.function(indent, known, depth, (s,))
        name = self.name()
        self.put(indent, f"{name} = S.checkpoint({f})({at})")
        return [(name, made)]


def joint(s: Shape, t: Shape) -> Shape | None:
    """The shape of two that are broadcast against each other."""
    short, long = sorted((s, t), key=len)
    return long if short == long[len(long) - len(short) :] else None


def fit(value: str, shape: Shape, to: Shape) -> str:
    """A value brought to another shape: summed, then repeated."""
    if shape == to:
        return value
    if joint(shape, to) != to:
        value, shape = f"(S.sum({value}) * 0.3)", ()
    return f"S.broadcast_to({value}, {to})" if to else value


MORE = 200_000  # seeds from here on have more kinds of derivatives


def random_loops(seed: int) -> tuple[str, bool]:
    """The text of a program ``program(S, x, y, m, rows, row, key)`` of that seed, and whether it draws numbers."""
    rng = np.random.default_rng(seed)
    w = Writer(rng, random=bool(rng.random() < 0.2), more=seed >= MORE)
    w.put(0, f"def program(S, {', '.join(INPUTS)}, key):")
    known, depth = [*INPUTS.items()], int(rng.choice([1, 2, 2, 3]))
    while not any("S.scan" in line or "S.while" in line or "S.cond" in line or "S.map" in line for line in w.lines):
        known = w.block(1, known, depth, 5)
    made = known[-3:]
    w.put(1, f"return S.tanh({' + '.join(f'S.sum({v})' for v, _ in made)}) * 0.5")
    return "\n".join(w.lines), "S.normal" in "\n".join(w.lines)


def compiled(text: str) -> Any:
    """The function that a text defines."""
    space: dict[str, Any] = {}
    exec(text, space)
    return space["program"]


class Here:
    """What programs call, of graphc."""

    def __getattr__(self, name: str) -> Any:
        return getattr(gx, name)

    @staticmethod
    def normal(key: Any, shape: Shape) -> Any:
        return gx.random.normal(key, shape)

    @staticmethod
    def grad(f: Any, at: Any) -> Any:
        at = at * 1.0
        return gx.grad(f(at), at)

    @staticmethod
    def jvp(f: Any, at: Any, along: Any) -> Any:
        at = at * 1.0
        return gx.jvp(f(at), at, along)

    @staticmethod
    def pull(f: Any, at: Any, along: Any) -> Any:
        at = at * 1.0
        return gx.vjp(f(at), at, along)

    @staticmethod
    def hvp(f: Any, at: Any, along: Any) -> Any:
        at = at * 1.0
        return gx.hvp(f(at), at, along, on_disconnected="zeros")

    @staticmethod
    def hessian(f: Any, at: Any) -> Any:
        at = at * 1.0
        return gx.hessian(f(at), at)

    @staticmethod
    def jacobian(f: Any, at: Any) -> Any:
        at = at * 1.0
        return gx.jacobian(f(at), at)

    @staticmethod
    def own(f: Any, at: Any) -> Any:
        """A gradient that is not that of ``f``."""
        back = lambda c, i, o: [(i[0] + gx.cos(i[0])) * gx.sum(c[0]) * 0.3]  # noqa: E731
        return gx.custom_gradient(f, back)(at)

    @staticmethod
    def cumsum(x: Any) -> Any:
        return gx.cumsum(x, 0)

    @staticmethod
    def cumprod(x: Any) -> Any:
        return gx.cumprod(x, 0)

    @staticmethod
    def solve(a: Any, b: Any) -> Any:
        return gx.linalg.solve(a, b)

    @staticmethod
    def eye3(x: Any) -> Any:
        return np.eye(3, dtype=x.dtype)

    @staticmethod
    def add_at(x: Any, index: list[int], value: Any) -> Any:
        return x.at[index].add(value)

    @staticmethod
    def take(x: Any, index: Any) -> Any:
        return gx.take(x, index, 0)

    @staticmethod
    def softmax(x: Any) -> Any:
        return gx.softmax(x, -1)

    @staticmethod
    def set_at(x: Any, index: int, value: Any) -> Any:
        return x.at[index].set(value)


class There:
    """What programs call, of JAX."""

    def __init__(self) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax, self.jnp, self.lax = jax, jax.numpy, jax.lax

    def __getattr__(self, name: str) -> Any:
        for space in (self.jnp, self.jax.nn, self.lax):
            if hasattr(space, name):
                return getattr(space, name)
        raise AttributeError(name)

    def logsumexp(self, x: Any) -> Any:
        return self.jax.scipy.special.logsumexp(x)

    def softmax(self, x: Any) -> Any:
        return self.jax.nn.softmax(x, -1)

    def cumsum(self, x: Any) -> Any:
        return self.jnp.cumsum(x, 0)

    def take(self, x: Any, index: Any) -> Any:
        return self.jnp.take(x, self.jnp.asarray(index), 0)

    def set_at(self, x: Any, index: int, value: Any) -> Any:
        return x.at[index].set(value)

    def scan(self, f: Any, init: Any, xs: Any, length: Any = None, reverse: bool = False, **_: Any) -> Any:
        return self.lax.scan(f, init, xs, length, reverse=reverse)

    def cond(self, pred: Any, one: Any, other: Any, *operands: Any) -> Any:
        return self.lax.cond(pred, one, other, *operands)

    def map(self, f: Any, xs: Any) -> Any:
        return self.lax.scan(lambda c, x: (c, f(x)), None, xs)[1]

    def while_loop(self, test: Any, step: Any, init: Any, most: int) -> Any:
        """As a scan, through which reverse mode goes."""
        init = (init[0], self.jnp.asarray(init[1]))
        more = lambda c, _: (self.lax.cond(test(c), step, lambda c: c, c), None)  # noqa: E731
        return self.lax.scan(more, init, None, most)[0]

    def grad(self, f: Any, at: Any) -> Any:
        return self.jax.grad(f)(at)

    def jvp(self, f: Any, at: Any, along: Any) -> Any:
        return self.jax.jvp(f, (at,), (along,))[1]

    def pull(self, f: Any, at: Any, along: Any) -> Any:
        return self.jax.vjp(f, at)[1](along)[0]

    def hvp(self, f: Any, at: Any, along: Any) -> Any:
        return self.jax.vjp(self.jax.grad(f), at)[1](along)[0]  # not forward, which does not go through custom_vjp

    def hessian(self, f: Any, at: Any) -> Any:
        return self.jax.hessian(f)(at)

    def jacobian(self, f: Any, at: Any) -> Any:
        return self.jax.jacrev(f)(at)

    def own(self, f: Any, at: Any) -> Any:
        own = self.jax.custom_vjp(f)
        jnp = self.jnp
        own.defvjp(lambda x: (own(x), x), lambda x, c: ((x + jnp.cos(x)) * jnp.sum(c) * 0.3,))
        return own(at)

    def solve(self, a: Any, b: Any) -> Any:
        return self.jnp.linalg.solve(a, b)

    def cumprod(self, x: Any) -> Any:
        return self.jnp.cumprod(x, 0)

    def eye3(self, x: Any) -> Any:
        return self.jnp.eye(3)

    def add_at(self, x: Any, index: list[int], value: Any) -> Any:
        return x.at[self.jnp.asarray(index)].add(value)

    def checkpoint(self, f: Any) -> Any:
        return self.jax.checkpoint(f)

    def vmap(self, f: Any) -> Any:
        return self.jax.vmap(f)


__all__ = ["INPUTS", "MORE", "Here", "There", "compiled", "random_loops"]
