"""NumPy's names, for traced values and arrays alike: `import gradloom.numpy as gnp`.

Inside a function that gradloom traces, NumPy's own functions work too: `np.tanh(x)` of a traced `x`
is `gnp.tanh(x)`.  The differences:

- Functions that make arrays (`zeros`, `eye`, `arange`, ...) are NumPy's own; `gnp.array`,
  `gnp.asarray` and `gnp.full` take traced values too, which NumPy's cannot.
- There is more: `relu`, `softmax`, `log_softmax`, `logsumexp`, `one_hot`, `sigmoid`, `softplus`,
  `erf`, `rsqrt`, `astype`.
- There is less: no `out=`, these dtypes only (bool, integers of 8 to 64 bits, float32, float64,
  complex64, complex128), and no order of complex numbers.  What would have a shape that depends on
  traced values (`nonzero`, `unique`, `compress`, ...) takes a `size=`, as in JAX.
  `gradloom.ops.absent` lists what there is not, and why.
- What NumPy does in place makes a new array: `x = x.at[key].set(v)`, or `gnp.at(x)[key].set(v)`.

On arrays, outside of a traced function, everything here computes at once, in NumPy.

>>> import gradloom.numpy as gnp
>>> gnp.softmax([0.0, 0.0])
array([0.5, 0.5])
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING, Any

import numpy as _np

from gradloom.errors import MissingError as _MissingError
from gradloom.errors import message as _message
from gradloom.errors import user_where as _user_where
from gradloom.frontend.tensor import FUNCTIONS as _FUNCTIONS
from gradloom.frontend.tensor import LATE as _LATE
from gradloom.ops import (  # each enters what it offers
    arrange,
    at,
    choosing,
    composite,
    contract,
    cumulative,
    diagonals,
    differences,
    einsum,
    indexing,
    making,
    moments,
    nans,
    padding,
    picking,
    plane,
    polynomials,
    quantiles,
    shapes,
    sorting,
    special_rows,
)
from gradloom.ops.absent import ABSENT as _ABSENT

if TYPE_CHECKING:
    from gradloom.numpy import fft as fft
    from gradloom.numpy import linalg as linalg

_FROM_NUMPY = (
    *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bool", "int_", "intc", "intp", "long", "longlong", "short", "byte"),
    *("uint", "uintc", "uintp", "ulong", "ulonglong", "ushort", "ubyte"),
    *("float32", "float64", "single", "double", "complex64", "complex128", "csingle", "cdouble"),
    *("number", "integer", "signedinteger", "unsignedinteger"),
    *("inexact", "floating", "complexfloating", "dtype", "finfo", "iinfo"),
    *("pi", "e", "inf", "nan", "newaxis"),
    *("ndarray", "zeros", "ones", "empty", "arange", "eye", "identity", "tri", "fromfunction"),
    *("bartlett", "blackman", "hamming", "hanning", "kaiser"),
    *("issubdtype", "promote_types", "min_scalar_type", "s_", "index_exp", "ndindex"),
)
# Square brackets, the row behind `astype`, and gradloom.stop_gradient.
_ELSEWHERE = ("getitem", "cast", "stop_gradient")
_MODULES = ("fft", "linalg")  # imported when they are asked for, or NumPy's are called
_LATE.update({f"numpy.{name}": f"gradloom.numpy.{name}" for name in _MODULES})
_OFFERED = {name for name in _FUNCTIONS if "." not in name}.difference(_ELSEWHERE)

globals().update({name: getattr(_np, name) for name in _FROM_NUMPY})
del arrange, at, choosing, composite, contract, cumulative, diagonals, differences, einsum
del indexing, making, moments, nans, padding, picking, plane, polynomials, quantiles, shapes
del sorting, special_rows
globals().update({name: f for name, f in _FUNCTIONS.items() if name in _OFFERED})
__all__ = sorted({*_FROM_NUMPY, *_OFFERED, *_MODULES})


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in _MODULES:
        return _importlib.import_module(f"gradloom.numpy.{name}")
    if name in _ABSENT:
        raise _MissingError(
            _message(f"gradloom.numpy has no {name!r}", _user_where(), _ABSENT[name])
        )
    import difflib

    near = ", ".join(difflib.get_close_matches(name, __all__)) or "what dir(gradloom.numpy) lists"
    raise _MissingError(
        _message(
            f"gradloom.numpy has no {name!r}",
            _user_where(),
            f"use {near}; outside of traced functions, use NumPy's",
        )
    )
