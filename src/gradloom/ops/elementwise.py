"""One row an elementwise operator: everything that gradloom knows about it stands here.

The derivative rules are ordinary programs of this module's functions, so derivatives of
derivatives need nothing more.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import NUMPY, Tensor
from gradloom.ir.op import OPS, Kind, Op, define
from gradloom.ir.types import TensorType
from gradloom.ops import scalar
from gradloom.ops.public import dtype_name, public, wrong_shape

Function = Callable[..., Any]


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of operands; `ShapeError` if there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        shown = " with ".join(map(str, shapes))
        raise wrong_shape(
            f"shapes do not broadcast: {shown}",
            "sizes must agree from the right, or be 1; add axes with x[:, None] or reshape",
        ) from None


def elementwise(
    name: str,
    reference: Function,
    spelling: str,
    lanes: Function,
    vjp: Function | None = None,
    **facts: Any,
) -> Function:
    """Define a row and return its public function."""
    returns = facts.get("returns", "same")

    def infer(*types: TensorType, **attrs: Any) -> TensorType:
        dtype = attrs.get("dtype") or (types[-1].dtype if returns == "same" else returns)
        return TensorType(broadcast_shape(*(t.shape for t in types)), dtype)

    operands = 1 + max(i for i in range(3) if f"{{{i}}}" in spelling)
    meaning = (infer, reference, vjp, spelling, lanes)
    row = define(Op(name, Kind.ELEMENTWISE, *meaning, operands=operands, **facts))

    def function(*args: Any) -> Any:
        if len(args) != operands:
            raise TypeError(f"{name}() takes {operands} arguments, but {len(args)} were given")
        return apply(row, *args)

    function.__name__ = function.__qualname__ = name
    function.__signature__ = _takes(operands)  # type: ignore[attr-defined]
    function.__doc__ = f"{name}, element by element, with broadcasting: `{spelling}`."
    public(*([reference] if isinstance(reference, np.ufunc) else []))(function)
    return function


def _takes(count: int) -> inspect.Signature:
    """What `help` shows: `(x, y, /)`."""
    names = ("condition", "x", "y") if count == 3 else ("x", "y")[:count]
    return inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    )


def _wide(function: Function) -> Function:
    """A function of Python floats as a function of arrays, rounded to the array's dtype."""
    vector = np.frompyfunc(function, 1, 1)

    def reference(x: Any) -> Any:
        array = np.asarray(x)
        kept = array.dtype if array.dtype.kind == "f" else np.dtype("float64")
        return np.asarray(vector(array.astype("float64")), "float64").astype(kept)

    return reference


# fmt: off  (a table of derivatives, set by hand)
_REAL: dict[str, Any] = {"accepts": "float"}
_ANY: dict[str, Any] = {"accepts": "any", "returns": "bool"}
_POSITIVE = ((0.1, 4.0),)
_NONZERO = ((-2.0, 2.0), (0.3, 2.5))

# ---- choice

where: Function = elementwise(
    "where",
    np.where,
    "({1} if {0} else {2})",
    lambda c, x, y: c.where(x, y),
    lambda g, out, c, x, y: (None, where(c, g, 0), where(c, 0, g)),
    flags=1,
    accepts="any",
    domain=((-1.0, 1.0), (-2.0, 2.0), (-2.0, 2.0)),
)
NUMPY[np.where] = where

# ---- arithmetic

add = elementwise(
    "add",
    np.add,
    "({0} + {1})",
    operator.add,
    lambda g, out, x, y: (g, g),
    unit=-0.0,
    commutative=True,
    on_bool="logical_or",
)
subtract = elementwise(
    "subtract",
    np.subtract,
    "({0} - {1})",
    operator.sub,
    lambda g, out, x, y: (g, -g),
    unit=0.0,
)
multiply = elementwise(
    "multiply",
    np.multiply,
    "({0} * {1})",
    operator.mul,
    lambda g, out, x, y: (g * y, g * x),
    unit=1.0,
    commutative=True,
    on_bool="logical_and",
)
divide = elementwise(
    "divide",
    np.divide,
    "({0} / {1})",
    operator.truediv,
    lambda g, out, x, y: (g / y, -g * out / y),
    unit=1.0,
    accepts="float",
    cost=16,
    domain=_NONZERO,
)
negative = elementwise("negative", np.negative, "(-{0})", operator.neg, lambda g, out, x: (-g,))
floor_divide = elementwise(
    "floor_divide",
    np.floor_divide,
    "({0} // {1})",
    scalar.floor_divide,
    lambda g, out, x, y: (None, None),
    cost=42,
    domain=_NONZERO,
)
remainder = elementwise(
    "remainder",
    np.remainder,
    "({0} % {1})",
    scalar.remainder,
    lambda g, out, x, y: (g, -g * floor_divide(x, y)),
    cost=39,
    domain=((0.1, 0.9), (1.0, 2.5)),
)
maximum = elementwise(
    "maximum",
    np.maximum,
    "np.maximum({0}, {1})",
    lambda x, y: x.maximum(y),
    lambda g, out, x, y: (_share(g, x > y, x == y), _share(g, y > x, x == y)),
    commutative=True,
    on_bool="logical_or",
    cost=4,
)
minimum = elementwise(
    "minimum",
    np.minimum,
    "np.minimum({0}, {1})",
    lambda x, y: x.minimum(y),
    lambda g, out, x, y: (_share(g, x < y, x == y), _share(g, y < x, x == y)),
    commutative=True,
    on_bool="logical_and",
    cost=4,
)
abs_ = elementwise(
    "abs", np.absolute, "abs({0})", lambda x: x.abs(), lambda g, out, x: (g * sign(x),)
)
sign: Function = elementwise(
    "sign", np.sign, "np.sign({0})", scalar.sign, lambda g, out, x: (None,), cost=4
)


def _share(g: Any, wins: Any, ties: Any) -> Any:
    """The cotangent of the winner; halves where both are equal, as in JAX."""
    return where(wins, g, where(ties, 0.5 * g, 0))


# ---- rounding

floor = elementwise(
    "floor",
    np.floor,
    "np.floor({0})",
    lambda x: x.floor(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
)
ceil = elementwise(
    "ceil",
    np.ceil,
    "np.ceil({0})",
    lambda x: x.ceil(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
)
rint = elementwise(
    "rint",
    np.rint,
    "np.rint({0})",
    lambda x: x.rint(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
)
trunc = elementwise(
    "trunc",
    np.trunc,
    "np.trunc({0})",
    lambda x: x.trunc(),
    lambda g, out, x: (None,),
    accepts="float",
    cost=2,
)

# ---- powers, exponentials, logarithms

sqrt = elementwise(
    "sqrt",
    np.sqrt,
    "np.sqrt({0})",
    lambda x: x.sqrt(),
    lambda g, out, x: (0.5 * g / out,),
    accepts="float",
    cost=20,
    domain=_POSITIVE,
)
rsqrt = elementwise(
    "rsqrt",
    lambda x: 1 / np.sqrt(x),
    "(1 / np.sqrt({0}))",
    scalar.rsqrt,
    lambda g, out, x: (-0.5 * g * out / x,),
    **_REAL,
    domain=_POSITIVE,
    cost=38,
)
exp = elementwise(
    "exp", np.exp, "np.exp({0})", scalar.exp, lambda g, out, x: (g * out,), **_REAL, cost=19
)
expm1 = elementwise(
    "expm1",
    np.expm1,
    "np.expm1({0})",
    scalar.expm1,
    lambda g, out, x: (g * (out + 1),),
    **_REAL,
    cost=21,
)
log = elementwise(
    "log",
    np.log,
    "np.log({0})",
    scalar.log,
    lambda g, out, x: (g / x,),
    **_REAL,
    domain=_POSITIVE,
    cost=32,
)
log1p = elementwise(
    "log1p",
    np.log1p,
    "np.log1p({0})",
    scalar.log1p,
    lambda g, out, x: (g / (1 + x),),
    **_REAL,
    domain=((-0.5, 4.0),),
    cost=41,
)
power: Function = elementwise(
    "power",
    np.power,
    "({0} ** {1})",
    scalar.power,
    lambda g, out, x, y: (
        g * y * power(x, where(y == 0, 1, y - 1)),
        g * out * log(where(x == 0, 1, x)),
    ),
    accepts="float",
    unit=1.0,
    cost=157,
    domain=((0.2, 3.0), (-2.0, 2.5)),
)

# ---- periodic, hyperbolic, and the functions of neural networks

sin = elementwise(
    "sin", np.sin, "np.sin({0})", scalar.sin, lambda g, out, x: (g * cos(x),), **_REAL, cost=36
)
cos: Function = elementwise(
    "cos", np.cos, "np.cos({0})", scalar.cos, lambda g, out, x: (-g * sin(x),), **_REAL, cost=35
)
tanh = elementwise(
    "tanh",
    np.tanh,
    "np.tanh({0})",
    scalar.tanh,
    lambda g, out, x: (g * (1 - out * out),),
    **_REAL,
    cost=33,
)
arctan = elementwise(
    "arctan",
    np.arctan,
    "np.arctan({0})",
    scalar.atan,
    lambda g, out, x: (g / (1 + x * x),),
    **_REAL,
    cost=27,
)
erf = elementwise(
    "erf",
    _wide(math.erf),
    "math.erf({0})",
    scalar.erf,
    lambda g, out, x: (g * (2 / math.sqrt(math.pi)) * exp(-x * x),),
    **_REAL,
    cost=44,
)
sigmoid = elementwise(
    "sigmoid",
    lambda x: np.exp(-np.logaddexp(0, -np.asarray(x))).astype(np.result_type(x, 0.0)),
    "(1 / (1 + np.exp(-{0})))",
    scalar.sigmoid,
    lambda g, out, x: (g * out * (1 - out),),
    **_REAL,
    cost=33,
)
softplus = elementwise(
    "softplus",
    lambda x: np.logaddexp(x, 0).astype(np.result_type(x, 0.0)),
    "np.logaddexp({0}, 0)",
    scalar.softplus,
    lambda g, out, x: (g * sigmoid(x),),
    **_REAL,
    cost=59,
)

# ---- comparison and logic

less = elementwise("less", np.less, "({0} < {1})", operator.lt, **_ANY)
less_equal = elementwise("less_equal", np.less_equal, "({0} <= {1})", operator.le, **_ANY)
greater = elementwise("greater", np.greater, "({0} > {1})", operator.gt, **_ANY)
greater_equal = elementwise("greater_equal", np.greater_equal, "({0} >= {1})", operator.ge, **_ANY)
equal = elementwise("equal", np.equal, "({0} == {1})", operator.eq, commutative=True, **_ANY)
not_equal = elementwise(
    "not_equal", np.not_equal, "({0} != {1})", operator.ne, commutative=True, **_ANY
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
left_shift = elementwise("left_shift", np.left_shift, "({0} << {1})", operator.lshift, **_BITS)
right_shift = elementwise("right_shift", np.right_shift, "({0} >> {1})", operator.rshift, **_BITS)

# ---- dtype

elementwise(
    "cast",
    lambda x, dtype: np.asarray(x).astype(dtype),
    "np.{dtype}({0})",
    lambda x, dtype: x.cast(dtype),
    lambda g, out, x, dtype: (g,),
    accepts="any",
    casts=True,
)


@public(name="astype")
def astype(x: Any, dtype: Any, copy: bool = True) -> Any:
    """`x` in another dtype, as `ndarray.astype`: float to integer cuts toward zero."""
    name = dtype_name(dtype)
    if not isinstance(x, Tensor):
        return np.asarray(x).astype(name)
    if x.node.type.dtype == name:
        return Tensor(x.node)
    return apply(OPS["cast"], x, dtype=name)
