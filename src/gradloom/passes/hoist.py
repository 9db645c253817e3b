"""Sums that a loop makes round by round, made at once after it.

    acc <- acc + contract(a, b), in each round  ->  acc + contract(as, bs), over the rounds too

So the gradients of a recurrent layer's weights become one deep product each, instead of a thin one
and a pass over the whole gradient in each round.  What the products are made of must be kept, one
row a round: it is, where that is less to write than the sums that it spares.  Other sums stay: what
they are made of is in the cache while the round lasts.
"""

from __future__ import annotations

import functools
import math
import string
from dataclasses import dataclass

from gradloom.ir.graph import Graph, graphs_of, topological, users, with_graphs
from gradloom.ir.node import Node, make
from gradloom.ir.op import OPS, Kind
from gradloom.ir.source import ITEM
from gradloom.ops.arithmetic import add
from gradloom.ops.contract import CONTRACT
from gradloom.ops.move import TRANSPOSE
from gradloom.ops.reduce import SUM
from gradloom.passes.loops import prune_loops, rebuilt

ADD = OPS[add.__name__]

# Products that sum more than this in a round are left in the loop: what they cost beside their
# operations is then small, and the rows take memory.  A training step of an LSTM, time in the loop
# over time after it: batch 8, hidden 16 1.04; batch 32, hidden 64 0.93, hidden 128 0.98; a layer of
# 16 x 32 numbers with its gradient 1.05 to 1.2.
DEEPEST = 16
# Kept rows may take as much memory as the loop's operands and results do already, no more.
MEMORY = 1


def hoist_sums(graph: Graph) -> Graph:
    """Every carry that only adds up what a loop's rounds give is summed after the loop."""
    graph = rebuilt(graph, lambda n: with_graphs(n, hoist_sums) if graphs_of(n) else n)
    homes: dict[Node, _Hoisted] = {}
    for loop in graph.nodes():
        if loop.op.flow == "for" and (found := _hoisted(loop)) is not None:
            homes[loop] = found
    if not homes:
        return graph

    def moved(node: Node) -> Node:
        if node.op is not ITEM or node.inputs[0] not in homes:
            return node
        return homes[node.inputs[0]].result(node["index"])

    return prune_loops(rebuilt(graph, moved))


@dataclass(frozen=True)
class _Term:
    """One addend of a carry: a contraction of `operands`, whose axes have these labels, then
    `moves`, of which the last comes first."""

    node: Node
    operands: tuple[Node, ...]
    labels: tuple[str, ...]
    moves: tuple[Node, ...]


class _Hoisted:
    """A loop, and the sums that are made after it."""

    def __init__(self, loop: Node, sums: dict[int, list[_Term]]) -> None:
        self.loop, self.sums = loop, sums
        body = loop["body"]
        self.free, self.carries = loop["free"], loop["carries"]
        self.rows = dict(zip(body.inputs[self.free + self.carries :], self._xs(), strict=True))
        self.fixed = dict(zip(body.inputs[: self.free], loop.inputs, strict=False))
        wanted = (v for terms in sums.values() for t in terms for v in t.operands)
        there = body.outputs[self.carries :]
        self.kept = [v for v in dict.fromkeys(wanted) if v not in self.rows and v not in self.fixed]
        self.fresh = [v for v in self.kept if v not in there]

    def _xs(self) -> tuple[Node, ...]:
        return self.loop.inputs[self.free + self.carries :]

    @property
    def pays(self) -> bool:
        """Whether the rows to keep are less than the sums to read and write, and fit."""
        body, length = self.loop["body"], self.loop["length"]
        more = sum(v.type.nbytes for v in self.fresh)
        spared = sum(2 * body.outputs[i].type.nbytes for i in self.sums)
        stacks = sum(x.type.nbytes for x in self._xs())
        stacks += length * sum(y.type.nbytes for y in body.outputs[self.carries :])
        return more < spared and length * more <= MEMORY * stacks

    @functools.cached_property
    def made(self) -> Node:
        """The loop that keeps what is summed; the sums themselves are no longer read."""
        body = self.loop["body"]
        wider = Graph(body.inputs, (*body.outputs, *self.fresh))
        attrs = {**dict(self.loop.attrs), "body": wider, "ids": (), "primal": ()}
        return make(self.loop.op, *self.loop.inputs, where=self.loop.where, **attrs)

    def result(self, index: int) -> Node:
        if index not in self.sums:
            return make(ITEM, self.made, where=self.loop.where, index=index)
        total = self.loop.inputs[self.free + index]
        for term in self.sums[index]:
            total = make(ADD, total, self._summed(term), where=term.node.where)
        return total

    def _summed(self, term: _Term) -> Node:
        """The addend's sum over the rounds: one more label, or a sum before the contraction, if
        one operand is always the same."""
        node, labels = term.node, term.labels
        values = [self._whole(n) for n in term.operands]
        if any(n in self.fixed for n in term.operands):
            moving = next(i for i, n in enumerate(term.operands) if n not in self.fixed)
            values[moving] = make(SUM, values[moving], where=node.where, axes=(0,))
        else:
            more = next(c for c in string.ascii_letters if c not in "".join(labels))
            labels = tuple(more + label for label in labels)
        left, right = labels
        result = node["result"]
        found = make(node.op, *values, where=node.where, left=left, right=right, result=result)
        for move in reversed(term.moves):
            found = make(move.op, found, where=move.where, **dict(move.attrs))
        return found

    def _whole(self, value: Node) -> Node:
        """What a value was in all rounds, stacked; or what it is in each."""
        if value in self.fixed:
            return self.fixed[value]
        if value in self.rows:
            return self.rows[value]
        outputs = self.made["body"].outputs
        place = next(i for i in range(self.carries, len(outputs)) if outputs[i] is value)
        return make(ITEM, self.made, where=value.where, index=place)


def _hoisted(loop: Node) -> _Hoisted | None:
    body, free, carries = loop["body"], loop["free"], loop["carries"]
    order = topological(body.outputs)
    readers = users(order)
    fixed, own = body.inputs[:free], body.inputs[free : free + carries]
    moving = _moving(order, set(body.inputs[free:]))
    results = [id(n) for n in body.outputs]
    sums: dict[int, list[_Term]] = {}
    for place, param in enumerate(own):
        total = body.outputs[place]
        if not param.type.is_float or results.count(id(total)) > 1:
            continue
        addends = _addends(total, param, readers)
        terms = [t for node in addends if (t := _term(node, moving, set(fixed)))]
        if terms and len(terms) == len(addends):
            sums[place] = terms
    found = _Hoisted(loop, sums) if sums else None
    return found if found is not None and found.pays else None


def _moving(order: list[Node], moving: set[Node]) -> set[Node]:
    """What changes from round to round."""
    found = set(moving)
    for node in order:
        if any(n in found for n in node.inputs):
            found.add(node)
    return found


def _addends(total: Node, param: Node, readers: dict[Node, list[Node]]) -> list[Node]:
    """What is added to a carry to make its next value; nothing if it serves anything else."""
    found: list[Node] = []
    node = param
    while node is not total:
        others = [n for r in readers.get(node, ()) for n in r.inputs if n is not node]
        if len(others) != 1 or readers[node][0].op is not ADD:
            return []
        found += others
        (node,) = readers[node]
    same = all(n.type == param.type for n in (*found, total))
    return found if same and not readers[total] else []


def _term(node: Node, moving: set[Node], fixed: set[Node]) -> _Term | None:
    """An addend as what is summed after the loop; None if that takes more than its operands."""
    moves: list[Node] = []
    inner = node
    while inner.op.kind is Kind.MOVE:
        moves.append(inner)
        (inner,) = inner.inputs
    if inner not in moving or inner.op is not CONTRACT or _depth(inner) > DEEPEST:
        return None
    pairs = zip(inner.inputs, (inner["left"], inner["right"]), strict=True)
    operands, labels = zip(*(upright(n, term) for n, term in pairs), strict=True)
    if not all(n in moving or n in fixed for n in operands):
        return None
    return _Term(inner, operands, labels, tuple(moves))


def upright(node: Node, labels: str) -> tuple[Node, str]:
    """What an operand is a transpose of, and the labels of its axes."""
    while node.op is TRANSPOSE:
        at = dict(zip(node["axes"], labels, strict=True))
        labels = "".join(at[axis] for axis in range(len(labels)))
        (node,) = node.inputs
    return node, labels


def _depth(node: Node) -> int:
    """How many products each element of a contraction sums."""
    sizes = dict(zip(node["left"], node.inputs[0].type.shape, strict=True))
    return math.prod(size for label, size in sizes.items() if label not in node["result"])
