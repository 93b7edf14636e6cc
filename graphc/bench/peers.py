"""Contestants made from one formula: value and all gradients, or a step of gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

import graphc as gx
from graphc.bench import dialects
from graphc.bench.dialects import Formula
from graphc.bench.workload import Build, Entry, Problem, Setup
from graphc.ir.state import Array

ByHand = Callable[..., tuple[Any, list[Array]]]  # of the arrays: the value, and gradients by each of ``wrt``


def contestants(formula: Formula, by_hand: ByHand, rate: float | None = None) -> Mapping[str, Build]:
    """How each library computes ``formula`` and its gradients; with ``rate`` it then takes a step against them."""
    return {
        "graphc": partial(_graphc, formula, rate),
        "numpy": partial(_numpy, by_hand, rate),
        "torch": partial(_torch, formula, rate),
        "torch.compile": partial(_torch_compile, formula, rate),
        "jax": partial(_jax, formula, rate),
        "pytensor": partial(_pytensor, formula, rate),
    }


def _as_arrays(values: Any) -> list[Array]:
    return [np.asarray(v) for v in values]


def _graphc(formula: Formula, rate: float | None, problem: Problem, setup: Setup) -> Entry:
    g = gx.Graph("bench", float_dtype=problem.dtype.name)
    given = [g.input(k, shape=a.shape, dtype=a.dtype.name) for k, a in problem.given.items()]
    if rate is None:
        wrt = [g.input(k, shape=a.shape, dtype=a.dtype.name) for k, a in problem.wrt.items()]
        loss = formula(dialects.of_graphc(), *given, *wrt)
        exe = gx.compile([*given, *wrt], [loss, *gx.grad(loss, wrt)], threads=setup.threads)
        return Entry(partial(exe, *problem.arrays), _as_arrays)
    parameters = [g.parameter(k, a) for k, a in problem.wrt.items()]
    loss = formula(dialects.of_graphc(), *given, *parameters)
    exe = gx.compile(given, loss, updates=gx.optim.SGD(lr=rate).updates(loss), threads=setup.threads)
    return Entry(
        partial(exe, *problem.given.values()),
        lambda value: [np.asarray(value), *(g.state[name] for name in problem.wrt)],
    )


def _numpy(by_hand: ByHand, rate: float | None, problem: Problem, setup: Setup) -> Entry:
    if rate is None:
        return Entry(partial(by_hand, *problem.arrays), lambda found: _as_arrays([found[0], *found[1]]))
    given, parameters = list(problem.given.values()), [a.copy() for a in problem.wrt.values()]
    lr = problem.dtype.type(rate)

    def step() -> Any:
        value, gradients = by_hand(*given, *parameters)
        for p, d in zip(parameters, gradients, strict=True):
            p -= lr * d
        return value

    return Entry(step, lambda value: _as_arrays([value, *(p.copy() for p in parameters)]))


def _torch(formula: Formula, rate: float | None, problem: Problem, setup: Setup) -> Entry:
    import torch

    torch.set_num_threads(setup.threads)
    m = dialects.of_torch()
    given = [torch.from_numpy(a.copy()) for a in problem.given.values()]
    wrt = [torch.from_numpy(a.copy()).requires_grad_() for a in problem.wrt.values()]

    def gradients() -> Any:
        value = formula(m, *given, *wrt)
        return value, torch.autograd.grad(value, wrt)

    def step() -> Any:
        value, found = gradients()
        with torch.no_grad():
            for p, d in zip(wrt, found, strict=True):
                p.sub_(d, alpha=rate)
        return value

    if rate is None:
        return Entry(gradients, lambda found: [t.detach().numpy() for t in (found[0], *found[1])])
    return Entry(step, lambda value: [t.detach().numpy().copy() for t in (value, *wrt)])


def _torch_compile(formula: Formula, rate: float | None, problem: Problem, setup: Setup) -> Entry:
    """Value, gradients and step as one compiled function, without the tape at run time."""
    import torch

    torch.set_num_threads(setup.threads)
    m = dialects.of_torch()
    given = [torch.from_numpy(a.copy()) for a in problem.given.values()]
    wrt = [torch.from_numpy(a.copy()) for a in problem.wrt.values()]
    places = tuple(range(len(given), len(given) + len(wrt)))
    differentiate = torch.func.grad_and_value(lambda *arrays: formula(m, *arrays), argnums=places)

    def gradients(*arrays: Any) -> Any:
        found, value = differentiate(*arrays)
        return value, found

    def step(*arrays: Any) -> Any:
        found, value = differentiate(*arrays)
        for p, d in zip(arrays[len(given) :], found, strict=True):
            p.sub_(d, alpha=rate)
        return value

    compiled = torch.compile(gradients if rate is None else step, fullgraph=True, dynamic=False)
    call = partial(compiled, *given, *wrt)
    if rate is None:
        return Entry(call, lambda found: [t.numpy() for t in (found[0], *found[1])])
    return Entry(call, lambda value: [t.numpy().copy() for t in (value, *wrt)])


def _jax(formula: Formula, rate: float | None, problem: Problem, setup: Setup) -> Entry:
    import jax

    jax.config.update("jax_enable_x64", problem.dtype == np.float64)
    m = dialects.of_jax()
    count = len(problem.wrt)
    value_and_grad = jax.value_and_grad(lambda wrt, given: formula(m, *given, *wrt))
    given = [jax.device_put(a) for a in problem.given.values()]
    wrt = [jax.device_put(a) for a in problem.wrt.values()]
    if rate is None:
        function = jax.jit(value_and_grad)

        def call() -> Any:
            found = function(wrt, given)
            found[0].block_until_ready()  # the results of a computation become ready together
            return found

        return Entry(call, lambda found: _as_arrays([found[0], *found[1]]))

    def update(wrt: Any, given: Any) -> Any:
        value, found = value_and_grad(wrt, given)
        return value, [p - rate * d for p, d in zip(wrt, found, strict=True)]

    advance = jax.jit(update, donate_argnums=0)
    state = [wrt]

    def step() -> Any:
        value, state[0] = advance(state[0], given)
        return value.block_until_ready()

    return Entry(step, lambda value: [np.array(v) for v in (value, *state[0][:count])])


def _pytensor(formula: Formula, rate: float | None, problem: Problem, setup: Setup) -> Entry:
    import pytensor
    import pytensor.tensor as pt

    with pytensor.config.change_flags(floatX=problem.dtype.name):
        m = dialects.of_pytensor()
        given = [pt.tensor(k, dtype=a.dtype.name, shape=a.shape) for k, a in problem.given.items()]
        if rate is None:
            wrt = [pt.tensor(k, dtype=a.dtype.name, shape=a.shape) for k, a in problem.wrt.items()]
            loss = formula(m, *given, *wrt)
            function = pytensor.function([*given, *wrt], [loss, *pt.grad(loss, wrt)], trust_input=True)
            return Entry(partial(function, *problem.arrays), _as_arrays)
        shared = [pytensor.shared(a.copy(), name=k, shape=a.shape) for k, a in problem.wrt.items()]
        loss = formula(m, *given, *shared)
        lr = problem.dtype.type(rate)
        updates = [(p, p - lr * d) for p, d in zip(shared, pt.grad(loss, shared), strict=True)]
        function = pytensor.function(given, loss, updates=updates, trust_input=True)
        return Entry(
            partial(function, *problem.given.values()),
            lambda value: _as_arrays([value, *(p.get_value() for p in shared)]),
        )
