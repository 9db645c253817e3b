"""Medians and quantiles: order statistics read from sorted arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.ops.elementwise import astype
from gradloom.ops.elementwise import where as choose
from gradloom.ops.move import broadcast_to, expand_dims, moveaxis, reshape
from gradloom.ops.picking import take_along_axis
from gradloom.ops.public import as_operand, normal_axes, public, refuse_out, wrong_shape
from gradloom.ops.reduce import sum_

# [Hyndman and Fan, Sample quantiles in statistical packages, 1996]: the place of the quantile q
# among n sorted elements, counted from 0, is n q + alpha + q (1 - alpha - beta) - 1.
_CONTINUOUS = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "linear": (1.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}


def _floor(x: Any) -> Any:
    return FUNCTIONS["floor"](x)


def _next_unless_whole(place: Any) -> Any:
    return FUNCTIONS["ceil"](place)


# The rest, as (alpha, beta) and what is made of the place: a place between two elements is a mean.
_STEPPED: dict[str, tuple[float, float, Callable[[Any], Any]]] = {
    "lower": (1.0, 1.0, _floor),
    "higher": (1.0, 1.0, _next_unless_whole),
    "midpoint": (1.0, 1.0, lambda p: 0.5 * (_floor(p) + _next_unless_whole(p))),
    "nearest": (1.0, 1.0, lambda p: FUNCTIONS["round"](p)),
    "inverted_cdf": (0.0, 1.0, _next_unless_whole),
    "averaged_inverted_cdf": (
        0.0,
        1.0,
        lambda p: choose(p == _floor(p), p + 0.5, _next_unless_whole(p)),
    ),
    "closest_observation": (0.0, 1.0, lambda p: FUNCTIONS["round"](p)),
}


_EXACT = ("lower", "higher", "nearest", "inverted_cdf", "closest_observation")


def _place(q: Any, count: Any, method: str) -> Any:
    """Where among `count` sorted elements the quantile is, from 0 to `count - 1`."""
    if method in _CONTINUOUS:
        (alpha, beta), rounded = _CONTINUOUS[method], None
    elif method in _STEPPED:
        alpha, beta, rounded = _STEPPED[method]
    else:
        names = ", ".join((*_CONTINUOUS, *_STEPPED))
        raise wrong_shape(f"there is no quantile method {method!r}", f"use one of {names}")
    if method == "linear":
        place = (count - 1) * q
    else:
        place = count * q + (alpha + q * (1 - alpha - beta)) - 1
    place = place if rounded is None else rounded(place)
    return FUNCTIONS["clip"](place, 0, count - 1)


def _gathered_axes(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """The axes to fold as one, the last; and which they were."""
    x = as_operand(a)
    if x.dtype.kind not in "f":
        x = astype(x, "float64")
    axes = normal_axes(axis, x.ndim)
    ndim = x.ndim
    x = moveaxis(x, axes, tuple(range(ndim - len(axes), ndim)))
    rest = tuple(x.shape[: ndim - len(axes)])
    return reshape(x, (*rest, math.prod(x.shape[ndim - len(axes) :]))), axes


def _sorted_quantile(x: Any, q: Any, method: str, ignore_nan: bool) -> Any:
    """Quantiles along the last axis, on new leading axes in the shape of `q`."""
    if not x.shape[-1]:
        raise wrong_shape("a quantile of no elements", "give it a nonempty axis")
    ordered = FUNCTIONS["sort"](x, axis=-1)  # NaN comes last
    q = _checked(q, 1.0, x) if isinstance(q, float) else q
    lead = tuple(q.shape)
    rest = tuple(x.shape[:-1])
    q = reshape(q, lead + (1,) * len(rest))
    count: Any = x.shape[-1]
    if ignore_nan:
        count = astype(sum_(x == x, -1), q.dtype)
    place = broadcast_to(as_operand(_place(q, count, method)), lead + rest)
    empty = None if not ignore_nan else count == 0
    place = FUNCTIONS["maximum"](place, 0.0)
    low = _floor(place)
    share = place - low
    below = astype(low, "int64")
    above = FUNCTIONS["minimum"](below + 1, x.shape[-1] - 1)
    value = _between(_read(ordered, below, lead), _read(ordered, above, lead), share)
    gone = empty if ignore_nan else ordered[..., -1] != ordered[..., -1]
    # What is no mean of two elements keeps their dtype, as in NumPy.
    return choose(gone, np.nan, astype(value, x.dtype) if method in _EXACT else value)


def _between(low: Any, high: Any, share: Any) -> Any:
    """A share of the way; nothing is made of a high end that is infinite if the share is 0."""
    return choose(share == 0, low, low + (choose(share == 0, low, high) - low) * share)


def _read(ordered: Any, at: Any, lead: tuple[int, ...]) -> Any:
    flat = reshape(at, (math.prod(lead), *ordered.shape[:-1]))
    along = moveaxis(flat, 0, -1)
    return reshape(moveaxis(take_along_axis(ordered, along, -1), -1, 0), tuple(at.shape))


def _quantiles(
    a: Any, q: Any, axis: Any, keepdims: bool, method: str, ignore_nan: bool = False
) -> Any:
    x, axes = _gathered_axes(a, axis)
    if not x.shape[-1] and isinstance(q, float):  # a median, which NumPy has of nothing too
        x = np.full((*x.shape[:-1], 1), np.nan, x.dtype)
    out = _sorted_quantile(x, q, method, ignore_nan)
    lead = out.ndim - (x.ndim - 1)
    return expand_dims(out, tuple(lead + i for i in axes)) if keepdims and axes else out


def _checked(q: Any, top: float, x: Any) -> Any:
    """`q` of 1, of which a part out of range is an error if its values are known.

    A Python number takes the dtype of what it is a quantile of.
    """
    if isinstance(q, Tensor):
        return q if top == 1.0 else FUNCTIONS["divide"](q, top)
    known = np.asarray(q)
    if not np.all((known >= 0) & (known <= top)):
        raise wrong_shape(f"a quantile of {q}", f"it takes numbers from 0 to {top:g}")
    narrow = isinstance(q, int | float) and as_operand(x).dtype.kind == "f"
    return np.asarray(known / top, as_operand(x).dtype if narrow else "float64")


def _refuse_weights(weights: Any) -> None:
    if weights is not None:
        raise wrong_shape("weighted quantiles have no traced form", "repeat elements instead")


@public(np.quantile)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Any:
    """The `q`-th quantiles over `axis`, on new first axes if `q` has any; NaN if there is one.

    Its methods are NumPy's, those of Hyndman and Fan (1996).

    >>> import gradloom.numpy as gnp
    >>> float(gnp.quantile([1.0, 2.0, 4.0], 0.75))
    3.0
    """
    refuse_out(out, "quantile")
    _refuse_weights(weights)
    return _quantiles(a, _checked(q, 1.0, a), axis, keepdims, method)


@public(np.percentile)
def percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Any:
    """`quantile` with `q` from 0 to 100."""
    refuse_out(out, "percentile")
    _refuse_weights(weights)
    return _quantiles(a, _checked(q, 100.0, a), axis, keepdims, method)


@public(np.median)
def median(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """The middle element over `axis`, or the mean of the two in the middle."""
    refuse_out(out, "median")
    return _quantiles(a, 0.5, axis, keepdims, "linear")


@public(np.nanmedian)
def nanmedian(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """The median of what is not NaN; NaN where there is nothing."""
    refuse_out(out, "nanmedian")
    return _quantiles(a, 0.5, axis, keepdims, "linear", ignore_nan=True)


@public(np.nanquantile)
def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Any:
    """Quantiles of what is not NaN."""
    refuse_out(out, "nanquantile")
    _refuse_weights(weights)
    return _quantiles(a, _checked(q, 1.0, a), axis, keepdims, method, ignore_nan=True)


@public(np.nanpercentile)
def nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Any:
    """`nanquantile` with `q` from 0 to 100."""
    refuse_out(out, "nanpercentile")
    _refuse_weights(weights)
    return _quantiles(a, _checked(q, 100.0, a), axis, keepdims, method, ignore_nan=True)
