"""Rows of orthogonal factorisations by LAPACK: QR, symmetric eigenvalues, singular values.

A matrix for which an iteration does not converge, or that holds NaN, gives NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import MissingError, message, user_where
from gradloom.frontend.apply import apply_many
from gradloom.ir.op import Kind, Op
from gradloom.ir.routine import Code
from gradloom.ir.types import ITEMSIZE, PART, TensorType, TupleType
from gradloom.ops import lapack
from gradloom.ops.complex import from_parts, imag, is_complex
from gradloom.ops.contract import matmul
from gradloom.ops.diagonals import triu
from gradloom.ops.elementwise import where
from gradloom.ops.factor import batching, halved, identity_like, of_lower, triangular
from gradloom.ops.join import concatenate
from gradloom.ops.lapack import address_of
from gradloom.ops.move import expand_dims
from gradloom.ops.pairs import adjoint, conjugated, define_with_pairs


def _no_slope(what: str, repair: str) -> MissingError:
    return MissingError(message(f"{what} has no derivative", user_where(), repair))


def _zero(g: Any, like: Any) -> Any:
    """A cotangent that nothing asked for."""
    return like * 0 if g is None else g


# ---- QR

QR_TEXT = """\
def {name}(start, stop, m, n, k, width, ld, x, gelqf, orglq, q, f, w, r):
    # row-major A is A' to LAPACK: of A' = L Q', R is L' and Q is Q'', both in rows as they lie
    factor = load_int64(gelqf, 0)
    expand = load_int64(orglq, 0)
    store_int32(w, 0, n)
    store_int32(w, 1, m)
    store_int32(w, 2, k)
    store_int32(w, 3, width)
    store_int32(w, 4, ld)
    store_int32(w, 5, {block} * (m + n))
    tau = view(r, ld * m * {bytes})
    work = view(tau, k * {bytes})
    for row in range(start, stop):
        for j in range(m):
            copy(r, j * ld * {bytes}, x, (row * m + j) * n * {bytes}, n * {bytes})
        invoke_8(factor, w, view(w, 4), r, view(w, 16), tau, work, view(w, 20), view(w, 24))
        for j in range(width):
            for i in range(n):
                for p in range({parts}):
                    value = 0.0
                    if j <= i and j < m:
                        value = load_{part}(r, (j * ld + i) * {parts} + p)
                    store_{part}(f, ((row * width + j) * n + i) * {parts} + p, value)
        invoke_9(
            expand, view(w, 12), view(w, 4), view(w, 8), r, view(w, 16), tau, work, view(w, 20),
            view(w, 24),
        )
        for j in range(m):
            copy(q, (row * m + j) * width * {bytes}, r, j * ld * {bytes}, width * {bytes})
"""


def _width(x: TensorType, complete: int) -> int:
    return x.shape[-2] if complete else min(x.shape[-2:])


def _qr_types(x: TensorType, *addresses: TensorType, complete: int) -> TupleType:
    *batch, m, n = x.shape
    width = _width(x, complete)
    return TupleType(
        (TensorType((*batch, m, width), x.dtype), TensorType((*batch, width, n), x.dtype))
    )


def _qr_code(x: TensorType, *addresses: TensorType, complete: int) -> Code:
    m, n = x.shape[-2:]
    k, width = min(m, n), _width(x, complete)
    ld = max(n, width)
    reals = ld * m + k + lapack.BLOCK * (m + n)
    numbers = (m, n, k, width, ld)
    return lapack.code("qr", QR_TEXT, x.dtype, x.shape[:-2], numbers, 7, reals, block=lapack.BLOCK)


@conjugated
def _qr_vjp(g: Any, out: Any, x: Any, *addresses: Any, complete: int) -> tuple[Any, ...]:
    """Roberts and Roberts, QR and LQ decomposition matrix backpropagation algorithms for square,
    wide, and deep matrices, 2020, sections 2 and 3."""
    m, n = x.shape[-2:]
    if complete and m > n:
        raise _no_slope("a complete QR factorisation of more rows than columns", "use 'reduced'")
    q, r = out
    gq, gr = _zero(g[0], q), _zero(g[1], r)
    if m >= n:
        return _qr_square(gq, gr, q, r), None, None
    gu, gv = triu(gr[..., :m]), gr[..., m:]
    first = _qr_square(gq + matmul(x[..., m:], adjoint(gv)), gu, q, r[..., :m])
    return concatenate([first, matmul(q, gv)], -1), None, None


def _qr_square(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    gr = triu(gr)
    m = halved(matmul(r, adjoint(gr)) - matmul(adjoint(gq), q))
    inner = gq + matmul(q, m + adjoint(m))
    return adjoint(triangular(r, adjoint(inner), lower=0))


QR: Op = define_with_pairs(
    Op(
        "qr",
        Kind.ROUTINE,
        _qr_types,
        lambda x, *addresses, complete: tuple(
            np.linalg.qr(x, "complete" if complete else "reduced")
        ),
        _qr_vjp,
        accepts="float",
        batch=batching(lambda: QR, 1),
        routine=_qr_code,
        samples=lambda rng, dtype: [
            (
                (
                    rng.uniform(-1, 1, shape).astype(dtype),
                    address_of("gelqf", dtype),
                    address_of("orglq", dtype),
                ),
                {"complete": complete},
            )
            for shape, complete in (((2, 4, 3), 0), ((3, 5), 1), ((3, 3), 0))
        ],
    )
)


def qr_factors(x: Any, complete: int) -> tuple[Any, ...]:
    """Q and R of matrices."""
    addresses = lapack.functions(["gelqf", "orglq"], x.dtype)
    return apply_many(QR, x, *addresses, complete=complete)


# ---- symmetric eigenvalues

EIGH_TEXT = """\
def {name}(start, stop, n, vectors, x, syevd, values, out, w, r):
    # lower triangle and row-major: to LAPACK the upper one of the conjugate, whose vectors are its
    # columns, our rows
    call = load_int64(syevd, 0)
    store_int32(w, 0, n)
    store_int32(w, 1, {yes} if vectors else {no})
    store_int32(w, 2, {upper})
    store_int32(w, 3, 1 + {block} * n + 2 * n * n)
    store_int32(w, 4, 3 + 5 * n)
    store_int32(w, 6, 1 + 5 * n + 2 * n * n)
    work = view(r, n * n * {bytes})
    reals = view(work, (1 + {block} * n + 2 * n * n) * {bytes})
    for row in range(start, stop):
        found = view(values, row * n * {part_bytes})
        copy(r, 0, x, row * n * n * {bytes}, n * n * {bytes})
        bad = 0
        for i in range(n):
            for j in range(i * n * {parts}, (i * n + i + 1) * {parts}):
                entry = load_{part}(r, j)
                if entry - entry != 0.0:
                    bad = 1
        if bad == 0:
            invoke_{count}(
                call, view(w, 4), view(w, 8), w, r, w, found, work, view(w, 12), {rwork}view(w, 28),
                view(w, 16), view(w, 20),
            )
            bad = load_int32(w, 5)
        if bad != 0:
            routine_fill_nan_{part}(found, n)
            routine_fill_nan_{dtype}(r, n * n)
        if vectors:
            target = view(out, row * n * n * {bytes})
            routine_transpose_{dtype}(n, n, r, target)
            for i in range(n * n * ({parts} - 1)):
                store_{part}(target, 2 * i + 1, -load_{part}(target, 2 * i + 1))
"""


def _eigh_types(x: TensorType, syevd: TensorType, vectors: int) -> TupleType:
    values = TensorType(x.shape[:-1], PART.get(x.dtype, x.dtype))
    return TupleType((values, x if vectors else TensorType((*x.shape[:-2], 0), x.dtype)))


def _eigh_code(x: TensorType, syevd: TensorType, vectors: int) -> Code:
    n = x.shape[-1]
    reals = n * n + 1 + lapack.BLOCK * n + 2 * n * n
    words: dict[str, Any] = {"yes": ord("V"), "no": ord("N"), "upper": ord("U")}
    words |= {"block": lapack.BLOCK, "count": 11, "rwork": ""}
    if x.is_complex:
        words |= {"count": 13, "rwork": "reals, view(w, 24), "}
        reals += 1 + 5 * n + 2 * n * n
    batch, integers = x.shape[:-2], 7 + 3 + 5 * n
    return lapack.code("eigh", EIGH_TEXT, x.dtype, batch, (n, vectors), integers, reals, **words)


def _eigh_reference(x: Any, syevd: Any, vectors: int) -> tuple[np.ndarray, ...]:
    bad = ~np.isfinite(np.tril(x)).all((-1, -2))
    regular = np.where(bad[..., None, None], np.eye(x.shape[-1], dtype=x.dtype), x)
    values, found = lapack.each(lambda a: tuple(np.linalg.eigh(a)), regular)
    values = np.where(bad[..., None], np.nan, values).astype(values.dtype)
    found = np.where(bad[..., None, None], np.nan, found).astype(x.dtype)
    return values, found if vectors else np.zeros((*x.shape[:-2], 0), x.dtype)


@conjugated
def _eigh_vjp(g: Any, out: Any, x: Any, syevd: Any, vectors: int) -> tuple[Any, None]:
    """Giles 2008, section 3.1.  Equal eigenvalues have no derivative of their vectors: infinite."""
    values, found = out if vectors else eigh_factors(x)
    inner = identity_like(x) * expand_dims(_zero(g[0], values), -2)
    if vectors and g[1] is not None:
        apart = expand_dims(values, -2) - expand_dims(values, -1)
        eye = identity_like(x)
        rates = 1 / (apart + eye) - eye
        inner = inner + rates * matmul(adjoint(found), g[1])
    return of_lower(matmul(found, matmul(inner, adjoint(found)))), None


def _symmetric(rng: np.random.Generator, dtype: str) -> np.ndarray:
    x = rng.uniform(-1, 1, (2, 4, 4)) + np.diag(np.arange(4.0) * 2)
    return (x + x.swapaxes(-1, -2)).astype(dtype)


EIGH: Op = define_with_pairs(
    Op(
        "eigh",
        Kind.ROUTINE,
        _eigh_types,
        _eigh_reference,
        _eigh_vjp,
        accepts="float",
        batch=batching(lambda: EIGH, 1),
        routine=_eigh_code,
        samples=lambda rng, dtype: [
            ((_symmetric(rng, dtype), address_of("syevd", dtype)), {"vectors": 0})
        ],
    )
)


def eigh_factors(x: Any, vectors: int = 1) -> tuple[Any, ...]:
    """Eigenvalues and, in columns, eigenvectors of Hermitian matrices, by the lower triangle."""
    return apply_many(EIGH, x, *lapack.functions(["syevd"], x.dtype), vectors=vectors)


# ---- singular values

SVD_TEXT = """\
def {name}(start, stop, m, n, full, vectors, lwork, x, gesdd, u, s, vh, w, r):
    # row-major A is A' = V S U' to LAPACK, whose columns V and rows U' are rows V' and columns U
    call = load_int64(gesdd, 0)
    least = m if m < n else n
    store_int32(w, 0, n)
    store_int32(w, 1, m)
    store_int32(w, 2, m if full else least)
    store_int32(w, 3, lwork)
    store_int32(w, 4, ({all} if full else {some}) if vectors else {none})
    work = view(r, m * n * {bytes})
    wide = n if full else least
    tall = m if full else least
    for row in range(start, stop):
        left = view(u, row * m * tall * {bytes} * vectors)
        right = view(vh, row * wide * n * {bytes} * vectors)
        found = view(s, row * least * {part_bytes})
        copy(r, 0, x, row * m * n * {bytes}, m * n * {bytes})
        invoke_{count}(
            call, view(w, 16), w, view(w, 4), r, w, found, right, w, left, view(w, 8), work,
            view(w, 12), {rwork}view(w, 24), view(w, 20),
        )
        if load_int32(w, 5) != 0:
            routine_fill_nan_{part}(found, least)
            if vectors:
                routine_fill_nan_{dtype}(left, m * tall)
                routine_fill_nan_{dtype}(right, wide * n)
"""


def _svd_types(x: TensorType, gesdd: TensorType, full: int, vectors: int) -> TupleType:
    *batch, m, n = x.shape
    k = min(m, n)
    u = (*batch, m, m if full else k) if vectors else (*batch, 0)
    vh = (*batch, n if full else k, n) if vectors else (*batch, 0)
    values = TensorType((*batch, k), PART.get(x.dtype, x.dtype))
    return TupleType((TensorType(u, x.dtype), values, TensorType(vh, x.dtype)))


def svd_work(x: TensorType) -> tuple[int, int, dict[str, Any]]:
    """The work space of gesdd, what it needs besides for real parts, and words for its call."""
    m, n = x.shape[-2:]
    k = min(m, n)
    lwork = 4 * k * k + 7 * k + max(m, n) + lapack.BLOCK * (m + n)
    if not x.is_complex:
        return lwork, 0, {"count": 14, "rwork": ""}
    more = max(5 * k * k + 5 * k, 2 * k * max(m, n) + 2 * k * k + k)
    return lwork, more, {"count": 15, "rwork": f"view(work, lwork * {ITEMSIZE[x.dtype]}), "}


def _svd_code(x: TensorType, gesdd: TensorType, full: int, vectors: int) -> Code:
    m, n = x.shape[-2:]
    k = min(m, n)
    lwork, more, words = svd_work(x)
    words |= {"all": ord("A"), "some": ord("S"), "none": ord("N")}
    numbers = (m, n, full, vectors, lwork)
    reals, integers = m * n + lwork + more, 6 + 8 * k
    return lapack.code("svd", SVD_TEXT, x.dtype, x.shape[:-2], numbers, integers, reals, **words)


def _svd_reference(x: Any, gesdd: Any, full: int, vectors: int) -> tuple[np.ndarray, ...]:
    def one(a: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.linalg.svd(a, full_matrices=bool(full)))

    if vectors:
        return lapack.each(one, np.asarray(x))
    (s,) = lapack.each(lambda a: np.linalg.svd(a, compute_uv=False), np.asarray(x))
    nothing = np.zeros((*x.shape[:-2], 0), x.dtype)
    return nothing, s, nothing


@conjugated
def _svd_vjp(g: Any, out: Any, x: Any, gesdd: Any, full: int, vectors: int) -> tuple[Any, None]:
    """Townsend, Differentiating the singular value decomposition, 2016, eq. 27 ff.  Equal singular
    values have no derivative of their vectors.  Of complex vectors the phase is free: that of V is
    kept, and U takes the imaginary part of the diagonal."""
    if full and x.shape[-1] != x.shape[-2] and not (g[0] is None and g[2] is None):
        raise _no_slope("the full basis of a singular value decomposition", "full_matrices=False")
    u, s, vh = out if vectors and not full else svd_factors(x)
    gs = _zero(g[1], s)
    only = not vectors or (g[0] is None and g[2] is None)
    if only:
        return matmul(u * expand_dims(gs, -2), vh), None
    gu, gvh = _zero(g[0], u), _zero(g[2], vh)
    v, gv = adjoint(vh), adjoint(gvh)
    row, column = expand_dims(s, -2), expand_dims(s, -1)
    square = matmul(adjoint(u), gu)
    eye = identity_like(square)
    apart = (row - column) * (row + column)  # without the cancellation of a difference of squares
    rates = where(eye == 1, 0, 1 / where(eye == 1, 1, apart))
    left, right = rates * square, rates * matmul(vh, gv)
    inner = (left + adjoint(left)) * row + column * (right + adjoint(right))
    inner = inner + eye * expand_dims(gs, -2)
    if is_complex(u):
        inner = inner + eye * from_parts(0.0, imag(square) / row)
    whole = matmul(u, matmul(inner, vh))
    inverse = 1 / row
    if x.shape[-2] > x.shape[-1]:
        whole = whole + matmul((gu - matmul(u, square)) * inverse, vh)
    if x.shape[-2] < x.shape[-1]:
        rest = (gv - matmul(v, matmul(vh, gv))) * inverse
        whole = whole + matmul(u, adjoint(rest))
    return whole, None


SVD: Op = define_with_pairs(
    Op(
        "svd",
        Kind.ROUTINE,
        _svd_types,
        _svd_reference,
        _svd_vjp,
        accepts="float",
        batch=batching(lambda: SVD, 1),
        routine=_svd_code,
        samples=lambda rng, dtype: [
            (
                (rng.uniform(-1, 1, shape).astype(dtype), address_of("gesdd", dtype)),
                {"full": 0, "vectors": 0},
            )
            for shape in ((2, 4, 3), (3, 5))
        ],
    )
)


def svd_factors(x: Any, full: int = 0, vectors: int = 1) -> tuple[Any, ...]:
    """U, the singular values, and V*; without `vectors` the first and last are empty."""
    return apply_many(SVD, x, *lapack.functions(["gesdd"], x.dtype), full=full, vectors=vectors)
