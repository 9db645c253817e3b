"""Whole Jacobians: a sweep for every element of an argument or of a result, all done together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.autodiff.batching import batch
from gradloom.differentiate import Taped
from gradloom.errors import DtypeError, message, user_where
from gradloom.frontend.apply import apply
from gradloom.frontend.pytree import flatten, paths, unflatten
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, current
from gradloom.ir.source import IOTA, parameter
from gradloom.ir.types import TensorType
from gradloom.jitted import Jitted, jit
from gradloom.ops.elementwise import astype
from gradloom.ops.join import stack
from gradloom.ops.move import broadcast_to, expand_dims, moveaxis, reshape
from gradloom.ops.public import as_operand
from gradloom.transform import check_callable, positions

Argnums = int | tuple[int, ...]


def jacfwd(
    function: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    holomorphic: bool = False,
) -> Jitted:
    """A function that returns the Jacobian of `function`, by forward sweeps.

    For every result a tree like the arguments `argnums`, of derivatives whose shape is that of the
    result followed by that of the argument.  One sweep an element of the arguments, done together:
    the choice where these are few.  With `has_aux`, `(jacobian, aux)`.

    With `holomorphic` the arguments and results are complex, and the derivatives those of an
    analytic function, which it is taken to be.

    Raises `DtypeError` if an argument or a result is not floating (with `holomorphic`: complex).

    >>> import gradloom as gl, numpy as np
    >>> gl.jacfwd(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return _jacobian(function, argnums, has_aux, holomorphic, "jacfwd", _by_columns)


def jacrev(
    function: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    holomorphic: bool = False,
) -> Jitted:
    """What `jacfwd` returns, by reverse sweeps: the choice where the results are few.

    >>> import gradloom as gl, numpy as np
    >>> gl.jacrev(lambda x: np.sum(x * x))(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    return _jacobian(function, argnums, has_aux, holomorphic, "jacrev", _by_rows)


jacobian = jacrev


def hessian(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Jitted:
    """A function that returns the second derivatives of `function`, forward over reverse.

    A product with a vector alone is cheaper: `gl.jvp(gl.grad(f), (x,), (v,))[1]`.

    >>> import gradloom as gl, numpy as np
    >>> gl.hessian(lambda x: x[0] * x[0] * x[1])(np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """
    check_callable(function, "hessian")
    return jacfwd(jacrev(function, argnums, has_aux), argnums, has_aux)


def _jacobian(
    function: Callable[..., Any],
    argnums: Argnums,
    has_aux: bool,
    holomorphic: bool,
    name: str,
    sweep: Callable[[Taped], list[list[Any]]],
) -> Jitted:
    check_callable(function, name)

    @functools.wraps(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        numbers = positions(argnums, len(args))

        def chosen(*given: Any) -> Any:
            full = list(args)
            for n, value in zip(numbers, given, strict=True):
                full[n] = value
            return function(*full, **kwargs)

        functools.update_wrapper(chosen, function, updated=())
        run = Taped(chosen, tuple(args[n] for n in numbers), name, has_aux)
        (_check_complex if holomorphic else _check_floats)(run, name)
        rows = [unflatten(run.structure, row) for row in sweep(run)]
        trees = unflatten(run.tree, [r[0] for r in rows] if isinstance(argnums, int) else rows)
        return (trees, run.aux) if has_aux else trees

    return jit(differentiated)


def _check_floats(run: Taped, name: str) -> None:
    for kind in run.types:
        if kind.is_complex:
            raise DtypeError(
                message(
                    f"{name} by an argument that is {kind}",
                    user_where(),
                    "give holomorphic=True if the function is analytic; or take the derivatives"
                    " by its real and imaginary parts, as two arguments",
                )
            )
    for kind, path in zip(run.kinds, paths(run.tree), strict=True):
        if not kind.is_float:
            raise DtypeError(
                message(
                    f"{name} of a function that returns {kind} at {path}",
                    user_where(),
                    "compute the result in floating point, or return it as aux with has_aux=True",
                )
            )


def _check_complex(run: Taped, name: str) -> None:
    for kind in (*run.types, *run.kinds):
        if not kind.is_complex:
            raise DtypeError(
                message(
                    f"{name} with holomorphic=True by or of {kind}",
                    user_where(),
                    "make it complex with .astype(), or leave holomorphic away",
                )
            )


def _by_columns(run: Taped) -> list[list[Any]]:
    """For every result, its derivatives by every argument."""
    columns = []
    for i, kind in enumerate(run.types):

        def swept(t: Any, i: int = i) -> list[Any]:
            return flatten(run.push([t if j == i else None for j in range(len(run.types))]))[0]

        found = _along_basis(swept, kind)
        columns.append(
            [
                reshape(moveaxis(d, 0, -1), (*out.shape, *kind.shape))
                for d, out in zip(found, run.kinds, strict=True)
            ]
        )
    return [[column[j] for column in columns] for j in range(len(run.kinds))]


def _by_rows(run: Taped) -> list[list[Any]]:
    rows = []
    for i, out in enumerate(run.kinds):

        def swept(g: Any, i: int = i) -> list[Any]:
            return flatten(run.pull([g if j == i else None for j in range(len(run.kinds))]))[0]

        found = _along_basis(swept, out)
        rows.append(
            [
                reshape(d, (*out.shape, *kind.shape))
                for d, kind in zip(found, run.types, strict=True)
            ]
        )
    return rows


def _along_basis(linear: Callable[[Any], list[Any]], kind: TensorType) -> list[Any]:
    """What a linear function makes of every unit array of a type, stacked."""
    if current() is EAGER and kind.size:
        columns = zip(*(linear(unit) for unit in _units(kind)), strict=True)
        return [stack(list(column)) for column in columns]
    if current() is EAGER:
        found = linear(np.zeros(kind.shape, kind.dtype))
        return [np.zeros((0, *as_operand(f).shape), f.dtype) for f in found]
    one = Tensor(parameter(kind))
    outs = linear(one)
    found = batch(outs, [one], [_units(kind)], kind.size)
    return [
        broadcast_to(expand_dims(o, 0), (kind.size, *o.shape)) if f is None else f
        for o, f in zip(outs, found, strict=True)
    ]


def _units(kind: TensorType) -> Any:
    """All unit arrays of a type, along a leading axis."""
    size = kind.size
    if current() is EAGER:
        return np.eye(size, dtype=kind.dtype).reshape(size, *kind.shape)
    row, column = (apply(IOTA, shape=(size, size), axis=a, dtype="int64") for a in (0, 1))
    return reshape(astype(row == column, kind.dtype), (size, *kind.shape))
