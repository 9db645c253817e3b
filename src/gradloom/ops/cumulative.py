"""Running sums, products and extremes along an axis, and the linear recurrence that their
derivatives are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.errors import ShapeError, message, user_where
from gradloom.frontend.apply import apply, apply_many
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.routine import Code, below
from gradloom.ir.types import FLOATS, TensorType, TupleType
from gradloom.ops import planar_folds
from gradloom.ops.composite import ones_like, zeros_like
from gradloom.ops.elementwise import astype, exp, where
from gradloom.ops.gather import SCATTER
from gradloom.ops.join import concatenate, index_along
from gradloom.ops.move import broadcast_to, reshape, take_slice
from gradloom.ops.public import as_operand, normal_axis, public, refuse_out
from gradloom.ops.reduce import accumulated

# Runs of `inner` elements lie side by side, so that an axis other than the last is walked in the
# order of memory.  On the last axis the running value stays in a register, in float64.
FOLD_TEXT = """\
def routine_{name}_{dtype}(start, stop, count, inner, reverse, x, out):
    step = -inner if reverse else inner
    for row in range(start, stop):
        at = row * count * inner + ((count - 1) * inner if reverse else 0)
        if inner == 1 and count > 0:
            a = load_{dtype}(x, at)
            store_{dtype}(out, at, a)
            for _ in range(count - 1):
                at += step
                b = load_{dtype}(x, at)
                a = {combine}
                store_{dtype}(out, at, a)
        elif count > 0:
            copy(out, at * {bytes}, x, at * {bytes}, inner * {bytes})
            for _ in range(count - 1):
                at += step
                for k in range(at, at + inner):
                    a = load_{dtype}(out, k - step)
                    b = load_{dtype}(x, k)
                    store_{dtype}(out, k, {combine})
"""

EXTREME_TEXT = """\
def routine_{name}_{dtype}(start, stop, count, inner, reverse, x, out, places):
    step = -inner if reverse else inner
    for row in range(start, stop):
        first = row * count * inner
        for k in range(first, first + inner):
            i = count - 1 if reverse else 0
            for done in range(count):
                at = k + i * inner
                b = load_{dtype}(x, at)
                place = i
                if done > 0:
                    a = load_{dtype}(out, at - step)
                    if not ({replaces}):
                        b = a
                        place = load_int64(places, at - step)
                store_{dtype}(out, at, b)
                store_int64(places, at, place)
                i += -1 if reverse else 1
"""

RECUR_TEXT = """\
def routine_recur_{dtype}(start, stop, count, inner, reverse, x, y, out):
    step = -inner if reverse else inner
    for row in range(start, stop):
        at = row * count * inner + ((count - 1) * inner if reverse else 0)
        if count > 0:
            copy(out, at * {bytes}, y, at * {bytes}, inner * {bytes})
        for _ in range(count - 1):
            at += step
            for k in range(at, at + inner):
                a = load_{dtype}(x, k) * load_{dtype}(out, k - step)
                store_{dtype}(out, k, a + load_{dtype}(y, k))
"""

LOGADDEXP = """\
def routine_logaddexp(a, b) -> float:
    if a == b:
        return a + 0.6931471805599453
    low = b if a > b else a
    high = a if a > b else b
    return high + math_log1p(math_exp(low - high))
"""


def _code(
    name: str, text: str, *before: str, **words: str | Callable[[str], str]
) -> Callable[..., Code]:
    """Code for a text that walks along one axis; a word may depend on the dtype."""

    def code(*types: TensorType, axis: int, reverse: int) -> Code:
        kind = types[0]
        filled = {"name": name, "dtype": kind.dtype, "bytes": np.dtype(kind.dtype).itemsize}
        said = {
            key: word if isinstance(word, str) else word(kind.dtype) for key, word in words.items()
        }
        part = text.format(**filled, **said)
        inner = math.prod(kind.shape[axis + 1 :])
        extent = math.prod(kind.shape[:axis])
        return Code((*before, part), extent, (kind.shape[axis], inner, reverse))

    return code


def _flipped(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's running function, from the end where asked."""

    def reference(*arrays: Any, axis: int, reverse: int) -> Any:
        if not reverse:
            return function(*arrays, axis)
        found = function(*(np.flip(a, axis) for a in arrays), axis)
        return np.flip(found, axis)

    return reference


def _samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    x = rng.uniform(1, 4, (2, 3, 4)).astype(dtype)
    return [((x,), {"axis": 2, "reverse": 0}), ((x,), {"axis": 1, "reverse": 1})]


def _batch(row: Op, size: int, batched: Any, *arrays: Any, axis: int, reverse: int) -> Any:
    """The axis is one further in; what is not batched is repeated."""
    whole = [
        v if b else broadcast_to(v, (size, *v.shape)) for v, b in zip(arrays, batched, strict=True)
    ]
    return (apply_many if row is CUMMAX or row is CUMMIN else apply)(
        row, *whole, axis=axis + 1, reverse=reverse
    )


def _row(name: str, reference: Any, vjp: Any, routine: Any, **facts: Any) -> Op:
    facts = {"infer": lambda x, axis, reverse: x, "samples": _samples, **facts}
    row: list[Op] = []

    def batch(size: int, batched: Any, *arrays: Any, **attrs: Any) -> Any:
        return _batch(row[0], size, batched, *arrays, **attrs)

    row.append(
        define(
            Op(
                name,
                Kind.ROUTINE,
                facts.pop("infer"),
                reference,
                vjp,
                batch=batch,
                routine=routine,
                **facts,
            )
        )
    )
    return row[0]


def _before(x: Any, axis: int, reverse: int, first: Callable[[Any], Any]) -> Any:
    """Each element's predecessor in the order of the walk; at its beginning `first` of one."""
    size = x.shape[axis]
    if size == 0:
        return x

    def part(low: int, count: int) -> Any:
        at = tuple(low if i == axis else 0 for i in range(x.ndim))
        shape = tuple(count if i == axis else n for i, n in enumerate(x.shape))
        return take_slice(x, at, (1,) * x.ndim, shape)

    edge = first(part(0, 1))
    if reverse:
        return concatenate([part(1, size - 1), edge], axis)
    return concatenate([edge, part(0, size - 1)], axis)


def _product_vjp(g: Any, out: Any, x: Any, axis: int, reverse: int) -> tuple[Any]:
    """The product of what came before, times `s[i] = g[i] + x[i + 1] * s[i + 1]`: no division, so
    zeros are no exception."""
    onward = {"axis": axis, "reverse": 1 - reverse}
    following = _before(x, axis, 1 - reverse, zeros_like)
    return (_before(out, axis, reverse, ones_like) * apply(RECUR, following, g, **onward),)


def _recur_vjp(g: Any, out: Any, x: Any, y: Any, axis: int, reverse: int) -> tuple[Any, Any]:
    onward = {"axis": axis, "reverse": 1 - reverse}
    pulled = apply(RECUR, _before(x, axis, 1 - reverse, zeros_like), g, **onward)
    return pulled * _before(out, axis, reverse, zeros_like), pulled


def _log_vjp(g: Any, out: Any, x: Any, axis: int, reverse: int) -> tuple[Any]:
    """Sums over later k of `g[k] * exp(x[i] - out[k])`, by factors that are at most 1."""
    following = _before(out, axis, 1 - reverse, zeros_like)
    decay = exp(where(out == following, 0, out - following))
    summed = apply(RECUR, decay, g, axis=axis, reverse=1 - reverse)
    return (summed * exp(where(x == out, 0, x - out)),)


def _extreme_vjp(g: Any, out: Any, x: Any, axis: int, reverse: int) -> tuple[Any]:
    if g[0] is None:
        return (None,)
    places = out[1]
    picked = tuple(places if i == axis else index_along(places, i) for i in range(x.ndim))
    shape = tuple(x.shape)
    return (apply(SCATTER, g[0], *picked, axes=tuple(range(x.ndim)), shape=shape),)


def _extremes(better: Callable[..., Any]) -> Callable[..., Any]:
    """Running extremes and the places where each was met first; NaN is met once for all."""

    def reference(x: Any, axis: int, reverse: int) -> tuple[np.ndarray, np.ndarray]:
        whole = np.moveaxis(np.asarray(x), axis, 0)
        out, places = whole.copy(), np.zeros(whole.shape, np.int64)
        walk = range(len(whole) - 1, -1, -1) if reverse else range(len(whole))
        before = -1
        for i in walk:
            places[i] = i
            if before >= 0:
                a, b = out[before], whole[i]
                new = better(b, a) | ((b != b) & (a == a))
                out[i], places[i] = np.where(new, b, a), np.where(new, i, places[before])
            before = i
        return np.moveaxis(out, 0, axis), np.moveaxis(places, 0, axis)

    return reference


def _logs(x: Any, axis: int) -> Any:
    return np.logaddexp.accumulate(x, axis)


def _recurred(x: Any, y: Any, axis: int) -> np.ndarray:
    out = np.moveaxis(np.array(y), axis, 0)
    factors = np.moveaxis(x, axis, 0)
    for i in range(1, len(out)):
        out[i] += factors[i] * out[i - 1]
    return np.moveaxis(out, 0, axis)


def _both(x: TensorType, axis: int, reverse: int) -> TupleType:
    return TupleType((x, TensorType(x.shape, "int64")))


CUMSUM: Op = _row(
    "cumsum",
    _flipped(lambda x, axis: np.cumsum(x, axis, dtype=x.dtype)),
    lambda g, out, x, axis, reverse: (apply(CUMSUM, g, axis=axis, reverse=1 - reverse),),
    _code("cumsum", FOLD_TEXT, combine="a + b"),
    planar=planar_folds.cumsum,
    linear=True,
)
CUMPROD = _row(
    "cumprod",
    _flipped(lambda x, axis: np.cumprod(x, axis, dtype=x.dtype)),
    _product_vjp,
    _code("cumprod", FOLD_TEXT, combine="a * b"),
    planar=planar_folds.cumprod,
)
CUMMAX = _row(
    "cummax",
    _extremes(np.greater),
    _extreme_vjp,
    _code(
        "cummax",
        EXTREME_TEXT,
        replaces=lambda dtype: f"{below(dtype, 'a', 'b')} or (b != b and a == a)",
    ),
    infer=_both,
)
CUMMIN = _row(
    "cummin",
    _extremes(np.less),
    _extreme_vjp,
    _code(
        "cummin",
        EXTREME_TEXT,
        replaces=lambda dtype: f"{below(dtype, 'b', 'a')} or (b != b and a == a)",
    ),
    infer=_both,
)
LOGCUMSUMEXP = _row(
    "logcumsumexp",
    _flipped(_logs),
    _log_vjp,
    _code("logcumsumexp", FOLD_TEXT, LOGADDEXP, combine="routine_logaddexp(a, b)"),
    accepts="float",
)
# out[i] = x[i] * out[i - 1] + y[i], with nothing before the first
RECUR = _row(
    "recur",
    _flipped(_recurred),
    _recur_vjp,
    _code("recur", RECUR_TEXT),
    planar=planar_folds.recur,
    infer=lambda x, y, axis, reverse: x,
    accepts="float",
    operands=2,
    samples=lambda rng, dtype: [
        ((x, rng.uniform(-1, 1, x.shape).astype(dtype)), attrs)
        for (x,), attrs in _samples(rng, dtype)
    ],
)


# ---- public functions


def _flat(x: Any, axis: Any, dtype: Any) -> tuple[Any, int]:
    x = accumulated(as_operand(x), dtype)
    if axis is None:
        x, axis = reshape(x, -1), 0
    return x, normal_axis(axis, x.ndim)


@public(np.cumsum)
def cumsum(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, *, reverse: bool = False
) -> Any:
    """Running sums along `axis`, of all elements in a row if it is None; `reverse` from the end.

    >>> import gradloom.numpy as gnp
    >>> gnp.cumsum([1.0, 2.0, 3.0])
    array([1., 3., 6.])
    """
    refuse_out(out, "cumsum")
    x, along = _flat(a, axis, dtype)
    return apply(CUMSUM, x, axis=along, reverse=int(reverse))


@public(np.cumprod)
def cumprod(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, *, reverse: bool = False
) -> Any:
    """Running products along `axis`, of all elements in a row if it is None; `reverse` from the
    end.  The derivative is exact also where elements are zero."""
    refuse_out(out, "cumprod")
    x, along = _flat(a, axis, dtype)
    return apply(CUMPROD, x, axis=along, reverse=int(reverse))


def _with_initial(x: Any, axis: Any, dtype: Any, first: Any, row: Op, include: bool) -> Any:
    x = as_operand(x)
    if axis is None and x.ndim != 1:
        raise ShapeError(
            message(f"a running fold over {x.ndim} axes", user_where(), "say which with axis=")
        )
    x, along = _flat(x, 0 if axis is None else axis, dtype)
    out = apply(row, x, axis=along, reverse=0)
    if not include:
        return out
    edge = tuple(1 if i == along else n for i, n in enumerate(x.shape))
    return concatenate([astype(np.full(edge, first), x.dtype), out], along)


@public(np.cumulative_sum)
def cumulative_sum(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    include_initial: bool = False,
) -> Any:
    """Running sums along `axis`, which a 1-d array need not name; with `include_initial` a zero
    comes first."""
    refuse_out(out, "cumulative_sum")
    return _with_initial(x, axis, dtype, 0, CUMSUM, include_initial)


@public(np.cumulative_prod)
def cumulative_prod(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    include_initial: bool = False,
) -> Any:
    """Running products along `axis`; with `include_initial` a one comes first."""
    refuse_out(out, "cumulative_prod")
    return _with_initial(x, axis, dtype, 1, CUMPROD, include_initial)


@public()
def cummax(x: Any, axis: int = -1, reverse: bool = False) -> Any:
    """The largest element so far along `axis`; once there was a NaN, NaN.

    >>> import gradloom.numpy as gnp
    >>> gnp.cummax([1.0, 3.0, 2.0])
    array([1., 3., 3.])
    """
    x = as_operand(x)
    return apply_many(CUMMAX, x, axis=normal_axis(axis, x.ndim), reverse=int(reverse))[0]


@public()
def cummin(x: Any, axis: int = -1, reverse: bool = False) -> Any:
    """The smallest element so far along `axis`; once there was a NaN, NaN."""
    x = as_operand(x)
    return apply_many(CUMMIN, x, axis=normal_axis(axis, x.ndim), reverse=int(reverse))[0]


@public()
def logcumsumexp(x: Any, axis: int = -1, reverse: bool = False) -> Any:
    """`log(cumsum(exp(x)))` without overflow, each step the logarithm of a sum of two."""
    x = as_operand(x)
    x = x if x.dtype.name in FLOATS else astype(x, "float64")
    return apply(LOGCUMSUMEXP, x, axis=normal_axis(axis, x.ndim), reverse=int(reverse))
