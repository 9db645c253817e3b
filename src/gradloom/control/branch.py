"""Branches: `switch` and `cond`, and the row behind them.

The derivative of a branch is a branch between derivatives, each of which computes again what it
needs of its own; so nothing is kept for branches that are not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.autodiff.forward import push, zeros
from gradloom.autodiff.reverse import pull
from gradloom.control.body import Body, Leaf, check_alike, close_over, in_trace, mapped, trace_body
from gradloom.control.outside import concrete, traced
from gradloom.errors import DtypeError, RangeError, ShapeError, message, user_where
from gradloom.frontend.apply import apply_many
from gradloom.frontend.pytree import flatten, unflatten
from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.frontend.trace import EAGER, current, lift, type_of
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.node import Node
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.source import parameter
from gradloom.ir.types import INTEGERS, TensorType, TupleType
from gradloom.ops.elementwise import astype, maximum, minimum, multiply, where
from gradloom.ops.move import reshape
from gradloom.ops.public import as_operand


def cond(
    pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any
) -> Any:
    """`true_fun(*operands)` where the scalar `pred` is true, `false_fun(*operands)` where not.

    Only the one that is taken runs.  Both return the same structure, shapes and dtypes.  Under
    `gl.vmap` with a mapped `pred`, both run, and each element takes its own.

    Raises `ShapeError` if `pred` is no scalar, `StructureError`, `ShapeError` or `DtypeError` if
    the results differ.

    >>> import gradloom as gl
    >>> float(gl.cond(True, lambda x: x + 1, lambda x: x * 10, 2.0))
    3.0
    """
    _check_scalar(pred, "the condition of cond", ("bool", *INTEGERS))
    if current() is EAGER:
        return (true_fun if bool(concrete(pred)) else false_fun)(*operands)
    return traced(
        lambda p, rest: _switch(astype(as_operand(p) != 0, "int64"), (false_fun, true_fun), rest),
        pred,
        operands,
    )


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`branches[index](*operands)`; an index out of range takes the first or the last.

    See `cond`.

    >>> import gradloom as gl
    >>> float(gl.switch(1, [lambda x: x, lambda x: -x], 2.0))
    -2.0
    """
    functions = tuple(branches)
    if not functions:
        raise RangeError(message("switch of no branches", user_where(), "give it one or more"))
    _check_scalar(index, "the index of switch", INTEGERS)
    if current() is EAGER:
        chosen = min(max(int(concrete(index)), 0), len(functions) - 1)
        return functions[chosen](*operands)
    return traced(
        lambda i, rest: _switch(astype(as_operand(i), "int64"), functions, rest), index, operands
    )


def _check_scalar(value: Any, what: str, dtypes: tuple[str, ...]) -> None:
    kind = type_of(value, what)
    if kind.shape:
        repair = "reduce it with gnp.any or gnp.all, or choose element by element with gnp.where"
        raise ShapeError(message(f"{what} is {kind}, not a scalar", user_where(), repair))
    if kind.dtype not in dtypes:
        raise DtypeError(
            message(f"{what} is {kind}", user_where(), f"make it one of {', '.join(dtypes)}")
        )


def _switch(index: Any, functions: Sequence[Callable[..., Any]], operands: Any) -> Any:
    leaves, structure = flatten(operands)
    kinds = [Leaf.of(value) for value in leaves]
    bodies = [
        trace_body(lambda values, f=f: f(*unflatten(structure, values)), kinds, hoist=False)
        for f in functions
    ]
    first = _widest(bodies)
    wanted = bodies[0].structure, first
    for number, body in enumerate(bodies[1:], 1):
        of = f"the result of branch {number}"
        check_alike(of, (body.structure, _types(body, first)), "that of branch 0", wanted)
    free = dict.fromkeys(node for body in bodies for node in body.free)
    graphs = tuple(_aligned(body, tuple(free), first) for body in bodies)
    given = (*map(Tensor, free), *map(as_operand, leaves))
    return unflatten(bodies[0].structure, apply_many(SWITCH, index, *given, branches=graphs))


def _widest(bodies: Sequence[Body]) -> list[TensorType]:
    """The types of the results: a Python number takes the dtype that another branch has there."""
    found = list(bodies[0].types)
    for place, weak in enumerate(bodies[0].weak):
        for body in bodies[1:]:
            same = len(body.types) == len(found) and body.types[place].shape == found[place].shape
            if weak and same and not body.weak[place]:
                found[place] = body.types[place]
    return found


def _types(body: Body, wanted: Sequence[TensorType]) -> list[TensorType]:
    return [
        want if weak and want.shape == kind.shape else kind
        for kind, weak, want in zip(body.types, body.weak, wanted, strict=False)
    ] + list(body.types[len(wanted) :])


def _aligned(body: Body, free: tuple[Node, ...], types: Sequence[TensorType]) -> Graph:
    """A branch whose inputs are the free values of all branches, and of the dtypes agreed on."""
    own = dict(zip(body.free, body.graph.inputs, strict=False))
    inputs = tuple(own.get(node) or parameter(node.type) for node in free)
    outputs = tuple(
        lift(astype(Tensor(n), kind.dtype)) if n.type != kind else n
        for n, kind in zip(body.graph.outputs, types, strict=True)
    )
    return Graph((*inputs, *body.graph.inputs[len(body.free) :]), outputs)


# ---- the row


def _infer(index: TensorType, *types: TensorType, branches: tuple[Graph, ...]) -> TupleType:
    return TupleType(tuple(node.type for node in branches[0].outputs))


def _reference(index: Any, *arrays: Any, branches: tuple[Graph, ...]) -> tuple[Any, ...]:
    chosen = branches[min(max(int(index), 0), len(branches) - 1)]
    wide = any(
        np.asarray(a).dtype != n.type.dtype for a, n in zip(arrays, chosen.inputs, strict=True)
    )
    return tuple(interpret(chosen, *arrays, wide=wide))


def _vjp(
    g: tuple[Any, ...], out: Any, index: Any, *inputs: Any, branches: tuple[Graph, ...]
) -> tuple[Any, ...]:
    kinds = [node.type for node in branches[0].inputs]
    floats = [i for i, kind in enumerate(kinds) if kind.is_inexact]
    given = [value for value in g if value is not None]
    made = []
    outside: dict[Node, None] = {}
    for branch in branches:
        seeds = [parameter(value.node.type) for value in given]
        outs = [n for n, value in zip(branch.outputs, g, strict=True) if value is not None]
        marks = [Tensor(branch.inputs[i]) for i in floats]
        pulled = pull(list(map(Tensor, outs)), marks, list(map(Tensor, seeds)))
        nodes = [
            lift(zeros(m.node.type) if p is None else p) for m, p in zip(marks, pulled, strict=True)
        ]
        graph, free = close_over((*branch.inputs, *seeds), nodes)
        made.append((graph, free))
        outside |= dict.fromkeys(free)
    graphs = tuple(_with_free(graph, free, tuple(outside)) for graph, free in made)
    slopes = apply_many(SWITCH, index, *map(Tensor, outside), *inputs, *given, branches=graphs)
    found = dict(zip(floats, slopes, strict=True))
    return (None, *(found.get(i) for i in range(len(kinds))))


def _with_free(graph: Graph, free: tuple[Node, ...], everything: tuple[Node, ...]) -> Graph:
    """The graph with a parameter for each of `everything` in the place of those for `free`."""
    own = dict(zip(free, graph.inputs, strict=False))
    front = tuple(own.get(node) or parameter(node.type) for node in everything)
    return Graph((*front, *graph.inputs[len(free) :]), graph.outputs)


def _jvp(
    tangents: tuple[Any, ...], out: Any, index: Any, *inputs: Any, branches: tuple[Graph, ...]
) -> tuple[Any, ...]:
    moving = [i for i, t in enumerate(tangents[1:]) if t is not None]
    given = [tangents[1 + i] for i in moving]
    floats = [i for i, n in enumerate(branches[0].outputs) if n.type.is_inexact]
    made = []
    outside: dict[Node, None] = {}
    for branch in branches:
        slopes = [parameter(branch.inputs[i].type) for i in moving]
        marks = [Tensor(branch.inputs[i]) for i in moving]
        outs = [Tensor(branch.outputs[i]) for i in floats]
        pushed = push(outs, marks, list(map(Tensor, slopes)))
        nodes = [
            lift(zeros(o.node.type) if p is None else p) for o, p in zip(outs, pushed, strict=True)
        ]
        graph, free = close_over((*branch.inputs, *slopes), nodes)
        made.append((graph, free))
        outside |= dict.fromkeys(free)
    graphs = tuple(_with_free(graph, free, tuple(outside)) for graph, free in made)
    results = apply_many(SWITCH, index, *map(Tensor, outside), *inputs, *given, branches=graphs)
    found = dict(zip(floats, results, strict=True))
    return tuple(found.get(i) for i in range(len(branches[0].outputs)))


def _batch(
    size: int, batched: tuple[bool, ...], index: Any, *inputs: Any, branches: tuple[Graph, ...]
) -> tuple[Any, ...]:
    """One branch for a whole batch; if the index differs within it, all of them, and a choice."""
    flags = batched[1:]
    if batched[0]:
        every = [mapped(branch, size, flags, inputs) for branch in branches]
        last = len(branches) - 1
        chosen = minimum(maximum(index, 0), last)
        results = every[last]
        for number in range(last - 1, -1, -1):
            results = [
                where(reshape(chosen == number, (size,) + (1,) * (a.ndim - 1)), a, b)
                for a, b in zip(every[number], results, strict=True)
            ]
        return tuple(results)
    made = []
    for branch in branches:
        params = [
            parameter(TensorType((size, *n.type.shape), n.type.dtype) if b else n.type)
            for n, b in zip(branch.inputs, flags, strict=True)
        ]
        outs = mapped(branch, size, flags, list(map(Tensor, params)))
        made.append(close_over(params, [lift(out) for out in outs]))
    outside = dict.fromkeys(node for _, free in made for node in free)
    graphs = tuple(_with_free(graph, free, tuple(outside)) for graph, free in made)
    return apply_many(SWITCH, index, *map(Tensor, outside), *inputs, branches=graphs)


def _samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    """`x * w` or `sin(x) + w` or `w`."""
    kind = TensorType((3, 4), dtype)
    branches = []
    for number in range(3):
        x, w = parameter(kind), parameter(kind)
        result = (
            multiply(Tensor(x), Tensor(w))
            if number == 0
            else FUNCTIONS["sin"](Tensor(x)) + Tensor(w),
            Tensor(w),
        )
        branches.append(Graph((x, w), tuple(map(lift, result))))
    x, w = rng.uniform(-2, 2, (2, 3, 4)).astype(dtype)
    return [((np.int64(n), x, w), {"branches": tuple(branches)}) for n in (0, 1, 7)]


SWITCH: Op = define(
    Op(
        "switch",
        Kind.CONTROL,
        _infer,
        _reference,
        _vjp,
        accepts="float",
        flow="branch",
        jvp=_jvp,
        batch=_batch,
        samples=in_trace(_samples),
    )
)
