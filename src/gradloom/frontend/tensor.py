"""The traced value: the only class with operators, a thin cover over one node or one tape record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from gradloom.errors import TracingError, message, user_where
from gradloom.frontend.record import Record
from gradloom.ir.node import Node

FUNCTIONS: dict[str, Callable[..., Any]] = {}  # public functions by name, filled by `ops`
NUMPY: dict[Any, Callable[..., Any]] = {}  # NumPy's callables -> ours, filled by `ops`


class Tensor:
    """A value inside a trace, or inside a gradient under `gradloom.eager`.

    NumPy's functions and operators work on it.  What needs a concrete value (a truth value, a
    Python number, an array) raises `TracingError`.  `weak` marks what came from a Python scalar
    and takes the dtype of what it meets.
    """

    __slots__ = ("node", "weak")
    __array_priority__ = 1000

    def __init__(self, node: Node | Record, weak: bool = False) -> None:
        self.node = node
        self.weak = weak

    # ---- known before it exists

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.node.type.dtype)

    @property
    def ndim(self) -> int:
        return self.node.type.ndim

    @property
    def size(self) -> int:
        return self.node.type.size

    @property
    def nbytes(self) -> int:
        return self.node.type.nbytes

    @property
    def T(self) -> Any:
        return FUNCTIONS["transpose"](self)

    @property
    def mT(self) -> Any:
        return FUNCTIONS["matrix_transpose"](self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d traced value")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<traced {self.node.type}>"

    def __hash__(self) -> int:
        return id(self)

    # ---- methods of ndarray that are not simply the function of that name

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return FUNCTIONS["astype"](self, dtype)

    def reshape(self, *shape: Any) -> Any:
        return FUNCTIONS["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        chosen = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else (axes or None)
        return FUNCTIONS["transpose"](self, chosen)

    def flatten(self) -> Any:
        return FUNCTIONS["ravel"](self)

    def copy(self) -> Any:
        return self

    # ---- NumPy's protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs:
            extra = f"its method {method}" if method != "__call__" else f"{', '.join(kwargs)}="
            self._refuse(
                f"np.{ufunc.__name__} on a traced value does not support {extra}",
                "call the plain function, without out=, where= or casting options",
            )
        return self._ours(ufunc)(*inputs)

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        return self._ours(function)(*args, **kwargs)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        import gradloom.numpy as namespace  # the namespace is made of functions on this class

        return namespace

    def _ours(self, theirs: Any) -> Callable[..., Any]:
        if theirs not in NUMPY:
            self._refuse(
                f"np.{theirs.__name__} has no traced form",
                "write it with the functions of gradloom.numpy, which lists what there is",
            )
        return NUMPY[theirs]

    # ---- what a traced value cannot do

    def _refuse(self, what: str, repair: str) -> NoReturn:
        made = self.node.where
        known = f"{what} (it is {self.node.type}, made at {made})" if made else what
        raise TracingError(message(known, user_where(), repair))

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        self._refuse(
            "NumPy asked for the elements of a traced value, which has none yet",
            "use the function of that name in gradloom.numpy; if the trace is over, this value"
            " leaked out of it: return it instead of storing it",
        )

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        self._refuse(
            "a traced value cannot be assigned to in place",
            "build a new one: gnp.where(mask, value, x), or gnp.concatenate of the parts",
        )


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "matmul": "matmul",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
_COMPARE = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
_UNARY = {
    "neg": "negative",
    "pos": "positive",
    "abs": "abs",
    "invert": "invert",
    "getitem": "getitem",
}
_METHODS = (
    "ravel squeeze swapaxes sum prod mean var std max min any all argmax argmin clip dot take"
    " repeat round"
).split()
_REFUSED = {
    "bool": (
        "a traced value has no truth value",
        "use gnp.where(condition, a, b); branching on a shape or a Python value is fine",
    ),
    "float": ("float() needs a concrete value", "keep it traced, or return it and convert"),
    "int": ("int() needs a concrete value", "keep it traced, or return it and convert"),
    "complex": ("complex() needs a concrete value", "keep it traced, or return it and convert"),
    "index": (
        "a traced value cannot be a Python index or a size",
        "index an array with it (x[i]), or pass the number as a Python int",
    ),
}
_OPERANDS = (bool, int, float, np.ndarray, np.generic, Tensor)


def _forwarding(name: str, reflected: bool = False) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Any:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        pair = (other, self) if reflected else (self, other)
        return FUNCTIONS[name](*pair)

    return method


def _as_method(name: str) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return FUNCTIONS[name](self, *args, **kwargs)

    return method


def _refusing(what: str, repair: str) -> Callable[[Tensor], NoReturn]:
    def method(self: Tensor) -> NoReturn:
        self._refuse(what, repair)

    return method


for _dunder, _name in _BINARY.items():
    setattr(Tensor, f"__{_dunder}__", _forwarding(_name))
    setattr(Tensor, f"__r{_dunder}__", _forwarding(_name, reflected=True))
for _dunder, _name in _COMPARE.items():
    setattr(Tensor, f"__{_dunder}__", _forwarding(_name))
for _dunder, _name in _UNARY.items():
    setattr(Tensor, f"__{_dunder}__", _as_method(_name))
for _name in _METHODS:
    setattr(Tensor, _name, _as_method(_name))
for _dunder, _reason in _REFUSED.items():
    setattr(Tensor, f"__{_dunder}__", _refusing(*_reason))
Tensor.item = _refusing("item() needs a concrete value", _REFUSED["float"][1])  # type: ignore[attr-defined]
Tensor.tolist = _refusing("tolist() needs a concrete value", _REFUSED["float"][1])  # type: ignore[attr-defined]
