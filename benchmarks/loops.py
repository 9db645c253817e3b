"""Loops that stay loops: a `scan` and its gradient, beside JAX's, a round of each.

Three bodies: a recurrent layer of 16 x 32 numbers (a product and a tanh), a pendulum of 32 numbers
(elementwise), and a filter of one number (nothing but the loop).  Compiled once; one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from benchmarks.report import Report, Section
from benchmarks.rounds import Runner, take_turns

ROUNDS = 1000
Function = Callable[..., Any]


def recurrent(library: Any) -> Function:
    """`h <- tanh(h w + x)`."""
    numpy = library.numpy

    def loss(h: Any, xs: Any, w: Any) -> Any:
        last, _ = library.scan(lambda h, x: (numpy.tanh(h @ w + x), None), h, xs)
        return (last * last).sum()

    return loss


def pendulum(library: Any) -> Function:
    """Symplectic Euler steps of many pendulums, every angle kept."""
    numpy = library.numpy

    def loss(start: Any, forces: Any, _: Any) -> Any:
        def step(state: Any, force: Any) -> Any:
            q, p = state
            p = p - 0.01 * (numpy.sin(q) + force)
            q = q + 0.01 * p
            return (q, p), q

        return (library.scan(step, (start, start), forces)[1] ** 2).sum()

    return loss


def filtered(library: Any) -> Function:
    """A running mean of single numbers."""

    def loss(start: Any, xs: Any, _: Any) -> Any:
        def step(mean: Any, x: Any) -> Any:
            mean = mean + 0.1 * (x - mean)
            return mean, mean

        return (library.scan(step, start, xs)[1] ** 2).sum()

    return loss


def bodies(dtype: str) -> dict[str, tuple[Callable[[Any], Function], tuple[np.ndarray, ...]]]:
    """The loss in terms of a library, and its arguments; differentiated by all of them."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    return {
        "recurrent layer, 16 x 32": (
            recurrent,
            (draw(16, 32), draw(ROUNDS, 16, 32), draw(32, 32) / 6),
        ),
        "pendulums, 32": (pendulum, (draw(32), draw(ROUNDS, 32), draw(1))),
        "running mean, 1": (filtered, (draw()[()], draw(ROUNDS), draw(1))),
    }


def measure(dtype: str = "float32", seconds: float = 6.0) -> Report:
    """Microseconds a round, and ratios within the rounds of measurement."""
    rows, bars, raw = [], {}, {}
    for name, (body, arguments) in bodies(dtype).items():
        for what in ("values", "with gradient"):
            timing = take_turns(_runners(body, arguments, what), seconds)
            spreads = {who: timing.seconds(who) * (1e6 / ROUNDS) for who in timing.wall}
            ratios = {who: timing.ratio(who, "gradloom") for who in timing.wall}
            bars[f"{name}, {what}"] = spreads
            raw[f"{name}, {what}"] = {who: asdict(s) for who, s in spreads.items()}
            rows += [
                [f"{name}, {what}", who, f"{s.median:.2f}", f"{ratios[who].median:.1f}"]
                for who, s in spreads.items()
            ]
    return Report(
        f"loops-{dtype}",
        f"Microseconds a round of a loop, {dtype}",
        [Section(f"Scans of {ROUNDS:,} rounds", ["", "", "microseconds", "times"], rows)],
        ["The gradient is by all arguments, the initial carry and every row included."],
        bars,
        "microseconds a round",
        raw,
    )


def _runners(
    body: Callable[[Any], Function], arguments: tuple[np.ndarray, ...], what: str
) -> dict[str, Runner]:
    runners = {}
    results = {}
    for name, library, wait in _libraries(arguments[0].dtype.name):
        function = body(library)
        if what != "values":
            function = library.value_and_grad(function, (0, 1))
        compiled = library.jit(function)
        given = tuple(map(library.array, arguments))
        results[name] = wait(compiled(*given))
        runners[name] = Runner(lambda c=compiled, g=given, w=wait: w(c(*g)))
    first, *others = (np.asarray(_value(r), "float64") for r in results.values())
    for other in others:
        np.testing.assert_allclose(other, first, 1e-3)
    return runners


def _value(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def _libraries(dtype: str) -> list[tuple[str, Any, Callable[[Any], Any]]]:
    ours = SimpleNamespace(
        jit=gl.jit,
        value_and_grad=gl.value_and_grad,
        scan=gl.scan,
        numpy=gnp,
        array=lambda a: a,
    )
    found: list[tuple[str, Any, Callable[[Any], Any]]] = [("gradloom", ours, lambda r: r)]
    try:
        import jax
    except ModuleNotFoundError:
        return found
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)  # noqa: FBT003
    theirs = SimpleNamespace(
        jit=jax.jit,
        value_and_grad=jax.value_and_grad,
        scan=jax.lax.scan,
        numpy=jax.numpy,
        array=jax.numpy.asarray,
    )
    return [*found, ("jax", theirs, jax.block_until_ready)]
