"""The first step of a three-layer perceptron with Adam, in the process that `startup` starts.

Prints one line of JSON.  Arguments: `gradloom`, `gradloom numba` (numba imported beforehand), or
`jax`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

SIZES = (64, 128, 64, 10)
BATCH = 64


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, SIZES[0])).astype("float32")
    return x, rng.integers(0, SIZES[-1], BATCH)


def in_gradloom(with_numba: bool) -> dict[str, Any]:
    """Seconds from the first line of the user's training to the first loss."""
    start = time.perf_counter()
    import gradloom as gl
    from benchmarks.models import Model, layers

    if with_numba:
        import numba  # noqa: F401
    x, y = data()
    imported = time.perf_counter()
    model = Model("", "", "classes", "tanh", layers(SIZES, "float32"), x[None], y[None])
    step = gl.train_step(model.loss, gl.optim.adam(1e-3))
    state = step.init(model.params)
    step(state, x, y)
    done = time.perf_counter()
    program = step.program()
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
    from benchmarks.contenders import jax_step
    from benchmarks.models import Model, layers

    __import__("optax")
    x, y = data()
    imported = time.perf_counter()
    jax_step(Model("", "", "classes", "tanh", layers(SIZES, "float32"), x[None], y[None])).run()
    return {"imports": imported - start, "first_step": time.perf_counter() - imported}


if __name__ == "__main__":
    found = in_jax() if "jax" in sys.argv else in_gradloom("numba" in sys.argv)
    print(json.dumps(found))
