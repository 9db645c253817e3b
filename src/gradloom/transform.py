"""The public transforms of functions: `grad`, `value_and_grad`, `eager`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradloom.autodiff.reverse import mark, pull
from gradloom.errors import DtypeError, ShapeError, message, user_where
from gradloom.frontend.pytree import flatten, paths, tree_map, unflatten
from gradloom.frontend.record import Record
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, current, recording, type_of
from gradloom.ir.types import TensorType
from gradloom.jitted import jit
from gradloom.ops.move import broadcast_to


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Run the same programs operator by operator in NumPy: to debug, and to compare with.

    >>> import gradloom as gl, numpy as np
    >>> with gl.eager():
    ...     float(gl.grad(lambda x: np.sin(x))(0.0))
    1.0
    """
    with recording(EAGER):
        yield


def value_and_grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns `(function(...), gradient)`.

    The gradient is by the positional arguments `argnums`, pytrees of floating-point arrays, and has
    their structure, shapes and dtypes.  `function` returns a floating-point scalar, or with `has_aux`
    a pair of it and anything else.  Called on arrays it compiles; inside a trace it inlines.

    Raises `ShapeError` if the result is not a scalar, `DtypeError` if an argument is not floating.

    >>> import gradloom as gl, numpy as np
    >>> value, slope = gl.value_and_grad(lambda x: x * x)(3.0)
    >>> float(value), float(slope)
    (9.0, 6.0)
    """

    @functools.wraps(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        if current() is None:
            return compiled(*args, **kwargs)
        return _differentiate(function, argnums, has_aux, args, kwargs)

    compiled = jit(differentiated)
    differentiated.program = compiled.program  # type: ignore[attr-defined]
    return differentiated


def grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of `function`; with `has_aux`, `(gradient, aux)`.

    See `value_and_grad`.

    >>> import gradloom as gl
    >>> float(gl.grad(gl.grad(lambda x: x**3))(2.0))
    12.0
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        if current() is None:
            return compiled(*args, **kwargs)
        value, slopes = both(*args, **kwargs)
        return (slopes, value[1]) if has_aux else slopes

    compiled = jit(gradient)
    gradient.program = compiled.program  # type: ignore[attr-defined]
    return gradient


def _differentiate(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...],
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if any(not -len(args) <= n < len(args) for n in numbers):
        raise IndexError(
            message(
                f"argnums {argnums} with {len(args)} positional arguments",
                user_where(),
                "differentiate by arguments that are passed by position",
            )
        )
    chosen = tuple(args[n] for n in numbers)
    leaves, structure = flatten(chosen)
    for leaf, path in zip(leaves, paths(structure), strict=True):
        check_float(leaf, path.removeprefix("[0]") or "the argument")
    marks = mark(leaves)
    full = list(args)
    for n, tree in zip(numbers, unflatten(structure, marks), strict=True):
        full[n] = tree
    result = function(*full, **kwargs)
    out, aux = result if has_aux else (result, None)
    _check_scalar(out, function)
    one = np.ones((), type_of(out).dtype)
    pulled = pull(out, marks, one)
    slopes = [
        _zeros(m.node.type) if g is None else g for g, m in zip(pulled, marks, strict=True)
    ]
    trees = unflatten(structure, slopes)
    gradient = trees[0] if isinstance(argnums, int) else trees
    value = (_unboxed(out, marks), tree_map(lambda v: _unboxed(v, marks), aux))
    return (value if has_aux else value[0]), gradient


def _zeros(kind: TensorType) -> Any:
    return broadcast_to(np.zeros((), kind.dtype), kind.shape) if current() is EAGER else _spread(kind)


def _spread(kind: TensorType) -> Any:
    from gradloom.frontend.apply import apply
    from gradloom.ir.source import const
    from gradloom.ops.move import BROADCAST

    zero = Tensor(const(0, kind.dtype))
    return apply(BROADCAST, zero, shape=kind.shape) if kind.shape else zero


def _unboxed(value: Any, marks: list[Tensor]) -> Any:
    """A value of the surrounding level: what a tape record of this gradient holds."""
    if not marks or not isinstance(value, Tensor) or not isinstance(value.node, Record):
        return value
    level = marks[0].node.level  # type: ignore[union-attr]
    return value.node.value if value.node.level == level else value


def check_float(leaf: Any, path: str) -> None:
    kind = type_of(leaf)
    if not kind.is_float:
        raise DtypeError(
            message(
                f"grad by {path}, which is {kind}: only floating-point values have a gradient",
                user_where(),
                "convert it with .astype('float32'), or choose other arguments with argnums=",
            )
        )


def _check_scalar(out: Any, function: Callable[..., Any]) -> None:
    name = getattr(function, "__name__", "the function")
    if isinstance(out, tuple | list | dict) or out is None:
        raise ShapeError(
            message(
                f"{name} returned a {type(out).__name__}, but a gradient needs a scalar",
                user_where(),
                "return the loss alone, or (loss, aux) with has_aux=True",
            )
        )
    kind = type_of(out)
    if kind.shape or not kind.is_float:
        where = getattr(getattr(out, "node", None), "where", None) or user_where()
        raise ShapeError(
            message(
                f"{name} returned {kind}, but a gradient needs a floating-point scalar",
                where,
                "reduce it, for example with gnp.mean or gnp.sum",
            )
        )
