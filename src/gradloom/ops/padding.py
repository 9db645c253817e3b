"""Borders around arrays, in all of NumPy's modes but those of a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.errors import RangeError, message, user_where
from gradloom.frontend.tensor import FUNCTIONS
from gradloom.ops.elementwise import astype, where
from gradloom.ops.join import concatenate, index_along
from gradloom.ops.move import between, broadcast_to, flip, place, reshape
from gradloom.ops.public import as_operand, normal_axis, public, wrong_shape
from gradloom.ops.reduce import max_, mean, min_

Widths = list[tuple[int, int]]


def _pairs(values: Any, ndim: int, what: str) -> list[tuple[Any, Any]]:
    """`(before, after)` an axis, of NumPy's shorter forms; a dict names axes."""
    if isinstance(values, dict):
        pairs: list[tuple[Any, Any]] = [(0, 0)] * ndim
        for axis, width in values.items():
            pairs[normal_axis(axis, ndim)] = tuple(np.broadcast_to(width, 2).tolist())
        return pairs
    try:
        found = np.broadcast_to(np.asarray(values), (ndim, 2)).tolist()
    except ValueError:
        raise wrong_shape(
            f"{what} {values} for {ndim} axes", "give one number, one pair, or a pair an axis"
        ) from None
    return [(before, after) for before, after in found]


def _widths(values: Any, ndim: int) -> Widths:
    widths = [(int(low), int(high)) for low, high in _pairs(values, ndim, "pad widths")]
    if any(low < 0 or high < 0 for low, high in widths):
        raise wrong_shape(f"pad widths {values} are negative", "slice instead")
    return widths


@public(np.pad)
def pad(
    array: Any,
    pad_width: Any,
    mode: str = "constant",
    *,
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
    reflect_type: str = "even",
) -> Any:
    """`array` inside a border as `mode` says, in NumPy's words: constant, edge, linear_ramp,
    maximum, mean, median, minimum, reflect, symmetric, wrap or empty (zeros).

    >>> import gradloom.numpy as gnp
    >>> gnp.pad([1, 2, 3], (0, 2), mode="wrap")
    array([1, 2, 3, 1, 2])
    """
    x = as_operand(array)
    widths = _widths(pad_width, x.ndim)
    if mode == "empty" or (mode == "constant" and not _some(constant_values)):
        return _in_zeros(x, widths)
    if mode == "constant" and np.ndim(constant_values) == 0:
        return _in_constant(x, widths, constant_values)
    if mode not in _BORDERS:
        names = ", ".join(sorted((*_BORDERS, "constant", "empty")))
        raise wrong_shape(f"pad mode {mode!r} has no traced form", f"use one of {names}")
    options = {
        "constant_values": _pairs(constant_values, x.ndim, "constant_values"),
        "end_values": _pairs(end_values, x.ndim, "end_values"),
        "stat_length": [(None, None)] * x.ndim
        if stat_length is None
        else _pairs(stat_length, x.ndim, "stat_length"),
    }
    for axis, (before, after) in enumerate(widths):
        if before or after:
            mine = {name: pairs[axis] for name, pairs in options.items()}
            x = _BORDERS[mode](x, axis, before, after, odd=reflect_type == "odd", **mine)
    return x


def _some(value: Any) -> bool:
    """Whether a border is of anything but zeros, which is not known of a traced one."""
    return not isinstance(value, int | float) or bool(value)


def _in_zeros(x: Any, widths: Widths) -> Any:
    low = tuple(w[0] for w in widths)
    return place(x, low, tuple(n + w[0] + w[1] for n, w in zip(x.shape, widths, strict=True)))


def _in_constant(x: Any, widths: Widths, value: Any) -> Any:
    padded = _in_zeros(x, widths)
    inside: Any = True
    for axis, (before, _) in enumerate(widths):
        steps = index_along(padded, axis)
        inside = inside & (steps >= before) & (steps < before + x.shape[axis])
    return astype(where(inside, padded, value), x.dtype)


# ---- a border along one axis


def _sized(piece: Any, axis: int, count: int) -> Any:
    shape = tuple(count if i == axis else n for i, n in enumerate(piece.shape))
    return broadcast_to(piece, shape)


def _framed(x: Any, axis: int, low: Any, high: Any) -> Any:
    pieces = [astype(p, x.dtype) for p in (low, x, high) if p.shape[axis]]
    return concatenate(pieces, axis)


def _ends(x: Any, axis: int) -> tuple[Any, Any]:
    size = x.shape[axis]
    if not size:
        raise RangeError(
            message(
                f"an empty axis {axis} of {tuple(x.shape)} has no edge to repeat",
                user_where(),
                "pad it with mode='constant'",
            )
        )
    return between(x, axis, 0, 1), between(x, axis, size - 1, size)


def _edge(x: Any, axis: int, before: int, after: int, **_: Any) -> Any:
    first, last = _ends(x, axis)
    return _framed(x, axis, _sized(first, axis, before), _sized(last, axis, after))


def _constant(
    x: Any, axis: int, before: int, after: int, constant_values: tuple[Any, Any], **_: Any
) -> Any:
    def block(count: int, value: Any) -> Any:
        shape = tuple(count if i == axis else n for i, n in enumerate(x.shape))
        return np.full(shape, value, x.dtype)

    low, high = constant_values
    return _framed(x, axis, block(before, low), block(after, high))


def _linear_ramp(
    x: Any, axis: int, before: int, after: int, end_values: tuple[Any, Any], **_: Any
) -> Any:
    first, last = _ends(x, axis)
    line = tuple(-1 if i == axis else 1 for i in range(x.ndim))

    def ramp(edge: Any, count: int, end: float) -> Any:
        """From `end`, in `count` steps towards `edge`, which is left out."""
        share = reshape(np.arange(count) / max(count, 1), line)
        return end + (edge - end) * (share if x.dtype.kind != "f" else astype(share, x.dtype))

    def whole(values: Any) -> Any:
        return values if x.dtype.kind in "fc" else FUNCTIONS["floor"](values)

    low = whole(ramp(first, before, end_values[0]))
    high = flip(whole(ramp(last, after, end_values[1])), axis)
    return _framed(x, axis, low, high)


def _statistic(function: Callable[..., Any]) -> Callable[..., Any]:
    def border(
        x: Any, axis: int, before: int, after: int, stat_length: tuple[Any, Any], **_: Any
    ) -> Any:
        size = x.shape[axis]
        _ends(x, axis)
        first, last = (size if n is None else min(int(n), size) for n in stat_length)
        low = function(between(x, axis, 0, first), axis=axis, keepdims=True)
        high = function(between(x, axis, size - last, size), axis=axis, keepdims=True)
        if x.dtype.kind in "iu":
            low, high = FUNCTIONS["rint"](low * 1.0), FUNCTIONS["rint"](high * 1.0)
        return _framed(x, axis, _sized(low, axis, before), _sized(high, axis, after))

    return border


def _repeating(period: Callable[[np.ndarray, int], np.ndarray]) -> Callable[..., Any]:
    """Elements of `x` in an order that `period` gives for places left and right of it."""

    def border(x: Any, axis: int, before: int, after: int, **_: Any) -> Any:
        _ends(x, axis)
        places = period(np.arange(-before, x.shape[axis] + after), x.shape[axis])
        return FUNCTIONS["take"](x, places, axis)

    return border


def _mirror(places: np.ndarray, size: int) -> np.ndarray:
    """Mirrored at the last element itself."""
    turn = max(2 * size - 2, 1)
    within = places % turn
    return np.minimum(within, turn - within) if size > 1 else within * 0


def _mirror_between(places: np.ndarray, size: int) -> np.ndarray:
    """Mirrored behind the last element."""
    within = places % (2 * size)
    return np.minimum(within, 2 * size - 1 - within)


def _reflect(x: Any, axis: int, before: int, after: int, odd: bool, **_: Any) -> Any:
    if not odd:
        return _repeating(_mirror)(x, axis, before, after)
    return _odd(x, axis, before, after, 1)


def _symmetric(x: Any, axis: int, before: int, after: int, odd: bool, **_: Any) -> Any:
    if not odd:
        return _repeating(_mirror_between)(x, axis, before, after)
    return _odd(x, axis, before, after, 0)


def _odd(x: Any, axis: int, before: int, after: int, skip: int) -> Any:
    """Mirrored at the ends, and upside down: `2 end - x`, as often as the border needs it."""
    if x.shape[axis] == 1 and skip:
        return _edge(x, axis, before, after)
    while before or after:
        first, last = _ends(x, axis)
        size = x.shape[axis]
        low = min(before, size - skip)
        high = min(after, size - skip)
        left = 2 * first - flip(between(x, axis, skip, skip + low), axis)
        right = 2 * last - flip(between(x, axis, size - skip - high, size - skip), axis)
        x = _framed(x, axis, left, right)
        before, after = before - low, after - high
    return x


_BORDERS: dict[str, Callable[..., Any]] = {
    "constant": _constant,
    "edge": _edge,
    "linear_ramp": _linear_ramp,
    "maximum": _statistic(max_),
    "minimum": _statistic(min_),
    "mean": _statistic(mean),
    "median": _statistic(lambda x, **kw: FUNCTIONS["median"](x, **kw)),
    "reflect": _reflect,
    "symmetric": _symmetric,
    "wrap": _repeating(lambda places, size: places % size),
}
