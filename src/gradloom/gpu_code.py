"""What the code of a program for a GPU can be asked: how it is launched, and what that takes."""

from __future__ import annotations

from collections.abc import Mapping

from gradloom.errors import ToolchainError
from gradloom.plan.dealt import Tiled
from gradloom.plan.explain import table
from gradloom.plan.forms import estimate
from gradloom.plan.tiles import THREADS
from gradloom.program import GpuCode
from gradloom.runtime.cuda.kernel import Ptx, Resources

COLUMNS = ("launch", "blocks", "shared bytes", "registers", "stack bytes", "spilled bytes")


def form(code: GpuCode) -> str:
    """How a program runs, in words."""
    most = max(code.ptx.shared_bytes.values(), default=0)
    rounded = {f.precision for f in code.plan.functions.values() if isinstance(f, Tiled)} - {""}
    products = "".join(f", products in {precision}" for precision in sorted(rounded))
    size = f"{THREADS} threads a block, {most:,} bytes of shared memory"
    expected = estimate(code.plan.plan, cluster=code.ptx.cluster)
    return f"{_launched(code.ptx)}, {size}{products}; {expected}"


def _launched(ptx: Ptx) -> str:
    if ptx.host is None:
        return "one kernel, whose blocks are a cluster" if ptx.cluster else "one kernel"
    way = "as one graph" if ptx.host.straight else "one by one, since the host reads what decides"
    return f"{len(ptx.grains)} kernels, launched {way}"


def launch_table(code: GpuCode) -> str:
    """A line a kernel that is launched: the most blocks that have something to do, and what each
    thread and block takes, as far as there is a linker to say so."""
    try:
        taken, missing = _resources(code), ""
    except ToolchainError as error:
        taken, missing = {}, f"registers are not known: {error}\n"
    rows = []
    for name, blocks in code.ptx.grains.items():
        found = taken.get(name)
        counts = ("", "", "")
        if found:
            spilled = found.spill_stores + found.spill_loads
            counts = str(found.registers), f"{found.stack_bytes:,}", f"{spilled:,}"
        rows.append((name, f"{blocks:,}", f"{code.ptx.shared_bytes[name]:,}", *counts))
    return table(COLUMNS, range(1, len(COLUMNS)), rows) + missing


def _resources(code: GpuCode) -> Mapping[str, Resources]:
    from gradloom.runtime.cuda.cubins import linked  # which a start without a GPU never needs

    return linked([code.ptx.text], code.arch).resources
