"""What is known about a value before it exists: its shape and its dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FLOATS = ("float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = (*SIGNED, *UNSIGNED)
COMPLEX = ("complex64", "complex128")
DTYPES = ("bool", *INTEGERS, *FLOATS, *COMPLEX)
# The dtype of a complex number's two parts, and back.
PART = dict(zip(COMPLEX, FLOATS, strict=True))
WHOLE = dict(zip(FLOATS, COMPLEX, strict=True))
ITEMSIZE = {name: np.dtype(name).itemsize for name in DTYPES}


@dataclass(frozen=True, slots=True)
class TensorType:
    """The type of a traced value: a static shape and one of `DTYPES`.

    >>> str(TensorType((64, 10), "float32"))
    'float32[64,10]'
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * ITEMSIZE[self.dtype]

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    @property
    def is_complex(self) -> bool:
        return self.dtype in COMPLEX

    @property
    def is_inexact(self) -> bool:
        """Whether values of this type have a gradient."""
        return self.dtype in FLOATS or self.dtype in COMPLEX

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True, init=False)
class TupleType(TensorType):
    """The type of an operation with several results, which its items are projected from.

    >>> str(TupleType((TensorType((2,), "float32"), TensorType((), "int64"))))
    '(float32[2], int64[])'
    """

    types: tuple[TensorType, ...]

    def __init__(self, types: tuple[TensorType, ...]) -> None:
        object.__setattr__(self, "shape", ())
        object.__setattr__(self, "dtype", "tuple")
        object.__setattr__(self, "types", types)

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.types)

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.types))})"


def in_parts(kind: TensorType) -> TensorType:
    """How a complex type lies in memory: real and imaginary parts, side by side on a last axis.

    >>> str(in_parts(TensorType((3,), "complex64")))
    'float32[3,2]'
    """
    return TensorType((*kind.shape, 2), PART[kind.dtype]) if kind.is_complex else kind


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of a contiguous row-major array."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
