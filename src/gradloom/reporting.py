"""What `GRADLOOM_DEBUG` prints and `GRADLOOM_DUMP` writes after a compilation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gradloom.settings import current

if TYPE_CHECKING:
    from gradloom.program import Program

# Stages, and the debug level that prints each; their texts are in `inspection.STAGES`.
LEVELS = {"explain": 2, "trace": 3, "graph": 3, "memory": 3, "source": 4, "llvm": 5}


def report(program: Program) -> None:
    """Print and write what the settings ask for."""
    chosen = current()
    if not chosen.debug and not chosen.dump:
        return
    from gradloom.inspection import STAGES  # drawings and tables, which hardly a run asks for

    if chosen.debug:
        sys.stderr.write(_line(program) + "\n")
    kernels = program.plan.kernels
    for name, level in LEVELS.items():
        if chosen.debug >= level:
            sys.stderr.write(f"---- {name}\n{STAGES[name](program)}\n")
        if name in chosen.dump:
            folder = Path(chosen.dump_dir)
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{kernels[-1].name if kernels else 'empty'}_{name}.txt"
            file.write_text(STAGES[name](program), encoding="utf-8")


def _line(program: Program) -> str:
    plan = program.plan
    seconds = " ".join(f"{stage} {taken:.3f}" for stage, taken in program.seconds.items())
    origin = "cache hit" if program.cached else "compiled"
    return (
        f"gradloom: {origin}; {plan.nodes} operations, {len(plan.kernels)} kernels,"
        f" arena {plan.arena_bytes} bytes; seconds: {seconds}"
    )
