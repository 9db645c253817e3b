"""What a thread of a GPU knows of the others: its number, where they meet, what they hold.

Every function appends LLVM instructions at a builder.  All threads of a block must come to `meet`,
and all of a warp to `exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from llvmlite import ir

from gradloom.codegen.cpu.vectors import I32, I64, declared
from gradloom.codegen.lanes import LlvmLane
from gradloom.plan.tiles import THREADS, WARP

FOLD_BYTES = 8 * THREADS // WARP  # of shared memory, to combine what the warps of a block have
ALL_LANES = I32(-1)
TRUE = ir.IntType(1)(1)
Combine = Callable[[LlvmLane, LlvmLane], LlvmLane]


def _register(name: str, builder: ir.IRBuilder) -> ir.Value:
    function = declared(builder.module, f"llvm.nvvm.read.ptx.sreg.{name}", I32, [])
    return builder.call(function, [])


thread = partial(_register, "tid.x")  # of the block
block = partial(_register, "ctaid.x")
blocks = partial(_register, "nctaid.x")


def meet(builder: ir.IRBuilder) -> None:
    """All threads of the block wait for each other, and see what each has written."""
    function = declared(
        builder.module, "llvm.nvvm.barrier.cta.sync.aligned.all", ir.VoidType(), [I32]
    )
    builder.call(function, [I32(0)])


def meet_cluster(builder: ir.IRBuilder) -> None:
    """All threads of the cluster's blocks, as `meet`."""
    for step in ("arrive", "wait"):
        name = f"llvm.nvvm.barrier.cluster.{step}.aligned"
        builder.call(declared(builder.module, name, ir.VoidType(), []), [])


def first(builder: ir.IRBuilder) -> ir.Value:
    """Whether this is the first thread of its block."""
    return builder.icmp_unsigned("==", thread(builder), I32(0))


def unravelled(b: ir.IRBuilder, number: ir.Value, sizes: Sequence[int]) -> list[ir.Value]:
    """The indices of axes of these sizes, the last of them fastest, of which this is the number."""
    found: list[ir.Value] = []
    for position, size in reversed(list(enumerate(sizes))):
        found.append(b.urem(number, I32(size)) if position else number)
        number = b.udiv(number, I32(size))
    return found[::-1]


def shared(module: ir.Module) -> ir.Value:
    """The block's shared memory, which the stages of a kernel use in turn; a launch says how much
    there is."""
    if "shared" not in module.globals:
        memory = ir.GlobalVariable(module, ir.ArrayType(ir.IntType(8), 0), "shared", addrspace=3)
        memory.linkage = "external"
        memory.align = 16
        memory.type = ir.PointerType(addrspace=3)  # to whatever is loaded or stored
    return module.globals["shared"]


def folded_by_warp(lane: LlvmLane, combine: Combine) -> LlvmLane:
    """The lanes of a warp combined, in each of them: by halves, in the same order every time."""
    distance = WARP // 2
    while distance:
        lane = combine(lane, exchange(lane, distance))
        distance //= 2
    return lane


def folded_by_block(lane: LlvmLane, combine: Combine) -> LlvmLane:
    """The threads of a block combined, in each of them."""
    b, at = lane.builder, thread(lane.builder)
    first_lane = b.icmp_unsigned("==", b.and_(at, I32(WARP - 1)), I32(0))
    warps = [I32(n) for n in range(THREADS // WARP)]
    lane = folded_by_warp(lane, combine)
    return _by_memory(lane, combine, b.udiv(at, I32(WARP)), warps, first_lane)


def folded_by_warps(lane: LlvmLane, combine: Combine) -> LlvmLane:
    """What the threads of the same number in each warp have combined, in each of them."""
    b, at = lane.builder, thread(lane.builder)
    number = b.and_(at, I32(WARP - 1))
    return _by_memory(lane, combine, at, [b.add(number, I32(n)) for n in range(0, THREADS, WARP)])


def _by_memory(
    lane: LlvmLane,
    combine: Combine,
    own: ir.Value,
    theirs: Sequence[ir.Value],
    stores: ir.Value = TRUE,
) -> LlvmLane:
    """What lies at the places `theirs` of shared memory combined, once each thread that `stores`
    has put its own there."""
    b = lane.builder
    whole = lane.cast("int32") if lane.dtype == "bool" else lane
    kind, memory = whole.value.type, shared(b.module)

    def place(number: ir.Value) -> ir.Value:
        return b.gep(memory, [number], source_etype=kind)

    meet(b)  # whoever still reads what was there
    with b.if_then(stores):
        b.store(whole.value, place(own))
    meet(b)
    found = [b.load(place(number), typ=kind) for number in theirs]
    return _by_pairs([LlvmLane(b, x, whole.dtype).cast(lane.dtype) for x in found], combine)


def _by_pairs(parts: Sequence[LlvmLane], combine: Combine) -> LlvmLane:
    """A power of two of them combined, in the same order every time."""
    while len(parts) > 1:
        parts = [combine(x, y) for x, y in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def exchange(lane: LlvmLane, distance: int) -> LlvmLane:
    """What the lane of the warp at this distance, a power of two, holds."""
    b, kind = lane.builder, lane.value.type
    bits = {"float": 32, "double": 64}.get(str(kind)) or kind.width
    raw = lane.value if isinstance(kind, ir.IntType) else b.bitcast(lane.value, ir.IntType(bits))
    if bits <= 32:
        wide = raw if bits == 32 else b.zext(raw, I32)
        moved = _shuffle(b, wide, distance)
        raw = moved if bits == 32 else b.trunc(moved, raw.type)
    else:
        low, high = b.trunc(raw, I32), b.trunc(b.lshr(raw, I64(32)), I32)
        low, high = (b.zext(_shuffle(b, half, distance), I64) for half in (low, high))
        raw = b.or_(low, b.shl(high, I64(32)))
    back = raw if isinstance(kind, ir.IntType) else b.bitcast(raw, kind)
    return LlvmLane(b, back, lane.dtype)


def _shuffle(b: ir.IRBuilder, value: ir.Value, distance: int) -> ir.Value:
    name = "llvm.nvvm.shfl.sync.bfly.i32"
    function = declared(b.module, name, I32, [I32, I32, I32, I32])
    return b.call(function, [ALL_LANES, value, I32(distance), I32(WARP - 1)])
