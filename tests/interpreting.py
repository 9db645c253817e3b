"""Compiled programs against the interpreter: the oracle that generated tests share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradloom.ir.graph import Graph
from gradloom.pipeline import Program, compile_graph
from gradloom.settings import settings


@dataclass(frozen=True)
class Results:
    """What a program gave: its outputs, and the new contents of the inputs that it updates."""

    outputs: list[np.ndarray]
    updated: list[np.ndarray]

    def __iter__(self):
        return iter([*self.outputs, *self.updated])


def run(program: Program, arrays: Sequence[np.ndarray]) -> Results:
    """One call on copies of `arrays`, in an arena that holds no useful number: NaN in every float,
    and -1 in every integer."""
    executable, graph = program.executable, program.traced
    copies = [np.array(a, n.type.dtype) for a, n in zip(arrays, graph.inputs, strict=True)]
    given = executable.resident(copies)  # of a GPU's: what it updates stays there
    with settings(verify=2):
        outputs = [np.asarray(output) for output in executable(given)]
    copies = [np.asarray(array) for array in given]
    at = dict(zip(graph.inputs, copies, strict=True))
    targets = {target for target, _ in graph.updates}
    for node, copy, array in zip(graph.inputs, copies, arrays, strict=True):
        if node not in targets:
            np.testing.assert_array_equal(copy, array, "an input was written to")
    return Results(outputs, [at[target] for target, _ in graph.updates])


def compiled(graph: Graph, *arrays: np.ndarray) -> Results:
    """Compile and run."""
    return run(compile_graph(graph), arrays)


def assert_close(got: np.ndarray, wanted: np.ndarray, ulps: float, what: str = "") -> None:
    """Floats within `ulps` units of their dtype of the wanted number, or of 1 where it is smaller;
    all else exactly; NaN equals NaN.
    """
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, not {wanted.shape}"
    if got.dtype.kind not in "fc":
        np.testing.assert_array_equal(got, wanted, what)
        return
    unit = float(np.finfo(got.dtype).eps) * ulps
    np.testing.assert_allclose(got, wanted.astype(got.dtype), unit, unit, err_msg=what)
