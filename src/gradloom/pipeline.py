"""READ FIRST.  The compiler as one straight function, a stage a line.

    trace (frontend) -> differentiate (autodiff) -> passes -> plan -> code -> build -> executable

Tracing and differentiation happen while the user's function runs; what follows is `compile_graph`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING


from gradloom.codegen import driver
from gradloom.ir.graph import Graph
from gradloom.passes.simplify import PASSES
from gradloom.plan.assemble import make_plan
from gradloom.plan.plan import Plan
from gradloom.runtime.executable import Entry, Executable
from gradloom.settings import current as current_settings

if TYPE_CHECKING:
    from gradloom.runtime.native import Build


@dataclass
class Program:
    """Every stage of one compilation, kept so that each can be asked for."""

    traced: Graph
    graph: Graph
    plan: Plan
    driver: str
    executable: Executable
    seconds: dict[str, float] = field(default_factory=dict)
    cached: bool = False


COMPILED = {"programs": 0}  # how many were built by Numba in this process
_loaded: dict[str, Entry] = {}


def compile_graph(
    graph: Graph, names: Sequence[str] = (), text: driver.Writer = driver.program_text
) -> Program:
    """Graph to native code."""
    clock = _Clock()
    simple = run_passes(graph)
    clock.mark("passes")
    plan = make_plan(simple, names)
    clock.mark("plan")
    source = text(plan)
    entry, cached = _entry(plan, source)
    clock.mark("load" if cached else "compile")
    return Program(graph, simple, plan, source, Executable(plan, entry), clock.seconds, cached)


def run_passes(graph: Graph) -> Graph:
    """Graph to graph, in the order of `PASSES`."""
    for rewrite in PASSES:
        if rewrite.__name__ not in current_settings().disable:
            graph = rewrite(graph)
    return graph


def _entry(plan: Plan, source: str) -> tuple[Entry, bool]:
    """The native entry of a plan: from this process, from the cache, or from Numba."""
    from gradloom.runtime import cache  # llvmlite: 50 ms that importing gradloom should not cost
    from gradloom.runtime.load import load

    codes = "\n".join(map(repr, plan.codes()))
    key = cache.make_key(driver=_code_only(source), codes=codes, host=cache.host_key())
    if key in _loaded:
        return _loaded[key], True
    found = cache.fetch(key)
    native = build(plan, source).object if found is None else found.object
    if found is None:
        cache.store(key, native, entry=driver.ENTRY)
    _loaded[key] = load(native, driver.ENTRY, driver.ARGUMENTS)
    return _loaded[key], found is not None


def build(plan: Plan, source: str) -> Build:
    """Compile for this machine with Numba, whatever is cached."""
    from gradloom.codegen.cpu.target import host_target
    from gradloom.codegen.module import kernels_text, signatures
    from gradloom.runtime.build import compile_object  # numba: only a cache miss needs it

    COMPILED["programs"] += 1
    target = host_target()
    return compile_object(
        source,
        driver.ENTRY,
        driver.ARGUMENTS,
        kernels_text(plan, target),
        signatures(plan),
        target.cpu,
        target.features,
    )


def _code_only(source: str) -> str:
    """The driver without the user's lines, which may move without changing the program."""
    return "\n".join(line.partition("#")[0].rstrip() for line in source.splitlines())


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        reading = time.perf_counter()
        self.seconds[stage] = reading - self._last
        self._last = reading
