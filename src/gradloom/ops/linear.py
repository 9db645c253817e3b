"""Linear algebra under NumPy's names: factorisations, systems and what follows from them.

Operands have leading batch axes that broadcast; integers become float64.  Complex matrices are
taken everywhere, and conjugated where they are transposed.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from gradloom.errors import MissingError, message, user_where
from gradloom.frontend.apply import apply, apply_many, promote
from gradloom.ir.op import OPS
from gradloom.ops import lapack
from gradloom.ops.complex import real
from gradloom.ops.contract import matmul
from gradloom.ops.elementwise import astype, exp
from gradloom.ops.elimination import SLOGDET, solve
from gradloom.ops.factor import CHOLESKY, identity_like
from gradloom.ops.move import broadcast_to, expand_dims, reshape
from gradloom.ops.orthogonal import eigh_factors, qr_factors, svd_factors
from gradloom.ops.pairs import adjoint
from gradloom.ops.public import as_operand, public, wrong_shape
from gradloom.ops.reduce import sum_


class QRResult(NamedTuple):
    """Factors of `x = Q @ R`."""

    Q: Any
    R: Any


class EighResult(NamedTuple):
    """Eigenvalues in rising order, and eigenvectors as columns."""

    eigenvalues: Any
    eigenvectors: Any


class SlogdetResult(NamedTuple):
    """The determinant's sign, and the logarithm of its size."""

    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    """Factors of `x = U @ diag(S) @ Vh`."""

    U: Any
    S: Any
    Vh: Any


def matrices(*operands: Any, square: bool = False) -> tuple[Any, ...]:
    """Operands as floating matrices of one dtype; `ShapeError` unless all have two axes."""
    given = tuple(as_operand(x) for x in operands)
    dtype = promote(OPS["divide"], given)
    for x in given:
        if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
            kind = "square matrices" if square else "matrices"
            raise wrong_shape(f"linear algebra on shape {tuple(x.shape)}", f"it takes {kind}")
    return tuple(astype(x, dtype) for x in given)


def together(a: Any, b: Any) -> tuple[Any, Any]:
    """Both with the same batch axes."""
    batch = np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    return broadcast_to(a, (*batch, *a.shape[-2:])), broadcast_to(b, (*batch, *b.shape[-2:]))


def _hermitian(x: Any) -> Any:
    return 0.5 * (x + adjoint(x))


@public(np.linalg.cholesky, name="linalg.cholesky")
def cholesky(a: Any, upper: bool = False) -> Any:
    """The lower triangular L of `a = L @ L.T`, or the upper `L.T` (`L.conj().T`); `a` is taken as
    symmetric (Hermitian), by the mean of its two triangles.  NaN where a matrix is not
    positive definite.

    >>> import gradloom.numpy as gnp
    >>> gnp.linalg.cholesky([[4.0, 2.0], [2.0, 2.0]])
    array([[2., 0.],
           [1., 1.]])
    """
    (a,) = matrices(a, square=True)
    if not a.size:
        return a
    out = apply(CHOLESKY, _hermitian(a), *lapack.functions(["potrf", "trsm"], a.dtype))
    return adjoint(out) if upper else out


@public(np.linalg.solve, name="linalg.solve")
def solve_(a: Any, b: Any) -> Any:
    """The solution x of `a @ x = b`; `b` is a vector only if it has one axis.  NaN where `a` is
    singular.

    >>> import gradloom.numpy as gnp
    >>> gnp.linalg.solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 2.0])
    array([1. , 0.5])
    """
    b = as_operand(b)
    vector = b.ndim == 1
    a, b = matrices(a, expand_dims(b, -1) if vector else b)
    if a.shape[-1] != a.shape[-2] or a.shape[-1] != b.shape[-2]:
        raise wrong_shape(
            f"a system of {tuple(a.shape)} with right side {tuple(b.shape)}",
            "a is square, with as many rows as b",
        )
    a, b = together(a, b)
    out = solve(a, b) if b.size else b
    return reshape(out, tuple(out.shape[:-1])) if vector else out


@public(np.linalg.inv, name="linalg.inv")
def inv(a: Any) -> Any:
    """The inverse of square matrices; NaN where there is none."""
    (a,) = matrices(a, square=True)
    return solve(a, identity_like(a)) if a.size else a


@public(np.linalg.slogdet, name="linalg.slogdet")
def slogdet(a: Any) -> SlogdetResult:
    """Sign (of complex matrices a number of size 1) and logarithm of the size of
    determinants: 0 and -inf where a matrix is singular."""
    (a,) = matrices(a, square=True)
    if not a.shape[-1]:
        nothing = sum_(a, (-2, -1))
        return SlogdetResult(exp(nothing), real(nothing))
    return SlogdetResult(*apply_many(SLOGDET, a, *lapack.functions(["getrf"], a.dtype)))


@public(np.linalg.det, name="linalg.det")
def det(a: Any) -> Any:
    """Determinants.  Up to three rows the polynomial itself, whose derivative is exact also where
    a matrix is singular; beyond, its sign times the exponential of the logarithm of its size.

    >>> import gradloom.numpy as gnp
    >>> float(gnp.linalg.det([[1.0, 2.0], [3.0, 4.0]]))
    -2.0
    """
    (a,) = matrices(a, square=True)
    if 0 < a.shape[-1] <= 3:
        return _small_det(a)
    sign, logs = slogdet(a)
    return sign * exp(logs)


def _small_det(a: Any) -> Any:
    size = a.shape[-1]
    if size == 1:
        return a[..., 0, 0]
    if size == 2:
        return a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] * a[..., 1, 0]
    minors = [
        a[..., 1, (i + 1) % 3] * a[..., 2, (i + 2) % 3]
        - a[..., 1, (i + 2) % 3] * a[..., 2, (i + 1) % 3]
        for i in range(3)
    ]
    return sum(a[..., 0, i] * minors[i] for i in range(3))


@public(np.linalg.qr, name="linalg.qr")
def qr(a: Any, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and upper triangular R of `a = Q @ R`; `mode` is "reduced",
    "complete" (a square Q), or "r" for R alone."""
    if mode not in ("reduced", "complete", "r"):
        raise MissingError(
            message(f"qr has no mode {mode!r}", user_where(), "use 'reduced', 'complete' or 'r'")
        )
    (a,) = matrices(a)
    if not a.size:
        _empty("qr", a)
    q, r = qr_factors(a, int(mode == "complete"))
    return r if mode == "r" else QRResult(q, r)


def _empty(name: str, a: Any) -> NoReturn:
    raise wrong_shape(f"{name} of an empty matrix {tuple(a.shape)}", "give it a row and a column")


@public(np.linalg.eigh, name="linalg.eigh")
def eigh(a: Any, UPLO: str = "L") -> EighResult:  # noqa: N803  (NumPy's name)
    """Eigenvalues in rising order and orthonormal eigenvectors of symmetric or Hermitian
    matrices, which are taken as the mean of their two triangles, whatever `UPLO` says.

    The derivative of the vectors is infinite where eigenvalues are equal.
    """
    (a,) = matrices(a, square=True)
    if not a.size:
        return EighResult(a[..., 0], a)
    return EighResult(*eigh_factors(_hermitian(a)))


@public(np.linalg.eigvalsh, name="linalg.eigvalsh")
def eigvalsh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803  (NumPy's name)
    """Eigenvalues of symmetric or Hermitian matrices, in rising order; see `eigh`."""
    (a,) = matrices(a, square=True)
    return eigh_factors(_hermitian(a), 0)[0] if a.size else a[..., 0]


@public(np.linalg.svd, name="linalg.svd")
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """U, singular values in falling order, and Vh of `a = U @ diag(S) @ Vh`.

    With `full_matrices` U and Vh are square; then only the singular values of a matrix that is not
    square have a derivative.  `hermitian` changes nothing.
    """
    (a,) = matrices(a)
    if not a.size:
        _empty("svd", a)
    if not compute_uv:
        return svd_factors(a, 0, 0)[1]
    return SVDResult(*svd_factors(a, int(full_matrices)))


@public(np.linalg.svdvals, name="linalg.svdvals")
def svdvals(a: Any) -> Any:
    """Singular values, in falling order."""
    return svd(a, compute_uv=False)


@public(np.linalg.matrix_power, name="linalg.matrix_power")
def matrix_power(a: Any, n: int) -> Any:
    """`a` multiplied with itself `n` times, by squaring; the inverse for negative `n`."""
    a = as_operand(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise wrong_shape(f"a power of shape {tuple(a.shape)}", "it takes square matrices")
    if n < 0:
        return matrix_power(inv(a), -n)
    if n == 0:
        return identity_like(a)
    half = matrix_power(a, n // 2) if n > 1 else None
    square = a if half is None else matmul(half, half)
    return matmul(square, a) if n > 1 and n % 2 else square


def _unavailable(name: str) -> Any:
    def refuse(a: Any) -> NoReturn:
        raise MissingError(
            message(
                f"gnp.linalg.{name} of general matrices, whose eigenvalues are complex",
                user_where(),
                "use eigh or eigvalsh for symmetric matrices, svd for the others",
            )
        )

    refuse.__doc__ = "Refused: eigenvalues of general matrices are complex; see `eigh` and `svd`."
    return public(getattr(np.linalg, name), name=f"linalg.{name}")(refuse)


eig, eigvals = _unavailable("eig"), _unavailable("eigvals")
