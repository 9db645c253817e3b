"""The pseudoinverse, a row whose derivative needs no singular vectors, and what follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ir.op import Kind, Op
from gradloom.ir.routine import Code
from gradloom.ir.types import PART, TensorType
from gradloom.ops import lapack
from gradloom.ops.complex import real, squared
from gradloom.ops.composite import ones_like, stop_gradient, zeros_like
from gradloom.ops.contract import matmul
from gradloom.ops.elementwise import astype
from gradloom.ops.factor import batching
from gradloom.ops.lapack import address_of
from gradloom.ops.linear import matrices, svdvals
from gradloom.ops.move import expand_dims, matrix_transpose
from gradloom.ops.orthogonal import svd_work
from gradloom.ops.pairs import adjoint, conjugated, define_with_pairs
from gradloom.ops.public import as_operand, public
from gradloom.ops.reduce import max_, sum_

PINV_TEXT = """\
def {name}(start, stop, m, n, lwork, x, rcond, gesdd, out, w, r):
    # V / S U', of the singular values above the cutoff
    call = load_int64(gesdd, 0)
    least = m if m < n else n
    store_int32(w, 0, n)
    store_int32(w, 1, m)
    store_int32(w, 2, least)
    store_int32(w, 3, lwork)
    store_int32(w, 4, {some})
    u = view(r, m * n * {bytes})
    vh = view(u, m * least * {bytes})
    s = view(vh, least * n * {bytes})
    work = view(s, least * {bytes})
    for row in range(start, stop):
        inverse = view(out, row * m * n * {bytes})
        copy(r, 0, x, row * m * n * {bytes}, m * n * {bytes})
        invoke_{count}(
            call, view(w, 16), w, view(w, 4), r, w, s, vh, w, u, view(w, 8), work, view(w, 12),
            {rwork}view(w, 24), view(w, 20),
        )
        if load_int32(w, 5) != 0:
            routine_fill_nan_{dtype}(inverse, m * n)
        else:
            zero(inverse, m * n * {bytes})
            cutoff = load_{part}(rcond, row) * load_{part}(s, 0)
            for k in range(least):
                if load_{part}(s, k) > cutoff:
                    scale = 1.0 / load_{part}(s, k)
                    for i in range(n):
                        {factor}
                        for j in range(m):
                            {added}
"""
# What element i, j of the inverse gains by a singular value: of complex matrices, a conjugate.
REAL = {
    "factor": """\
                        factor = load_{part}(vh, k * n + i) * scale
""",
    "added": """\
                            added = factor * load_{part}(u, j * least + k)
                            at = i * m + j
                            store_{part}(inverse, at, load_{part}(inverse, at) + added)
""",
}
COMPLEX = {
    "factor": """\
                        re = load_{part}(vh, 2 * (k * n + i)) * scale
                        im = load_{part}(vh, 2 * (k * n + i) + 1) * scale
""",
    "added": """\
                            x_re = load_{part}(u, 2 * (j * least + k))
                            x_im = load_{part}(u, 2 * (j * least + k) + 1)
                            at = 2 * (i * m + j)
                            more = re * x_re - im * x_im
                            store_{part}(inverse, at, load_{part}(inverse, at) + more)
                            less = re * x_im + im * x_re
                            store_{part}(inverse, at + 1, load_{part}(inverse, at + 1) - less)
""",
}


def _pinv_code(x: TensorType, rcond: TensorType, gesdd: TensorType) -> Code:
    m, n = x.shape[-2:]
    k = min(m, n)
    lwork, more, words = svd_work(x)
    words |= {"some": ord("S")}
    text = PINV_TEXT
    for key, lines in (COMPLEX if x.is_complex else REAL).items():
        text = text.replace("{" + key + "}", lines.strip())
    reals, integers = m * n + k * (m + n + 1) + lwork + more, 6 + 8 * k
    numbers = (m, n, lwork)
    return lapack.code("pinv", text, x.dtype, x.shape[:-2], numbers, integers, reals, **words)


def _pinv_reference(x: Any, rcond: Any, gesdd: Any) -> np.ndarray:
    u, s, vh = lapack.each(lambda a: tuple(np.linalg.svd(a, full_matrices=False)), np.asarray(x))
    keep = s > np.asarray(rcond)[..., None] * s[..., :1]
    scale = np.where(keep, 1 / np.where(keep, s, 1), np.where(np.isnan(s), np.nan, 0))
    return np.swapaxes((u * scale[..., None, :]) @ vh, -1, -2).conj().astype(x.dtype)


@conjugated
def _pinv_vjp(g: Any, out: Any, x: Any, rcond: Any, gesdd: Any) -> tuple[Any, ...]:
    """Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least squares
    problems whose variables separate, 1973, eq. 4.12: dP = -P dA P + P P' dA' (I - A P)
    + (I - P A) dA' P' P, for matrices of constant rank."""
    p, pt, gt = out, adjoint(out), adjoint(g)
    outside = gt - matmul(matmul(x, p), gt)
    inside = gt - matmul(gt, matmul(p, x))
    pulled = matmul(outside, matmul(p, pt)) + matmul(matmul(pt, p), inside)
    return pulled - matmul(pt, matmul(g, pt)), None, None


PINV: Op = define_with_pairs(
    Op(
        "pinv",
        Kind.ROUTINE,
        lambda x, rcond, gesdd: TensorType((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype),
        _pinv_reference,
        _pinv_vjp,
        accepts="float",
        batch=batching(lambda: PINV, 2),
        routine=_pinv_code,
        samples=lambda rng, dtype: [
            (
                (
                    rng.uniform(-1, 1, shape).astype(dtype),
                    np.full(shape[:-2], 1e-6, PART.get(dtype, dtype)),
                    address_of("gesdd", dtype),
                ),
                {},
            )
            for shape in ((2, 4, 3), (3, 5))
        ],
    )
)


@public(np.linalg.pinv, name="linalg.pinv")
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """The pseudoinverse; singular values up to `rcond` (`rtol`) times the largest count as zero,
    1e-15 if neither is given.  `hermitian` changes nothing.

    The derivative is that of matrices of the same rank.
    """
    (a,) = matrices(a)
    if not a.size:
        return matrix_transpose(a)
    cutoff = rcond if rtol is None else rtol
    if cutoff is None:
        cutoff = 1e-15
    first = real(a[..., 0, 0])
    bound = ones_like(first) * astype(stop_gradient(as_operand(cutoff)), first.dtype)
    return apply(PINV, a, bound, *lapack.functions(["gesdd"], a.dtype))


@public(np.linalg.lstsq, name="linalg.lstsq")
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """The least-squares solution of least norm of `a @ x = b`, the residuals, the rank and the
    singular values.

    By the pseudoinverse.  The residuals have their values also where NumPy, which knows the rank,
    returns an empty array; they are empty if `a` has no more rows than columns.
    """
    b = as_operand(b)
    vector = b.ndim == 1
    a, b = matrices(a, expand_dims(b, -1) if vector else b)
    m, n = a.shape[-2:]
    if rcond is None or rcond == -1:
        rcond = float(np.finfo(a.dtype).eps) * (max(m, n) if rcond is None else 1)
    x = matmul(pinv(a, rcond), b)
    rest = b - matmul(a, x)
    left = sum_(squared(rest), -2) if m > n else zeros_like(real(rest))[..., 0, :0]
    s = svdvals(a)
    rank = sum_(astype(s > rcond * s[..., :1], "int64"), -1)
    return (x[..., 0] if vector else x), left, astype(rank, "int32"), s


@public(np.linalg.matrix_rank, name="linalg.matrix_rank")
def matrix_rank(a: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """How many singular values exceed `tol`, or `rtol` times the largest (by default the larger
    size times the dtype's precision)."""
    a = as_operand(a)
    if a.ndim < 2:
        return astype(max_(astype(a != 0, "int64")), "int64")
    (a,) = matrices(a)
    s = svdvals(a)
    if tol is None:
        factor = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps) if rtol is None else rtol
        tol = max_(s, -1, keepdims=True) * expand_dims(as_operand(factor), -1)
    else:
        tol = expand_dims(as_operand(tol), -1)
    return sum_(astype(s > tol, "int64"), -1)
