"""One compilation, every stage of it kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradloom.ir.graph import Graph
from gradloom.plan.plan import Plan
from gradloom.runtime.executable import Executable


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
