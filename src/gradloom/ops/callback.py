"""Python functions called from compiled code: `gradloom.pure_callback`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np

from gradloom.errors import (
    DtypeError,
    MissingError,
    ShapeError,
    TracingError,
    Where,
    message,
    user_where,
)
from gradloom.frontend.apply import apply_many
from gradloom.frontend.pytree import Structure, flatten, unflatten
from gradloom.frontend.record import failure
from gradloom.frontend.trace import type_of
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.routine import Code
from gradloom.ir.types import TensorType, TupleType
from gradloom.ops.lapack import hidden
from gradloom.ops.move import broadcast_to
from gradloom.ops.public import as_operand, dtype_name

MOST = 24  # arrays in and out: what the driver can call a function with
METHODS = (None, "sequential", "expand_dims", "broadcast_all")


class _Keeping:
    """Keeps an exception that must not pass through native code, to be raised after the call."""

    def __init__(self, where: Where) -> None:
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            error.add_note(f"in a pure_callback asked for at {self.where}")
            failure.error = error
        return True


class Calling:
    """A Python function of arrays with results of known types, as native code calls it."""

    def __init__(
        self,
        function: Callable[..., list[Any]],
        types: tuple[TensorType, ...],
        results: tuple[TensorType, ...],
        method: str | None,
    ) -> None:
        self.function = function
        self.types = types
        self.results = results
        self.method = method
        self.where = user_where()

    def __repr__(self) -> str:
        return f"<callback at {self.where}>"

    def __call__(self, *arrays: Any) -> tuple[np.ndarray, ...]:
        """The results, checked."""
        found = self.function(*arrays)
        if len(found) != len(self.results):
            raise ShapeError(
                message(
                    f"the callback returned {len(found)} arrays, not {len(self.results)}",
                    self.where,
                    "return what result_shape_dtypes says",
                )
            )
        return tuple(map(self._checked, found, self.results))

    def _checked(self, value: Any, kind: TensorType) -> np.ndarray:
        array = np.asarray(value)
        if array.shape != kind.shape or not np.can_cast(array.dtype, kind.dtype, "same_kind"):
            raise ShapeError(
                message(
                    f"the callback returned {array.dtype}{list(array.shape)}, not {kind}",
                    self.where,
                    "return what result_shape_dtypes says",
                )
            )
        return array.astype(kind.dtype, copy=False)

    @cached_property
    def address(self) -> np.ndarray:
        """The address of a C function that calls this; ctypes takes the interpreter's lock."""
        kinds = (*self.types, *self.results)
        self._kept = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(kinds))(self._native)
        number = ctypes.cast(self._kept, ctypes.c_void_p).value
        return np.array(number, np.int64)

    def _native(self, *pointers: int) -> None:
        kinds = (*self.types, *self.results)
        memory = [_array(p, kind) for p, kind in zip(pointers, kinds, strict=True)]
        given, targets = memory[: len(self.types)], memory[len(self.types) :]
        for target in targets:
            target[...] = 0
        if failure.error is not None:  # the call has failed, and its results are dropped
            return
        with _Keeping(self.where):
            for target, found in zip(targets, self(*(a.copy() for a in given)), strict=True):
                target[...] = found


def _array(pointer: int, kind: TensorType) -> np.ndarray:
    if not kind.size:
        return np.empty(kind.shape, kind.dtype)
    raw = (ctypes.c_uint8 * kind.nbytes).from_address(pointer)
    return np.ctypeslib.as_array(raw).view(kind.dtype).reshape(kind.shape)


def _code(*types: TensorType, calling: Calling) -> Code:
    """A function for each number of arrays: the address first, then what it is called with."""
    count = len(calling.types) + len(calling.results)
    names = [f"a{i}" for i in range(count)]
    given, made = names[: len(calling.types)], names[len(calling.types) :]
    text = (
        f"def routine_callback_{len(given)}_{len(made)}"
        f"(start, stop, {', '.join([*given, 'function', *made])}):\n"
        f"    invoke_{count}(load_int64(function, 0), {', '.join(names)})\n"
    )
    return Code((text,), 1)


def _refused(*args: Any, calling: Calling) -> tuple[Any, ...]:
    raise TracingError(
        message(
            "a pure_callback has no derivative",
            calling.where,
            "give it one with gl.custom_vjp, or cover it with gl.stop_gradient",
        )
    )


def _batch(size: int, batched: Sequence[bool], *operands: Any, calling: Calling) -> Any:
    """Called for each member of the batch, or once for all, as the user chose."""
    *arrays, _ = operands
    if calling.method is None:
        raise TracingError(
            message(
                "vmap of a pure_callback that does not say how",
                calling.where,
                "give it vmap_method='sequential', 'expand_dims' or 'broadcast_all'",
            )
        )
    results = tuple(TensorType((size, *k.shape), k.dtype) for k in calling.results)
    function = calling.function
    if calling.method == "sequential":
        given = list(arrays)

        def function(*values: np.ndarray) -> list[Any]:
            rows = [
                calling(*(v[i] if b else v for v, b in zip(values, batched, strict=False)))
                for i in range(size)
            ]
            return [np.stack(parts) for parts in zip(*rows, strict=True)]

    else:
        wide = 1 if calling.method == "expand_dims" else size
        given = [
            v if b else broadcast_to(v, (wide, *v.shape))
            for v, b in zip(arrays, batched, strict=False)
        ]
    return call(function, given, results, calling.method)


def call(
    function: Callable[..., list[Any]],
    arrays: Sequence[Any],
    results: tuple[TensorType, ...],
    method: str | None,
) -> tuple[Any, ...]:
    """The results of a function of arrays that returns a list of arrays."""
    calling = Calling(function, tuple(map(type_of, arrays)), results, method)
    if len(arrays) + len(results) > MOST:
        raise MissingError(
            message(
                f"a pure_callback with {len(arrays) + len(results)} arrays in and out",
                user_where(),
                f"there may be {MOST}; stack some of them",
            )
        )
    return apply_many(CALLBACK, *arrays, hidden(calling.address), calling=calling)


_SAMPLES: dict[str, Calling] = {}


def _samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    kind = TensorType((2, 3), dtype)
    if dtype not in _SAMPLES:
        _SAMPLES[dtype] = Calling(lambda x: [x + x, x], (kind,), (kind, kind), "sequential")
    calling = _SAMPLES[dtype]
    x = rng.integers(0, 9, kind.shape).astype(dtype)
    return [((x, calling.address), {"calling": calling})]


CALLBACK: Op = define(
    Op(
        "callback",
        Kind.ROUTINE,
        lambda *types, calling: TupleType(calling.results),
        lambda *arrays, calling: calling(*arrays[:-1]),
        _refused,
        accepts="any",
        returns="declared",
        batch=_batch,
        routine=_code,
        samples=_samples,
    )
)


def pure_callback(
    function: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    vmap_method: str | None = None,
) -> Any:
    """`function(*args)`, called in Python with NumPy arrays each time the compiled code gets there.

    `result_shape_dtypes` is a pytree of what has a shape and a dtype (arrays, or
    `gl.ShapeDtypeStruct`), of the structure of the result.  The function must depend on nothing but
    its arguments: calls may be left out or repeated.  An exception in it is raised when the
    program returns; what the program computed is dropped.

    A call takes the interpreter's lock, and about 12 us with one small array in and out, copies
    included.  There is no derivative: give one with `gl.custom_vjp`.  Under `vmap` the function is
    called for each member of the batch ("sequential"), or once with leading axes of size one
    ("expand_dims") or of the batch ("broadcast_all") on arguments that are not batched.

    Raises `DtypeError` for a dtype that gradloom has not, `ShapeError` if the function returns
    something else than it should.

    >>> import gradloom as gl, numpy as np
    >>> like = gl.ShapeDtypeStruct((3,), "float64")
    >>> f = gl.jit(lambda x: gl.pure_callback(np.cbrt, like, x))
    >>> f(np.array([1.0, 8.0, 27.0]))
    array([1., 2., 3.])
    """
    leaves, structure = flatten(args)
    wanted, shape_of = flatten(result_shape_dtypes)
    results = tuple(_declared(leaf) for leaf in wanted)
    if vmap_method not in METHODS:
        raise MissingError(
            message(f"vmap_method={vmap_method!r}", user_where(), f"use one of {METHODS}")
        )

    def flat(*values: Any) -> list[Any]:
        return _leaves_of(function(*unflatten(structure, list(values))), shape_of)

    found = call(flat, list(map(as_operand, leaves)), results, vmap_method)
    return unflatten(shape_of, list(found))


def _leaves_of(result: Any, structure: Structure) -> list[Any]:
    return flatten(result)[0] if structure.children else [result]


def _declared(leaf: Any) -> TensorType:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise DtypeError(
            message(
                f"result_shape_dtypes holds {leaf!r}",
                user_where(),
                "give it arrays, or gl.ShapeDtypeStruct(shape, dtype)",
            )
        )
    return TensorType(tuple(leaf.shape), dtype_name(leaf.dtype))
