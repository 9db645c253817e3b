"""Choice, comparison, logic, bits, and the change of dtype."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import NUMPY, Tensor
from gradloom.ir.op import OPS
from gradloom.ir.types import COMPLEX
from gradloom.ops import planar, scalar
from gradloom.ops.public import dtype_name, public
from gradloom.ops.row import Function, elementwise

_ANY: dict[str, Any] = {"accepts": "any", "returns": "bool"}

# ---- choice

where: Function = elementwise(
    "where",
    np.where,
    "({1} if {0} else {2})",
    lambda c, x, y: c.where(x, y),
    lambda g, out, c, x, y: (None, where(c, g, 0), where(c, 0, g)),
    planar=planar.where,
    flags=1,
    accepts="any",
    domain=((-1.0, 1.0), (-2.0, 2.0), (-2.0, 2.0)),
)
NUMPY[np.where] = where

# ---- comparison and logic

less = elementwise("less", np.less, "({0} < {1})", operator.lt, **_ANY)
less_equal = elementwise("less_equal", np.less_equal, "({0} <= {1})", operator.le, **_ANY)
greater = elementwise("greater", np.greater, "({0} > {1})", operator.gt, **_ANY)
greater_equal = elementwise("greater_equal", np.greater_equal, "({0} >= {1})", operator.ge, **_ANY)
equal = elementwise(
    "equal",
    np.equal,
    "({0} == {1})",
    operator.eq,
    planar=planar.equal,
    commutative=True,
    **_ANY,
)
not_equal = elementwise(
    "not_equal",
    np.not_equal,
    "({0} != {1})",
    operator.ne,
    planar=planar.not_equal,
    commutative=True,
    **_ANY,
)
_BOOL: dict[str, Any] = {"accepts": "bool", "returns": "bool"}
logical_and = elementwise(
    "logical_and", np.logical_and, "({0} and {1})", operator.and_, commutative=True, **_BOOL
)
logical_or = elementwise(
    "logical_or", np.logical_or, "({0} or {1})", operator.or_, commutative=True, **_BOOL
)
logical_xor = elementwise(
    "logical_xor", np.logical_xor, "({0} != {1})", operator.xor, commutative=True, **_BOOL
)
logical_not = elementwise("logical_not", np.logical_not, "(not {0})", operator.invert, **_BOOL)

# ---- bits

_BITS: dict[str, Any] = {"accepts": "integer", "domain": ((0, 30), (0, 30))}
bitwise_and = elementwise("bitwise_and", np.bitwise_and, "({0} & {1})", operator.and_, **_BITS)
bitwise_or = elementwise("bitwise_or", np.bitwise_or, "({0} | {1})", operator.or_, **_BITS)
bitwise_xor = elementwise("bitwise_xor", np.bitwise_xor, "({0} ^ {1})", operator.xor, **_BITS)
invert = elementwise("invert", np.invert, "(~{0})", operator.invert, **_BITS)
_SHIFT = _BITS | {"accepts": "whole"}
left_shift = elementwise("left_shift", np.left_shift, "({0} << {1})", operator.lshift, **_SHIFT)
right_shift = elementwise("right_shift", np.right_shift, "({0} >> {1})", operator.rshift, **_SHIFT)

set_bits = elementwise(
    "set_bits",
    np.bitwise_count,
    "np.bitwise_count({0})",
    scalar.bit_count,
    listed=False,
    accepts="integer",
    returns="uint8",
    cost=24,
)

# ---- dtype

_KEEPING = ("bool", *COMPLEX)  # what complex numbers are cast to as a whole


def _as_dtype(x: Any, dtype: str) -> np.ndarray:
    """The real part where complex becomes real, without NumPy's warning: it was asked for."""
    x = np.asarray(x)
    return (x.real if x.dtype.kind == "c" and dtype not in _KEEPING else x).astype(dtype)


elementwise(
    "cast",
    _as_dtype,
    "np.{dtype}({0})",
    lambda x, dtype: x.cast(dtype),
    lambda g, out, x, dtype: (g,),
    planar=planar.cast,
    accepts="any",
    casts=True,
)


@public(name="astype")
def astype(x: Any, dtype: Any, copy: bool = True) -> Any:
    """`x` in another dtype, as `ndarray.astype`: float to integer cuts toward zero, and
    complex to real takes the real part."""
    name = dtype_name(dtype)
    if not isinstance(x, Tensor):
        return np.asarray(x).astype(name)
    if x.node.type.dtype == name:
        return Tensor(x.node)
    return apply(OPS["cast"], x, dtype=name)
