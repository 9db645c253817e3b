"""The words that a loss is written in, where gradloom's and JAX's have different names."""

from __future__ import annotations

import importlib
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
        scan=jax.lax.scan,
        jvp=jax.jvp,
        value_and_grad=jax.value_and_grad,
    )
    return words, jax
