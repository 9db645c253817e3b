"""Updates without assignment: `x.at[key].set(v)` is a copy of `x` with `v` at `x[key]`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ir.op import OPS, Op
from gradloom.ops.composite import ones_like
from gradloom.ops.elementwise import astype, divide, maximum, minimum, multiply
from gradloom.ops.elementwise import where as choose
from gradloom.ops.gather import SCATTER, SCATTER_MAX, SCATTER_MIN, SCATTER_PROD, read
from gradloom.ops.indexing import Selection, selection
from gradloom.ops.move import PLACE, broadcast_to, expand_dims, moveaxis, reshape
from gradloom.ops.public import as_operand, public, wrong_shape
from gradloom.ops.ufuncs import power

_MODES = ("raise", "clip", "wrap", "drop", "fill", "promise_in_bounds")


@public()
def at(x: Any) -> At:
    """`gnp.at(x)[key].set(v)`, for arrays, is what `x.at[key].set(v)` is for traced values.

    >>> import gradloom.numpy as gnp, numpy as np
    >>> gnp.at(np.zeros(3))[1:].add([1.0, 2.0])
    array([0., 1., 2.])
    """
    return At(as_operand(x))


class At:
    """What `x.at` is: waiting for a key in square brackets."""

    __slots__ = ("_x",)

    def __init__(self, x: Any) -> None:
        self._x = x

    def __getitem__(self, key: Any) -> Place:
        return Place(self._x, key)


class Place:
    """`x.at[key]`: its methods give a copy of `x`, changed at `x[key]`.

    Where a key names an element more than once, `add` adds all its updates, `multiply` multiplies
    by all, and so on; of `set`, the last wins, as in NumPy.  `apply` calls a function of
    `x[key]` and sets what it gives.  An index out of range is an `IndexError`, or with
    `mode="drop"` ("fill" for `get`) left out, with "clip" moved to the end, with "wrap" taken
    modulo the size.  `indices_are_sorted` and `unique_indices` are taken for JAX's sake.
    """

    __slots__ = ("_key", "_x")

    def __init__(self, x: Any, key: Any) -> None:
        self._x = x
        self._key = key

    def get(
        self,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        fill_value: Any = None,
    ) -> Any:
        """`x[key]`; with `mode="fill"`, `fill_value` (NaN, or 0 of integers) out of range."""
        chosen, inside = _bounded(self._x, self._key, mode)
        found = chosen.read(self._x)
        if inside is None:
            return found
        missing = np.nan if found.dtype.kind in "fc" else 0
        value = missing if fill_value is None else fill_value
        return astype(choose(inside, found, value), found.dtype)

    def set(self, values: Any, **hints: Any) -> Any:
        """A copy with `values` there."""
        return self._updated(_replaced, values, hints)

    def add(self, values: Any, **hints: Any) -> Any:
        """A copy with `values` added there."""
        return self._updated(_added, values, hints)

    def subtract(self, values: Any, **hints: Any) -> Any:
        """A copy with `values` subtracted there."""
        return self._updated(_added, -astype(as_operand(values), self._x.dtype), hints)

    def multiply(self, values: Any, **hints: Any) -> Any:
        """A copy multiplied by `values` there."""
        return self._updated(_combining(SCATTER_PROD, multiply), values, hints)

    mul = multiply

    def divide(self, values: Any, **hints: Any) -> Any:
        """A copy divided by `values` there."""
        return self._updated(_combining(SCATTER_PROD, divide), values, hints)

    def power(self, values: Any, **hints: Any) -> Any:
        """A copy raised to `values` there."""
        return self._updated(_combining(SCATTER_PROD, power), values, hints)

    def min(self, values: Any, **hints: Any) -> Any:
        """A copy with the smaller of what is there and `values`."""
        return self._updated(_combining(SCATTER_MIN, minimum), values, hints)

    def max(self, values: Any, **hints: Any) -> Any:
        """A copy with the larger of what is there and `values`."""
        return self._updated(_combining(SCATTER_MAX, maximum), values, hints)

    def apply(self, function: Callable[[Any], Any], **hints: Any) -> Any:
        """A copy with `function(x[key])` there."""
        return self.set(function(self.get()), **hints)

    def _updated(self, update: Callable[..., Any], values: Any, hints: dict[str, Any]) -> Any:
        x = self._x
        chosen, inside = _bounded(x, self._key, **_checked(hints))
        given = as_operand(values)
        if given.dtype != x.dtype:
            given = astype(given, x.dtype)
        if tuple(given.shape) != chosen.shape:
            given = _fitted(given, chosen.shape)
        region = update(chosen, chosen.region(x), given, inside)
        return _put_back(x, chosen, astype(region, x.dtype))


def _checked(hints: dict[str, Any]) -> dict[str, Any]:
    known = {"indices_are_sorted", "unique_indices", "mode"}
    if not set(hints) <= known:
        raise TypeError(f"an update takes {', '.join(sorted(known))}, not {', '.join(hints)}")
    return {"mode": hints.get("mode")}


def _fitted(values: Any, shape: tuple[int, ...]) -> Any:
    """NumPy's rule of assignment: broadcast, and extra leading axes of size one are dropped."""
    extra = max(values.ndim - len(shape), 0)
    if all(n == 1 for n in values.shape[:extra]):
        values = reshape(values, tuple(values.shape[extra:]))
    return broadcast_to(values, shape)


def _bounded(x: Any, key: Any, mode: str | None) -> tuple[Selection, Any]:
    """The selection, and where its indices are in range, which `mode` may leave open."""
    chosen = selection(x, key)
    if mode is None or mode in ("raise", "promise_in_bounds"):
        return chosen, None
    if mode not in _MODES:
        raise wrong_shape(f"an update mode {mode!r}", f"use one of {', '.join(_MODES)}")
    inside: Any = None
    moved = []
    for axis, index in zip(chosen.axes, chosen.indices, strict=True):
        size = chosen.kept[axis]
        if mode == "wrap":
            moved.append(index % max(size, 1))
            continue
        index = choose(index < 0, index + size, index) if mode != "clip" else index
        if mode != "clip":
            good = (index >= 0) & (index < size)
            inside = good if inside is None else inside & good
        moved.append(minimum(maximum(index, 0), max(size - 1, 0)))
    chosen = replace(chosen, indices=tuple(moved))
    return chosen, None if inside is None else _over_rest(inside, chosen)


def _over_rest(inside: Any, chosen: Selection) -> Any:
    """A mask of the indices, shaped so that it broadcasts with the result."""
    after = len(chosen.shape) - (chosen.before or 0) - chosen.front
    inside = broadcast_to(inside, chosen.shape[chosen.before or 0 :][: chosen.front])
    return reshape(inside, (*inside.shape, *(1,) * after))


# ---- the region of the slice, updated


def _first(values: Any, chosen: Selection) -> Any:
    """Values in the shape of the result, the axes of the indices moved to the front."""
    if not chosen.before:
        return values
    places = tuple(range(chosen.front))
    return moveaxis(values, tuple(chosen.before + i for i in places), places)


def _scattered(row: Op, chosen: Selection, values: Any) -> Any:
    moved = _first(values, chosen)
    return apply(row, moved, *chosen.indices, axes=chosen.axes, shape=chosen.kept)


def _added(chosen: Selection, region: Any, values: Any, inside: Any) -> Any:
    if inside is not None:
        values = choose(inside, values, 0)
    return region + (_scattered(SCATTER, chosen, values) if chosen.indices else values)


def _combining(row: Op, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(region, v)`, where `row` makes one `v` of all updates of an element."""
    neutral = OPS[row.factors[1]].identity
    assert neutral is not None

    def update(chosen: Selection, region: Any, values: Any, inside: Any) -> Any:
        if inside is not None:
            values = choose(inside, values, neutral(region.dtype.name))
        if not chosen.indices:
            return function(region, values)
        once = _scattered(row, chosen, values)
        if row is SCATTER_PROD and function is not multiply:
            named = _winners(chosen, None) > 0
            wide = _beside_rest(named, chosen)
            return choose(wide, function(region, choose(wide, once, 1)), region)
        return function(region, once)

    return update


def _replaced(chosen: Selection, region: Any, values: Any, inside: Any) -> Any:
    if not chosen.indices:
        return values
    winner = _winners(chosen, inside)
    moved = _first(values, chosen)
    count = int(np.prod(moved.shape[: chosen.front], dtype=np.int64))
    if not count:
        return region
    listed = reshape(moved, (count, *moved.shape[chosen.front :]))
    found = read(listed, (maximum(winner, 1) - 1,), (0,))
    found = moveaxis(found, tuple(range(winner.ndim)), chosen.axes)
    return choose(_beside_rest(winner > 0, chosen), found, region)


def _winners(chosen: Selection, inside: Any) -> Any:
    """For every element of the indexed axes, the number (from 1) of its last update, or less."""
    front = np.broadcast_shapes(*(tuple(i.shape) for i in chosen.indices))
    numbers: Any = np.arange(1, 1 + int(np.prod(front, dtype=np.int64))).reshape(front)
    if inside is not None:
        numbers = choose(reshape(inside, front), numbers, 0)
    sizes = tuple(chosen.kept[a] for a in chosen.axes)
    axes = tuple(range(len(sizes)))
    return apply(SCATTER_MAX, numbers, *chosen.indices, axes=axes, shape=sizes)


def _beside_rest(mask: Any, chosen: Selection) -> Any:
    """A mask over the indexed axes, shaped so that it broadcasts with the region."""
    rest = tuple(i for i in range(len(chosen.kept)) if i not in chosen.axes)
    return expand_dims(mask, rest)


def _put_back(x: Any, chosen: Selection, region: Any) -> Any:
    """`x` with another region in place of the slice."""
    piece = reshape(region, chosen.size)
    if chosen.whole(x):
        return piece
    spread = {"start": chosen.start, "step": chosen.step, "shape": tuple(x.shape)}
    inside = apply(PLACE, ones_like(piece, "bool"), **spread)
    return choose(inside, apply(PLACE, piece, **spread), x)
