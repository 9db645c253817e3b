"""Random numbers as pure functions of a key, the same bits on every target.

Threefry-2x32 with 20 rounds [Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as
1, 2, 3, SC 2011]: element `i` is the cipher of the counter `i` under the key, so it depends on
nothing else.  Integers are equal everywhere, floats made by `log` and `cos` differ by rounding.
`key`, `split`, `fold_in` and `bits` give what `jax.random` gives with its default settings.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from gradloom.errors import DtypeError, ShapeError, message, user_where
from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.ir.node import Node
from gradloom.ir.source import IOTA
from gradloom.ir.types import FLOATS
from gradloom.ops.elementwise import astype, cos, log, sqrt
from gradloom.ops.join import concatenate, stack
from gradloom.ops.move import reshape
from gradloom.ops.public import as_operand
from gradloom.ops.reduce import argmax

__all__ = [
    "bernoulli",
    "bits",
    "categorical",
    "fold_in",
    "key",
    "normal",
    "permutation",
    "randint",
    "split",
    "uniform",
]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_DRAWN = ("int32", "int64", "uint32")
_PARITY = 0x1BD11BDA
_WORD = 0xFFFFFFFF

Shape = int | tuple[int, ...]


def key(seed: int) -> np.ndarray:
    """A key, uint32[2]: the high and the low word of `seed` modulo 2**64.

    >>> from gradloom.train import random
    >>> random.key(7)
    array([0, 7], dtype=uint32)
    """
    number = operator.index(seed)
    return np.array([number >> 32 & _WORD, number & _WORD], "uint32")


def split(key: Any, num: int = 2) -> Any:
    """`num` keys that are independent of each other and of `key`: uint32[num,2].

    >>> from gradloom.train import random
    >>> weights, biases = random.split(random.key(0))
    >>> weights
    array([1797259609, 2579123966], dtype=uint32)
    """
    return stack(_words(key, num), axis=1)


def fold_in(key: Any, data: Any) -> Any:
    """The key for one integer, such as a step's number; `split(key, n)[data]` where both exist.

    >>> from gradloom.train import random
    >>> bool((random.fold_in(random.key(0), 1) == random.split(random.key(0))[1]).all())
    True
    """
    if not isinstance(data, Tensor):
        data = np.array(operator.index(data) & _WORD, "uint32")
    counter = reshape(astype(data, "uint32"), (1,))
    return concatenate(_threefry(_checked(key), 0, counter))


def bits(key: Any, shape: Shape = ()) -> Any:
    """Random words, uint32, all values equally likely.

    >>> from gradloom.train import random
    >>> random.bits(random.key(0), 3)
    array([4070199207, 4202968722, 1427181096], dtype=uint32)
    """
    high, low = _words(key, _size(shape))
    return reshape(high ^ low, shape)


def uniform(
    key: Any, shape: Shape = (), dtype: Any = "float32", minval: Any = 0, maxval: Any = 1
) -> Any:
    """Uniform floats in [minval, maxval), from 24 random bits in float32 and 53 in float64.

    With other bounds than 0 and 1, the largest value may round to `maxval`.

    >>> from gradloom.train import random
    >>> random.uniform(random.key(0), (2,))
    array([0.94766706, 0.9785799 ], dtype=float32)
    """
    dtype = _float(dtype)
    unit = reshape(_unit(key, _size(shape), dtype), shape)
    if _is_number(minval, 0) and _is_number(maxval, 1):
        return unit
    low = _bound(minval, dtype)
    return low + unit * (_bound(maxval, dtype) - low)


def normal(key: Any, shape: Shape = (), dtype: Any = "float32") -> Any:
    """Standard normal floats, by the transform of Box and Muller (1958).

    Each element has its own pair of uniforms; no value is beyond 5.8 in float32, 8.6 in float64.

    >>> from gradloom.train import random
    >>> random.normal(random.key(0), (1000, 3)).std().round(1)
    np.float32(1.0)
    """
    dtype = _float(dtype)
    size = _size(shape)
    if dtype == "float32":
        high, low = _words(key, size)
        first, turn = _fraction32(high), _fraction32(low)
        step = 2.0**-24
    else:
        first, turn = _unit(key, size, dtype), _unit(key, size, dtype, block=1)
        step = 2.0**-53
    radius = sqrt(-2.0 * log(first + step))  # in (0, 1]: the sum is exact
    return reshape(radius * cos(2.0 * math.pi * turn), shape)


def bernoulli(key: Any, p: Any = 0.5, shape: Shape | None = None) -> Any:
    """True with probability `p`, to 24 bits; in the shape of `p` unless one is given.

    >>> from gradloom.train import random
    >>> int(random.bernoulli(random.key(0), 0.25, (1000,)).sum())
    239
    """
    wanted = tuple(as_operand(p).shape) if shape is None else shape
    return uniform(key, wanted) < p


def randint(key: Any, shape: Shape, minval: Any, maxval: Any, dtype: Any = "int32") -> Any:
    """Integers in [minval, maxval), for ranges up to 2**31.

    The high half of a 64-bit product [Lemire 2019], without its rejection: the probabilities of
    two values differ by at most 2**-32.

    >>> from gradloom.train import random
    >>> random.randint(random.key(0), (5,), 0, 10)
    array([9, 9, 3, 4, 5], dtype=int32)
    """
    name = np.dtype(dtype).name
    if name not in _DRAWN:
        raise DtypeError(
            message(f"randint of dtype {name}", user_where(), f"use one of {', '.join(_DRAWN)}")
        )
    low = astype(as_operand(minval), "int64")
    span = astype(as_operand(maxval), "int64") - low
    if not isinstance(span, Tensor) and not np.all((span > 0) & (span <= 2**31)):
        raise ShapeError(
            message(
                f"randint from {minval} to {maxval}",
                user_where(),
                "maxval must exceed minval, by at most 2**31",
            )
        )
    return astype(low + (astype(bits(key, shape), "int64") * span >> 32), name)


def permutation(key: Any, x: Any, axis: int = 0) -> Any:
    """`x` in random order along `axis`; for a number `x`, the numbers below it as int64.

    The order is that of 64 random bits an element.

    >>> from gradloom.train import random
    >>> random.permutation(random.key(0), 6)
    array([1, 5, 0, 4, 3, 2])
    """
    is_count = isinstance(x, int | np.integer)
    high, low = _words(key, int(x) if is_count else x.shape[axis])
    order = FUNCTIONS["argsort"](astype(high, "uint64") << np.uint64(32) | low)
    return order if is_count else FUNCTIONS["take"](x, order, axis)


def categorical(key: Any, logits: Any, axis: int = -1) -> Any:
    """Indices (int64) along `axis` with probabilities `softmax(logits)`, by Gumbel's maximum.

    >>> import numpy as np
    >>> from gradloom.train import random
    >>> random.categorical(random.key(0), np.log([[0.9, 0.1]] * 5))
    array([0, 0, 0, 0, 0])
    """
    logits = as_operand(logits)
    dtype = logits.dtype.name if logits.dtype.name in FLOATS else "float64"
    # 23 bits and a half: between 0 and 1 exclusively, and exact in both formats.
    middle = (astype(bits(key, tuple(logits.shape)) >> 9, dtype) + 0.5) * 2.0**-23
    return argmax(logits - log(-log(middle)), axis)


# ---- the cipher


def _threefry(key: Any, high: Any, low: Any) -> tuple[Any, Any]:
    """The two output words for the counter (high, low): 20 rounds, a key injection every four.

    The key's words have shape (1,): NumPy would warn of overflow on scalars.
    """
    first, second = key[:1], key[1:]
    schedule = (first, second, first ^ second ^ _PARITY)
    high, low = high + first, low + second
    for group in range(5):
        for places in _ROTATIONS[group % 2]:
            high = high + low
            low = (low << places | low >> 32 - places) ^ high
        high = high + schedule[(group + 1) % 3]
        low = low + (schedule[(group + 2) % 3] + (group + 1))
    return high, low


def _words(key: Any, size: int, block: int = 0) -> tuple[Any, Any]:
    """Two words of shape (size,) for each of the counters (block, 0), (block, 1), ..."""
    key = _checked(key)
    counter: Any = np.arange(size, dtype="uint32")
    if isinstance(key, Tensor) and isinstance(key.node, Node):
        counter = apply(IOTA, shape=(size,), axis=0, dtype="uint32")
    return _threefry(key, block, counter)


def _unit(key: Any, size: int, dtype: str, block: int = 0) -> Any:
    """Uniform multiples of 2**-24 or 2**-53 in [0, 1)."""
    high, low = _words(key, size, block)
    if dtype == "float32":
        return _fraction32(high ^ low)
    upper = astype(high >> 5, dtype) * 2.0**26
    return (upper + astype(low >> 6, dtype)) * 2.0**-53


def _fraction32(words: Any) -> Any:
    return astype(words >> 8, "float32") * 2.0**-24


# ---- arguments


def _checked(key: Any) -> Any:
    found = as_operand(key)
    if tuple(found.shape) != (2,) or found.dtype.name != "uint32":
        raise DtypeError(
            message(
                f"a key is uint32[2], this is {found.dtype.name}{list(found.shape)}",
                user_where(),
                "make one with gl.random.key(seed), and more with gl.random.split(key)",
            )
        )
    return found


def _size(shape: Shape) -> int:
    size = math.prod(shape) if isinstance(shape, tuple | list) else operator.index(shape)
    if not 0 <= size < 2**32:
        raise ShapeError(
            message(
                f"{size} random elements from one key",
                user_where(),
                "there are 2**32 - 1 at most: split the key and draw in parts",
            )
        )
    return size


def _float(dtype: Any) -> str:
    name = np.dtype(dtype).name
    if name not in FLOATS:
        raise DtypeError(
            message(f"random floats of dtype {name}", user_where(), f"use {' or '.join(FLOATS)}")
        )
    return name


def _bound(value: Any, dtype: str) -> Any:
    return astype(as_operand(value), dtype)


def _is_number(value: Any, number: int) -> bool:
    return isinstance(value, int | float) and value == number
