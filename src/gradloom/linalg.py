"""SciPy's linear algebra, under its names, for traced values and arrays alike.

As in `gradloom.numpy.linalg`, matrices have leading batch axes, and what has no factorisation
gives NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import MissingError, message, user_where
from gradloom.ops.complex import conjugate, real
from gradloom.ops.diagonals import tril
from gradloom.ops.elementwise import astype
from gradloom.ops.elimination import lu_factors, row_order
from gradloom.ops.exponential import expm
from gradloom.ops.factor import identity_like, triangular
from gradloom.ops.join import concatenate
from gradloom.ops.linear import cholesky as _cholesky
from gradloom.ops.linear import det, eigh, inv, matrices, solve_, svd, svdvals, together
from gradloom.ops.move import broadcast_to, expand_dims, flip, reshape
from gradloom.ops.padding import pad
from gradloom.ops.picking import take, take_along_axis
from gradloom.ops.pseudo import lstsq, pinv
from gradloom.ops.public import as_operand, wrong_shape
from gradloom.ops.sorting import argsort

__all__ = [
    "block_diag",
    "cho_factor",
    "cho_solve",
    "cholesky",
    "det",
    "eigh",
    "expm",
    "inv",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_solve",
    "pinv",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "toeplitz",
]

solve = solve_


def cholesky(a: Any, lower: bool = False) -> Any:
    """The upper triangular U of `a = U.T @ U`, or with `lower` its transpose; conjugated."""
    return _cholesky(a, upper=not lower)


def _sides(a: Any, b: Any) -> tuple[Any, Any, bool]:
    """A square matrix and a right side with the same batch axes; whether that was a vector."""
    b = as_operand(b)
    vector = b.ndim == 1
    a, b = matrices(a, expand_dims(b, -1) if vector else b)
    if a.shape[-1] != a.shape[-2] or a.shape[-1] != b.shape[-2]:
        raise wrong_shape(
            f"a system of {tuple(a.shape)} with right side {tuple(b.shape)}",
            "the matrix is square, with as many rows as the right side",
        )
    return *together(a, b), vector


def _of_side(x: Any, vector: bool) -> Any:
    return reshape(x, tuple(x.shape[:-1])) if vector else x


def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    """The solution x of `a @ x = b` by the upper (or `lower`) triangle of `a`, whose other entries
    are not read; of `a.T @ x = b` with `trans` 1 or "T", of
    `a.conj().T @ x = b` with 2 or "C".

    >>> from gradloom import linalg
    >>> linalg.solve_triangular([[2.0, 1.0], [9.0, 4.0]], [4.0, 8.0])
    array([1., 2.])
    """
    a, b, vector = _sides(a, b)
    turned = int(trans in (1, 2, "T", "C"))
    a = conjugate(a) if trans in (2, "C") else a
    out = triangular(a, b, int(lower), turned, int(unit_diagonal)) if b.size else b
    return _of_side(out, vector)


def cho_factor(a: Any, lower: bool = False) -> tuple[Any, bool]:
    """A Cholesky factor for `cho_solve`, and whether it is the lower one; zero elsewhere."""
    return cholesky(a, lower), lower


def cho_solve(c_and_lower: tuple[Any, bool], b: Any) -> Any:
    """The solution of a system from the result of `cho_factor`."""
    factor, lower = c_and_lower
    c, b, vector = _sides(factor, b)
    if not b.size:
        return _of_side(b, vector)
    turned = conjugate(c)
    half = triangular(c if lower else turned, b, int(lower), int(not lower))
    return _of_side(triangular(turned if lower else c, half, int(lower), int(lower)), vector)


def lu(a: Any, permute_l: bool = False) -> tuple[Any, ...]:
    """P, L and U of `a = P @ L @ U`, or with `permute_l` `P @ L` and U.

    The derivative is that of square matrices.
    """
    (a,) = matrices(a)
    if not a.size:
        raise wrong_shape(f"lu of an empty matrix {tuple(a.shape)}", "give it a row and a column")
    packed, _, order = lu_factors(a)
    m, n = a.shape[-2:]
    k = min(m, n)
    left = packed[..., :k]
    left = tril(left, -1) + identity_like(left)
    upper = packed[..., :k, :]
    upper = upper - tril(upper, -1)
    back = argsort(order)
    if permute_l:
        rows = broadcast_to(expand_dims(back, -1), tuple(left.shape))
        return take_along_axis(left, rows, -2), upper
    steps = np.arange(m)
    return astype(expand_dims(back, -1) == steps, real(a).dtype), left, upper


def lu_factor(a: Any) -> tuple[Any, Any]:
    """L and U in one matrix, and LAPACK's row exchanges from 0 (int32), for `lu_solve`."""
    packed, pivots, _ = lu_factors(*matrices(a))
    return packed, pivots


def lu_solve(lu_and_piv: tuple[Any, Any], b: Any, trans: int = 0) -> Any:
    """The solution of a system from the result of `lu_factor`; of the transpose with `trans=1`,
    conjugated with 2."""
    packed, pivots = lu_and_piv
    packed = conjugate(packed) if trans == 2 else packed
    packed, b, vector = _sides(packed, b)
    order = row_order(pivots, packed.shape[-1])
    order = argsort(order) if trans else order
    rows = broadcast_to(expand_dims(order, -1), tuple(b.shape))
    if trans:
        half = triangular(packed, b, lower=0, trans=1)
        half = triangular(packed, half, lower=1, trans=1, unit=1)
        return _of_side(take_along_axis(half, rows, -2), vector)
    half = triangular(packed, take_along_axis(b, rows, -2), lower=1, unit=1)
    return _of_side(triangular(packed, half, lower=0), vector)


def block_diag(*blocks: Any) -> Any:
    """Matrices along a diagonal, zero elsewhere; a vector is a row."""
    parts = [as_operand(b) for b in blocks]
    if any(b.ndim > 2 for b in parts):
        raise MissingError(
            message("block_diag of more than two axes", user_where(), "give it matrices")
        )
    parts = [reshape(b, (1, -1)) if b.ndim < 2 else b for b in parts]
    width, at, rows = sum(b.shape[1] for b in parts), 0, []
    for b in parts:
        rows.append(pad(b, ((0, 0), (at, width - at - b.shape[1]))))
        at += b.shape[1]
    return concatenate(rows, 0)


def toeplitz(c: Any, r: Any = None) -> Any:
    """The matrix with constant diagonals whose first column is `c` and whose first row is `r`
    (the conjugate of `c` if None), apart from its first element."""
    c = reshape(as_operand(c), -1)
    r = conjugate(c) if r is None else reshape(as_operand(r), -1)
    whole = concatenate([flip(c), r[1:]], 0)
    rows, columns = np.arange(c.shape[0])[:, None], np.arange(r.shape[0])
    return take(whole, c.shape[0] - 1 - rows + columns)
