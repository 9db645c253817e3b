"""NumPy's reductions that leave NaN out, written with those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.tensor import FUNCTIONS
from gradloom.ops.elementwise import where as choose
from gradloom.ops.moments import std, var
from gradloom.ops.public import as_operand, public, refuse_out
from gradloom.ops.reduce import (
    MAX,
    MIN,
    all_,
    argmax,
    argmin,
    fold,
    mean,
    prod,
    sum_,
)


def _missing(x: Any, where: Any = None) -> Any:
    """Where an element is left out, or None if none can be."""
    if x.dtype.kind not in "fc":
        return None if where is None or where is True else ~as_operand(where)
    gone = x != x
    return gone if where is None or where is True else gone | ~as_operand(where)


def _kept(x: Any, where: Any) -> Any:
    gone = _missing(x, where)
    return None if gone is None else ~gone


def _without(x: Any, value: Any) -> Any:
    return choose(x != x, value, x) if x.dtype.kind in "fc" else x


@public(np.nansum)
def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """`sum` with NaN taken as 0."""
    return sum_(_without(as_operand(a), 0), axis, dtype, out, keepdims, initial, where)


@public(np.nanprod)
def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """`prod` with NaN taken as 1."""
    return prod(_without(as_operand(a), 1), axis, dtype, out, keepdims, initial, where)


@public(np.nancumsum)
def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """`cumsum` with NaN taken as 0."""
    refuse_out(out, "nancumsum")
    return FUNCTIONS["cumsum"](_without(as_operand(a), 0), axis, dtype)


@public(np.nancumprod)
def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """`cumprod` with NaN taken as 1."""
    refuse_out(out, "nancumprod")
    return FUNCTIONS["cumprod"](_without(as_operand(a), 1), axis, dtype)


def _nan_extreme(row: Any, a: Any, axis: Any, keepdims: bool, initial: Any, where: Any) -> Any:
    x = as_operand(a)
    if x.dtype.kind != "f":
        return FUNCTIONS[row.name](x, axis, keepdims=keepdims, initial=initial, where=where)
    kept = _kept(x, where)
    best = fold(row, x, axis, keepdims, initial, kept)
    if initial is not None:
        return best
    return choose(fold(MAX, kept, axis, keepdims), best, np.nan)


@public(np.nanmax)
def nanmax(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Largest element that is not NaN; NaN where there is none."""
    refuse_out(out, "nanmax")
    return _nan_extreme(MAX, a, axis, keepdims, initial, where)


@public(np.nanmin)
def nanmin(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Smallest element that is not NaN; NaN where there is none."""
    refuse_out(out, "nanmin")
    return _nan_extreme(MIN, a, axis, keepdims, initial, where)


@public(np.nanmean)
def nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Any:
    """Mean of what is not NaN; NaN where there is nothing."""
    x = as_operand(a)
    return mean(_without(x, 0), axis, dtype, out, keepdims, where=_kept(x, where))


@public(np.nanvar)
def nanvar(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Variance of what is not NaN."""
    return _spread_of(var, locals())


@public(np.nanstd)
def nanstd(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Standard deviation of what is not NaN."""
    return _spread_of(std, locals())


def _spread_of(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """`var` or `std` of what is kept; as in NumPy NaN where too little is left."""
    x = as_operand(given["a"])
    kept = _kept(x, given["where"])
    out = function(**(given | {"a": _without(x, 0), "where": kept}))
    return choose(FUNCTIONS["isinf"](out), np.nan, out)


def _nan_first(function: Callable[..., Any], a: Any, axis: Any, keepdims: bool, fill: float) -> Any:
    x = as_operand(a)
    if x.dtype.kind != "f":
        return function(x, axis, keepdims=keepdims)
    found = function(_without(x, fill), axis, keepdims=keepdims)
    return choose(all_(x != x, axis, keepdims=keepdims), -1, found)


@public(np.nanargmax)
def nanargmax(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Index of the first largest element that is not NaN; -1 where all are, as JAX has it."""
    refuse_out(out, "nanargmax")
    return _nan_first(argmax, a, axis, keepdims, -np.inf)


@public(np.nanargmin)
def nanargmin(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Index of the first smallest element that is not NaN; -1 where all are, as JAX has it."""
    refuse_out(out, "nanargmin")
    return _nan_first(argmin, a, axis, keepdims, np.inf)
