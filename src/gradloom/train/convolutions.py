"""Convolutions; channels are the last axis throughout.

A convolution is a contraction of the windows of `x` with the weights, so that only a border of
zeros is ever copied.  With a cotangent `g` of its result in it, `sum(g * convolution(x, w))` is
linear in each of `x`, `w` and `g`; a convolution and both of its reverses are the derivatives of
that one form by `g`, `x` and `w`, and any derivative of one of these is made of the other two.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradloom.calling import Batched, Signature, call
from gradloom.frontend.pytree import flatten
from gradloom.frontend.trace import current
from gradloom.ir.graph import Graph
from gradloom.ops.call import Rule
from gradloom.ops.contract import contract
from gradloom.ops.move import broadcast_to, flip, moveaxis, reshape, take_slice
from gradloom.ops.public import as_operand, wrong_shape
from gradloom.ops.windows import frame, overlap_add, skew, spread_out, undilated, windows
from gradloom.train.sliding import Sliding, bordered, sliding

# Labels of the axes: examples, groups, channels of x and of the result; of axes that slide over x,
# the places of windows, blocks of places, elements within a window and within a block.
PLACES, INSIDE, BLOCKS = "xyz", "ijk", "uvw"
AHEAD = "nm"  # examples, and what else comes before all that slides

VECTOR_BYTES = 64


@dataclass(frozen=True)
class Form:
    """`sum(g * convolution(x, w))`, for x (n, ..., [group], c), w (..., c, [group], o) and
    g (n, ..., [group], o)."""

    sliding: Sliding
    group: str  # the label of that axis, if there is one
    ahead: int = 1  # how many axes are like n

    def labels(self) -> tuple[str, str, str]:
        """Those of windows of x, of w, and of g."""
        many = len(self.sliding.count)
        places, inside = PLACES[:many], INSIDE[:many]
        group = self.group
        return f"n{places}{group}c{inside}", f"{inside}c{group}o", f"n{places}{group}o"

    def by_g(self, x: Any, w: Any) -> Any:
        """The convolution."""
        return contract(self.sliding.of(x), w, *self.labels())

    def by_w(self, x: Any, g: Any) -> Any:
        """The cotangent of the weights."""
        seen, weights, result = self.labels()
        return contract(self.sliding.of(x), g, seen, result, weights)

    def by_x(self, w: Any, g: Any) -> Any:
        """The cotangent of `x`, again a convolution.

        Element `step * q + r` of the bordered `x` is number `r + step * j` in window `q - j`: all
        `r` of a block q are results of one window of g.  With a step of one number j is in window
        `q - dilation * j`.
        """
        if self._is_narrow(w):
            return self._added_up(w, g)
        own = self.sliding
        many = len(own.count)
        size, dilation = undilated(own.step, own.window, own.dilation)
        terms = tuple(-(-n // s) for n, s in zip(size, own.step, strict=True))
        first = tuple(n // s for n, s in zip(own.low, own.step, strict=True))
        last = (-(-(n + low) // s) for n, low, s in zip(own.sizes, own.low, own.step, strict=True))
        blocks = tuple(b - a for a, b in zip(first, last, strict=True))
        before = tuple(d * (j - 1) for d, j in zip(dilation, terms, strict=True))
        start = tuple(q - n for q, n in zip(first, before, strict=True))
        reach = tuple(b + n for b, n in zip(blocks, before, strict=True))
        around = bordered(g, self.ahead, start, reach)
        seen = windows(around, self.ahead, blocks, terms, dilation=dilation)

        # Channels of x are neighbours in the result, so they should be in the weights.
        w = moveaxis(w, many, -1)
        w = spread_out(w, tuple(range(many)), size)
        w = frame(w, 0, (0,) * many, tuple(j * s for j, s in zip(terms, own.step, strict=True)))
        pairs = [n for pair in zip(terms, own.step, strict=True) for n in pair]
        w = flip(reshape(w, (*pairs, *w.shape[many:])), tuple(range(0, 2 * many, 2)))
        group, places, inside, within = self.group, PLACES[:many], INSIDE[:many], BLOCKS[:many]
        both = "".join(a + b for a, b in zip(inside, within, strict=True)) + f"{group}oc"
        out = "".join(a + b for a, b in zip(places, within, strict=True))
        n, more = AHEAD[:1], AHEAD[1 : self.ahead]  # the rows of a product are not at a border
        found = contract(
            seen, w, f"{n}{more}{places}{group}o{inside}", both, f"{n}{out}{more}{group}c"
        )
        whole = tuple(b * s for b, s in zip(blocks, own.step, strict=True))
        found = reshape(found, (found.shape[0], *whole, *found.shape[1 + 2 * many :]))
        found = moveaxis(
            found, tuple(range(1 + many, many + self.ahead)), tuple(range(1, self.ahead))
        )
        skipped = tuple(n - a * s for n, a, s in zip(own.low, first, own.step, strict=True))
        return frame(found, self.ahead, skipped, own.sizes)

    def _is_narrow(self, w: Any) -> bool:
        """Whether a vector has room for the channels of several elements of a window.

        By an x of 64 x 12 x 12 x 6, with w of 5 x 5 x 6 x 16 in float32: 985 us, as in `_added_up`
        210 (LeNet of `benchmarks/convolutions.py`).
        """
        own, lanes = self.sliding, VECTOR_BYTES // w.dtype.itemsize
        window, channels = math.prod(own.window[-1:]), w.shape[-2]
        if self.group or own.step[-1:] != (1,):
            return False
        together = -(-window * channels // lanes) * own.count[-1]
        alone = -(-channels // lanes) * window * own.sizes[-1]
        return 2 * together <= alone and math.prod(own.window[:-1]) * w.shape[-1] >= lanes

    def _added_up(self, w: Any, g: Any) -> Any:
        """The same with the elements of a window along the last axis beside the channels, so that
        they are results of one product too; overlapping ones are added up afterwards."""
        own, axis = self.sliding, self.ahead + len(self.sliding.count) - 1
        window, channels = own.window[-1], w.shape[-2]
        outer = Form(own.along(slice(-1)), "", self.ahead + 1)
        w = reshape(w, (*w.shape[:-3], window * channels, w.shape[-1]))
        made = outer.by_x(w, moveaxis(g, axis, self.ahead))
        made = reshape(made, (*made.shape[:-1], window, channels))
        made = moveaxis(made, (self.ahead, -2), (axis, -1))
        inner = own.along(slice(-1, None))
        sizes = inner.reach
        whole = overlap_add(
            made, axis, sizes, inner.count, inner.window, inner.step, inner.dilation
        )
        return frame(whole, axis, inner.low, inner.sizes)

    def derivative(self, by: int, *others: Any) -> Any:
        """That by x, w or g (0, 1 or 2), as a call whose own derivatives are of this form too."""
        function = (self.by_x, self.by_w, self.by_g)[by]
        if current() is None:
            return function(*others)
        leaves, structure = flatten(others)
        signature = Signature(function, structure)
        return call(_Derivative(self, by, signature), signature, leaves)


@dataclass(frozen=True, eq=False)
class _Derivative(Rule):
    """The rule of a call of a form's derivative, which is linear in each of its two operands."""

    form: Form
    by: int
    signature: Signature

    def __str__(self) -> str:
        return "convolution"

    def run(self, *arrays: Any) -> tuple[Any, ...]:
        return self.signature.run(*arrays)

    def vjp(self, body: Graph | None, g: Any, out: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        given = list(inputs)
        given.insert(self.by, g[0])
        return tuple(
            self.form.derivative(i, *(v for j, v in enumerate(given) if j != i))
            for i in range(3)
            if i != self.by
        )

    def jvp(
        self, body: Graph | None, tangents: Any, out: Any, inputs: Sequence[Any]
    ) -> tuple[Any, ...]:
        pushed = [
            self.form.derivative(self.by, *(t if i == j else v for j, v in enumerate(inputs)))
            for i, t in enumerate(tangents)
            if t is not None
        ]
        return (sum(pushed[1:], pushed[0]),)

    def batched(self, body: Graph, size: int, flags: Sequence[bool]) -> Rule:
        return Batched(self, body, size, tuple(flags))


# ---- convolutions


def conv1d(
    x: Any, w: Any, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1
) -> Any:
    """Windows of `x` (n, length, c) times weights `w` (window, c // groups, o): (n, places, o).

    As `conv2d`, along one axis.

    >>> import numpy as np
    >>> from gradloom.train import nn
    >>> x = np.arange(6.0).reshape(1, 6, 1)
    >>> nn.conv1d(x, np.ones((3, 1, 1)), stride=2, padding="same").ravel()
    array([3., 9., 9.])
    """
    return _convolution("conv1d", 1, x, w, stride, padding, dilation, groups)


def conv2d(
    x: Any, w: Any, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1
) -> Any:
    """Windows of `x` (n, height, width, c) times weights `w` (rows, columns, c // groups, o): a
    result of shape (n, places down, places across, o).

    The windows are not turned, as in all of deep learning.  `stride` and `dilation`, how far
    windows and the elements of one lie apart, are numbers or one number an axis.  `padding` is
    "valid", "same" (as many places as strides fit in `x`; of an odd border the larger part comes
    last, as in JAX), or a number or a pair (before, after) an axis.  With `groups`, result channels
    see their own part of the channels alone: as many groups as channels make it depthwise.

    `ShapeError` if ranks or channels do not fit, or a window is larger than `x` with its border.

    >>> import numpy as np
    >>> from gradloom.train import nn
    >>> nn.conv2d(np.ones((8, 28, 28, 1)), np.ones((5, 5, 1, 6))).shape
    (8, 24, 24, 6)
    >>> nn.conv2d(np.ones((8, 32, 32, 4)), np.ones((3, 3, 2, 6)), 2, "same", groups=2).shape
    (8, 16, 16, 6)
    """
    return _convolution("conv2d", 2, x, w, stride, padding, dilation, groups)


def _convolution(
    name: str, many: int, x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> Any:
    x, w = as_operand(x), as_operand(w)
    shown = f"{name} of x {tuple(x.shape)} and w {tuple(w.shape)}"
    if x.ndim != many + 2 or w.ndim != many + 2:
        axes = "(n, length, c)" if many == 1 else "(n, height, width, c)"
        inner = "(window, c, o)" if many == 1 else "(rows, columns, c, o)"
        raise wrong_shape(f"{shown}: both take {many + 2} axes", f"give x {axes} and w {inner}")
    groups = operator.index(groups)
    channels, (each, made) = x.shape[-1], w.shape[-2:]
    if groups < 1 or channels % groups or made % groups:
        raise wrong_shape(
            f"{shown}: {groups} groups do not divide {channels} channels into {made}",
            "both numbers of channels must be multiples of groups",
        )
    if each * groups != channels:
        raise wrong_shape(
            f"{shown}: x has {channels} channels, and w takes {each}"
            + (f" for each of {groups} groups" if groups > 1 else ""),
            f"the last axis but one of w must be {channels // groups}",
        )
    own = sliding(shown, tuple(x.shape[1:-1]), tuple(w.shape[:-2]), stride, padding, dilation)
    x, own = _thinned(x, own)
    places, beside = own.count, _beside(own, w, groups)
    if beside > 1:
        own, w = _widened(own, w, beside)
    if groups > 1:
        x = reshape(x, (*x.shape[:-1], groups, each))
        w = reshape(w, (*w.shape[:-1], groups, made // groups))
    out = Form(own, "g" if groups > 1 else "").derivative(2, x, w)
    out = reshape(out, (*out.shape[:many], own.count[-1] * beside, made))
    return frame(out, many, (0,), places[-1:])


def _beside(own: Sliding, w: Any, groups: int) -> int:
    """How many places along the last axis to make at once, so that few results are not alone in
    their vectors: the number with the fewest vectors of multiply-adds.

    64 x 28 x 28 x 1 times 5 x 5 x 1 x 6 in float32: 190 us, its reverse by weights 450; by two
    places 112 and 146 (LeNet of `benchmarks/convolutions.py`).
    """
    lanes = VECTOR_BYTES // w.dtype.itemsize
    if groups > 1 or own.dilation[-1] > 1 or not 0 < w.shape[-1] <= lanes // 2:
        return 1

    def vectors(beside: int) -> float:
        wide = (beside - 1) * own.step[-1] + own.window[-1]
        return -(-own.count[-1] // beside) * -(-beside * w.shape[-1] // lanes) * wide

    return min(range(1, min(lanes, own.count[-1]) + 1), key=vectors)


def _widened(own: Sliding, w: Any, beside: int) -> tuple[Sliding, Any]:
    """Windows of so many places each, and weights with all of their results: those of a window
    further on are shifted by as many zeros."""
    step, window = own.step[-1], own.window[-1]
    wide = (beside - 1) * step + window
    axis, (channels, made) = w.ndim - 3, w.shape[-2:]
    shape = (*w.shape[:-1], beside, made)
    w = broadcast_to(reshape(w, (*w.shape[:-1], 1, made)), shape)
    w = skew(w, axis, axis + 2, -step, 0, wide)
    several = replace(
        own,
        count=(*own.count[:-1], -(-own.count[-1] // beside)),
        window=(*own.window[:-1], wide),
        step=(*own.step[:-1], step * beside),
    )
    return several, reshape(w, (*w.shape[:axis], wide, channels, beside * made))


def _thinned(x: Any, own: Sliding) -> tuple[Any, Sliding]:
    """Without the elements between windows of size one."""
    alone = [
        k == 1 and low == 0 and reach <= n
        for k, low, reach, n in zip(own.window, own.low, own.reach, own.sizes, strict=True)
    ]
    step = tuple(s if a else 1 for s, a in zip(own.step, alone, strict=True))
    rest = tuple(1 if a else s for s, a in zip(own.step, alone, strict=True))
    sizes = tuple(c if a else n for c, n, a in zip(own.count, own.sizes, alone, strict=True))
    x = take_slice(x, (0,) * x.ndim, (1, *step, 1), (x.shape[0], *sizes, x.shape[-1]))
    return x, replace(own, sizes=sizes, step=rest)
