"""Making the row of an elementwise operator, and its public function with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.frontend.apply import apply
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.types import PART, TensorType
from gradloom.ops.public import public, wrong_shape

Function = Callable[..., Any]


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of operands; `ShapeError` if there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        shown = " with ".join(map(str, shapes))
        raise wrong_shape(
            f"shapes do not broadcast: {shown}",
            "sizes must agree from the right, or be 1; add axes with x[:, None] or reshape",
        ) from None


def elementwise(
    name: str,
    reference: Function,
    spelling: str,
    lanes: Function,
    vjp: Function | None = None,
    listed: bool = True,
    **facts: Any,
) -> Function:
    """Define a row and return its function, which is public if it is `listed`."""
    returns = facts.get("returns", "same")

    def infer(*types: TensorType, **attrs: Any) -> TensorType:
        found = {"same": types[-1].dtype, "real": PART.get(types[-1].dtype, types[-1].dtype)}
        dtype = attrs.get("dtype") or found.get(returns, returns)
        return TensorType(broadcast_shape(*(t.shape for t in types)), dtype)

    operands = 1 + max(i for i in range(3) if f"{{{i}}}" in spelling)
    meaning = (infer, reference, vjp, spelling, lanes)
    row = define(Op(name, Kind.ELEMENTWISE, *meaning, operands=operands, **facts))

    def function(*args: Any) -> Any:
        if len(args) != operands:
            raise TypeError(f"{name}() takes {operands} arguments, but {len(args)} were given")
        return apply(row, *args)

    function.__name__ = function.__qualname__ = name
    function.__signature__ = _takes(operands)  # type: ignore[attr-defined]
    shown = _bare(spelling.format("x", "y", "z", dtype="dtype"))
    function.__doc__ = f"`{shown}`, element by element, with broadcasting."
    if listed:
        public(*([reference] if isinstance(reference, np.ufunc) else []))(function)
    return function


def _bare(text: str) -> str:
    """An expression without brackets around all of it."""
    inner = text[1:-1]
    whole = text.startswith("(") and all(
        inner[:n].count("(") >= inner[:n].count(")") for n in range(1, len(inner) + 1)
    )
    return inner if whole and text.endswith(")") else text


def _takes(count: int) -> inspect.Signature:
    """What `help` shows: `(x, y, /)`."""
    names = ("condition", "x", "y") if count == 3 else ("x", "y")[:count]
    return inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    )
