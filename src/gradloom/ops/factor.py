"""Rows of linear systems: Cholesky's and LU factors, triangular and general solutions, and
determinants, by LAPACK.

A row-major matrix is its own transpose to LAPACK; the texts say how each copes.  A matrix that has
no factorisation gives NaN, as there are no exceptions in native code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import MissingError, message, user_where
from gradloom.frontend.apply import apply, apply_many
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.routine import Code
from gradloom.ir.types import TensorType, TupleType
from gradloom.ops import lapack
from gradloom.ops.composite import ones_like, zeros_like
from gradloom.ops.contract import matmul
from gradloom.ops.diagonals import tril, triu
from gradloom.ops.elementwise import where
from gradloom.ops.join import index_along
from gradloom.ops.move import broadcast_to, expand_dims, matrix_transpose
from gradloom.ops.picking import take_along_axis
from gradloom.ops.sorting import argsort

# ---- what rows of matrices share


def batching(row: Any, matrices: int) -> Any:
    """The batching rule of a row whose first `matrices` operands have leading batch axes."""

    def batch(size: int, batched: Any, *arrays: Any, **attrs: Any) -> Any:
        whole = [
            v if b else broadcast_to(v, (size, *v.shape))
            for v, b in zip(arrays[:matrices], batched, strict=False)
        ]
        several = isinstance(row().infer(*map(_type, arrays), **attrs), TupleType)
        return (apply_many if several else apply)(row(), *whole, *arrays[matrices:], **attrs)

    return batch


def _type(x: Any) -> TensorType:
    return TensorType(tuple(x.shape), np.dtype(x.dtype).name)


def identity_like(x: Any) -> Any:
    """The identity matrix in the shape and dtype of `x`."""
    diagonal = index_along(x, x.ndim - 2) == index_along(x, x.ndim - 1)
    return where(diagonal, ones_like(x), zeros_like(x))


def halved(x: Any) -> Any:
    """The lower triangle with half the diagonal."""
    return 0.5 * (tril(x) + tril(x, -1))


def of_lower(x: Any) -> Any:
    """The gradient by the lower triangle, of a function of symmetric matrices that reads only it,
    from its gradient `x` by all entries."""
    x = 0.5 * (x + matrix_transpose(x))
    return tril(x) + tril(x, -1)


def well(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    """Matrices that are far from singular."""
    x = rng.uniform(-1, 1, shape)
    return (x + 3 * np.eye(shape[-2], shape[-1])).astype(dtype)


def address_of(name: str, dtype: str) -> np.ndarray:
    return lapack.address(lapack.LETTER[dtype] + name)


# ---- Cholesky

CHOLESKY_TEXT = """\
def {name}(start, stop, n, x, potrf, out, w, r):
    # lower triangle and row-major: to LAPACK the upper one, A = U' U
    call = load_int64(potrf, 0)
    store_int32(w, 0, n)
    store_int32(w, 1, {upper})
    for row in range(start, stop):
        a = view(out, row * n * n * {bytes})
        copy(a, 0, x, row * n * n * {bytes}, n * n * {bytes})
        invoke_5(call, view(w, 4), w, a, w, view(w, 8))
        if load_int32(w, 2) != 0:
            routine_fill_nan_{dtype}(a, n * n)
        for i in range(n):
            for j in range(i + 1, n):
                store_{dtype}(a, i * n + j, 0.0)
"""


def _cholesky_code(x: TensorType, potrf: TensorType) -> Code:
    n = x.shape[-1]
    return lapack.code("cholesky", CHOLESKY_TEXT, x.dtype, x.shape[:-2], (n,), 3, upper=ord("U"))


def _cholesky_vjp(g: Any, out: Any, x: Any, potrf: Any) -> tuple[Any, None]:
    """Murray, Differentiation of the Cholesky decomposition, 2016, eq. 10."""
    inner = halved(matmul(matrix_transpose(out), tril(g)))
    left = triangular(out, inner, lower=1, trans=1)
    whole = matrix_transpose(triangular(out, matrix_transpose(left), lower=1, trans=1))
    return of_lower(whole), None


CHOLESKY: Op = define(
    Op(
        "cholesky",
        Kind.ROUTINE,
        lambda x, potrf: x,
        lambda x, potrf: np.tril(lapack.each(np.linalg.cholesky, np.asarray(x))[0]),
        _cholesky_vjp,
        accepts="float",
        batch=batching(lambda: CHOLESKY, 1),
        routine=_cholesky_code,
        samples=lambda rng, dtype: [
            ((well(rng, dtype, 2, 4, 4), address_of("potrf", dtype)), {}),
        ],
    )
)

# ---- triangular systems

TRIANGULAR_TEXT = """\
def {name}(start, stop, n, k, lower, trans, unit, t, b, trsm, out, w, r):
    # T X = B in rows is X' T' = B' in LAPACK's columns: T' from the right, its other triangle
    call = load_int64(trsm, 0)
    store_int32(w, 0, k)
    store_int32(w, 1, n)
    store_int32(w, 2, {right})
    store_int32(w, 3, {upper} if lower else {low})
    store_int32(w, 4, {transposed} if trans else {plain})
    store_int32(w, 5, {unit} if unit else {plain})
    store_{dtype}(r, 0, 1.0)
    for row in range(start, stop):
        a = view(t, row * n * n * {bytes})
        x = view(out, row * n * k * {bytes})
        copy(x, 0, b, row * n * k * {bytes}, n * k * {bytes})
        invoke_11(
            call, view(w, 8), view(w, 12), view(w, 16), view(w, 20), w, view(w, 4), r, a,
            view(w, 4), x, w,
        )
"""


def _triangular_code(
    t: TensorType, b: TensorType, trsm: TensorType, lower: int, trans: int, unit: int
) -> Code:
    letters = {"right": "R", "upper": "U", "low": "L", "transposed": "T", "plain": "N", "unit": "U"}
    words = {key: ord(letter) for key, letter in letters.items()}
    numbers = (*b.shape[-2:], lower, trans, unit)
    return lapack.code("triangular", TRIANGULAR_TEXT, b.dtype, b.shape[:-2], numbers, 6, 1, **words)


def _triangular_reference(
    t: Any, b: Any, trsm: Any, lower: int, trans: int, unit: int
) -> np.ndarray:
    t = np.tril(t) if lower else np.triu(t)
    if unit:
        t = t - np.eye(t.shape[-1]) * t + np.eye(t.shape[-1], dtype=t.dtype)
    t = np.swapaxes(t, -1, -2) if trans else t
    return lapack.each(np.linalg.solve, t, np.asarray(b))[0]


def _triangular_vjp(
    g: Any, out: Any, t: Any, b: Any, trsm: Any, lower: int, trans: int, unit: int
) -> tuple[Any, Any, None]:
    pulled = triangular(t, g, lower, 1 - trans, unit)
    pair = (out, pulled) if trans else (pulled, out)
    whole = -matmul(pair[0], matrix_transpose(pair[1]))
    return tril(whole, -unit) if lower else triu(whole, unit), pulled, None


TRIANGULAR: Op = define(
    Op(
        "solve_triangular",
        Kind.ROUTINE,
        lambda t, b, trsm, **attrs: b,
        _triangular_reference,
        _triangular_vjp,
        accepts="float",
        operands=2,
        batch=batching(lambda: TRIANGULAR, 2),
        routine=_triangular_code,
        samples=lambda rng, dtype: [
            (
                (
                    well(rng, dtype, 2, 3, 3),
                    rng.uniform(-1, 1, (2, 3, 2)).astype(dtype),
                    address_of("trsm", dtype),
                ),
                {"lower": i & 1, "trans": i >> 1 & 1, "unit": int(i == 3)},
            )
            for i in range(4)
        ],
    )
)


def triangular(t: Any, b: Any, lower: int, trans: int = 0, unit: int = 0) -> Any:
    """The solution of a triangular system, of operands with the same batch axes and dtype."""
    (trsm,) = lapack.functions(["trsm"], b.dtype)
    return apply(TRIANGULAR, t, b, trsm, lower=lower, trans=trans, unit=unit)


# ---- general systems

SOLVE_TEXT = """\
def {name}(start, stop, n, k, a, b, getrf, getrs, out, w, r):
    # to LAPACK the factors of A', of which it solves the transpose: A X = B
    factor = load_int64(getrf, 0)
    solve = load_int64(getrs, 0)
    store_int32(w, 0, n)
    store_int32(w, 1, k)
    store_int32(w, 2, {transposed})
    columns = view(r, n * n * {bytes})
    pivots = view(w, 16)
    for row in range(start, stop):
        x = view(out, row * n * k * {bytes})
        copy(r, 0, a, row * n * n * {bytes}, n * n * {bytes})
        routine_transpose_{dtype}(n, k, view(b, row * n * k * {bytes}), columns)
        invoke_6(factor, w, w, r, w, pivots, view(w, 12))
        if load_int32(w, 3) != 0:
            routine_fill_nan_{dtype}(columns, n * k)
        else:
            invoke_9(
                solve, view(w, 8), w, view(w, 4), r, w, pivots, columns, w, view(w, 12)
            )
        routine_transpose_{dtype}(k, n, columns, x)
"""


def _solve_code(a: TensorType, b: TensorType, *addresses: TensorType) -> Code:
    n, k = b.shape[-2:]
    reals = n * (n + k)
    return lapack.code(
        "solve", SOLVE_TEXT, b.dtype, b.shape[:-2], (n, k), n + 4, reals, transposed=ord("T")
    )


def _solve_vjp(g: Any, out: Any, a: Any, b: Any, *addresses: Any) -> tuple[Any, ...]:
    """Giles, Collected matrix derivative results for forward and reverse mode AD, 2008, 2.3.1."""
    pulled = solve(matrix_transpose(a), g)
    return -matmul(pulled, matrix_transpose(out)), pulled, None, None


SOLVE: Op = define(
    Op(
        "solve",
        Kind.ROUTINE,
        lambda a, b, *addresses: b,
        lambda a, b, *addresses: lapack.each(np.linalg.solve, np.asarray(a), np.asarray(b))[0],
        _solve_vjp,
        accepts="float",
        operands=2,
        batch=batching(lambda: SOLVE, 2),
        routine=_solve_code,
        samples=lambda rng, dtype: [
            (
                (
                    well(rng, dtype, 2, 4, 4),
                    rng.uniform(-1, 1, (2, 4, 3)).astype(dtype),
                    address_of("getrf", dtype),
                    address_of("getrs", dtype),
                ),
                {},
            )
        ],
    )
)


def solve(a: Any, b: Any) -> Any:
    """The solution of a linear system, of operands with the same batch axes and dtype."""
    return apply(SOLVE, a, b, *lapack.functions(["getrf", "getrs"], b.dtype))


# ---- determinants

SLOGDET_TEXT = """\
def {name}(start, stop, n, x, getrf, signs, logs, w, r):
    call = load_int64(getrf, 0)
    store_int32(w, 0, n)
    pivots = view(w, 8)
    for row in range(start, stop):
        copy(r, 0, x, row * n * n * {bytes}, n * n * {bytes})
        invoke_6(call, w, w, r, w, pivots, view(w, 4))
        sign = 1.0
        total = 0.0
        for i in range(n):
            entry = load_{dtype}(r, i * n + i)
            if load_int32(pivots, i) != i + 1:
                sign = -sign
            if entry < 0.0:
                sign = -sign
                entry = -entry
            if entry == 0.0:
                sign = 0.0
            total += math_log(entry)
        if sign == 0.0:
            total = math_log(0.0)
        if total != total:
            sign = total
        store_{dtype}(signs, row, sign)
        store_{dtype}(logs, row, total)
"""


def _slogdet_code(x: TensorType, getrf: TensorType) -> Code:
    n = x.shape[-1]
    return lapack.code("slogdet", SLOGDET_TEXT, x.dtype, x.shape[:-2], (n,), n + 2, n * n)


def _slogdet_vjp(g: Any, out: Any, x: Any, getrf: Any) -> tuple[Any, None]:
    """Giles 2008, 2.2.4."""
    if g[1] is None:
        return None, None
    inverse = matrix_transpose(solve(x, identity_like(x)))
    return expand_dims(g[1], (-2, -1)) * inverse, None


def _scalars(x: TensorType) -> TensorType:
    return TensorType(x.shape[:-2], x.dtype)


SLOGDET: Op = define(
    Op(
        "slogdet",
        Kind.ROUTINE,
        lambda x, getrf: TupleType((_scalars(x), _scalars(x))),
        lambda x, getrf: tuple(np.linalg.slogdet(x)),
        _slogdet_vjp,
        accepts="float",
        batch=batching(lambda: SLOGDET, 1),
        routine=_slogdet_code,
        samples=lambda rng, dtype: [((well(rng, dtype, 2, 4, 4), address_of("getrf", dtype)), {})],
    )
)

# ---- LU

LU_TEXT = """\
def {name}(start, stop, m, n, x, getrf, out, pivots, order, w, r):
    # LAPACK pivots rows of its columns, so A goes in and comes out transposed
    call = load_int64(getrf, 0)
    store_int32(w, 0, m)
    store_int32(w, 1, n)
    least = m if m < n else n
    for row in range(start, stop):
        here = view(order, row * m * 8)
        swaps = view(pivots, row * least * 4)
        routine_transpose_{dtype}(m, n, view(x, row * m * n * {bytes}), r)
        invoke_6(call, w, view(w, 4), r, w, swaps, view(w, 8))
        routine_transpose_{dtype}(n, m, r, view(out, row * m * n * {bytes}))
        for i in range(m):
            store_int64(here, i, i)
        for i in range(least):
            j = load_int32(swaps, i) - 1
            store_int32(swaps, i, j)
            kept = load_int64(here, i)
            store_int64(here, i, load_int64(here, j))
            store_int64(here, j, kept)
"""


def _lu_code(x: TensorType, getrf: TensorType) -> Code:
    m, n = x.shape[-2:]
    return lapack.code("lu", LU_TEXT, x.dtype, x.shape[:-2], (m, n), 3, m * n)


def _lu_reference(x: Any, getrf: Any) -> tuple[np.ndarray, ...]:
    """Gauss's elimination with the largest pivot of each column."""
    x = np.array(x)
    (*batch, m, n), least = x.shape, min(x.shape[-2:])
    flat = x.reshape(-1, m, n)
    pivots, order = np.zeros((len(flat), least), np.int32), np.tile(np.arange(m), (len(flat), 1))
    for a, swaps, rows in zip(flat, pivots, order, strict=True):
        for i in range(least):
            j = swaps[i] = i + np.argmax(np.abs(a[i:, i]))
            a[[i, j]], rows[[i, j]] = a[[j, i]], rows[[j, i]]
            if a[i, i]:
                a[i + 1 :, i] /= a[i, i]
            a[i + 1 :, i + 1 :] -= np.outer(a[i + 1 :, i], a[i, i + 1 :])
    return flat.reshape(x.shape), pivots.reshape(*batch, least), order.reshape(*batch, m)


def _lu_vjp(g: Any, out: Any, x: Any, getrf: Any) -> tuple[Any, None]:
    """A[order] = L U, so with cotangents of both in one matrix as they are,
    L^-T (stril(L^T g_L) + triu(g_U U^T)) U^-T goes to the rows of A [Giles 2008, section 2, by
    the same steps as for a Cholesky factor]."""
    if g[0] is None:
        return None, None
    if x.shape[-1] != x.shape[-2]:
        raise MissingError(
            message(
                "LU factors of a matrix that is not square have no derivative",
                user_where(),
                "use gnp.linalg.qr, or factor a square block",
            )
        )
    packed = out[0]
    lower = tril(packed, -1) + identity_like(packed)
    left = tril(matmul(matrix_transpose(lower), tril(g[0], -1)), -1)
    right = triu(matmul(triu(g[0]), matrix_transpose(triu(packed))))
    inner = triangular(packed, left + right, lower=1, trans=1, unit=1)
    rows = matrix_transpose(triangular(packed, matrix_transpose(inner), lower=0))
    back = expand_dims(argsort(out[2]), -1)
    return take_along_axis(rows, broadcast_to(back, tuple(rows.shape)), -2), None


def _lu_types(x: TensorType, getrf: TensorType) -> TupleType:
    *batch, m, n = x.shape
    pivots = TensorType((*batch, min(m, n)), "int32")
    return TupleType((x, pivots, TensorType((*batch, m), "int64")))


LU: Op = define(
    Op(
        "lu",
        Kind.ROUTINE,
        _lu_types,
        _lu_reference,
        _lu_vjp,
        accepts="float",
        batch=batching(lambda: LU, 1),
        routine=_lu_code,
        samples=lambda rng, dtype: [
            ((rng.uniform(-1, 1, (2, 4, 4)).astype(dtype), address_of("getrf", dtype)), {})
        ],
    )
)


def lu_factors(x: Any) -> tuple[Any, Any, Any]:
    """L and U in one matrix, LAPACK's row exchanges from 0 (int32), and the order of the rows."""
    packed, pivots, order = apply_many(LU, x, *lapack.functions(["getrf"], x.dtype))
    return packed, pivots, order
