"""READ FIRST.  The compiler as one straight function, a stage a line.

    trace (frontend) -> differentiate (autodiff) -> passes -> plan -> code -> build -> executable

Tracing and differentiation happen while the user's function runs; what follows is `compile_graph`.
"""

from __future__ import annotations

import functools
import importlib
import pickle
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gradloom.clock import Clock
from gradloom.codegen import words
from gradloom.errors import SettingError, message, user_where
from gradloom.ir.graph import Graph
from gradloom.ir.types import TensorType
from gradloom.ir.verify import verify_graph
from gradloom.options import Budget
from gradloom.plan.needs import Needs
from gradloom.program import GpuCode, Program
from gradloom.reporting import report
from gradloom.runtime.course import Runner
from gradloom.runtime.executable import Entry, Executable
from gradloom.settings import Settings
from gradloom.settings import current as current_settings

if TYPE_CHECKING:
    from gradloom.plan.dealt import DevicePlan
    from gradloom.plan.plan import Plan
    from gradloom.runtime.native import Build


COMPILED = {"programs": 0}  # how many were built in this process
# Programs that stay loaded when nobody has them any more, so that the same function, compiled anew,
# is there at once: reading one back takes 2 to 7 ms.  Their drivers have up to 140 KB of code each.
LOADED = 128
_loaded: dict[str, Entry] = {}  # the one used last is the last


def compile_graph(
    graph: Graph,
    names: Sequence[str] = (),
    batch: range | None = None,
    within: Budget | None = None,
    threads: int | None = None,
    clock: Clock | None = None,
    flush: bool = False,
    device: str = "cpu",
    precision: str = "highest",
) -> Program:
    """Graph to native code.  `batch` are the inputs that are a training step's data; `within` is a
    budget of memory, kept by recomputation if need be; `threads` the most that a call may use;
    `clock` has the seconds of what was done before; with `flush`, denormal numbers are zeros;
    `device` is "cpu", "cuda", or a target of `Options`, and `precision` one of its precisions."""
    clock = clock or Clock()
    importlib.import_module("gradloom.runtime.cache")  # llvmlite, which `import gradloom` spares
    clock.mark("imports")
    simplified = functools.cache(partial(run_passes, graph, current_settings()))
    backend = backend_of(device, batch, flush, precision)
    work = planned(graph, simplified, names, backend, clock)
    if within is not None and within.excess(work.plan) > 0:
        work = fitted(work, names, within, backend, clock)
    clock.mark("plan")
    ready = backend.ready(work, clock)
    results = [node.type for node in graph.outputs]
    executable = backend.runner(work.needs, ready.entry, results, threads)
    program = Program(
        graph,
        work.simplified,
        lambda: work.plan,
        backend.text,
        executable,
        clock.seconds,
        ready.cached,
        ready.gpu,
    )
    report(program)
    return program


def backend_of(device: str, batch: range | None, flush: bool, precision: str) -> Backend:
    """What makes programs for the CPU, or for a GPU, which has denormal numbers at no cost."""
    if device == "cpu":
        return Native(batch, flush)
    if flush:
        raise SettingError(
            message(
                f"flush_denormals=True for {device}: a GPU computes with denormal numbers",
                user_where(),
                "leave it out: they take a GPU no longer than others",
            )
        )
    from gradloom.gpu import Cuda, machine_for

    return Cuda(machine_for(device), batch, precision)


def run_passes(graph: Graph, settings: Settings | None = None) -> Graph:
    """Graph to graph, in the order of `PASSES`."""
    from gradloom.passes.order import ALWAYS, PASSES  # which a warm start never needs

    settings = settings or current_settings()
    for rewrite in PASSES:
        if rewrite in ALWAYS or rewrite.__name__ not in settings.disable:
            graph = rewrite(graph)
        if settings.verify:
            verify_graph(graph, rewrite.__name__)
    return graph


class Planned(NamedTuple):
    """A plan; for a GPU, with how it is dealt out among blocks."""

    plan: Plan
    device: DevicePlan | None = None


@dataclass
class Work:
    """The plan of what the passes made of a graph, and what is known of it before it is read:
    `code` is the key of its code."""

    simplified: Callable[[], Graph]
    needs: Needs
    code: str
    pickled: bytes

    @cached_property
    def planned(self) -> Planned:
        """The plan as it was made."""
        found: Planned = pickle.loads(self.pickled)
        return found

    @property
    def plan(self) -> Plan:
        """The plan itself."""
        return self.planned.plan

    @property
    def undealt(self) -> Plan:
        """The plan before it was dealt out among blocks."""
        plan, device = self.planned
        return device.undealt if device else plan


class Ready(NamedTuple):
    """What runs a plan, code or kernels; whether it was there already, and what more there is for a
    GPU."""

    entry: Any
    cached: bool
    gpu: GpuCode | None = None


class Backend(Protocol):
    """What plans are made for, and what makes programs of them: the CPU, or a GPU."""

    @property
    def kind(self) -> str:
        """All that a plan depends on, but the graph and the settings."""
        ...

    def plan(self, graph: Graph, names: Sequence[str]) -> Planned:
        """A plan of what the passes made of a graph."""
        ...

    def text(self, plan: Plan) -> str:
        """The text of a plan's driver."""
        ...

    def code_key(self, planned: Planned) -> str:
        """What the code of a plan is kept under."""
        ...

    def ready(self, work: Work, clock: Clock) -> Ready:
        """A plan, ready to run."""
        ...

    def runner(
        self, needs: Needs, entry: Any, results: list[TensorType], threads: int | None
    ) -> Runner:
        """What calls what is ready."""
        ...


class Native(NamedTuple):
    """The CPU: for one pass, or for training on `batch`; with `flush`, denormal numbers are zeros
    meanwhile."""

    batch: range | None
    flush: bool

    @property
    def kind(self) -> str:
        return repr(self)

    def plan(self, graph: Graph, names: Sequence[str]) -> Planned:
        from gradloom.plan.assemble import make_plan  # the planner, which a warm start never needs

        return Planned(make_plan(graph, names))

    def text(self, plan: Plan) -> str:
        from gradloom.codegen import driver

        batch = self.batch
        text = (driver.program_text if batch is None else driver.training_text(batch))(plan)
        return driver.flushing(text) if self.flush else text

    def code_key(self, planned: Planned) -> str:
        return code_key(planned.plan, self.text(planned.plan))

    def ready(self, work: Work, clock: Clock) -> Ready:
        found = None if current_settings().interpret else loaded(work.code, clock)
        if found is None:
            return Ready(*native_entry(work.plan, self.text(work.plan), clock))
        return Ready(found, cached=True)

    def runner(
        self, needs: Needs, entry: Entry, results: list[TensorType], threads: int | None
    ) -> Executable:
        return Executable(needs, entry, results, threads)


def planned(
    graph: Graph,
    simplified: Callable[[], Graph],
    names: Sequence[str],
    backend: Backend,
    clock: Clock,
) -> Work:
    """The plan of a graph once it is simplified: from the cache, if this graph of these lines was
    planned before, for which no pass need run."""
    from gradloom.runtime import cache

    settings = current_settings()
    key = cache.make_key(
        kind="plan",
        graph=graph.text(),
        lines=repr(graph.lines()),
        names=repr(tuple(names)),
        backend=backend.kind,
        disabled=repr(settings.disable),
        host=cache.host_key(),
    )
    found = cache.fetch(key)
    if found is None or settings.verify:
        clock.mark("plan")
        simple = simplified()
        clock.mark("passes")
    if found is None:
        made = backend.plan(simple, names)
        parts = made.plan.needs, backend.code_key(made), pickle.dumps(made)
        cache.store(key, pickle.dumps(parts), kind="plan")
    else:
        parts = pickle.loads(found.object)
    work = Work(simplified, *parts)
    if settings.verify:
        from gradloom.plan.verify import verify_plan

        verify_plan(work.undealt, split=work.planned.device is None)
    return work


def fitted(
    work: Work, names: Sequence[str], within: Budget, backend: Backend, clock: Clock
) -> Work:
    """The plan of the same graph with values computed again; `MemoryLimitError` if none fits."""
    from gradloom.plan.recompute import refitted

    more = within.excess(work.plan) - work.undealt.arena_bytes  # which no order of kernels changes
    smaller, _ = refitted(work.simplified(), lambda arena_bytes: arena_bytes + more)
    found = planned(smaller, lambda: smaller, names, backend, clock)
    within.check(found.plan)
    return found


def native_entry(plan: Plan, source: str, clock: Clock) -> tuple[Entry, bool]:
    """The native entry of a plan with this driver: from this process, from the cache, or compiled;
    and whether it was there."""
    if current_settings().interpret:
        from gradloom.codegen.source import program_source
        from gradloom.runtime.uncompiled import uncompiled_entry

        slots = sum(b.space not in ("arena", "row") for b in plan.buffers) + 1
        text = program_source(plan, source)
        return uncompiled_entry(text, slots, words.FAULTS + len(plan.kernels)), False
    from gradloom.codegen.module import contents
    from gradloom.runtime import cache, stages

    key = code_key(plan, source)
    found = loaded(key, clock)
    if found is not None:
        return found, True
    COMPILED["programs"] += 1
    groups = stages.groups(contents(plan), lambda names: compile_stages(plan, names, clock))
    built = compile_driver(plan, source, clock)
    cache.store(key, built.object, entry=words.ENTRY, stages=groups)
    entry = _keep(key, stages.load_driver(built.object, groups))
    clock.mark("load")
    return entry, False


def code_key(plan: Plan, source: str) -> str:
    """What machine code is kept under: its driver and its stages, on this machine."""
    from gradloom.runtime import cache

    codes = "\n".join(map(repr, plan.codes()))
    return cache.make_key(driver=code_only(source), codes=codes, host=cache.host_key())


def loaded(key: str, clock: Clock) -> Entry | None:
    """The machine code of that key: from this process, or from the cache."""
    from gradloom.runtime import cache, stages

    entry = _loaded.pop(key, None)
    if entry is None:
        found = cache.fetch(key)
        groups = found.notes["stages"] if found else {}
        if found is None or not all(map(stages.group_code, groups)):
            return None
        entry = stages.load_driver(found.object, groups)
    clock.mark("load")
    return _keep(key, entry)


def _keep(key: str, entry: Entry) -> Entry:
    """The entry, loaded; the one that was used longest ago may go."""
    _loaded[key] = entry
    if len(_loaded) > LOADED:
        _loaded.pop(next(iter(_loaded)), None)
    return entry


def compile_stages(plan: Plan, names: Collection[str], clock: Clock) -> Build:
    """Compile stages that are functions of their own to one object, whatever is cached."""
    clock.mark("plan")
    from gradloom.codegen.cpu.target import host_target
    from gradloom.codegen.module import apart, kernels_text, routines
    from gradloom.runtime.compile import with_routines
    from gradloom.runtime.native import make_object

    target = host_target()
    clock.mark("imports")
    codes = [code for name, code in apart(plan).items() if name in names]
    text = kernels_text(codes, target)
    called = {name: routine for name, routine in routines(plan).items() if name in names}
    texts = with_routines([text], called)
    clock.mark("kernels")
    built = make_object(texts, names, target.cpu, target.features, Clock())
    clock.book(built.seconds)
    return built


def compile_driver(plan: Plan, source: str, clock: Clock) -> Build:
    """Compile the driver and the stages that are written out in it, whatever is cached."""
    clock.mark("plan")
    from gradloom.codegen.cpu.target import host_target
    from gradloom.codegen.module import contents, embedded, kernels_text, routines, signatures
    from gradloom.runtime.compile import compile_object

    target = host_target()
    clock.mark("imports")
    kernels = kernels_text(embedded(plan), target)
    clock.mark("kernels")
    built = compile_object(
        source,
        words.ENTRY,
        words.ARGUMENTS,
        kernels,
        signatures(plan),
        target.cpu,
        target.features,
        routines(plan),
        contents(plan),
    )
    clock.book(built.seconds)
    return built


def build(plan: Plan, source: str, clock: Clock) -> Build:
    """Compile the whole program to one object, whatever is cached: the same code, in one piece."""
    from gradloom.codegen.cpu.target import host_target
    from gradloom.codegen.module import contents
    from gradloom.runtime.native import join

    parts = [
        compile_stages(plan, contents(plan), clock),
        compile_driver(plan, source, clock),
    ]
    target = host_target()
    built = join(parts, words.ENTRY, target.cpu, target.features, Clock())
    clock.book(built.seconds)
    return built


def code_only(source: str) -> str:
    """The driver without the user's lines, which may move without changing the program."""
    return "\n".join(line.partition("#")[0].rstrip() for line in source.splitlines())
