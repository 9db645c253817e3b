"""Arrays put together, cut up, repeated and shifted: functions written with moves and joins."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.ops.elementwise import minimum
from gradloom.ops.join import concatenate
from gradloom.ops.move import (
    between,
    broadcast_to,
    expand_dims,
    flip,
    moveaxis,
    reshape,
    squeeze,
    transpose,
)
from gradloom.ops.picking import take
from gradloom.ops.public import as_operand, normal_axis, public, sizes_of, unknown_size, wrong_shape
from gradloom.ops.reduce import sum_
from gradloom.ops.shapes import at_least, ndim, shape

# ---- putting together


@public(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Rows, or stacks of rows, one below the other."""
    return concatenate([at_least(p, 2) for p in tup], 0, dtype=dtype)


@public(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Pieces side by side: along the only axis of vectors, else along the second."""
    parts = [at_least(p, 1) for p in tup]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1, dtype=dtype)


@public(np.dstack)
def dstack(tup: Any) -> Any:
    """Pieces one behind the other, along the third axis."""
    return concatenate([_deep(p) for p in tup], 2)


@public(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    """Arrays with three axes at least: vectors in the middle, matrices first."""
    made = tuple(_deep(a) for a in arys)
    return made[0] if len(made) == 1 else made


def _deep(x: Any) -> Any:
    x = at_least(x, 2)
    return expand_dims(x, 2) if x.ndim == 2 else x


@public(np.column_stack)
def column_stack(tup: Any) -> Any:
    """Vectors as the columns of a matrix; matrices side by side."""
    parts = [at_least(p, 1) for p in tup]
    return concatenate([expand_dims(p, 1) if p.ndim == 1 else p for p in parts], 1)


@public(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    """`values` after `arr` along `axis`; both flattened if it is None."""
    return concatenate([arr, values], axis)


@public(np.block)
def block(arrays: Any) -> Any:
    """An array of blocks: the innermost lists along the last axis, those of lists before it.

    >>> import gradloom.numpy as gnp
    >>> gnp.block([[gnp.eye(1), gnp.zeros((1, 1))], [gnp.ones((1, 2))]])
    array([[1., 0.],
           [1., 1.]])
    """
    depth = _depth(arrays)
    axes = max(depth, *(p.ndim for p in _leaves(arrays)), 0)
    return _joined(arrays, depth, axes)


def _depth(blocks: Any) -> int:
    if not isinstance(blocks, list):
        return 0
    depths = {_depth(b) for b in blocks}
    if len(depths) != 1:
        raise wrong_shape("blocks of uneven depth", "nest all lists equally deep, and none empty")
    return 1 + depths.pop()


def _leaves(blocks: Any) -> list[Any]:
    if not isinstance(blocks, list):
        return [as_operand(blocks)]
    return [leaf for b in blocks for leaf in _leaves(b)]


def _joined(blocks: Any, depth: int, axes: int) -> Any:
    if not depth:
        return at_least(blocks, axes)
    return concatenate([_joined(b, depth - 1, axes) for b in blocks], axes - depth)


@public(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The pieces along an axis, which they lack."""
    x = as_operand(x)
    if not x.ndim:
        raise wrong_shape("a 0-d value has no axis to unstack", "it is one number")
    along = normal_axis(axis, x.ndim)
    return tuple(squeeze(between(x, along, i, i + 1), along) for i in range(x.shape[along]))


# ---- cutting


@public(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Pieces along an axis: so many, as even as can be, or cut before each index of a list.

    >>> import gradloom.numpy as gnp, numpy as np
    >>> [piece.shape for piece in gnp.array_split(np.zeros(7), 3)]
    [(3,), (2,), (2,)]
    """
    x, sections = as_operand(ary), indices_or_sections
    along = normal_axis(axis, x.ndim)
    whole = x.shape[along]
    if isinstance(sections, int | np.integer):
        if sections < 1:
            raise wrong_shape(f"{sections} pieces of an axis", "ask for one piece or more")
        each, more = divmod(whole, int(sections))
        cuts = [each * i + min(i, more) for i in range(1, int(sections))]
    else:
        cuts = [slice(None, int(c)).indices(whole)[1] for c in sections]
    return [
        between(x, along, low, max(low, high))
        for low, high in zip([0, *cuts], [*cuts, whole], strict=True)
    ]


@public(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """`array_split` into equal pieces; `ShapeError` if they cannot be equal."""
    sections = indices_or_sections
    whole = shape(ary)[normal_axis(axis, ndim(ary))]
    if isinstance(sections, int | np.integer) and sections > 0 and whole % int(sections):
        raise wrong_shape(
            f"an axis of {whole} does not split into {sections} equal pieces", "use gnp.array_split"
        )
    return array_split(ary, sections, axis)


def _splitting(name: str, axis: int, least: int) -> Callable[..., Any]:
    def function(ary: Any, indices_or_sections: Any) -> list[Any]:
        if ndim(ary) < least:
            raise wrong_shape(f"{name} of {ndim(ary)} dimensions", f"it takes {least} or more")
        return split(ary, indices_or_sections, min(axis, ndim(ary) - 1))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`split` along axis {axis}{', the only one of vectors' * (least == 1)}."
    return function


vsplit = public(np.vsplit)(_splitting("vsplit", 0, 2))
hsplit = public(np.hsplit)(_splitting("hsplit", 1, 1))
dsplit = public(np.dsplit)(_splitting("dsplit", 2, 3))


@public(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    """`arr` without the elements at `obj` (a number, a slice, numbers, a mask), known here."""
    x, along = _flat_or_along(arr, axis)
    whole = x.shape[along]
    kept = np.ones(whole, bool)
    key = obj if isinstance(obj, slice) else _static(obj, "delete")
    kept[key] = False
    return take(x, np.flatnonzero(kept), along)


@public(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    """`arr` with `values` before the places `obj` (a number, a slice, numbers), known here.

    >>> import gradloom.numpy as gnp
    >>> gnp.insert([1, 2, 3], 1, 7)
    array([1, 7, 2, 3])
    """
    x, along = _flat_or_along(arr, axis)
    whole = x.shape[along]
    if isinstance(obj, slice):
        key = np.arange(*obj.indices(whole))
    else:
        key = _static(obj, "insert")
        key = np.flatnonzero(key) if key.dtype == bool else key
    new = as_operand(values)
    if new.dtype != x.dtype:
        new = new.astype(x.dtype)
    places = np.atleast_1d(np.where(key < 0, key + whole, key)).astype("int64")
    if np.any((places < 0) | (places > whole)):
        raise wrong_shape(f"insert at {obj} in an axis of {whole}", "stay inside of the axis")
    new = at_least(new, x.ndim)
    if key.ndim == 0:  # one slice, which lacks the axis
        new = moveaxis(new, 0, along)
    if places.size == 1:  # as many new places as there are values
        places = np.repeat(places, new.shape[along])
    size = tuple(len(places) if i == along else n for i, n in enumerate(x.shape))
    pieces = concatenate([x, broadcast_to(new, size)], along)
    order = np.argsort(np.concatenate([np.arange(whole) * 2 + 1, places * 2]), kind="stable")
    return take(pieces, order, along)


def _flat_or_along(arr: Any, axis: Any) -> tuple[Any, int]:
    x = as_operand(arr)
    return (reshape(x, x.size), 0) if axis is None else (x, normal_axis(axis, x.ndim))


def _static(values: Any, name: str) -> np.ndarray:
    if isinstance(values, Tensor):
        raise wrong_shape(
            f"gnp.{name} at a traced place", "give places that are known: numbers, lists, arrays"
        )
    found = np.asarray(values)
    return found if found.size else found.astype("int64")


# ---- repeating and shifting


@public(np.tile)
def tile(A: Any, reps: Any) -> Any:  # noqa: N803  (NumPy's name)
    """`A` repeated as a whole, `reps` times along each axis.

    >>> import gradloom.numpy as gnp
    >>> gnp.tile([1, 2], 2)
    array([1, 2, 1, 2])
    """
    times = (int(reps),) if isinstance(reps, int | np.integer) else tuple(int(r) for r in reps)
    x = at_least(A, len(times))
    times = (*(1,) * (x.ndim - len(times)), *times)
    apart = reshape(x, tuple(n for size in x.shape for n in (1, size)))
    pairs = tuple(zip(times, x.shape, strict=True))
    wide = broadcast_to(apart, tuple(n for pair in pairs for n in pair))
    return reshape(wide, tuple(r * n for r, n in pairs))


@public(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None, *, total_repeat_length: Any = None) -> Any:
    """Every element `repeats` times in a row along `axis`; a list says how often each.

    Traced `repeats` need JAX's `total_repeat_length`: what goes over it is cut off, and the last
    element fills what is left.
    """
    x, along = _flat_or_along(a, axis)
    if isinstance(repeats, Tensor):
        return _repeat_traced(x, repeats, along, total_repeat_length)
    times = np.asarray(repeats)
    if times.size != 1:
        if times.shape != (x.shape[along],):
            raise wrong_shape(f"{times.size} repeats of {x.shape[along]}", "give one an element")
        return take(x, np.repeat(np.arange(x.shape[along]), times), along)
    count = int(times.reshape(()))
    wide = broadcast_to(
        expand_dims(x, along + 1), (*x.shape[: along + 1], count, *x.shape[along + 1 :])
    )
    return reshape(wide, (*x.shape[:along], x.shape[along] * count, *x.shape[along + 1 :]))


def _repeat_traced(x: Any, repeats: Any, along: int, total: Any) -> Any:
    if total is None:
        raise unknown_size("repeat by traced counts", "gnp.repeat(x, n, total_repeat_length=k)")
    size = x.shape[along]
    ends = FUNCTIONS["cumsum"](broadcast_to(repeats, (size,)), 0)
    passed = expand_dims(np.arange(total), 1) >= expand_dims(ends, 0)
    at = sum_(passed, 1)
    return take(x, minimum(at, size - 1), along)


@public(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Elements moved along an axis, from its end to its start; of all in a row if it is None.

    The shift may be traced.

    >>> import gradloom.numpy as gnp
    >>> gnp.roll([1, 2, 3, 4], 1)
    array([4, 1, 2, 3])
    """
    x = as_operand(a)
    if axis is None:
        return reshape(roll(reshape(x, x.size), shift, 0), tuple(x.shape))
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    shifts = shift if isinstance(shift, tuple | list) else (shift,) * len(axes)
    if len(shifts) == 1:
        shifts = (*shifts,) * len(axes)
    for by, along in zip(shifts, (normal_axis(i, x.ndim) for i in axes), strict=True):
        x = _rolled(x, by, along)
    return x


def _rolled(x: Any, by: Any, along: int) -> Any:
    whole = x.shape[along]
    if isinstance(by, Tensor):
        return take(x, (np.arange(whole) - by) % max(whole, 1), along)
    cut = (whole - int(by)) % whole if whole else 0
    if not cut:
        return x
    return concatenate([between(x, along, cut, whole), between(x, along, 0, cut)], along)


@public(np.flipud)
def flipud(m: Any) -> Any:
    """Rows in reverse order."""
    return flip(m, 0)


@public(np.fliplr)
def fliplr(m: Any) -> Any:
    """Columns in reverse order."""
    return flip(m, 1)


@public(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """A plane of two axes turned by `k` right angles, from the first axis towards the second."""
    x = as_operand(m)
    first, second = (normal_axis(a, x.ndim) for a in axes)
    if first == second:
        raise wrong_shape(f"a rotation in the axes {tuple(axes)}", "name two different axes")
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return {
        0: lambda: x,
        1: lambda: transpose(flip(x, second), tuple(order)),
        2: lambda: flip(x, (first, second)),
        3: lambda: flip(transpose(x, tuple(order)), second),
    }[k % 4]()


@public(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """The elements in a row, repeated and cut to fill `new_shape`; zeros if there are none."""
    x = as_operand(a)
    sizes = sizes_of(new_shape)
    count = math.prod(sizes)
    if not x.size:
        return np.zeros(sizes, x.dtype)
    flat = tile(reshape(x, x.size), -(-count // x.size))
    return reshape(between(flat, 0, 0, count), sizes)
