"""Differences of neighbours and what undoes them, and sums over windows that slide."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.ops.contract import contract
from gradloom.ops.cumulative import cumsum
from gradloom.ops.elementwise import astype, not_equal
from gradloom.ops.elementwise import where as choose
from gradloom.ops.gather import read
from gradloom.ops.join import concatenate
from gradloom.ops.move import between, broadcast_to, flip, moveaxis, place, reshape
from gradloom.ops.picking import iota
from gradloom.ops.public import (
    as_operand,
    normal_axes,
    normal_axis,
    public,
    wrong_shape,
)
from gradloom.ops.reduce import sum_


@public(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along an axis, `n` times over.

    >>> import gradloom.numpy as gnp
    >>> gnp.diff([1.0, 4.0, 9.0])
    array([3., 5.])
    """
    x = as_operand(a)
    if n < 0:
        raise wrong_shape(f"diff {n} times over", "n is 0 or more")
    along = normal_axis(axis, x.ndim)
    if n and (prepend is not None or append is not None):
        x = concatenate([*_edge(prepend, x, along), x, *_edge(append, x, along)], along)
    for _ in range(n):
        whole = x.shape[along]
        low = between(x, along, 0, max(whole - 1, 0))
        high = between(x, along, min(1, whole), whole)
        x = not_equal(high, low) if x.dtype == bool else high - low
    return x


@public(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Any:
    """Angles with the jumps of more than half a `period` (and of at least `discont`) between
    neighbours along an axis taken out, by whole periods.

    >>> import gradloom.numpy as gnp
    >>> gnp.unwrap([0, 1, 2, -1, 0], period=4)
    array([0, 1, 2, 3, 4])
    """
    x = as_operand(p)
    along = normal_axis(axis, x.ndim)
    steps = diff(x, axis=along)
    whole = steps.dtype.kind != "f" and isinstance(period, int)
    half = period // 2 if whole else period / 2
    inside = (steps + half) % period - half
    if not whole or period % 2 == 0:  # half a period forwards stays one
        inside = choose((inside == -half) & (steps > 0), half, inside)
    jump = period / 2 if discont is None else discont
    turns = choose(abs(steps) < jump, 0, inside - steps)
    first = between(x, along, 0, min(1, x.shape[along]))
    zero = astype(first * 0, turns.dtype.name)
    return x + cumsum(concatenate([zero, turns], along), along)


def _edge(values: Any, x: Any, along: int) -> list[Any]:
    if values is None:
        return []
    piece = as_operand(values)
    shape = tuple(1 if i == along else n for i, n in enumerate(x.shape))
    return [piece if piece.ndim else broadcast_to(piece, shape)]


@public(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours among all elements in a row, between two given ends."""
    x = as_operand(ary)
    ends = [
        [] if e is None else [astype(reshape(as_operand(e), as_operand(e).size), x.dtype)]
        for e in (to_begin, to_end)
    ]
    return concatenate([*ends[0], diff(reshape(x, x.size)), *ends[1]], 0)


@public(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Slopes along each axis by differences of second order, one-sided at the ends.

    `varargs` are the spacing: one number, one an axis, or the places along an axis.  Unevenly
    spaced, the weights are those of the parabola through three points.
    """
    x = as_operand(f)
    if x.dtype.kind in "biu":
        x = astype(x, "float64")
    axes = normal_axes(axis, x.ndim)
    if axis is not None and not isinstance(axis, int | np.integer):
        axes = tuple(normal_axis(a, x.ndim) for a in axis)
    if len(varargs) not in (0, 1, len(axes)):
        raise wrong_shape(
            f"{len(varargs)} spacings for {len(axes)} axes", "give one, or one an axis"
        )
    spacing = varargs or (1.0,)
    spacing = spacing * len(axes) if len(spacing) == 1 else spacing
    found = tuple(_slope(x, a, h, edge_order) for a, h in zip(axes, spacing, strict=True))
    return found[0] if len(found) == 1 else found


def _slope(x: Any, along: int, spacing: Any, edge_order: int) -> Any:
    x = moveaxis(x, along, 0)
    size = x.shape[0]
    if size < edge_order + 1 or edge_order not in (1, 2):
        raise wrong_shape(
            f"a gradient of order {edge_order} along {size} elements",
            "an axis has edge_order + 1 elements at least, and edge_order is 1 or 2",
        )
    h = before = after = spacing
    if np.ndim(as_operand(spacing)):
        places = astype(as_operand(spacing), x.dtype)
        if tuple(places.shape) != (size,):
            raise wrong_shape(f"{tuple(places.shape)} places for {size} elements", "give one each")
        h = reshape(diff(places), (size - 1, *(1,) * (x.ndim - 1)))
        before, after = h[:-1], h[1:]
    steps = (x[1:] - x[:-1]) / h
    # Of the parabola through three points: the means of the two slopes, each with the other's step.
    whole = before + after
    middle = (steps[:-1] * after + steps[1:] * before) / whole
    if edge_order == 1:
        first, last = steps[:1], steps[-1:]
    else:
        bend = (steps[1:] - steps[:-1]) / whole
        first = steps[:1] - bend[:1] * _end(before, slice(1))
        last = steps[-1:] + bend[-1:] * _end(after, slice(-1, None))
    return moveaxis(concatenate([first, middle, last], 0), 0, along)


def _end(steps: Any, part: slice) -> Any:
    return steps[part] if np.ndim(as_operand(steps)) else steps


@public(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral along an axis by the trapezoidal rule, over places `x` or steps of `dx`."""
    y = as_operand(y)
    along = normal_axis(axis, y.ndim)
    size = y.shape[along]
    pairs = between(y, along, min(1, size), size) + between(y, along, 0, max(size - 1, 0))
    if x is None:
        steps = dx
    else:
        places = as_operand(x)
        if places.ndim == 1:
            places = reshape(places, tuple(places.size if i == along else 1 for i in range(y.ndim)))
        steps = diff(places, axis=axis)
    return sum_(steps * pairs / 2.0, along)


# ---- windows

# A shorter side up to this many elements is a sum of shifted copies, written out.
_WRITTEN_OUT = 16


@public(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Sums of products of two vectors, one of them reversed and slid along the other.

    >>> import gradloom.numpy as gnp
    >>> gnp.convolve([1.0, 2.0, 3.0], [1.0, -1.0])
    array([ 1.,  1.,  1., -3.])
    """
    x, y = (reshape(o, o.size) if not o.ndim else o for o in (as_operand(a), as_operand(v)))
    if x.ndim != 1 or y.ndim != 1 or not x.size or not y.size:
        raise wrong_shape(
            f"convolve of {tuple(x.shape)} and {tuple(y.shape)}", "it takes vectors, not empty"
        )
    if y.size > x.size:
        x, y = y, x
    n, m = x.shape[0], y.shape[0]
    if mode == "valid":
        begin, count = m - 1, n - m + 1
    elif mode == "same":
        begin, count = (m - 1) // 2, n
    elif mode == "full":
        begin, count = 0, n + m - 1
    else:
        raise wrong_shape(f"a convolution mode {mode!r}", "use 'full', 'same' or 'valid'")
    wide = place(x, (m - 1,), (n + 2 * (m - 1),))
    return _windows(between(wide, 0, begin, begin + count + m - 1), flip(y, 0), count)


def _windows(x: Any, weights: Any, count: int) -> Any:
    """The sum over `j` of `x[i + j] * weights[j]`, for `count` values of `i`."""
    m = weights.shape[0]
    if m <= _WRITTEN_OUT:
        return sum(
            (between(x, 0, j, j + count) * weights[j] for j in range(1, m)), x[:count] * weights[0]
        )
    at = iota((count, m), 0) + iota((count, m), 1)
    return contract(read(x, (at,), (0,)), weights, "ab", "b", "a")


@public(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Sums of products of two vectors, one slid along the other; `v` is conjugated."""
    x, y = as_operand(a), as_operand(v)
    y = FUNCTIONS["conj"](y) if y.dtype.kind == "c" else y
    if y.size > x.size:  # NumPy slides the shorter one, and turns the result around
        return flip(convolve(y, flip(x), mode))
    return convolve(x, flip(y), mode)


# ---- tables


@public(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """The piecewise linear function through the points `(xp, fp)`, of increasing `xp`, at `x`.

    Outside of them it is `left` and `right`, or as at the ends; or all has a `period`, and then
    `xp` may be in any order.

    >>> import gradloom.numpy as gnp
    >>> gnp.interp([0.5, 3.0], [0.0, 1.0, 2.0], [0.0, 10.0, 0.0])
    array([5., 0.])
    """
    at, places, values = (_real(o) for o in (x, xp, fp))
    if places.ndim != 1 or places.shape != values.shape or not places.size:
        raise wrong_shape(
            f"interp of points {tuple(places.shape)} and {tuple(values.shape)}",
            "give two vectors of one length, not empty",
        )
    if period is not None:
        at, places, values = _wrapped(at, places, values, period)
        left = right = None
    if places.shape[0] == 1:
        inner = broadcast_to(values, (*at.shape, 1))[..., 0]
    else:
        inner = _between_points(at, places, values)
    low = values[0] if left is None else left
    high = values[-1] if right is None else right
    return choose(at < places[0], low, choose(at > places[-1], high, inner))


def _real(o: Any) -> Any:
    x = as_operand(o)
    return astype(x, "float64") if x.dtype.kind in "biu" or x.dtype == "float32" else x


def _between_points(at: Any, places: Any, values: Any) -> Any:
    count = places.shape[0]
    after = FUNCTIONS["clip"](FUNCTIONS["searchsorted"](places, at, side="right"), 1, count - 1)
    x0, x1 = read(places, (after - 1,), (0,)), read(places, (after,), (0,))
    y0, y1 = read(values, (after - 1,), (0,)), read(values, (after,), (0,))
    step = x1 - x0
    share = (at - x0) / choose(step == 0, 1, step)
    return choose(at == x1, y1, y0 + share * (y1 - y0))


def _wrapped(at: Any, places: Any, values: Any, period: Any) -> tuple[Any, Any, Any]:
    """One period, with its last point before it and its first after it."""
    if not isinstance(period, Tensor):
        period = abs(period)
    at, places = at % period, places % period
    order = FUNCTIONS["argsort"](places)
    places, values = read(places, (order,), (0,)), read(values, (order,), (0,))
    places = concatenate([places[-1:] - period, places, places[:1] + period])
    return at, places, concatenate([values[-1:], values, values[:1]])
