"""NumPy's square brackets: a key made into one selection, which reads, and which updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradloom.errors import DtypeError, RangeError, TracingError, message, user_where
from gradloom.frontend.record import Record
from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.ops.gather import GATHER, SCATTER, read
from gradloom.ops.move import moveaxis, reshape, take_slice
from gradloom.ops.public import as_operand, public

__all__ = ["GATHER", "SCATTER", "Selection", "getitem", "indices_of", "selection"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Selection:
    """What `x[key]` chooses: a slice of every axis, seen under the shape `kept`, of which then the
    axes `axes` are read at `indices`.

    `before` is where in the result the axes of the indices stand; None: first.
    """

    start: Shape
    step: Shape
    size: Shape
    kept: Shape
    axes: Shape
    indices: tuple[Any, ...]
    before: int | None

    @property
    def front(self) -> int:
        """How many axes of the result the indices make."""
        return max((i.ndim for i in self.indices), default=0)

    @property
    def shape(self) -> Shape:
        """The shape of the result."""
        if not self.indices:
            return self.kept
        front = np.broadcast_shapes(*(tuple(i.shape) for i in self.indices))
        rest = tuple(n for i, n in enumerate(self.kept) if i not in self.axes)
        at = self.before or 0
        return rest[:at] + front + rest[at:]

    def region(self, x: Any) -> Any:
        """The slice, under the shape `kept`."""
        return reshape(take_slice(x, self.start, self.step, self.size), self.kept)

    def whole(self, x: Any) -> bool:
        """Whether the slice is all of `x`, in order."""
        return self.size == tuple(x.shape) and all(k == 1 for k in self.step)

    def read(self, x: Any) -> Any:
        """`x[key]`."""
        out = self.region(x)
        if not self.indices:
            return out
        out = read(out, self.indices, self.axes)
        if not self.before:
            return out
        places = tuple(range(self.front))
        return moveaxis(out, places, tuple(self.before + i for i in places))


@public()
def getitem(x: Any, key: Any) -> Any:
    """NumPy's `x[key]`: slices, integers, None, Ellipsis, masks, and integer arrays."""
    x = as_operand(x)
    if not isinstance(x, Tensor) and not _any_traced(key):
        return x[key]
    return selection(x, key).read(x)


def _any_traced(key: Any) -> bool:
    if isinstance(key, tuple | list):
        return any(map(_any_traced, key))
    if isinstance(key, slice):
        return any(isinstance(part, Tensor) for part in (key.start, key.stop, key.step))
    return isinstance(key, Tensor)


def selection(x: Any, key: Any) -> Selection:
    """The selection that `x[key]` means."""
    keys = _expanded(key if isinstance(key, tuple) else (key,), x)
    start: list[int] = []
    step: list[int] = []
    size: list[int] = []
    kept: list[int] = []
    arrays: list[tuple[int, Any]] = []
    chosen: list[tuple[int, int]] = []  # integers and arrays: place among the keys, axes before
    axis = 0
    for place, item in enumerate(keys):
        if item is None or isinstance(item, bool):
            if item is not None:
                chosen.append((place, len(kept)))
                arrays.append((len(kept), np.zeros(int(item), "int64")))
            kept.append(1)
            continue
        whole = x.shape[axis]
        if isinstance(item, slice):
            first, stop, stride = _bounds(item, whole)
            count = len(range(first, stop, stride))
            kept.append(count)
        elif isinstance(item, int | np.integer):
            first, stride, count = _in_range(int(item), whole, axis, x), 1, 1
            chosen.append((place, len(kept)))
        else:
            chosen.append((place, len(kept)))
            arrays.append((len(kept), item))
            first, stride, count = 0, 1, whole
            kept.append(whole)
        start.append(first if count else 0)
        step.append(stride)
        size.append(count)
        axis += 1
    axes = tuple(i for i, _ in arrays)
    indices = tuple(indices_of(values) for _, values in arrays)
    _check_broadcast(indices)
    before = _place_of(chosen) if arrays else None
    return Selection(tuple(start), tuple(step), tuple(size), tuple(kept), axes, indices, before)


def _place_of(chosen: list[tuple[int, int]]) -> int | None:
    """The axes of the indices stand first, or, where all that were chosen by integers or arrays are
    neighbours, in the place of these."""
    (first, before), (last, _) = chosen[0], chosen[-1]
    return None if last - first >= len(chosen) else before


def _check_broadcast(indices: tuple[Any, ...]) -> None:
    shapes = [tuple(i.shape) for i in indices]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        shown = ", ".join(map(str, shapes))
        raise _outside(
            f"indices of shapes {shown} do not broadcast",
            "give all arrays one shape, or use gnp.ix_",
        ) from None


def _bounds(item: slice, whole: int) -> tuple[int, int, int]:
    if any(isinstance(part, Tensor) for part in (item.start, item.stop, item.step)):
        raise TracingError(
            message(
                "a slice with a traced bound has a size that is not known yet",
                user_where(),
                "use gl.dynamic_slice(x, starts, sizes), or gl.dynamic_update_slice to write",
            )
        )
    return item.indices(whole)


def indices_of(values: Any) -> Any:
    """An operand of integers; the error of anything else says what to write."""
    found = as_operand(values)
    if not isinstance(found, Tensor) and (found.dtype.kind in "iu" or not found.size):
        return found.astype("int64", copy=False)
    if found.dtype.kind in "iu":
        return found
    if found.dtype == "bool":
        raise TracingError(
            message(
                "a traced mask selects a number of elements that is not known yet",
                user_where(),
                "use gnp.where(mask, x, 0), or say how many there can be:"
                " x[gnp.nonzero(mask, size=n)]",
            )
        )
    raise DtypeError(
        message(f"an index of dtype {found.dtype}", user_where(), "index with integers or slices")
    )


def _expanded(keys: tuple[Any, ...], x: Any) -> list[Any]:
    """One item an axis of `x`: masks as index arrays, the ellipsis as slices."""
    arrays = [_known(k) for k in keys]
    spans = [_span(key) for key in arrays]
    used = sum(spans)
    if used > x.ndim:
        raise _outside(f"{used} indices for a value of shape {tuple(x.shape)}", "drop some")
    places = [i for i, key in enumerate(arrays) if key is Ellipsis]
    if len(places) > 1:
        raise _outside("an index with two ellipses", "only one can fill up the axes")
    place = places[0] if places else len(arrays)
    items: list[Any] = []
    axis = 0
    for i, (key, span) in enumerate(zip(arrays, spans, strict=True)):
        if i == place:
            items += [slice(None)] * (x.ndim - used)
            axis += x.ndim - used
        elif _is_mask(key):
            items += _unmasked(key, axis, x)
        else:
            items.append(key)
        axis += span
    return items if places else items + [slice(None)] * (x.ndim - used)


def _known(key: Any) -> Any:
    """Lists as arrays, and the values of a taped mask, which are there already."""
    if isinstance(key, list):
        return FUNCTIONS["asarray"](key)
    if isinstance(key, Tensor) and isinstance(key.node, Record) and key.dtype == bool:
        value = key.node.value
        return _known(value) if isinstance(value, Tensor) else np.asarray(value)
    return key


def _is_mask(key: Any) -> bool:
    return isinstance(key, bool | np.bool_) or (isinstance(key, np.ndarray) and key.dtype == bool)


def _span(key: Any) -> int:
    """How many axes an index item stands for."""
    if key is None or key is Ellipsis:
        return 0
    return np.ndim(key) if _is_mask(key) else 1


def _unmasked(mask: Any, axis: int, x: Any) -> list[Any]:
    """A mask whose values are known, as arrays of integers."""
    if np.ndim(mask) == 0:
        return [bool(mask)]
    covered = tuple(x.shape[axis : axis + np.ndim(mask)])
    if np.shape(mask) != covered:
        raise _outside(
            f"a mask of shape {np.shape(mask)} on axes of shape {covered}",
            "a mask has the shape of the axes that it selects from",
        )
    return list(np.nonzero(mask))


def _outside(what: str, repair: str) -> RangeError:
    return RangeError(message(what, user_where(), repair))


def _in_range(item: int, size: int, axis: int, x: Any) -> int:
    if not -size <= item < size:
        raise _outside(
            f"index {item} is out of bounds for axis {axis} of shape {tuple(x.shape)}",
            f"use an index from {-size} to {size - 1}" if size else "the axis is empty",
        )
    return item % size
