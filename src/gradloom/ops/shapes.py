"""What is known before values are: shapes, sizes, dtypes; and shapes made alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.frontend.trace import type_of
from gradloom.ops.elementwise import broadcast_shape, equal
from gradloom.ops.move import broadcast_to, expand_dims
from gradloom.ops.public import as_operand, normal_axes, public, sizes_of
from gradloom.ops.reduce import all_


@public(np.shape)
def shape(a: Any) -> tuple[int, ...]:
    """The sizes of the axes."""
    return tuple(as_operand(a).shape)


@public(np.ndim)
def ndim(a: Any) -> int:
    """The number of axes."""
    return len(shape(a))


@public(np.size)
def size(a: Any, axis: Any = None) -> int:
    """The number of elements, or of those along some axes."""
    return math.prod(shape(a)[i] for i in normal_axes(axis, ndim(a)))


def _known(operand: Any) -> Any:
    return np.dtype(type_of(operand).dtype) if isinstance(operand, Tensor) else operand


@public(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that NumPy's promotion ends in, for arrays, dtypes and Python numbers."""
    return np.result_type(*map(_known, arrays_and_dtypes))


@public(np.can_cast)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Whether NumPy casts a dtype, or that of an array, to another by the rule `casting`."""
    operand = from_.dtype if isinstance(from_, np.ndarray) else _known(from_)
    return bool(np.can_cast(operand, to, casting))


@public(np.isdtype)
def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind: "bool", "integral", "real floating", ..., or one of several."""
    return bool(np.isdtype(np.dtype(dtype), kind))


@public(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    """Whether the dtype is a complex one."""
    return bool(as_operand(x).dtype.kind == "c")


@public(np.isrealobj)
def isrealobj(x: Any) -> bool:
    """Whether the dtype is not a complex one."""
    return not iscomplexobj(x)


@public(np.isscalar)
def isscalar(element: Any) -> bool:
    """Whether it is a Python or NumPy number; an array, also a traced one, is not."""
    return not isinstance(element, Tensor) and bool(np.isscalar(element))


@public(np.iterable)
def iterable(y: Any) -> bool:
    """Whether a loop can run over it."""
    return y.ndim > 0 if isinstance(y, Tensor) else bool(np.iterable(y))


# ---- shapes made alike


def at_least(x: Any, least: int) -> Any:
    """`x` with `least` axes or more, new ones first."""
    x = as_operand(x)
    return x if x.ndim >= least else expand_dims(x, tuple(range(least - x.ndim)))


@public(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    """Arrays with one axis at least."""
    made = tuple(at_least(a, 1) for a in arys)
    return made[0] if len(made) == 1 else made


@public(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    """Arrays with two axes at least, new ones first."""
    made = tuple(at_least(a, 2) for a in arys)
    return made[0] if len(made) == 1 else made


@public(np.broadcast_shapes)
def broadcast_shapes(*args: Any) -> tuple[int, ...]:
    """The common shape of shapes; `ShapeError` if there is none."""
    return broadcast_shape(*map(sizes_of, args))


@public(np.broadcast_arrays)
def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """All arrays in their common shape."""
    operands = [as_operand(a) for a in args]
    common = broadcast_shape(*(tuple(a.shape) for a in operands))
    return tuple(broadcast_to(a, common) for a in operands)


@public(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """Whether shapes and elements are the same; traced if the elements are."""
    x, y = as_operand(a1), as_operand(a2)
    if tuple(x.shape) != tuple(y.shape):
        return np.False_
    same = equal(x, y)
    return all_(same | ((x != x) & (y != y)) if equal_nan else same)


@public(np.array_equiv)
def array_equiv(a1: Any, a2: Any) -> Any:
    """Whether elements are the same once broadcast; traced if they are."""
    x, y = as_operand(a1), as_operand(a2)
    try:
        np.broadcast_shapes(tuple(x.shape), tuple(y.shape))
    except ValueError:
        return np.False_
    return all_(equal(x, y))


@public(np.allclose)
def allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    """Whether all elements are close; traced like any other value."""
    return all_(FUNCTIONS["isclose"](a, b, rtol, atol, equal_nan))
