"""Functions written with the operators: no row, no derivative rule, no news for a planner."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.pytree import tree_map
from gradloom.frontend.tensor import Tensor
from gradloom.ir.node import Node
from gradloom.ir.source import STOP, const
from gradloom.ops.elementwise import exp, log, where
from gradloom.ops.move import broadcast_to
from gradloom.ops.public import as_operand, dtype_name, normal_axes, public, sizes_of
from gradloom.ops.reduce import max_, sum_
from gradloom.ops.ufuncs import isfinite


@public()
def stop_gradient(x: Any) -> Any:
    """`x`, an array or a tree of them, with a zero derivative."""
    return tree_map(lambda v: apply(STOP, v) if isinstance(v, Tensor) else v, x)


def _like(x: Any, value: float, dtype: Any, shape: Any) -> Any:
    x = as_operand(x)
    chosen = dtype_name(dtype or x.dtype)
    sizes = tuple(x.shape) if shape is None else sizes_of(shape)
    if isinstance(x, Tensor) and isinstance(x.node, Node):
        return broadcast_to(Tensor(const(value, chosen)), sizes)
    return np.full(sizes, value, chosen)


@public(np.zeros_like)
def zeros_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    """Zeros in the shape of `a`, or in another."""
    return _like(a, 0, dtype, shape)


@public(np.ones_like)
def ones_like(a: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    """Ones in the shape of `a`, or in another."""
    return _like(a, 1, dtype, shape)


@public()
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """`log(sum(exp(x)))` without overflow, by shifting with the largest element.

    >>> import gradloom as gl
    >>> float(gl.special.logsumexp([1000.0, 1000.0])).__round__(6)
    1000.693147
    """
    x = as_operand(x)
    axes = normal_axes(axis, x.ndim)
    top = stop_gradient(max_(x, axes, keepdims=True))
    shift = where(isfinite(top), top, 0)
    out = log(sum_(exp(x - shift), axes, keepdims=True)) + shift
    return out if keepdims else out.reshape(_dropped(out.shape, axes))


def _dropped(shape: Any, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in axes)


@public()
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """`x - logsumexp(x)` along `axis`."""
    x = as_operand(x)
    shifted = x - stop_gradient(max_(x, axis, keepdims=True))
    return shifted - log(sum_(exp(shifted), axis, keepdims=True))


@public()
def softmax(x: Any, axis: Any = -1) -> Any:
    """`exp(x) / sum(exp(x))` along `axis`, shifted by the largest element."""
    x = as_operand(x)
    weights = exp(x - stop_gradient(max_(x, axis, keepdims=True)))
    # One division a row: a division costs as much as the exponential.
    return weights * (1 / sum_(weights, axis, keepdims=True))


@public()
def relu(x: Any) -> Any:
    """`maximum(x, 0)`, with derivative 0 at 0."""
    return where(as_operand(x) > 0, x, 0)
