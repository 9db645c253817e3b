"""NumPy's functions of elements that are written with the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.apply import promote
from gradloom.frontend.tensor import FUNCTIONS, Tensor, is_weak
from gradloom.ir.op import OPS
from gradloom.ir.types import FLOATS
from gradloom.ops import elementwise as rows
from gradloom.ops.complex import from_parts, imag, is_complex, real
from gradloom.ops.elementwise import astype, where
from gradloom.ops.public import as_operand, public


@public(np.power, name="power")
def power(x: Any, y: Any) -> Any:
    """`x ** y`, of integers an integer: a negative power of those is cut toward 0.

    A whole exponent from 0 to 16 becomes multiplications: as exact, much faster.

    >>> import gradloom.numpy as gnp
    >>> gnp.power([2, 3], [3, 2]).tolist()
    [8, 9]
    """
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        return np.power(x, y)
    if isinstance(y, int) and not isinstance(y, bool) and 0 <= y <= 16:
        return _repeated(astype(x, "int64") if x.dtype == "bool" else x, y)
    if y == 0.5 if isinstance(y, float) else False:
        return rows.sqrt(x)
    x, y = _numbers(x, y)
    kinds = as_operand(x).dtype, as_operand(y).dtype
    whole = all(k.kind in "iub" for k in kinds) and promote(OPS["add"], (x, y)) not in FLOATS
    return rows.integer_power(x, y) if whole else rows.power(x, y)


def _numbers(x: Any, y: Any) -> tuple[Any, Any]:
    """Two booleans as integers, for which alone NumPy means int8."""
    if as_operand(x).dtype == "bool" and as_operand(y).dtype == "bool":
        return astype(x, "int8"), astype(y, "int8")
    return x, y


def _repeated(x: Any, times: int) -> Any:
    if times == 0:
        return x * 0 + 1 if x.dtype.kind not in "fc" else where(x == x, 1, 1).astype(x.dtype)
    half = _repeated(x, times // 2) if times > 1 else None
    square = x if half is None else half * half
    return square * x if times > 1 and times % 2 else square


@public(np.positive)
def positive(x: Any) -> Any:
    """`x` itself."""
    return as_operand(x)


@public(np.square)
def square(x: Any) -> Any:
    """`x * x`."""
    x = as_operand(x)
    x = astype(x, "int8") if x.dtype == "bool" else x
    return x * x


@public(np.reciprocal)
def reciprocal(x: Any) -> Any:
    """`1 / x`; of integers cut toward 0, and 0 of 0.

    >>> import gradloom.numpy as gnp
    >>> gnp.reciprocal(4.0), gnp.reciprocal(4)
    (np.float64(0.25), np.int64(0))
    """
    if not isinstance(x, Tensor):
        return np.reciprocal(x)
    if x.dtype.kind in "fc":  # the imaginary zero is NumPy's
        return np.divide(complex(1.0, -0.0) if is_complex(x) else 1.0, x)
    x = astype(x, "int8") if x.dtype == "bool" else x
    return where(rows.abs_(x) == 1, x, 0)


@public(np.absolute, name="abs")
def abs_(x: Any) -> Any:
    """Absolute value."""
    x = as_operand(x)
    return x if x.dtype == "bool" else rows.abs_(x)


def _rounding(name: str, row: Any, doc: str) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        x = as_operand(x)
        return row(x) if x.dtype.kind == "f" else x

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}; integers as they are."
    return function


floor = public(np.floor)(_rounding("floor", rows.floor, "The next integer below"))
ceil = public(np.ceil)(_rounding("ceil", rows.ceil, "The next integer above"))
trunc = public(np.trunc)(_rounding("trunc", rows.trunc, "The next integer towards zero"))


@public(np.deg2rad, np.radians)
def deg2rad(x: Any) -> Any:
    """Degrees as radians."""
    return _float_of_ufunc(x) * (np.pi / 180)


@public(np.rad2deg, np.degrees)
def rad2deg(x: Any) -> Any:
    """Radians as degrees."""
    return _float_of_ufunc(x) * (180 / np.pi)


@public(np.divmod, name="divmod")
def divmod_(x: Any, y: Any) -> tuple[Any, Any]:
    """`(x // y, x % y)`."""
    return rows.floor_divide(x, y), rows.remainder(x, y)


@public(np.round, np.around, name="round")
def round_(x: Any, decimals: int = 0) -> Any:
    """Nearest multiple of `10**-decimals`, halves to even."""
    x = as_operand(x)
    if x.dtype.kind not in "fc" and decimals >= 0:
        return x
    if decimals < 0:  # a power of ten is exact, its reciprocal is not
        scale = 10.0**-decimals
        return rows.astype(rows.rint(x / scale) * scale, x.dtype.name)
    scale = 10.0**decimals
    return rows.rint(x) if decimals == 0 else rows.rint(x * scale) / scale


@public(np.isnan)
def isnan(x: Any) -> Any:
    """Whether an element is NaN."""
    x = as_operand(x)
    return x != x


@public(np.isfinite)
def isfinite(x: Any) -> Any:
    """Whether an element is neither NaN nor infinite."""
    x = as_operand(x)
    if is_complex(x):
        return isfinite(real(x)) & isfinite(imag(x))
    return rows.abs_(x) < np.inf if x.dtype.kind == "f" else x == x


@public(np.isinf)
def isinf(x: Any) -> Any:
    """Whether an element is infinite."""
    x = as_operand(x)
    if is_complex(x):
        return isinf(real(x)) | isinf(imag(x))
    return rows.abs_(x) == np.inf if x.dtype.kind == "f" else x != x


@public(np.isclose)
def isclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether `abs(x - y) <= atol + rtol * abs(y)`, element by element."""
    x, y = as_operand(x), as_operand(y)
    near = rows.abs_(x - y) <= atol + rtol * rows.abs_(y)
    close = rows.equal(x, y) | (near & isfinite(y))
    return close | (isnan(x) & isnan(y)) if equal_nan else close


@public(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """NaN and infinities replaced: by `nan`, and by the largest and lowest number if not given."""
    x = as_operand(x)
    if is_complex(x):
        parts = (nan_to_num(part, copy, nan, posinf, neginf) for part in (real(x), imag(x)))
        return from_parts(*parts)
    if x.dtype.kind != "f":
        return x
    top, low = np.finfo(x.dtype).max.item(), np.finfo(x.dtype).min.item()
    x = where(isnan(x), nan, x)
    x = where(rows.equal(x, np.inf), top if posinf is None else posinf, x)
    return where(rows.equal(x, -np.inf), low if neginf is None else neginf, x)


@public(np.isposinf)
def isposinf(x: Any) -> Any:
    """Whether an element is positive infinity."""
    x = as_operand(x)
    return x == np.inf if x.dtype.kind == "f" else x != x


@public(np.isneginf)
def isneginf(x: Any) -> Any:
    """Whether an element is negative infinity."""
    x = as_operand(x)
    return x == -np.inf if x.dtype.kind == "f" else x != x


@public(np.fmax)
def fmax(x: Any, y: Any) -> Any:
    """The larger element, or the one that is a number.

    >>> import gradloom.numpy as gnp
    >>> float(gnp.fmax(float("nan"), 1.0))
    1.0
    """
    return _of_numbers(rows.maximum, x, y)


@public(np.fmin)
def fmin(x: Any, y: Any) -> Any:
    """The smaller element, or the one that is a number."""
    return _of_numbers(rows.minimum, x, y)


def _of_numbers(row: Any, x: Any, y: Any) -> Any:
    # Each stands in for the other where that is NaN, so the derivative goes to the number.
    left, right = as_operand(x), as_operand(y)
    return row(where(isnan(left), y, x), where(isnan(right), x, y))


@public(np.heaviside)
def heaviside(x: Any, y: Any) -> Any:
    """0 below 0, 1 above, and `y` at 0."""
    x, y = _floats(x, y)
    return where(x == 0, y, where(x < 0, 0 * y, where(x > 0, 1 + 0 * y, x + 0 * y)))


def operands(*values: Any) -> tuple[Any, ...]:
    """Arrays or traced values: Python's numbers in the floating dtype of the others, so that they
    do not widen it."""
    strong = [as_operand(v).dtype for v in values if not is_weak(v)]
    dtype = np.result_type(*strong) if strong else np.dtype("float64")
    name = dtype.name if dtype.kind == "f" else "float64"
    return tuple(astype(v, name) if is_weak(v) else as_operand(v) for v in values)


def _floats(x: Any, y: Any) -> tuple[Any, Any]:
    """Both in the floating dtype that NumPy promotes them to."""
    dtype = promote(OPS["copysign"], (x, y))
    return astype(x, dtype), astype(y, dtype)


def _float_of_ufunc(x: Any) -> Any:
    """In what NumPy computes floating functions of integers: of 16 bits in float32."""
    x = as_operand(x)
    return x if x.dtype.kind in "fc" else astype(x, promote(OPS["sqrt"], (x,)))


def _float(x: Any) -> Any:
    x = as_operand(x)
    return x if x.dtype.kind in "fc" else astype(x, "float64")


@public(np.float_power)
def float_power(x: Any, y: Any) -> Any:
    """`x ** y` in float64, or complex128.

    >>> import gradloom.numpy as gnp
    >>> float(gnp.float_power(2, -1))
    0.5
    """
    x, y = as_operand(x), as_operand(y)
    dtype = "complex128" if is_complex(x) or is_complex(y) else "float64"
    return power(astype(x, dtype), astype(y, dtype))


@public(np.logaddexp2)
def logaddexp2(x: Any, y: Any) -> Any:
    """`log2(2**x + 2**y)` without overflow."""
    x, y = _floats(x, y)
    # By a choice and not by `maximum` and `abs`, which have no second derivative where x is y.
    first = x >= y
    high, low = where(first, x, y), where(first, y, x)
    same = (high == low) & (rows.abs_(high) == np.inf)
    below = where(same, 0, low) - where(same, 0, high)
    return high + rows.softplus(below * float(np.log(2.0))) * float(1 / np.log(2.0))


@public(np.ldexp)
def ldexp(x: Any, n: Any) -> Any:
    """`x * 2**n` for integers `n`, rounded once."""
    x, n = as_operand(x), as_operand(n)
    kind = np.result_type(x.dtype, "float16")
    x = x if x.dtype.kind in "fc" else astype(x, kind if kind == "float32" else "float64")
    return rows.scaled(x, astype(n, x.dtype))


@public(np.frexp)
def frexp(x: Any) -> tuple[Any, Any]:
    """`(m, e)` with `x = m * 2**e` and `1/2 <= abs(m) < 1`; `e` is an integer.

    >>> import gradloom.numpy as gnp
    >>> [float(part) for part in gnp.frexp(10.0)]
    [0.625, 4.0]
    """
    x = _float(x)
    return rows.significand(x), astype(rows.exponent(x), "int32")


@public(np.modf)
def modf(x: Any) -> tuple[Any, Any]:
    """Fractional and whole part, both with the sign of `x`."""
    x = _float(x)
    whole = rows.trunc(x)
    return rows.copysign(where(isinf(x), 0, x - where(isinf(x), 0, whole)), x), whole


@public(np.fix)
def fix(x: Any) -> Any:
    """The next integer towards zero; of integers their own."""
    return trunc(x)


@public(np.fabs)
def fabs(x: Any) -> Any:
    """Absolute value, floating for integers too."""
    return rows.abs_(_float_of_ufunc(x))


@public(np.bitwise_count)
def bitwise_count(x: Any) -> Any:
    """The number of ones in the binary form of `abs(x)`, as uint8.

    >>> import gradloom.numpy as gnp
    >>> gnp.bitwise_count([7, -8, 0]).tolist()
    [3, 1, 0]
    """
    return rows.set_bits(x)


@public(np.sinc)
def sinc(x: Any) -> Any:
    """`sin(pi x) / (pi x)`, and 1 at 0; smooth there to every order.

    Near 0 its series (in (pi x)**2), with which derivatives need no quotient of zeros.
    """
    angle = _float(x) * np.pi
    near = rows.abs_(angle) < 0.5
    z = where(near, angle, 0) ** 2
    series: Any = 0.0
    for term in range(8, 0, -1):
        series = (1 + series) * z / (-2.0 * term * (2 * term + 1))
    far = where(near, 1, angle)
    return where(near, 1 + series, rows.sin(far) / far)


_ALIASES = {
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "invert": "bitwise_invert bitwise_not",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    "abs": "absolute",
    "round": "around",
    "deg2rad": "radians",
    "rad2deg": "degrees",
    "divide": "true_divide",
    "remainder": "mod",
    "power": "pow",
}
for _name, _others in _ALIASES.items():
    for _other in _others.split():
        public(name=_other)(FUNCTIONS[_name])
