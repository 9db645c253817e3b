"""What a number's bits say: neighbours, spacing, mantissa and exponent; counts; common divisors."""

from gradloom.ops.scalar_forms import FORMATS, INFINITY, NAN, Lane, clamp, split_exponent


def signbit(x: Lane) -> Lane:
    """Whether the sign bit is set; of integers, whether they are negative."""
    return x.bits() < 0 if x.dtype in FORMATS else x < 0


def nextafter(x: Lane, y: Lane) -> Lane:
    """The number next to x toward y; y where they are equal."""
    outward = (y > x) == (x > 0)
    moved = (x.bits() + outward.where(x.bits() * 0 + 1, -1)).from_bits()
    moved = (x == 0).where((x.bits() * 0 + 1).from_bits().copysign(y), moved)
    return (x == y).where(y, ((x != x) | (y != y)).where(NAN, moved))


def spacing(x: Lane) -> Lane:
    """The distance to the next number away from 0, with the sign of x, at 0 positive; NaN of
    infinities."""
    gap = (x.abs().bits() + 1).from_bits() - x.abs()
    return (x.abs() < INFINITY).where(gap.copysign(x + 0.0), NAN)


def significand(x: Lane) -> Lane:
    """The m of x = m * 2**e with 1/2 <= |m| < 1; zeros, infinities and NaN as they are."""
    sound = (x != 0) & (x - x == 0)
    _, m = split_exponent(sound.where(x.abs(), 1.0))
    m = (m >= 1).where(m * 0.5, m)
    return sound.where(m.copysign(x), x)


def exponent(x: Lane) -> Lane:
    """The e of x = m * 2**e with 1/2 <= |m| < 1, as a float; 0 of zeros, infinities and NaN."""
    sound = (x != 0) & (x - x == 0)
    e, m = split_exponent(sound.where(x.abs(), 1.0))
    return sound.where((m >= 1).where(e + 1.0, e), 0.0)


def scaled(x: Lane, n: Lane) -> Lane:
    """x * 2**n for a whole n, rounded once."""
    form = FORMATS[x.dtype]
    given, n = n, clamp(n.rint(), -3.0 * form.bias, 3.0 * form.bias)
    # The last product alone may round: the steps downward stay a mantissa above the subnormal.
    low, high = float(form.bias - 1), float(form.bias)
    step = low - form.mantissa - 1
    for _ in range(3):
        down, up = n < -low, n > high
        x = down.where(x * 2.0**-step, up.where(x * 2.0**high, x))
        n = down.where(n + step, up.where(n - high, n))
    n = clamp(n, -low, high)
    scale = (n + (form.magic + form.bias)).bits() << form.mantissa
    return (given == given).where(x * scale.from_bits(), NAN)


def bit_count(x: Lane) -> Lane:
    """The number of ones in the binary form of |x|: sums in pairs, fours, eights and on."""
    wide = x.cast("uint64") if x.dtype.startswith("u") else x.cast("int64").abs()
    wide = wide - ((wide >> 1) & 0x5555555555555555)
    wide = (wide & 0x3333333333333333) + ((wide >> 2) & 0x3333333333333333)
    wide = (wide + (wide >> 4)) & 0x0F0F0F0F0F0F0F0F
    for shift in (8, 16, 32):
        wide = wide + (wide >> shift)
    return (wide & 0x7F).cast("uint8")


def gcd(x: Lane, y: Lane) -> Lane:
    """The greatest common divisor, by Euclid's algorithm; 0 of two zeros."""
    unsigned = x.dtype.startswith("u")
    x, y = (x, y) if unsigned else (x.abs(), y.abs())
    divisor, _ = x.repeat((y,), 100, lambda a, b: (b, a % b), lambda a, b: b != 0)
    return divisor if unsigned else divisor.abs()


def lcm(x: Lane, y: Lane) -> Lane:
    """The least common multiple; 0 where either is 0."""
    if not x.dtype.startswith("u"):
        x, y = x.abs(), y.abs()
    return (x // gcd(x, y)) * y
