"""Norms, and products of several matrices or of vectors, under NumPy's names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.errors import MissingError, message, user_where
from gradloom.frontend.apply import promote
from gradloom.ir.op import OPS
from gradloom.ops.arithmetic import abs_
from gradloom.ops.complex import conjugate, real, squared
from gradloom.ops.contract import matmul, tensordot
from gradloom.ops.elementwise import astype
from gradloom.ops.linear import inv, matrices, solve_, svdvals
from gradloom.ops.move import expand_dims, matrix_transpose, moveaxis, reshape
from gradloom.ops.public import as_operand, public, wrong_shape
from gradloom.ops.reduce import max_, min_, sum_


@public(np.linalg.vector_norm, name="linalg.vector_norm")
def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:  # noqa: A002
    """The norm of vectors along `axis` (several axes, or None, as one): of any order, also
    inf, -inf, and 0, which counts what is not zero."""
    x = _floating(x)
    if ord == math.inf:
        return max_(abs_(x), axis, keepdims=keepdims)
    if ord == -math.inf:
        return min_(abs_(x), axis, keepdims=keepdims)
    if ord == 0:
        return sum_(astype(x != 0, real(x).dtype), axis, keepdims=keepdims)
    if ord == 1:
        return sum_(abs_(x), axis, keepdims=keepdims)
    if ord == 2:
        return sum_(squared(x), axis, keepdims=keepdims) ** 0.5
    return sum_(abs_(x) ** ord, axis, keepdims=keepdims) ** (1 / ord)


def _floating(x: Any) -> Any:
    x = as_operand(x)
    return astype(x, promote(OPS["divide"], (x,)))


@public(np.linalg.matrix_norm, name="linalg.matrix_norm")
def matrix_norm(x: Any, keepdims: bool = False, ord: Any = "fro") -> Any:  # noqa: A002
    """The norm of the matrices of the last two axes: "fro", "nuc", 1, -1, 2, -2, inf or -inf."""
    (x,) = matrices(x)
    if ord is None or ord == "fro":
        out = sum_(squared(x), (-2, -1)) ** 0.5
    elif ord == "nuc":
        out = sum_(svdvals(x), -1)
    elif ord in (2, -2):
        out = svdvals(x)[..., 0 if ord == 2 else -1]
    elif ord in (1, -1, math.inf, -math.inf):
        lines = sum_(abs_(x), -2 if ord in (1, -1) else -1)
        out = max_(lines, -1) if ord > 0 else min_(lines, -1)
    else:
        raise MissingError(
            message(f"no matrix norm of order {ord!r}", user_where(), "use 'fro', 'nuc', 1 or 2")
        )
    return expand_dims(out, (-2, -1)) if keepdims else out


@public(np.linalg.norm, name="linalg.norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    """The norm of a vector or matrix, or of those along one or two axes.

    Without `ord` the root of the sum of squares of all elements.

    >>> import gradloom.numpy as gnp
    >>> float(gnp.linalg.norm([3.0, 4.0]))
    5.0
    """
    x = _floating(x)
    if axis is None and (ord is None or x.ndim == 1):
        return vector_norm(x, None, keepdims, 2 if ord is None else ord)
    axes = tuple(range(x.ndim)) if axis is None else axis
    if isinstance(axes, tuple | list) and len(axes) == 1:
        axes = axes[0]
    if not isinstance(axes, tuple | list):
        return vector_norm(x, axes, keepdims, 2 if ord is None else ord)
    if len(axes) != 2:
        raise wrong_shape(f"a norm over the axes {axes}", "give one axis, or two")
    out = matrix_norm(moveaxis(x, axes, (-2, -1)), keepdims, ord)
    return moveaxis(out, (-2, -1), axes) if keepdims else out


@public(np.linalg.cond, name="linalg.cond")
def cond(x: Any, p: Any = None) -> Any:
    """The condition number: the norm of a matrix times that of its inverse."""
    if p is None or p in (2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)


# ---- products


@public(np.linalg.multi_dot, name="linalg.multi_dot")
def multi_dot(arrays: Any) -> Any:
    """The product of several matrices, of which the first and the last may be vectors, in the
    order of fewest multiplications [Cormen et al., Introduction to Algorithms, 15.2]."""
    chain = [as_operand(a) for a in arrays]
    if len(chain) < 2:
        raise wrong_shape(f"a product of {len(chain)}", "give two arrays or more")
    row, column = chain[0].ndim == 1, chain[-1].ndim == 1
    if row:
        chain[0] = expand_dims(chain[0], 0)
    if column:
        chain[-1] = expand_dims(chain[-1], -1)
    out = _chained(chain, _splits([chain[0].shape[0], *(a.shape[1] for a in chain)]), 0, len(chain))
    kept = tuple(n for n, drop in zip(out.shape, (row, column), strict=True) if not drop)
    return reshape(out, kept)


def _splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    count = len(sizes) - 1
    cost = {(i, i + 1): 0 for i in range(count)}
    split: dict[tuple[int, int], int] = {}
    for length in range(2, count + 1):
        for i in range(count - length + 1):
            j = i + length
            costs = [
                cost[i, k] + cost[k, j] + sizes[i] * sizes[k] * sizes[j] for k in range(i + 1, j)
            ]
            cost[i, j] = min(costs)
            split[i, j] = i + 1 + costs.index(min(costs))
    return split


def _chained(chain: list[Any], split: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if j - i == 1:
        return chain[i]
    k = split[i, j]
    return matmul(_chained(chain, split, i, k), _chained(chain, split, k, j))


@public(np.linalg.tensorsolve, name="linalg.tensorsolve")
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """The x of `tensordot(a, x, x.ndim) = b`; the `axes` of `a` are moved to its end first."""
    a, b = as_operand(a), as_operand(b)
    if axes is not None:
        a = moveaxis(a, axes, tuple(range(a.ndim - len(axes), a.ndim)))
    inner = tuple(a.shape[b.ndim :])
    count = math.prod(inner)
    return reshape(solve_(reshape(a, (-1, count)), reshape(b, -1)), inner)


@public(np.linalg.tensorinv, name="linalg.tensorinv")
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse for `tensordot(..., ind)`, where the first `ind` axes are the rows."""
    a = as_operand(a)
    rows, columns = tuple(a.shape[:ind]), tuple(a.shape[ind:])
    return reshape(inv(reshape(a, (math.prod(rows), -1))), columns + rows)


@public(np.linalg.cross, name="linalg.cross")
def cross(x: Any, y: Any, axis: int = -1) -> Any:
    """The cross product of vectors of three elements along `axis`."""
    x, y = (moveaxis(as_operand(v), axis, -1) for v in (x, y))
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise wrong_shape("a cross product needs three elements", "give vectors of size 3")
    ahead, behind = np.array([1, 2, 0]), np.array([2, 0, 1])
    out = x[..., ahead] * y[..., behind] - x[..., behind] * y[..., ahead]
    return moveaxis(out, -1, axis)


@public(np.linalg.outer, name="linalg.outer")
def outer(x: Any, y: Any) -> Any:
    """The products of all pairs of elements of two vectors."""
    x, y = as_operand(x), as_operand(y)
    if x.ndim != 1 or y.ndim != 1:
        raise wrong_shape(
            f"outer of shapes {tuple(x.shape)} and {tuple(y.shape)}", "it takes vectors"
        )
    return expand_dims(x, 1) * y


@public(np.linalg.vecdot, name="linalg.vecdot")
def vecdot(x: Any, y: Any, axis: int = -1) -> Any:
    """Sums of products along `axis`; complex elements of `x` are conjugated."""
    return sum_(
        conjugate(moveaxis(as_operand(x), axis, -1)) * moveaxis(as_operand(y), axis, -1), -1
    )


@public(np.linalg.diagonal, name="linalg.diagonal")
def diagonal(x: Any, offset: int = 0) -> Any:
    """The diagonals of the matrices of the last two axes, `offset` to the right of the main."""
    x = as_operand(x)
    rows, columns = x.shape[-2:]
    count = max(min(rows - max(-offset, 0), columns - max(offset, 0)), 0)
    steps = np.arange(count)
    return x[..., steps + max(-offset, 0), steps + max(offset, 0)]


@public(np.linalg.trace, name="linalg.trace")
def trace(x: Any, offset: int = 0, dtype: Any = None) -> Any:
    """Sums of the diagonals of the matrices of the last two axes."""
    return sum_(diagonal(x, offset), -1, dtype)


public(np.linalg.matrix_transpose, name="linalg.matrix_transpose")(matrix_transpose)
public(np.linalg.tensordot, name="linalg.tensordot")(tensordot)
public(np.linalg.matmul, name="linalg.matmul")(matmul)
