"""Functions written with the operators: no row, no derivative rule, no news for a planner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply, promote
from gradloom.frontend.pytree import tree_map
from gradloom.frontend.tensor import Tensor
from gradloom.ir.node import Node
from gradloom.ir.op import OPS
from gradloom.ir.source import STOP, const
from gradloom.ops import elementwise as rows
from gradloom.ops.elementwise import astype, exp, log, where
from gradloom.ops.move import broadcast_to, expand_dims
from gradloom.ops.public import as_operand, dtype_name, normal_axes, public
from gradloom.ops.reduce import all_, max_, mean, min_, sum_


@public()
def stop_gradient(x: Any) -> Any:
    """`x`, an array or a tree of them, with a zero derivative."""
    return tree_map(lambda v: apply(STOP, v) if isinstance(v, Tensor) else v, x)


@public(np.power, name="power")
def power(x: Any, y: Any) -> Any:
    """`x ** y`.  A whole exponent from 0 to 16 becomes multiplications: as exact, much faster."""
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
    """`1 / x`, floating for integers too."""
    return 1.0 / as_operand(x)


@public(np.tan)
def tan(x: Any) -> Any:
    """Tangent."""
    return rows.sin(x) / rows.cos(x)


@public(np.absolute, name="abs")
def abs_(x: Any) -> Any:
    """Absolute value."""
    x = as_operand(x)
    return x if x.dtype == "bool" else rows.abs_(x)


def _rounding(name: str, row: Any, doc: str) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        x = as_operand(x)
        return row(x) if x.dtype.kind == "f" else x

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}; integers as they are."
    return function


floor = public(np.floor)(_rounding("floor", rows.floor, "The next integer below"))
ceil = public(np.ceil)(_rounding("ceil", rows.ceil, "The next integer above"))
trunc = public(np.trunc)(_rounding("trunc", rows.trunc, "The next integer towards zero"))


def _root_excess(x: Any) -> Any:
    """`sqrt(1 + x * x) - 1`, without losing what is small."""
    return x * x / (1 + rows.sqrt(1 + x * x))


@public(np.sinh)
def sinh(x: Any) -> Any:
    """Hyperbolic sine.

    >>> import gradloom.numpy as gnp
    >>> float(gnp.sinh(1e-20))
    1e-20
    """
    return 0.5 * (rows.expm1(x) - rows.expm1(-as_operand(x)))


@public(np.cosh)
def cosh(x: Any) -> Any:
    """Hyperbolic cosine."""
    return 0.5 * (exp(x) + exp(-as_operand(x)))


@public(np.arcsinh, name="arcsinh")
def arcsinh(x: Any) -> Any:
    """Inverse hyperbolic sine."""
    size = rows.abs_(x)
    return rows.sign(x) * rows.log1p(size + _root_excess(size))


@public(np.arctanh)
def arctanh(x: Any) -> Any:
    """Inverse hyperbolic tangent, of values between -1 and 1."""
    x = as_operand(x)
    return 0.5 * (rows.log1p(x) - rows.log1p(-x))


@public(np.arctan2)
def arctan2(y: Any, x: Any) -> Any:
    """The angle of the point `(x, y)`, from -pi to pi; the sign of a zero is not looked at.

    >>> import gradloom.numpy as gnp
    >>> float(gnp.arctan2(1.0, -1.0)) / gnp.pi
    0.75
    """
    dtype = promote(OPS["divide"], (y, x))
    y, x = astype(y, dtype), astype(x, dtype)
    steep = rows.abs_(y) > rows.abs_(x)  # the quotient stays between -1 and 1, also in derivatives
    below = where(steep, y, x)
    angle = rows.arctan(where(steep, x, y) / where(below == 0, 1, below))
    quarter = where(y < 0, -0.5 * np.pi, 0.5 * np.pi).astype(angle.dtype)
    return where(steep, quarter - angle, angle + where(x < 0, 2 * quarter, 0))


@public(np.arcsin)
def arcsin(x: Any) -> Any:
    """Inverse sine, from -pi / 2 to pi / 2."""
    x = as_operand(x)
    return arctan2(x, rows.sqrt((1 - x) * (1 + x)))


@public(np.arccos)
def arccos(x: Any) -> Any:
    """Inverse cosine, from 0 to pi."""
    x = as_operand(x)
    return arctan2(rows.sqrt((1 - x) * (1 + x)), x)


@public(np.exp2)
def exp2(x: Any) -> Any:
    """`2 ** x`."""
    return rows.power(2.0, x)


@public(np.log2)
def log2(x: Any) -> Any:
    """Logarithm to base 2."""
    return log(x) * (1 / np.log(2.0).item())


@public(np.log10)
def log10(x: Any) -> Any:
    """Logarithm to base 10."""
    return log(x) * (1 / np.log(10.0).item())


@public(np.deg2rad, np.radians)
def deg2rad(x: Any) -> Any:
    """Degrees as radians."""
    return as_operand(x) * (np.pi / 180)


@public(np.rad2deg, np.degrees)
def rad2deg(x: Any) -> Any:
    """Radians as degrees."""
    return as_operand(x) * (180 / np.pi)


@public(np.divmod, name="divmod")
def divmod_(x: Any, y: Any) -> tuple[Any, Any]:
    """`(x // y, x % y)`."""
    return rows.floor_divide(x, y), rows.remainder(x, y)


@public(np.round, name="round")
def round_(x: Any, decimals: int = 0) -> Any:
    """Nearest multiple of `10**-decimals`, halves to even."""
    x = as_operand(x)
    if x.dtype.kind != "f" and decimals >= 0:
        return x
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
    x = as_operand(x)
    return rows.abs_(x) < np.inf if x.dtype.kind == "f" else x == x


@public(np.isinf)
def isinf(x: Any) -> Any:
    """Whether an element is infinite."""
    x = as_operand(x)
    return rows.abs_(x) == np.inf if x.dtype.kind == "f" else x != x


@public(np.isclose)
def isclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether `abs(x - y) <= atol + rtol * abs(y)`, element by element."""
    x, y = as_operand(x), as_operand(y)
    near = rows.abs_(x - y) <= atol + rtol * rows.abs_(y)
    close = rows.equal(x, y) | (near & isfinite(y))
    return close | (isnan(x) & isnan(y)) if equal_nan else close


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


@public(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """NaN and infinities replaced: by `nan`, and by the largest and lowest number if not given."""
    x = as_operand(x)
    if x.dtype.kind != "f":
        return x
    top, low = np.finfo(x.dtype).max.item(), np.finfo(x.dtype).min.item()
    x = where(isnan(x), nan, x)
    x = where(rows.equal(x, np.inf), top if posinf is None else posinf, x)
    return where(rows.equal(x, -np.inf), low if neginf is None else neginf, x)


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


@public(np.logaddexp)
def logaddexp(x: Any, y: Any) -> Any:
    """`log(exp(x) + exp(y))` without overflow."""
    top = stop_gradient(rows.maximum(x, y))
    return log(exp(x - top) + exp(y - top)) + top


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
