"""Functions written with the operators: no row, no derivative rule, no news for a planner."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.pytree import tree_map
from gradloom.frontend.tensor import Tensor
from gradloom.ir.node import Node
from gradloom.ir.source import STOP, const
from gradloom.ops import elementwise as rows
from gradloom.ops.elementwise import astype, exp, log, where
from gradloom.ops.move import broadcast_to, expand_dims
from gradloom.ops.public import as_operand, dtype_name, normal_axes, public
from gradloom.ops.reduce import all_, max_, mean, min_, sum_
from gradloom.ops.ufuncs import isclose, isfinite


@public()
def stop_gradient(x: Any) -> Any:
    """`x`, an array or a tree of them, with a zero derivative."""
    return tree_map(lambda v: apply(STOP, v) if isinstance(v, Tensor) else v, x)


@public(np.allclose)
def allclose(
    x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    """Whether all elements are close; traced like any other value."""
    return all_(isclose(x, y, rtol, atol, equal_nan))


@public(np.array_equal)
def array_equal(x: Any, y: Any) -> Any:
    """Whether shapes and elements are the same; traced if the shapes are."""
    x, y = as_operand(x), as_operand(y)
    return all_(rows.equal(x, y)) if tuple(x.shape) == tuple(y.shape) else np.False_


@public(np.count_nonzero)
def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements are not zero."""
    return sum_(astype(as_operand(x), "bool"), axis, keepdims=keepdims)


@public(np.ptp)
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest less smallest element over `axis`."""
    return max_(x, axis, keepdims) - min_(x, axis, keepdims)


@public(np.average)
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """Mean over `axis`, with `weights` of the shape of `x` or of that axis."""
    x = as_operand(x)
    if weights is None:
        return mean(x, axis)
    weights = as_operand(weights)
    if tuple(weights.shape) != tuple(x.shape):
        (along,) = normal_axes(axis, x.ndim)
        weights = weights.reshape(tuple(-1 if i == along else 1 for i in range(x.ndim)))
        weights = broadcast_to(weights, tuple(x.shape))
    return sum_(x * weights, axis) / sum_(weights, axis)


@public(np.select)
def select(conditions: Any, choices: Any, default: Any = 0) -> Any:
    """For every element, the choice of the first condition that holds there."""
    out = default
    for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
        out = where(condition, choice, out)
    return out


@public(np.polyval)
def polyval(coefficients: Any, x: Any) -> Any:
    """A polynomial at `x`, the coefficient of the highest power first."""
    out: Any = 0
    for coefficient in as_operand(coefficients):
        out = out * x + coefficient
    return out


def _like(x: Any, value: float, dtype: Any) -> Any:
    x = as_operand(x)
    chosen = dtype_name(dtype or x.dtype)
    if isinstance(x, Tensor) and isinstance(x.node, Node):
        return broadcast_to(Tensor(const(value, chosen)), tuple(x.shape))
    return np.full(tuple(x.shape), value, chosen)


@public(np.zeros_like)
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros in the shape of `x`."""
    return _like(x, 0, dtype)


@public(np.ones_like)
def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones in the shape of `x`."""
    return _like(x, 1, dtype)


@public(np.full_like)
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """`fill_value` in the shape of `x`."""
    x = as_operand(x)
    value = astype(as_operand(fill_value), dtype or x.dtype)
    return broadcast_to(value, tuple(x.shape))


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
    return weights / sum_(weights, axis, keepdims=True)


@public()
def relu(x: Any) -> Any:
    """`maximum(x, 0)`, with derivative 0 at 0."""
    return where(as_operand(x) > 0, x, 0)


@public(np.broadcast_arrays)
def broadcast_arrays(*arrays: Any) -> tuple[Any, ...]:
    """All arrays in their common shape."""
    operands = [as_operand(a) for a in arrays]
    shape = rows.broadcast_shape(*(tuple(a.shape) for a in operands))
    return tuple(broadcast_to(a, shape) for a in operands)


@public(np.repeat)
def repeat(x: Any, repeats: int, axis: Any = None) -> Any:
    """Every element `repeats` times in a row along `axis`."""
    x = as_operand(x)
    if axis is None:
        x, axis = x.reshape(-1), 0
    (along,) = normal_axes(axis, x.ndim)
    wide = broadcast_to(
        expand_dims(x, along + 1), (*x.shape[: along + 1], repeats, *x.shape[along + 1 :])
    )
    return wide.reshape((*x.shape[:along], x.shape[along] * repeats, *x.shape[along + 1 :]))
