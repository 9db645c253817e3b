"""`python -m tests.sanitized`: a few programs in all forms, for compute-sanitizer to watch.

Instrumented kernels are some hundred times slower and take more registers, so shapes are small, and
the blocks few enough to be resident at once.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np

BLOCKS = 3


def main() -> None:
    """Raises where a result is not the CPU's."""
    for name in filter(None, sys.argv[1:]):
        importlib.import_module(name)  # which puts a GPU there before anything looks for one
    import gradloom as gl
    from gradloom.runtime.cuda.machine import using
    from gradloom.settings import settings
    from tests.gpus import real
    from tests.runtime.cuda.test_entry import X, convolved, leaves, products, scanned, softmax, sums
    from tests.runtime.cuda.test_models import FORMS, assert_alike, results
    from tests.tiny_models import tiny

    programs = (softmax, sums, products, scanned, convolved)
    model = tiny("xor", "float32")
    for form, disabled in FORMS.items():
        if form == "launches":
            continue  # of the kernels of graphs
        with settings(disable=disabled), using(real(BLOCKS)):
            for program in programs:
                found = leaves(gl.jit(program, device="cuda")(X))
                for got, want in zip(found, leaves(gl.jit(program)(X)), strict=True):
                    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
            assert_alike(results(model, "cuda"), results(model, "cpu"), 1e-3)
        print(f"{form}: {len(programs)} programs and a run of XOR")


if __name__ == "__main__":
    main()
