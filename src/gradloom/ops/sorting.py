"""Sorting along an axis, and what is built on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply, apply_many, promote
from gradloom.frontend.tensor import Tensor
from gradloom.ir.op import OPS, Kind, Op, define
from gradloom.ir.routine import Code, below
from gradloom.ir.types import FLOATS, ITEMSIZE, TensorType, TupleType
from gradloom.ops.elementwise import astype
from gradloom.ops.gather import SCATTER
from gradloom.ops.join import index_along
from gradloom.ops.move import broadcast_to, flip, moveaxis, reshape
from gradloom.ops.picking import take, take_along_axis
from gradloom.ops.public import as_operand, normal_axis, public, wrong_shape

RUN = 8  # elements that are sorted by insertion before runs are merged


def _before(dtype: str, descending: int) -> str:
    """The expression for `b` before `a`; NaN is last, as the largest number would be."""
    first, second = ("a", "b") if descending else ("b", "a")
    if dtype in FLOATS:
        return f"{first} < {second} or ({second} != {second} and {first} == {first})"
    return below(dtype, first, second)


MERGE = """\
def routine_merge_{name}(size, width, keys, places, to_keys, to_places):
    for low in range(0, size, 2 * width):
        middle = low + width if low + width < size else size
        high = middle + width if middle + width < size else size
        i = low
        j = middle
        for k in range(low, high):
            right = i == middle
            if not right and j < high:
                a = load_{dtype}(keys, i)
                b = load_{dtype}(keys, j)
                right = {before}
            if right:
                store_{dtype}(to_keys, k, load_{dtype}(keys, j))
                store_int64(to_places, k, load_int64(places, j))
                j += 1
            else:
                store_{dtype}(to_keys, k, load_{dtype}(keys, i))
                store_int64(to_places, k, load_int64(places, i))
                i += 1
"""

SORT_TEXT = """\
def routine_sort_{name}(start, stop, size, x, values, order, keys, places):
    # insertion into runs of {run}, then merges from the results into the work space and back
    # [Knuth, The Art of Computer Programming 3, 5.2.1 and 5.2.4]
    for row in range(start, stop):
        source = view(x, row * size * {bytes})
        sorted_keys = view(values, row * size * {bytes})
        sorted_places = view(order, row * size * 8)
        for i in range(size):
            b = load_{dtype}(source, i)
            j = i
            while j % {run} > 0:
                a = load_{dtype}(sorted_keys, j - 1)
                if {before}:
                    store_{dtype}(sorted_keys, j, a)
                    store_int64(sorted_places, j, load_int64(sorted_places, j - 1))
                    j -= 1
                else:
                    break
            store_{dtype}(sorted_keys, j, b)
            store_int64(sorted_places, j, i)
        width = {run}
        aside = 0
        while width < size:
            if aside == 0:
                routine_merge_{name}(size, width, sorted_keys, sorted_places, keys, places)
            else:
                routine_merge_{name}(size, width, keys, places, sorted_keys, sorted_places)
            aside = 1 - aside
            width = 2 * width
        if aside == 1:
            copy(sorted_keys, 0, keys, 0, size * {bytes})
            copy(sorted_places, 0, places, 0, size * 8)
"""


def _sort_code(x: TensorType, descending: int) -> Code:
    words = {
        "name": f"{x.dtype}_{'down' if descending else 'up'}",
        "dtype": x.dtype,
        "bytes": ITEMSIZE[x.dtype],
        "before": _before(x.dtype, descending),
        "run": RUN,
    }
    size = x.shape[-1]
    parts = tuple(text.format(**words) for text in (MERGE, SORT_TEXT))
    return Code(parts, math.prod(x.shape[:-1]), (size,), (size * ITEMSIZE[x.dtype], size * 8))


def _sorted(x: Any, descending: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(x)
    if descending:  # stable, from the end, so that the first of equals stays first
        mirrored = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
        order = x.shape[-1] - 1 - mirrored
    else:
        order = np.argsort(x, axis=-1, kind="stable")
    return np.take_along_axis(x, order, -1), order


def _sort_vjp(g: Any, out: Any, x: Any, descending: int) -> tuple[Any]:
    return (None if g[0] is None else put_back(g[0], out[1], tuple(x.shape)),)


def put_back(g: Any, order: Any, shape: tuple[int, ...]) -> Any:
    """The transpose of `take_along_axis(x, order, -1)`, for `x` of `shape`."""
    last = len(shape) - 1
    picked = (*(index_along(order, i) for i in range(last)), order)
    return apply(SCATTER, g, *picked, axes=tuple(range(last + 1)), shape=shape)


def _sort_samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    found = [rng.permutation(math.prod(shape)).reshape(shape) for shape in ((2, 3, 20), (3, 0))]
    return [((x.astype(dtype),), {"descending": d}) for d, x in enumerate(found)]


SORT: Op = define(
    Op(
        "sort",
        Kind.ROUTINE,
        lambda x, descending: TupleType((x, TensorType(x.shape, "int64"))),
        _sorted,
        _sort_vjp,
        accepts="any",
        batch=lambda size, batched, x, **attrs: apply_many(SORT, x, **attrs),
        routine=_sort_code,
        samples=_sort_samples,
    )
)


def _along(x: Any, axis: Any, descending: int = 0) -> tuple[Any, Any]:
    """Sorted values and their places, along an axis (of all elements in a row if None)."""
    x = as_operand(x)
    if axis is None:
        x, axis = reshape(x, -1), 0
    along = normal_axis(axis, x.ndim)
    values, order = apply_many(SORT, moveaxis(x, along, -1), descending=descending)
    return moveaxis(values, -1, along), moveaxis(order, -1, along)


@public(np.sort)
def sort(
    a: Any,
    axis: Any = -1,
    kind: Any = None,
    order: None = None,
    *,
    stable: Any = None,
    descending: bool = False,
) -> Any:
    """Sorted along `axis` (all elements in a row if None), NaN last; always stable.

    The derivative goes to where each element came from.

    >>> import gradloom.numpy as gnp
    >>> gnp.sort([3.0, 1.0, 2.0])
    array([1., 2., 3.])
    """
    return _along(a, axis, int(descending))[0]


@public(np.argsort)
def argsort(
    a: Any,
    axis: Any = -1,
    kind: Any = None,
    order: None = None,
    *,
    stable: Any = None,
    descending: bool = False,
) -> Any:
    """The indices (int64) that sort along `axis`; equal elements stay in order, NaN is last."""
    return _along(a, axis, int(descending))[1]


def _check_kth(x: Any, kth: Any, axis: Any) -> None:
    count = int(np.prod(x.shape)) if axis is None else x.shape[normal_axis(axis, x.ndim)]
    for k in kth if isinstance(kth, tuple | list | np.ndarray) else (kth,):
        if not -count <= k < count:
            raise wrong_shape(f"kth={k} of {count} elements", "count from 0, or from -1 at the end")


@public(np.partition)
def partition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: None = None
) -> Any:
    """A sorted copy: what NumPy's partition promises of the elements at `kth`, and more."""
    x = as_operand(a)
    _check_kth(x, kth, axis)
    return sort(x, axis)


@public(np.argpartition)
def argpartition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: None = None
) -> Any:
    """The indices of `partition`: those of a stable sort."""
    x = as_operand(a)
    _check_kth(x, kth, axis)
    return argsort(x, axis)


@public()
def top_k(x: Any, k: int, axis: int = -1) -> tuple[Any, Any]:
    """The `k` largest elements along `axis` in falling order, and their indices (int64).

    Of equal elements the first comes first; NaN counts as the largest.

    >>> import gradloom.numpy as gnp
    >>> gnp.top_k([1.0, 3.0, 2.0], 2)
    (array([3., 2.]), array([1, 2]))
    """
    x = as_operand(x)
    along = normal_axis(axis, x.ndim)
    if not 0 <= k <= x.shape[along]:
        raise wrong_shape(f"the {k} largest of {x.shape[along]}", "k is at most the axis's size")
    values, order = _along(x, along, 1)
    first = (*(slice(None) for _ in range(along)), slice(0, k))
    return values[first], order[first]


@public(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Any:
    """Indices that sort by the last of `keys`, among equals by the one before it, and so on."""
    rows = [moveaxis(as_operand(k), axis, -1) for k in keys]
    order = argsort(rows[0])
    for key in rows[1:]:
        order = take_along_axis(order, argsort(take_along_axis(key, order, -1)), -1)
    return moveaxis(order, -1, axis)


# ---- search

SEARCH_TEXT = """\
def routine_search_{name}(start, stop, size, count, x, wanted, places):
    # by halves: of the elements before `low` all, of those from `high` on none, are passed
    for row in range(start, stop):
        for k in range(row * count, row * count + count):
            {key} = load_{dtype}(wanted, k)
            low = 0
            high = size
            while low < high:
                middle = (low + high) >> 1
                {element} = load_{dtype}(x, row * size + middle)
                if {passed}:
                    low = middle + 1
                else:
                    high = middle
            store_int64(places, k, low)
"""


def _search_code(x: TensorType, wanted: TensorType, right: int) -> Code:
    before = _before(x.dtype, 0)
    # from the left, elements before the key are passed; from the right, those not after it
    text = SEARCH_TEXT.format(
        name=f"{x.dtype}_{'right' if right else 'left'}",
        dtype=x.dtype,
        key="b" if right else "a",
        element="a" if right else "b",
        passed=f"not ({before})" if right else before,
    )
    extent = math.prod(x.shape[:-1])
    return Code((text,), extent, (x.shape[-1], wanted.shape[-1]))


def _search(x: Any, wanted: Any, right: int) -> np.ndarray:
    side: Any = "right" if right else "left"
    rows = x.reshape(-1, x.shape[-1]) if x.size else np.zeros((max(wanted.size, 1), 0))
    keys = wanted.reshape(math.prod(wanted.shape[:-1]), wanted.shape[-1])
    found = [np.searchsorted(r, k, side) for r, k in zip(rows, keys, strict=False)]
    return np.array(found, np.int64).reshape(wanted.shape)


def _search_batch(size: int, batched: Any, x: Any, wanted: Any, right: int) -> Any:
    whole = [
        v if b else broadcast_to(v, (size, *v.shape))
        for v, b in zip((x, wanted), batched, strict=True)
    ]
    return apply(SEARCH, *whole, right=right)


SEARCH = define(
    Op(
        "search",
        Kind.ROUTINE,
        lambda x, wanted, right: TensorType(wanted.shape, "int64"),
        _search,
        accepts="any",
        returns="int64",
        batch=_search_batch,
        routine=_search_code,
        samples=lambda rng, dtype: [
            (
                (
                    np.sort(rng.integers(0, 9, (*lead, 7)), -1).astype(dtype),
                    rng.integers(-1 if dtype != "uint32" else 0, 11, (*lead, 5)).astype(dtype),
                ),
                {"right": right},
            )
            for lead in ((), (2, 3))
            for right in (0, 1)
        ],
    )
)


@public(np.searchsorted)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """For each of `v` the index (int64) at which it would keep the 1-d `a` sorted: before
    its equals with `side="left"`, behind them with `"right"`.  `sorter` are indices that sort `a`.

    >>> import gradloom.numpy as gnp
    >>> gnp.searchsorted([1.0, 2.0, 3.0], [2.0, 5.0])
    array([1, 3])
    """
    x, wanted = as_operand(a), as_operand(v)
    if x.ndim != 1 or side not in ("left", "right"):
        raise wrong_shape(
            f"searchsorted in shape {tuple(x.shape)}, side={side!r}",
            "search a 1-d array, with side 'left' or 'right'",
        )
    if sorter is not None:
        x = take(x, sorter)
    dtype = promote(OPS["equal"], (x, wanted))
    keys = reshape(astype(wanted, dtype), -1)
    found = apply(SEARCH, astype(x, dtype), keys, right=int(side == "right"))
    return reshape(found, tuple(wanted.shape))


@public(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The number of the bin that each element falls in; `bins` are edges in rising order.

    Falling edges need known values: give them as an array that is not traced.
    """
    bins = as_operand(bins)
    side = "left" if right else "right"
    if not isinstance(bins, Tensor) and len(bins) > 1 and bins[0] > bins[-1]:
        return len(bins) - searchsorted(flip(bins), x, side)
    return searchsorted(bins, x, side)
