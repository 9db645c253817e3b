"""Diagonals, triangles and products that are laid out along them.

A diagonal is every `columns + 1`-th element of a matrix in a row, so all of it is moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ops.elementwise import where as choose
from gradloom.ops.join import index_along
from gradloom.ops.move import PLACE, expand_dims, moveaxis, reshape, take_slice
from gradloom.ops.public import as_operand, normal_axis, public, refuse_out, wrong_shape
from gradloom.ops.reduce import sum_


def _begin(rows: int, columns: int, offset: int) -> tuple[int, int]:
    """Where a diagonal begins among the elements in a row, and how many there are on it."""
    if offset >= 0:
        return offset, max(min(rows, columns - offset), 0)
    return -offset * columns, max(min(rows + offset, columns), 0)


@public(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """A diagonal of two axes, as the last axis; `offset` counts to the right of the main one."""
    x = as_operand(a)
    if x.ndim < 2:
        raise wrong_shape(f"a diagonal of {tuple(x.shape)}", "it takes a matrix, or more axes")
    first, second = normal_axis(axis1, x.ndim), normal_axis(axis2, x.ndim)
    if first == second:
        raise wrong_shape(f"a diagonal of the axes {axis1} and {axis2}", "name two different axes")
    x = moveaxis(x, (first, second), (-2, -1))
    *rest, rows, columns = x.shape
    begin, count = _begin(rows, columns, offset)
    flat = reshape(x, (*rest, rows * columns))
    ahead = (0,) * len(rest)
    step = (*(1 for _ in rest), columns + 1)
    return take_slice(flat, (*ahead, begin if count else 0), step, (*rest, count))


def on_diagonal(v: Any, offset: int, rows: int, columns: int) -> Any:
    """Matrices of zeros with the last axis of `v` on a diagonal."""
    begin, count = _begin(rows, columns, offset)
    rest = tuple(v.shape[:-1])
    assert count == v.shape[-1]
    step = (*(1 for _ in rest), columns + 1)
    start = (*(0 for _ in rest), begin if count else 0)
    flat = apply(PLACE, v, start=start, step=step, shape=(*rest, rows * columns))
    return reshape(flat, (*rest, rows, columns))


@public(np.trace)
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None
) -> Any:
    """Sum of a diagonal."""
    refuse_out(out, "trace")
    return sum_(diagonal(a, offset, axis1, axis2), -1, dtype)


@public(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """A matrix with the vector `v` on its `k`-th diagonal, or that diagonal of a matrix."""
    x = as_operand(v)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise wrong_shape(f"diag of {tuple(x.shape)}", "it takes a vector or a matrix")
    side = x.shape[0] + abs(k)
    return on_diagonal(x, k, side, side)


@public(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """A matrix with the elements of `v`, in a row, on its `k`-th diagonal."""
    x = as_operand(v)
    return diag(reshape(x, x.size), k)


@public(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False, *, inplace: bool = True) -> Any:
    """A copy of `a` with `val`, repeated as needed, on its main diagonal.

    NumPy's changes its argument; as in JAX, `inplace=False` must be given to say that one knows.
    """
    if inplace:
        raise wrong_shape(
            "fill_diagonal changes an array in place",
            "write a = gnp.fill_diagonal(a, v, inplace=False)",
        )
    x = as_operand(a)
    if x.ndim < 2 or (x.ndim > 2 and len(set(x.shape)) > 1):
        raise wrong_shape(f"the diagonal of {tuple(x.shape)}", "give a matrix, or equal sizes")
    strides = np.cumprod([1, *x.shape[:0:-1]])
    step = x.shape[1] + 1 if x.ndim == 2 else int(strides.sum())
    end = x.size if wrap or x.ndim > 2 else min(x.size, x.shape[1] ** 2)
    places = np.arange(0, end, step)
    values = as_operand(val)
    values = reshape(values, values.size)[np.arange(len(places)) % max(values.size, 1)]
    flat = reshape(x, x.size)
    begin = {"start": (0,), "step": (step,), "shape": (x.size,)}
    inside = np.zeros(x.size, bool)
    inside[places] = True
    filled = apply(PLACE, values.astype(x.dtype), **begin) if len(places) else flat
    return reshape(choose(inside, filled, flat), tuple(x.shape))


def _triangle(x: Any, k: int, upper: bool) -> Any:
    x = as_operand(x)
    if x.ndim < 2:
        raise wrong_shape(f"a triangle of {tuple(x.shape)}", "it takes a matrix, or more axes")
    row, column = index_along(x, x.ndim - 2), index_along(x, x.ndim - 1)
    inside = column >= row + k if upper else column <= row + k
    return choose(inside, x, np.zeros((), x.dtype))


@public(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """The lower triangle of matrices, zero above the `k`-th diagonal."""
    return _triangle(m, k, upper=False)


@public(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """The upper triangle of matrices, zero below the `k`-th diagonal."""
    return _triangle(m, k, upper=True)


@public(np.kron)
def kron(a: Any, b: Any) -> Any:
    """Kronecker's product: blocks of `b`, each times an element of `a`."""
    x, y = as_operand(a), as_operand(b)
    ndim = max(x.ndim, y.ndim)
    x = expand_dims(x, tuple(range(ndim - x.ndim)))
    y = expand_dims(y, tuple(range(ndim - y.ndim)))
    product = expand_dims(x, tuple(range(1, 2 * ndim, 2))) * expand_dims(
        y, tuple(range(0, 2 * ndim, 2))
    )
    return reshape(product, tuple(m * n for m, n in zip(x.shape, y.shape, strict=True)))


@public(np.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """The vector product along an axis of size 3."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise wrong_shape(
            f"cross of vectors of {x.shape[-1]} and {y.shape[-1]} elements",
            "both take 3; in the plane, write a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]",
        )
    ahead, behind = np.array([1, 2, 0]), np.array([2, 0, 1])
    out = x[..., ahead] * y[..., behind] - x[..., behind] * y[..., ahead]
    return moveaxis(out, -1, axisc)
