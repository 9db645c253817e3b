"""READ FIRST.  The compiler as one straight function, a stage a line.

    trace (frontend) -> differentiate (autodiff) -> passes -> plan -> code -> build -> executable

Tracing and differentiation happen while the user's function runs; what follows is `compile_graph`.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradloom.clock import Clock
from gradloom.codegen import driver
from gradloom.ir.graph import Graph
from gradloom.ir.verify import verify_graph
from gradloom.options import Budget
from gradloom.passes.order import ALWAYS, PASSES
from gradloom.program import Program
from gradloom.reporting import report
from gradloom.runtime.executable import Entry, Executable
from gradloom.settings import current as current_settings

if TYPE_CHECKING:
    from gradloom.plan.plan import Plan
    from gradloom.runtime.native import Build


COMPILED = {"programs": 0}  # how many were built in this process
_loaded: dict[str, Entry] = {}


def compile_graph(
    graph: Graph,
    names: Sequence[str] = (),
    text: driver.Writer = driver.program_text,
    within: Budget | None = None,
    threads: int | None = None,
    clock: Clock | None = None,
) -> Program:
    """Graph to native code; `within` a budget of memory, by recomputation if need be; `threads` the
    most that a call may use; `clock` has the seconds of what was done before."""
    clock = clock or Clock()
    importlib.import_module("gradloom.runtime.cache")  # llvmlite, which `import gradloom` spares
    clock.mark("imports")
    simple = run_passes(graph)
    clock.mark("passes")
    plan = planned(simple, names)
    if within is not None and within.excess(plan) > 0:
        simple, plan = fitted(simple, plan, names, within)
    clock.mark("plan")
    source = text(plan)
    entry, cached = native_entry(plan, source, clock)
    executable = Executable(plan, entry, [node.type for node in graph.outputs], threads)
    program = Program(graph, simple, plan, source, executable, clock.seconds, cached)
    report(program)
    return program


def run_passes(graph: Graph) -> Graph:
    """Graph to graph, in the order of `PASSES`."""
    checked = current_settings().verify
    for rewrite in PASSES:
        if rewrite in ALWAYS or rewrite.__name__ not in current_settings().disable:
            graph = rewrite(graph)
        if checked:
            verify_graph(graph, rewrite.__name__)
    return graph


def planned(graph: Graph, names: Sequence[str]) -> Plan:
    """The plan of a graph: from the cache, if this graph of these lines was planned before."""
    from gradloom.runtime import cache

    settings = current_settings()
    key = cache.make_key(
        kind="plan",
        graph=graph.text(),
        lines=repr(graph.lines()),
        names=repr(tuple(names)),
        disabled=repr(settings.disable),
        host=cache.host_key(),
    )
    found = cache.fetch(key)
    if found is None:
        from gradloom.plan.assemble import make_plan  # the planner, which a warm start never needs

        plan = make_plan(graph, names)
        cache.store(key, pickle.dumps(plan), kind="plan")
    else:
        plan = pickle.loads(found.object)
    if settings.verify:
        from gradloom.plan.verify import verify_plan

        verify_plan(plan)
    return plan


def fitted(graph: Graph, plan: Plan, names: Sequence[str], within: Budget) -> tuple[Graph, Plan]:
    """The graph with values computed again, and its plan; `MemoryLimitError` if none fits."""
    from gradloom.plan.recompute import refitted

    more = within.excess(plan) - plan.arena_bytes  # which no order of kernels changes
    smaller, _ = refitted(graph, lambda arena_bytes: arena_bytes + more)
    found = planned(smaller, names)
    within.check(found)
    return smaller, found


def native_entry(plan: Plan, source: str, clock: Clock) -> tuple[Entry, bool]:
    """The native entry of a plan: from this process, from the cache, or compiled; and whether it
    was there."""
    if current_settings().interpret:
        from gradloom.codegen.source import program_source
        from gradloom.runtime.uncompiled import uncompiled_entry

        slots = sum(b.space not in ("arena", "row") for b in plan.buffers) + 1
        words = driver.FAULTS + len(plan.kernels)
        return uncompiled_entry(program_source(plan, source), slots, words), False
    from gradloom.runtime import cache
    from gradloom.runtime.load import load

    codes = "\n".join(map(repr, plan.codes()))
    key = cache.make_key(driver=_code_only(source), codes=codes, host=cache.host_key())
    if key in _loaded:
        return _loaded[key], True
    found = cache.fetch(key)
    if found is None:
        built = build(plan, source, clock)
        native = built.object
        cache.store(key, native, entry=driver.ENTRY)
    else:
        native = found.object
    _loaded[key] = load(native, driver.ENTRY, driver.ARGUMENTS)
    clock.mark("load")
    return _loaded[key], found is not None


def build(plan: Plan, source: str, clock: Clock) -> Build:
    """Compile for this machine, whatever is cached."""
    clock.mark("plan")
    from gradloom.codegen.cpu.target import host_target
    from gradloom.codegen.module import kernels_text, routines, signatures
    from gradloom.runtime.compile import compile_object

    COMPILED["programs"] += 1
    target = host_target()
    clock.mark("imports")
    kernels = kernels_text(plan, target)
    clock.mark("kernels")
    built = compile_object(
        source,
        driver.ENTRY,
        driver.ARGUMENTS,
        kernels,
        signatures(plan),
        target.cpu,
        target.features,
        routines(plan),
    )
    clock.book(built.seconds)
    return built


def _code_only(source: str) -> str:
    """The driver without the user's lines, which may move without changing the program."""
    return "\n".join(line.partition("#")[0].rstrip() for line in source.splitlines())
