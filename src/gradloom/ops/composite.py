"""Functions written with the operators: no row, no derivative rule, nothing for a planner to know."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import Tensor
from gradloom.ir.source import STOP
from gradloom.ops import elementwise as rows
from gradloom.ops.elementwise import astype, exp, log, where
from gradloom.ops.move import broadcast_to, expand_dims
from gradloom.ops.public import as_operand, normal_axes, public
from gradloom.ops.reduce import max_, sum_


@public()
def stop_gradient(x: Any) -> Any:
    """`x`, with a zero derivative."""
    return apply(STOP, x) if isinstance(x, Tensor) else x


@public(np.power, name="power")
def power(x: Any, y: Any) -> Any:
    """`x ** y`.  A whole exponent from 0 to 16 becomes multiplications, as exact and much faster."""
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        return np.power(x, y)
    if isinstance(y, int) and not isinstance(y, bool) and 0 <= y <= 16:
        return _repeated(x, y)
    if y == 0.5 if isinstance(y, float) else False:
        return rows.sqrt(x)
    return rows.power(x, y)


def _repeated(x: Any, times: int) -> Any:
    if times == 0:
        return x * 0 + 1 if x.dtype.kind != "f" else where(x == x, 1, 1).astype(x.dtype)
    half = _repeated(x, times // 2) if times > 1 else None
    square = x if half is None else half * half
    return square * x if times > 1 and times % 2 else square


@public(np.positive)
def positive(x: Any) -> Any:
    """`x` itself."""
    return as_operand(x)


@public(np.square)
def square(x: Any) -> Any:
    """`x * x`."""
    x = as_operand(x)
    return x * x


@public(np.reciprocal)
def reciprocal(x: Any) -> Any:
    """`1 / x`."""
    return 1.0 / as_operand(x)


@public(np.tan)
def tan(x: Any) -> Any:
    """Tangent."""
    return rows.sin(x) / rows.cos(x)


@public(np.round, name="round")
def round_(x: Any, decimals: int = 0) -> Any:
    """Nearest multiple of `10**-decimals`, halves to even."""
    scale = 10.0**decimals
    return rows.rint(x) if decimals == 0 else rows.rint(x * scale) / scale


@public(np.isnan)
def isnan(x: Any) -> Any:
    """Whether an element is NaN."""
    x = as_operand(x)
    return x != x


@public(np.isfinite)
def isfinite(x: Any) -> Any:
    """Whether an element is neither NaN nor infinite."""
    return rows.abs_(x) < np.inf


@public(np.isinf)
def isinf(x: Any) -> Any:
    """Whether an element is infinite."""
    return rows.abs_(x) == np.inf


def _like(x: Any, value: float, dtype: Any) -> Any:
    x = as_operand(x)
    return np.full(tuple(x.shape), value, dtype or x.dtype)


@public(np.zeros_like)
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros in the shape of `x`; an array, also for a traced `x`."""
    return _like(x, 0, dtype)


@public(np.ones_like)
def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones in the shape of `x`; an array, also for a traced `x`."""
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


@public(np.logaddexp)
def logaddexp(x: Any, y: Any) -> Any:
    """`log(exp(x) + exp(y))` without overflow."""
    top = stop_gradient(rows.maximum(x, y))
    return log(exp(x - top) + exp(y - top)) + top


@public(np.broadcast_arrays)
def broadcast_arrays(*arrays: Any) -> tuple[Any, ...]:
    """All arrays in their common shape."""
    operands = [as_operand(a) for a in arrays]
    shape = np.broadcast_shapes(*(tuple(a.shape) for a in operands))
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
