"""Loops of known length: `scan`, the row behind it, and its derivatives.

    carry, ys[t] = body(free, carry, xs[t])        for t = 0 ... length - 1, or backwards

The reverse sweep is a second scan the other way round.  What it needs of the first, the residuals,
is the frontier between the body's own nodes and those that its cotangents made; the first scan is
made anew so that it stacks them [Griewank and Walther, Evaluating Derivatives, 2nd ed., ch. 4], and
takes the place of the original (`passes.loops`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradloom.autodiff.batching import batch
from gradloom.autodiff.forward import push, zeros
from gradloom.autodiff.reverse import pull
from gradloom.control.body import close_over, in_trace
from gradloom.frontend.apply import apply_many
from gradloom.frontend.tensor import FUNCTIONS, Tensor
from gradloom.frontend.trace import lift
from gradloom.ir.graph import Graph, substitute, topological
from gradloom.ir.interpret import WIDE, interpret
from gradloom.ir.node import Node, fresh
from gradloom.ir.op import Kind, Op, define
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType, TupleType
from gradloom.ops.elementwise import add, multiply
from gradloom.ops.move import broadcast_to, expand_dims, moveaxis

Ids = tuple[Any, ...]

# What so many additions an element make anew of what is kept anyway is not kept: to write it in one
# sweep and to read it in the other costs as much, and more once the stacks outgrow a cache.
CHEAP = 4


@dataclass(frozen=True)
class Parts:
    """The operands or the body's parameters of a scan, by role."""

    free: tuple[Any, ...]
    carry: tuple[Any, ...]
    xs: tuple[Any, ...]


def parts(values: Sequence[Any], free: int, carries: int) -> Parts:
    values = tuple(values)
    return Parts(values[:free], values[free : free + carries], values[free + carries :])


def _infer(
    *types: TensorType, body: Graph, free: int, carries: int, length: int, **attrs: Any
) -> TupleType:
    results = [node.type for node in body.outputs]
    stacks = [TensorType((length, *kind.shape), kind.dtype) for kind in results[carries:]]
    return TupleType((*results[:carries], *stacks))


def _reference(
    *arrays: Any, body: Graph, free: int, carries: int, length: int, reverse: bool, **attrs: Any
) -> tuple[Any, ...]:
    given = parts(arrays, free, carries)
    wide = any(
        a.dtype != n.type.dtype
        for a, n in zip(map(np.asarray, given.free + given.carry), body.inputs, strict=False)
    )
    carry = [np.asarray(value) for value in given.carry]
    shapes = _infer(body=body, free=free, carries=carries, length=length).types[carries:]
    dtypes = [WIDE.get(t.dtype, t.dtype) if wide else t.dtype for t in shapes]
    stacks = [np.zeros(t.shape, d) for t, d in zip(shapes, dtypes, strict=True)]
    for t in reversed(range(length)) if reverse else range(length):
        found = interpret(body, *given.free, *carry, *(x[t] for x in given.xs), wide=wide)
        carry = found[:carries]
        for stack, value in zip(stacks, found[carries:], strict=True):
            stack[t] = value
    return (*carry, *stacks)


def make_scan(
    graph: Graph,
    given: Parts,
    length: int,
    reverse: bool,
    ids: Ids = (),
    primal: tuple[int, ...] = (),
) -> tuple[Any, ...]:
    """A scan's results.  `ids` name them: those of two scans that compute the same have one name.
    `primal` are the places, among its operands, of those of the scan that it was made from."""
    return apply_many(
        SCAN,
        *given.free,
        *given.carry,
        *given.xs,
        body=graph,
        free=len(given.free),
        carries=len(given.carry),
        length=length,
        reverse=reverse,
        ids=_named(ids, len(graph.outputs)),
        primal=primal,
    )


# ---- derivatives


def _vjp(
    g: tuple[Any, ...],
    out: Any,
    *inputs: Any,
    body: Graph,
    free: int,
    carries: int,
    length: int,
    reverse: bool,
    ids: Ids,
    primal: tuple[int, ...],
) -> tuple[Any, ...]:
    given, own = parts(inputs, free, carries), parts(body.inputs, free, carries)
    swept = _sweep(body, own, [value is not None for value in g], carries)
    # The forward scan once more, its residuals stacked; they may read what a rule brought with it.
    graph, outside = close_over(body.inputs, (*body.outputs, *swept.stacked))
    more = make_scan(
        graph,
        replace(given, free=(*map(Tensor, outside), *given.free)),
        length,
        reverse,
        (*_named(ids, len(body.outputs)), *(fresh() for _ in swept.stacked)),
        tuple(place + len(outside) for place in primal),
    )
    stacks = dict(zip(swept.stacked, more[len(body.outputs) :], strict=True))
    stacks |= dict(zip(own.xs, given.xs, strict=True))
    outer = dict(zip(own.free, map(lift, given.free), strict=True))
    seeds = [
        zeros(node.type) if value is None else value
        for node, value in zip(body.outputs[:carries], g[:carries], strict=True)
        if node.type.is_inexact
    ]
    nothing = [zeros(node.type) for node in swept.summed]
    graph, values = close_over((*swept.carry, *swept.totals, *swept.read, *swept.ys), swept.outputs)
    handed = tuple(map(Tensor, substitute(values, outer)))
    ys = tuple(value for value in g[carries:] if value is not None)
    results = make_scan(
        graph,
        Parts(handed, (*seeds, *nothing), (*(stacks[n] for n in swept.read), *ys)),
        length,
        not reverse,
    )
    found = dict(zip((*swept.floats, *swept.summed, *swept.xs), results, strict=True))
    return tuple(found.get(node) for node in body.inputs)


@dataclass(frozen=True)
class _Sweep:
    """One step of the reverse sweep, as nodes over the body's own."""

    carry: tuple[Node, ...]  # parameters: cotangents of the carries
    totals: tuple[Node, ...]  # parameters: sums of the free values' cotangents so far
    ys: tuple[Node, ...]  # parameters: cotangents of the stacked results
    read: tuple[Node, ...]  # of the body: what differs from step to step, and is needed
    stacked: tuple[Node, ...]  # those of them that the forward scan does not have as a stack
    outputs: tuple[Node, ...]  # cotangents of `floats`, sums for `summed`, cotangents of `xs`
    floats: tuple[Node, ...]
    summed: tuple[Node, ...]
    xs: tuple[Node, ...]


def _sweep(body: Graph, own: Parts, wanted: Sequence[bool], carries: int) -> _Sweep:
    results = body.outputs
    carry = {n: parameter(n.type) for n in own.carry if n.type.is_inexact}
    at_end = dict(zip(own.carry, results, strict=False))
    ys = {i: parameter(results[i].type) for i in range(carries, len(results)) if wanted[i]}
    outs = [at_end[n] for n in carry] + [results[i] for i in ys]
    seeds = [Tensor(n) for n in (*carry.values(), *ys.values())]
    marks = [Tensor(n) for n in body.inputs if n.type.is_inexact]
    pulled = pull(list(map(Tensor, outs)), marks, seeds)
    found = {m.node: g.node for m, g in zip(marks, pulled, strict=True) if g is not None}
    summed = tuple(n for n in own.free if n in found)
    totals = tuple(parameter(n.type) for n in summed)
    sums = [lift(add(Tensor(t), Tensor(found[n]))) for n, t in zip(summed, totals, strict=True)]
    backs = [found.get(n) or lift(zeros(n.type)) for n in carry]
    xs = tuple(n for n in own.xs if n in found)
    outputs = (*backs, *sums, *(found[n] for n in xs))
    made = (*carry.values(), *totals, *ys.values())
    read = _frontier(outputs, made, body, own)
    known = set(own.xs)
    return _Sweep(
        tuple(carry.values()),
        totals,
        tuple(ys.values()),
        read,
        tuple(n for n in read if n not in known),
        outputs,
        tuple(carry),
        summed,
        xs,
    )


def _frontier(
    outputs: Sequence[Node], cotangents: Sequence[Node], body: Graph, own: Parts
) -> tuple[Node, ...]:
    """The body's values that the sweep reads and that change from step to step.

    Views are taken apart, so that what is kept is no larger than what was computed.  What is cheap
    to compute of the rest is not kept.
    """
    moving = {*own.carry, *own.xs}
    linear = set(cotangents)
    for node in topological(outputs, (*body.inputs, *cotangents)):
        if node.op.apart or any(n in linear for n in node.inputs):
            linear.add(node)  # or computed again, so that it need not be kept
        elif any(n in moving for n in node.inputs):
            moving.add(node)
    whole = _met(outputs, moving, linear, set())
    kept, given = set(whole), set(own.xs)
    for node in topological(whole):
        if node in kept - given and _price(node, kept - {node} | given, moving) <= CHEAP:
            kept.discard(node)
    return _met(outputs, moving, linear, moving - kept - given)


def _met(
    outputs: Sequence[Node], moving: set[Node], linear: set[Node], again: set[Node]
) -> tuple[Node, ...]:
    """What of the body one meets first on the way back from `outputs`, except for views and for
    what is computed `again`."""
    found: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in moving and not _is_view(node) and node not in linear | again:
            found[node] = None
        elif node in linear or node in moving:
            stack += node.inputs
    return tuple(found)


def _price(node: Node, given: set[Node], moving: set[Node]) -> float:
    """Additions an element that a value takes when these are given; more than CHEAP if it takes
    other things."""
    if node in given or node not in moving:
        return 0
    if node.op.kind not in (Kind.ELEMENTWISE, Kind.MOVE) or node.op.apart:
        return math.inf
    total = float(node.op.cost) if node.op.kind is Kind.ELEMENTWISE else 0.0
    for operand in node.inputs:
        if total > CHEAP:
            break
        total += _price(operand, given, moving)
    return total


def _is_view(node: Node) -> bool:
    if node.op.kind is Kind.ITEM:
        return False
    return node.op.kind is Kind.MOVE and node.type.size >= node.inputs[0].type.size


def _jvp(
    tangents: tuple[Any, ...],
    out: Any,
    *inputs: Any,
    body: Graph,
    free: int,
    carries: int,
    length: int,
    reverse: bool,
    ids: Ids,
    primal: tuple[int, ...],
) -> tuple[Any, ...]:
    """One scan of values and tangents together."""
    own = parts(body.inputs, free, carries)
    moving = [
        node
        for node, t in zip(body.inputs, tangents, strict=True)
        if node.type.is_inexact and (t is not None or node in own.carry)
    ]
    slopes = {node: parameter(node.type) for node in moving}
    pushed = push(
        [Tensor(n) for n in body.outputs],
        [Tensor(n) for n in moving],
        [Tensor(slopes[n]) for n in moving],
    )
    found = dict(enumerate(pushed))
    ends = [i for i in range(carries) if body.outputs[i].type.is_inexact]
    rows = [i for i in range(carries, len(body.outputs)) if found[i] is not None]
    sloped = {i: lift(zeros(body.outputs[i].type) if found[i] is None else found[i]) for i in ends}
    sloped |= {i: lift(found[i]) for i in rows}
    both = dict(zip(body.inputs, tangents, strict=True))
    more = [_with_slopes(nodes, slopes) for nodes in (own.free, own.carry, own.xs)]
    values = dict(zip(body.inputs, inputs, strict=True))
    values |= {
        slopes[n]: zeros(values[n].node.type) if both[n] is None else both[n] for n in moving
    }
    results = (*body.outputs[:carries], *(sloped[i] for i in ends))
    results += (*body.outputs[carries:], *(sloped[i] for i in rows))
    flat = [node for nodes in more for node in nodes]
    graph, outside = close_over(flat, results)
    handed = tuple(map(Tensor, outside))
    given = Parts(*(tuple(values[n] for n in nodes) for nodes in more))
    ids = _named(ids, len(body.outputs))
    names = (*ids[:carries], *(fresh() for _ in ends), *ids[carries:], *(fresh() for _ in rows))
    places = {n: len(handed) + i for i, n in enumerate(flat)}
    old = tuple(places[n] for n in body.inputs)
    whole = replace(given, free=handed + given.free)
    made = make_scan(graph, whole, length, reverse, names, old)
    at = carries + len(ends)
    sites = {i: carries + n for n, i in enumerate(ends)}
    sites |= {i: at + len(body.outputs) - carries + n for n, i in enumerate(rows)}
    return tuple(made[sites[i]] if i in sites else None for i in range(len(body.outputs)))


def _with_slopes(nodes: tuple[Node, ...], slopes: dict[Node, Node]) -> tuple[Node, ...]:
    return (*nodes, *(slopes[n] for n in nodes if n in slopes))


def _batch(
    size: int,
    batched: tuple[bool, ...],
    *inputs: Any,
    body: Graph,
    free: int,
    carries: int,
    length: int,
    reverse: bool,
    ids: Ids,
    primal: tuple[int, ...],
) -> tuple[Any, ...]:
    """A scan of whole batches.  A carry is one if it begins as one or becomes one."""
    given, own = parts(inputs, free, carries), parts(body.inputs, free, carries)
    whole = dict(zip(body.inputs, batched, strict=True))
    while True:
        params = [
            parameter(TensorType((size, *n.type.shape), n.type.dtype)) if whole[n] else n
            for n in body.inputs
        ]
        mapped = [n for n in body.inputs if whole[n]]
        values = [Tensor(p) for n, p in zip(body.inputs, params, strict=True) if whole[n]]
        outs = batch(list(map(Tensor, body.outputs)), list(map(Tensor, mapped)), values, size)
        grown = [n for n, o in zip(own.carry, outs, strict=False) if o is not None and not whole[n]]
        if not grown:
            break
        whole |= dict.fromkeys(grown, True)
    kept = [
        o if o is not None else Tensor(n) if i < carries and not whole[own.carry[i]] else None
        for i, (o, n) in enumerate(zip(outs, body.outputs, strict=True))
    ]
    results = [
        lift(_repeated(Tensor(n), size) if o is None else o)
        for o, n in zip(kept, body.outputs, strict=True)
    ]
    graph, outside = close_over(params, results)
    flags = dict(zip(body.inputs, batched, strict=True))
    # The batch's axis stands first, but a scan runs over that of its rows.
    rows = [moveaxis(x, 0, 1) if flags[n] else x for n, x in zip(own.xs, given.xs, strict=True)]
    begun = [
        _repeated(x, size) if whole[n] and not flags[n] else x
        for n, x in zip(own.carry, given.carry, strict=True)
    ]
    handed = (*map(Tensor, outside), *given.free)
    names = tuple((id_, size, batched) for id_ in ids)
    places = tuple(place + len(outside) for place in primal)
    whole_rows = Parts(handed, tuple(begun), tuple(rows))
    made = make_scan(graph, whole_rows, length, reverse, names, places)
    last = [x if whole[n] else _repeated(x, size) for n, x in zip(own.carry, made, strict=False)]
    return (*last, *(moveaxis(y, 1, 0) for y in made[carries:]))


def _repeated(x: Any, size: int) -> Any:
    return broadcast_to(expand_dims(x, 0), (size, *x.shape))


def _named(ids: Ids, count: int) -> Ids:
    """New names where there are none."""
    return ids or tuple(fresh() for _ in range(count))


def _samples(rng: np.random.Generator, dtype: str) -> list[Any]:
    """`c, y = c * w / 4 + sin(x), c * c * x`, both ways: a carry that stays small."""
    kind = TensorType((3,), dtype)
    w, c, x = (parameter(kind) for _ in range(3))
    quarter = multiply(Tensor(w), 0.25)
    results = (
        add(multiply(Tensor(c), quarter), FUNCTIONS["sin"](Tensor(x))),
        multiply(multiply(Tensor(c), Tensor(c)), Tensor(x)),
        Tensor(x),
    )
    body = Graph((w, c, x), tuple(map(lift, results)))
    attrs = {"body": body, "free": 1, "carries": 1, "ids": (), "primal": ()}
    w0, c0, *xs = rng.uniform(-2, 2, (7, 3)).astype(dtype)
    return [
        ((w0, c0, np.array(xs)), {**attrs, "length": 5, "reverse": False}),
        ((w0, c0, np.array(xs)), {**attrs, "length": 5, "reverse": True}),
    ]


SCAN: Op = define(
    Op(
        "scan",
        Kind.CONTROL,
        _infer,
        _reference,
        _vjp,
        accepts="float",
        flow="for",
        jvp=_jvp,
        batch=_batch,
        samples=in_trace(_samples),
    )
)
