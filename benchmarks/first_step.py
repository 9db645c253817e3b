"""The first step of a three-layer perceptron with Adam, in the process that `startup` starts.

Prints one line of JSON.  Arguments: `gradloom` or `jax`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

SIZES = (64, 128, 64, 10)
BATCH = 64


def in_gradloom() -> dict[str, Any]:
    """Seconds from the first line of the user's training to the first loss."""
    start = time.perf_counter()
    from benchmarks.contenders.ours import Training
    from benchmarks.models.perceptrons import made_up

    model = made_up("", "", SIZES, "float32", count=1, rows=BATCH)
    imported = time.perf_counter()
    training = Training(model, threads=1, device="cpu")
    training.restart()
    training.each()
    done = time.perf_counter()
    program = training.step.program()
    return {
        "imports": imported - start,
        "first_step": done - imported,
        "stages": program.seconds,
        "cached": program.cached,
        "numba_imported": "numba" in sys.modules,
        "kernels": len(program.plan.kernels),
    }


def in_jax() -> dict[str, Any]:
    """The same with jax, whose compilations are not kept on disk unless one asks for it."""
    start = time.perf_counter()
    from benchmarks.contenders.in_jax import step
    from benchmarks.models.perceptrons import made_up

    __import__("optax")
    model = made_up("", "", SIZES, "float32", count=1, rows=BATCH)
    imported = time.perf_counter()
    runner = step(model, threads=1)
    runner.restart()
    runner.run()
    return {"imports": imported - start, "first_step": time.perf_counter() - imported}


if __name__ == "__main__":
    found = in_jax() if "jax" in sys.argv else in_gradloom()
    print(json.dumps(found))
