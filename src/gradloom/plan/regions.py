"""Loops and branches to regions: their bodies planned like programs, within the surroundings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gradloom.ir.affine import linear
from gradloom.ir.graph import Graph
from gradloom.ir.node import Node, make
from gradloom.ir.source import ITEM
from gradloom.ir.types import ITEMSIZE, TupleType, row_strides
from gradloom.plan.lower import Lowering
from gradloom.plan.memory import Memory
from gradloom.plan.nest import Draft, domain, domain_index, locate
from gradloom.plan.plan import Kernel, Part, Region
from gradloom.plan.reads import carried, in_order

Planner = Callable[[Graph, Memory, dict[Node, int], Sequence[int]], tuple[Part, ...]]


def lower_region(
    node: Node, items: Sequence[Node], lowering: Lowering, memory: Memory, plan_parts: Planner
) -> Region:
    """The region of a loop or branch `node`, of whose results `items` are used."""
    scope = _Scope(node, lowering, memory, plan_parts)
    scope.targets = {
        item["index"]: lowering.buffer_of[item] for item in items if item in lowering.buffer_of
    }
    build = {"for": scope.counted, "while": scope.conditional, "branch": scope.chosen}
    return build[node.op.flow]()


class _Scope:
    """One loop or branch on its way to a region."""

    def __init__(self, node: Node, lowering: Lowering, memory: Memory, plan_parts: Planner) -> None:
        self.node = node
        self.lowering = lowering
        self.memory = memory
        self.plan_parts = plan_parts
        self.targets: dict[int, int] = {}
        self.init: list[Kernel] = []
        self.rows: list[int] = []

    # ---- the three forms

    def counted(self) -> Region:
        node, body = self.node, self.node["body"]
        free, carries = node["free"], node["carries"]
        first = free + carries
        given = self._free(body.inputs, node.inputs[:free]) | self._carries(body.inputs[free:first])
        for param, operand in zip(body.inputs[first:], node.inputs[first:], strict=True):
            given[param] = self._row(param, *self._whole(operand), param.type.nbytes)
        ys = [
            self._row(result, self._target(carries + n), 0, result.type.nbytes)
            for n, result in enumerate(body.outputs[carries:])
        ]
        graph = Graph(
            body.inputs,
            body.outputs[carries:],
            tuple(zip(body.inputs[free:first], body.outputs[:carries], strict=True)),
        )
        begin = len(self.memory.nodes)
        parts = self.plan_parts(graph, self.memory, given, ys)
        return self._region("for", (parts,), begin, length=node["length"], reverse=node["reverse"])

    def conditional(self) -> Region:
        node, test, body = self.node, self.node["test"], self.node["body"]
        free, tests = node["free"], node["test_free"]
        carries = self._carries(body.inputs[free - tests :])
        again = self.memory.arena(test.outputs[0])
        begin = len(self.memory.nodes)
        given = self._free(test.inputs, node.inputs[:tests])
        given |= dict(zip(test.inputs[tests:], carries.values(), strict=True))
        checked = self.plan_parts(test, self.memory, given, [again])
        given = self._free(body.inputs, node.inputs[tests:free]) | carries
        updates = tuple(zip(carries, body.outputs, strict=True))
        round_ = self.plan_parts(Graph(body.inputs, (), updates), self.memory, given, [])
        return self._region("while", (checked, round_), begin, word=again)

    def chosen(self) -> Region:
        node = self.node
        number, *operands = node.inputs
        word, offset = self._whole(number)
        if offset:
            word = self._row(number, word, offset, 0)
        branches = node["branches"]
        assert isinstance(node.type, TupleType)
        results = [self._target(n) for n in range(len(node.type.types))]
        begin = len(self.memory.nodes)
        bodies = []
        for branch in branches:
            given = self._free(branch.inputs, operands)
            bodies.append(self.plan_parts(branch, self.memory, given, results))
        return self._region("branch", tuple(bodies), begin, word=word)

    # ---- operands and results

    def _whole(self, operand: Node) -> tuple[int, int]:
        """The buffer where an operand lies, its elements in order, and from which byte on."""
        stored = self.lowering.buffer_of
        place = locate(operand, domain_index(operand.type.shape), lambda n: n in stored)
        assert place is not None, operand
        assert not place.guards, operand
        assert in_order(place.at, operand), operand
        return stored[place.base], place.at.const * ITEMSIZE[operand.type.dtype]

    def _free(self, params: Sequence[Node], operands: Sequence[Node]) -> dict[Node, int]:
        """What the body reads of its surroundings, where it lies."""
        given = {}
        for param, operand in zip(params, operands, strict=False):
            buffer, offset = self._whole(operand)
            given[param] = self._row(param, buffer, offset, 0) if offset else buffer
        return given

    def _carries(self, params: Sequence[Node]) -> dict[Node, int]:
        """A place for each carry, in which the loop begins with a copy and leaves the last."""
        given = {}
        for number, (place, param) in enumerate(zip(carried(self.node), params, strict=False)):
            target = self._target(number)
            operand = self.node.inputs[place]
            draft = Draft(domain(operand.type.shape), 0, self.lowering.buffer_of.get)
            index = domain_index(operand.type.shape)
            step = draft.value(operand, index)
            at = linear(index, row_strides(param.type.shape))
            draft.put(target, at, step, param.type.dtype)
            lines = (operand.where,) if operand.where else ()
            self.init.append(Kernel("begin", (draft.finish("begin"),), 0, lines, 0))
            given[param] = target
        return given

    def _target(self, number: int) -> int:
        """The buffer of a result; one that nobody reads has a place all the same."""
        if number not in self.targets:
            self.targets[number] = self.memory.arena(make(ITEM, self.node, index=number))
        return self.targets[number]

    def _row(self, node: Node, of: int, offset: int, stride: int) -> int:
        row = self.memory.row(node, of, offset, stride)
        self.rows.append(row)
        return row

    # ---- together

    def _region(
        self,
        flow: str,
        bodies: tuple[tuple[Part, ...], ...],
        begin: int,
        length: int = 0,
        reverse: bool = False,
        word: int = -1,
    ) -> Region:
        reads, writes = set(self.targets.values()), set(self.targets.values())
        for body in bodies:
            for part in body:
                read, written = part.touched()
                reads |= self._outside(read, begin)
                writes |= self._outside(written, begin)
        if word >= 0:
            reads |= self._outside({word}, begin)
        lines = (self.node.where,) if self.node.where else ()
        return Region(
            self.node.op.name,
            flow,
            tuple(self.init),
            bodies,
            frozenset(reads),
            frozenset(writes),
            length,
            reverse,
            tuple(self.rows),
            word,
            lines,
        )

    def _outside(self, buffers: Iterable[int], begin: int) -> set[int]:
        """Those of the surroundings, and what rows are rows of."""
        found = set()
        for buffer in buffers:
            while True:
                if buffer < begin:
                    found.add(buffer)
                if buffer not in self.memory.rows:
                    break
                buffer = self.memory.rows[buffer][0]
        return found
