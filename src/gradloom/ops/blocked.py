"""Factorisations and triangular systems of large matrices in blocks: smaller ones, and products.

Nearly all of the work is then in the products, which run at the machine's speed, fuse, and split
over a team [Golub and Van Loan, Matrix computations, 4th edition 2013, sections 3.1.4 and 4.2.9].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.frontend.apply import apply
from gradloom.ir.op import OPS
from gradloom.ops.contract import matmul
from gradloom.ops.diagonals import tril
from gradloom.ops.join import concatenate
from gradloom.ops.lapack import functions
from gradloom.ops.move import matrix_transpose

# The largest block that LAPACK gets, and the fewest right-hand sides that are cut.  One thread,
# float64, ms for LAPACK whole, for leaves of 64 and of 32: Cholesky 256 0.98, 0.64, 0.56; 512 5.4,
# 3.5, 3.5; 1024 35, 29, 21.  Triangular with as many columns 256 1.25, 0.70, 0.46; 512 6.6, 3.5,
# 4.0; 1024 42, 25, 20.  Leaves of 32 take twice as long to compile (1.43 s for 0.95 at 512).  A few
# columns are bound by reading the matrix, which blocks do not change.
LEAF = 64
COLUMNS = 16


def cut(size: int) -> int:
    """Where to cut an axis of `size`: at the leaves' boundary next to the middle, from below."""
    return max(size // (2 * LEAF), 1) * LEAF


def triangular(t: Any, b: Any, trsm: Any, lower: int, trans: int, unit: int) -> Any:
    """The solution of `t x = b`, in blocks; None if the system is one block.

    [T11 0; T21 T22] [X1; X2] = [B1; B2], whichever triangle and transpose it comes from.
    """
    n, k = b.shape[-2:]
    if n <= LEAF or k < COLUMNS:
        return None
    at = cut(n)
    halves = slice(None, at), slice(at, None)
    forward = bool(lower) != bool(trans)  # the unknowns that stand first are solved first
    first, last = halves if forward else halves[::-1]
    beside = t[..., first, last] if trans else t[..., last, first]
    beside = matrix_transpose(beside) if trans else beside
    x = _solved(t[..., first, first], b[..., first, :], trsm, lower, trans, unit)
    rest = b[..., last, :] - matmul(beside, x)
    y = _solved(t[..., last, last], rest, trsm, lower, trans, unit)
    return concatenate((x, y) if forward else (y, x), axis=-2)


def _solved(t: Any, b: Any, trsm: Any, lower: int, trans: int, unit: int) -> Any:
    found = triangular(t, b, trsm, lower, trans, unit)
    if found is None:
        row = OPS["solve_triangular"]
        found = apply(row, t, b, trsm, lower=lower, trans=trans, unit=unit)
    return found


def cholesky(x: Any, potrf: Any, trsm: Any) -> Any:
    """The lower factor of a matrix, in blocks; None if it is one block.

    [A11 .; A21 A22] = [L11 0; L21 L22] [L11' L21'; 0 L22'].  What has no factor is NaN all over, as
    it would be in one block: a NaN of the second factor is carried to the others.
    """
    n = x.shape[-1]
    if n <= LEAF:
        return None
    at = cut(n)
    head, rest = x[..., :at, :at], x[..., at:, at:]
    top = _factor(head, potrf, trsm)
    below = _solved(top, matrix_transpose(x[..., at:, :at]), trsm, 1, 0, 0)
    corner = _factor(rest - matmul(matrix_transpose(below), below), potrf, trsm)
    wrong = corner[..., :1, :1] - corner[..., :1, :1]  # 0, or NaN
    left = concatenate((top, matrix_transpose(below)), axis=-2)
    right = concatenate((x[..., :at, at:], corner), axis=-2)  # the part above is cleared below
    return tril(concatenate((left, right), axis=-1) + wrong)


def cholesky_slope(g: Any, factor: Any, leaf: Callable[[Any, Any], Any]) -> Any:
    """Twice the gradient by a real symmetric matrix, from that by its Cholesky factor; `leaf` gives
    it for one block.

    The reverse of `cholesky` takes twice its operations, where the formula for one block takes
    twelve times as many [Murray, Differentiation of the Cholesky decomposition, 2016, section 4.2].
    """
    n = factor.shape[-1]
    if n <= LEAF:
        return leaf(g, factor)
    at = cut(n)
    top, below = factor[..., :at, :at], factor[..., at:, :at]
    corner = cholesky_slope(g[..., at:, at:], factor[..., at:, at:], leaf)
    across = matmul(matrix_transpose(below), corner)
    across = matrix_transpose(g[..., at:, :at]) - across
    (trsm,) = functions(["trsm"], g.dtype)
    right = _solved(top, across, trsm, 1, 1, 0)
    head = cholesky_slope(g[..., :at, :at] - matmul(right, below), top, leaf)
    upper = concatenate((head, right), axis=-1)
    lower = concatenate((matrix_transpose(right), corner), axis=-1)
    return concatenate((upper, lower), axis=-2)


def _factor(x: Any, potrf: Any, trsm: Any) -> Any:
    found = cholesky(x, potrf, trsm)
    return apply(OPS["cholesky"], x, potrf, trsm) if found is None else found
