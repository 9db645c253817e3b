"""NumPy's linear algebra, for traced values and arrays alike: `gnp.linalg`.

All functions take matrices with leading batch axes, floating or complex.  Where NumPy raises
`LinAlgError` (a singular system, a matrix that is not positive definite) results are NaN: compiled
code raises nothing, and so it is on arrays too.

>>> import gradloom.numpy as gnp
>>> gnp.linalg.inv([[2.0, 0.0], [0.0, 4.0]])
array([[0.5 , 0.  ],
       [0.  , 0.25]])
"""

from gradloom.ops.contract import matmul, tensordot
from gradloom.ops.linear import (
    cholesky,
    det,
    eigh,
    eigvalsh,
    inv,
    matrix_power,
    qr,
    slogdet,
    svd,
    svdvals,
)
from gradloom.ops.linear import solve_ as solve
from gradloom.ops.move import matrix_transpose
from gradloom.ops.norms import (
    cond,
    cross,
    diagonal,
    matrix_norm,
    multi_dot,
    norm,
    outer,
    tensorinv,
    tensorsolve,
    trace,
    vecdot,
    vector_norm,
)
from gradloom.ops.pseudo import lstsq, matrix_rank, pinv

__all__ = [
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]
