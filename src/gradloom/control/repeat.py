"""Loops of unknown length: `while_loop`, and the row behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.autodiff.batching import spread
from gradloom.autodiff.forward import push, zeros
from gradloom.control.body import Leaf, check_alike, close_over, in_trace, mapped, trace_body
from gradloom.control.outside import concrete, traced
from gradloom.errors import ShapeError, message, user_where
from gradloom.frontend.apply import apply_many
from gradloom.frontend.pytree import flatten, unflatten
from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.frontend.trace import EAGER, current, lift, type_of
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType, TupleType
from gradloom.ops.elementwise import add, astype, less, multiply, where
from gradloom.ops.move import reshape
from gradloom.ops.public import as_operand
from gradloom.ops.reduce import any_


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any
) -> Any:
    """`value = body_fun(value)` for as long as `cond_fun(value)`, a scalar, is true.

    `init_val` is a pytree, whose structure, shapes and dtypes stay.  It can be differentiated
    forwards (`gl.jvp`), and mapped; backwards it cannot, since nobody knows how much to keep: use
    `scan` or `fori_loop` with a fixed number of rounds.

    >>> import gradloom as gl
    >>> float(gl.while_loop(lambda v: v < 100, lambda v: v * 2, 3.0))
    192.0
    """
    if current() is EAGER:
        while bool(concrete(cond_fun(init_val))):
            init_val = body_fun(init_val)
        return init_val
    return traced(lambda start: _while(cond_fun, body_fun, start), init_val)


def _while(cond_fun: Callable[..., Any], body_fun: Callable[..., Any], init: Any) -> Any:
    first, structure = flatten(init)
    leaves = [Leaf.of(value) for value in first]

    def again(values: list[Any]) -> Any:
        flag = cond_fun(unflatten(structure, values))
        kind = type_of(flag, "what the condition of while_loop returns")
        if kind.shape:
            what = f"the condition of while_loop is {kind}, not a scalar"
            raise ShapeError(message(what, user_where(), "reduce it with gnp.any or gnp.all"))
        return astype(as_operand(flag) != 0, "int64")

    def step(values: list[Any]) -> Any:
        return body_fun(unflatten(structure, values))

    body = trace_body(step, leaves, hoist=True)
    wider = [
        Leaf(kind) if leaf.weak and kind.shape == leaf.type.shape else leaf
        for leaf, kind in zip(leaves, body.types, strict=False)
    ]
    if len(wider) == len(leaves) and wider != leaves:
        leaves = wider
        body = trace_body(step, leaves, hoist=True)
    check_alike(
        "the value that the body returns",
        (body.structure, body.types),
        "the one that it was given",
        (structure, [leaf.type for leaf in leaves]),
    )
    test = trace_body(again, leaves, hoist=True)
    start = [
        astype(as_operand(value), leaf.type.dtype) if type_of(value) != leaf.type else value
        for value, leaf in zip(first, leaves, strict=True)
    ]
    results = apply_many(
        WHILE,
        *map(Tensor, (*test.free, *body.free)),
        *map(as_operand, start),
        test=test.graph,
        body=body.graph,
        free=len(test.free) + len(body.free),
        test_free=len(test.free),
        carries=len(start),
    )
    return unflatten(structure, results)


def _infer(*types: TensorType, body: Graph, **attrs: Any) -> TupleType:
    return TupleType(tuple(node.type for node in body.outputs))


def _reference(
    *arrays: Any, test: Graph, body: Graph, free: int, test_free: int, carries: int
) -> tuple[Any, ...]:
    carry = [np.asarray(a) for a in arrays[free:]]
    params = body.inputs[free - test_free :]
    wide = any(a.dtype != n.type.dtype for a, n in zip(carry, params, strict=True))
    while interpret(test, *arrays[:test_free], *carry, wide=wide)[0]:
        carry = interpret(body, *arrays[test_free:free], *carry, wide=wide)
    return tuple(carry)


def _jvp(
    tangents: tuple[Any, ...],
    out: Any,
    *inputs: Any,
    test: Graph,
    body: Graph,
    free: int,
    test_free: int,
    carries: int,
) -> tuple[Any, ...]:
    """One loop of values and tangents together."""
    of_body = tangents[test_free:]
    own = free - test_free
    moving = [
        i
        for i, (n, t) in enumerate(zip(body.inputs, of_body, strict=True))
        if n.type.is_inexact and (t is not None or i >= own)
    ]
    slopes = {i: parameter(body.inputs[i].type) for i in moving}
    marks = [Tensor(body.inputs[i]) for i in moving]
    pushed = push(list(map(Tensor, body.outputs)), marks, [Tensor(slopes[i]) for i in moving])
    ends = [i for i, n in enumerate(body.outputs) if n.type.is_inexact]
    results = (
        *body.outputs,
        *(lift(zeros(body.outputs[i].type) if pushed[i] is None else pushed[i]) for i in ends),
    )
    of_free = [i for i in moving if i < own]
    of_carry = [i for i in moving if i >= own]
    flat = (
        *body.inputs[:own],
        *(slopes[i] for i in of_free),
        *body.inputs[own:],
        *(slopes[i] for i in of_carry),
    )
    graph, outside = close_over(flat, results)
    extra = tuple(parameter(slopes[i].type) for i in of_carry)
    checked = Graph((*test.inputs, *extra), test.outputs)
    begun = [zeros(body.inputs[i].type) if of_body[i] is None else of_body[i] for i in of_carry]
    given = (*inputs[test_free:free], *(of_body[i] for i in of_free))
    made = apply_many(
        WHILE,
        *inputs[:test_free],
        *map(Tensor, outside),
        *given,
        *inputs[free:],
        *begun,
        test=checked,
        body=graph,
        free=test_free + len(outside) + len(given),
        test_free=test_free,
        carries=carries + len(begun),
    )
    found = dict(zip(ends, made[carries:], strict=True))
    return tuple(found.get(i) for i in range(carries))


def _batch(
    size: int,
    batched: tuple[bool, ...],
    *inputs: Any,
    test: Graph,
    body: Graph,
    free: int,
    test_free: int,
    carries: int,
) -> tuple[Any, ...]:
    """A loop of whole batches, until all of their members are done; who is done keeps its value."""
    own = free - test_free
    whole = [True] * carries
    params = [parameter(TensorType((size, *n.type.shape), n.type.dtype)) for n in body.inputs[own:]]
    carry = list(map(Tensor, params))
    of_test = (*inputs[:test_free], *carry)
    (again,) = mapped(test, size, (*batched[:test_free], *whole), of_test)
    after = mapped(
        body, size, (*batched[test_free:free], *whole), (*inputs[test_free:free], *carry)
    )
    kept = [
        where(reshape(again != 0, (size,) + (1,) * (new.ndim - 1)), new, old)
        for new, old in zip(after, carry, strict=True)
    ]
    checked, test_outside = close_over(params, [lift(astype(any_(again != 0), "int64"))])
    graph, outside = close_over(params, [lift(value) for value in kept])
    return apply_many(
        WHILE,
        *map(Tensor, (*test_outside, *outside)),
        *spread(size, batched[free:], inputs[free:]),
        test=checked,
        body=graph,
        free=len(test_outside) + len(outside),
        test_free=len(test_outside),
        carries=carries,
    )


def _samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    """`while n < 3: n, x = n + 1, sin(x * w)`, and one that a float decides."""
    kind, count = TensorType((4,), dtype), TensorType((), "int64")
    n, x, w = parameter(count), parameter(kind), parameter(kind)
    step = (add(Tensor(n), 1), FUNCTIONS["sin"](multiply(Tensor(x), Tensor(w))))
    attrs = {
        "test": Graph((n, x), (lift(astype(less(Tensor(n), 3), "int64")),)),
        "body": Graph((w, n, x), tuple(map(lift, step))),
        "free": 1,
        "test_free": 0,
        "carries": 2,
    }
    x0, w0 = rng.uniform(-2, 2, (2, 4)).astype(dtype)
    return [((w0, np.int64(0), x0), attrs), ((w0, np.int64(5), x0), attrs)]


WHILE: Op = define(
    Op(
        "while_loop",
        Kind.CONTROL,
        _infer,
        _reference,
        accepts="float",
        flow="while",
        instead="use gl.scan, or gl.fori_loop with Python integers as bounds: how many rounds a"
        " while_loop runs, and so how much its reverse sweep must keep, is not known",
        jvp=_jvp,
        batch=_batch,
        samples=in_trace(_samples),
    )
)
