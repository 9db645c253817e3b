"""Derivatives of functions of any results: `jvp`, `vjp`, `linearize`, `linear_transpose`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from gradloom.autodiff.forward import push, zeros
from gradloom.autodiff.reverse import between, close, mark, pull
from gradloom.errors import (
    DtypeError,
    ShapeError,
    StructureError,
    TracingError,
    message,
    user_where,
)
from gradloom.frontend.pytree import Structure, flatten, paths, tree_map, unflatten
from gradloom.frontend.tensor import Tensor, is_number
from gradloom.frontend.trace import EAGER, current, lift, recording, type_of
from gradloom.halves import Half
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.jitted import jit
from gradloom.ops.elementwise import astype
from gradloom.ops.public import as_operand
from gradloom.shapes import abstract
from gradloom.transform import check_callable, check_float, pair, unboxed


def jvp(
    function: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """`(function(*primals), its derivative at primals in the direction of tangents)`.

    `primals` is a tuple of pytrees of floating-point arrays, `tangents` has their structure, shapes
    and dtypes.  With `has_aux` the function returns a pair, of which the second is returned as a
    third value.  The tangent of a result that is not floating is zero.  Called on arrays it traces
    and compiles anew; under `gl.jit` it is done once.

    Raises `StructureError`, `ShapeError` or `DtypeError` where a tangent does not fit its primal.

    >>> import gradloom as gl
    >>> value, slope = gl.jvp(lambda x: x**3, (2.0,), (1.0,))
    >>> float(value), float(slope)
    (8.0, 12.0)
    """
    check_callable(function, "jvp")
    primals, tangents = _sequence(primals, "primals"), _sequence(tangents, "tangents")
    found: tuple[Any, ...] = jit(_jvp(function, has_aux))(primals, tangents)
    return found


def _jvp(function: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    def pushed(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        run = Taped(function, primals, "jvp", has_aux)
        out_tangents = run.push(run.directions(tangents, "jvp"))
        return (run.value, out_tangents, run.aux) if has_aux else (run.value, out_tangents)

    return pushed


def linearize(
    function: Callable[..., Any], *primals: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """`(function(*primals), f_lin)`, where `f_lin(*tangents)` is the derivative at `primals`.

    Like `jvp` in many directions: the function runs once, and keeps what the derivative needs.
    Called on arrays, the two are compiled programs, `f_lin` once for all its calls.  With `has_aux`
    a third value is the second of the pair that the function returns.

    >>> import gradloom as gl, numpy as np
    >>> value, f_lin = gl.linearize(np.sin, 0.0)
    >>> float(f_lin(2.0))
    2.0
    """
    check_callable(function, "linearize")
    if current() is None:
        return _in_halves(function, primals, has_aux, "linearize")
    run = Taped(function, primals, "linearize", has_aux)

    def f_lin(*tangents: Any) -> Any:
        return run.push(run.directions(tangents, "f_lin"))

    return (run.value, f_lin, run.aux) if has_aux else (run.value, f_lin)


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`(function(*primals), pull)`, where `pull(cotangent)` is a tuple, one entry a primal.

    `cotangent` has the structure, shapes and dtypes of the result.  Called on arrays, both are
    compiled programs, `pull` once for all its calls.  With `has_aux` a third value is the second of
    the pair that the function returns.

    Raises `DtypeError` for a primal that is not floating, and where a cotangent does not fit the
    result `StructureError`, `ShapeError` or `DtypeError`.

    >>> import gradloom as gl
    >>> value, pull = gl.vjp(lambda x, y: x * y, 2.0, 3.0)
    >>> [float(g) for g in pull(1.0)]
    [3.0, 2.0]
    """
    check_callable(function, "vjp")
    if current() is None:
        return _in_halves(function, primals, has_aux, "vjp")
    run = Taped(function, primals, "vjp", has_aux)

    def pull_back(cotangent: Any) -> tuple[Any, ...]:
        return run.pull(run.cotangents(cotangent))

    return (run.value, pull_back, run.aux) if has_aux else (run.value, pull_back)


def _in_halves(
    function: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool, name: str
) -> tuple[Any, ...]:
    """`linearize` or `vjp` of arrays, as two programs: one runs here, one is returned."""
    runs: list[tuple[Taped, Half]] = []

    def first(*values: Any) -> Any:
        run = Taped(function, values, name, has_aux)
        kinds = run.smooth if name == "vjp" else [m.node.type for m in run.marks]
        given = [Tensor(parameter(kind)) for kind in kinds]
        half = Half(given, run.pull(given) if name == "vjp" else run.push(given))
        runs.append((run, half))
        return run.value, run.aux, half.residuals

    functools.update_wrapper(first, function, updated=())
    value, aux, residuals = jit(first)(*primals)
    ((run, half),) = runs
    second = jit(half.replayed)

    def f_lin(*tangents: Any) -> Any:
        return second(residuals, run.directions(tangents, "f_lin"))

    def pull_back(cotangent: Any) -> Any:
        return second(residuals, run.cotangents(cotangent))

    linear = pull_back if name == "vjp" else f_lin
    return (value, linear, aux) if has_aux else (value, linear)


def linear_transpose(function: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """The transpose of a linear function, as a function of a cotangent that returns a tuple.

    Of `primals` the shapes and dtypes count alone; they may be `gl.ShapeDtypeStruct`.  Raises
    `TracingError`, when the transpose is called, if the function is not linear.

    >>> import gradloom as gl, numpy as np
    >>> back = gl.linear_transpose(lambda x: 3.0 * x, 1.0)
    >>> float(back(2.0)[0])
    6.0
    """
    check_callable(function, "linear_transpose")
    leaves, structure = flatten(primals)
    kinds = [abstract(leaf, "a primal") for leaf in leaves]

    def transposed(cotangent: Any) -> Any:
        if current() is EAGER:
            run = Taped(function, unflatten(structure, map(zeros, kinds)), _TRANSPOSE)
            return run.pull(run.cotangents(cotangent))
        unknown = [Tensor(parameter(kind)) for kind in kinds]
        run = Taped(function, unflatten(structure, unknown), _TRANSPOSE)
        found = run.pull(run.cotangents(cotangent))
        _check_linear(function, flatten(found)[0], unknown)
        return found

    functools.update_wrapper(transposed, function, updated=())
    linear: Callable[..., Any] = jit(transposed)
    return linear


_TRANSPOSE = "linear_transpose"


def _check_linear(function: Callable[..., Any], found: list[Any], unknown: list[Tensor]) -> None:
    """The transpose of what is linear does not depend on where it is taken."""
    order = between([lift(g) for g in found], [u.node for u in unknown])
    at = next((node for node, inner in order.items() if inner), None)
    if at is not None:
        name = getattr(function, "__name__", "the function")
        raise TracingError(
            message(
                f"linear_transpose of {name}, which is not linear in its arguments",
                at.where or user_where(),
                "use gl.vjp, which takes the derivative at a point",
            )
        )


# ---- a function that has run, ready for either sweep


class Taped:
    """A function that has run on marked primals, ready for sweeps in either direction."""

    def __init__(
        self,
        function: Callable[..., Any],
        primals: tuple[Any, ...],
        name: str,
        has_aux: bool = False,
    ) -> None:
        leaves, self.structure = flatten(primals)
        for leaf, path in zip(leaves, paths(self.structure), strict=True):
            check_float(leaf, named(path), name)
        self.mode = current()
        self.marks = mark(leaves)
        self.types = [m.node.type for m in self.marks]
        try:
            result = function(*unflatten(self.structure, self.marks))
            result, aux = pair(result, function) if has_aux else (result, None)
            self.outs, self.tree = flatten(result)
            places = zip(self.outs, paths(self.tree), strict=True)
            self.kinds = [type_of(o, f"the result at {path}") for o, path in places]
        finally:
            close(self.marks)
        self.value = unflatten(self.tree, [unboxed(o, self.marks) for o in self.outs])
        self.aux = tree_map(lambda v: unboxed(v, self.marks), aux)
        self.smooth = [k if k.is_inexact else TensorType(k.shape, "float64") for k in self.kinds]

    def push(self, tangents: list[Any]) -> Any:
        """The tangents of the results, for those of the primals."""
        with self._resumed():
            found = push(self.outs, self.marks, tangents)
            pairs = zip(found, self.smooth, strict=True)
            return unflatten(self.tree, [zeros(k) if t is None else t for t, k in pairs])

    def pull(self, cotangents: list[Any]) -> Any:
        """The cotangents of the primals, for those of the results."""
        with self._resumed():
            pairs = zip(cotangents, self.kinds, strict=True)
            wanted = [g if k.is_inexact else None for g, k in pairs]
            found = pull(self.outs, self.marks, wanted)
            slopes = [zeros(k) if g is None else g for g, k in zip(found, self.types, strict=True)]
        return unflatten(self.structure, slopes)

    @contextlib.contextmanager
    def _resumed(self) -> Iterator[None]:
        """A tape is swept as it was recorded, also after `gl.eager` has ended."""
        with recording(EAGER) if self.mode is EAGER else contextlib.nullcontext():
            yield

    def directions(self, tangents: tuple[Any, ...], name: str) -> list[Any]:
        """The leaves of `tangents`, which fit the primals."""
        return fitted(
            tangents, self.structure, self.types, f"the tangents given to {name}", "primals"
        )

    def cotangents(self, given: Any) -> list[Any]:
        """The leaves of a cotangent, which fit the results."""
        return fitted(given, self.tree, self.smooth, "the cotangent", "results")


def _sequence(values: Any, what: str) -> tuple[Any, ...]:
    if isinstance(values, tuple | list):
        return tuple(values)
    raise StructureError(
        message(
            f"{what} is a {type(values).__name__}",
            user_where(),
            f"give jvp a tuple of {what}, one for each argument: (x,) for one",
        )
    )


def fitted(
    given: Any, structure: Structure, kinds: list[TensorType], what: str, whose: str
) -> list[Any]:
    """The leaves of `given`, if it has this structure and these types."""
    leaves, found = flatten(given)
    if found != structure:
        raise StructureError(
            message(
                f"the structure of {what} is {found}, that of the {whose} is {structure}",
                user_where(),
                f"give them the containers, keys and lengths of the {whose}",
            )
        )
    return [
        _fitted(leaf, kind, f"{what}: {named(path)}", whose)
        for leaf, kind, path in zip(leaves, kinds, paths(structure), strict=True)
    ]


def _fitted(leaf: Any, kind: TensorType, what: str, whose: str) -> Any:
    found = type_of(leaf, what)
    if found.shape != kind.shape:
        raise ShapeError(
            message(
                f"{what} is {found}, of the {whose} it is {kind}",
                user_where(),
                "give it that shape, with gnp.broadcast_to or reshape",
            )
        )
    weak = leaf.weak if isinstance(leaf, Tensor) else is_number(leaf)
    if found.dtype != kind.dtype and not (weak and kind.is_inexact):
        raise DtypeError(
            message(
                f"{what} is {found}, of the {whose} it is {kind}",
                user_where(),
                f"convert it with .astype('{kind.dtype}')",
            )
        )
    return astype(as_operand(leaf), kind.dtype)


def named(path: str) -> str:
    """'[0].w' as 'argument 0 at .w'."""
    place, bracket, inner = path.removeprefix("[").partition("]")
    if not bracket or not path.startswith("["):
        return path
    return f"argument {place}{' at ' if inner else ''}{inner}"
