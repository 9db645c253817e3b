"""Rows of Cholesky factors and triangular systems by LAPACK, and what rows of matrices share.

A row-major matrix is its own transpose to LAPACK; the texts say how each copes.  A matrix that has
no factorisation gives NaN, as there are no exceptions in native code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply, apply_many
from gradloom.ir.op import Kind, Op
from gradloom.ir.routine import Code
from gradloom.ir.types import COMPLEX, TensorType, TupleType
from gradloom.ops import blocked, lapack
from gradloom.ops.complex import conjugate
from gradloom.ops.composite import ones_like, zeros_like
from gradloom.ops.contract import matmul
from gradloom.ops.diagonals import tril, triu
from gradloom.ops.elementwise import where
from gradloom.ops.join import index_along
from gradloom.ops.lapack import address_of
from gradloom.ops.move import broadcast_to, matrix_transpose
from gradloom.ops.pairs import adjoint, conjugated, define_with_pairs

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
    """The gradient by the lower triangle, of a function of Hermitian matrices that reads only it,
    from its gradient `x` by all entries."""
    x = 0.5 * (x + adjoint(x))
    return tril(x) + tril(x, -1)


def well(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    """Matrices that are far from singular."""
    x = rng.uniform(-1, 1, shape)
    return (x + 3 * np.eye(shape[-2], shape[-1])).astype(dtype)


# ---- Cholesky

CHOLESKY_TEXT = """\
def {name}(start, stop, n, x, potrf, trsm, out, w, r):
    # lower triangle and row-major: to LAPACK the upper one, of the conjugate, U* U: L is U'
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
            for j in range((i * n + i + 1) * {parts}, (i * n + n) * {parts}):
                store_{part}(a, j, 0.0)
"""


def _cholesky_code(x: TensorType, potrf: TensorType, trsm: TensorType) -> Code:
    n = x.shape[-1]
    return lapack.code("cholesky", CHOLESKY_TEXT, x.dtype, x.shape[:-2], (n,), 3, upper=ord("U"))


@conjugated
def _cholesky_vjp(g: Any, out: Any, x: Any, potrf: Any, trsm: Any) -> tuple[Any, None, None]:
    if out.dtype.name in COMPLEX:
        return halved(_cholesky_slope(g, out)), None, None
    return halved(blocked.cholesky_slope(g, out, _cholesky_slope)), None, None


def _cholesky_slope(g: Any, out: Any) -> Any:
    """Twice the gradient by a Hermitian matrix, from that by its factor [Murray, Differentiation of
    the Cholesky decomposition, 2016, eq. 10]."""
    inner = halved(matmul(adjoint(out), tril(g)))
    left = triangular(conjugate(out), inner, lower=1, trans=1)
    whole = adjoint(triangular(conjugate(out), adjoint(left), lower=1, trans=1))
    return whole + adjoint(whole)


CHOLESKY: Op = define_with_pairs(
    Op(
        "cholesky",
        Kind.ROUTINE,
        lambda x, *addresses: x,
        lambda x, *addresses: np.tril(lapack.each(np.linalg.cholesky, np.asarray(x))[0]),
        _cholesky_vjp,
        accepts="float",
        batch=batching(lambda: CHOLESKY, 1),
        routine=_cholesky_code,
        blocks=blocked.cholesky,
        samples=lambda rng, dtype: [
            (
                (
                    well(rng, dtype, 2, 4, 4),
                    address_of("potrf", dtype),
                    address_of("trsm", dtype),
                ),
                {},
            ),
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
    store_{part}(r, 0, 1.0)
    store_{part}(r, 1, 0.0)
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
    return lapack.code("triangular", TRIANGULAR_TEXT, b.dtype, b.shape[:-2], numbers, 6, 2, **words)


def _triangular_reference(
    t: Any, b: Any, trsm: Any, lower: int, trans: int, unit: int
) -> np.ndarray:
    t = np.tril(t) if lower else np.triu(t)
    if unit:
        eye = np.eye(t.shape[-1], dtype=t.dtype)
        t = t - eye * t + eye
    t = np.swapaxes(t, -1, -2) if trans else t
    return lapack.each(np.linalg.solve, t, np.asarray(b))[0]


def _triangular_vjp(
    g: Any, out: Any, t: Any, b: Any, trsm: Any, lower: int, trans: int, unit: int
) -> tuple[Any, Any, None]:
    pulled = triangular(t, g, lower, 1 - trans, unit)
    pair = (out, pulled) if trans else (pulled, out)
    whole = -matmul(pair[0], matrix_transpose(pair[1]))
    return tril(whole, -unit) if lower else triu(whole, unit), pulled, None


TRIANGULAR: Op = define_with_pairs(
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
        blocks=blocked.triangular,
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
    ),
    2,
)


def triangular(t: Any, b: Any, lower: int, trans: int = 0, unit: int = 0) -> Any:
    """The solution of a triangular system, of operands with the same batch axes and dtype."""
    (trsm,) = lapack.functions(["trsm"], b.dtype)
    return apply(TRIANGULAR, t, b, trsm, lower=lower, trans=trans, unit=unit)
