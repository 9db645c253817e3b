"""The public transforms of functions: `grad`, `value_and_grad`, `eager`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradloom.autodiff.forward import zeros
from gradloom.autodiff.reverse import close, mark, pull
from gradloom.errors import (
    DtypeError,
    RangeError,
    ShapeError,
    StructureError,
    TracingError,
    message,
    user_where,
)
from gradloom.frontend.pytree import flatten, paths, tree_map, unflatten
from gradloom.frontend.record import Record
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, current, recording, type_of
from gradloom.jitted import Jitted, jit


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Run the same programs operator by operator in NumPy: to debug, and to compare with.

    Inside a function that is being traced it changes nothing.

    >>> import gradloom as gl, numpy as np
    >>> with gl.eager():
    ...     float(gl.grad(lambda x: np.sin(x))(0.0))
    1.0
    """
    outside = current()
    with recording(EAGER if outside is None else outside):
        yield


def value_and_grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Jitted:
    """A function that returns `(function(...), gradient)`.

    The gradient is by the positional arguments `argnums`, pytrees of floating-point or complex
    arrays, and has their structure, shapes and dtypes.  `function` returns a floating-point
    scalar, or with `has_aux` a pair of it and anything else.  Called on arrays it compiles; inside
    a trace it inlines.

    The gradient by complex z = x + iy is df/dx - i df/dy, as in JAX: its conjugate is the direction
    of steepest ascent.

    Raises `ShapeError` if the result is not a scalar, `DtypeError` if it or an argument is not
    floating, `RangeError` if `argnums` names no positional argument.

    >>> import gradloom as gl, numpy as np
    >>> value, slope = gl.value_and_grad(lambda x: x * x)(3.0)
    >>> float(value), float(slope)
    (9.0, 6.0)
    """

    check_callable(function, "value_and_grad")

    @functools.wraps(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        return _differentiate(function, argnums, has_aux, args, kwargs)

    return jit(differentiated)  # which inlines it inside a trace


def grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Jitted:
    """A function that returns the gradient of `function`; with `has_aux`, `(gradient, aux)`.

    See `value_and_grad`.

    >>> import gradloom as gl
    >>> float(gl.grad(gl.grad(lambda x: x**3))(2.0))
    12.0
    """
    check_callable(function, "grad")

    @functools.wraps(function)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, slopes = _differentiate(function, argnums, has_aux, args, kwargs)
        return (slopes, value[1]) if has_aux else slopes

    return jit(gradient)


def _differentiate(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...],
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    numbers = positions(argnums, len(args))
    leaves, structure = flatten(tuple(args[n] for n in numbers))
    for leaf, path in zip(leaves, paths(structure), strict=True):
        check_float(leaf, _named(path, numbers))
    marks = mark(leaves)
    try:
        full = list(args)
        for n, tree in zip(numbers, unflatten(structure, marks), strict=True):
            full[n] = tree
        result = function(*full, **kwargs)
        out, aux = pair(result, function) if has_aux else (result, None)
        _check_scalar(out, function)
        pulled = pull([out], marks, [np.ones((), type_of(out).dtype)])
    finally:
        close(marks)
    slopes = [zeros(m.node.type) if g is None else g for g, m in zip(pulled, marks, strict=True)]
    trees = unflatten(structure, slopes)
    gradient = trees[0] if isinstance(argnums, int) else trees
    value = (unboxed(out, marks), tree_map(lambda v: unboxed(v, marks), aux))
    return (value if has_aux else value[0]), gradient


def check_callable(function: Any, transform: str) -> None:
    """Raise `TracingError` unless `function` can be called."""
    if not callable(function):
        raise TracingError(
            message(
                f"{transform} of {function!r}, which is not a function",
                user_where(),
                f"give it the function itself: gl.{transform}(f), then call what it returns",
            )
        )


def positions(argnums: Any, count: int, name: str = "argnums") -> tuple[int, ...]:
    """`argnums` as positions in a call of `count` positional arguments."""
    given = argnums if isinstance(argnums, tuple | list) else (argnums,)
    good = all(isinstance(n, int) and -count <= n < count for n in given)
    numbers = tuple(n % count for n in given) if good else ()
    if not good or len(set(numbers)) != len(given):
        raise RangeError(
            message(
                f"{name}={argnums!r} in a call with {count} positional arguments",
                user_where(),
                "name each position once, of an argument that is passed by position",
            )
        )
    return numbers


def _named(path: str, numbers: tuple[int, ...]) -> str:
    """'[0].w', a path in the chosen arguments, as 'argument 2 at .w'."""
    place, _, inner = path.removeprefix("[").partition("]")
    return f"argument {numbers[int(place)]}{' at ' if inner else ''}{inner}"


def pair(result: Any, function: Callable[..., Any]) -> tuple[Any, Any]:
    """The two values of a function with `has_aux`."""
    if isinstance(result, tuple | list) and len(result) == 2:
        return result[0], result[1]
    shown = result if isinstance(result, Tensor) else f"a {type(result).__name__}"
    name = getattr(function, "__name__", "the function")
    raise StructureError(
        message(
            f"{name} returned {shown}, but has_aux=True asks for a pair",
            user_where(),
            "return (loss, aux), or leave has_aux out",
        )
    )


def unboxed(value: Any, marks: list[Tensor]) -> Any:
    """A value of the surrounding level: what a tape record of this gradient holds."""
    if not marks or not isinstance(value, Tensor) or not isinstance(value.node, Record):
        return value
    level = marks[0].node.level  # type: ignore[union-attr]
    return value.node.value if value.node.level == level else value


def check_float(leaf: Any, path: str, name: str = "grad") -> None:
    """Raise `DtypeError` unless the leaf at `path`, real or complex, has a gradient."""
    kind = type_of(leaf)
    if kind.is_inexact:
        return
    raise DtypeError(
        message(
            f"{name} by {path}, which is {kind}: only floating-point values have a gradient",
            user_where(),
            "convert it with .astype('float32'), write 3.0 for 3, or choose other arguments with"
            " argnums=",
        )
    )


def _check_scalar(out: Any, function: Callable[..., Any]) -> None:
    name = getattr(function, "__name__", "the function")
    if isinstance(out, tuple | list | dict) or out is None:
        raise StructureError(
            message(
                f"{name} returned a {type(out).__name__}, but a gradient needs a scalar",
                user_where(),
                "return the loss alone, or (loss, aux) with has_aux=True",
            )
        )
    kind = type_of(out, f"{name} returned no loss")
    where = getattr(getattr(out, "node", None), "where", None) or user_where()
    what = f"{name} returned {kind}, but a gradient needs a floating-point scalar"
    if kind.shape:
        raise ShapeError(message(what, where, "reduce it, for example with gnp.mean or gnp.sum"))
    if not kind.is_float:
        repair = (
            "take its real part, or abs()" if kind.is_complex else "compute it in floating point"
        )
        raise DtypeError(message(what, where, repair))
