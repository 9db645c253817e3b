"""What this machine can do at most, measured with loops of LLVM vectors.

Multiply-adds: sixteen vectors in registers, each multiplied by itself and added to, over and over;
two operations a lane.  Bandwidth: `a = b + 3 c` over three arrays of 100 MB, which are three times
as many bytes as they are long; with ordinary and with streaming stores, the faster counts.
Several threads take a part each.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from gradloom.codegen.cpu.target import host_target, target_machine
from gradloom.runtime.arrays import address, aligned
from gradloom.runtime.native import link, optimise

CHAINS = 16  # independent vectors: two units with a latency of four cycles need eight
ROUNDS = 7  # of which the fastest counts: neighbours only ever slow a loop down
FMA_LOOPS = 4_000_000  # some 20 ms
BYTES = 100 * 2**20  # of each of three arrays: beyond the second-level caches by far


def peaks(threads: int, dtype: str = "float32") -> dict[str, float]:
    """Operations and bytes a second that so many threads reach."""
    lanes = 64 // (4 if dtype == "float32" else 8)
    kind = {"float32": "float", "float64": "double"}[dtype]
    fma = _function(_multiply_adds(lanes, kind), ctypes.c_int64)
    flops = 2.0 * lanes * CHAINS * FMA_LOOPS * threads
    found = {"flops": flops / _seconds([lambda: fma(FMA_LOOPS)] * threads)}
    found["bytes"] = max(_triad(threads, streaming) for streaming in (False, True))
    return found


def _triad(threads: int, streaming: bool) -> float:
    function = _function(_triad_text(streaming), *[ctypes.c_int64] * 4)
    arrays = [_aligned() for _ in range(3)]
    part = BYTES // 64 // threads * 64
    starts = [[address(a) + i * part for a in arrays] for i in range(threads)]
    return 3.0 * part * threads / _seconds([_call(function, part // 64, s) for s in starts])


def _call(function: Callable[..., None], count: int, places: list[int]) -> Callable[[], None]:
    return lambda: function(count, *places)


def _aligned() -> Any:
    array = aligned(BYTES)
    array[...] = 0  # every page is there
    return array


def _seconds(calls: list[Callable[[], Any]]) -> float:
    """The least seconds from the start of all calls to the end of the last, a thread each."""
    return min(_together(calls) for _ in range(ROUNDS))


def _together(calls: list[Callable[[], Any]]) -> float:
    gate = threading.Barrier(len(calls))
    spans: list[tuple[float, float]] = []

    def run(call: Callable[[], Any]) -> None:
        gate.wait()
        start = time.perf_counter()
        call()
        spans.append((start, time.perf_counter()))

    workers = [threading.Thread(target=run, args=(call,)) for call in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(end for _, end in spans) - min(start for start, _ in spans)


@cache
def _function(text: str, *arguments: Any) -> Callable[..., None]:
    machine = target_machine(host_target())
    linked = link([text], machine)
    optimise(linked, machine)
    engine = llvm.create_mcjit_compiler(linked, machine)
    engine.finalize_object()
    function: Any = ctypes.CFUNCTYPE(None, *arguments)(engine.get_function_address("loop"))
    function.engine = engine  # which holds the code
    return function


def _multiply_adds(lanes: int, kind: str) -> str:
    vector = f"<{lanes} x {kind}>"
    name = f"@llvm.fma.v{lanes}f{32 if kind == 'float' else 64}"
    chains = range(CHAINS)
    # Each chain has a start of its own, or LLVM would compute one for all.
    starts = [", ".join([f"{kind} {i / 64}"] * lanes) for i in chains]
    phis = [f"  %v{i} = phi {vector} [ <{starts[i]}>, %start ], [ %w{i}, %loop ]" for i in chains]
    calls = [
        f"  %w{i} = call {vector} {name}({vector} %v{i}, {vector} %v{i}, {vector} %v{i})"
        for i in chains
    ]
    stores = [f"  store volatile {vector} %w{i}, ptr %sink, align 64" for i in chains]
    return _loop(
        [f"declare {vector} {name}({vector}, {vector}, {vector})"],
        "i64 %count",
        [f"  %sink = alloca {vector}, align 64"],
        [*phis, *calls],
        stores,
    )


def _triad_text(streaming: bool) -> str:
    vector = "<16 x float>"
    three = ", ".join(["float 3.0"] * 16)
    hint = ", !nontemporal !0" if streaming else ""
    body = [
        *(f"  %p{x} = getelementptr {vector}, ptr %{x}, i64 %i" for x in "abc"),
        *(f"  %v{x} = load {vector}, ptr %p{x}, align 64" for x in "bc"),
        f"  %product = fmul {vector} %vc, <{three}>",
        f"  %sum = fadd {vector} %vb, %product",
        f"  store {vector} %sum, ptr %pa, align 64{hint}",
    ]
    arguments = "i64 %count, " + ", ".join(f"ptr noalias %{x}" for x in "abc")
    return _loop(["!0 = !{i32 1}"], arguments, [], body, [])


def _loop(
    outside: list[str], arguments: str, before: list[str], body: list[str], after: list[str]
) -> str:
    """`count` rounds of `body`, numbered by `%i`; its phis come first."""
    return "\n".join(
        [
            *outside,
            f"define void @loop({arguments}) {{",
            *("start:", *before, "  br label %loop", "loop:"),
            "  %i = phi i64 [ 0, %start ], [ %next, %loop ]",
            *body,
            "  %next = add i64 %i, 1",
            "  %more = icmp ult i64 %next, %count",
            *("  br i1 %more, label %loop, label %end", "end:", *after, "  ret void", "}"),
        ]
    )
