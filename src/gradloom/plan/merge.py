"""Stages that a GPU runs as one: a product, or a sum, and the nests that follow it element by
element.

On the CPU stages of a kernel share rows in a cache.  Here a nest that reads nothing of what its
kernel has made so far but the element of its own is computed where that element is made, in
registers: there is no barrier between them, and what nothing else reads is never stored.

Loops are matched by where the elements lie: a nest may have merged what is apart in the result,
rows of several matrices for example, or have apart what is merged there.  Both are cut into
`Digit`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from gradloom.ir.affine import Affine, linear
from gradloom.ir.op import OPS
from gradloom.plan.dealt import RESULT, Digit, Epilogue
from gradloom.plan.loops import map_affines
from gradloom.plan.nest import named
from gradloom.plan.plan import (
    Apply,
    Buffer,
    Fold,
    Inside,
    Kernel,
    Load,
    Nest,
    Operand,
    Part,
    Plan,
    Product,
    Region,
    Stage,
    Step,
    Store,
)
from gradloom.plan.split import each_kernel, same_elements
from gradloom.plan.spread import free_axes
from gradloom.plan.tiles import CLUSTER, MULTIPROCESSORS, THREADS, tile_of
from gradloom.plan.touch import ALL, Access, accesses, moved, placed, reach_of, reaches, sizes_of

# What one thread may have of code for the elements of its part of a tile, in additions (`Op.cost`):
# there are up to 64 copies of an epilogue.  Unmeasured on a GPU; it bounds what LLVM is given.
MOST = 1 << 13


Merged = tuple[Stage, Epilogue | None]


def merged(plan: Plan) -> tuple[Plan, dict[str, Epilogue]]:
    """The plan with as many stages in one as can be, and what follows of each product that has an
    epilogue, by the product's name."""
    epilogues: dict[str, Epilogue] = {}
    outside = _outside(plan.parts)

    def change(kernel: Kernel) -> Kernel:
        stages = []
        for stage, epilogue in _followed(kernel, plan.buffers, outside):
            stages.append(stage)
            if epilogue is not None:
                epilogues[stage.code.name] = epilogue
        return replace(kernel, stages=tuple(stages))

    parts = tuple(each_kernel(part, change) for part in plan.parts)
    return replace(plan, parts=parts), epilogues


def touched(
    stage: Stage, epilogue: Epilogue, buffers: Sequence[Buffer], kernel: str
) -> Iterator[Access]:
    """What a product with an epilogue reads and writes."""
    yield from _factors(stage, buffers, kernel)
    steps = epilogue.nest.steps
    loads = tuple(s for s in steps if isinstance(s, Load) and s.operand != RESULT)
    nest = replace(epilogue.nest, steps=loads)
    extent = nest.sizes[0] if nest.sizes else 1
    yield from accesses(replace(stage, code=nest, extent=extent), buffers, 0, kernel)


def _outside(parts: Sequence[Part]) -> set[int]:
    """Buffers that regions take in, pass on and are ruled by."""
    found: set[int] = set()
    for part in parts:
        if isinstance(part, Region):
            found |= {*part.reads, *part.writes, *part.rows, part.word}
            for body in part.bodies:
                found |= _outside(body)
    return found


def _followed(kernel: Kernel, buffers: Sequence[Buffer], outside: Set[int]) -> Iterator[Merged]:
    """The stages of a kernel, with epilogues."""
    stages = list(kernel.stages)
    while stages:
        first, *rest = stages
        joint, taken = joint_of(first), 0
        while joint and taken < len(rest) and (more := joint.joined(rest[taken], buffers)):
            joint, taken = more, taken + 1
        stages = rest[taken:]
        if joint and taken:
            used = {o.buffer for stage in stages for o in stage.operands} | outside
            yield joint.finished(rest[taken - 1].code.name.rpartition("_")[0], used, buffers)
        else:
            yield first, None


def joint_of(stage: Stage) -> Joint | None:
    """What others could follow; None for what has no element of its own to follow."""
    code = stage.code
    if isinstance(code, Product):
        shape = (*code.batch, code.rows, code.columns)
        digits = tuple(Digit(axis, 1, size) for axis, size in enumerate(shape) if size > 1)
        strides = [code.c_strides[d.axis] for d in digits]
        at = linear(tuple(map(Affine.axis, range(len(digits)))), tuple(strides))
        element, store = Load(RESULT, at, code.dtype), Store(RESULT, at, 0, code.dtype)
        nest = Nest("", tuple(d.size for d in digits), 0, None, (element,), (store,))
    elif isinstance(code, Nest) and code.reduced:
        nest = replace(code, sizes=sizes_of(code, stage.extent), vector=None)
        kept = len(nest.sizes) - nest.reduced
        digits = tuple(Digit(axis, 1, size) for axis, size in enumerate(nest.sizes[:kept]))
        inner = {a for s in nest.stores for a, _ in s.at.terms if a >= kept}
        if inner or not all(isinstance(nest.steps[s.step], Fold) for s in nest.stores):
            return None
    else:
        return None
    plain = not any(s.picks or s.accumulate for s in nest.stores) and all(nest.sizes)
    return Joint(stage, stage.operands, nest, digits) if plain else None


@dataclass(frozen=True)
class Joint:
    """A first stage, and as one nest what it stores and what follows; its kept axes are `digits`
    of the first stage's."""

    first: Stage
    operands: tuple[Operand, ...]
    nest: Nest
    digits: tuple[Digit, ...]

    def joined(self, stage: Stage, buffers: Sequence[Buffer]) -> Joint | None:
        """With one more stage; None where that needs more than the element, or where memory that
        one writes is another's."""
        more = self.extended(stage)
        return more if more and more._holds(buffers, self) else None

    def extended(self, stage: Stage) -> Joint | None:
        """The same as far as it does not depend on where buffers lie."""
        nest = stage.code
        if not isinstance(nest, Nest) or nest.reduced or not _is_plain(nest):
            return None
        nest = replace(nest, sizes=sizes_of(nest, stage.extent), vector=None)
        found = self._cut(nest, stage.operands)
        if found is None:
            return None
        cut, moved_to = found
        return cut._with(map_affines(nest, lambda at: at.renumber(moved_to)), stage.operands)

    # ---- loops

    def _cut(
        self, nest: Nest, operands: Sequence[Operand]
    ) -> tuple[Joint, dict[int, Affine]] | None:
        """Digits that the loops of a nest are made of too, and those loops in terms of them."""
        for load in nest.steps:
            store = isinstance(load, Load) and self._written(operands[load.operand])
            if isinstance(load, Load) and store:
                pieces = _common(self._strides(store.at), _axes(load.at, nest.sizes))
                if pieces is not None:
                    return self._in_pieces(pieces, nest)
        return None

    def _written(self, operand: Operand) -> Store | None:
        """The last store to a buffer."""
        stores = [s for s in self.nest.stores if self.operands[s.operand].buffer == operand.buffer]
        return stores[-1] if stores else None

    def _strides(self, at: Affine) -> list[tuple[int, int, int]]:
        return [(at.coefficient(n), d.size, n) for n, d in enumerate(self.digits) if d.size > 1]

    def _in_pieces(self, pieces: Sequence[_Piece], nest: Nest) -> tuple[Joint, dict[int, Affine]]:
        digits: list[Digit] = []
        own: dict[int, Affine] = {n: Affine() for n in range(len(self.digits))}
        other: dict[int, Affine] = {n: Affine() for n in range(len(nest.sizes))}
        for n, digit in enumerate(self.digits):
            cuts = [p for p in pieces if p.digit == n]
            for piece in sorted(cuts, key=lambda p: -p.step):
                at = Affine.axis(len(digits))
                digits.append(Digit(digit.axis, digit.step * piece.step, piece.size))
                own[n] += at * piece.step
                other[piece.axis] += at * piece.axis_step
        inner = self.nest.sizes[len(self.digits) :]
        own |= {len(self.digits) + n: Affine.axis(len(digits) + n) for n in range(len(inner))}
        mine = map_affines(self.nest, lambda at: at.renumber(own))
        mine = replace(mine, sizes=(*(d.size for d in digits), *inner))
        return replace(self, nest=mine, digits=tuple(digits)), other

    # ---- steps

    def _with(self, nest: Nest, operands: Sequence[Operand]) -> Joint | None:
        """With the steps and stores of a nest over the same digits."""
        whole = list(self.operands)
        whole += (o for o in dict.fromkeys(operands) if o not in whole)
        place = [whole.index(o) for o in operands]
        steps = list(self.nest.steps)
        number: list[int] = []
        for step in nest.steps:
            store = isinstance(step, Load) and self._written(operands[step.operand])
            if isinstance(step, Load) and store:
                before = self.operands[store.operand].offset
                same = step.at + operands[step.operand].offset == store.at + before
                if not same or step.guards or step.dtype != store.dtype:
                    return None
                number.append(store.step)
                continue
            number.append(len(steps))
            steps.append(_renumbered(step, number, place))
        stores = [*self.nest.stores]
        for store in nest.stores:
            new = replace(store, operand=place[store.operand], step=number[store.step])
            stores = [s for s in stores if (s.operand, s.at) != (new.operand, new.at)] + [new]
        joint = replace(self.nest, steps=tuple(steps), stores=tuple(stores))
        return replace(self, nest=joint, operands=tuple(whole))

    # ---- what must hold

    def _holds(self, buffers: Sequence[Buffer], before: Joint) -> bool:
        """Whether elements keep out of each other's way: each writes places of its own, and what a
        nest reads is not what those before it have written, nor what the first stage still reads
        of others."""
        stage = self._stage()
        if len(free_axes(self.nest)) < len(self.digits) or not same_elements(stage, buffers):
            return False
        product = self.first.code
        if isinstance(product, Product) and self._cost() > MOST:
            return False
        old = [before._access(s, buffers) for s in before.nest.stores]
        added = self.nest.steps[len(before.nest.steps) :]
        loads = [self._access(s, buffers) for s in added if isinstance(s, Load)]
        if any(a.meets(b) for a in loads for b in old):
            return False
        if not isinstance(product, Product):
            return True
        stores = [self._access(s, buffers) for s in self.nest.stores]
        return not any(a.meets(b) for a in stores for b in _factors(self.first, buffers))

    def _stage(self) -> Stage:
        writes = tuple(sorted({s.operand for s in self.nest.stores}))
        return Stage(self.nest, self.operands, writes, self.nest.sizes[0] if self.digits else 1)

    def _access(self, access: Load | Store, buffers: Sequence[Buffer]) -> Access:
        """All that is touched so."""
        stage = self._stage()
        reach = moved(reach_of(access, self.nest, stage.extent), stage, buffers)
        buffer = self.operands[access.operand].buffer
        return replace(placed(buffers, buffer, reach, stage.extent, 0), grains=ALL)

    def _cost(self) -> int:
        assert isinstance(self.first.code, Product)
        tiles = [tile_of(self.first.code, blocks=n) for n in (CLUSTER, MULTIPROCESSORS)]
        steps = (OPS[s.op].cost if isinstance(s, Apply) else 1 for s in self.nest.steps)
        return sum(steps) * max(tile.rows * tile.columns for tile in tiles) // THREADS

    # ---- the end

    def finished(self, hint: str, used: Set[int], buffers: Sequence[Buffer]) -> Merged:
        """One stage, and of a product its epilogue; `used` are buffers that others touch.  Those
        that live in this kernel alone, and are not among them, need not be written."""

        def passing(store: Store) -> bool:
            number = self.operands[store.operand].buffer
            buffer = buffers[number]
            return number not in used and buffer.space == "arena" and buffer.born == buffer.dies

        kept = tuple(s for s in self.nest.stores if not passing(s))
        nest = named(replace(self.nest, stores=kept), hint)
        writes = tuple(sorted({s.operand for s in kept}))
        if isinstance(self.first.code, Product):
            code = replace(self.first.code, name=f"product_{nest.name}")
            stage = replace(self.first, code=code, operands=self.operands, writes=writes)
            return stage, Epilogue(nest, self.digits)
        return replace(self._stage(), code=nest, writes=writes), None


def _is_plain(nest: Nest) -> bool:
    accesses = (*nest.steps, *nest.stores)
    return all(nest.sizes) and not any(
        getattr(a, "picks", ()) or getattr(a, "accumulate", "") for a in accesses
    )


def _factors(stage: Stage, buffers: Sequence[Buffer], kernel: str = "") -> Iterator[Access]:
    """What a product reads."""
    for reach in reaches(stage, buffers):
        if not reach.writes:
            buffer = stage.operands[reach.operand].buffer
            yield placed(buffers, buffer, reach, stage.extent, 0, kernel)


def _renumbered(step: Step, number: Sequence[int], place: Sequence[int]) -> Step:
    """A step where its arguments and operands have other numbers."""
    if isinstance(step, Load):
        return replace(step, operand=place[step.operand])
    if isinstance(step, Apply):
        return replace(step, args=tuple(number[a] for a in step.args))
    if isinstance(step, Inside | Fold):
        return replace(step, arg=number[step.arg])
    return step


# ---- loops that are cut alike


@dataclass(frozen=True, slots=True)
class _Piece:
    """Part of a digit and of an axis: every so many steps of either, so many times."""

    digit: int
    step: int
    axis: int
    axis_step: int
    size: int


def _axes(at: Affine, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    return [(at.coefficient(a), size, a) for a, size in enumerate(sizes) if size > 1]


def _common(
    digits: Sequence[tuple[int, int, int]], axes: Sequence[tuple[int, int, int]]
) -> list[_Piece] | None:
    """The pieces that two lists of loops have in common, each with its stride, size and number;
    None where they do not run over the same elements."""
    own, other = sorted(digits), sorted(axes)
    if any(stride <= 0 for stride, _, _ in (*own, *other)):
        return None
    found: list[_Piece] = []
    step = axis_step = 1
    while own and other:
        (stride, size, digit), (axis_stride, axis_size, axis) = own[0], other[0]
        left, axis_left = size // step, axis_size // axis_step
        if stride * step != axis_stride * axis_step or max(left, axis_left) % min(left, axis_left):
            return None
        piece = _Piece(digit, step, axis, axis_step, min(left, axis_left))
        found.append(piece)
        step, axis_step = step * piece.size, axis_step * piece.size
        if step == size:
            own, step = own[1:], 1
        if axis_step == axis_size:
            other, axis_step = other[1:], 1
    return None if own or other else found
