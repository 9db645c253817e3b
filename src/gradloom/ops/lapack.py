"""LAPACK's and BLAS's functions, which routines call by their address, and the code of a call.

An address is an operand, a hidden input of the program: native objects name no foreign symbol, and
are the same in every process.  The functions are those that SciPy brings.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from gradloom.errors import DtypeError, message, user_where
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, current
from gradloom.ir.routine import Code
from gradloom.ir.types import ITEMSIZE, TensorType

BLOCK = 64  # columns: the widest panels that LAPACK's blocked routines work in
LETTER = {"float32": "s", "float64": "d"}
ADDRESS = TensorType((), "int64")


@cache
def address(name: str) -> np.ndarray:
    """The address of a function, as the one array that every trace captures.

    >>> address("dpotrf").dtype
    dtype('int64')
    """
    from scipy.linalg import cython_blas, cython_lapack

    found = {**cython_blas.__pyx_capi__, **cython_lapack.__pyx_capi__}[name]
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return np.array(pointer_of(found, name_of(found)), np.int64)


def hidden(array: np.ndarray) -> Any:
    """A 0-d array as an operand that is read at every call, not a constant of the program."""
    trace = current()
    return Tensor(trace.capture(array)) if isinstance(trace, Trace) else array


def functions(names: Iterable[str], dtype: Any) -> tuple[Any, ...]:
    """The operands that are addresses, for real matrices of `dtype`."""
    letter = LETTER.get(np.dtype(dtype).name)
    if letter is None:
        raise DtypeError(
            message(
                f"linear algebra on {np.dtype(dtype).name}",
                user_where(),
                "it takes float32 and float64; a + ib is the real block matrix [[a, -b], [b, a]]",
            )
        )
    return tuple(hidden(address(letter + name)) for name in names)


# ---- the text of a routine

NAN = """\
def routine_fill_nan_{dtype}(target, count):
    big = 1e308 * 10.0
    for i in range(count):
        store_{dtype}(target, i, big - big)
"""

TRANSPOSE = """\
def routine_transpose_{dtype}(rows, columns, x, out):
    for i in range(rows):
        for j in range(columns):
            store_{dtype}(out, j * rows + i, load_{dtype}(x, i * columns + j))
"""


def code(
    name: str,
    text: str,
    dtype: str,
    batch: tuple[int, ...],
    numbers: tuple[int, ...],
    integers: int,
    reals: int = 0,
    **words: Any,
) -> Code:
    """The code of a routine over a batch of matrices.

    Its work spaces are `w`, of `integers` int32 (what Fortran takes by reference), and `r`, of
    `reals` of the dtype.
    """
    filled = {"name": f"routine_{name}_{dtype}", "dtype": dtype, "bytes": ITEMSIZE[dtype], **words}
    parts = tuple(part.format(**filled) for part in (NAN, TRANSPOSE, text))
    work = (4 * integers, ITEMSIZE[dtype] * reals)
    return Code(parts, math.prod(batch), numbers, work)


def each(function: Callable[..., Any], *arrays: Any) -> tuple[np.ndarray, ...]:
    """NumPy's function of a batch; NaN where it would raise an error."""
    try:
        return _tuple(function(*arrays))
    except np.linalg.LinAlgError:
        pass
    batch = arrays[0].shape[:-2]
    flat = [a.reshape(-1, *a.shape[-2:]) for a in arrays]
    found = [_or_nan(function, *(a[i] for a in flat)) for i in range(math.prod(batch))]
    return tuple(np.stack(part).reshape(batch + part[0].shape) for part in zip(*found, strict=True))


def _or_nan(function: Callable[..., Any], *matrices: np.ndarray) -> tuple[np.ndarray, ...]:
    try:
        return _tuple(function(*matrices))
    except np.linalg.LinAlgError:
        regular = [np.eye(*m.shape, dtype=m.dtype) for m in matrices]
        return tuple(np.full_like(a, np.nan) for a in _tuple(function(*regular)))


def _tuple(found: Any) -> tuple[np.ndarray, ...]:
    return tuple(found) if isinstance(found, tuple) else (found,)
