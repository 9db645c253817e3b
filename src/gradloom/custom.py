"""`gl.custom_vjp` and `gl.custom_jvp`: functions that bring their own derivative."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.forward import kind_of, transposed, zeros
from gradloom.autodiff.reverse import close, mark, pull
from gradloom.calling import Batched, Signature, call
from gradloom.errors import (
    GradloomError,
    ShapeError,
    StateError,
    StructureError,
    TracingError,
    Where,
    message,
    user_where,
)
from gradloom.frontend.pytree import Structure, flatten, paths
from gradloom.frontend.trace import current, type_of
from gradloom.ir.graph import Graph
from gradloom.ir.types import TensorType, TupleType
from gradloom.ops.call import Rule
from gradloom.transform import check_callable


class custom_vjp:  # noqa: N801  (a decorator)
    """A function whose reverse sweep is given by hand.

    `defvjp(forward, backward)`: `forward(*args)` returns the function's value and residuals, any
    tree; `backward(residuals, cotangent)` returns a tuple with a cotangent for every argument, or
    None where that is zero.  Arguments `nondiff_argnums` may be anything; they are given to
    `forward` in their places, and to `backward` before all else.

    Forward sweeps use the transpose of `backward`.  Values that the function closes over have no
    derivative: asked for, it raises `TracingError`.  `StateError` if `defvjp` was forgotten,
    `StructureError` or `ShapeError` if what the rules return does not fit.

    >>> import gradloom as gl, numpy as np
    >>> @gl.custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, g: (np.clip(g, -1.0, 1.0),))
    >>> float(gl.grad(lambda x: 5.0 * clipped(x))(2.0))
    1.0
    """

    def __init__(self, function: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        check_callable(function, "custom_vjp")
        functools.update_wrapper(self, function)
        self.function = function
        self.nondiff_argnums = tuple(nondiff_argnums)
        self.forward: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Say how the reverse sweep goes; see the class."""
        for given in (forward, backward):
            check_callable(given, "defvjp")
        self.forward, self.backward = forward, backward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.forward is None or self.backward is None:
            raise _without_rule(self.function, "custom_vjp", "defvjp(forward, backward)")
        if current() is None:
            return self.function(*args, **kwargs)
        fixed, leaves, bound = _bound(self.function, self.nondiff_argnums, args, kwargs)
        rule = _Reverse(bound.of(self.function), bound.of(self.forward), self.backward, fixed)
        return call(rule, rule.signature, leaves)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


class custom_jvp:  # noqa: N801
    """A function whose derivative is given by hand.

    `defjvp(rule)`: `rule(primals, tangents)`, two tuples with an entry for every argument, returns
    the function's value and its tangent, which is linear in the tangents.  Both sweeps use it, the
    reverse one its transpose.  Arguments `nondiff_argnums` may be anything; they are given to the
    rule before all else.

    Values that the function closes over have no derivative: asked for, it raises `TracingError`.
    `StateError` if `defjvp` was forgotten, `StructureError` or `ShapeError` if what the rule
    returns does not fit.

    >>> import gradloom as gl, numpy as np
    >>> @gl.custom_jvp
    ... def safe_log(x):
    ...     return np.log(x)
    >>> @safe_log.defjvp
    ... def slope(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return safe_log(x), t / np.maximum(x, 0.1)
    >>> float(gl.grad(safe_log)(0.01))
    10.0
    """

    def __init__(self, function: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        check_callable(function, "custom_jvp")
        functools.update_wrapper(self, function)
        self.function = function
        self.nondiff_argnums = tuple(nondiff_argnums)
        self.rule: Callable[..., Any] | None = None

    def defjvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Say how tangents go; see the class.  Returns `rule`, so it can decorate."""
        check_callable(rule, "defjvp")
        self.rule = rule
        return rule

    def defjvps(self, *rules: Callable[..., Any] | None) -> None:
        """Say it argument by argument: `rule(tangent, value, *args)`, or None where it is zero.

        >>> import gradloom as gl, numpy as np
        >>> f = gl.custom_jvp(lambda x, y: x * y)
        >>> f.defjvps(lambda t, out, x, y: 10.0 * t * y, None)
        >>> [float(g) for g in gl.grad(f, (0, 1))(2.0, 3.0)]
        [30.0, 0.0]
        """

        def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
            out = self(*primals)
            pairs = zip(rules, tangents, strict=True)
            parts = [r(t, out, *primals) for r, t in pairs if r is not None]
            total = zeros(kind_of(out))
            for part in parts:
                total = total + part
            return out, total

        self.rule = rule

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.rule is None:
            raise _without_rule(self.function, "custom_jvp", "defjvp(rule)")
        if current() is None:
            return self.function(*args, **kwargs)
        fixed, leaves, bound = _bound(self.function, self.nondiff_argnums, args, kwargs)
        rule = _Forward(bound.of(self.function), self.rule, fixed)
        return call(rule, rule.signature, leaves)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


# ---- arguments


class _Binding:
    """Where the arguments stand that are not differentiated by."""

    def __init__(self, fixed: dict[int, Any], structure: Structure) -> None:
        self.fixed = fixed
        self.structure = structure

    def of(self, function: Callable[..., Any]) -> Signature:
        """`function` of the other arguments alone."""

        def called(*args: Any) -> Any:
            full = list(args)
            for place in sorted(self.fixed):
                full.insert(place, self.fixed[place])
            return function(*full)

        functools.update_wrapper(called, function)
        return Signature(called, self.structure)


def _bound(
    function: Callable[..., Any],
    nondiff: tuple[int, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], list[Any], _Binding]:
    if kwargs:  # by name is as good as by position
        found = inspect.signature(function).bind(*args, **kwargs)
        found.apply_defaults()
        args = found.args
        if found.kwargs:
            raise StructureError(
                message(
                    f"{_name(function)} takes {', '.join(found.kwargs)} by keyword only",
                    user_where(),
                    "let a function with its own derivative take its arguments by position",
                )
            )
    places = [n % len(args) for n in nondiff]
    fixed = {place: args[place] for place in places}
    rest = tuple(a for i, a in enumerate(args) if i not in fixed)
    leaves, structure = flatten(rest)
    for leaf, path in zip(leaves, paths(structure), strict=True):
        type_of(leaf, f"the argument at {path}")
    return tuple(fixed[p] for p in places), leaves, _Binding(fixed, structure)


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", "the function"))


def _without_rule(function: Any, kind: str, what: str) -> StateError:
    name = _name(function)
    return StateError(
        message(
            f"{name} is a {kind} without a rule",
            user_where(),
            f"call {name}.{what} before {name} itself",
        )
    )


# ---- the rules


class _Reverse:
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
        self.run = signature.run

    def __str__(self) -> str:
        return f"custom_vjp({_name(self.signature.function)})"

    def vjp(self, body: Graph | None, g: Any, out: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """What `backward` returns, a cotangent for each leaf."""
        found = self.forward.function(*self.forward.arguments(inputs))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise _misfit(self, "forward", f"returned a {type(found).__name__}", "(out, residuals)")
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


class _Forward:
    """The rule of a call of a `custom_jvp`."""

    def __init__(
        self, signature: Signature, rule: Callable[..., Any], fixed: tuple[Any, ...]
    ) -> None:
        self.signature = signature
        self.rule = rule
        self.fixed = fixed
        self.where = user_where()
        self.run = signature.run

    def __str__(self) -> str:
        return f"custom_jvp({_name(self.signature.function)})"

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
            raise _misfit(self, "rule", f"returned a {type(found).__name__}", "(out, tangent)")
        _check_results(self, "rule", found[0], out)
        leaves = _check_results(self, "rule", found[1], out, "a tangent")
        pairs = zip(leaves, out, strict=True)
        return tuple(t if kind_of(o).is_float else None for t, o in pairs)

    def vjp(self, body: Graph | None, g: Any, out: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The transpose of the rule."""
        count = len(flatten(self.signature.arguments(inputs))[0])
        smooth = [i for i in range(count) if kind_of(inputs[i]).is_float]
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


def _smooth(kind: TensorType) -> TensorType:
    return kind if kind.is_float else TensorType(kind.shape, "float64")


def _unknown(rule: Any, inputs: Sequence[Any], count: int) -> list[GradloomError]:
    """Errors in place of the derivatives by what a function closes over."""
    return [_closed_over(rule, value, rule.where) for value in inputs[count:]]


def _closed_over(rule: Any, value: Any, where: Where) -> TracingError:
    return TracingError(
        message(
            f"{rule} closes over a value ({kind_of(value)}) that the derivative is by; its rule"
            " knows arguments alone",
            where,
            "pass the value as an argument, or cover it with gl.stop_gradient",
        )
    )


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


def _cotangents(rule: _Reverse, back: Any, inputs: Sequence[Any]) -> list[Any]:
    """The leaves of what `backward` returned; None stands for a whole argument of zeros."""
    args = rule.signature.arguments(inputs)
    if not isinstance(back, tuple | list) or len(back) != len(args):
        shown = f"{len(back)} values" if isinstance(back, tuple | list) else type(back).__name__
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


def _cotangent(rule: _Reverse, leaf: Any, value: Any, number: int) -> Any:
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
    return leaf if own.is_float else None
