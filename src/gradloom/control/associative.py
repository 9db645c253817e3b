"""`associative_scan`: all prefixes of an associative combination, in few steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.control.outside import traced
from gradloom.errors import ShapeError, message, user_where
from gradloom.frontend.pytree import check_same, flatten, unflatten
from gradloom.frontend.trace import type_of
from gradloom.ops.join import concatenate, stack
from gradloom.ops.move import flip, moveaxis, reshape
from gradloom.ops.public import as_operand, normal_axis


def associative_scan(
    fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """All partial results `e0, fn(e0, e1), fn(fn(e0, e1), e2), ...` along `axis` of a pytree.

    `fn` is associative and works on whole arrays of pairs: it is called with slices of `elems`, and
    returns their structure, shapes and dtypes.  Where `scan` takes n steps one after another, this
    takes about 2 log2(n) over all of them together [Blelloch, Prefix sums and their applications,
    1990].  With `reverse` it begins at the end.

    Raises `ShapeError` if the sizes along `axis` differ, `StructureError` if `fn` returns another
    structure.

    >>> import gradloom as gl, numpy as np
    >>> gl.associative_scan(np.multiply, np.arange(1.0, 6.0))
    array([  1.,   2.,   6.,  24., 120.])
    """
    leaves, structure = flatten(elems)
    kinds = [type_of(leaf, "an element of associative_scan") for leaf in leaves]
    sizes = {kind.shape[normal_axis(axis, kind.ndim)] for kind in kinds}
    if len(sizes) != 1:
        shown = ", ".join(map(str, kinds)) or "nothing"
        what = f"associative_scan along axis {axis} of {shown}: the sizes there differ"
        raise ShapeError(message(what, user_where(), "give arrays of one size along the axis"))

    def combined(left: list[Any], right: list[Any]) -> list[Any]:
        found, made = flatten(fn(unflatten(structure, left), unflatten(structure, right)))
        check_same(structure, made, "the result of associative_scan's function")
        return [as_operand(value) for value in found]

    def scanned(values: Sequence[Any]) -> list[Any]:
        rows = [moveaxis(as_operand(value), axis, 0) for value in values]
        rows = [flip(row, 0) for row in rows] if reverse else rows
        found = _prefixes(combined, rows)
        found = [flip(row, 0) for row in found] if reverse else found
        return [moveaxis(row, 0, axis) for row in found]

    return unflatten(structure, traced(scanned, leaves))


def _prefixes(combined: Callable[..., list[Any]], rows: list[Any]) -> list[Any]:
    """Pairs are combined, the prefixes of the pairs are those of every other place, and those in
    between are one element more."""
    size = rows[0].shape[0]
    if size < 2:
        return rows
    even = [row[: size - size % 2 : 2] for row in rows]
    odd = [row[1::2] for row in rows]
    whole = _prefixes(combined, combined(even, odd))
    if size > 2:
        rest = combined([row[: (size - 1) // 2] for row in whole], [row[2::2] for row in rows])
        between = [concatenate([row[:1], more]) for row, more in zip(rows, rest, strict=True)]
    else:
        between = [row[:1] for row in rows]
    return [_interleaved(a, b, size) for a, b in zip(between, whole, strict=True)]


def _interleaved(even: Any, odd: Any, size: int) -> Any:
    pairs = odd.shape[0]
    both = stack([even[:pairs], odd], 1)
    merged = reshape(both, (2 * pairs, *both.shape[2:]))
    return concatenate([merged, even[pairs:]]) if size % 2 else merged
