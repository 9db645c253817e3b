"""The traced value: the only class with operators, a thin cover over a node or a tape record."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from gradloom.device_array import DeviceArray
from gradloom.errors import MissingError, TracingError, message, user_where
from gradloom.frontend.record import Record
from gradloom.ir.node import Node
from gradloom.ir.source import PARAMETER
from gradloom.ir.table import Table

FUNCTIONS: Table[str, Callable[..., Any]] = Table()  # public functions by name, filled by `ops`
NUMPY: Table[Any, Callable[..., Any]] = Table()  # NumPy's callables -> ours, filled by `ops`
LATE: dict[str, str] = {}  # modules of NumPy's -> that which enters their callables


_signature = functools.cache(inspect.signature)  # 15 us, and a trace may ask for thousands


class Tensor:
    """A value inside a trace, or inside a gradient under `gradloom.eager`.

    NumPy's functions and operators work on it.  What needs a concrete value (a truth value, a
    Python number, an array) raises `TracingError`.  `weak` marks what stands for a Python number,
    an argument or what Python's operators make of such, and takes the dtype of what it meets.
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
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def T(self) -> Any:  # noqa: N802  (NumPy's name)
        return FUNCTIONS["transpose"](self)

    @property
    def at(self) -> Any:
        """`x.at[key].set(v)` and its like: copies of `x`, changed at `x[key]`."""
        return FUNCTIONS["at"](self)

    @property
    def flat(self) -> Any:
        return FUNCTIONS["ravel"](self)

    @property
    def mT(self) -> Any:  # noqa: N802
        return FUNCTIONS["matrix_transpose"](self)

    @property
    def real(self) -> Any:
        return FUNCTIONS["real"](self)

    @property
    def imag(self) -> Any:
        return FUNCTIONS["imag"](self)

    def __len__(self) -> int:
        if not self.shape:
            self._refuse("a 0-d traced value has no length", "it is one number; x.size is 1")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            self._refuse("a 0-d traced value has nothing to iterate over", "it is one number")
        return (self[i] for i in range(self.shape[0]))

    def __getitem__(self, key: Any) -> Any:
        return FUNCTIONS["getitem"](self, key)

    def __repr__(self) -> str:
        if isinstance(self.node, Record):
            return f"<taped {self.node.type}: {self.node.value}>"
        return f"<traced {self.node.type}>"

    def __format__(self, spec: str) -> str:
        if isinstance(self.node, Record):
            return format(self.node.value, spec)
        if spec:
            self._refuse(
                "a traced value has no digits to format",
                "return it and format the result, or run the function under gl.eager()",
            )
        return repr(self)

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self

    # ---- methods of ndarray that are not simply the function of that name

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return FUNCTIONS["astype"](self, dtype)

    def reshape(self, *shape: Any) -> Any:
        return FUNCTIONS["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        chosen = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else (axes or None)
        return FUNCTIONS["transpose"](self, chosen)

    def flatten(self, order: str = "C") -> Any:
        return FUNCTIONS["ravel"](self, order)

    def view(self, *args: Any) -> Any:
        self._refuse("view() reads memory that is not there yet", "use x.astype(dtype)")

    def copy(self, order: str = "C") -> Any:
        return self

    # ---- NumPy's protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        if method != "__call__":
            return self._by_method(ufunc, method, inputs, kwargs)
        if "out" in kwargs:
            self._refuse(
                f"np.{name} cannot write a traced value into an array in place",
                "make a new value: z = z + x instead of z += x or out=z",
            )
        if kwargs:
            self._refuse(
                f"np.{name} on a traced value takes no {', '.join(kwargs)}=",
                "use gnp.where for where=, and .astype() on an operand for dtype=",
            )
        return self._ours(ufunc)(*inputs)

    def _by_method(self, ufunc: Any, method: str, inputs: Any, given: dict[str, Any]) -> Any:
        """`np.add.reduce(x)` and its like, by the functions that mean the same."""
        name = f"np.{ufunc.__name__}.{method}"
        given = {key: v for key, v in given.items() if not (key == "out" and v == (None,))}
        if method == "outer" and not given:
            x, y = inputs
            ahead = tuple(range(np.ndim(x), np.ndim(x) + np.ndim(y)))
            return self._ours(ufunc)(FUNCTIONS["expand_dims"](x, ahead), y)
        ours = _BY_METHOD.get((ufunc.__name__, method))
        if ours is None:
            self._refuse(
                f"{name} has no traced form",
                "write it with the functions of gradloom.numpy; x.at[i].add(v) is np.add.at, and"
                " gl.associative_scan accumulates by any function",
            )
        given = {"axis": 0, **given}
        takes = _signature(FUNCTIONS[ours]).parameters
        if not set(given) <= set(takes):
            self._refuse(
                f"{name} on a traced value takes no {', '.join(set(given) - set(takes))}=",
                f"it is gnp.{ours}, which takes {', '.join(takes)}",
            )
        return FUNCTIONS[ours](*inputs, **given)

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        ours = self._ours(function)
        given = {name: v for name, v in kwargs.items() if name != "out" or v is not None}
        if "out" in given:
            self._refuse(
                f"np.{function.__name__} cannot write a traced value into an array in place",
                "leave out= away and use what it returns",
            )
        signature = _signature(ours)
        try:
            signature.bind(*args, **given)
        except TypeError as error:
            name, takes = function.__name__, ", ".join(signature.parameters)
            self._refuse(f"np.{name} on a traced value: {error}", f"it takes {name}({takes})")
        return ours(*args, **given)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        import gradloom.numpy as namespace  # the namespace is made of functions on this class

        return namespace

    def _ours(self, theirs: Any) -> Callable[..., Any]:
        home = getattr(theirs, "__module__", None) or "numpy"
        if theirs not in NUMPY and home in LATE:
            importlib.import_module(LATE[home])
        if theirs not in NUMPY:
            self._refuse(
                f"{home.replace('numpy', 'np', 1)}.{theirs.__name__} has no traced form",
                "write it with the functions of gradloom.numpy, which dir(gnp) lists",
            )
        return NUMPY[theirs]

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # what Python and NumPy probe for
            raise AttributeError(name)
        import difflib

        near = difflib.get_close_matches(name, dir(Tensor), 1) or ["shape"]
        raise MissingError(
            message(
                f"a traced value has no {name!r}{self.described()}",
                user_where(),
                f"write it with the functions of gradloom.numpy; methods include .{near[0]}",
            )
        )

    # ---- what a traced value cannot do

    def _refuse(self, what: str, repair: str) -> NoReturn:
        raise TracingError(message(what + self.described(), user_where(), repair))

    def described(self) -> str:
        """What it is and where it came from, for the text of an error."""
        if isinstance(self.node, Node) and self.node.op is PARAMETER:
            return f" (it is {self.node.type}, an argument)"
        made = f", made at {self.node.where}" if self.node.where else ""
        return f" (it is {self.node.type}{made})"

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        self._refuse(
            "NumPy asked for the elements of a traced value, which has none yet",
            "use gradloom.numpy (gnp.stack makes an array of traced values, gnp.take(x, i) reads an"
            " array at traced indices) or gradloom.random; if"
            " the trace is over, this value leaked out of it: return it instead of storing it",
        )

    def __contains__(self, value: Any) -> NoReturn:
        self._refuse("`in` needs concrete values", "use gnp.any(x == value)")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        self._refuse("a traced value cannot be pickled", "return it, and pickle the result")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        self._refuse(
            "a traced value cannot be assigned to in place",
            "write x = x.at[key].set(value), or gnp.where(mask, value, x)",
        )


# The functions that a ufunc's methods are.
_BY_METHOD = {
    ("add", "reduce"): "sum",
    ("multiply", "reduce"): "prod",
    ("maximum", "reduce"): "max",
    ("minimum", "reduce"): "min",
    ("logical_and", "reduce"): "all",
    ("logical_or", "reduce"): "any",
    ("logaddexp", "reduce"): "logsumexp",
    ("logaddexp", "accumulate"): "logcumsumexp",
    ("add", "accumulate"): "cumsum",
    ("multiply", "accumulate"): "cumprod",
    ("maximum", "accumulate"): "cummax",
    ("minimum", "accumulate"): "cummin",
}
_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "matmul": "matmul",
    "divmod": "divmod",
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
}
_METHODS = (
    *("ravel", "squeeze", "swapaxes", "repeat", "take", "diagonal", "trace"),
    *("sum", "prod", "mean", "var", "std", "max", "min", "ptp", "any", "all", "argmax", "argmin"),
    *("argsort", "argpartition", "searchsorted"),
    *("cumsum", "cumprod", "clip", "dot", "round", "nonzero", "compress", "choose"),
    *("conj", "conjugate"),
)
_REFUSED = {
    "bool": (
        "a traced value has no truth value",
        "use gnp.where(condition, a, b); branching on a shape or a Python value is fine",
    ),
    "float": (
        "float(), or a function of `math`, needs a concrete value",
        "use NumPy's function; or return the value, and convert the result",
    ),
    "int": (
        "int() needs a concrete value",
        "use x.astype('int64'); or return the value, and convert the result",
    ),
    "complex": ("complex() needs a concrete value", "return the value, and convert the result"),
    "round": ("round() makes a Python number", "use gnp.round(x)"),
    "floor": ("math.floor makes a Python number", "use gnp.floor(x)"),
    "ceil": ("math.ceil makes a Python number", "use gnp.ceil(x)"),
    "trunc": ("math.trunc makes a Python number", "use gnp.trunc(x)"),
    "index": (
        "a traced value cannot be a Python index or a size",
        "index a traced value with it, x[i], and an array with gnp.take(x, i) or"
        " gnp.at(x)[i].get(); or pass the number as a Python int",
    ),
}
_OPERANDS = (bool, int, float, complex, list, tuple, np.ndarray, np.generic, DeviceArray, Tensor)


def is_number(value: Any) -> bool:
    """Whether a value is a Python number, which has no dtype of its own; `np.float64` has one."""
    return isinstance(value, bool | int | float | complex) and not isinstance(value, np.generic)


def is_weak(value: Any) -> bool:
    """Whether a value is a Python number or stands for one."""
    return value.weak if isinstance(value, Tensor) else is_number(value)


def _forwarding(name: str, reflected: bool = False) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Any:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        if isinstance(other, list | tuple):
            other = np.asarray(other)
        pair = (other, self) if reflected else (self, other)
        out = FUNCTIONS[name](*pair)
        # Python's operators make Python numbers of Python numbers; functions make NumPy's.
        return _weakened(out) if self.weak and is_weak(other) else out

    return method


def _unary(name: str) -> Callable[..., Any]:
    def method(self: Tensor) -> Any:
        out = FUNCTIONS[name](self)
        return _weakened(out) if self.weak else out

    return method


def _weakened(out: Any) -> Any:
    return tuple(map(_weakened, out)) if isinstance(out, tuple) else Tensor(out.node, weak=True)


def _as_method(name: str) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return FUNCTIONS[name](self, *args, **kwargs)

    return method


def _refusing(what: str, repair: str) -> Callable[..., NoReturn]:
    def method(self: Tensor, *args: Any) -> NoReturn:
        self._refuse(what, repair)

    return method


for _dunder, _name in _BINARY.items():
    setattr(Tensor, f"__{_dunder}__", _forwarding(_name))
    setattr(Tensor, f"__r{_dunder}__", _forwarding(_name, reflected=True))
for _dunder, _name in _COMPARE.items():
    setattr(Tensor, f"__{_dunder}__", _forwarding(_name))
for _dunder, _name in _UNARY.items():
    setattr(Tensor, f"__{_dunder}__", _unary(_name))
for _name in _METHODS:
    setattr(Tensor, _name, _as_method(_name))
for _dunder, _reason in _REFUSED.items():
    setattr(Tensor, f"__{_dunder}__", _refusing(*_reason))
for _name in ("item", "tolist"):
    setattr(Tensor, _name, _refusing(f"{_name}() needs a concrete value", _REFUSED["complex"][1]))
for _name, _repair in {
    "fill": "use gnp.full_like(x, value)",
    "itemset": "write x = x.at[i].set(value)",
    "partition": "use gnp.sort(x)",
    "put": "write x = x.at[i].set(values)",
    "resize": "use gnp.resize(x, shape)",
    "sort": "write x = gnp.sort(x)",
    "byteswap": "do it outside of the traced function",
    "setfield": "do it outside of the traced function",
}.items():
    setattr(Tensor, _name, _refusing(f"{_name}() changes an array in place", _repair))
