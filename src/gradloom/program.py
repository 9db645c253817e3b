"""One compilation, every stage of it kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from gradloom.ir.graph import Graph
from gradloom.runtime.course import Runner

if TYPE_CHECKING:
    from gradloom.plan.dealt import DevicePlan
    from gradloom.plan.plan import Plan
    from gradloom.runtime.cuda.kernel import Ptx


@dataclass
class GpuCode:
    """What a program for a GPU is beside: how its plan is dealt out, and its kernels; `llvm` makes
    the text anew that these are made of, but for stages that another compiler is given."""

    plan: DevicePlan
    ptx: Ptx
    arch: str
    llvm: Callable[[], str]


@dataclass
class Program:
    """Every stage of one compilation, kept so that each can be asked for.

    A call needs neither the graph after the passes, nor the plan, nor the driver's text, so they
    are made, read, or written, when they are asked for.
    """

    traced: Graph
    simplify: Callable[[], Graph]
    read_plan: Callable[[], Plan]
    write_driver: Callable[[Plan], str]
    executable: Runner
    seconds: dict[str, float] = field(default_factory=dict)
    cached: bool = False
    gpu: GpuCode | None = None  # of a program for a GPU

    @cached_property
    def graph(self) -> Graph:
        """What the passes made of it."""
        return self.simplify()

    @cached_property
    def plan(self) -> Plan:
        """What was decided."""
        return self.read_plan()

    @cached_property
    def driver(self) -> str:
        """The text of the driver."""
        return self.write_driver(self.plan)
