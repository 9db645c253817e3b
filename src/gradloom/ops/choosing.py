"""Choosing among arrays, and finding where a condition holds: of traced values in a fixed size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.record import Record
from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.ops.elementwise import astype, maximum, minimum
from gradloom.ops.elementwise import where as either
from gradloom.ops.gather import SCATTER, read
from gradloom.ops.making import unravel_index
from gradloom.ops.move import expand_dims, moveaxis, reshape
from gradloom.ops.picking import iota, take
from gradloom.ops.public import (
    as_operand,
    normal_axis,
    public,
    refuse_out,
    unknown_size,
    wrong_shape,
)
from gradloom.ops.reduce import any_, sum_


@public(np.where, name="where")
def where(
    condition: Any, x: Any = None, y: Any = None, /, *, size: int | None = None, fill_value: Any = 0
) -> Any:
    """Elements of `x` where `condition` holds, of `y` elsewhere, with broadcasting.

    With the condition alone, `nonzero(condition, size=size)`.
    """
    if x is None and y is None:
        return nonzero(condition, size=size, fill_value=fill_value)
    if x is None or y is None:
        raise wrong_shape("where with two arguments", "give it both x and y, or neither")
    return either(condition, x, y)


# ---- where a condition holds


def known_values(x: Any) -> Any:
    """An array, if the values are there already; None of a traced value."""
    if isinstance(x, Tensor):
        if not isinstance(x.node, Record):
            return None
        return known_values(x.node.value)
    return np.asarray(x)


def _first_true(flat: Any, size: int, fill: Any) -> Any:
    """The indices of the first `size` true elements of a vector of booleans."""
    count = flat.shape[0]
    if not count or not size:
        return np.full(size, fill, "int64")
    rank = FUNCTIONS["cumsum"](astype(flat, "int64"), 0)
    slot = either(flat & (rank <= size), rank - 1, size)  # the others meet in a slot of their own
    places = apply(SCATTER, iota((count,), 0), slot, axes=(0,), shape=(size + 1,))[:size]
    found = iota((size,), 0) < rank[-1]
    return either(found, places, fill)


@public(np.nonzero)
def nonzero(a: Any, *, size: int | None = None, fill_value: Any = 0) -> tuple[Any, ...]:
    """The indices of what is not zero, one array an axis.

    Of traced values, the first `size` of them, filled up with `fill_value` (one number, or one an
    axis) if there are fewer, as in JAX.

    >>> import gradloom as gl, gradloom.numpy as gnp, numpy as np
    >>> gl.jit(lambda x: gnp.nonzero(x > 1, size=3, fill_value=-1))(np.array([0.0, 2.0, 3.0]))
    (array([ 1,  2, -1]),)
    """
    x = as_operand(a)
    if not x.ndim:
        raise wrong_shape("nonzero of a 0-d value", "use gnp.atleast_1d(x)")
    if size is None:
        values = known_values(x)
        if values is None:
            raise unknown_size("nonzero", "gnp.nonzero(x, size=n)")
        return np.nonzero(values)
    flat = reshape(astype(x, "bool"), x.size)
    fills = tuple(fill_value) if isinstance(fill_value, tuple | list) else (fill_value,) * x.ndim
    places = _first_true(flat, size, -1)
    split = unravel_index(maximum(places, 0), tuple(x.shape)) if x.size else (places,) * x.ndim
    return tuple(either(places >= 0, s, f) for s, f in zip(split, fills, strict=True))


@public(np.flatnonzero)
def flatnonzero(a: Any, *, size: int | None = None, fill_value: Any = 0) -> Any:
    """The indices of what is not zero among all elements in a row; see `nonzero`."""
    x = as_operand(a)
    return nonzero(reshape(x, x.size), size=size, fill_value=fill_value)[0]


@public(np.argwhere)
def argwhere(a: Any, *, size: int | None = None, fill_value: Any = 0) -> Any:
    """The indices of what is not zero, one row an element; see `nonzero`."""
    x = as_operand(a)
    if not x.ndim:
        return argwhere(reshape(x, 1), size=size)[:, :0]
    return FUNCTIONS["stack"](nonzero(x, size=size, fill_value=fill_value), 1)


@public(np.compress)
def compress(
    condition: Any,
    a: Any,
    axis: Any = None,
    out: None = None,
    *,
    size: int | None = None,
    fill_value: Any = 0,
) -> Any:
    """The elements of `a` along `axis` where `condition` holds; of a traced one, `size` of them."""
    refuse_out(out, "compress")
    x, mask = as_operand(a), as_operand(condition)
    if axis is None:
        x, axis = reshape(x, x.size), 0
    along = normal_axis(axis, x.ndim)
    if size is None:
        values = known_values(mask)
        if values is None:
            raise unknown_size("compress", "gnp.compress(condition, x, size=n)")
        return take(x, np.flatnonzero(values), along)
    places = flatnonzero(mask, size=size, fill_value=-1)
    picked = moveaxis(take(x, maximum(places, 0), along), along, -1)
    return moveaxis(astype(either(places >= 0, picked, fill_value), x.dtype), -1, along)


@public(np.extract)
def extract(condition: Any, arr: Any, *, size: int | None = None, fill_value: Any = 0) -> Any:
    """The elements of `arr` where `condition` holds, in a row; of a traced one, `size` of them."""
    mask, x = as_operand(condition), as_operand(arr)
    return compress(
        reshape(mask, mask.size), reshape(x, x.size), 0, size=size, fill_value=fill_value
    )


@public(np.isin)
def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: Any = None,
) -> Any:
    """Whether an element is one of `test_elements`, of which all are looked at."""
    x, tests = as_operand(element), as_operand(test_elements)
    found = any_(expand_dims(x, -1) == reshape(tests, tests.size), -1)
    return ~found if invert else found


# ---- one of several


@public(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """For every element, the choice of the first condition that holds there."""
    if len(condlist) != len(choicelist):
        raise wrong_shape(
            f"{len(condlist)} conditions for {len(choicelist)} choices", "give as many of each"
        )
    out = default
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        out = either(condition, choice, out)
    return out


@public(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """For every element, the function (or number) of the last condition that holds there.

    A function more than conditions is for where none holds; else that is 0.  All are computed
    everywhere.
    """
    x = as_operand(x)
    single = np.ndim(as_operand(condlist)) <= x.ndim if not _is_list(condlist) else False
    conditions = [condlist] if single else list(condlist)
    functions = list(funclist)
    if len(functions) not in (len(conditions), len(conditions) + 1):
        raise wrong_shape(
            f"{len(functions)} functions for {len(conditions)} conditions",
            "give one each, and one more for where none holds",
        )
    rest = functions.pop() if len(functions) > len(conditions) else 0
    out = _value(rest, x, args, kw)
    for condition, function in zip(conditions, functions, strict=True):
        out = either(as_operand(condition), _value(function, x, args, kw), out)
    return FUNCTIONS["broadcast_to"](astype(as_operand(out), x.dtype), tuple(x.shape))


def _is_list(condlist: Any) -> bool:
    """Whether it is a list of arrays, and not one array as a list of Python's truths."""
    return isinstance(condlist, list | tuple) and not all(isinstance(c, bool) for c in condlist)


def _value(function: Callable[..., Any] | Any, x: Any, args: Any, kw: Any) -> Any:
    return function(x, *args, **kw) if callable(function) else function


@public(np.choose)
def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Any:
    """For every element, the choice of that number, with broadcasting.

    A number out of range is taken as the nearest one, or with `mode="wrap"` modulo their number;
    of arrays whose values are known, NumPy's `mode="raise"` raises.
    """
    refuse_out(out, "choose")
    index, dtype = as_operand(a), FUNCTIONS["result_type"](*choices)
    given = [astype(as_operand(c), dtype) for c in choices]
    values = known_values(index)
    if mode == "raise" and values is not None and np.any((values < 0) | (values >= len(given))):
        raise wrong_shape(f"a choice out of {len(given)}", "use mode='clip' or mode='wrap'")
    if mode == "wrap":
        index = index % len(given)
    chosen = given[-1]
    for k in range(len(given) - 2, -1, -1):
        chosen = either(index <= k, given[k], chosen)
    shape = FUNCTIONS["broadcast_shapes"](*(tuple(v.shape) for v in (index, *given)))
    return FUNCTIONS["broadcast_to"](chosen, shape)


# ---- each once


def _grouped(x: Any) -> tuple[Any, Any, Any]:
    """The order that sorts a vector, the sorted vector, and where a run of equals begins there."""
    order = FUNCTIONS["argsort"](x, stable=True)
    ordered = read(x, (order,), (0,))
    changed = ordered[1:] != ordered[:-1]
    if x.dtype.kind in "fc":
        changed = changed & ((ordered[1:] == ordered[1:]) | (ordered[:-1] == ordered[:-1]))
    begins = FUNCTIONS["concatenate"]([np.ones(1, bool), changed])
    return order, ordered, begins


@public(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,  # noqa: A002  (NumPy's name)
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The distinct elements in order, and on demand where each stands first, which each element is,
    and how often each occurs.

    Of traced values, the first `size` of them, filled up with `fill_value` (the least element if
    None) if there are fewer, as in JAX.
    """
    x = as_operand(ar)
    asked = (return_index, return_inverse, return_counts)
    if size is None:
        values = known_values(x)
        if values is None:
            raise unknown_size("unique", "gnp.unique(x, size=n)")
        found: Any = np.unique(  # type: ignore[call-overload]
            values, *asked, axis=axis, equal_nan=equal_nan, sorted=sorted
        )
        return found
    if axis is not None:
        raise wrong_shape("unique rows of traced values", "leave axis= out: elements only")
    flat = reshape(x, x.size)
    if not x.size:
        raise wrong_shape("unique of no elements in a fixed size", "give it one at least")
    order, ordered, begins = _grouped(flat)
    group = FUNCTIONS["cumsum"](astype(begins, "int64"), 0) - 1
    places = _first_true(begins, size, -1)
    present, safe = places >= 0, maximum(places, 0)
    fill = ordered[0] if fill_value is None else fill_value
    results = [astype(either(present, read(ordered, (safe,), (0,)), fill), x.dtype)]
    if return_index:
        results.append(read(order, (either(present, safe, 0),), (0,)))
    if return_inverse:
        inverse = apply(SCATTER, group, order, axes=(0,), shape=(x.size,))
        results.append(reshape(minimum(inverse, size - 1), tuple(x.shape)))
    if return_counts:
        mine = expand_dims(iota((size,), 0), 1) == expand_dims(group, 0)
        results.append(sum_(mine, 1))
    return results[0] if len(results) == 1 else tuple(results)


def _unique_part(name: str, doc: str, result: Any, **asked: bool) -> None:
    def function(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> Any:
        found = unique(x, **asked, size=size, fill_value=fill_value)
        return found if result is None else result(*found)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}; of traced values in a fixed size, see `unique`."
    public(getattr(np, name))(function)


_EMPTY = np.zeros(1)
_ALL = {"return_index": True, "return_inverse": True, "return_counts": True}
_unique_part("unique_values", "The distinct elements", None)
_unique_part(
    "unique_counts",
    "The distinct elements, and how often each occurs",
    type(np.unique_counts(_EMPTY)),
    return_counts=True,
)
_unique_part(
    "unique_inverse",
    "The distinct elements, and which of them each element is",
    type(np.unique_inverse(_EMPTY)),
    return_inverse=True,
)
_unique_part(
    "unique_all",
    "The distinct elements, where each stands first, which each element is, how often each occurs",
    type(np.unique_all(_EMPTY)),
    **_ALL,
)


@public(np.union1d)
def union1d(ar1: Any, ar2: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The elements of either, each once and in order; of traced values in a fixed size."""
    both = FUNCTIONS["concatenate"]([ar1, ar2], None)
    return unique(both, size=size, fill_value=fill_value)
