"""The eager tape: what a NumPy operation was given and what it gave, for the reverse sweep."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradloom.errors import Where
from gradloom.ir.op import Op
from gradloom.ir.types import TensorType, TupleType

# Levels of gradients that are being taken.  A record of any other leaked out of its gradient.
OPEN: set[int] = set()


class _Failure(threading.local):
    """The first exception of a Python function that native code called on this thread, for whoever
    made the call to raise."""

    error: BaseException | None = None

    def release(self) -> None:
        """Raise it, if there is one."""
        error, self.error = self.error, None
        if error is not None:
            raise error


failure = _Failure()


@dataclass(slots=True, eq=False)
class Record:
    """One operation done by NumPy inside a gradient of nesting depth `level`.

    `args` are what the operation saw: arrays, or traced values of outer levels.  `inputs` are the
    records of this level that they came from, None for the others.
    """

    op: Op
    args: tuple[Any, ...]
    inputs: tuple[Record | None, ...]
    attrs: dict[str, Any]
    value: Any
    level: int
    where: Where | None = None  # the tape is walked at once, so a line is never needed

    @property
    def type(self) -> TensorType:
        return _type(self.value)


def _type(value: Any) -> TensorType:
    if isinstance(value, tuple):
        return TupleType(tuple(map(_type, value)))
    if hasattr(value, "node"):  # a traced or taped value of an outer level
        found: TensorType = value.node.type
        return found
    array = np.asarray(value)
    return TensorType(array.shape, array.dtype.name)
