"""Reading at indices that are values, its transpose, and NumPy's square brackets."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import DtypeError, RangeError, TracingError, message, user_where
from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import Tensor
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import INTEGERS, TensorType
from gradloom.ops.elementwise import where
from gradloom.ops.join import index_along
from gradloom.ops.move import expand_dims, moveaxis, reshape, take_slice
from gradloom.ops.public import as_operand, normal_axis, public, wrong_shape
from gradloom.ops.reduce import sum_

Axes = tuple[int, ...]


def _rest(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _gathered(x: TensorType, *indices: TensorType, axes: Axes) -> TensorType:
    front = np.broadcast_shapes(*(i.shape for i in indices))
    return TensorType(front + _rest(x.shape, axes), x.dtype)


def _gather(x: Any, *indices: Any, axes: Axes) -> np.ndarray:
    return np.moveaxis(x, axes, range(len(axes)))[indices]


def _scatter(g: Any, *indices: Any, axes: Axes, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros([shape[a] for a in axes] + list(_rest(shape, axes)), np.asarray(g).dtype)
    np.add.at(out, indices, g)
    return np.moveaxis(out, range(len(axes)), axes)


def _samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    x = rng.uniform(-2, 2, (5, 4, 3)).astype(dtype)
    rows = rng.integers(-5, 5, (2, 3))
    return [((x, rows), {"axes": (0,)}), ((x, rows, rng.integers(0, 3, 3)), {"axes": (0, 2)})]


def _scatter_samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    pairs = [((2, 3, 4, 3), (0,)), ((2, 3, 4), (0, 2))]
    rows, columns = rng.integers(-5, 5, (2, 3)), rng.integers(0, 3, 3)
    return [
        (
            (rng.uniform(-2, 2, shape).astype(dtype), *(rows, columns)[: len(axes)]),
            {"axes": axes, "shape": (5, 4, 3)},
        )
        for shape, axes in pairs
    ]


# The indexed axes come first in the result, as with separated advanced indices in NumPy.
GATHER = define(
    Op(
        "gather",
        Kind.GATHER,
        _gathered,
        _gather,
        lambda g, out, x, *indices, axes: (
            apply(SCATTER, g, *indices, axes=axes, shape=tuple(x.shape)),
            *(None for _ in indices),
        ),
        accepts="any",
        linear=True,
        cost=4,
        samples=_samples,
    )
)
SCATTER: Op = define(
    Op(
        "scatter_add",
        Kind.SCATTER,
        lambda g, *indices, axes, shape: TensorType(shape, g.dtype),
        _scatter,
        lambda g, out, x, *indices, axes, shape: (
            apply(GATHER, g, *indices, axes=axes),
            *(None for _ in indices),
        ),
        linear=True,
        samples=_scatter_samples,
    )
)


def _indices(values: Any) -> Any:
    found = as_operand(values)
    if not isinstance(found, Tensor) and found.dtype.kind == "i":
        found = found.astype("int64", copy=False)
    if found.dtype.name in INTEGERS:
        return found
    if found.dtype == "bool":
        raise TracingError(
            message(
                "a traced mask selects a number of elements that is not known yet",
                user_where(),
                "use gnp.where(mask, x, 0), or index with an array of integers",
            )
        )
    raise DtypeError(
        message(f"an index of dtype {found.dtype}", user_where(), "index with integers or slices")
    )


@public(np.take)
def take(x: Any, indices: Any, axis: Any = None) -> Any:
    """Elements of `x` at integer `indices` along `axis` (of all elements in a row if None).

    Negative indices count from the end; an index out of range raises `IndexError`.
    """
    x, indices = as_operand(x), _indices(indices)
    if axis is None:
        x, axis = reshape(x, -1), 0
    along = normal_axis(axis, x.ndim)
    out = apply(GATHER, x, indices, axes=(along,))
    front = tuple(range(indices.ndim))
    return moveaxis(out, front, tuple(along + i for i in front)) if along else out


@public(np.take_along_axis)
def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """Along `axis`, the elements that `indices` name; other axes go side by side."""
    x, indices = as_operand(x), _indices(indices)
    along = normal_axis(axis, x.ndim)
    wanted = tuple(indices.shape[i] if i == along else n for i, n in enumerate(x.shape))
    if tuple(indices.shape) != wanted:
        raise wrong_shape(
            f"indices of shape {tuple(indices.shape)} do not fit {tuple(x.shape)}",
            "they must agree on every other axis",
        )
    picked = tuple(indices if i == along else index_along(indices, i) for i in range(x.ndim))
    return apply(GATHER, x, *picked, axes=tuple(range(x.ndim)))


@public()
def getitem(x: Any, key: Any) -> Any:
    """NumPy's `x[key]`: slices, integers, None, Ellipsis, and integer arrays."""
    x = as_operand(x)
    if not isinstance(x, Tensor):
        return x[key]
    keys = _expanded(key if isinstance(key, tuple) else (key,), x)
    start, step, size, shape, arrays = [], [], [], [], []
    chosen: list[tuple[int, int]] = []  # integers and arrays: place among the keys, axes before
    axis = 0
    for place, item in enumerate(keys):
        if item is None:
            shape.append(1)
            continue
        whole = x.shape[axis]
        if isinstance(item, slice):
            first, stop, stride = item.indices(whole)
            count = len(range(first, stop, stride))
            shape.append(count)
        elif isinstance(item, int | np.integer):
            first, stride, count = _in_range(int(item), whole, axis, x), 1, 1
            chosen.append((place, len(shape)))
        else:
            chosen.append((place, len(shape)))
            arrays.append((len(shape), item))
            first, stride, count = 0, 1, whole
            shape.append(whole)
        start.append(first if count else 0)
        step.append(stride)
        size.append(count)
        axis += 1
    out = reshape(take_slice(x, tuple(start), tuple(step), tuple(size)), tuple(shape))
    return _advanced(out, arrays, chosen) if arrays else out


def _advanced(x: Any, arrays: list[tuple[int, Any]], chosen: list[tuple[int, int]]) -> Any:
    """The axes of the indices stand first, or, where all that were chosen by integers or arrays are
    neighbours, in the place of these."""
    axes = tuple(axis for axis, _ in arrays)
    indices = [_indices(values) for _, values in arrays]
    out = apply(GATHER, x, *indices, axes=axes)
    front = max(i.ndim for i in indices)
    (first, before), (last, _) = chosen[0], chosen[-1]
    if last - first >= len(chosen):
        return out
    return moveaxis(out, tuple(range(front)), tuple(before + i for i in range(front)))


def _expanded(keys: tuple[Any, ...], x: Any) -> list[Any]:
    """One item an axis of `x`: masks as index arrays, the ellipsis as slices."""
    arrays = [np.asarray(k) if isinstance(k, list) and not _holds_traced(k) else k for k in keys]
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


def _holds_traced(values: list[Any]) -> bool:
    return any(isinstance(v, Tensor) for v in values)


def _is_mask(key: Any) -> bool:
    return isinstance(key, bool | np.bool_) or (isinstance(key, np.ndarray) and key.dtype == bool)


def _span(key: Any) -> int:
    """How many axes an index item stands for."""
    if key is None or key is Ellipsis:
        return 0
    return np.ndim(key) if _is_mask(key) else 1


def _unmasked(mask: Any, axis: int, x: Any) -> list[np.ndarray]:
    """A mask whose values are known, as arrays of integers."""
    covered = tuple(x.shape[axis : axis + np.ndim(mask)])
    if np.ndim(mask) == 0 or np.shape(mask) != covered:
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


@public(np.diagonal)
def diagonal(x: Any) -> Any:
    """The main diagonal of the first two axes, as the last axis."""
    x = as_operand(x)
    steps = np.arange(min(x.shape[:2]))
    return moveaxis(apply(GATHER, x, steps, steps, axes=(0, 1)), 0, -1)


@public(np.trace)
def trace(x: Any) -> Any:
    """Sum of the main diagonal of a matrix."""
    return sum_(diagonal(x), -1)


@public(np.diag)
def diag(x: Any) -> Any:
    """A matrix with `x` on its diagonal, or the diagonal of a matrix."""
    x = as_operand(x)
    if x.ndim == 2:
        return diagonal(x)
    square = expand_dims(x, 0)
    steps = np.arange(x.shape[0])
    return where(steps[:, None] == steps[None, :], square, 0)
