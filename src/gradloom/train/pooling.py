"""Reductions of windows, a channel at a time; channels are the last axis."""

from __future__ import annotations

import math
from typing import Any

from gradloom.custom import custom_jvp
from gradloom.ops.composite import ones_like
from gradloom.ops.elementwise import astype, equal, where
from gradloom.ops.join import index_along
from gradloom.ops.move import moveaxis, squeeze
from gradloom.ops.padding import pad
from gradloom.ops.public import as_operand, wrong_shape
from gradloom.ops.reduce import lowest, max_, min_, sum_
from gradloom.ops.windows import windows
from gradloom.train.sliding import Sizes, Sliding, each, sliding


def max_pool(x: Any, window: Any, stride: Any = None, padding: Any = "valid") -> Any:
    """The largest element of each window of `x` (n, ..., c), a channel at a time.

    `window` is a number or one an axis between the first and the last; `stride` is the window
    unless given, and `padding` as in `conv2d`, of what is below every number.  Of equal elements
    the first has the derivative.

    >>> import numpy as np
    >>> from gradloom.train import nn
    >>> nn.max_pool(np.arange(16.0).reshape(1, 4, 4, 1), 2).reshape(2, 2)
    array([[ 5.,  7.],
           [13., 15.]])
    """
    x, own = _pooling("max_pool", x, window, stride, padding)
    widths = [(0, 0), *own.borders, (0, 0)]
    inside = x
    if any(map(any, widths)):
        inside = pad(x, widths, constant_values=lowest(x.dtype.name))
    found: Any = _largest(inside, own)
    return found


def _seen(x: Any, own: Sliding) -> Any:
    """The windows of `x`, whose border is there already, before the channels: (n, places ...,
    window ..., c)."""
    found = windows(x, 1, own.count, own.window, own.step)
    return moveaxis(found, x.ndim - 1, -1)


def _inner(own: Sliding) -> Sizes:
    many = len(own.count)
    return tuple(range(1 + many, 1 + 2 * many))


def _largest(x: Any, own: Sliding) -> Any:
    return max_(_seen(x, own), _inner(own))


_largest = custom_jvp(_largest, nondiff_argnums=(1,))


@_largest.defjvp
def _follow_the_first(own: Sliding, primals: Any, tangents: Any) -> Any:
    (x,), (along,) = primals, tangents
    seen = _seen(x, own)
    axes = _inner(own)
    top = max_(seen, axes, keepdims=True)
    number: Any = 0
    for axis in axes:
        number = number * seen.shape[axis] + astype(index_along(seen, axis), "int32")
    first = min_(where(equal(seen, top), number, math.prod(own.window)), axes, keepdims=True)
    chosen = where(equal(number, first), _seen(along, own), 0)
    return squeeze(top, axes), sum_(chosen, axes)


def avg_pool(
    x: Any, window: Any, stride: Any = None, padding: Any = "valid", count_include_pad: bool = True
) -> Any:
    """The mean of each window of `x` (n, ..., c), a channel at a time; arguments as of `max_pool`.

    The border counts as zeros, as in flax; without `count_include_pad` it does not count.

    >>> import numpy as np
    >>> from gradloom.train import nn
    >>> nn.avg_pool(np.ones((1, 2, 2, 1)), 2, padding=((1, 0), (0, 0))).ravel()
    array([0.5])
    """
    x, own = _pooling("avg_pool", x, window, stride, padding)

    def total(values: Any) -> Any:
        return sum_(own.of(values), tuple(range(-len(own.count), 0)))

    if count_include_pad or not any(map(any, own.borders)):
        return total(x) / math.prod(own.window)
    return total(x) / total(ones_like(x[:1, ..., :1]))


def _pooling(name: str, x: Any, window: Any, stride: Any, padding: Any) -> tuple[Any, Sliding]:
    x = as_operand(x)
    if x.ndim < 3:
        raise wrong_shape(
            f"{name} of {tuple(x.shape)}", "give it the axes (n, ..., c), with some in between"
        )
    many = x.ndim - 2
    size = each(window, many, f"{name}: a window")
    shown = f"{name} of {tuple(x.shape)}"
    step = size if stride is None else stride
    return x, sliding(shown, tuple(x.shape[1:-1]), size, step, padding, 1)
