"""Entering functions in the public namespace, and the axis arithmetic that they share."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.errors import DtypeError, ShapeError, TracingError, message, user_where
from gradloom.frontend.tensor import FUNCTIONS, NUMPY, Tensor
from gradloom.ir.types import DTYPES


def public(*theirs: Any, name: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Publish a function under its own name, and as the traced form of NumPy's callables."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        shown = name or function.__name__.rstrip("_")
        FUNCTIONS[shown] = function
        if function.__name__.rstrip("_") == shown:
            function.__name__ = function.__qualname__ = shown  # `sum`, not `sum_`, in errors
        for callable_ in theirs:
            NUMPY[callable_] = function
        return function

    return enter


def as_operand(x: Any) -> Any:
    """A traced value as it is, anything else as an array."""
    return x if isinstance(x, Tensor) else np.asarray(x)


def dtype_name(dtype: Any) -> str:
    """A dtype that gradloom has, by its name; `DtypeError` for any other."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in DTYPES:
        raise DtypeError(
            message(
                f"there is no dtype {name} in gradloom", user_where(), f"use {', '.join(DTYPES)}"
            )
        )
    return name


def normal_axis(axis: Any, ndim: int) -> int:
    """One axis as a number in `range(ndim)`."""
    try:
        number = operator.index(axis)
    except TypeError:
        if isinstance(axis, Tensor):
            raise  # what it says is better
        raise wrong_shape(f"an axis is {axis!r}", "axes are integers") from None
    if not -ndim <= number < ndim:
        raise ShapeError(
            message(
                f"axis {number} is out of bounds for a value of {ndim} dimensions",
                user_where(),
                f"use an axis from {-ndim} to {ndim - 1}" if ndim else "leave the axis out",
            )
        )
    return number % ndim


def normal_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """`None`, a number or a tuple of numbers as sorted axes; of one number, as in NumPy, the axis
    is also 0 or -1."""
    if axis is None or (ndim == 0 and isinstance(axis, int) and axis in (0, -1)):
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(sorted(normal_axis(a, ndim) for a in given))
    if len(set(axes)) != len(axes):
        raise ShapeError(message(f"axes {axis} repeat", user_where(), "name each axis once"))
    return axes


def refuse_out(out: Any, name: str) -> None:
    """NumPy's `out=`, which is accepted as None only: nothing here writes into an array."""
    if out is not None:
        raise TracingError(
            message(
                f"{name} cannot write into an array in place",
                user_where(),
                f"leave out= away and use what {name} returns",
            )
        )


def sizes_of(shape: Any) -> tuple[int, ...]:
    """A shape, given as one number or several."""
    return tuple(operator.index(n) for n in (shape if np.iterable(shape) else (shape,)))


def unknown_size(what: str, repair: str) -> TracingError:
    """The error of a function whose result has a shape that depends on traced values."""
    return TracingError(
        message(
            f"the size of the result of {what} depends on values that are not known yet",
            user_where(),
            f"say how many there can be: {repair}",
        )
    )


def wrong_shape(what: str, repair: str) -> ShapeError:
    return ShapeError(message(what, user_where(), repair))
