"""The roads that a program must take to the same numbers: compiled, verified, eager, and on JAX."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl


def same_on_every_road(function: Callable[..., Any], *args: Any, tolerance: float = 1e-9) -> Any:
    """What the compiled `function` gives, after every other road has given the same."""
    compiled = gl.jit(function)(*args)
    assert_close(gl.jit(function, verify=True)(*args), compiled, 0)
    with gl.eager():
        assert_close(function(*args), compiled, tolerance)
    assert_close(on_jax(function)(*args), compiled, tolerance)
    return compiled


def on_jax(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with JAX behind the names `gl`, `gnp` and `np`, and behind those it calls."""
    jax = pytest.importorskip("jax", reason="comes with the extra `bench`")
    names = {**function.__globals__, "gl": _renamed(jax), "gnp": jax.numpy, "np": jax.numpy}
    for name, value in function.__globals__.items():
        if isinstance(value, types.FunctionType) and value.__globals__ is function.__globals__:
            names[name] = _rebound(value, names)
    twin = jax.jit(_rebound(function, names))

    def run(*args: Any) -> Any:
        with jax.enable_x64(True):  # noqa: FBT003 (JAX's signature)
            return jax.tree.map(np.asarray, twin(*args))

    return run


def _rebound(function: types.FunctionType, names: dict[str, Any]) -> types.FunctionType:
    """The same code, which looks its global names up elsewhere."""
    twin = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def _renamed(jax: Any) -> types.SimpleNamespace:
    """JAX's functions in the places where gradloom has its own."""
    of_loops = {
        name: getattr(jax.lax, name)
        for name in ("scan", "fori_loop", "while_loop", "cond", "switch", "stop_gradient")
    }
    transforms = {name: getattr(jax, name) for name in gl.__all__ if hasattr(jax, name)}
    return types.SimpleNamespace(**{**transforms, **of_loops, "nn": jax.nn})


def assert_close(found: Any, wanted: Any, tolerance: float) -> None:
    """Every leaf to a relative and an absolute tolerance; with 0, to the bit."""

    def compare(a: Any, b: Any) -> None:
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)

    gl.tree_map(compare, found, wanted)
