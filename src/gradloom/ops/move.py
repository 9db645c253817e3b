"""Rows that only move elements.  Each says where an element of the result is read from, so that the
planner folds it into the index expression of whoever reads it."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import Tensor
from gradloom.ir.affine import Affine, Guard, Index
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import TensorType
from gradloom.ops.public import as_operand, normal_axes, normal_axis, public, wrong_shape

Access = tuple[Index, tuple[Guard, ...]]
Shape = tuple[int, ...]


def _mover(
    name: str,
    infer: Any,
    reference: Any,
    vjp: Any,
    access: Any,
    samples: Any,
    batch: Any,
    spreads: bool = True,
) -> Op:
    return define(
        Op(
            name,
            Kind.MOVE,
            infer,
            reference,
            vjp,
            access=access,
            accepts="any",
            spreads=spreads,
            linear=True,
            batch=batch,
            samples=samples,
        )
    )


def _draw(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    return rng.uniform(-2, 2, shape).astype(dtype)


# ---- transpose


TRANSPOSE = _mover(
    "transpose",
    lambda x, axes: TensorType(tuple(x.shape[a] for a in axes), x.dtype),
    lambda x, axes: np.transpose(x, axes),
    lambda g, out, x, axes: (transpose(g, tuple(int(i) for i in np.argsort(axes))),),
    lambda index, x, axes: (tuple(index[axes.index(d)] for d in range(x.ndim)), ()),
    lambda rng, dtype: [((_draw(rng, dtype, 3, 4, 5),), {"axes": (2, 0, 1)})],
    lambda size, batched, x, axes: transpose(x, (0, *(a + 1 for a in axes))),
)


@public(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Any = None) -> Any:
    """Axes in another order; reversed when `axes` is None."""
    x = as_operand(a)
    order = tuple(range(x.ndim))[::-1] if axes is None else axes
    order = tuple(normal_axis(a, x.ndim) for a in order)
    if sorted(order) != list(range(x.ndim)):
        raise wrong_shape(f"axes {axes} do not permute {x.shape}", "name every axis once")
    return x if order == tuple(range(x.ndim)) else apply(TRANSPOSE, x, axes=order)


public(name="permute_dims")(transpose)


@public(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged."""
    x = as_operand(a)
    order = list(range(x.ndim))
    one, other = normal_axis(axis1, x.ndim), normal_axis(axis2, x.ndim)
    order[one], order[other] = order[other], order[one]
    return transpose(x, tuple(order))


@public(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Axes moved to other places, the rest kept in order."""
    x = as_operand(a)
    sources = source if isinstance(source, tuple | list) else (source,)
    targets = destination if isinstance(destination, tuple | list) else (destination,)
    moved = [normal_axis(i, x.ndim) for i in sources]
    if len(moved) != len(targets) or len(set(moved)) != len(moved):
        raise wrong_shape(
            f"axes {source} moved to {destination}", "name as many axes as places, each once"
        )
    order = [i for i in range(x.ndim) if i not in moved]
    for target, axis in sorted(
        (normal_axis(t, x.ndim), i) for t, i in zip(targets, moved, strict=True)
    ):
        order.insert(target, axis)
    return transpose(x, tuple(order))


@public(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """One axis moved to before the axis `start`."""
    x = as_operand(a)
    along = normal_axis(axis, x.ndim)
    place = start + x.ndim if start < 0 else start
    return moveaxis(x, along, place - 1 if along < place else place)


@public(np.matrix_transpose)
def matrix_transpose(x: Any) -> Any:
    """The last two axes exchanged."""
    if as_operand(x).ndim < 2:
        raise wrong_shape(f"the transpose of {tuple(as_operand(x).shape)}", "it takes a matrix")
    return swapaxes(x, -1, -2)


# ---- reshape


def _split(index: Index, x: TensorType, shape: Shape) -> Access | None:
    """Each axis of x as a mix of result axes; None where that takes a division."""
    if x.size == 0:
        return tuple(Affine() for _ in x.shape), ()
    at: list[Affine] = []
    k = 0
    for size in x.shape:
        covered, expression = 1, Affine()
        while covered < size:
            if k == len(shape) or size % (covered * shape[k]):
                return None
            expression = expression * shape[k] + index[k]
            covered *= shape[k]
            k += 1
        at.append(expression)
    return tuple(at), ()


RESHAPE = _mover(
    "reshape",
    lambda x, shape: TensorType(shape, x.dtype),
    lambda x, shape: np.reshape(x, shape),
    lambda g, out, x, shape: (reshape(g, x.shape),),
    _split,
    lambda rng, dtype: [
        ((_draw(rng, dtype, 6, 4),), {"shape": (2, 3, 4)}),
        ((_draw(rng, dtype, 2, 3, 4),), {"shape": (6, 4)}),
        ((_draw(rng, dtype, 4, 1, 6),), {"shape": (3, 8)}),
    ],
    lambda size, batched, x, shape: reshape(x, (size, *shape)),
)


@public(np.reshape)
def reshape(a: Any, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """The same elements, in row-major order, under another shape; one size may be -1.

    In order "F" the first index runs fastest.  `copy` changes nothing: no value is ever changed.
    """
    x = as_operand(a)
    if order == "F":
        turned = tuple(shape)[::-1] if np.iterable(shape) else shape
        return transpose(reshape(transpose(x), turned))
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    sizes = tuple(int(n) for n in sizes)
    known = int(np.prod([n for n in sizes if n != -1], dtype=np.int64))
    if sizes.count(-1) == 1 and known and x.size % known == 0:
        sizes = tuple(x.size // known if n == -1 else n for n in sizes)
    if -1 in sizes or int(np.prod(sizes, dtype=np.int64)) != x.size:
        raise wrong_shape(
            f"cannot reshape {tuple(x.shape)} ({x.size} elements) into {shape}",
            "the number of elements must stay the same; one size may be -1",
        )
    return x if sizes == tuple(x.shape) else apply(RESHAPE, x, shape=sizes)


@public(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    """All elements on one axis."""
    return reshape(a, as_operand(a).size, order)


@public(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    """New axes of size one."""
    x = as_operand(a)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    axes = normal_axes(axis, x.ndim + count)
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if i in axes else next(sizes) for i in range(x.ndim + count)))


@public(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    """Axes of size one removed."""
    x = as_operand(a)
    axes = (
        [i for i, n in enumerate(x.shape) if n == 1] if axis is None else normal_axes(axis, x.ndim)
    )
    if any(x.shape[i] != 1 for i in axes):
        raise wrong_shape(f"cannot squeeze axis {axis} of {tuple(x.shape)}", "its size is not 1")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def lead(x: Any, ndim: int) -> Any:
    """`x` with axes of size one after its first, so that `ndim` follow it: what lets a batch meet
    an operand of more axes."""
    return reshape(x, (x.shape[0], *(1,) * (ndim - x.ndim + 1), *x.shape[1:]))


# ---- broadcast


def _shrink(index: Index, x: TensorType, shape: Shape) -> Access:
    inner = index[len(shape) - x.ndim :]
    return tuple(Affine() if n == 1 else at for at, n in zip(inner, x.shape, strict=True)), ()


BROADCAST = _mover(
    "broadcast",
    lambda x, shape: TensorType(shape, x.dtype),
    lambda x, shape: np.broadcast_to(x, shape),
    lambda g, out, x, shape: (g,),  # the engine undoes broadcasting
    _shrink,
    lambda rng, dtype: [((_draw(rng, dtype, 3, 1),), {"shape": (2, 3, 4)})],
    lambda size, batched, x, shape: broadcast_to(lead(x, len(shape)), (size, *shape)),
)


@public(np.broadcast_to)
def broadcast_to(array: Any, shape: Any) -> Any:
    """Axes of size one, and new leading axes, repeated up to `shape`."""
    x = as_operand(array)
    sizes = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    try:
        fits = np.broadcast_shapes(tuple(x.shape), sizes) == sizes
    except ValueError:
        fits = False
    if not fits:
        raise wrong_shape(
            f"cannot broadcast {tuple(x.shape)} to {sizes}",
            "sizes must agree from the right, or be 1",
        )
    return x if tuple(x.shape) == sizes else apply(BROADCAST, x, shape=sizes)


# ---- slices, and their transpose: a small array placed in zeros


def _picked(x: np.ndarray, start: Shape, step: Shape, size: Shape) -> np.ndarray:
    steps = zip(start, step, size, strict=True)
    return x[np.ix_(*(s + k * np.arange(n) for s, k, n in steps))] if start else x


def _placed(x: np.ndarray, start: Shape, step: Shape, shape: Shape) -> np.ndarray:
    out = np.zeros(shape, np.asarray(x).dtype)
    steps = zip(start, step, np.shape(x), strict=True)
    out[np.ix_(*(s + k * np.arange(n) for s, k, n in steps))] = x
    return out


def _slice_access(index: Index, x: TensorType, start: Shape, step: Shape, size: Shape) -> Access:
    return tuple(i * k + s for i, s, k in zip(index, start, step, strict=True)), ()


def _place_access(
    index: Index, x: TensorType, start: Shape, step: Shape, shape: Shape
) -> Access | None:
    if any(abs(k) != 1 and n > 1 for k, n in zip(step, x.shape, strict=True)):
        return None
    at, guards = [], []
    for i, s, k, n, whole in zip(index, start, step, x.shape, shape, strict=True):
        k = k if abs(k) == 1 else 1
        place = (i + -s) * k
        at.append(place)
        if n != whole:
            guards.append(Guard(place, 0, n))
    return tuple(at), tuple(guards)


SLICE: Op = _mover(
    "slice",
    lambda x, start, step, size: TensorType(size, x.dtype),
    _picked,
    lambda g, out, x, start, step, size: (
        apply(PLACE, g, start=start, step=step, shape=tuple(x.shape)),
    ),
    _slice_access,
    lambda rng, dtype: [
        ((_draw(rng, dtype, 7, 5),), {"start": (1, 4), "step": (2, -1), "size": (3, 4)}),
        ((_draw(rng, dtype, 7, 5),), {"start": (2, 1), "step": (1, 1), "size": (3, 4)}),
    ],
    lambda batch, batched, x, start, step, size: apply(
        SLICE, x, start=(0, *start), step=(1, *step), size=(batch, *size)
    ),
)
PLACE: Op = _mover(
    "place",
    lambda x, start, step, shape: TensorType(shape, x.dtype),
    _placed,
    lambda g, out, x, start, step, shape: (
        apply(SLICE, g, start=start, step=step, size=tuple(x.shape)),
    ),
    _place_access,
    lambda rng, dtype: [
        ((_draw(rng, dtype, 3, 4),), {"start": (1, 4), "step": (2, -1), "shape": (7, 5)}),
        ((_draw(rng, dtype, 3, 4),), {"start": (2, 0), "step": (1, 1), "shape": (7, 5)}),
    ],
    lambda batch, batched, x, start, step, shape: apply(
        PLACE, x, start=(0, *start), step=(1, *step), shape=(batch, *shape)
    ),
    spreads=False,
)


def take_slice(x: Any, start: Shape, step: Shape, size: Shape) -> Any:
    """`x[start : start + step * size : step]` along every axis."""
    whole = start == (0,) * x.ndim and step == (1,) * x.ndim and size == tuple(x.shape)
    return x if whole else apply(SLICE, x, start=start, step=step, size=size)


@public(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """The order of elements reversed along some axes, all by default."""
    x = as_operand(m)
    axes = normal_axes(axis, x.ndim)
    start = tuple(n - 1 if i in axes else 0 for i, n in enumerate(x.shape))
    step = tuple(-1 if i in axes else 1 for i in range(x.ndim))
    return take_slice(x, start, step, tuple(x.shape))


def between(x: Any, axis: int, low: int, high: int) -> Any:
    """`x` from `low` up to `high` along one axis."""
    start = tuple(low if i == axis else 0 for i in range(x.ndim))
    count = tuple(high - low if i == axis else n for i, n in enumerate(x.shape))
    return take_slice(x, start, (1,) * x.ndim, count)


def place(x: Any, low: Shape, shape: Shape) -> Any:
    """`x` inside zeros, starting at `low`."""
    if not isinstance(x, Tensor) and tuple(x.shape) == shape:
        return x
    return apply(PLACE, x, start=low, step=(1,) * len(shape), shape=shape)
