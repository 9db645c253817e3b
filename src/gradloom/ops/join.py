"""Pieces laid side by side, and the index along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.frontend.tensor import Tensor
from gradloom.ir.node import Node
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.source import IOTA
from gradloom.ir.types import TensorType
from gradloom.ops.elementwise import astype
from gradloom.ops.move import expand_dims, take_slice
from gradloom.ops.public import as_operand, normal_axis, public, refuse_out, wrong_shape


def _joined(*types: TensorType, axis: int) -> TensorType:
    first = types[0]
    shape = list(first.shape)
    shape[axis] = sum(t.shape[axis] for t in types)
    return TensorType(tuple(shape), first.dtype)


def _cut(g: Any, out: Any, *pieces: Any, axis: int) -> tuple[Any, ...]:
    parts, at = [], 0
    for piece in pieces:
        start = tuple(at if i == axis else 0 for i in range(g.ndim))
        parts.append(take_slice(g, start, (1,) * g.ndim, tuple(piece.shape)))
        at += piece.shape[axis]
    return tuple(parts)


CONCATENATE = define(
    Op(
        "concatenate",
        Kind.JOIN,
        _joined,
        lambda *pieces, axis: np.concatenate(pieces, axis=axis),
        _cut,
        accepts="any",
        linear=True,
        samples=lambda rng, dtype: [
            (
                tuple(rng.uniform(-2, 2, (2, n, 3)).astype(dtype) for n in (1, 4, 2)),
                {"axis": 1},
            )
        ],
    )
)


@public(np.concatenate)
def concatenate(
    arrays: Any,
    axis: Any = 0,
    out: None = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """The pieces one after another along an existing axis; all flattened first if it is None."""
    refuse_out(out, "concatenate")
    parts = [as_operand(p) for p in arrays]
    if dtype is not None:
        parts = [astype(p, dtype) for p in parts]
    if not parts:
        raise wrong_shape("concatenate of no pieces", "give it at least one array")
    if axis is None:
        parts, axis = [p.reshape(-1) for p in parts], 0
    along = normal_axis(axis, parts[0].ndim)
    for part in parts:
        if _without(part.shape, along) != _without(parts[0].shape, along):
            shapes = ", ".join(str(tuple(p.shape)) for p in parts)
            raise wrong_shape(
                f"pieces of shapes {shapes} do not fit along axis {along}",
                "all other sizes must be equal",
            )
    return apply(CONCATENATE, *parts, axis=along) if len(parts) > 1 else parts[0]


public(name="concat")(concatenate)


def _without(shape: Any, axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


@public(np.stack)
def stack(
    arrays: Any,
    axis: int = 0,
    out: None = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """The pieces one after another along a new axis."""
    parts = [as_operand(p) for p in arrays]
    for part in parts:
        if part.shape != parts[0].shape:
            shapes = ", ".join(str(tuple(p.shape)) for p in parts)
            raise wrong_shape(f"a stack of pieces of shapes {shapes}", "make their shapes equal")
    return concatenate([expand_dims(p, axis) for p in parts], axis, out, dtype=dtype)


def index_along(x: Any, axis: int, dtype: str = "int64") -> Any:
    """For every element of `x`, its index along `axis`."""
    if isinstance(x, Tensor) and isinstance(x.node, Node):
        return apply(IOTA, shape=tuple(x.shape), axis=axis, dtype=dtype)
    steps = np.arange(x.shape[axis], dtype=dtype)
    return np.broadcast_to(
        np.expand_dims(steps, tuple(i for i in range(x.ndim) if i != axis)),
        x.shape,
    )


@public()
def one_hot(indices: Any, num_classes: int, dtype: Any = "float32") -> Any:
    """1 where the new last axis equals the index, 0 elsewhere; all 0 for an index out of range.

    >>> import gradloom.numpy as gnp
    >>> gnp.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    wide = expand_dims(as_operand(indices), -1)
    shape = (*wide.shape[:-1], num_classes)
    if isinstance(wide, Tensor) and isinstance(wide.node, Node):
        steps = apply(IOTA, shape=shape, axis=len(shape) - 1, dtype="int64")
    else:
        steps = np.arange(num_classes)
    return (wide == steps).astype(dtype)
