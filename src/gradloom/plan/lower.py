"""Groups to kernels: each group's nests and products, over numbered buffers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gradloom.ir.affine import Affine, linear
from gradloom.ir.node import Node, blaming
from gradloom.ir.op import OPS, Kind
from gradloom.ir.routine import Code
from gradloom.ir.source import parameter
from gradloom.ir.types import ITEMSIZE, TensorType, TupleType, row_strides
from gradloom.plan.fuse import Group
from gradloom.plan.limits import left_out
from gradloom.plan.nest import Draft, Spot, broadcast, domain, domain_index, locate, named
from gradloom.plan.plan import Constant, Kernel, Nest, Operand, Pick, Product, Routine, Stage
from gradloom.plan.product import Matrices, as_product
from gradloom.plan.reads import behind, is_computed
from gradloom.plan.rows import Rows, overwrites
from gradloom.plan.sequel import with_sequel

# Bytes of rows of a product that are finished, epilogue and all, before the next ones are begun.
# On one thread the size does not matter: tanh(x @ w + 1) in float32 at 512 x 128 x 128 took 122 to
# 127 us, at 1024 x 64 x 256 279 to 281 us, from 2 KB up to all rows at once.
BLOCK_BYTES = 16384
LANES = 16  # of float32 in the widest vector
# The same where the product copies B for each block: many rows use the copy, and lie in the second-
# level cache together with as many rows of a weight and its moments.  Steps with updates of rows of
# 128, 256, 400 and 800 KB, relative to updates after the whole product: `wide` 0.978, 0.979, 0.972,
# 0.993; `mnist` 0.978, 0.978, 0.991, 0.997; and with those rows fetched (`plan.fetch`), of 128, 256
# and 400 KB: `wide` 0.927, 0.927, 0.965; `mnist` 0.960, 0.958, 0.966.
COPIED_BLOCK_BYTES = 1 << 18
BLOCK_ROWS = 48  # a multiple of the rows of nearly all microkernels
ROW_TILE = 16  # rows of a product that the team hands out together
COPIED_STRIDE = 1024  # bytes between rows of B from which `codegen.cpu.product` copies B first


@dataclass
class Lowering:
    """Names buffers for nodes and writes the kernels that fill them."""

    buffer_of: dict[Node, int]
    scratch: Callable[[Node], int]  # a new arena buffer for a value that is in no group's `stored`
    spots: Mapping[Node, Spot] = field(default_factory=dict)  # of those that are parts of others
    updates: Collection[Node] = ()  # values to be written in place of old ones

    def lower(self, group: Group) -> Kernel:
        kind = group.members[0].op.kind
        closed = {
            Kind.JOIN: self._join,
            Kind.SCATTER: self._scatter,
            Kind.MOVE: self._move,
            Kind.ROUTINE: self._routine,
        }
        chosen = closed[kind] if group.closed else self._contraction if group.head else self._nest
        with blaming(group.members[0].where):  # scratch memory too is for a line
            stages, block = chosen(group)
        nodes = self._covered(group)
        lines = tuple(dict.fromkeys(n.where for n in nodes if n.where is not None))
        flops = _flops(nodes) - 2 * sum(
            left_out(s.code) for s in stages if isinstance(s.code, Product)
        )
        return Kernel(self._hint(group), tuple(stages), block, lines, flops)

    # ---- kinds

    def _nest(self, group: Group) -> tuple[list[Stage], int]:
        """Elementwise values, and folds of them over the same axes."""
        return self._stages(self._draft(group.rows), group), 0

    def _contraction(self, group: Group) -> tuple[list[Stage], int]:
        """A product, by blocks of rows with what follows it; or a sum of products, in a nest."""
        head = group.head
        assert head is not None
        if as_product(head, self._is_stored) is None and not group.rows.folds:
            return self._stages(self._sums(head), group), 0
        others = [node for node in group.stored if node is not head]
        made, spot, rest = self._epilogue(head, replace(group, stored=others))
        found = as_product(head, self._is_stored, spot.strides if spot else None)
        if found is not None:
            first = self._product(found, Operand(made, spot.start if spot else 0))
        else:
            sums = self._sums(head)
            sums.own.add(head)
            sums.spots = {head: spot} if spot else {}
            sums.store(head, made, domain_index(head.type.shape))
            first = sums.finish(head.op.name)
        passing = made not in (self.buffer_of.get(n) for n in (head, *others))
        return [first, *rest], _block(found.product, rest, passing) if found and rest else 0

    def _is_stored(self, node: Node) -> bool:
        return node in self.buffer_of

    def _sums(self, head: Node) -> Draft:
        """A nest over a contraction's result and the axes that it sums over."""
        summed = [n for n in head["left"] if n not in head["result"]]
        sizes = dict(zip(head["left"], head.inputs[0].type.shape, strict=True))
        folded = domain(tuple(sizes[n] for n in summed))
        loops = domain(head.type.shape) + folded
        return Draft(loops, len(folded), self.buffer_of.get, spots=self.spots)

    def _epilogue(self, head: Node, group: Group) -> tuple[int, Spot | None, list[Stage]]:
        """What follows a product, and where the bare product lies: where a value does which follows
        from it, if that has its size and is written where nothing else reads the product."""
        alike = [
            n
            for n in group.stored
            if n.type.size == head.type.size
            and (n not in self.spots or n.type.shape == head.type.shape)
        ]
        over = [n for n in alike if n.type.dtype == head.type.dtype and n not in self.updates]
        if head in self.buffer_of:
            over = [head]
        elif ragged(group.rows.wide):
            over = []
        for node in over:
            made, spot = self.buffer_of[node], self.spots.get(node)
            stages = self._following(head, made, spot, group)
            if node is head or all(overwrites(s, made, made) for s in stages):
                return made, spot, stages
        made = self.scratch(head)
        return made, None, self._following(head, made, None, group)

    def _following(self, head: Node, made: int, spot: Spot | None, group: Group) -> list[Stage]:
        if not group.stored:
            return []
        draft = self._draft(group.rows)
        draft.buffer_of = {**self.buffer_of, head: made}.get
        draft.spots = {**self.spots, head: spot} if spot else self.spots
        return self._stages(draft, group, by_rows=True)

    def _product(self, found: Matrices, made: Operand) -> Stage:
        operands = (
            Operand(self.buffer_of[found.a.base], max(found.a.at.const, 0)),
            Operand(self.buffer_of[found.b.base], max(found.b.at.const, 0)),
            made,
        )
        product = found.product
        extent = product.batch[0] if product.batch else product.rows
        return Stage(named(product, "product"), operands, (2,), extent)

    def _join(self, group: Group) -> tuple[list[Stage], int]:
        (node,) = group.members
        strides = row_strides(node.type.shape)
        stages, at = [], 0
        for piece in node.inputs:
            place = linear(index := domain_index(piece.type.shape), strides)
            place += at * strides[node["axis"]]
            at += piece.type.shape[node["axis"]]
            if behind(piece) in group.pieces:
                continue
            draft = self._loops(piece.type.shape)
            step = draft.value(piece, index)
            draft.put(self.buffer_of[node], place, step, node.type.dtype)
            stages.append(draft.finish(node.op.name))
        return stages, 0

    def _scatter(self, group: Group) -> tuple[list[Stage], int]:
        (node,) = group.members
        updates, *indices = node.inputs
        axes, shape = node["axes"], node["shape"]
        draft = self._loops(updates.type.shape)
        index = domain_index(updates.type.shape)
        ahead = updates.type.ndim - (len(shape) - len(axes))
        strides = row_strides(shape)
        picks = tuple(
            Pick(draft.value(v, broadcast(index[:ahead], v)), shape[a], strides[a])
            for a, v in zip(axes, indices, strict=True)
        )
        rest = tuple(s for a, s in enumerate(strides) if a not in axes)
        at = linear(index[ahead:], rest)
        step = draft.value(updates, index)
        draft.put(self.buffer_of[node], at, step, node.type.dtype, picks, node.op.factors[1])
        return [self._zeros(node, node.op.factors[1]), draft.finish(node.op.name)], 0

    def _move(self, group: Group) -> tuple[list[Stage], int]:
        """A move that must be in memory: a copy, or elements spread among zeros."""
        (node,) = group.members
        if not is_computed(node):
            return [self._stored(self._draft(group.rows), group)], 0
        (x,) = node.inputs
        index = domain_index(x.type.shape)
        spread = self._loops(x.type.shape)
        step = spread.value(x, index)
        placed = zip(index, node["start"], node["step"], strict=True)
        at = linear(tuple(i * k + s for i, s, k in placed), row_strides(node.type.shape))
        spread.put(self.buffer_of[node], at, step, node.type.dtype)
        return [self._zeros(node), spread.finish(node.op.name)], 0

    def _routine(self, group: Group) -> tuple[list[Stage], int]:
        node = group.members[0]
        assert node.op.routine is not None
        code: Code = node.op.routine(*(n.type for n in node.inputs), **dict(node.attrs))
        operands = []
        for operand in node.inputs:
            index = domain_index(operand.type.shape)
            place = locate(operand, index, lambda n: n in self.buffer_of)
            assert place is not None, f"{operand} is not in memory"
            operands.append(Operand(self.buffer_of[place.base], place.at.const))
        results = [Operand(b) for b in self._results(node, group)]
        work = [Operand(self.scratch(_words(n))) for n in code.work]
        writes = tuple(range(len(operands), len(operands) + len(results) + len(work)))
        routine = Routine(code.name, code.parts, len(work))
        whole = (*operands, *results, *work)
        return [Stage(routine, whole, writes, code.extent, code.numbers)], 0

    def _results(self, node: Node, group: Group) -> list[int]:
        """Buffers of all results; a scratch one for what nobody reads."""
        if not isinstance(node.type, TupleType):
            return [self.buffer_of[node]]
        items = {n["index"]: n for n in group.stored if n.op.kind is Kind.ITEM}
        return [
            self.buffer_of[items[i]] if i in items else self.scratch(parameter(kind))
            for i, kind in enumerate(node.type.types)
        ]

    # ---- parts

    def _loops(self, shape: tuple[int, ...]) -> Draft:
        """A nest over the elements of a value."""
        return Draft(domain(shape), 0, self.buffer_of.get)

    def _draft(self, rows: Rows) -> Draft:
        return Draft(rows.sizes, len(rows.folded), self.buffer_of.get, spots=self.spots)

    def _stages(self, draft: Draft, group: Group, by_rows: bool = False) -> list[Stage]:
        """The nest of a group, or two of them."""
        whole = self._stored(draft, group, by_rows)
        assert isinstance(whole.code, Nest)
        found = with_sequel(draft, whole.code, self._rows) if draft.reduced else None
        return [d.finish(self._hint(group), by_rows) for d in found] if found else [whole]

    def _rows(self, sizes: tuple[int, ...], dtype: str) -> int:
        return self.scratch(parameter(TensorType(sizes, dtype)))

    def _stored(self, draft: Draft, group: Group, by_rows: bool = False) -> Stage:
        draft.own |= set(group.stored)
        for node in group.stored:
            draft.store(node, self.buffer_of[node], group.rows.index(node.type.shape))
        return draft.finish(self._hint(group), by_rows)

    def _zeros(self, node: Node, combined: str = "") -> Stage:
        """Zeros all over, or what changes nothing when the row of that name combines with it."""
        draft, dtype = Draft((node.type.size,), 0, self.buffer_of.get), node.type.dtype
        identity = OPS[combined].identity if combined else None
        neutral = identity(dtype) if identity else 0
        value = draft.emit(Constant(np.asarray(neutral, dtype).tobytes(), dtype))
        draft.put(self.buffer_of[node], Affine.axis(0), value, dtype)
        return draft.finish("start" if neutral else "zeros")

    def _covered(self, group: Group) -> list[Node]:
        """Every node that this kernel computes, moves and what was pulled in included."""
        found: dict[Node, None] = {}
        stack = list(group.stored)
        while stack:
            node = stack.pop()
            if node not in found and (node in group.stored or node not in self.buffer_of):
                found[node] = None
                stack.extend(node.inputs)
        return [n for n in reversed(found) if n.op.kind not in (Kind.SOURCE, Kind.ITEM)]

    def _hint(self, group: Group) -> str:
        first = group.head or group.members[0]
        last = group.stored[-1] if group.stored else first
        names = dict.fromkeys(n.op.name for n in (first, last) if n.op.kind is not Kind.ITEM)
        return "_".join(names)


def _words(nbytes: int) -> Node:
    """A stand-in for scratch memory of at least so many bytes."""
    return parameter(TensorType((-(-nbytes // 8),), "int64"))


def ragged(sizes: tuple[int, ...]) -> bool:
    """Whether rows end in a masked vector, which the next row's first load would overlap.

    A load whose lanes overlap those of a masked store just before it waits for that store, masked
    lanes or not: 64 rows of 10 float32 take 0.4 us more in place than apart where 1 is added;
    whole vectors take no more (benchmarks/lane_costs.py).
    """
    return len(sizes) > 1 and sizes[-1] % LANES != 0


def _block(product: Product, epilogue: list[Stage], passing: bool) -> int:
    """Rows, or matrices, to finish at once; 0 where the stages share no outermost axis.  If they
    are `passing`, nothing else reads the product."""
    (extent,) = extents if len(extents := {s.extent for s in epilogue}) == 1 else (0,)
    if product.batch:
        matrix = math.prod(product.batch[1:]) * product.rows * product.columns
        outermost = product.c_strides[0] == matrix and extent == product.batch[0]
        return max(BLOCK_BYTES // (matrix * ITEMSIZE[product.dtype]), 1) if outermost else 0
    if extent != product.rows:
        return 0
    *_, depth_stride, column_stride = product.b_strides
    if column_stride != 1:
        return 0  # the product transposes B in each range, so there must be one
    copied = depth_stride * ITEMSIZE[product.dtype] >= COPIED_STRIDE
    if copied and not passing:
        return 0  # rows of the product lie where those of a result do, whenever they are used
    nbytes = COPIED_BLOCK_BYTES if copied else BLOCK_BYTES
    rows = nbytes // (product.columns * ITEMSIZE[product.dtype])
    if copied and rows < BLOCK_ROWS:
        return 0  # 48 rows of 10,000 columns, `embedding`, leave the cache: 5,610 us a step, 5,130
    return max(rows // BLOCK_ROWS, 1) * BLOCK_ROWS


def _flops(nodes: list[Node]) -> int:
    total = 0
    for node in nodes:
        if node.op.kind is Kind.CONTRACT:
            sizes = dict(
                zip(node["left"], node.inputs[0].type.shape, strict=True),
            ) | dict(zip(node["right"], node.inputs[1].type.shape, strict=True))
            total += 2 * int(np.prod(list(sizes.values()), dtype=np.int64))
        elif node.op.kind is Kind.REDUCE:
            total += node.inputs[0].type.size
        elif node.op.kind is Kind.ELEMENTWISE:
            total += node.type.size
    return total
