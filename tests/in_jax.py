"""A second opinion: the ops of a graph, node by node, in jax.numpy, and the derivatives that JAX takes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

import graphc as gx
from graphc.ir import dims
from graphc.ir.graph import topological
from graphc.ir.op import Kind, lookup
from graphc.reference import bind_sizes

NAMES = {  # ops whose function in jax.numpy, jax.nn, jax.lax or jax.scipy.special has another name
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atan2": "arctan2",
    "atanh": "arctanh", "neg": "negative", "softsign": "soft_sign", "lgamma": "gammaln", "beta_ln": "betaln",
}  # fmt: skip
POINTS, REACH = 160, 3.4  # of a quadrature


@cache
def translations() -> dict[str, Callable[..., Any]]:
    """What jax.numpy has not by an op's name: ``(*operands, **attributes)``."""
    import jax
    import jax.numpy as jnp

    lax, special, linalg = jax.lax, jax.scipy.special, jnp.linalg
    still = lax.stop_gradient

    def reduced(f: Any) -> Any:
        return lambda x, axes, keepdims: f(x, axis=axes, keepdims=keepdims)

    def flipped(f: Any) -> Any:
        return lambda x, reverse: jnp.flip(f(jnp.flip(x, -1)), -1) if reverse else f(x)

    def unary(f: Any) -> Any:
        return lambda x, descending: jnp.flip(f(x), -1) if descending else f(x)

    def argsort(x: Any, descending: bool) -> Any:
        return jnp.argsort(still(x), -1, stable=True, descending=descending)

    def slices(start: Any, step: Any, size: Any) -> Any:
        return np.ix_(*(at + by * np.arange(n) for at, by, n in zip(start, step, size, strict=True)))

    def take_points(x: Any, *indices: Any, axes: Any) -> Any:
        rank = np.broadcast(*indices).ndim
        found = jnp.moveaxis(x, axes, range(len(axes)))[tuple(indices)]
        return jnp.moveaxis(found, range(rank), range(axes[0], axes[0] + rank))

    def scattered(name: str, fold: Any) -> Any:
        """Each place's elements selected and folded: JAX does not differentiate scatters that do not add."""

        def scatter(index: Any, updates: Any, axis: int, size: int) -> Any:
            first = lookup(name).identity(np.dtype(updates.dtype))  # type: ignore[misc]
            after = updates.shape[axis + index.ndim :]
            rows = jnp.moveaxis(updates.reshape(*updates.shape[:axis], index.size, *after), axis, 0)
            hit = np.arange(size)[:, None] == index.reshape(-1)
            hit = hit.reshape(*hit.shape, *[1] * (rows.ndim - 1))
            initial = jnp.full((size, 1, *rows.shape[1:]), first, updates.dtype)
            rows = jnp.where(hit, rows, jnp.asarray(first, updates.dtype))
            return jnp.moveaxis(fold(jnp.concatenate([rows, initial], 1), 1), 0, axis)

        return scatter

    def scatter_add(index: Any, updates: Any, axis: int, size: int) -> Any:
        shape = (*updates.shape[:axis], size, *updates.shape[axis + index.ndim :])
        return jnp.zeros(shape, updates.dtype).at[(slice(None),) * axis + (index,)].add(updates)

    def recurrence(a: Any, b: Any, reverse: bool) -> Any:
        steps, rows = range(b.shape[-1]), []
        for k in reversed(steps) if reverse else steps:
            rows.append(b[..., k] if not rows else a[..., k] * rows[-1] + b[..., k])
        return jnp.stack(rows[::-1] if reverse else rows, -1)

    def extreme(x: Any, reverse: bool, largest: bool) -> Any:
        x = jnp.flip(x, -1) if reverse else x
        best = [jnp.argmax(x[..., : k + 1] * (1 if largest else -1), -1) for k in range(x.shape[-1])]
        found = jnp.stack(best, -1)
        return jnp.flip(x.shape[-1] - 1 - found, -1) if reverse else found

    def alignments(e: Any, skip: Any) -> Any:
        low = -1e300  # which takes part in no sum, and has a derivative
        rows: list[Any] = [jnp.full(e.shape[:-2] + e.shape[-1:], low).at[..., :2].set(0) + e[..., 0, :]]
        for t in range(1, e.shape[-2]):
            last = jnp.pad(rows[-1], [(0, 0)] * (e.ndim - 2) + [(2, 0)], constant_values=low)
            ways = [last[..., 2:], last[..., 1:-1], jnp.where(skip != 0, last[..., :-2], low)]
            rows.append(special.logsumexp(jnp.stack(ways), 0) + e[..., t, :])
        y = jnp.stack(rows, -2)
        return jnp.where(y < -1e200, -jnp.inf, y)

    def windows(x: Any, kernel: Any, stride: Any, dilation: Any, sizes: Any) -> Any:
        rank = len(kernel)
        lead = x.ndim - rank
        at = [
            (np.arange(n) * s)[:, None] + np.arange(k) * d
            for n, s, k, d in zip(sizes, stride, kernel, dilation, strict=True)
        ]
        places = [
            a.reshape([a.shape[0] if j == i else a.shape[1] if j == i + rank else 1 for j in range(2 * rank)])
            for i, a in enumerate(at)
        ]
        return x[(slice(None),) * lead + tuple(places)]

    def windows_add(u: Any, kernel: Any, stride: Any, dilation: Any, shape: Any, fill: Any) -> Any:
        sizes = u.shape[u.ndim - 2 * len(kernel) : u.ndim - len(kernel)]
        spread = lambda x: windows(x, kernel, stride, dilation, sizes)  # noqa: E731
        return jax.linear_transpose(spread, jax.ShapeDtypeStruct(shape, u.dtype))(u)[0]

    def padded(x: Any, fill: Any, at: Mapping[str, Any]) -> Any:
        """The windows of padded images, the elements of each last."""
        axes = zip(x.shape[2:], *(at[k] for k in ("before", "sizes", "kernel", "stride", "dilation")), strict=True)
        ends = [(low, max(0, (n - 1) * s + (k - 1) * d + 1 - low - size)) for size, low, n, k, s, d in axes]
        x = jnp.pad(x, [(0, 0), (0, 0), *ends], constant_values=fill)
        u = windows(x, at["kernel"], at["stride"], at["dilation"], at["sizes"])
        return u.reshape(*u.shape[: -len(at["kernel"])], -1)

    def pick(x: Any, h: Any, **at: Any) -> Any:
        first = padded(still(x), -jnp.inf, at).argmax(-1)
        return jnp.take_along_axis(padded(h, 0, at), first[..., None], -1)[..., 0]

    def avg_pool(x: Any, include: bool, after: Any, **at: Any) -> Any:
        ones = np.ones((1, 1, *x.shape[2:]))
        if include:
            ends = list(zip(at["before"], after, strict=True))
            ones = np.pad(ones, [(0, 0), (0, 0), *ends], constant_values=1)
            counted = padded(ones, 0, {**at, "before": (0,) * len(ends)})
        else:
            counted = padded(ones, 0, at)
        return padded(x, 0, at).sum(-1) / counted.sum(-1)

    def conv(x: Any, w: Any, stride: Any, dilation: Any, before: Any, groups: int, sizes: Any) -> Any:
        axes = zip(x.shape[2:], w.shape[2:], stride, dilation, before, sizes, strict=True)
        ends = [(low, (n - 1) * s + (k - 1) * d + 1 - low - size) for size, k, s, d, low, n in axes]
        return lax.conv_general_dilated(x, w, stride, ends, None, dilation, feature_group_count=groups)

    def conv_input(g: Any, w: Any, sizes: Any, groups: int, **at: Any) -> Any:
        x = jax.ShapeDtypeStruct((g.shape[0], w.shape[1] * groups, *sizes), g.dtype)
        forth = lambda x: conv(x, w, groups=groups, sizes=g.shape[2:], **at)  # noqa: E731
        return jax.linear_transpose(forth, x)(g)[0]

    def quadrature(f: Any, x: Any) -> Any:
        """The integral of ``f(t, log t)`` from 0 to x, which may have a pole at 0: tanh-sinh (Takahasi and Mori 1974)."""
        u, h = np.linspace(-REACH, REACH, POINTS, retstep=True)
        v = np.pi * np.sinh(u)
        weight = h * np.pi * np.cosh(u) / ((1 + np.exp(-v)) * (1 + np.exp(v)))
        x = jnp.asarray(x)[..., None]
        return jnp.sum(weight * x * f(x / (1 + np.exp(-v)), jnp.log(x) - np.logaddexp(0, -v)), -1)

    def gammainc(a: Any, x: Any) -> Any:
        a, x = jnp.broadcast_arrays(a, x)
        b = a[..., None]
        # from a to a + 1 by parts, so that what is integrated vanishes at 0
        whole = quadrature(lambda t, log_t: jnp.exp(b * log_t - t), x) + jnp.exp(a * jnp.log(x) - x)
        return whole / jnp.exp(special.gammaln(a + 1))

    def by_aa(a: Any, x: Any) -> Any:
        total = lambda a, x: jnp.sum(gammainc(a, x))  # noqa: E731
        a, x = jnp.broadcast_arrays(a, x)
        return jax.grad(lambda b: jnp.sum(jax.grad(total)(b, x)))(a)

    def betainc(a: Any, b: Any, x: Any) -> Any:
        a, b, x = jnp.broadcast_arrays(a, b, x)
        c, d = a[..., None], b[..., None]
        # a I(a, b) by parts: t**a (1 - t)**(b - 1) at x, and the integral of t**a (b - 1) (1 - t)**(b - 2)
        edge = jnp.exp(a * jnp.log(x) + (b - 1) * jnp.log1p(-x))
        rest = quadrature(lambda t, log_t: (d - 1) * jnp.exp(c * log_t + (d - 2) * jnp.log1p(-t)), x)
        return (edge + rest) / a / jnp.exp(special.betaln(a, b))

    def zeta(s: Any, q: Any) -> Any:
        """Euler and Maclaurin's sum."""
        s, q = jnp.broadcast_arrays(s, q)
        total = sum((q + k) ** -s for k in range(20))
        far, rising = q + 20, s
        total += far ** (1 - s) / (s - 1) + 0.5 * far**-s
        for k, number in enumerate((1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160), 1):
            total += number * rising * far ** (-s - 2 * k + 1)
            rising = rising * (s + 2 * k - 1) * (s + 2 * k)
        return total

    def called(name: str, *operands: Any) -> Any:
        """What the interpreter has, of numbers that are not differentiated."""
        shape = np.broadcast_shapes(*(o.shape for o in operands))
        like = jax.ShapeDtypeStruct(shape, np.float64)
        f = lambda *given: np.asarray(lookup(name).reference(*map(np.asarray, given)), np.float64)  # noqa: E731
        return jax.pure_callback(f, like, *map(still, operands))

    def gamma_quantile(a: Any, q: Any) -> Any:
        """A step of Newton's method from the solution, which has the derivatives of the implicit function."""
        x = still(called("gamma_quantile", a, q))
        missed = jnp.where(q < 0, gammainc(a, x) + 0.5 * q, 1 - gammainc(a, x) - 0.5 * q)
        slope = jnp.exp((a - 1) * jnp.log(x) - x - special.gammaln(a)) * jnp.where(q < 0, 1, -1)
        return x - (missed - still(missed)) / still(slope)

    @jax.custom_vjp
    def clip_gradient(x: Any, low: Any, high: Any) -> Any:
        return x

    clip_gradient.defvjp(lambda x, a, b: (x, (a, b)), lambda r, g: (jnp.clip(g, *r), 0 * r[0], 0 * r[1]))

    def erfcinv(x: Any) -> Any:
        y = still(special.erfinv(1 - x))
        y = y - still(special.erfc(y) - x) / still(-2 / np.sqrt(np.pi) * jnp.exp(-y * y))
        return y + (x - still(x)) * still(-np.sqrt(np.pi) / 2 * jnp.exp(y * y))

    def fourier(re: Any, im: Any, inverse: bool) -> Any:
        z = re + 1j * im
        out = jnp.fft.ifft(z, norm="forward") if inverse else jnp.fft.fft(z)
        return jnp.stack([out.real, out.imag], -2)

    def triplets(x: Any) -> Any:
        u, s, v = linalg.svd(x, full_matrices=False)
        return jnp.concatenate([u, s[..., None, :], jnp.swapaxes(v, -1, -2)], -2)

    def pairs(x: Any) -> Any:
        values, vectors = linalg.eigh(x)
        return jnp.concatenate([values[..., None, :], vectors], -2)

    return {
        "after": lambda a, b: a,
        "alignment_scores": alignments,
        "all": reduced(jnp.all),
        "any": reduced(jnp.any),
        "arg_extreme_so_far": lambda x, **attrs: extreme(still(x), **attrs),
        "argsort": argsort,
        "astype": lambda x, dtype: x != 0 if dtype == "bool" else jnp.asarray(x).astype(dtype),
        "avg_pool": avg_pool,
        "betainc": betainc,
        "broadcast_to": lambda x, shape: jnp.broadcast_to(x, shape),
        "cholesky": linalg.cholesky,
        "checked_index": lambda x, low, high, what: x,
        "clip_gradient": clip_gradient,
        "concat": lambda *parts, axis: jnp.concatenate(parts, axis),
        "conv": conv,
        "conv_input": conv_input,
        "cumsum": flipped(lambda x: jnp.cumsum(x, -1)),
        "determinant": lambda x: linalg.det(x)[..., None],
        "eigen_pairs": pairs,
        "erfcinv": erfcinv,
        "erfcx": lambda x: jnp.exp(x * x) * special.erfc(x),
        "fourier": fourier,
        "full_like": lambda x, fill: jnp.full_like(x, fill),
        "gamma_quantile": gamma_quantile,
        "gammainc": gammainc,
        "gammainc_by_aa": by_aa,
        "gammaincc": lambda a, x: 1 - gammainc(a, x),
        "identity": lambda x: x,
        "iota": lambda shape, dtype: np.arange(shape[0], dtype=dtype),
        "lerp": lambda a, b, w: a + w * (b - a),
        "linear_recurrence": recurrence,
        "log1mexp": lambda x: jnp.log(-jnp.expm1(-x)),
        "max": reduced(jnp.max),
        "max_pool": lambda x, **at: padded(x, -jnp.inf, at).max(-1),
        "max_pool_pick": pick,
        "min": reduced(jnp.min),
        "own_gradient": lambda *values, result, rule, outputs: values[result],
        "permute_dims": lambda x, axes: jnp.transpose(x, axes),
        "place": lambda x, shape, start, step, fill: (
            jnp.full(shape, fill, x.dtype).at[slices(start, step, x.shape)].set(x)
        ),
        "poisson_quantile": lambda a, q: called("poisson_quantile", a, q),
        "polygamma": lambda x, n: special.polygamma(n, x),
        "prod": reduced(jnp.prod),
        "pseudoinverse": linalg.pinv,
        "qr_factors": lambda x: jnp.concatenate(linalg.qr(x), -2),
        "rsqrt": lambda x: 1 / jnp.sqrt(x),
        "reshape": lambda x, shape: jnp.reshape(x, shape),
        "scale_gradient": lambda x, scale: still(x) + still(scale) * (x - still(x)),
        "scatter_add": scatter_add,
        "scatter_max": scattered("scatter_max", jnp.max),
        "scatter_min": scattered("scatter_min", jnp.min),
        "scatter_multiply": scattered("scatter_multiply", jnp.prod),
        "sign_and_logdet": lambda x: jnp.stack(linalg.slogdet(x), -1),
        "singular_triplets": triplets,
        "size": lambda size: np.int64(size),
        "slice": lambda x, start, step, size: x[slices(start, step, size)],
        "sort": unary(lambda x: jnp.sort(x, -1)),
        "stop_gradient": still,
        "sum": reduced(jnp.sum),
        "supremum": lambda x, axes, keepdims: still(jnp.max(x, axes, keepdims=keepdims)),
        "system": linalg.solve,
        "take": lambda x, index, axis: jnp.take(x, index, axis),
        "take_points": take_points,
        "triangular_system": lambda a, b, lower, transposed, unit: jax.scipy.linalg.solve_triangular(
            a, b, trans=int(transposed), lower=lower, unit_diagonal=unit
        ),
        "weigh": lambda a, b: a * b,
        "windows": windows,
        "windows_add": windows_add,
        "zeta": zeta,
    }


@cache
def translated(name: str) -> Callable[..., Any]:
    """The function of JAX that is the op of that name."""
    import jax

    if name in translations():
        return translations()[name]
    for space in (jax.nn, jax.scipy.special, jax.numpy, jax.lax):
        if (found := getattr(space, NAMES.get(name, name), None)) is not None:
            return found
    raise KeyError(f"JAX has no {name}")


def values_in_jax(outputs: Sequence[gx.Tensor], inputs: Sequence[gx.Tensor], arrays: Sequence[Any]) -> list[Any]:
    """The values of ``outputs``, each node computed by JAX."""
    graph = outputs[0].graph
    sizes = bind_sizes(inputs, [a.shape for a in arrays])
    values: dict[int, Any] = {t.id: a for t, a in zip(inputs, arrays, strict=True)}
    for node in topological(graph, [t.id for t in outputs]):
        if node.op.kind is Kind.LEAF:
            values.setdefault(node.id, node.value)
        else:
            attrs = {k: _number(v, sizes) for k, v in node.attrs.items()}
            values[node.id] = translated(node.op.name)(*(values[i] for i in node.inputs), **attrs)
    return [values[t.id] for t in outputs]


def _number(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_number(v, sizes) for v in value)
    return dims.evaluate(value, sizes) if isinstance(value, dims.Dim) else value


def with_gradients(outputs: Sequence[gx.Tensor], inputs: Sequence[gx.Tensor], arrays: Sequence[Any]) -> list[Any]:
    """The values of ``outputs``, and what JAX has for the gradients of the first."""
    import jax

    jax.config.update("jax_enable_x64", True)

    def run(*given: Any) -> tuple[Any, list[Any]]:
        found = values_in_jax(outputs, inputs, given)
        return found[0], found

    given = [jax.numpy.asarray(a) for a in arrays]
    slopes, found = jax.grad(run, tuple(range(len(given))), has_aux=True)(*given)
    return [np.asarray(v) for v in (*found, *slopes)]


__all__ = ["translated", "values_in_jax", "with_gradients"]
