"""Recording a Python function as a graph, once, and what the recording absorbed on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from gradloom.clock import Clock
from gradloom.device_array import DeviceArray
from gradloom.errors import DtypeError, GradloomError, RangeError, TracingError, message, user_where
from gradloom.frontend.tensor import Tensor, is_number
from gradloom.ir.node import Node
from gradloom.ir.source import const, parameter
from gradloom.ir.types import DTYPES, INTEGERS, TensorType


class Trace:
    """One recording: its parameters, and the arrays that the function closed over.

    An array of the surroundings becomes a hidden input: its values are read at every call and
    never become code.
    """

    def __init__(self) -> None:
        self.captured: dict[int, tuple[Any, Node]] = {}
        self.clock = Clock()

    def capture(self, array: np.ndarray | DeviceArray) -> Node:
        found = self.captured.get(id(array))
        if found is None:
            found = array, parameter(type_of(array))
            self.captured[id(array)] = found
        return found[1]


def deriving() -> contextlib.AbstractContextManager[None]:
    """While a derivative is made: that is a stage of its own in the seconds of a trace."""
    trace = _current.get()
    return trace.clock.inner("differentiate") if isinstance(trace, Trace) else _IDLE


_IDLE = contextlib.nullcontext()
EAGER = object()
_current: ContextVar[Any] = ContextVar("gradloom_trace", default=None)


# The trace being recorded, `EAGER` inside `gradloom.eager`, or None; asked for at every call.
current: Callable[[], Any] = _current.get


@contextlib.contextmanager
def recording(trace: Any) -> Iterator[Any]:
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def type_of(value: Any, what: str = "") -> TensorType:
    """The type of an array-like; raises `DtypeError` for what has no native form.

    `what` is what the text of the error calls the value.
    """
    if isinstance(value, Tensor):
        return value.node.type
    array = value if isinstance(value, np.ndarray | DeviceArray) else np.asarray(value)
    if array.dtype.name not in DTYPES:
        raise _unsupported(value, array, what)
    return TensorType(array.shape, array.dtype.name)


def _unsupported(value: Any, array: Any, what: str) -> GradloomError:
    lead = f"{what}: " if what else ""
    if is_number(value):
        return _does_not_fit(value, "int64")
    if isinstance(value, np.ndarray | np.generic | complex):
        repair = {
            "c": "convert it first: x.astype('complex128')",
            "f": "convert it first: x.astype('float32')",
            "i": "convert it first: x.astype('int32')",
            "u": "convert it first: x.astype('uint32')",
        }.get(array.dtype.kind, "encode it in numbers first")
        text = f"{lead}dtype {array.dtype} of shape {array.shape} is not supported"
        return DtypeError(message(text, user_where(), f"{repair}; there are {', '.join(DTYPES)}"))
    return DtypeError(
        message(
            f"{lead}a value of type {type(value).__name__} is neither an array nor a number",
            user_where(),
            "pass arrays and numbers, in dicts, lists, tuples or dataclasses; keep the rest in a"
            " closure, or bind it with functools.partial",
        )
    )


def _does_not_fit(value: Any, dtype: str) -> RangeError:
    shown = str(value) if value.bit_length() < 100 else f"of {value.bit_length()} bits"
    return RangeError(
        message(
            f"the Python integer {shown} does not fit {dtype}",
            user_where(),
            "convert the operand that it meets to int64 or float64, or write the number as a float",
        )
    )


def fits(value: Any, dtype: str) -> bool:
    """Whether a Python number has a value in `dtype`."""
    if isinstance(value, float | complex):
        return True
    if dtype not in INTEGERS:
        return value.bit_length() < 1024
    limits = np.iinfo(dtype)
    return int(limits.min) <= value <= int(limits.max)


def lift(value: Any, dtype: str | None = None) -> Node:
    """The node of any operand.  Scalars become constants, arrays hidden inputs."""
    if isinstance(value, Tensor):
        if not isinstance(value.node, Node):
            raise leaked(value)
        return value.node
    if is_number(value):
        wanted = dtype or scalar_dtype(value)
        if not fits(value, wanted):
            raise _does_not_fit(value, wanted)
        return const(value, wanted)
    if isinstance(value, DeviceArray):
        node: Node = current().capture(value)
        return node
    array = np.asarray(value)
    found = type_of(array)
    if array.ndim == 0:
        return const(array, dtype or found.dtype)
    return current().capture(array)


def leaked(value: Tensor | None) -> TracingError:
    """The error of a traced or taped value met outside of its trace or gradient."""
    known = "" if value is None else value.described()
    return TracingError(
        message(
            f"a traced value{known} leaked out of its trace and is used here",
            user_where(),
            "return it from the traced function instead of storing it",
        )
    )


def scalar_dtype(value: Any) -> str:
    """The dtype of a Python number that meets no array."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, complex):
        return "complex128"
    return "int64" if isinstance(value, int) else "float64"
