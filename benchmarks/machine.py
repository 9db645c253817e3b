"""What was measured on: processor, cores, versions.  No names of hosts, no paths."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "numba", "llvmlite", "torch", "jax", "optax", "scikit-learn", "mlxtend")


def threads_environment(threads: int) -> dict[str, str]:
    """What libraries read when they are imported: BLAS, OpenMP (torch, tinygrad), XLA's pool.

    XLA has no number of its own but takes as many threads as the process has cores, so a process
    that is measured is held to that many (`benchmarks/worker.py`); for one thread it also has a
    switch.
    """
    count = str(threads)
    numbers = {f"{name}_NUM_THREADS": count for name in ("OPENBLAS", "OMP", "MKL", "NUMBA")}
    numbers |= {"VECLIB_MAXIMUM_THREADS": count, "NPROC": count, "PJRT_NPROC": count}
    # torch.compile's pool of compilers would stay beside the measurement
    numbers |= {"JAX_PLATFORMS": "cpu", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return numbers | {"XLA_FLAGS": single if threads == 1 else ""}


def cores(threads: int) -> list[int]:
    """The cores that a process with so many threads is held to: the last of those allowed."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return allowed[-threads:]


def describe() -> dict[str, Any]:
    """A description that JSON can hold."""
    import llvmlite.binding as llvm

    import gradloom

    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "processor": processor(),
        "llvm_cpu": llvm.get_host_cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "gradloom": gradloom.__version__,
        "versions": versions,
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }


def processor() -> str:
    """The processor's own name, as far as the system tells it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def line(machine: dict[str, Any]) -> str:
    """The description in a sentence."""
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v)
    return (
        f"{machine['processor']} ({machine['llvm_cpu']}), {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}, {versions}; load average at the end "
        f"{machine['load_average'][0]}."
    )
