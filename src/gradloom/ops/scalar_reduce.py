"""Angles of any size brought to |r| <= pi/4, and the quarter turns that were taken off.

Small angles take Cody and Waite's three steps; where one is large, all of the vector also goes
through Payne and Hanek's product with the digits of 2/pi ("Radian reduction for trigonometric
functions", SIGNUM Newsletter 18, 1983).
"""

from gradloom.ops.scalar_forms import FORMATS, Lane
from gradloom.ops.scalar_pairs import product, two_sum

# pi/2 as a sum of numbers of the format, and 2/pi.
HALF_PI = {
    "float32": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    "float64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
_TWO_BY_PI = {"float32": 0.6366197466850281, "float64": 0.6366197723675814}
# Up to here the product with 2/pi rounds to the right integer, or nearly so.
_SMALL = {"float32": 1e6, "float64": 1e9}
# 2/pi in digits of 24 bits.
_DIGITS = (
    10680707, 7228996, 1387004, 2578385, 16069853, 12639074, 9804092, 4427841, 16666979, 11263675,
    12935607, 2387514, 4345298, 14681673, 3074569, 13734428, 16653803, 1880361, 10960616, 8533493,
    3062596, 8710556, 7349940, 6258241, 3772886, 3769171, 3798172, 8675211, 12450088, 3874808,
    9961438, 366607, 15675153, 9132554, 7151469, 3571407, 2607881, 12013382, 4155038, 6285869,
    7677882, 13102053, 15825725, 473591, 9065106, 15363067, 6271263, 9264392, 5636912, 4652155,
)  # fmt: skip
_DIGIT_BITS, _TAKEN = 24, 9


def reduced(x: Lane) -> tuple[Lane, Lane, Lane]:
    """(r, r_low, turns): x = r + r_low + turns * pi/2 but for whole circles, |r| <= pi/4 or a
    little more; turns is an integer lane.  NaN of an infinite x.

    With fma the first of the three steps is exact; the others leave an error far below the format.
    """
    form = FORMATS[x.dtype]
    shifted = x.fma(_TWO_BY_PI[x.dtype], form.magic)
    n = shifted - form.magic
    first, second, third = HALF_PI[x.dtype]
    a = n.fma(-first, x)
    b, b_low = product(n, n.like(second))
    r = a - b
    r_low = ((a - r) - b) - n.fma(third, b_low)
    large = x.abs() > _SMALL[x.dtype]
    return large.seldom(_reduced_far, (x,), (r, r_low, shifted.bits()))


def _reduced_far(x: Lane) -> tuple[Lane, Lane, Lane]:
    """As `reduced`, for any x."""
    if x.dtype == "float64":
        return _by_digits(x)
    r, r_low, turns = _by_digits(x.cast("float64"))
    high = r.cast("float32")
    return high, ((r - high.cast("float64")) + r_low).cast("float32"), turns.cast("int32")


def _by_digits(x: Lane) -> tuple[Lane, Lane, Lane]:
    """The product of x with those digits of 2/pi that leave a part of a circle, from them on."""
    form = FORMATS["float64"]
    exponent = ((x.bits() >> form.mantissa) & 0x7FF) - form.bias
    skipped = (((exponent - (form.mantissa + 2)) * 2731) >> 16).maximum(0)  # divided by 24
    x = (x.bits() - ((skipped * _DIGIT_BITS) << form.mantissa)).from_bits() + (x - x)
    top = ((x.bits() >> 27) << 27).from_bits()  # 26 bits, so that products with digits are exact
    parts = []
    for k, digit in enumerate(_digits_from(skipped, x)):
        scaled = digit * 2.0 ** (-_DIGIT_BITS * (k + 1))
        parts += [_within_circle(half.fma(scaled, 0.0)) for half in (top, x - top)]
    whole = sum(parts[1:], parts[0]).rint()
    r, low, lowest = -whole, x.like(0.0), x.like(0.0)
    for part in parts:
        r, rest = two_sum(r, part)
        low, rest = two_sum(low, rest)
        lowest = lowest + rest
    r, low = two_sum(r, low)
    low = low + lowest
    high, rest = product(r, r.like(HALF_PI["float64"][0]))
    rest = rest + low.fma(HALF_PI["float64"][0], r * HALF_PI["float64"][1])
    angle = high + rest
    return angle, (high - angle) + rest, whole.cast("int64")


def _within_circle(turns: Lane) -> Lane:
    """A number of quarter turns less a multiple of 4, exactly."""
    return turns - (turns * 0.25).rint() * 4.0


def _digits_from(skipped: Lane, like: Lane) -> list[Lane]:
    """The digits of 2/pi from number `skipped` on: a shift by each binary place of that number."""
    digits = [like.like(float(d)) for d in _DIGITS]
    for place in (32, 16, 8, 4, 2, 1):
        moves = (skipped & place) != 0
        wanted = _TAKEN + place - 1
        digits = [
            moves.where(digits[k + place], digits[k]) if k + place < len(digits) else digits[k]
            for k in range(min(wanted, len(digits)))
        ]
    return digits
