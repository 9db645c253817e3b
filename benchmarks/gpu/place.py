"""Where the contenders run: on a GPU, or, to rehearse, on a machine that has none.

cuda        everybody on the first GPU: the only place whose figures are written down
cpu         everybody on the CPU
pretended   gradloom on the fake driver of the tests, whose kernels the interpreter of PTX runs,
            and everybody else on the CPU
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from benchmarks.machine import cores

PLACES = ("cuda", "cpu", "pretended")
PRETENDED = "tests.runtime.cuda.pretended"


def environment(place: str, disable: str = "") -> dict[str, str]:
    """What a contender's process begins with: all cores, one GPU that it shares with the others,
    and float32 that is float32 (JAX would take TensorFloat-32)."""
    count = str(os.cpu_count())
    found = {f"{name}_NUM_THREADS": count for name in ("OPENBLAS", "OMP", "MKL", "NUMBA")}
    return found | {
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0"),
        "GRADLOOM_DISABLE": disable,
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "JAX_PLATFORMS": "cuda" if place == "cuda" else "cpu",
        "TORCHINDUCTOR_COMPILE_THREADS": count,
        "XLA_FLAGS": "",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def all_cores() -> list[int]:
    """Of this machine."""
    return cores(os.cpu_count() or 1)


def of_ours(place: str) -> str:
    """gradloom's name of the device, which is there afterwards."""
    if place == "pretended":
        importlib.import_module(PRETENDED)
    return "cpu" if place == "cpu" else "cuda"


def of_torch(place: str) -> str:
    """PyTorch's name of the device."""
    return "cuda" if place == "cuda" else "cpu"


def describe(place: str) -> dict[str, Any]:
    """The GPU, for the results."""
    if place != "cuda":
        return {"name": f"no GPU: a rehearsal ({place})"}
    from gradloom.runtime.cuda.driver import device

    found = device()
    major, minor = divmod(found.driver_version // 10, 100)
    return {
        "name": found.name,
        "arch": found.arch,
        "multiprocessors": found.multiprocessors,
        "memory_bytes": found.total_bytes,
        "driver_supports_cuda": f"{major}.{minor}",
    }
