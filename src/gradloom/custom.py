"""`gl.custom_vjp` and `gl.custom_jvp`: functions that bring their own derivative."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff.forward import kind_of, zeros
from gradloom.calling import Signature, call
from gradloom.errors import (
    StateError,
    StructureError,
    message,
    user_where,
)
from gradloom.frontend.pytree import Structure, flatten, paths
from gradloom.frontend.trace import current, type_of
from gradloom.rules import Forward, Reverse, name_of
from gradloom.transform import check_callable, positions


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
        rule = Reverse(bound.of(self.function), bound.of(self.forward), self.backward, fixed)
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
        rule = Forward(bound.of(self.function), self.rule, fixed)
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
                    f"{name_of(function)} takes {', '.join(found.kwargs)} by keyword only",
                    user_where(),
                    "let a function with its own derivative take its arguments by position",
                )
            )
    places = positions(nondiff, len(args), "nondiff_argnums")
    fixed = {place: args[place] for place in places}
    rest = tuple(a for i, a in enumerate(args) if i not in fixed)
    leaves, structure = flatten(rest)
    for leaf, path in zip(leaves, paths(structure), strict=True):
        type_of(leaf, f"the argument at {path}")
    return tuple(fixed[p] for p in places), leaves, _Binding(fixed, structure)


def _without_rule(function: Any, kind: str, what: str) -> StateError:
    name = name_of(function)
    return StateError(
        message(
            f"{name} is a {kind} without a rule",
            user_where(),
            f"call {name}.{what} before {name} itself",
        )
    )
