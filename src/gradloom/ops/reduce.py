"""Rows that fold axes with an associative combination, and the statistics written with them."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import INTEGERS, TensorType
from gradloom.ops import planar_folds
from gradloom.ops.complex import imag, is_complex, real
from gradloom.ops.elementwise import astype, equal, maximum, minimum, sqrt, where
from gradloom.ops.join import concatenate, index_along
from gradloom.ops.move import broadcast_to, expand_dims, flip, reshape
from gradloom.ops.public import as_operand, normal_axes, public, wrong_shape


def _lowest(dtype: str) -> Any:
    if dtype == "bool":
        return False
    return int(np.iinfo(dtype).min) if dtype in INTEGERS else -np.inf


def _highest(dtype: str) -> Any:
    if dtype == "bool":
        return True
    return int(np.iinfo(dtype).max) if dtype in INTEGERS else np.inf


def _reduction(
    name: str,
    reference: Any,
    combine: Any,
    identity: Any,
    spelling: str,
    vjp: Any,
    linear: bool = False,
    by_pairs: Any = None,
) -> Op:
    def infer(x: TensorType, axes: tuple[int, ...]) -> TensorType:
        return TensorType(tuple(n for i, n in enumerate(x.shape) if i not in axes), x.dtype)

    return define(
        Op(
            name,
            Kind.REDUCE,
            infer,
            lambda x, axes: reference(x, axis=axes) if axes else np.asarray(x),
            vjp,
            spelling,
            combine,
            identity=identity,
            linear=linear,
            planar=by_pairs,
            samples=lambda rng, dtype: [
                ((rng.uniform(0.3, 2, (3, 4, 5)).astype(dtype),), {"axes": axes})
                for axes in ((2,), (0,), (0, 2), (0, 1, 2))
            ],
        )
    )


SUM = _reduction(
    "sum",
    lambda x, axis: np.sum(x, axis=axis, dtype=np.asarray(x).dtype),
    operator.add,
    lambda dtype: 0,
    "({0} + {1})",
    lambda g, out, x, axes: (broadcast_to(expand_dims(g, axes), x.shape),),
    linear=True,
    by_pairs=planar_folds.sum_,
)
PROD = _reduction(
    "prod",
    lambda x, axis: np.prod(x, axis=axis, dtype=np.asarray(x).dtype),
    operator.mul,
    lambda dtype: 1,
    "({0} * {1})",
    lambda g, out, x, axes: (
        broadcast_to(expand_dims(g, axes), x.shape) * _product_of_others(x, axes),
    ),
    by_pairs=planar_folds.prod,
)
MAX = _reduction(
    "max",
    np.max,
    lambda x, y: x.maximum(y),
    _lowest,
    "np.maximum({0}, {1})",
    lambda g, out, x, axes: (_to_winners(g, out, x, axes),),
)
MIN = _reduction(
    "min",
    np.min,
    lambda x, y: x.minimum(y),
    _highest,
    "np.minimum({0}, {1})",
    lambda g, out, x, axes: (_to_winners(g, out, x, axes),),
)


def _to_winners(g: Any, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """The cotangent shared equally among the elements that attain the extreme, as in JAX."""
    wins = equal(x, expand_dims(out, axes))
    count = sum_(astype(wins, x.dtype), axes, keepdims=True)
    return where(wins, expand_dims(g, axes) / count, 0)


def _product_of_others(x: Any, axes: tuple[int, ...]) -> Any:
    """For every element, the product of all the others along `axes`: exact with zeros too.

    Halving: the others of a pair's member are its partner times the others of the pair.
    """
    count = math.prod(x.shape[a] for a in axes)
    if count < 2:
        return 1
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    order = axes + kept
    moved = x.transpose(order)
    rest = moved.shape[len(axes) :]
    flat = reshape(moved, (count, *rest))
    others = reshape(_others(flat), moved.shape)
    return others.transpose(tuple(int(i) for i in np.argsort(order)))


def _others(x: Any) -> Any:
    n = x.shape[0]
    if n == 2:
        return flip(x, 0)
    if n % 2:
        head, last = x[:-1], x[-1:]
        others = _others(head)
        return concatenate([others * last, others[:1] * head[:1]])
    low, high = x[: n // 2], x[n // 2 :]
    above = _others(low * high)
    return concatenate([above * high, above * low])


def _reduce(row: Op, x: Any, axis: Any, keepdims: bool) -> Any:
    axes = normal_axes(axis, x.ndim)
    out = apply(row, x, axes=axes)
    return expand_dims(out, axes) if keepdims else out


def accumulated(x: Any, dtype: Any) -> Any:
    """NumPy's accumulator: booleans and small integers are summed as int64."""
    if dtype is None and x.dtype.name in ("bool", "int32"):
        dtype = "int64"
    return x if dtype is None or x.dtype == dtype else astype(x, dtype)


@public(np.sum, name="sum")
def sum_(x: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """Sum over `axis` (all axes by default), in fixed order whatever the number of threads."""
    x = as_operand(x)
    return _reduce(SUM, accumulated(x, dtype), axis, keepdims)


@public(np.prod)
def prod(x: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """Product over `axis`."""
    x = as_operand(x)
    return _reduce(PROD, accumulated(x, dtype), axis, keepdims)


def _nonempty(x: Any, axis: Any, name: str) -> Any:
    x = as_operand(x)
    if any(x.shape[a] == 0 for a in normal_axes(axis, x.ndim)):
        raise wrong_shape(f"{name} of {tuple(x.shape)} over no elements", "give it a nonempty axis")
    return x


@public(np.max, np.amax, name="max")
def max_(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest element over `axis`; NaN if there is one.  Ties share the cotangent equally."""
    return _reduce(MAX, _nonempty(x, axis, "max"), axis, keepdims)


@public(np.min, np.amin, name="min")
def min_(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Smallest element over `axis`; NaN if there is one."""
    return _reduce(MIN, _nonempty(x, axis, "min"), axis, keepdims)


public(name="amax")(max_)
public(name="amin")(min_)


@public(np.any, name="any")
def any_(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether an element is true."""
    return _reduce(MAX, astype(as_operand(x), "bool"), axis, keepdims)


@public(np.all, name="all")
def all_(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all elements are true."""
    return _reduce(MIN, astype(as_operand(x), "bool"), axis, keepdims)


@public(np.mean)
def mean(x: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """Arithmetic mean over `axis`."""
    x = as_operand(x)
    if dtype is not None or x.dtype.kind not in "fc":
        x = astype(x, dtype or "float64")
    count = int(np.prod([x.shape[a] for a in normal_axes(axis, x.ndim)], dtype=np.int64))
    return sum_(x, axis, keepdims=keepdims) / (count or np.nan)


@public(np.var)
def var(
    x: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    """Variance over `axis`: the mean square deviation, in two passes; real also of complex
    values, of the absolute deviation."""
    x = as_operand(x)
    count = int(np.prod([x.shape[a] for a in normal_axes(axis, x.ndim)], dtype=np.int64))
    deviation = x - mean(x, axis, dtype, keepdims=True)
    squares = deviation * deviation
    if is_complex(deviation):
        squares = real(deviation) ** 2 + imag(deviation) ** 2
    return sum_(squares, axis, keepdims=keepdims) / max(count - ddof, 0)


@public(np.std)
def std(
    x: Any, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    """Standard deviation over `axis`."""
    return sqrt(var(x, axis, dtype, ddof, keepdims))


def _first(row: Op, x: Any, axis: Any, keepdims: bool) -> Any:
    """The first index where the extreme, or a NaN, stands."""
    axes = normal_axes(axis, x.ndim)
    if axis is None:
        x = reshape(x, -1)
    (along,) = axes if axis is not None else (0,)
    best = _reduce(row, x, along, keepdims=True)
    found = where((x == best) | (x != x), index_along(x, along), x.shape[along])
    first = _reduce(MIN, found, along, keepdims=keepdims and axis is not None)
    return expand_dims(first, axes) if keepdims and axis is None else first


@public(np.argmax)
def argmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Index (int64) of the first largest element; of the first NaN if there is one."""
    return _first(MAX, _nonempty(x, axis, "argmax"), axis, keepdims)


@public(np.argmin)
def argmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Index (int64) of the first smallest element; of the first NaN if there is one."""
    return _first(MIN, _nonempty(x, axis, "argmin"), axis, keepdims)


@public(np.clip)
def clip(
    x: Any,
    min: Any = None,  # noqa: A002  (NumPy's names)
    max: Any = None,  # noqa: A002
    *,
    a_min: Any = None,
    a_max: Any = None,
) -> Any:
    """`x` limited to between `min` and `max`; None leaves that side open.

    `a_min` and `a_max` are NumPy's other names for the two.
    """
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is not None:
        x = maximum(x, low)
    return x if high is None else minimum(x, high)
