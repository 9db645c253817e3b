"""LAPACK's and BLAS's functions, which routines call by their address, and the code of a call.

An address is an operand, a hidden input of the program: native objects name no foreign symbol, and
are the same in every process.  The functions are those that SciPy brings.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

import numpy as np

from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, current
from gradloom.ir.routine import Code
from gradloom.ir.types import COMPLEX, ITEMSIZE, PART

BLOCK = 64  # columns: the widest panels that LAPACK's blocked routines work in
LETTER = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}
# Where the name of a complex function is not that of the real one with another letter.
UNITARY = {"orglq": "unglq", "syevd": "heevd"}


@cache
def address(name: str) -> np.ndarray:
    """The address of a function, as the one array that every trace captures.

    >>> address("dpotrf").dtype
    dtype('int64')
    """
    found = {**bindings("blas").__pyx_capi__, **bindings("lapack").__pyx_capi__}[name]
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return np.array(pointer_of(found, name_of(found)), np.int64)


@cache
def bindings(library: str) -> Any:
    """SciPy's module of pointers to the functions of "blas" or "lapack".

    It is loaded without the package around it where it is not there yet: all of `scipy.linalg`
    takes 160 ms and 14 MB to import, this module 10 ms and 2 MB.
    """
    name = f"scipy.linalg.cython_{library}"
    if name in sys.modules:
        return sys.modules[name]
    import scipy

    spec = PathFinder.find_spec(name, [f"{folder}/linalg" for folder in scipy.__path__])
    if spec is None or spec.loader is None:
        return importlib.import_module(name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop(name, None)  # so that an import of `scipy.linalg` finds and binds it itself
    return module


def hidden(array: np.ndarray) -> Any:
    """A 0-d array as an operand that is read at every call, not a constant of the program."""
    trace = current()
    return Tensor(trace.capture(array)) if isinstance(trace, Trace) else array


def functions(names: Iterable[str], dtype: Any) -> tuple[Any, ...]:
    """The operands that are addresses, for matrices of `dtype`."""
    return tuple(hidden(address_of(name, np.dtype(dtype).name)) for name in names)


def address_of(name: str, dtype: str) -> np.ndarray:
    """The address of a function for matrices of `dtype`, by its name for real ones."""
    found = UNITARY.get(name, name) if dtype in COMPLEX else name
    return address(LETTER[dtype] + found)


# ---- the text of a routine

NAN = """\
def routine_fill_nan_{dtype}(target, count):
    big = 1e308 * 10.0
    for i in range(count * {parts}):
        store_{part}(target, i, big - big)
"""

TRANSPOSE = """\
def routine_transpose_{dtype}(rows, columns, x, out):
    for i in range(rows):
        for j in range(columns):
            for p in range({parts}):
                entry = load_{part}(x, (i * columns + j) * {parts} + p)
                store_{part}(out, (j * rows + i) * {parts} + p, entry)
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
    `reals` of the dtype.  Of a complex dtype the text reads and writes `parts` of dtype `part`.
    """
    filled = {"name": f"routine_{name}_{dtype}", "dtype": dtype, "bytes": ITEMSIZE[dtype], **words}
    part = PART.get(dtype, dtype)
    filled |= {"part": part, "parts": 2 if dtype in COMPLEX else 1, "part_bytes": ITEMSIZE[part]}
    real = NAN.format(dtype=part, part=part, parts=1)
    parts = dict.fromkeys((real, *(t.format(**filled) for t in (NAN, TRANSPOSE, text))))
    work = (4 * integers, ITEMSIZE[dtype] * reals)
    return Code(tuple(parts), math.prod(batch), numbers, work)


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
