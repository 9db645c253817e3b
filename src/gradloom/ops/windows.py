"""Windows that slide along axes: a view of their operand, so that a convolution is a contraction of
windows with weights, and pooling a reduction of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ir.affine import Guard, Index
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import TensorType
from gradloom.ops.move import PLACE, place, reshape, take_slice, transpose
from gradloom.ops.reduce import sum_

Access = tuple[Index, tuple[Guard, ...]]
Sizes = tuple[int, ...]


# ---- windows along the axes from `first` on


def _shape(x: Any, first: int, count: Sizes, size: Sizes) -> Sizes:
    return (*x.shape[:first], *count, *x.shape[first + len(count) :], *size)


def _view(x: Any, first: int, count: Sizes, size: Sizes, step: Sizes, dilation: Sizes) -> Any:
    x = np.asarray(x)
    along = x.strides[first : first + len(count)]
    steps = tuple(s * n for s, n in zip(along, step, strict=True))
    apart = tuple(s * n for s, n in zip(along, dilation, strict=True))
    strides = (*x.strides[:first], *steps, *x.strides[first + len(count) :], *apart)
    shape = _shape(x, first, count, size)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


def _read(
    index: Index,
    x: TensorType,
    first: int,
    count: Sizes,
    size: Sizes,
    step: Sizes,
    dilation: Sizes,
) -> Access:
    at = list(index[: x.ndim])
    for d, (s, apart) in enumerate(zip(step, dilation, strict=True)):
        at[first + d] = at[first + d] * s + index[x.ndim + d] * apart
    return tuple(at), ()


def overlap_add(
    g: Any, first: int, sizes: Sizes, count: Sizes, size: Sizes, step: Sizes, dilation: Sizes
) -> Any:
    """The transpose of `windows`: the sum, for every element of an array that has the `sizes` along
    the axes from `first` on, over the windows that it is in.

    Element `step * q + r` is number `r + step * j` in window `q - j`, or with a step of one number
    `j` in window `q - dilation * j`.
    """
    many = len(count)
    ndim = g.ndim - many
    size, dilation = undilated(step, size, dilation)
    g = spread_out(g, tuple(range(ndim, ndim + many)), size)
    terms = tuple(-(-n // s) for n, s in zip(size, step, strict=True))
    blocks = tuple(-(-n // s) for n, s in zip(sizes, step, strict=True))
    g = frame(g, ndim, (0,) * many, tuple(j * s for j, s in zip(terms, step, strict=True)))
    pairs = [n for pair in zip(terms, step, strict=True) for n in pair]
    rest = tuple(g.shape[first + many : ndim])
    g = reshape(g, (*g.shape[:ndim], *pairs))
    for d in range(many):
        g = skew(g, first + d, ndim + 2 * d, -dilation[d], 0, blocks[d])
    order = list(range(ndim))
    for d in reversed(range(many)):
        order.insert(first + d + 1, ndim + 2 * d + 1)
    g = transpose(g, (*order, *(ndim + 2 * d for d in range(many))))
    summed = tuple(len(order) + d for d, n in enumerate(terms) if n > 1)
    g = sum_(g, summed) if summed else g
    whole = tuple(b * s for b, s in zip(blocks, step, strict=True))
    return frame(reshape(g, (*g.shape[:first], *whole, *rest)), first, (0,) * many, sizes)


WINDOWS: Op = define(
    Op(
        "windows",
        Kind.MOVE,
        lambda x, first, count, size, step, dilation: TensorType(
            _shape(x, first, count, size), x.dtype
        ),
        _view,
        lambda g, out, x, first, count, **attrs: (
            overlap_add(g, first, tuple(x.shape[first : first + len(count)]), count, **attrs),
        ),
        access=_read,
        accepts="any",
        spreads=True,
        linear=True,
        batch=lambda batch, batched, x, first, **attrs: apply(WINDOWS, x, first=first + 1, **attrs),
        samples=lambda rng, dtype: [
            (
                (rng.uniform(-2, 2, shape).astype(dtype),),
                {"first": 1, "count": count, "size": size, "step": step, "dilation": dilation},
            )
            for shape, count, size, step, dilation in (
                ((2, 9, 3), (7,), (3,), (1,), (1,)),
                ((2, 9, 3), (4,), (3,), (2,), (1,)),
                ((2, 9, 3), (3,), (3,), (2,), (2,)),
                ((2, 8, 9), (4, 3), (2, 3), (2, 3), (1, 1)),
                ((2, 7, 9, 3), (2, 5), (3, 2), (3, 1), (1, 4)),
            )
        ],
    )
)


def windows(
    x: Any, first: int, count: Sizes, size: Sizes, step: Sizes = (), dilation: Sizes = ()
) -> Any:
    """`count` windows of `size` elements, `dilation` apart, every `step` elements along the axes of
    `x` from `first` on; the elements of a window stand on new last axes.

    >>> import numpy as np
    >>> windows(np.arange(5), 0, (3,), (2,), (2,)).tolist()[:2]
    [[0, 1], [2, 3]]
    """
    ones = (1,) * len(count)
    attrs = {"count": count, "size": size, "step": step or ones, "dilation": dilation or ones}
    return apply(WINDOWS, x, first=first, **attrs)


# ---- neighbours moved along one axis as far as their place on another says


def _skewed(x: Any, axis: int, along: int, by: int, start: int, size: int) -> np.ndarray:
    source = np.moveaxis(np.asarray(x), (axis, along), (0, 1))
    out = np.zeros((size, *source.shape[1:]), source.dtype)
    for j in range(source.shape[1]):
        shift = by * j + start
        low, high = max(0, -shift), min(size, source.shape[0] - shift)
        if low < high:
            out[low:high, j] = source[low + shift : high + shift, j]
    return np.moveaxis(out, (0, 1), (axis, along))


def _skew_access(
    index: Index, x: TensorType, axis: int, along: int, by: int, start: int, size: int
) -> Access:
    at = list(index)
    at[axis] = index[axis] + index[along] * by + start
    return tuple(at), (Guard(at[axis], 0, x.shape[axis]),)


SKEW: Op = define(
    Op(
        "skew",
        Kind.MOVE,
        lambda x, axis, along, by, start, size: TensorType(
            (*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype
        ),
        _skewed,
        lambda g, out, x, axis, along, by, start, size: (
            skew(g, axis, along, -by, -start, x.shape[axis]),
        ),
        access=_skew_access,
        accepts="any",
        linear=True,
        batch=lambda batch, batched, x, axis, along, **attrs: apply(
            SKEW, x, axis=axis + 1, along=along + 1, **attrs
        ),
        samples=lambda rng, dtype: [
            (
                (rng.uniform(-2, 2, (6, 2, 3)).astype(dtype),),
                {"axis": 0, "along": 2, "by": by, "start": start, "size": size},
            )
            for by, start, size in ((1, 0, 4), (-1, 0, 8), (-2, 1, 9), (1, -2, 3))
        ],
    )
)


def skew(x: Any, axis: int, along: int, by: int, start: int, size: int) -> Any:
    """`out[q, j] = x[q + by * j + start, j]`, zero outside of `x`; q is the index along `axis`,
    from 0 up to `size`, and j that along `along`."""
    if x.shape[along] == 1:
        return frame(x, axis, (start,), (size,))
    return apply(SKEW, x, axis=axis, along=along, by=by, start=start, size=size)


# ---- parts that convolutions share


def frame(x: Any, first: int, start: Sizes, size: Sizes) -> Any:
    """`out[i] = x[i + start]`, zero outside of `x`, along the axes from `first` on."""
    shape, ends = tuple(x.shape), first + len(start)
    pad, rest = (0,) * first, (0,) * (x.ndim - ends)
    low = (*pad, *(max(s, 0) for s in start), *rest)
    kept = tuple(
        max(min(n, s + m) - max(s, 0), 0)
        for n, s, m in zip(shape[first:ends], start, size, strict=True)
    )
    x = take_slice(x, low, (1,) * x.ndim, (*shape[:first], *kept, *shape[ends:]))
    before = (*pad, *(max(-s, 0) for s in start), *rest)
    full = (*shape[:first], *size, *shape[ends:])
    return x if tuple(x.shape) == full else place(x, before, full)


def undilated(step: Sizes, size: Sizes, dilation: Sizes) -> tuple[Sizes, Sizes]:
    """Sizes and dilations of windows that are given zeros between their elements along those axes
    that have both steps and dilations, so that each axis has one of them alone."""
    both = [s > 1 and d > 1 and n > 1 for s, n, d in zip(step, size, dilation, strict=True)]
    wide = tuple((n - 1) * d + 1 if b else n for b, n, d in zip(both, size, dilation, strict=True))
    return wide, tuple(1 if b else d for b, d in zip(both, dilation, strict=True))


def spread_out(x: Any, axes: Sizes, size: Sizes) -> Any:
    """The elements along `axes` evenly among zeros, so that these axes get new sizes."""
    shape, step = list(x.shape), [1] * x.ndim
    for axis, n in zip(axes, size, strict=True):
        if shape[axis] not in (1, n):
            step[axis] = (n - 1) // (shape[axis] - 1)
        shape[axis] = n
    if tuple(shape) == tuple(x.shape):
        return x
    return apply(PLACE, x, start=(0,) * x.ndim, step=tuple(step), shape=tuple(shape))
