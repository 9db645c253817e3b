"""`gl.vmap`: a function of single examples as a function of batches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.autodiff.batching import batch
from gradloom.control.outside import concrete
from gradloom.errors import RangeError, ShapeError, StructureError, message, user_where
from gradloom.frontend.pytree import Structure, flatten, paths, prefix, unflatten
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, current, lift, type_of
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.jitted import Jitted, jit
from gradloom.ops.indexing import getitem
from gradloom.ops.join import stack
from gradloom.ops.move import broadcast_to, expand_dims, moveaxis
from gradloom.ops.public import as_operand
from gradloom.transform import check_callable


def vmap(
    function: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0, axis_size: int | None = None
) -> Jitted:
    """A function that maps `function` over an axis of its arguments.

    `in_axes` is an axis for every positional argument (a tuple), or one for all; in place of an
    axis may stand a tree of axes, and None leaves an argument as it is.  Arguments by keyword are
    mapped over their first axis.  `out_axes` says likewise where the mapped axis stands in the
    results; None is for results that are the same for all.  `axis_size` is needed only where
    nothing is mapped.  No loop is made: every operation gets the axis.

    Raises `ShapeError` if the mapped axes differ in size or an axis does not exist,
    `StructureError` if `in_axes` or `out_axes` do not fit the trees, `RangeError` if nothing is
    mapped, or if a result that differs has None in `out_axes`.

    >>> import gradloom as gl, numpy as np
    >>> gl.vmap(np.dot, in_axes=(0, None))(np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """
    check_callable(function, "vmap")

    @functools.wraps(function)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        wanted = _axes_of(in_axes, args, kwargs)
        names = [_named(p) for p in paths(structure)]
        axes = _checked(leaves, wanted, names)
        size = _size(leaves, axes, names, axis_size)
        run = _loop if current() is EAGER else _batch
        results, tree = run(function, leaves, structure, axes, size)
        return _placed(function, results, tree, out_axes, size)

    return jit(mapped)


# ---- arguments


def _axes_of(in_axes: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """An axis, or None, for every leaf of the call."""
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise StructureError(
            message(
                f"in_axes has {len(in_axes)} entries, but the call has {len(args)} positional"
                " arguments",
                user_where(),
                "give one entry for each of them, or one axis for all",
            )
        )
    found = prefix(in_axes, args, "in_axes")
    return found + [0] * len(flatten(kwargs)[0])


def _checked(leaves: list[Any], axes: list[Any], names: list[str]) -> list[int | None]:
    """The axes as numbers from 0."""
    found: list[int | None] = []
    for leaf, axis, name in zip(leaves, axes, names, strict=True):
        if axis is None:
            found.append(None)
            continue
        kind = type_of(leaf, name)
        if not isinstance(axis, int | np.integer) or isinstance(axis, bool):
            raise StructureError(
                message(f"in_axes has {axis!r} for {name}", user_where(), "use integers and None")
            )
        if not -kind.ndim <= axis < kind.ndim:
            raise ShapeError(
                message(
                    f"vmap over axis {axis} of {name}, which is {kind}",
                    user_where(),
                    "give it that axis, or None in in_axes to leave it as it is",
                )
            )
        found.append(int(axis) % kind.ndim)
    return found


def _size(
    leaves: list[Any], axes: list[int | None], names: list[str], axis_size: int | None
) -> int:
    found = {
        f"{name} has {type_of(leaf).shape[axis]} along axis {axis}": type_of(leaf).shape[axis]
        for leaf, axis, name in zip(leaves, axes, names, strict=True)
        if axis is not None
    }
    if axis_size is not None:
        found[f"axis_size is {axis_size}"] = axis_size
    sizes = set(found.values())
    if len(sizes) > 1:
        raise ShapeError(
            message(
                f"vmap over axes of different sizes: {'; '.join(found)}",
                user_where(),
                "make the sizes equal, or give None in in_axes for what is the same for all",
            )
        )
    if not sizes:
        raise RangeError(
            message(
                "vmap of a call in which nothing is mapped",
                user_where(),
                "map an argument with in_axes, or give axis_size=",
            )
        )
    return sizes.pop()


def _named(path: str) -> str:
    """'[0][1].w', a path in the arguments, as 'argument 1 at .w'."""
    if path.startswith("[1]"):
        return f"argument {path[3:].removeprefix('.')}"
    place, _, inner = path.removeprefix("[0][").partition("]")
    return f"argument {place}{' at ' if inner else ''}{inner}"


# ---- the two ways to run


def _batch(
    function: Callable[..., Any],
    leaves: list[Any],
    structure: Structure,
    axes: list[int | None],
    size: int,
) -> tuple[list[tuple[Any, bool]], Structure]:
    """Run once on one example, and give what it did one more axis."""
    parameters, values, given = [], [], []
    for leaf, axis in zip(leaves, axes, strict=True):
        if axis is None:
            given.append(leaf)
            continue
        whole = Tensor(lift(leaf))
        shape = tuple(n for i, n in enumerate(whole.shape) if i != axis)
        parameters.append(Tensor(parameter(TensorType(shape, whole.node.type.dtype))))
        values.append(moveaxis(whole, axis, 0))
        given.append(parameters[-1])
    args, kwargs = unflatten(structure, given)
    outs, tree = flatten(function(*args, **kwargs))
    outs = [o if isinstance(o, Tensor) else as_operand(o) for o in outs]
    found = batch(outs, parameters, values, size)
    return [(o, False) if f is None else (f, True) for o, f in zip(outs, found, strict=True)], tree


def _loop(
    function: Callable[..., Any],
    leaves: list[Any],
    structure: Structure,
    axes: list[int | None],
    size: int,
) -> tuple[list[tuple[Any, bool]], Structure]:
    """What mapping means: one call after another, and the results stacked."""
    if size == 0:
        raise ShapeError(
            message(
                "vmap over an axis of size 0 cannot be run step by step",
                user_where(),
                "call it outside of gl.eager(), or give it at least one example",
            )
        )
    rows, tree = [], None
    for i in range(size):
        given = [
            leaf if axis is None else getitem(leaf, (slice(None),) * axis + (i,))
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        args, kwargs = unflatten(structure, given)
        row, tree = flatten(function(*args, **kwargs))
        rows.append(row)
    assert tree is not None
    return [
        (column[0], False) if _same(column) else (stack(column), True)
        for column in zip(*rows, strict=True)
    ], tree


def _same(column: Sequence[Any]) -> bool:
    """Whether every call returned the very same value, which then does not depend on the call."""
    return all(value is column[0] for value in column)


# ---- results


def _placed(
    function: Callable[..., Any],
    results: list[tuple[Any, bool]],
    tree: Structure,
    out_axes: Any,
    size: int,
) -> Any:
    axes = prefix(out_axes, unflatten(tree, range(len(results))), "out_axes")
    placed = []
    for (value, is_batch), axis, path in zip(results, axes, paths(tree), strict=True):
        if axis is None:
            if is_batch and not _is_alike(value):
                raise _differs(function, value, path)
            placed.append(value[0] if is_batch else value)
            continue
        ndim = as_operand(value).ndim + (not is_batch)
        if not isinstance(axis, int | np.integer) or not -ndim <= axis < ndim:
            raise ShapeError(
                message(
                    f"out_axes has {axis!r} for a result of {ndim} dimensions, the mapped one among"
                    " them",
                    user_where(),
                    f"use an axis from {-ndim} to {ndim - 1}, or None",
                )
            )
        if not is_batch:
            value = as_operand(value)
            value = broadcast_to(expand_dims(value, 0), (size, *value.shape))
        placed.append(moveaxis(value, 0, int(axis)))
    return unflatten(tree, placed)


def _is_alike(value: Any) -> bool:
    """Whether all calls one after another gave the same numbers, and did not just return one."""
    if current() is not EAGER:
        return False
    rows = np.asarray(concrete(value))
    return np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape), equal_nan=True)


def _differs(function: Callable[..., Any], value: Any, path: str) -> RangeError:
    name = getattr(function, "__name__", "the function")
    where = getattr(getattr(value, "node", None), "where", None) or user_where()
    return RangeError(
        message(
            f"out_axes is None for what {name} returns at {path}, which is another for every"
            " mapped argument",
            where,
            "give an axis in out_axes, or reduce over the results outside of gl.vmap",
        )
    )
