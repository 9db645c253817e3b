"""Rows that read at indices which are values, and the transposes of reading: combining there."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ir.op import OPS, Kind, Op, define
from gradloom.ir.types import TensorType
from gradloom.ops.elementwise import astype, equal
from gradloom.ops.elementwise import where as choose
from gradloom.ops.reduce import MAX, MIN, PROD, SUM

Axes = tuple[int, ...]


def _rest(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _gathered(x: TensorType, *indices: TensorType, axes: Axes) -> TensorType:
    front = np.broadcast_shapes(*(i.shape for i in indices))
    return TensorType(front + _rest(x.shape, axes), x.dtype)


def _gather(x: Any, *indices: Any, axes: Axes) -> np.ndarray:
    return np.moveaxis(x, axes, range(len(axes)))[indices]


def _samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    x = rng.uniform(-2, 2, (5, 4, 3)).astype(dtype)
    rows = rng.integers(-5, 5, (2, 3))
    return [((x, rows), {"axes": (0,)}), ((x, rows, rng.integers(0, 3, 3)), {"axes": (0, 2)})]


def _scatter_samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    pairs = [((2, 3, 4, 3), (0,)), ((2, 3, 4), (0, 2))]
    rows, columns = rng.integers(-5, 5, (2, 3)), rng.integers(0, 3, 3)
    return [
        (
            (rng.uniform(-2, 2, shape).astype(dtype), *(rows, columns)[: len(axes)]),
            {"axes": axes, "shape": (5, 4, 3)},
        )
        for shape, axes in pairs
    ]


def _covering_samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    """Every place gets an update, some several: an extreme of none is infinite."""
    rows = rng.permutation(np.arange(15) % 5).reshape(3, 5)
    updates = rng.permutation(np.linspace(-2, 2, 15 * 12)).reshape(3, 5, 12)
    pairs = rng.permutation(np.arange(30) % 15).reshape(5, 6)
    spread = rng.permutation(np.linspace(-2, 2, 30 * 4)).reshape(5, 6, 4)
    return [
        ((updates.astype(dtype), rows), {"axes": (0,), "shape": (5, 12)}),
        ((spread.astype(dtype), pairs // 3, pairs % 3), {"axes": (0, 2), "shape": (5, 4, 3)}),
    ]


# The indexed axes come first in the result, as with separated advanced indices in NumPy.
GATHER = define(
    Op(
        "gather",
        Kind.GATHER,
        _gathered,
        _gather,
        lambda g, out, x, *indices, axes: (
            apply(OPS["scatter_add"], g, *indices, axes=axes, shape=tuple(x.shape)),
            *(None for _ in indices),
        ),
        accepts="any",
        linear=True,
        cost=4,
        samples=_samples,
    )
)


def _scattering(
    name: str, combined: Op, ufunc: np.ufunc, vjp: Any, samples: Any = _covering_samples
) -> Op:
    """A row that begins with the neutral elements of `combined` and folds updates into them."""
    neutral = combined.identity
    assert neutral is not None

    def reference(g: Any, *indices: Any, axes: Axes, shape: tuple[int, ...]) -> np.ndarray:
        dtype = np.asarray(g).dtype
        sizes = [shape[a] for a in axes] + list(_rest(shape, axes))
        out = np.full(sizes, neutral(dtype.name), dtype)
        ufunc.at(out, indices, g)
        return np.moveaxis(out, range(len(axes)), axes)

    return define(
        Op(
            name,
            Kind.SCATTER,
            lambda g, *indices, axes, shape: TensorType(shape, g.dtype),
            reference,
            lambda g, out, x, *indices, axes, shape: (
                vjp(g, out, x, indices, axes, shape),
                *(None for _ in indices),
            ),
            factors=("", combined.name),
            linear=combined is SUM,
            samples=samples,
        )
    )


SCATTER = _scattering(
    "scatter_add",
    SUM,
    np.add,
    lambda g, out, x, indices, axes, _: read(g, indices, axes),
    _scatter_samples,
)


def _to_best(g: Any, out: Any, x: Any, indices: Any, axes: Axes, shape: tuple[int, ...]) -> Any:
    """The cotangent shared equally among the updates that attain the extreme."""
    wins = equal(x, read(out, indices, axes))
    count = apply(SCATTER, astype(wins, x.dtype), *indices, axes=axes, shape=shape)
    return choose(wins, read(g, indices, axes) / read(count, indices, axes), 0)


def _to_factors(g: Any, out: Any, x: Any, indices: Any, axes: Axes, shape: tuple[int, ...]) -> Any:
    """The cotangent times the product of the other updates of the same place, exact with zeros.

    The second derivative at two zeros in one place is that of no zero: 0.
    """
    zero = equal(x, 0)
    factors = choose(zero, 1, x)
    product = apply(SCATTER_PROD, factors, *indices, axes=axes, shape=shape)
    zeros = apply(SCATTER, astype(zero, "int64"), *indices, axes=axes, shape=shape)
    mine, among = read(product, indices, axes), read(zeros, indices, axes)
    others = choose(equal(among, astype(zero, "int64")), mine / factors, 0)
    return read(g, indices, axes) * others


SCATTER_PROD = _scattering("scatter_prod", PROD, np.multiply, _to_factors, _scatter_samples)
SCATTER_MAX = _scattering("scatter_max", MAX, np.maximum, _to_best)
SCATTER_MIN = _scattering("scatter_min", MIN, np.minimum, _to_best)


def read(x: Any, indices: Any, axes: Axes) -> Any:
    """`x` at `indices` of `axes`, which come first in the result."""
    return apply(GATHER, x, *indices, axes=axes)
