"""The lane algebra in LLVM instructions: operators on a lane append to an `ir.IRBuilder`.

In: scalar functions written once against the interface (see `gradloom.ops.scalar`).  Out: LLVM IR.
Invariant: float arithmetic carries the flag `contract` and no other, nothing traps, nothing is
undefined: a division by zero gives 0 and a float that no integer holds saturates.
"""

import math
import operator
import struct
from collections.abc import Callable
from typing import Any, Self

from llvmlite import ir

from gradloom.codegen import avx512
from gradloom.codegen.lane_control import repeat, seldom, splat
from gradloom.ir.types import INTEGERS, ITEMSIZE, UNSIGNED

BITS = {"bool": 1, **{name: 8 * ITEMSIZE[name] for name in (*INTEGERS, "float32", "float64")}}
FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
SIGNED = {"float32": "int32", "float64": "int64"}
FLOAT_OF = {"int32": "float32", "int64": "float64"}
_CONTRACT = ("contract",)


def register_type(dtype: str, width: int | None = None) -> ir.Type:
    """The type of a value in a register; `width` None is a scalar; a bool is one bit."""
    scalar = FLOATS.get(dtype) or ir.IntType(BITS[dtype])
    return scalar if width is None else ir.VectorType(scalar, width)


def memory_type(dtype: str) -> ir.Type:
    """The type of one element in memory: as in a register, except that a bool is a byte."""
    return ir.IntType(8) if dtype == "bool" else register_type(dtype)


def literal(dtype: str, number: float) -> Any:
    """`number` as `dtype` holds it: rounded to single precision, or wrapped to the integer's bits.

    >>> literal("uint32", -1), literal("int32", 2**31), literal("float32", 1e39)
    (4294967295, -2147483648, inf)
    """
    if dtype == "bool":
        return bool(number)
    if dtype == "float64":
        return float(number)
    if dtype == "float32":
        if math.isfinite(number) and abs(number) >= 2.0**128 - 2.0**103:
            return math.copysign(math.inf, number)
        return struct.unpack("f", struct.pack("f", number))[0]
    wrapped = int(number) & ((1 << BITS[dtype]) - 1)
    if dtype in UNSIGNED or wrapped < 1 << (BITS[dtype] - 1):
        return wrapped
    return wrapped - (1 << BITS[dtype])


def constant(
    builder: ir.IRBuilder, dtype: str, value: float, width: int | None = None
) -> "LlvmLane":
    """A lane whose every element is the Python number `value`."""
    scalar = ir.Constant(register_type(dtype), literal(dtype, value))
    if width is None:
        return LlvmLane(builder, scalar, dtype)
    # One element in the text, not `width` of them: the parser's time counts in every compilation.
    repeated = ir.FormattedConstant(register_type(dtype, width), "")
    repeated.constant = f"splat ({scalar.type} {scalar.get_reference()})"
    return LlvmLane(builder, repeated, dtype)


def declare(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """The function `name` of `module`, declared when it is first asked for."""
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


class LlvmLane:
    """A register: one value of `dtype`, or as many as its LLVM vector type holds.

    The other operand may be a lane of the same dtype, or a Python number, which takes the dtype; a
    scalar lane beside a vector is repeated.  Raises TypeError where dtypes or widths do not meet.

    >>> module = ir.Module()
    >>> kind = ir.FunctionType(register_type("float32"), [register_type("float32")])
    >>> function = ir.Function(module, kind, "twice")
    >>> builder = ir.IRBuilder(function.append_basic_block())
    >>> x = LlvmLane(builder, function.args[0], "float32")
    >>> _ = builder.ret((x * 2).value)
    >>> "fmul contract float" in str(module)
    True
    """

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("builder", "dtype", "value")

    def __init__(self, builder: ir.IRBuilder, value: ir.Value, dtype: str) -> None:
        self.builder, self.value, self.dtype = builder, value, dtype

    @property
    def width(self) -> int | None:
        """Elements in the vector, or None for a scalar."""
        return self.value.type.count if isinstance(self.value.type, ir.VectorType) else None

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    # ---- operands ------------------------------------------------------------------------------
    def _lane(self, value: ir.Value, dtype: str | None = None) -> Self:
        return type(self)(self.builder, value, dtype or self.dtype)

    def like(self, number: float) -> "LlvmLane":
        """A constant of this lane's dtype and width."""
        return constant(self.builder, self.dtype, number, self.width)

    def _meet(self, *others: Any) -> list[ir.Value]:
        """The values of this lane and of the others, of one dtype and one width."""
        lanes = [self, *(o if isinstance(o, LlvmLane) else self.like(o) for o in others)]
        if any(lane.dtype != self.dtype for lane in lanes):
            raise TypeError("lanes of dtypes " + ", ".join(lane.dtype for lane in lanes))
        width = next((lane.width for lane in lanes if lane.width is not None), None)
        return [splat(lane, width).value for lane in lanes]

    def _arithmetic(self, name: str, left: ir.Value, right: ir.Value) -> Self:
        if self.is_float:
            return self._lane(getattr(self.builder, "f" + name)(left, right, flags=_CONTRACT))
        return self._lane(getattr(self.builder, name)(left, right))

    def _intrinsic(self, name: str, *others: Any) -> Self:
        values = self._meet(*others)
        kind, scalar = values[0].type, BITS[self.dtype]
        suffix = f"f{scalar}" if kind == FLOATS[self.dtype] else f"v{kind.count}f{scalar}"
        function = declare(self.builder.module, f"llvm.{name}.{suffix}", kind, [kind] * len(values))
        return self._lane(self.builder.call(function, values))

    # ---- arithmetic ----------------------------------------------------------------------------
    def __add__(self, other: Any) -> Self:
        return self._arithmetic("add", *self._meet(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Self:
        return self._arithmetic("sub", *self._meet(other))

    def __rsub__(self, other: Any) -> Self:
        return self._arithmetic("sub", *reversed(self._meet(other)))

    def __mul__(self, other: Any) -> Self:
        return self._arithmetic("mul", *self._meet(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Self:
        if not self.is_float:
            raise TypeError(f"true division of {self.dtype} lanes; cast them to a float first")
        return self._arithmetic("div", *self._meet(other))

    def __rtruediv__(self, other: Any) -> Self:
        return self.like(other) / self

    def __neg__(self) -> Self:
        if self.is_float:
            return self._lane(self.builder.fneg(self.value, flags=_CONTRACT))
        return self._lane(self.builder.neg(self.value))

    def fma(self, factor: Any, term: Any) -> Self:
        """self * factor + term, rounded once."""
        return self._intrinsic("fma", factor, term) if self.is_float else self * factor + term

    def __floordiv__(self, other: Any) -> Self:
        return self._divide(other)[0]

    def __rfloordiv__(self, other: Any) -> Self:
        return self.like(other) // self

    def __mod__(self, other: Any) -> Self:
        return self._divide(other)[1]

    def __rmod__(self, other: Any) -> Self:
        return self.like(other) % self

    def _divide(self, other: Any) -> tuple[Any, Any]:
        """Integer quotient and remainder, rounded down as NumPy's; both 0 where `other` is 0."""
        if self.is_float or self.dtype == "bool":
            raise TypeError(f"// and % of {self.dtype} lanes")
        a, b = (self._lane(value) for value in self._meet(other))
        zero = b == 0
        unsafe = zero
        if self.dtype not in UNSIGNED:
            unsafe = zero | ((a == -(1 << (BITS[self.dtype] - 1))) & (b == -1))
        # The least integer divided by -1 wraps to itself, which dividing it by 1 gives too.
        divisor = unsafe.where(1, b)
        quotient = a._truncating_quotient(divisor, isinstance(other, LlvmLane))
        remainder = a - quotient * divisor
        if self.dtype not in UNSIGNED:
            above = (remainder != 0) & ((remainder ^ divisor) < 0)
            quotient = quotient - above.cast(self.dtype)
            remainder = remainder + above.where(divisor, 0)
        return zero.where(0, quotient), zero.where(0, remainder)

    def _truncating_quotient(self, divisor: Self, varies: bool) -> Self:
        unsigned = self.dtype in UNSIGNED
        if self.width is not None and varies and BITS[self.dtype] <= 32:
            # CPUs divide integers one at a time; double precision is exact here and vectorises.
            real = (self.cast("float64") / divisor.cast("float64")).value
            convert = self.builder.fptoui if unsigned else self.builder.fptosi
            return self._lane(convert(real, self.value.type))
        divide = self.builder.udiv if unsigned else self.builder.sdiv
        return self._lane(divide(self.value, divisor.value))

    # ---- bits ----------------------------------------------------------------------------------
    def __and__(self, other: Any) -> Self:
        return self._lane(self.builder.and_(*self._meet(other)))

    def __or__(self, other: Any) -> Self:
        return self._lane(self.builder.or_(*self._meet(other)))

    def __xor__(self, other: Any) -> Self:
        return self._lane(self.builder.xor(*self._meet(other)))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Self:
        return self ^ (True if self.dtype == "bool" else -1)

    def __lshift__(self, other: Any) -> Self:
        value, count, inside = self._shift(other)
        shifted = self._lane(self.builder.shl(value, count))
        return shifted if inside is None else inside.where(shifted, 0)

    def __rshift__(self, other: Any) -> Self:
        value, count, inside = self._shift(other)
        if self.dtype in UNSIGNED:
            shifted = self._lane(self.builder.lshr(value, count))
            return shifted if inside is None else inside.where(shifted, 0)
        shifted = self._lane(self.builder.ashr(value, count))
        return shifted if inside is None else inside.where(shifted, (self < 0).where(-1, self * 0))

    def __rlshift__(self, other: Any) -> Self:
        return self.like(other) << self

    def __rrshift__(self, other: Any) -> Self:
        return self.like(other) >> self

    def _shift(self, other: Any) -> tuple[ir.Value, ir.Value, Any]:
        """Value, count below the number of bits, and where the count was that (None: always)."""
        value, count = self._meet(other)
        bits = BITS[self.dtype]
        if not isinstance(other, LlvmLane) and 0 <= other < bits:
            return value, count, None
        limit = constant(self.builder, self.dtype, bits, self._lane(count).width).value
        inside = self._lane(self.builder.icmp_unsigned("<", count, limit), "bool")
        return value, inside.where(self._lane(count), 0).value, inside

    # ---- comparisons and choice ----------------------------------------------------------------
    def _compare(self, sign: str, other: Any) -> Self:
        left, right = self._meet(other)
        if self.is_float:
            compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        elif self.dtype in ("bool", *UNSIGNED):
            compare = self.builder.icmp_unsigned
        else:
            compare = self.builder.icmp_signed
        return self._lane(compare(sign, left, right), "bool")

    def __lt__(self, other: Any) -> Self:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Self:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Self:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Self:
        return self._compare(">=", other)

    def __eq__(self, other: object) -> Self:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        return self._compare("!=", other)

    def where(self, yes: Any, no: Any) -> "LlvmLane":
        """`yes` where this bool lane is true, else `no`; at least one of them is a lane."""
        if self.dtype != "bool":
            raise TypeError(f"where on a {self.dtype} lane; compare it first")
        if not isinstance(yes, LlvmLane) and not isinstance(no, LlvmLane):
            raise TypeError("where needs a lane as one of its choices")
        lanes = [o for o in (yes, no, self) if isinstance(o, LlvmLane)]
        dtype, width = lanes[0].dtype, next((o.width for o in lanes if o.width is not None), None)
        first, second = (
            o if isinstance(o, LlvmLane) else constant(self.builder, dtype, o, width)
            for o in (yes, no)
        )
        if first.dtype != second.dtype:
            raise TypeError(f"where between lanes of dtypes {first.dtype}, {second.dtype}")
        mask, first, second = (splat(lane, width) for lane in (self, first, second))
        return first._lane(self.builder.select(mask.value, first.value, second.value))

    def seldom(self, slow: Callable[..., Any], given: Any, fast: Any) -> Any:
        """Lanes `slow(*given)` where this bool lane is true, else `fast`; `slow` runs if any is."""
        return seldom(self, slow, given, fast)

    def repeat(self, others: Any, limit: int, step: Any, going: Any) -> Any:
        """This lane and `others` after at most `limit` times `step`, while `going(*state)`."""
        return repeat((self, *others), limit, step, going)

    def maximum(self, other: Any) -> "LlvmLane":
        """The larger; NaN where either is NaN."""
        return self._extreme(other, operator.gt)

    def minimum(self, other: Any) -> "LlvmLane":
        """The smaller; NaN where either is NaN."""
        return self._extreme(other, operator.lt)

    def _extreme(self, other: Any, better: Any) -> "LlvmLane":
        if not isinstance(other, LlvmLane) and other == other:
            bound = self.like(other)
            return better(bound, self).where(bound, self)  # one instruction, and it keeps a NaN
        best = better(self, other).where(self, other)
        return (self != self).where(self, best) if self.is_float else best

    # ---- functions that CPUs have --------------------------------------------------------------
    def sqrt(self) -> Self:
        return self._intrinsic("sqrt")

    def abs(self) -> Any:
        if self.is_float:
            return self._intrinsic("fabs")
        return self if self.dtype in ("bool", *UNSIGNED) else (self < 0).where(-self, self)

    def copysign(self, other: Any) -> Self:
        return self._intrinsic("copysign", other)

    def floor(self) -> Self:
        return self._intrinsic("floor") if self.is_float else self

    def ceil(self) -> Self:
        return self._intrinsic("ceil") if self.is_float else self

    def rint(self) -> Self:
        return self._intrinsic("rint") if self.is_float else self

    def trunc(self) -> Self:
        return self._intrinsic("trunc") if self.is_float else self

    # ---- functions that some CPUs have ---------------------------------------------------------
    @property
    def scales(self) -> bool:
        """Whether `scaled` is there, as one instruction."""
        return avx512.is_wide(self)

    def scaled(self, power: Any) -> Self:
        """self * 2**power for a whole float power, rounded once."""
        return self._lane(avx512.scale(self.builder, *self._meet(power)))

    def inverse_estimate(self) -> Any:
        """1 / self to at least half of the digits, where that is neither subnormal nor infinite."""
        if not avx512.is_wide(self):
            return 1.0 / self
        first = self._lane(avx512.estimated_inverse(self.builder, self.value))
        return first if self.dtype == "float32" else (-first).fma(self, 1.0).fma(first, first)

    # ---- conversions ---------------------------------------------------------------------------
    def bits(self) -> Self:
        """The bit pattern: float32 to int32, float64 to int64."""
        dtype = SIGNED[self.dtype]
        return self._lane(self.builder.bitcast(self.value, register_type(dtype, self.width)), dtype)

    def from_bits(self) -> Self:
        """The float of this bit pattern: int32 to float32, int64 to float64."""
        dtype = FLOAT_OF[self.dtype]
        return self._lane(self.builder.bitcast(self.value, register_type(dtype, self.width)), dtype)

    def cast(self, dtype: str) -> Any:
        """As `ndarray.astype`; a float beyond an integer dtype saturates, and NaN becomes 0."""
        if dtype == self.dtype:
            return self
        if dtype == "bool":
            return self != 0
        if self.is_float and dtype not in FLOATS:
            return self._saturate(dtype)
        convert = getattr(self.builder, _conversion(self.dtype, dtype), None)
        target = register_type(dtype, self.width)
        return self._lane(convert(self.value, target) if convert else self.value, dtype)

    def _saturate(self, dtype: str) -> Any:
        # llvm.fptosi.sat means the same, but LLVM 22 emits it one element at a time on x86.
        unsigned = dtype in UNSIGNED
        bits = BITS[dtype] if unsigned else BITS[dtype] - 1
        low, high = (0, 2**bits) if unsigned else (-(2**bits), 2**bits)
        raised = self.maximum(float(low))
        inside = raised < float(high)
        convert = self.builder.fptoui if unsigned else self.builder.fptosi
        target = register_type(dtype, self.width)
        whole = self._lane(convert(inside.where(raised, 0).value, target), dtype)
        return inside.where(whole, (self != self).where(0, whole.like(high - 1)))


def _conversion(source: str, target: str) -> str:
    """The builder's method for a cast that cannot fail, or "same" where the bits stay."""
    if target in FLOATS and source in FLOATS:
        return "fpext" if BITS[target] > BITS[source] else "fptrunc"
    unsigned = source in ("bool", *UNSIGNED)
    if target in FLOATS:
        return "uitofp" if unsigned else "sitofp"
    if BITS[target] == BITS[source]:
        return "same"
    if BITS[target] < BITS[source]:
        return "trunc"
    return "zext" if unsigned else "sext"
