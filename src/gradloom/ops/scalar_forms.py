"""What the scalar functions share: the shape of each float format, and polynomials in a lane.

A lane here is any value with the lane interface: an LLVM register, a NumPy array.  The functions
are branch-free: both sides of a choice are computed, and `mask.where(a, b)` takes one.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Lane: TypeAlias = Any


class Format(NamedTuple):
    """An IEEE 754 binary format."""

    dtype: str
    mantissa: int  # stored bits
    bias: int
    log2_e: float
    ln2: tuple[float, float]  # high and low part: their sum is ln 2 to twice the precision
    root_half_bits: int  # bit pattern of sqrt(1/2)

    @property
    def tiny(self) -> float:
        """The least normal number."""
        return 2.0 ** (1 - self.bias)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0**-self.mantissa) * 2.0**self.bias

    @property
    def size(self) -> int:
        """Bits of a number."""
        return 32 if self.dtype == "float32" else 64

    @property
    def magic(self) -> float:
        """Added to a number below 2**(mantissa - 2), it leaves the nearest integer in the low bits.

        That is 1.5 * 2**mantissa: the half keeps negative numbers in the same binade.
        """
        return 1.5 * 2.0**self.mantissa

    @property
    def magic_bits(self) -> int:
        """The bit pattern of `magic`."""
        return ((self.mantissa + self.bias) << self.mantissa) | (1 << (self.mantissa - 1))

    @property
    def sign_bit(self) -> int:
        """The sign bit alone, as a signed integer of the format's size."""
        return -1 << (self.size - 1)

    @property
    def linear(self) -> float:
        """Below it f(x) = x + O(x**2) is x to half a unit, and f(x) = x keeps the sign of zero."""
        return 2.0 ** -(self.mantissa + 2)


FORMATS = {
    "float32": Format(
        "float32", 23, 127, 1.4426950216293335,
        (0.6931471824645996, -1.9046542121259336e-09), 0x3F3504F3,
    ),
    "float64": Format(
        "float64", 52, 1023, 1.4426950408889634,
        (0.6931471805599453, 2.3190468138462996e-17), 0x3FE6A09E667F3BCD,
    ),
}  # fmt: skip


def horner(x: Lane, coefficients: tuple[float, ...]) -> Lane:
    """The polynomial with these coefficients, lowest power first, one fma a power."""
    total = x.like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.fma(x, coefficient)
    return total


def clamp(x: Lane, low: float, high: float) -> Lane:
    """x held to [low, high]; NaN stays."""
    return x.maximum(low).minimum(high)


def round_to_scale(x: Lane, factor: float, offset: int = 0) -> tuple[Lane, Lane]:
    """n = x * factor rounded to an integer, and 2**(n + offset), a normal number; both floats."""
    form = FORMATS[x.dtype]
    # The bias rides in the low bits, so that they are the exponent field of the power.
    magic = form.magic + (form.bias + offset)
    shifted = x.fma(factor, magic)
    return shifted - magic, (shifted.bits() << form.mantissa).from_bits()


def round_to_power(x: Lane, factor: float) -> tuple[Lane, Callable[[Lane], Lane]]:
    """n = x * factor rounded to an integer, as a float, and the product of a lane with 2**n.

    The product passes through every subnormal number, and up to infinity.
    """
    form = FORMATS[x.dtype]
    magic = form.magic + 2 * form.bias
    shifted = x.fma(factor, magic)
    n = shifted - magic
    if x.scales:
        return n, lambda lane: lane.scaled(n)
    bits = shifted.bits()
    low = (bits << (form.mantissa - 1)) & -(1 << form.mantissa)  # half of n, rounded down
    high = (bits << form.mantissa) - low
    return n, lambda lane: lane * low.from_bits() * high.from_bits()


def split_normal(bits: Lane) -> tuple[Lane, Lane]:
    """(e, m), both floats: the number of these bits is m * 2**e, and sqrt(1/2) <= m < sqrt(2)."""
    form = FORMATS["float32" if bits.dtype == "int32" else "float64"]
    bits = bits - form.root_half_bits
    # Exponent to float by the low bits of a large float: CPUs without AVX-512 lack int64 to float.
    exponent = ((bits >> form.mantissa) + form.magic_bits).from_bits() - form.magic
    mantissa = (bits & ((1 << form.mantissa) - 1)) + form.root_half_bits
    return exponent, mantissa.from_bits()


def split_exponent(x: Lane) -> tuple[Lane, Lane]:
    """As `split_normal` for any positive finite x: subnormal numbers are scaled first."""
    form = FORMATS[x.dtype]
    small = x < form.tiny
    e, m = split_normal(small.where(x * 2.0**form.mantissa, x).bits())
    return e - small.where(x.like(form.mantissa), 0.0), m


def in_double(function: Callable[..., Lane]) -> Callable[..., Lane]:
    """A function of float64 lanes as one of float32 lanes too: widened, and rounded once."""

    @functools.wraps(function)
    def widened(*lanes: Lane) -> Lane:
        if lanes[0].dtype == "float64":
            return function(*lanes)
        return function(*(lane.cast("float64") for lane in lanes)).cast(lanes[0].dtype)

    return widened


INFINITY, NAN = math.inf, math.nan
