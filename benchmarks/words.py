"""The words that a loss is written in, where gradloom's and JAX's have different names."""

from __future__ import annotations

import importlib
from functools import partial
from types import SimpleNamespace
from typing import Any

Words = SimpleNamespace


def of_gradloom() -> Words:
    """gradloom's."""
    import gradloom as gl
    import gradloom.numpy as gnp

    return Words(
        numpy=gnp,
        relu=gl.nn.relu,
        sigmoid=gl.nn.sigmoid,
        softmax=gl.nn.softmax,
        cross_entropy=gl.nn.softmax_cross_entropy,
        binary_cross_entropy=gl.nn.sigmoid_binary_cross_entropy,
        erf=gl.special.erf,
        cholesky=gnp.linalg.cholesky,
        solve_triangular=gl.linalg.solve_triangular,
        conv2d=gl.nn.conv2d,
        max_pool=gl.nn.max_pool,
        scan=gl.scan,
        jvp=gl.jvp,
        value_and_grad=gl.value_and_grad,
    )


def of_jax(dtype: str) -> tuple[Words, Any]:
    """JAX's, and JAX itself, told which dtypes there are."""
    jax, optax, linalg = map(importlib.import_module, ("jax", "optax", "jax.scipy.linalg"))
    jax.config.update("jax_enable_x64", dtype == "float64")
    words = Words(
        numpy=jax.numpy,
        relu=jax.nn.relu,
        sigmoid=jax.nn.sigmoid,
        softmax=jax.nn.softmax,
        cross_entropy=optax.softmax_cross_entropy_with_integer_labels,
        binary_cross_entropy=optax.sigmoid_binary_cross_entropy,
        erf=jax.scipy.special.erf,
        cholesky=jax.numpy.linalg.cholesky,
        solve_triangular=linalg.solve_triangular,
        conv2d=partial(_convolved, jax),
        max_pool=partial(_pooled, jax),
        scan=jax.lax.scan,
        jvp=jax.jvp,
        value_and_grad=jax.value_and_grad,
    )
    return words, jax


def _convolved(jax: Any, x: Any, w: Any, stride: int, padding: Any) -> Any:
    padding = padding.upper() if isinstance(padding, str) else padding
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (stride,) * 2, padding, dimension_numbers=layout)


def _pooled(jax: Any, x: Any, window: int) -> Any:
    shape = (1, window, window, 1)
    return jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, shape, shape, "VALID")
