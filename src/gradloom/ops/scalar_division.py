"""Signs, quotients and remainders: of floats exactly, of integers by the lane's own operators."""

from gradloom.ops.scalar_forms import FORMATS, NAN, Lane, split_exponent
from gradloom.ops.scalar_pairs import product


def sign(x: Lane) -> Lane:
    """-1, 0 or 1, for floats and integers; NaN stays."""
    # Adding 0 turns the negative zero into the positive one, as NumPy does.
    below = x + 0 if x.dtype.startswith("u") else (x < 0).where(-1, x + 0)
    return (x > 0).where(1, below)


def _nearest_quotient(x: Lane, y: Lane) -> tuple[Lane, Lane]:
    """The integer n nearest x / y, and x - n y, exact: each step takes off a mantissa's bits."""
    quotient, rest = x.like(0.0), x
    for _ in range(2):
        n = (rest / y).rint()
        quotient = quotient + n
        rest = (n == 0).where(rest, (-n).fma(y, rest))  # where n is 0, y may be infinite
    return quotient, rest


def _opposite(rest: Lane, y: Lane) -> Lane:
    """Where the remainder must move by one y to have its sign."""
    return (rest != 0) & ((rest < 0) == (y > 0))


# Quotients up to here come out whole in two steps.
_TWO_STEPS = {"float32": 2.0**45, "float64": 2.0**103}


def _rest(x: Lane, y: Lane) -> Lane:
    """x less a multiple of y, exactly, not larger than y; NaN if y is 0 or x infinite."""
    _, rest = _nearest_quotient(x, y)
    far = ((x / y).abs() > _TWO_STEPS[x.dtype]) & (y != 0)
    (rest,) = far.seldom(_far, (x, y), (rest,))
    return (rest.abs() <= y.abs()).where(rest, NAN)


def _far(x: Lane, y: Lane) -> tuple[Lane]:
    return (_far_rest(x, y),)


def _far_rest(x: Lane, y: Lane) -> Lane:
    """x mod y through the powers of 2 modulo the mantissa of y, in whole numbers below 2**53.

    With x = a 2**p and y = b 2**q the rest is (a 2**(p - q) mod b) 2**q.
    """
    if x.dtype == "float32":
        return _far_rest(x.cast("float64"), y.cast("float64")).cast("float32")
    sound = (x - x == 0) & (y - y == 0) & (y != 0) & (x != 0)
    p, a = split_exponent(sound.where(x.abs(), 1.0))
    q, b = split_exponent(sound.where(y.abs(), 1.0))
    a, b = a * 2.0**53, b * 2.0**53
    power, _ = a.like(1.0).repeat(
        ((p - q).maximum(0.0).cast("int64"),),
        12,
        lambda power, left: (_doubled(_times(power, power, b), b, left), left << 1),
        lambda power, left: left == left,
    )
    rest = _times(_centred(a, b), power, b)
    rest = (rest < 0).where(rest + b, rest)
    form = FORMATS["float64"]
    first = (q * 0.5).floor()
    for part in (first, (q - first) - 53.0):
        rest = rest * ((part + (form.magic + form.bias)).bits() << form.mantissa).from_bits()
    return sound.where(rest.copysign(x), NAN)


def _centred(a: Lane, b: Lane) -> Lane:
    """A whole number within b / 2 of 0 that is a modulo b, for a up to about b."""
    a = (a > b * 0.5).where(a - b, a)
    a = (a > b * 0.5).where(a - b, a)
    return (a < b * -0.5).where(a + b, a)


def _times(a: Lane, c: Lane, b: Lane) -> Lane:
    """a c modulo b."""
    high, low = product(a, c)
    return _centred((-(high / b).rint()).fma(b, high) + low, b)


def _doubled(power: Lane, b: Lane, left: Lane) -> Lane:
    """Twice the power modulo b, where the twelfth bit of what is left says so."""
    return ((left & (1 << 11)) != 0).where(_centred(power + power, b), power)


def remainder(x: Lane, y: Lane) -> Lane:
    """x - floor(x / y) * y as np.remainder, rounded once: the sign is y's.

    Integers take the lane's own operator.
    """
    if x.dtype not in FORMATS:
        return x % y
    rest = _rest(x, y)
    moved = _opposite(rest, y).where(rest + y, rest)
    return (moved == 0).where(moved.like(0.0).copysign(y), moved)


def fmod(x: Lane, y: Lane) -> Lane:
    """x - trunc(x / y) * y, exactly: the sign is x's.  0 of an integer divided by 0."""
    if x.dtype not in FORMATS:
        rest = x % y
        if x.dtype.startswith("u"):
            return rest
        return ((rest != 0) & ((rest ^ x) < 0)).where(rest - y, rest)
    rest = _rest(x, y)
    rest = _opposite(rest, x).where(rest + y.copysign(x), rest)
    return rest.copysign(x)


def floor_divide(x: Lane, y: Lane) -> Lane:
    """floor(x / y) as np.floor_divide: of the exact quotient, not of the rounded one.

    Integers take the lane's own operator.
    """
    if x.dtype not in FORMATS:
        return x // y
    ratio = x / y
    quotient, rest = _nearest_quotient(x, y)
    floor = quotient - _opposite(rest, y).where(x.like(1.0), 0.0)
    floor = (floor == 0).where(floor.copysign(ratio), floor)
    # From here on every float is whole; and x - x makes NaN of an infinite x, as NumPy does.
    whole = (y == 0).where(ratio, ratio + (x - x))
    return (ratio.abs() < 2.0 ** FORMATS[x.dtype].mantissa).where(floor, whole)
