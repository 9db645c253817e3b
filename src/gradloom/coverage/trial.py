"""Facts about a function that tracing a call of it shows: its form, dtypes and derivatives.

A call is found by the names of the parameters that the function requires; what no name tells is
tried as a matrix, a vector, whole numbers and so on, and the first that traces is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradloom.coverage.calls import BY_NAME, CALLS, OPERANDS
from gradloom.errors import GradloomError
from gradloom.frontend.pytree import flatten, unflatten
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import type_of
from gradloom.ir.interpret import interpret
from gradloom.ir.op import Kind
from gradloom.ir.types import DTYPES
from gradloom.tracing import Leaf, Traced, record
from gradloom.transform import grad

# What a function may raise that is called with operands it is not for.
REFUSALS = (GradloomError, TypeError, ValueError, IndexError, AttributeError, KeyError)


@dataclass(frozen=True)
class Call:
    """Arguments of which the arrays are traced, the rest is as it stands."""

    function: Callable[..., Any]
    args: tuple[Any, ...]  # keyword arguments in a dict at the end

    @property
    def arrays(self) -> list[np.ndarray]:
        return [leaf for leaf in flatten(self.args)[0] if isinstance(leaf, np.ndarray)]

    def on(self, arrays: list[Any]) -> Any:
        """The result, of these in the places of the arrays."""
        leaves, structure = flatten(self.args)
        rest = iter(arrays)
        filled = [next(rest) if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]
        args = unflatten(structure, filled)
        named = args[-1] if args and isinstance(args[-1], dict) else {}
        return self.function(*args[: len(args) - bool(named)], **named)


@dataclass(frozen=True)
class Facts:
    """What a call showed; texts for the table."""

    form: str  # the one row that it is, or "composite"
    dtypes: str
    orders: str


NO_CALL = Facts("", "", "")


def facts(name: str, function: Callable[..., Any]) -> Facts:
    """The facts of a public function; `NO_CALL` if no call of it traces."""
    for call in candidates(name, function):
        traced = trial(call)
        if traced is not None:
            return Facts(form(traced), dtypes(call), orders(call, traced))
    return NO_CALL


def candidates(name: str, function: Callable[..., Any]) -> Iterator[Call]:
    if name in CALLS:
        yield Call(function, CALLS[name])
        return
    parameters = list(inspect.signature(function).parameters.values())
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    for operand in OPERANDS:
        args: list[Any] = []
        for parameter in required:
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            args.append(BY_NAME.get(parameter.name, operand))
        yield Call(function, tuple(args))


def trial(call: Call) -> Traced | None:
    """The graph of a call, if it has one."""
    return _record(call.on, call.arrays)


def _record(function: Callable[[list[Any]], Any], arrays: list[np.ndarray]) -> Traced | None:
    leaves = [Leaf(type_of(array)) for array in arrays]
    try:
        with np.errstate(all="ignore"):
            return record(lambda tensors: _values(function(tensors)), leaves)
    except REFUSALS:
        return None


def _values(result: Any) -> list[Any]:
    """The traced values and arrays of a result; a shape or a dtype is neither."""
    return [v for v in flatten(result)[0] if isinstance(v, Tensor | np.ndarray | np.generic)]


# ---- what a graph shows


def form(traced: Traced) -> str:
    """The row, if the function is one and nothing else; static if nothing is computed."""
    apart = (Kind.SOURCE, Kind.ITEM)
    rows = [node.op for node in traced.graph.nodes() if node.op.kind not in apart]
    if not rows:
        return "static" if not traced.graph.outputs else "composite"
    alone = len(rows) == 1 and rows[0].kind is not Kind.CALL
    return f"row `{rows[0].name}`" if alone else "composite"


def dtypes(call: Call) -> str:
    """The dtypes that all arrays of the call may have which are float64 in it, or its first."""
    arrays = call.arrays
    if not arrays:
        return ""
    varied = "float64" if any(a.dtype == "float64" for a in arrays) else arrays[0].dtype
    taken = [
        dtype
        for dtype in DTYPES
        if trial_of(call, [a.astype(dtype) if a.dtype == varied else a for a in arrays])
    ]
    return _grouped(taken)


def trial_of(call: Call, arrays: list[np.ndarray]) -> bool:
    return _record(call.on, arrays) is not None


def _grouped(taken: list[str]) -> str:
    """Dtypes, with a word for each kind that is there as a whole."""
    if len(taken) == len(DTYPES):
        return "any"
    words = []
    kinds = {"bool": "b", "integer": "iu", "float": "f", "complex": "c"}
    for word, letters in kinds.items():
        every = [dtype for dtype in DTYPES if np.dtype(dtype).kind in letters]
        there = [dtype for dtype in every if dtype in taken]
        words += [word] if there == every and there else there
    return ", ".join(words)


def orders(call: Call, traced: Traced) -> str:
    """How often the function can be differentiated: "any" once the rule of its gradient has one."""
    smooth = [node for node in traced.graph.outputs if node.type.dtype[:5] in ("float", "compl")]
    chosen = [i for i, a in enumerate(call.arrays) if a.dtype == "float64"]
    if not smooth or not chosen:
        return "0"
    first = _gradient(lambda arrays: weighted(call.on(arrays)), chosen)
    traced_first = _record(first, call.arrays)
    if traced_first is None:
        return "0"
    if not any(np.any(value) for value in _interpreted(traced_first, call.arrays)):
        return "piecewise constant"
    second = _gradient(lambda arrays: weighted(first(arrays)), chosen)
    return "any" if _record(second, call.arrays) is not None else "1"


def _gradient(function: Callable[[list[Any]], Any], chosen: list[int]) -> Callable[..., Any]:
    def gradient(arrays: list[Any]) -> Any:
        def of(*values: Any) -> Any:
            full = list(arrays)
            for i, value in zip(chosen, values, strict=True):
                full[i] = value
            return function(full)

        return grad(of, tuple(range(len(chosen))))(*(arrays[i] for i in chosen))

    return gradient


def weighted(result: Any) -> Any:
    """All smooth values as one number, each with its own weight."""
    total: Any = 0.0
    for value in _values(result):
        kind = np.dtype(value.dtype).kind
        if kind in "fc":
            shape = tuple(value.shape)
            weights = np.cos(np.arange(np.prod(shape, dtype=int)).reshape(shape) + 0.5)
            parts = (value,) if kind == "f" else (value.real, value.imag)
            for part in parts:
                total = total + (part * weights).sum()
    return total


def _interpreted(traced: Traced, arrays: list[np.ndarray]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return interpret(traced.graph, *arrays, *traced.captured)
