"""Arrays put together, cut up and shifted: functions written with moves and joins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import type_of
from gradloom.ops.composite import zeros_like
from gradloom.ops.elementwise import astype, where
from gradloom.ops.join import concatenate, index_along, stack
from gradloom.ops.move import broadcast_to, expand_dims, flip, reshape, take_slice
from gradloom.ops.public import as_operand, dtype_name, normal_axis, public, wrong_shape

# ---- known before the values are


@public(np.shape)
def shape(x: Any) -> tuple[int, ...]:
    """The sizes of the axes."""
    return tuple(as_operand(x).shape)


@public(np.ndim)
def ndim(x: Any) -> int:
    """The number of axes."""
    return len(shape(x))


@public(np.size)
def size(x: Any, axis: Any = None) -> int:
    """The number of elements, or the size of one axis."""
    return math.prod(shape(x)) if axis is None else shape(x)[normal_axis(axis, ndim(x))]


@public(np.result_type)
def result_type(*operands: Any) -> np.dtype[Any]:
    """The dtype that NumPy's promotion ends in, for arrays, dtypes and Python numbers."""
    return np.result_type(
        *(np.dtype(type_of(o).dtype) if isinstance(o, Tensor) else o for o in operands)
    )


# ---- making


def _holds_traced(values: Any) -> bool:
    return isinstance(values, Tensor) or (
        isinstance(values, list | tuple) and any(map(_holds_traced, values))
    )


@public()
def array(values: Any, dtype: Any = None) -> Any:
    """A new array of nested lists; with traced values among them, a traced one.

    >>> import gradloom as gl, gradloom.numpy as gnp
    >>> gl.jit(lambda a, b: gnp.array([[a, b], [b, a]]))(1.0, 2.0)
    array([[1., 2.],
           [2., 1.]])
    """
    if not _holds_traced(values):
        return np.array(values, dtype)
    made = Tensor(values.node) if isinstance(values, Tensor) else stack([array(v) for v in values])
    return made if dtype is None else astype(made, dtype)


@public()
def asarray(values: Any, dtype: Any = None) -> Any:
    """`values` as they are if they are an array or traced, else an array of them."""
    return array(values, dtype) if _holds_traced(values) else np.asarray(values, dtype)


@public(np.copy)
def copy(x: Any) -> Any:
    """`x` itself if it is traced, since nothing can change it; else a copy."""
    return x if isinstance(x, Tensor) else np.array(x)


@public()
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of one value, which may be traced."""
    if not isinstance(fill_value, Tensor):
        return np.full(shape, fill_value, None if dtype is None else dtype_name(dtype))
    return broadcast_to(fill_value if dtype is None else astype(fill_value, dtype), shape)


@public(np.empty_like)
def empty_like(x: Any, dtype: Any = None) -> Any:
    """Zeros in the shape of `x`: nothing is left to chance."""
    return zeros_like(x, dtype)


@public(np.linspace)
def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True) -> Any:
    """`num` values in equal steps from `start` to `stop`, on a new first axis.

    >>> import gradloom as gl, gradloom.numpy as gnp
    >>> gl.jit(lambda top: gnp.linspace(0.0, top, 3))(1.0)
    array([0. , 0.5, 1. ])
    """
    if not isinstance(start, Tensor) and not isinstance(stop, Tensor):
        return np.linspace(start, stop, num, endpoint)
    start, stop = as_operand(start) * 1.0, as_operand(stop) * 1.0
    span = stop - start
    steps = np.linspace(0.0, 1.0, num, endpoint).astype(span.dtype)
    return start + span * reshape(steps, (num, *(1,) * span.ndim))


@public(np.meshgrid)
def meshgrid(*axes: Any, indexing: str = "xy") -> list[Any]:
    """The coordinates of a grid: every vector spread along the axes of all others."""
    vectors = [reshape(as_operand(a), -1) for a in axes]
    order = [1, 0, *range(2, len(axes))] if indexing == "xy" and len(axes) > 1 else range(len(axes))
    place = list(order)
    whole = tuple(vectors[i].shape[0] for i in place)
    return [
        broadcast_to(reshape(v, tuple(-1 if p == i else 1 for p in place)), whole)
        for i, v in enumerate(vectors)
    ]


# ---- more axes


def _at_least(x: Any, least: int) -> Any:
    x = as_operand(x)
    return x if x.ndim >= least else expand_dims(x, tuple(range(least - x.ndim)))


@public(np.atleast_1d)
def atleast_1d(x: Any) -> Any:
    """`x` with one axis at least."""
    return _at_least(x, 1)


@public(np.atleast_2d)
def atleast_2d(x: Any) -> Any:
    """`x` with two axes at least, new ones first."""
    return _at_least(x, 2)


@public(np.vstack)
def vstack(pieces: Any) -> Any:
    """Rows, or stacks of rows, one below the other."""
    return concatenate([_at_least(p, 2) for p in pieces], 0)


@public(np.hstack)
def hstack(pieces: Any) -> Any:
    """Pieces side by side: along the only axis of vectors, else along the second."""
    parts = [_at_least(p, 1) for p in pieces]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1)


@public(np.column_stack)
def column_stack(pieces: Any) -> Any:
    """Vectors as the columns of a matrix; matrices side by side."""
    parts = [_at_least(p, 1) for p in pieces]
    return concatenate([expand_dims(p, 1) if p.ndim == 1 else p for p in parts], 1)


@public(np.append)
def append(x: Any, values: Any, axis: Any = None) -> Any:
    """`values` after `x` along `axis`; both flattened if it is None."""
    return concatenate([x, values], axis)


# ---- cutting


@public(np.array_split)
def array_split(x: Any, sections: Any, axis: int = 0) -> list[Any]:
    """Pieces along an axis: so many, as even as can be, or cut before each index of a list.

    >>> import gradloom.numpy as gnp, numpy as np
    >>> [piece.shape for piece in gnp.array_split(np.zeros(7), 3)]
    [(3,), (2,), (2,)]
    """
    x = as_operand(x)
    along = normal_axis(axis, x.ndim)
    whole = x.shape[along]
    if isinstance(sections, int | np.integer):
        each, more = divmod(whole, int(sections))
        cuts = [each * i + min(i, more) for i in range(1, int(sections))]
    else:
        cuts = [slice(None, int(c)).indices(whole)[1] for c in sections]
    return [
        _between(x, along, low, max(low, high))
        for low, high in zip([0, *cuts], [*cuts, whole], strict=True)
    ]


@public(np.split)
def split(x: Any, sections: Any, axis: int = 0) -> list[Any]:
    """`array_split` into equal pieces; `ShapeError` if they cannot be equal."""
    whole = shape(x)[normal_axis(axis, ndim(x))]
    if isinstance(sections, int | np.integer) and whole % int(sections):
        raise wrong_shape(
            f"an axis of {whole} does not split into {sections} equal pieces", "use gnp.array_split"
        )
    return array_split(x, sections, axis)


def _between(x: Any, axis: int, low: int, high: int) -> Any:
    start = tuple(low if i == axis else 0 for i in range(x.ndim))
    count = tuple(high - low if i == axis else n for i, n in enumerate(x.shape))
    return take_slice(x, start, (1,) * x.ndim, count)


def _triangle(x: Any, k: int, upper: bool) -> Any:
    x = as_operand(x)
    if x.ndim < 2:
        raise wrong_shape(f"a triangle of {tuple(x.shape)}", "it takes a matrix, or more axes")
    rows, columns = index_along(x, x.ndim - 2), index_along(x, x.ndim - 1)
    return where(columns >= rows + k if upper else columns <= rows + k, x, 0)


@public(np.tril)
def tril(x: Any, k: int = 0) -> Any:
    """The lower triangle of matrices, zero above the `k`-th diagonal."""
    return _triangle(x, k, upper=False)


@public(np.triu)
def triu(x: Any, k: int = 0) -> Any:
    """The upper triangle of matrices, zero below the `k`-th diagonal."""
    return _triangle(x, k, upper=True)


# ---- repeating and shifting


@public(np.tile)
def tile(x: Any, reps: Any) -> Any:
    """`x` repeated as a whole, `reps` times along each axis.

    >>> import gradloom.numpy as gnp
    >>> gnp.tile([1, 2], 2)
    array([1, 2, 1, 2])
    """
    times = (int(reps),) if isinstance(reps, int | np.integer) else tuple(int(r) for r in reps)
    x = _at_least(x, len(times))
    times = (*(1,) * (x.ndim - len(times)), *times)
    apart = reshape(x, tuple(n for size in x.shape for n in (1, size)))
    pairs = tuple(zip(times, x.shape, strict=True))
    wide = broadcast_to(apart, tuple(n for pair in pairs for n in pair))
    return reshape(wide, tuple(r * n for r, n in pairs))


@public(np.roll)
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Elements moved along an axis, from its end to its start; of all in a row if it is None.

    >>> import gradloom.numpy as gnp
    >>> gnp.roll([1, 2, 3, 4], 1)
    array([4, 1, 2, 3])
    """
    x = as_operand(x)
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), tuple(x.shape))
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    shifts = shift if isinstance(shift, tuple | list) else (shift,) * len(axes)
    for by, along in zip(shifts, (normal_axis(a, x.ndim) for a in axes), strict=True):
        whole = x.shape[along]
        cut = (whole - by) % whole if whole else 0
        if cut:
            x = concatenate([_between(x, along, cut, whole), _between(x, along, 0, cut)], along)
    return x


@public(np.flipud)
def flipud(x: Any) -> Any:
    """Rows in reverse order."""
    return flip(x, 0)


@public(np.fliplr)
def fliplr(x: Any) -> Any:
    """Columns in reverse order."""
    return flip(x, 1)


@public(np.diff)
def diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    """Differences of neighbours along an axis, `n` times over.

    >>> import gradloom.numpy as gnp
    >>> gnp.diff([1.0, 4.0, 9.0])
    array([3., 5.])
    """
    x = as_operand(x)
    along = normal_axis(axis, x.ndim)
    for _ in range(n):
        whole = x.shape[along]
        low = _between(x, along, 0, max(whole - 1, 0))
        high = _between(x, along, min(1, whole), whole)
        x = (high != low) if x.dtype == bool else high - low
    return x
