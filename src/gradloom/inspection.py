"""What every compiled thing can be asked: its kernels, memory, source, machine code and pictures.

Each question is a function of a `Program`; `inspectable.py` offers them as methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gradloom.clock import Clock
from gradloom.codegen.source import program_source
from gradloom.errors import StateError, message, user_where
from gradloom.gpu_code import form, launch_table
from gradloom.ir.draw import graph_svg
from gradloom.ir.source import CONST, constant_of
from gradloom.pipeline import Program, build
from gradloom.plan.arena import padded
from gradloom.plan.draw import arena_svg, memory_table, side_by_side
from gradloom.plan.explain import kernel_table, moved_bytes
from gradloom.plan.needs import team_nanoseconds
from gradloom.plan.plan import Buffer, rounds_of
from gradloom.program import GpuCode
from gradloom.runtime.course import Runner

# How arrays that a function closed over are called among a program's inputs.
CAPTURED = "captured_"


# ---- kernels


def explain(program: Program) -> str:
    """The kernels of a program, what the trace absorbed, and totals."""
    plan = program.plan
    used = memory(program)
    moved = sum(moved_bytes(plan, k) * rounds for k, rounds in rounds_of(plan.parts))
    lines = [
        f"{plan.nodes} operations -> {len(plan.kernels)} kernels",
        f"a pass: {plan.flops:,} flops, {moved:,} bytes read and written by kernels",
        f"arena: {used.arena_bytes:,} bytes; side by side its buffers take {used.separate_bytes:,}",
        f"machine code: {'from the cache' if program.cached else 'compiled'}",
        f"made in {_stages(program.seconds)}",
        f"GPU: {program.gpu.arch}; {form(program.gpu)}"
        if program.gpu
        else f"threads: {_threads(program)}",
        f"arrays closed over: {_listed(map(_named, _captured(program)))}",
        f"numbers that are part of the code: {_listed(constants(program))}",
    ]
    return "\n".join(lines) + "\n\n" + _kernels(program)


def _kernels(program: Program) -> str:
    """The kernels of the plan; of a program for a GPU also those that are launched."""
    if program.gpu is None:
        return kernel_table(program.plan)
    return f"{launch_table(program.gpu)}\n{kernel_table(program.plan, program.gpu.plan)}"


def _stages(seconds: dict[str, float]) -> str:
    """What a compilation took, whole and by stage."""
    parts = ", ".join(f"{stage} {taken * 1e3:.1f}" for stage, taken in seconds.items())
    return f"{sum(seconds.values()):.3f} s; milliseconds: {parts}"


def _threads(program: Program) -> str:
    """How many run a call, and what the planner expects of that."""
    effort, pace = program.plan.effort, program.executable.pace
    size = pace.team if pace else 1
    alone, together = (team_nanoseconds(effort, n) / 1e3 for n in (1, max(size, 2)))
    return (
        f"{size}; estimated {alone:,.1f} us a pass on one, {together:,.1f} us on {max(size, 2)},"
        f" who meet {effort.barriers:g} times"
    )


def constants(program: Program) -> list[str]:
    """Numbers that the trace made part of the program, each with the user's line."""
    found = (n for n in program.traced.nodes() if n.op is CONST)
    return list(
        dict.fromkeys(f"{constant_of(n['value'], n['dtype']):g} ({n.where})" for n in found)
    )


def _captured(program: Program) -> list[Buffer]:
    return [b for b in program.plan.buffers if b.space == "input" and b.name.startswith(CAPTURED)]


def _named(buffer: Buffer) -> str:
    return f"{buffer.name} {buffer.type}"


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts) or "none"


# ---- memory


@dataclass(frozen=True)
class MemoryReport:
    """The bytes of a program, before it ran; its text is a table of all buffers.

    `arena_bytes` holds every intermediate value, where `separate_bytes` would be taken without
    reuse; `control_bytes` are control words and addresses, and `transfer_bytes` what arguments and
    results of the host's take on a GPU.  These belong to the program, once for each call in flight
    (`call_bytes`).  `staging_bytes` is what `fit` takes beyond a call, where it
    gathers its batches.  `state_bytes` are a training state; `input_bytes` and `output_bytes` the
    caller's own arrays.
    """

    arena_bytes: int
    separate_bytes: int
    staging_bytes: int
    control_bytes: int
    transfer_bytes: int
    state_bytes: int
    input_bytes: int
    output_bytes: int
    buffers: tuple[Buffer, ...]
    table: str

    @property
    def call_bytes(self) -> int:
        """What the program itself takes for a call."""
        return self.arena_bytes + self.control_bytes + self.transfer_bytes

    def __str__(self) -> str:
        rows = {
            "control": self.control_bytes,
            **({"transfer": self.transfer_bytes} if self.transfer_bytes else {}),
            "a call in all": self.call_bytes,
            "staging": self.staging_bytes,
            "state": self.state_bytes,
            "inputs": self.input_bytes,
            "outputs": self.output_bytes,
        }
        digits = max(len(f"{count:,}") for count in rows.values())
        lines = [f"{name:<13} {count:>{digits},} bytes" for name, count in rows.items()]
        return self.table + "\n".join(lines) + "\n"


def memory(program: Program) -> MemoryReport:
    """The bytes that a program uses."""
    plan, executable = program.plan, program.executable
    given = program.traced.inputs[len(program.traced.updates) :]
    spaces: dict[str, list[int]] = {"state": [], "input": [], "output": [], "arena": []}
    for buffer in plan.buffers:
        if buffer.space in spaces:  # a row is part of another
            spaces[buffer.space].append(buffer.type.nbytes)
    return MemoryReport(
        plan.arena_bytes,
        side_by_side(plan),
        executable.staging_bytes,
        executable.control_bytes,
        executable.transfer_bytes([node.type.nbytes for node in given]),
        sum(map(padded, spaces["state"])),
        sum(spaces["input"]),
        sum(spaces["output"]),
        plan.buffers,
        memory_table(plan),
    )


def _most_bytes(executable: Runner) -> int:
    """The arena of a run that gathers its batches."""
    return executable.arena_bytes + executable.staging_bytes


# ---- code


def source(program: Program) -> str:
    """A module that runs uncompiled: the plan's stages as loops, and the driver Numba compiles."""
    if program.gpu:  # whose stages in Python go over elements, not over items of blocks
        undealt = program.gpu.plan.undealt
        return program_source(undealt, program.write_driver(undealt))
    return program_source(program.plan, program.driver, _most_bytes(program.executable))


def llvm(program: Program) -> str:
    """The optimised LLVM text; compiles, since the cache keeps machine code alone."""
    if program.gpu:
        return program.gpu.llvm()
    return build(program.plan, program.driver, Clock()).llvm


def assembly(program: Program) -> str:
    """This machine's assembly; compiles, like `llvm`."""
    if program.gpu:
        raise StateError(
            message(
                "this program is for a GPU, which has no assembly of this machine's",
                user_where(),
                "ask it for .ptx() or .sass()",
            )
        )
    from gradloom.codegen.cpu.target import host_target  # llvmlite, which importing should not cost
    from gradloom.runtime.load import assembly as emit

    target = host_target()
    return emit(llvm(program), target.cpu, target.features)


def kernels(program: Program) -> str:
    """The stages of a program for GPUs as Python, each with a kernel to launch it by; routines are
    in `source`."""
    from gradloom.codegen.cuda.text import device_text

    return device_text(_for_gpu(program).plan).module()


def ptx(program: Program) -> str:
    """The kernels of a program for GPUs."""
    return _for_gpu(program).ptx.text


def sass(program: Program) -> str:
    """The machine code of a program for GPUs."""
    from gradloom.runtime.cuda.cubins import linked  # which a program for the CPU never needs
    from gradloom.runtime.cuda.linker import sass as disassembled

    found = _for_gpu(program)
    return disassembled(linked([found.ptx.text], found.arch))


def _for_gpu(program: Program) -> GpuCode:
    if program.gpu:
        return program.gpu
    raise StateError(
        message(
            "this program is for the CPU, which has no kernels",
            user_where(),
            'compile it with device="cuda" or target="cuda-ptx"; for the CPU there is .source()',
        )
    )


# ---- pictures


@dataclass
class Drawing:
    """Two SVG texts: the graph after its passes, and the arena; `files` once they are saved."""

    graph: str
    arena: str
    files: tuple[Path, ...] = ()

    def save(self, path: str | Path) -> tuple[Path, ...]:
        """Write `path_graph.svg` and `path_arena.svg`; their names."""
        stem = Path(path)
        stem = stem.with_suffix("") if stem.suffix == ".svg" else stem
        stem.parent.mkdir(parents=True, exist_ok=True)
        self.files = tuple(stem.with_name(f"{stem.name}_{part}.svg") for part in ("graph", "arena"))
        for file, text in zip(self.files, (self.graph, self.arena), strict=True):
            file.write_text(text, encoding="utf-8")
        return self.files

    def _repr_svg_(self) -> str:
        """Both, one above the other, for notebooks."""
        (wide, high), (wide_below, high_below) = map(_size, (self.graph, self.arena))
        below = self.arena.replace("<svg ", f'<svg y="{high}" ', 1)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{max(wide, wide_below)}" '
            f'height="{high + high_below}">\n{self.graph}{below}</svg>\n'
        )


def draw(program: Program) -> Drawing:
    """The graph and the arena of a program."""
    return Drawing(graph_svg(program.graph), arena_svg(program.plan))


def _size(svg: str) -> tuple[int, int]:
    found = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert found, "every picture says its size"
    return int(found[1]), int(found[2])


# What GRADLOOM_DEBUG and GRADLOOM_DUMP show of a compilation.
STAGES: dict[str, Callable[[Program], str]] = {
    "explain": _kernels,
    "trace": lambda p: p.traced.text(lines=True),
    "graph": lambda p: "(unchanged)" if p.graph is p.traced else p.graph.text(lines=True),
    "memory": lambda p: memory_table(p.plan),
    "source": source,
    "llvm": llvm,
}
