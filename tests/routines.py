"""What every routine is held to: the same answers everywhere, and slopes that are differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.codegen.source import run_source

STEP = 1e-5


def flat(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]


def assert_same(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *arrays: np.ndarray,
    tolerance: float = 1e-12,
    uncompiled: bool = True,
) -> None:
    """`ours` on arrays, compiled, and as uncompiled source gives what `theirs` gives."""
    wanted = [np.asarray(r) for r in flat(theirs(*arrays))]
    jitted = gl.jit(lambda *a: flat(ours(*a)))
    with gl.settings(verify=2):
        found = [flat(ours(*arrays)), jitted(*arrays)]
    if uncompiled:
        found.append(run_source(jitted.source(), [*arrays, *_captured(jitted)]))
    for results in found:
        assert len(results) == len(wanted)
        for got, want in zip(results, wanted, strict=True):
            assert np.asarray(got).dtype == want.dtype
            assert np.shape(got) == want.shape
            np.testing.assert_allclose(got, want, tolerance, tolerance)


def _captured(jitted: Any) -> Sequence[np.ndarray]:
    return jitted._latest.traced.captured


def weighted(result: Any) -> Any:
    """All floating results as one number, each element with a weight of its own."""
    total: Any = 0.0
    for number, part in enumerate(flat(result)):
        if part.dtype.kind == "f":
            weights = np.cos(np.arange(part.size) + number).reshape(tuple(part.shape))
            total = total + gnp.sum(part * weights)
    return total


def assert_slopes(
    function: Callable[..., Any], *arrays: np.ndarray, rel: float = 1e-6, second: bool = True
) -> None:
    """Gradients of first and second order are differences; compiled and on the tape."""
    numbers = tuple(range(len(arrays)))
    rng = np.random.default_rng(4)
    along = [rng.uniform(-1, 1, a.shape) for a in arrays]

    def value(*a: Any) -> Any:
        return weighted(function(*a))

    def slope(*a: Any) -> Any:
        return sum(gnp.sum(g * d) for g, d in zip(gl.grad(value, numbers)(*a), along, strict=True))

    for order in (value, slope) if second else (value,):
        compiled = gl.grad(order, numbers)(*arrays)
        if order is value:
            with gl.eager():
                taped = gl.grad(order, numbers)(*arrays)
            for got, want in zip(taped, compiled, strict=True):
                np.testing.assert_allclose(got, want, 1e-7, 1e-8)
        jitted = gl.jit(order)
        ahead, behind = (
            jitted(*(a + s * STEP * d for a, d in zip(arrays, along, strict=True))) for s in (1, -1)
        )
        found = sum(float(np.sum(g * d)) for g, d in zip(compiled, along, strict=True))
        wanted = float(ahead - behind) / (2 * STEP)
        size = 1 + abs(float(jitted(*arrays)))
        np.testing.assert_allclose(found, wanted, rel, rel * size)
