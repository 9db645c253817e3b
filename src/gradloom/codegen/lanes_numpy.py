"""The lane algebra on NumPy arrays: what `LlvmLane` must agree with, and a quick way to test."""

import operator
from typing import Any

import numpy as np

_SIGNED = {"float32": "int32", "float64": "int64", "int32": "float32", "int64": "float64"}


def _operation(function: Any) -> Any:
    def method(self: "NumpyLane", other: Any = None) -> "NumpyLane":
        operands = (self.value,) if other is None else (self.value, self.meet(other))
        with np.errstate(all="ignore"):
            return NumpyLane(function(*operands))

    return method


def _reflected(function: Any) -> Any:
    return _operation(lambda left, right: function(right, left))


class NumpyLane:
    """An array with the lane interface; see `gradloom.codegen.lanes.LlvmLane` for its meaning.

    >>> (NumpyLane(np.arange(3)) // 0).value.tolist()
    [0, 0, 0]
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)

    @property
    def dtype(self) -> str:
        return self.value.dtype.name

    def like(self, number: float) -> "NumpyLane":
        """A constant of this lane's dtype."""
        return NumpyLane(self.meet(number))

    def meet(self, other: Any) -> np.ndarray:
        """The other operand as an array of this dtype; raises TypeError if it has another."""
        if not isinstance(other, NumpyLane):
            if self.value.dtype.kind in "iu":
                bits = 8 * self.value.dtype.itemsize
                return np.array(int(other) & ((1 << bits) - 1), f"uint{bits}").astype(self.dtype)
            with np.errstate(over="ignore"):
                return np.array(other).astype(self.dtype)
        if other.dtype != self.dtype:
            raise TypeError(f"lanes of dtypes {self.dtype}, {other.dtype}")
        return other.value

    __add__ = __radd__ = _operation(operator.add)
    __mul__ = __rmul__ = _operation(operator.mul)
    __sub__, __rsub__ = _operation(operator.sub), _reflected(operator.sub)
    __truediv__, __rtruediv__ = _operation(operator.truediv), _reflected(operator.truediv)
    __floordiv__, __rfloordiv__ = _operation(np.floor_divide), _reflected(np.floor_divide)
    __mod__, __rmod__ = _operation(np.remainder), _reflected(np.remainder)
    __and__ = __rand__ = _operation(operator.and_)
    __or__ = __ror__ = _operation(operator.or_)
    __xor__ = __rxor__ = _operation(operator.xor)
    __lshift__, __rlshift__ = _operation(np.left_shift), _reflected(np.left_shift)
    __rshift__, __rrshift__ = _operation(np.right_shift), _reflected(np.right_shift)
    __invert__, __neg__ = _operation(np.invert), _operation(np.negative)
    __lt__, __le__ = _operation(operator.lt), _operation(operator.le)
    __gt__, __ge__ = _operation(operator.gt), _operation(operator.ge)
    __eq__, __ne__ = _operation(operator.eq), _operation(operator.ne)
    maximum, minimum = _operation(np.maximum), _operation(np.minimum)
    copysign = _operation(np.copysign)
    sqrt, abs, floor = _operation(np.sqrt), _operation(np.abs), _operation(np.floor)
    ceil, rint, trunc = _operation(np.ceil), _operation(np.rint), _operation(np.trunc)

    def fma(self, factor: Any, term: Any) -> "NumpyLane":
        """self * factor + term; rounded once, save where a float64 product overflows."""
        a, b, c = self.value, self.meet(factor), self.meet(term)
        with np.errstate(all="ignore"):
            if self.dtype == "float64":
                return NumpyLane(_fma64(a, b, c))
            if self.dtype == "float32":
                exact = a.astype("float64") * b.astype("float64")
                return NumpyLane((exact + c).astype("float32"))
            return NumpyLane(a * b + c)

    def where(self, yes: Any, no: Any) -> "NumpyLane":
        """`yes` where this bool lane is true, else `no`."""
        lane = yes if isinstance(yes, NumpyLane) else no
        return NumpyLane(np.where(self.value, lane.meet(yes), lane.meet(no)))

    scales = False

    def inverse_estimate(self) -> "NumpyLane":
        """1 / self: all of its digits."""
        return 1.0 / self

    def seldom(self, slow: Any, given: Any, fast: Any) -> Any:
        """Lanes `slow(*given)` where this bool lane is true, else `fast`."""
        if not np.any(self.value):
            return fast
        return tuple(self.where(s, f) for s, f in zip(slow(*given), fast, strict=True))

    def repeat(self, others: Any, limit: int, step: Any, going: Any) -> Any:
        """This lane and `others` after at most `limit` times `step`, while `going(*state)`."""
        state = (self, *others)
        for _ in range(limit):
            active = going(*state)
            if not np.any(active.value):
                break
            state = tuple(active.where(n, o) for n, o in zip(step(*state), state, strict=True))
        return state

    def bits(self) -> "NumpyLane":
        """The bit pattern as a signed integer."""
        return NumpyLane(self.value.view(_SIGNED[self.dtype]))

    from_bits = bits

    def cast(self, dtype: str) -> Any:
        """As `ndarray.astype`; a float beyond an integer dtype saturates, and NaN becomes 0."""
        with np.errstate(all="ignore"):
            whole = self.value.astype(dtype)
        if self.value.dtype.kind != "f" or whole.dtype.kind not in "iu":
            return NumpyLane(whole)
        limits = np.iinfo(dtype)
        whole = np.where(self.value >= float(limits.max), limits.max, whole)
        whole = np.where(self.value <= float(limits.min), limits.min, whole)
        return NumpyLane(np.where(np.isnan(self.value), 0, whole).astype(dtype))


def _split(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high = a * 134217729.0  # 2**27 + 1: Veltkamp's splitting into halves of 26 bits
    high = high - (high - a)
    return high, a - high


def _fma64(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Dekker's exact product and Knuth's exact sum; the errors are added last."""
    product = a * b
    (a1, a2), (b1, b2) = _split(a), _split(b)
    product_error = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2
    total = product + c
    part = total - product
    sum_error = (product - (total - part)) + (c - part)
    exact = total + (product_error + sum_error)
    return np.where(np.isfinite(exact), exact, total)
