"""What a call of a `custom_vjp` or `custom_jvp` does in a sweep, and what its rules may return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.autodiff.forward import kind_of, transposed, zeros
from gradloom.autodiff.reverse import close, mark, pull
from gradloom.calling import Batched, Signature
from gradloom.errors import (
    GradloomError,
    ShapeError,
    StructureError,
    TracingError,
    Where,
    message,
    user_where,
)
from gradloom.frontend.pytree import flatten, paths
from gradloom.frontend.record import Record
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import type_of
from gradloom.ir.graph import Graph
from gradloom.ir.types import TensorType, TupleType
from gradloom.ops.call import Rule


def name_of(function: Any) -> str:
    """What errors call a function."""
    return str(getattr(function, "__name__", "the function"))


class Reverse:
    """The rule of a call of a `custom_vjp`."""

    def __init__(
        self,
        signature: Signature,
        forward: Signature,
        backward: Callable[..., Any],
        fixed: tuple[Any, ...],
    ) -> None:
        self.signature = signature
        self.forward = forward
        self.backward = backward
        self.fixed = fixed
        self.where = user_where()

    def __str__(self) -> str:
        return f"custom_vjp({name_of(self.signature.function)})"

    def run(self, *arrays: Any) -> tuple[Any, ...]:
        """The function, on a tape."""
        return _run(self, arrays)

    def vjp(self, body: Graph | None, g: Any, out: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """What `backward` returns, a cotangent for each leaf."""
        found = self.forward.function(*self.forward.arguments(inputs))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise _misfit(self, "forward", f"returned {_shown(found)}", "(out, residuals)")
        _check_results(self, "forward", found[0], out)
        kinds = list(map(kind_of, out))
        whole = [zeros(_smooth(k)) if one is None else one for one, k in zip(g, kinds, strict=True)]
        back = self.backward(*self.fixed, found[1], self.signature.results(whole))
        pulled = _cotangents(self, back, inputs)
        return (*pulled, *_unknown(self, inputs, len(pulled)))

    def jvp(
        self, body: Graph | None, tangents: Any, out: Any, inputs: Sequence[Any]
    ) -> tuple[Any, ...]:
        """The transpose of `backward`."""
        kind = TupleType(tuple(map(kind_of, out)))
        found: tuple[Any, ...] = transposed(
            lambda g: self.vjp(body, g, out, inputs), kind, tangents, inputs
        )
        return found

    def batched(self, body: Graph, size: int, flags: Sequence[bool]) -> Rule:
        """The same for every example."""
        return Batched(self, body, size, tuple(flags))


class Forward:
    """The rule of a call of a `custom_jvp`."""

    def __init__(
        self, signature: Signature, rule: Callable[..., Any], fixed: tuple[Any, ...]
    ) -> None:
        self.signature = signature
        self.rule = rule
        self.fixed = fixed
        self.where = user_where()

    def __str__(self) -> str:
        return f"custom_jvp({name_of(self.signature.function)})"

    def run(self, *arrays: Any) -> tuple[Any, ...]:
        """The function, on a tape."""
        return _run(self, arrays)

    def jvp(
        self, body: Graph | None, tangents: Any, out: Any, inputs: Sequence[Any]
    ) -> tuple[Any, ...]:
        """What the rule returns, a tangent for each floating leaf."""
        count = len(flatten(self.signature.arguments(inputs))[0])
        errors = _unknown(self, inputs, count)
        for tangent, error in zip(tangents[count:], errors, strict=True):
            if tangent is not None:
                raise error
        along = [
            zeros(_smooth(kind_of(x))) if t is None else t
            for t, x in zip(tangents, inputs, strict=True)
        ]
        arguments = self.signature.arguments
        found = self.rule(*self.fixed, arguments(inputs), arguments(along))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise _misfit(self, "rule", f"returned {_shown(found)}", "(out, tangent)")
        _check_results(self, "rule", found[0], out)
        leaves = _check_results(self, "rule", found[1], out, "a tangent")
        pairs = zip(leaves, out, strict=True)
        return tuple(t if kind_of(o).is_inexact else None for t, o in pairs)

    def vjp(self, body: Graph | None, g: Any, out: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The transpose of the rule."""
        count = len(flatten(self.signature.arguments(inputs))[0])
        smooth = [i for i in range(count) if kind_of(inputs[i]).is_inexact]
        marks = mark([zeros(kind_of(inputs[i])) for i in smooth])
        try:
            along: list[Any] = [None] * len(inputs)
            for i, m in zip(smooth, marks, strict=True):
                along[i] = m
            pushed = self.jvp(body, along, out, inputs)
            found = pull(list(pushed), marks, list(g))
        finally:
            close(marks)
        pulled: list[Any] = [None] * count
        for i, one in zip(smooth, found, strict=True):
            pulled[i] = one
        return (*pulled, *_unknown(self, inputs, count))

    def batched(self, body: Graph, size: int, flags: Sequence[bool]) -> Rule:
        """The same for every example."""
        return Batched(self, body, size, tuple(flags))


# ---- what rules return


def _run(rule: Any, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Of a tape that no argument is on, only a value closed over can make a result."""
    results: tuple[Any, ...] = rule.signature.run(*arrays)
    known = set(map(_level, arrays))
    for value in results:
        if _level(value) not in known | {None}:
            raise closed_over(rule, value, rule.where)
    return results


def _level(value: Any) -> int | None:
    """The tape that a value is on, if it is on one."""
    return value.node.level if isinstance(getattr(value, "node", None), Record) else None


def _smooth(kind: TensorType) -> TensorType:
    return kind if kind.is_inexact else TensorType(kind.shape, "float64")


def _unknown(rule: Any, inputs: Sequence[Any], count: int) -> list[GradloomError]:
    """Errors in place of the derivatives by what a function closes over."""
    return [closed_over(rule, value, rule.where) for value in inputs[count:]]


def closed_over(rule: Any, value: Any, where: Where) -> TracingError:
    """The error of a derivative by what a function closes over."""
    return TracingError(
        message(
            f"{rule} closes over a value ({kind_of(value)}) that the derivative is by; its rule"
            " knows arguments alone",
            where,
            "pass the value as an argument, or cover it with gl.stop_gradient",
        )
    )


def _shown(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return "an array"
    return f"a {type(value).__name__}"


def _misfit(rule: Any, part: str, what: str, wanted: str) -> StructureError:
    return StructureError(
        message(f"the {part} of {rule} {what}", rule.where, f"let it return {wanted}")
    )


def _check_results(
    rule: Any, part: str, found: Any, out: Sequence[Any], what: str = "a value"
) -> list[Any]:
    """The leaves of what a rule says the results are, or their tangents."""
    leaves, tree = flatten(found)
    wanted = rule.signature.tree
    if tree != wanted:
        raise _misfit(
            rule, part, f"returned {what} with the structure {tree}", f"{wanted}, as the function"
        )
    for leaf, value, path in zip(leaves, out, paths(tree), strict=True):
        kind, own = type_of(leaf, f"the {part} of {rule}"), kind_of(value)
        if kind.shape != own.shape:
            raise ShapeError(
                message(
                    f"the {part} of {rule} returned {what} of type {kind} at {path}, the function"
                    f" {own}",
                    rule.where,
                    "let it return the shapes of the function's results",
                )
            )
    return leaves


def _cotangents(rule: Reverse, back: Any, inputs: Sequence[Any]) -> list[Any]:
    """The leaves of what `backward` returned; None stands for a whole argument of zeros."""
    args = rule.signature.arguments(inputs)
    if not isinstance(back, tuple | list) or len(back) != len(args):
        shown = f"{len(back)} values" if isinstance(back, tuple | list) else _shown(back)
        raise _misfit(
            rule, "backward", f"returned {shown}", f"a tuple of {len(args)}, one an argument"
        )
    pulled: list[Any] = []
    for number, (arg, one) in enumerate(zip(args, back, strict=True)):
        leaves, structure = flatten(arg)
        if one is None:
            pulled += [None] * len(leaves)
            continue
        found, tree = flatten(one)
        if tree != structure:
            raise _misfit(
                rule,
                "backward",
                f"returned a cotangent with the structure {tree} for argument {number}",
                f"{structure}, as the argument, or None for zeros",
            )
        for leaf, value in zip(found, leaves, strict=True):
            pulled.append(_cotangent(rule, leaf, value, number))
    return pulled


def _cotangent(rule: Reverse, leaf: Any, value: Any, number: int) -> Any:
    kind, own = type_of(leaf, f"the backward of {rule}"), kind_of(value)
    if kind.shape != own.shape:
        raise ShapeError(
            message(
                f"the backward of {rule} returned a cotangent of type {kind} for argument {number},"
                f" which is {own}",
                rule.where,
                "give it the shape of the argument",
            )
        )
    return leaf if own.is_inexact else None
