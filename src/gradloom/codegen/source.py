"""A plan as one Python module that runs uncompiled: its stages, its driver, and `run(*arrays)`.

In: a plan and the text of its driver, the one that Numba compiles.  Step through it with `pdb`.
"""

from __future__ import annotations

import builtins
import hashlib
import linecache
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gradloom.codegen import driver
from gradloom.codegen.primitives import PRIMITIVES, WORDS
from gradloom.codegen.text import preamble, stage_text
from gradloom.plan.plan import Load, Nest, Plan, Product, Stage

# Lines of the user's that are named beside one kernel.
LINES = 4

TYPED = '''\
def array(memory, dtype):
    """Memory, from its first byte to its last whole element, as an array."""
    return memory[: memory.size - memory.size % np.dtype(dtype).itemsize].view(dtype)


def typed(*dtypes):
    """Hand a stage its memory as arrays of these dtypes; compiled, they are bare addresses."""

    def decorate(stage):
        def call(start, stop, *memory):
            stage(start, stop, *(array(m, d) for m, d in zip(memory, dtypes)))

        return call

    return decorate
'''

RUN = '''\
def memory(array):
    """The bytes of a contiguous array."""
    return array.reshape(-1).view(np.uint8)


def run(*arrays):
    """The outputs, as new arrays.  `arrays` are contiguous, as in INPUTS; a training step updates
    those of its state in place."""
    outputs = [np.zeros(shape, dtype) for _, dtype, shape in OUTPUTS]
    order = np.zeros(1, np.int64)
    control = np.zeros(CONTROL_WORDS, np.int64)
    control[{until}] = control[{batches}] = 1  # for a training step: one batch
    table = [memory(array) for array in (*arrays, *outputs, order)]
    with np.errstate(all="ignore"):
        {entry}(table, np.zeros(ARENA_BYTES, np.uint8), memory(control), 0, 1)
    return outputs


if __name__ == "__main__":
    print(*run(*(np.ones(shape, dtype) for _, dtype, shape in INPUTS)), sep="\\n")
'''


def program_source(plan: Plan, text: str, arena_bytes: int = 0) -> str:
    """The module of a plan and its driver's `text`; `arena_bytes` if more than the plan's."""
    written = set(re.findall(r"\w+", text))
    used = sorted(name for name in PRIMITIVES if name in WORDS or name in written)
    imports = f"\nfrom gradloom.codegen.primitives import {', '.join(used)}\n"
    numpy = "import numpy as np\n"
    stages = [_stage(plan, code) for code in plan.codes()]
    parts = [
        f'"""{_headline(plan)}"""\n\n{preamble().replace(numpy, numpy + imports, 1)}',
        _constants(plan, max(arena_bytes, plan.arena_bytes)),
        TYPED,
        "# ---- stages\n",
        *stages,
        "# ---- driver\n",
        text.rstrip() + "\n",
        RUN.format(until=driver.UNTIL, batches=driver.BATCHES, entry=driver.ENTRY),
    ]
    return "\n\n".join(parts)


def run_source(text: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a module of `program_source` on arrays of its INPUTS; the outputs.

    The arrays of a training step's state are updated in place.
    """
    outputs: list[np.ndarray] = load_source(text)["run"](*arrays)
    return outputs


def load_source(text: str) -> dict[str, Any]:
    """The namespace of a module of `program_source`.  Tracebacks and `pdb` show its text."""
    name = f"<gradloom {hashlib.sha256(text.encode()).hexdigest()[:12]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    module: dict[str, Any] = {"__name__": name}
    exec(compile(text, name, "exec"), module)
    return module


def _headline(plan: Plan) -> str:
    return f"{plan.nodes} operations as {len(plan.kernels)} kernels, in plain Python."


def _constants(plan: Plan, arena_bytes: int) -> str:
    lines = []
    for name, spaces in (("INPUTS", ("input", "state")), ("OUTPUTS", ("output",))):
        rows = [(b.name, b.type.dtype, b.type.shape) for b in plan.buffers if b.space in spaces]
        lines += [f"{name} = [", *(f"    {row!r}," for row in rows), "]"]
    lines += [
        f"ARENA_BYTES = {arena_bytes}",
        f"CONTROL_WORDS = {driver.FAULTS + len(plan.kernels)}",
    ]
    return "\n".join(lines) + "\n"


def _stage(plan: Plan, code: Nest | Product) -> str:
    """A stage with the kernels that run it, their lines, and its operands' dtypes."""
    uses = [(k.name, k.where, s) for k in plan.kernels for s in k.stages if s.code == code]
    kernels = dict.fromkeys(name for name, _, _ in uses)
    lines = list(dict.fromkeys(str(w) for _, where, _ in uses for w in where))
    shown = ", ".join(lines[:LINES])
    shown += f", {len(lines) - LINES} more" if len(lines) > LINES else ""
    dtypes = ", ".join(f'"{dtype}"' for dtype in _dtypes(code, len(uses[0][2].operands)))
    names = _names(plan, uses[0][2]) if len(uses) == 1 else ()
    head = [f"# {', '.join(kernels)}" + (f": {shown}" if shown else "")]
    return "\n".join([*head, f"@typed({dtypes})", stage_text(code, names=names)])


def _names(plan: Plan, stage: Stage) -> list[str]:
    """The names of a stage's buffers, none of which hides a name of Python's."""
    found = (plan.buffers[operand.buffer].name for operand in stage.operands)
    return [f"{name}_" if hasattr(builtins, name) else name for name in found]


def _dtypes(code: Nest | Product, count: int) -> Iterator[str]:
    if isinstance(code, Product):
        return iter([code.dtype] * count)
    known = {s.operand: s.dtype for s in code.steps if isinstance(s, Load)}
    known |= {s.operand: s.dtype for s in code.stores}
    return (known.get(number, "uint8") for number in range(count))
