"""Recording a Python function as a graph, once, and what the recording absorbed on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from gradloom.errors import DtypeError, message, user_where
from gradloom.frontend.tensor import Tensor
from gradloom.ir.node import Node
from gradloom.ir.source import CONST, const, parameter
from gradloom.ir.types import DTYPES, TensorType


class Trace:
    """One recording: its parameters, and the arrays that the function closed over.

    An array of the surroundings becomes a hidden input: its values are read at every call and
    never become code.
    """

    def __init__(self) -> None:
        self.captured: dict[int, tuple[np.ndarray, Node]] = {}

    def capture(self, array: np.ndarray) -> Node:
        found = self.captured.get(id(array))
        if found is None:
            found = array, parameter(type_of(array))
            self.captured[id(array)] = found
        return found[1]


EAGER = object()
_current: ContextVar[Any] = ContextVar("gradloom_trace", default=None)


def current() -> Any:
    """The trace being recorded, `EAGER` inside `gradloom.eager`, or None."""
    return _current.get()


@contextlib.contextmanager
def recording(trace: Any) -> Iterator[Any]:
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def type_of(value: Any) -> TensorType:
    """The type of an array-like; raises `DtypeError` for what has no native form."""
    if isinstance(value, Tensor):
        return value.node.type
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    if array.dtype.name not in DTYPES:
        raise DtypeError(
            message(
                f"dtype {array.dtype} of shape {array.shape} is not supported",
                user_where(),
                f"convert it first, for example with .astype('float32'); there are {', '.join(DTYPES)}",
            )
        )
    return TensorType(array.shape, array.dtype.name)


def lift(value: Any, dtype: str | None = None) -> Node:
    """The node of any operand.  Scalars become constants, arrays hidden inputs."""
    if isinstance(value, Tensor):
        assert isinstance(value.node, Node)
        return value.node
    if isinstance(value, bool | int | float):
        return const(value, dtype or scalar_dtype(value))
    array = np.asarray(value)
    found = type_of(array)
    if array.ndim == 0:
        return const(array, dtype or found.dtype)
    trace = current()
    if trace is None or trace is EAGER:
        trace = _strays
    return trace.capture(array)


# Arrays met by a traced value after its trace ended; the leak itself is reported by the trace
# that it ends up in, or by NumPy asking for its elements.
_strays = Trace()


def scalar_dtype(value: Any) -> str:
    """The dtype of a Python number that meets no array."""
    if isinstance(value, bool):
        return "bool"
    return "int64" if isinstance(value, int) else "float64"


def absorbed(nodes: list[Node]) -> list[Node]:
    """The constants of a trace, which are part of the code."""
    return [node for node in nodes if node.op is CONST]
