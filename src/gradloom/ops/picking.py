"""Reading and writing along axes at places that are values, and slices that begin anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.frontend.trace import Trace, current
from gradloom.ir.node import Node
from gradloom.ir.source import IOTA
from gradloom.ops.elementwise import astype, maximum, minimum
from gradloom.ops.elementwise import where as choose
from gradloom.ops.gather import read
from gradloom.ops.indexing import indices_of
from gradloom.ops.move import expand_dims, moveaxis, reshape, take_slice
from gradloom.ops.public import as_operand, normal_axis, public, refuse_out, sizes_of, wrong_shape


def bounded(indices: Any, size: int, mode: str) -> Any:
    """Indices as NumPy's `mode` of `take` has them: "raise" as they are, "wrap" or "clip"."""
    if mode == "wrap":
        return indices % size if size else indices
    if mode == "clip":
        return minimum(maximum(indices, 0), size - 1)
    if mode != "raise":
        raise wrong_shape(f"an index mode {mode!r}", "use 'raise', 'wrap' or 'clip'")
    return indices


@public(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: None = None, mode: str = "raise") -> Any:
    """Elements of `a` at integer `indices` along `axis` (of all elements in a row if None).

    Negative indices count from the end.  An index out of range raises `IndexError`, or as `mode`
    says wraps around or is taken as the nearest that is in range.
    """
    refuse_out(out, "take")
    x = as_operand(a)
    if axis is None:
        x, axis = reshape(x, x.size), 0
    along = normal_axis(axis, x.ndim)
    places = bounded(indices_of(FUNCTIONS["asarray"](indices)), x.shape[along], mode)
    made = read(x, (places,), (along,))
    front = tuple(range(places.ndim))
    return moveaxis(made, front, tuple(along + i for i in front)) if along else made


@public(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    """Along `axis`, the elements that `indices` name; other axes go side by side, and broadcast."""
    x = as_operand(arr)
    if axis is None:
        x, axis = reshape(x, x.size), 0
    return read(x, _side_by_side(x, indices, normal_axis(axis, x.ndim)), tuple(range(x.ndim)))


def _side_by_side(x: Any, indices: Any, along: int) -> tuple[Any, ...]:
    """Indices of all axes: `indices` along one, and of the others every element's own."""
    places = indices_of(indices)
    rest = tuple(1 if i == along else n for i, n in enumerate(x.shape))
    if places.ndim != x.ndim:
        raise wrong_shape(
            f"indices of {places.ndim} dimensions into {x.ndim}", "give indices as many axes"
        )
    for i, (n, k) in enumerate(zip(rest, places.shape, strict=True)):
        if i != along and k != n and 1 not in (k, n):
            raise wrong_shape(
                f"indices of shape {tuple(places.shape)} do not fit {tuple(x.shape)}",
                "they must agree on every other axis, or be 1 there",
            )
    traced = isinstance(places, Tensor) or isinstance(x, Tensor)
    return tuple(
        places if i == along else _steps(n, i, x.ndim, traced) for i, n in enumerate(x.shape)
    )


def _steps(size: int, axis: int, ndim: int, traced: bool) -> Any:
    """0, 1, ... along one axis of as many as there are."""
    shape = tuple(size if i == axis else 1 for i in range(ndim))
    return np.arange(size).reshape(shape) if not traced else iota(shape, axis)


def iota(shape: tuple[int, ...], axis: int) -> Any:
    """The index along an axis, traced if a trace is being recorded."""
    if isinstance(current(), Trace):
        return apply(IOTA, shape=shape, axis=axis, dtype="int64")
    return IOTA.reference(shape, axis, "int64")


@public(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any, *, inplace: bool = True) -> Any:
    """A copy of `arr` with `values` at the places that `take_along_axis` would read.

    NumPy's changes its argument; as in JAX, `inplace=False` must be given to say that one knows.
    """
    if inplace:
        raise wrong_shape(
            "put_along_axis changes an array in place",
            "write x = gnp.put_along_axis(x, indices, values, axis, inplace=False)",
        )
    x = as_operand(arr)
    shape = tuple(x.shape)
    if axis is None:
        x, axis = reshape(x, x.size), 0
    key = _side_by_side(x, indices, normal_axis(axis, x.ndim))
    return reshape(FUNCTIONS["at"](x)[key].set(values), shape)


# ---- slices that begin anywhere


@public()
def dynamic_slice(x: Any, starts: Sequence[Any], sizes: Sequence[int]) -> Any:
    """`x[start : start + size]` along every axis, from starts that may be traced.

    `sizes` are Python numbers.  As in JAX a negative start counts from the end, and a slice that
    would leave `x` is moved back into it.

    >>> import gradloom as gl, numpy as np
    >>> gl.jit(lambda x, i: gl.dynamic_slice(x, [i], [2]))(np.arange(5.0), 3)
    array([3., 4.])
    """
    x = as_operand(x)
    lengths = sizes_of(sizes)
    begin = _starts(x, starts, lengths)
    known = [None if isinstance(s, Tensor) else int(s) for s in begin]
    start = tuple(0 if s is None else s for s in known)
    size = tuple(
        whole if s is None else n for s, n, whole in zip(known, lengths, x.shape, strict=True)
    )
    x = take_slice(x, start, (1,) * x.ndim, size)
    axes = tuple(i for i, s in enumerate(known) if s is None)
    if not axes:
        return x
    places = tuple(
        expand_dims(iota((lengths[a],), 0) + begin[a], tuple(j for j in range(len(axes)) if j != k))
        for k, a in enumerate(axes)
    )
    return moveaxis(read(x, places, axes), tuple(range(len(axes))), axes)


@public()
def dynamic_update_slice(x: Any, update: Any, starts: Sequence[Any]) -> Any:
    """A copy of `x` with `update` where `dynamic_slice(x, starts, update.shape)` reads.

    >>> import gradloom as gl, numpy as np
    >>> gl.jit(lambda x, i: gl.dynamic_update_slice(x, np.ones(2), [i]))(np.zeros(4), 1)
    array([0., 1., 1., 0.])
    """
    x, update = as_operand(x), as_operand(update)
    begin = _starts(x, starts, tuple(update.shape))
    inside: Any = True
    places = []
    for axis, (start, n) in enumerate(zip(begin, update.shape, strict=True)):
        step = _steps(x.shape[axis], axis, x.ndim, _is_traced(x, update, *begin)) - start
        inside = inside & (step >= 0) & (step < n)
        places.append(minimum(maximum(step, 0), max(n - 1, 0)))
    if not update.size or not x.ndim:
        return x if x.ndim else astype(update, x.dtype)
    found = read(astype(update, x.dtype), tuple(places), tuple(range(x.ndim)))
    return choose(inside, found, x)


def _is_traced(*values: Any) -> bool:
    return any(isinstance(v, Tensor) and isinstance(v.node, Node) for v in values)


def _starts(x: Any, starts: Any, sizes: tuple[int, ...]) -> list[Any]:
    begin = list(starts)
    if len(begin) != x.ndim or len(sizes) != x.ndim:
        raise wrong_shape(
            f"{len(begin)} starts and {len(sizes)} sizes for {x.ndim} axes", "give one an axis"
        )
    if any(n < 0 or n > whole for n, whole in zip(sizes, x.shape, strict=True)):
        raise wrong_shape(
            f"a slice of {sizes} from {tuple(x.shape)}", "a slice is not larger than the whole"
        )
    return [_inside(s, n, w) for s, n, w in zip(begin, sizes, x.shape, strict=True)]


def _inside(start: Any, size: int, whole: int) -> Any:
    if isinstance(start, Tensor):
        first = choose(start < 0, start + whole, start)  # type: ignore[operator]
        return astype(minimum(maximum(first, 0), whole - size), "int64")
    known = int(start)
    return min(max(known + whole if known < 0 else known, 0), whole - size)
