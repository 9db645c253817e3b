"""Rows that fold axes with an associative combination, and NumPy's reductions with them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import INTEGERS, TensorType
from gradloom.ops import planar_folds
from gradloom.ops.elementwise import add, astype, equal, maximum, minimum, multiply
from gradloom.ops.elementwise import where as choose
from gradloom.ops.join import concatenate, index_along
from gradloom.ops.move import broadcast_to, expand_dims, flip, reshape
from gradloom.ops.public import as_operand, normal_axes, public, refuse_out, wrong_shape


def lowest(dtype: str) -> Any:
    """What no element is below."""
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
    lambda x, axis: np.max(x, axis=axis, initial=lowest(np.asarray(x).dtype.name)),
    lambda x, y: x.maximum(y),
    lowest,
    "np.maximum({0}, {1})",
    lambda g, out, x, axes: (_to_winners(g, out, x, axes),),
)
MIN = _reduction(
    "min",
    lambda x, axis: np.min(x, axis=axis, initial=_highest(np.asarray(x).dtype.name)),
    lambda x, y: x.minimum(y),
    _highest,
    "np.minimum({0}, {1})",
    lambda g, out, x, axes: (_to_winners(g, out, x, axes),),
)


def _to_winners(g: Any, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """The cotangent shared equally among the elements that attain the extreme, as in JAX."""
    wins = equal(x, expand_dims(out, axes))
    count = sum_(astype(wins, x.dtype), axes, keepdims=True)
    return choose(wins, expand_dims(g, axes) / count, 0)


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


# What joins the result of a row to `initial`.
_JOINED: dict[Op, Callable[..., Any]] = {SUM: add, PROD: multiply, MAX: maximum, MIN: minimum}


def fold(
    row: Op, x: Any, axis: Any, keepdims: bool = False, initial: Any = None, where: Any = None
) -> Any:
    """A reduction of those elements where the mask `where` holds, begun from `initial`."""
    axes = normal_axes(axis, x.ndim)
    if where is not None and where is not True:
        assert row.identity is not None
        mask = broadcast_to(astype(as_operand(where), "bool"), tuple(x.shape))
        x = choose(mask, x, row.identity(x.dtype.name))
    out = apply(row, x, axes=axes)
    if initial is not None:
        out = _JOINED[row](out, initial)
    return expand_dims(out, axes) if keepdims else out


def accumulated(x: Any, dtype: Any) -> Any:
    """NumPy's accumulator: booleans and small integers are summed in 64 bits."""
    if dtype is None and x.dtype.kind in "biu":
        dtype = "uint64" if x.dtype.kind == "u" else "int64"
    return x if dtype is None or x.dtype == dtype else astype(x, dtype)


def counted(x: Any, axis: Any, where: Any, keepdims: bool = False) -> Any:
    """How many elements a reduction sees: a Python number unless a mask tells."""
    if where is None or where is True:
        return math.prod(x.shape[a] for a in normal_axes(axis, x.ndim))
    mask = broadcast_to(astype(as_operand(where), "bool"), tuple(x.shape))
    kind = x.dtype if x.dtype.kind == "f" else "float64"
    return fold(SUM, astype(mask, kind), axis, keepdims)


@public(np.sum, name="sum")
def sum_(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Sum over `axis` (all axes by default), in fixed order whatever the number of threads.

    >>> import gradloom.numpy as gnp
    >>> float(gnp.sum([1.0, 2.0, 4.0], where=[True, False, True], initial=10.0))
    15.0
    """
    refuse_out(out, "sum")
    return fold(SUM, accumulated(as_operand(a), dtype), axis, keepdims, initial, where)


@public(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Product over `axis`."""
    refuse_out(out, "prod")
    return fold(PROD, accumulated(as_operand(a), dtype), axis, keepdims, initial, where)


def _extreme(row: Op, a: Any, axis: Any, keepdims: bool, initial: Any, where: Any) -> Any:
    x = as_operand(a)
    if initial is None:
        x = _nonempty(x, axis, row.name)
        if where is not None and where is not True:
            raise wrong_shape(
                f"{row.name} where nothing may be left", "give it an initial= to begin from"
            )
    return fold(row, x, axis, keepdims, initial, where)


def _nonempty(x: Any, axis: Any, name: str) -> Any:
    x = as_operand(x)
    if any(x.shape[a] == 0 for a in normal_axes(axis, x.ndim)):
        raise wrong_shape(f"{name} of {tuple(x.shape)} over no elements", "give it a nonempty axis")
    return x


@public(np.max, np.amax, name="max")
def max_(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Largest element over `axis`; NaN if there is one.  Ties share the cotangent equally."""
    refuse_out(out, "max")
    return _extreme(MAX, a, axis, keepdims, initial, where)


@public(np.min, np.amin, name="min")
def min_(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Smallest element over `axis`; NaN if there is one."""
    refuse_out(out, "min")
    return _extreme(MIN, a, axis, keepdims, initial, where)


public(name="amax")(max_)
public(name="amin")(min_)


@public(np.any, name="any")
def any_(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Any:
    """Whether an element is true."""
    refuse_out(out, "any")
    return fold(MAX, astype(as_operand(a), "bool"), axis, keepdims, where=where)


@public(np.all, name="all")
def all_(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Any:
    """Whether all elements are true."""
    refuse_out(out, "all")
    return fold(MIN, astype(as_operand(a), "bool"), axis, keepdims, where=where)


@public(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """How many elements are not zero."""
    return sum_(astype(as_operand(a), "bool"), axis, keepdims=keepdims)


@public(np.mean)
def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Any:
    """Arithmetic mean over `axis`; NaN of no elements."""
    refuse_out(out, "mean")
    x = as_operand(a)
    if dtype is not None or x.dtype.kind in "biu":
        x = astype(x, dtype or "float64")
    count = counted(x, axis, where, keepdims)
    if not isinstance(count, int):
        return fold(SUM, x, axis, keepdims, where=where) / count
    return fold(SUM, x, axis, keepdims) / (count or np.nan)


def _first(row: Op, x: Any, axis: Any, keepdims: bool) -> Any:
    """The first index where the extreme, or a NaN, stands."""
    axes = normal_axes(axis, x.ndim)
    if axis is None:
        x = reshape(x, -1)
    (along,) = axes if axis is not None else (0,)
    best = fold(row, x, along, keepdims=True)
    found = choose((x == best) | (x != x), index_along(x, along), x.shape[along])
    first = fold(MIN, found, along, keepdims=keepdims and axis is not None)
    return expand_dims(first, axes) if keepdims and axis is None else first


@public(np.argmax)
def argmax(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Index (int64) of the first largest element; of the first NaN if there is one."""
    refuse_out(out, "argmax")
    return _first(MAX, _nonempty(a, axis, "argmax"), axis, keepdims)


@public(np.argmin)
def argmin(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Index (int64) of the first smallest element; of the first NaN if there is one."""
    refuse_out(out, "argmin")
    return _first(MIN, _nonempty(a, axis, "argmin"), axis, keepdims)


@public(np.clip)
def clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: None = None,
    *,
    min: Any = None,  # noqa: A002  (NumPy's names)
    max: Any = None,  # noqa: A002
) -> Any:
    """`a` limited to between two bounds, of which None leaves that side open.

    `min` and `max` are the standard's names for `a_min` and `a_max`.
    """
    refuse_out(out, "clip")
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is not None:
        a = maximum(a, low)
    return as_operand(a) if high is None else minimum(a, high)
