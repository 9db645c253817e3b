"""`gl.eval_shape`: what a function would return, without computing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.pytree import flatten, tree_map, unflatten
from gradloom.frontend.tensor import Tensor, is_weak
from gradloom.frontend.trace import Trace, recording, type_of
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.ops.public import dtype_name
from gradloom.transform import check_callable


class ShapeDtypeStruct:
    """A shape and a dtype, in place of an array that need not exist."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype_name(dtype))

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShapeDtypeStruct):
            return NotImplemented
        return (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


def abstract(leaf: Any, what: str = "") -> TensorType:
    """The type of an array or of what stands for one."""
    if isinstance(leaf, ShapeDtypeStruct):
        return TensorType(leaf.shape, leaf.dtype.name)
    return type_of(leaf, what)


def eval_shape(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The tree that `function` would return, with a `ShapeDtypeStruct` for every array.

    Arguments are arrays, or `ShapeDtypeStruct` in their places: the function is traced, and nothing
    is computed or allocated.  Raises what tracing the function raises.

    >>> import gradloom as gl, numpy as np
    >>> gl.eval_shape(lambda x: x @ x.T, gl.ShapeDtypeStruct((10**6, 2), "float32"))
    ShapeDtypeStruct(shape=(1000000, 1000000), dtype=float32)
    """
    check_callable(function, "eval_shape")
    leaves, structure = flatten((args, kwargs))
    inputs = [Tensor(parameter(abstract(v, "an argument")), is_weak(v)) for v in leaves]
    with recording(Trace()):
        given, named = unflatten(structure, inputs)
        result = function(*given, **named)
        return tree_map(_struct, result)


def _struct(value: Any) -> ShapeDtypeStruct:
    kind = type_of(value, "the result")
    return ShapeDtypeStruct(kind.shape, kind.dtype)
