"""Control flow outside of any trace: compiled as a program of its own, or eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.frontend.record import Record
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import current


def traced(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` within the current trace, or compiled and run if there is none."""
    if current() is not None:
        return function(*arguments)
    from gradloom.jitted import jit  # which is made of all that is below

    return jit(function)(*arguments)


def concrete(value: Any) -> Any:
    """The value behind a taped one, for a decision in Python under `gradloom.eager`."""
    while isinstance(value, Tensor) and isinstance(value.node, Record):
        value = value.node.value
    return value
