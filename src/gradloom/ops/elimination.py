"""Rows of Gauss's elimination by LAPACK: systems, determinants, LU factors.

A singular system gives NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.errors import MissingError, message, user_where
from gradloom.frontend.apply import apply, apply_many
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.routine import Code
from gradloom.ir.types import PART, TensorType, TupleType
from gradloom.ops import lapack
from gradloom.ops.complex import from_parts, imag, is_complex
from gradloom.ops.contract import matmul
from gradloom.ops.diagonals import diagonal, tril, triu
from gradloom.ops.elementwise import astype, log, where
from gradloom.ops.factor import batching, identity_like, triangular, well
from gradloom.ops.join import index_along, stack
from gradloom.ops.lapack import address_of
from gradloom.ops.move import broadcast_to, expand_dims, matrix_transpose
from gradloom.ops.pairs import define_with_pairs
from gradloom.ops.picking import take_along_axis
from gradloom.ops.planar import absolute
from gradloom.ops.planar_folds import prod
from gradloom.ops.public import as_operand
from gradloom.ops.reduce import sum_
from gradloom.ops.sorting import argsort

# ---- general systems

SOLVE_TEXT = """\
def {name}(start, stop, n, k, a, b, getrf, trsm, out, w, r):
    # to LAPACK A' = P L U, and A X = B is X' P L U = B': the factors are taken off the right side.
    # LAPACK's own `getrs` wakes OpenBLAS's threads for the smallest of systems.
    factor = load_int64(getrf, 0)
    solve = load_int64(trsm, 0)
    store_int32(w, 0, n)
    store_int32(w, 1, k)
    store_int32(w, 2, {right})
    store_int32(w, 3, {upper})
    store_int32(w, 4, {lower})
    store_int32(w, 5, {plain})
    store_int32(w, 6, {unit})
    pivots = view(w, 32)
    factors = view(r, {bytes})
    store_{part}(r, {parts} - 1, 0.0)
    store_{part}(r, 0, 1.0)
    for row in range(start, stop):
        x = view(out, row * n * k * {bytes})
        copy(factors, 0, a, row * n * n * {bytes}, n * n * {bytes})
        copy(x, 0, b, row * n * k * {bytes}, n * k * {bytes})
        invoke_6(factor, w, w, factors, w, pivots, view(w, 28))
        if load_int32(w, 7) != 0:
            routine_fill_nan_{dtype}(x, n * k)
        else:
            invoke_11(
                solve, view(w, 8), view(w, 12), view(w, 20), view(w, 20), view(w, 4), w, r,
                factors, w, x, view(w, 4),
            )
            invoke_11(
                solve, view(w, 8), view(w, 16), view(w, 20), view(w, 24), view(w, 4), w, r,
                factors, w, x, view(w, 4),
            )
            for i in range(n - 1, -1, -1):
                other = load_int32(pivots, i) - 1
                if other != i:
                    for j in range(k * {parts}):
                        here = i * k * {parts} + j
                        there = other * k * {parts} + j
                        kept = load_{part}(x, here)
                        store_{part}(x, here, load_{part}(x, there))
                        store_{part}(x, there, kept)
"""


def _solve_code(a: TensorType, b: TensorType, *addresses: TensorType) -> Code:
    n, k = b.shape[-2:]
    letters = {"right": "R", "upper": "U", "lower": "L", "plain": "N", "unit": "U"}
    words = {key: ord(letter) for key, letter in letters.items()}
    return lapack.code(
        "solve", SOLVE_TEXT, b.dtype, b.shape[:-2], (n, k), n + 8, n * n + 1, **words
    )


def _solve_vjp(g: Any, out: Any, a: Any, b: Any, *addresses: Any) -> tuple[Any, ...]:
    """Giles, Collected matrix derivative results for forward and reverse mode AD, 2008, 2.3.1."""
    pulled = solve(matrix_transpose(a), g)
    return -matmul(pulled, matrix_transpose(out)), pulled, None, None


SOLVE: Op = define_with_pairs(
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
                    address_of("trsm", dtype),
                ),
                {},
            )
        ],
    ),
    2,
)


def solve(a: Any, b: Any) -> Any:
    """The solution of a linear system, of operands with the same batch axes and dtype."""
    return apply(SOLVE, a, b, *lapack.functions(["getrf", "trsm"], b.dtype))


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
    """Giles 2008, 2.2.4; a complex sign s turns by `1j s im(trace(x^-1 dx))`."""
    rate = g[1]
    if g[0] is not None and is_complex(x):
        turn = from_parts(0.0, imag(g[0] * out[0]))
        rate = turn if rate is None else rate + turn
    if rate is None:
        return None, None
    inverse = matrix_transpose(solve(x, identity_like(x)))
    return expand_dims(rate, (-2, -1)) * inverse, None


def _slogdet_types(x: TensorType, getrf: TensorType) -> TupleType:
    batch = x.shape[:-2]
    return TupleType((TensorType(batch, x.dtype), TensorType(batch, PART.get(x.dtype, x.dtype))))


def _slogdet_planar(x: Any, getrf: Any) -> tuple[Any, Any]:
    """By the factors: both parts of their diagonal, over its size."""
    assert LU.planar is not None
    packed, pivots, _ = LU.planar(x, getrf)
    z = tuple(diagonal(packed[..., k], axis1=-2, axis2=-1) for k in (0, 1))
    size = absolute(z)
    steps = index_along(pivots, pivots.ndim - 1)
    turned = where(pivots == steps, 1, -1)
    turned = astype(turned, z[0].dtype)
    safe = where(size == 0, 1, size)
    sign = prod((z[0] / safe * turned, z[1] / safe * turned), (z[0].ndim - 1,))
    return stack(sign, -1), sum_(log(size), -1)


SLOGDET: Op = define(
    Op(
        "slogdet",
        Kind.ROUTINE,
        _slogdet_types,
        lambda x, getrf: tuple(np.linalg.slogdet(x)),
        _slogdet_vjp,
        accepts="float",
        batch=batching(lambda: SLOGDET, 1),
        planar=_slogdet_planar,
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
            sizes = np.abs(a[i:, i].real) + np.abs(a[i:, i].imag)  # as BLAS's i*amax has them
            j = swaps[i] = i + np.argmax(sizes)
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


LU: Op = define_with_pairs(
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


# ---- row exchanges

ORDER_TEXT = """\
def routine_row_order(start, stop, count, size, pivots, order):
    for row in range(start, stop):
        here = view(order, row * size * 8)
        for i in range(size):
            store_int64(here, i, i)
        for i in range(count):
            j = load_int32(pivots, row * count + i)
            kept = load_int64(here, i)
            store_int64(here, i, load_int64(here, j))
            store_int64(here, j, kept)
"""


def _order_reference(pivots: Any, count: int) -> np.ndarray:
    flat = np.asarray(pivots).reshape(-1, pivots.shape[-1])
    order = np.tile(np.arange(count), (len(flat), 1))
    for swaps, rows in zip(flat, order, strict=True):
        for i, j in enumerate(swaps):
            rows[[i, j]] = rows[[j, i]]
    return order.reshape(*pivots.shape[:-1], count)


ORDER: Op = define(
    Op(
        "row_order",
        Kind.ROUTINE,
        lambda pivots, count: TensorType((*pivots.shape[:-1], count), "int64"),
        _order_reference,
        accepts="integer",
        returns="int64",
        batch=batching(lambda: ORDER, 1),
        routine=lambda pivots, count: Code(
            (ORDER_TEXT,), math.prod(pivots.shape[:-1]), (pivots.shape[-1], count)
        ),
        samples=lambda rng, dtype: [((np.array([[2, 2, 2], [1, 3, 2]], "int32"),), {"count": 4})],
    )
)


def row_order(pivots: Any, size: int) -> Any:
    """LAPACK's row exchanges, from 0, as the order that the rows end up in."""
    return apply(ORDER, astype(as_operand(pivots), "int32"), count=size)
