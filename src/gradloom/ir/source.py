"""The rows without operands: parameters, constants, indices; and the marker of differentiation."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.ir.affine import Index
from gradloom.ir.node import Node, fresh, make
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import TensorType


def _no_value(serial: int, kind: TensorType) -> None:
    raise LookupError(f"parameter {serial} ({kind}) was not given a value")


def _same_place(index: Index, x: TensorType, **attrs: int) -> tuple[Index, tuple[()]]:
    return index, ()


def _iota(shape: tuple[int, ...], axis: int, dtype: str) -> np.ndarray:
    steps = np.arange(shape[axis], dtype=dtype)
    return np.broadcast_to(
        steps.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape
    )


PARAMETER = define(Op("parameter", Kind.SOURCE, lambda serial, kind: kind, _no_value))
# A constant is kept as bytes: as dictionary keys 1 == 1.0 == True, 0.0 == -0.0 and nan != nan.
CONST = define(
    Op(
        "const",
        Kind.SOURCE,
        lambda value, dtype: TensorType((), dtype),
        lambda value, dtype: np.frombuffer(value, dtype)[0],
    )
)
IOTA = define(Op("iota", Kind.SOURCE, lambda shape, axis, dtype: TensorType(shape, dtype), _iota))
ITEM = define(
    Op(
        "item",
        Kind.ITEM,
        lambda whole, index: whole.types[index],
        lambda whole, index: whole[index],
    )
)
# What a gradient is taken with respect to: an alias of its operand, so that captured uses of the
# same value by a closure stay apart from it.
MARK = define(
    Op(
        "mark",
        Kind.MOVE,
        lambda x, serial: x,
        lambda x, serial: x,
        vjp=lambda g, out, x, serial: (g,),
        access=_same_place,
        marker=True,
        jvp=lambda tangents, out, x, serial: tangents[0],
        batch=lambda size, batched, x, serial: x,  # who took a gradient by it has done so
    )
)
STOP = define(
    Op(
        "stop_gradient",
        Kind.MOVE,
        lambda x: x,
        lambda x: x,
        vjp=lambda g, out, x: (None,),
        access=_same_place,
        marker=True,
        jvp=lambda tangents, out, x: None,
    )
)


def parameter(kind: TensorType) -> Node:
    """A new input, unlike every other."""
    return make(PARAMETER, serial=fresh(), kind=kind)


def const(value: object, dtype: str) -> Node:
    """A 0-d constant."""
    return make(CONST, value=np.asarray(value).astype(dtype).tobytes(), dtype=dtype)


def constant_of(value: bytes, dtype: str) -> Any:
    """The Python number of a constant's bytes: a bool, int, float or complex."""
    return np.frombuffer(value, dtype)[0].item()
