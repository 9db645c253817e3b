"""What `GRADLOOM_DEBUG` prints and `GRADLOOM_DUMP` writes after a compilation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from gradloom.codegen.source import program_source
from gradloom.plan.draw import memory_table
from gradloom.plan.explain import kernel_table
from gradloom.program import Program
from gradloom.settings import current

STAGES: dict[str, tuple[int, Callable[[Program], str]]] = {
    # name: (the debug level that prints it, its text)
    "explain": (2, lambda p: kernel_table(p.plan)),
    "trace": (3, lambda p: p.traced.text(lines=True)),
    "graph": (3, lambda p: "(unchanged)" if p.graph is p.traced else p.graph.text(lines=True)),
    "memory": (3, lambda p: memory_table(p.plan)),
    "source": (4, lambda p: program_source(p.plan, p.driver)),
    "llvm": (5, lambda p: _llvm(p)),
}


def report(program: Program) -> None:
    """Print and write what the settings ask for."""
    chosen = current()
    if chosen.debug:
        sys.stderr.write(_line(program) + "\n")
    for name, (level, text) in STAGES.items():
        if chosen.debug >= level:
            sys.stderr.write(f"---- {name}\n{text(program)}\n")
        if name in chosen.dump:
            folder = Path(chosen.dump_dir)
            folder.mkdir(parents=True, exist_ok=True)
            file = (
                folder
                / f"{program.plan.kernels[-1].name if program.plan.kernels else 'k'}_{name}.txt"
            )
            file.write_text(text(program), encoding="utf-8")


def _line(program: Program) -> str:
    plan = program.plan
    seconds = " ".join(f"{stage} {taken:.3f}" for stage, taken in program.seconds.items())
    origin = "cache hit" if program.cached else "compiled"
    return (
        f"gradloom: {origin}; {plan.nodes} operations, {len(plan.kernels)} kernels,"
        f" arena {plan.arena_bytes} bytes; seconds: {seconds}"
    )


def _llvm(program: Program) -> str:
    from gradloom.pipeline import build  # the pipeline reports by this module

    return build(program.plan, program.driver).llvm
