"""The words of a driver on a GPU, where a worker is a block and all of its threads run the driver.

What one thread must do alone, such as the routines of sorting, the first of its block does; copies
they do together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from llvmlite import ir

from gradloom.codegen.cpu.vectors import I32, I64, counted
from gradloom.codegen.cuda import threads
from gradloom.codegen.lanes import LlvmLane
from gradloom.codegen.primitives import ARRIVED, GENERATION, MATHEMATICS
from gradloom.codegen.words import ENTRY
from gradloom.ir.op import OPS
from gradloom.plan.tiles import THREADS, WARP
from gradloom.runtime.dialect import Dialect
from gradloom.runtime.emitters import EMITTERS, POINTER, copied, declared, emit_view, word_address
from gradloom.runtime.lowering import Unlowered

GRID_BARRIER = "gradloom_grid_barrier"


class GpuDialect(Dialect):
    """Words and calls for all threads of a block, which runs the function `entry` of the text
    together; others that it calls its first thread runs alone.  With `cluster` all blocks are those
    of one.  The `pieces` of some functions threads take one by one."""

    def __init__(
        self, entry: str = ENTRY, *, cluster: bool = False, pieces: Collection[str] = ()
    ) -> None:
        self.together = (entry, "gather_rows")
        self.cluster = cluster
        self.pieces = pieces

    def word(self, name: str, function: str) -> Callable[..., Any]:
        if name.startswith("invoke_"):
            raise Unlowered("a GPU cannot call the libraries of the host")
        if name == "meet" and self.cluster:
            return _meet_in_cluster
        if function in self.together and name in _TOGETHER:
            return _TOGETHER[name]
        return _WORDS.get(name) or EMITTERS[name]

    def call(
        self, builder: ir.IRBuilder, caller: str, callee: str, function: ir.Function, given: Any
    ) -> Any:
        if caller not in self.together or callee in self.together:
            return builder.call(function, given)
        if callee in self.pieces:
            _in_pieces(builder, function, *given)
        else:
            with builder.if_then(threads.first(builder)):
                builder.call(function, given)
        return I64(0)  # which nothing reads: such calls are statements


def _in_pieces(
    builder: ir.IRBuilder, function: ir.Function, start: ir.Value, stop: ir.Value, *given: ir.Value
) -> None:
    """A call for each of a range of pieces: a warp has one where there are no more of them than
    warps, so that threads need not wait for what others do; else a thread has one."""
    b = builder
    few = b.icmp_signed("<=", b.sub(stop, start), I64(THREADS // WARP))
    apart = b.select(few, I32(WARP), I32(1))
    thread = threads.thread(b)
    with b.if_then(b.icmp_unsigned("==", b.urem(thread, apart), I32(0))):
        own = b.add(start, b.zext(b.udiv(thread, apart), I64))
        with counted(b, own, stop, THREADS) as piece:  # a warp has no more than one
            b.call(function, [piece, b.add(piece, I64(1)), *given])


def _get_ptr(builder: ir.IRBuilder, table: ir.Value, index: ir.Value) -> ir.Value:
    """An address of global memory, which the compiler is told, and that it may look it up again
    rather than keep it."""
    number = builder.load(word_address(builder, table, index, I64), typ=I64)
    number.set_metadata("invariant.load", builder.module.add_metadata([]))
    there = builder.inttoptr(number, ir.PointerType(addrspace=1))
    return builder.addrspacecast(there, POINTER)


def _copy(b: ir.IRBuilder, *given: ir.Value) -> None:
    """By all threads: words where everything lies at words, else bytes."""
    target, source, count = copied(b, *given)
    places = [b.ptrtoint(p, I64) for p in (target, source)]
    apart = b.and_(b.or_(b.or_(places[0], places[1]), count), I64(3))
    with b.if_else(b.icmp_signed("==", apart, I64(0))) as (words, bytes_):
        with words:
            _copied(b, target, source, b.lshr(count, I64(2)), I32)
        with bytes_:
            _copied(b, target, source, count, ir.IntType(8))


def _copied(
    b: ir.IRBuilder, target: ir.Value, source: ir.Value, count: ir.Value, kind: ir.Type
) -> None:
    with counted(b, b.zext(threads.thread(b), I64), count, THREADS) as at:
        value = b.load(word_address(b, source, at, kind), typ=kind)
        b.store(value, word_address(b, target, at, kind))


def _zero(builder: ir.IRBuilder, base: ir.Value, count: ir.Value) -> None:
    with counted(builder, builder.zext(threads.thread(builder), I64), count, THREADS) as at:
        builder.store(ir.IntType(8)(0), emit_view(builder, base, at))


def _meet(builder: ir.IRBuilder, control: ir.Value, team: ir.Value) -> None:
    """All threads of all blocks."""
    threads.meet(builder)
    with builder.if_then(builder.icmp_signed(">", team, I64(1))):
        with builder.if_then(threads.first(builder)):
            kind = ir.FunctionType(ir.VoidType(), [control.type, I64])
            builder.call(declared(builder.module, GRID_BARRIER, kind), [control, team])
        threads.meet(builder)


def _meet_in_cluster(builder: ir.IRBuilder, control: ir.Value, team: ir.Value) -> None:
    """All threads of all blocks, by the barrier that a cluster's multiprocessors have."""
    threads.meet_cluster(builder)


def _mathematics(name: str) -> Callable[..., ir.Value]:
    lanes = OPS[name.removeprefix("math_")].lanes
    assert lanes is not None

    def emit(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        value: ir.Value = lanes(LlvmLane(builder, x, "float64")).value
        return value

    return emit


_WORDS: dict[str, Callable[..., Any]] = {
    "get_ptr": _get_ptr,
    "meet": _meet,
    **{name: _mathematics(name) for name in MATHEMATICS},
}
_TOGETHER: dict[str, Callable[..., Any]] = {"copy": _copy, "zero": _zero}


def barrier_text() -> str:
    """`void GRID_BARRIER(ptr control, i64 blocks)`, for the first thread of each block, which its
    others wait for before and after: the last to arrive begins the next generation.

    The fences are on their own since LLVM's back end leaves the order of a read-modify-write away.
    """
    return f"""
define void @{GRID_BARRIER}(ptr %control, i64 %blocks) alwaysinline {{
entry:
  %arrived = getelementptr i64, ptr %control, i64 {ARRIVED}
  %generation = getelementptr i64, ptr %control, i64 {GENERATION}
  %now = load atomic i64, ptr %generation syncscope("device") monotonic, align 8
  fence syncscope("device") acq_rel
  %before = atomicrmw add ptr %arrived, i64 1 syncscope("device") monotonic
  fence syncscope("device") acq_rel
  %others = sub i64 %blocks, 1
  %last = icmp eq i64 %before, %others
  br i1 %last, label %release, label %look
release:
  store atomic i64 0, ptr %arrived syncscope("device") monotonic, align 8
  %next = add i64 %now, 1
  store atomic i64 %next, ptr %generation syncscope("device") release, align 8
  ret void
look:
  %found = load atomic i64, ptr %generation syncscope("device") acquire, align 8
  %same = icmp eq i64 %found, %now
  br i1 %same, label %look, label %done
done:
  ret void
}}
"""
