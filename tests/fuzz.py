"""Random programs against the interpreter: compiled, as Python text, differentiated, on a GPU.

python -m tests.fuzz --count 5000             # seeds 0, 1, ...
python -m tests.fuzz --seed 1234              # one of them again, with its graph
python -m tests.fuzz --check text             # or: gradients, gpu
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Sequence

import numpy as np

import gradloom as gl
from gradloom.autodiff.reverse import pull
from gradloom.codegen.driver import program_text
from gradloom.codegen.source import program_source, run_source
from gradloom.errors import DeviceError
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import Trace, recording
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.source import const
from gradloom.ops.elementwise import astype
from gradloom.ops.reduce import sum_
from gradloom.pipeline import compile_graph, run_passes
from gradloom.plan.assemble import make_plan
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings
from tests.gpus import FORMS, Simulated
from tests.interpreting import run
from tests.random_graphs import Case, Draws, Maker
from tests.random_rules import RULES


def check(case: Case) -> None:
    """Compile, run twice in a poisoned arena, and compare every root."""
    with settings(verify=1):
        program = compile_graph(case.graph)
    wanted = interpret(case.graph, *case.arrays, wide=True)
    for _ in range(2):
        _compare(case, run(program, case.arrays), wanted)


def check_text(case: Case) -> None:
    """The plan's Python text, run uncompiled."""
    plan = make_plan(run_passes(case.graph))
    copies = [
        np.array(a, n.type.dtype) for a, n in zip(case.arrays, case.graph.inputs, strict=True)
    ]
    outputs = run_source(program_source(plan, program_text(plan)), copies)
    changed = dict(zip(case.graph.inputs, copies, strict=True))
    updated = [changed[target] for target, _ in case.graph.updates]
    _compare(case, [*outputs, *updated], interpret(case.graph, *case.arrays, wide=True))


def check_gradients(case: Case) -> None:
    """The gradient of the sum of all floating-point outputs, compiled and interpreted."""
    with recording(Trace()) as trace:
        outputs = [Tensor(n) for n in case.graph.outputs if n.type.is_float]
        total = sum((astype(sum_(o), "float64") for o in outputs), Tensor(const(0.0, "float64")))
        inputs = [Tensor(n) for n in case.graph.inputs if n.type.is_float]
        slopes = tuple(g.node for g in pull([total], inputs, [1.0]) if g is not None)
    assert not trace.captured
    graph = Graph(case.graph.inputs, slopes)
    loose = 1e-3 if any(n.type.dtype == "float32" for n in graph.nodes()) else 1e-7
    wanted = interpret(graph, *case.arrays)
    for got, want in zip(run(compile_graph(graph), case.arrays), wanted, strict=True):
        size = np.abs(want[np.isfinite(want)]).max(initial=1)
        np.testing.assert_allclose(got, want, loose, loose * size, err_msg=str(graph))


def check_gpu(case: Case) -> None:
    """On GPUs that are interpreted, of several sizes, in each form of the same program; blocks do
    not keep pace.  Found are also blocks that touch one byte between two meetings, unless both only
    read it."""
    wanted = interpret(case.graph, *case.arrays, wide=True)
    for number, (form, disabled) in enumerate(FORMS.items()):
        if form == "launches":  # those of graphs, one after the other
            continue
        with settings(disable=disabled), using(Simulated(blocks=2 + number, seed=number)):
            try:
                program = compile_graph(case.graph, device="cuda")
            except DeviceError:
                assert compile_graph(case.graph).executable.needs.libraries
                return
            _compare(case, run(program, case.arrays), wanted)


def _compare(case: Case, found: Iterable[np.ndarray], wanted: Sequence[np.ndarray]) -> None:
    for number, (got, want) in enumerate(zip(found, wanted, strict=True)):
        root = case.graph.roots[number]
        what = f"root {number}, {root.type}, of\n{case.graph}"
        assert got.shape == want.shape, what
        assert got.dtype.name == root.type.dtype, what
        if got.dtype.kind != "f":
            np.testing.assert_array_equal(got, want, what)
            continue
        allowed = case.errors[number] * 1.01
        np.testing.assert_allclose(got.astype("float64"), want, 1e-30, allowed, err_msg=what)


def random_case(seed: int, largest: int = 6000) -> Case:
    return Maker(Draws(random.Random(seed).randint), largest).case(RULES)


CHECKS = {
    "compiled": (check, 6000),
    "text": (check_text, 300),
    "gradients": (check_gradients, 6000),
    "gpu": (check_gpu, 1000),
}


def main() -> int:
    parser = argparse.ArgumentParser("tests.fuzz")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--check", choices=CHECKS, default="compiled")
    given = parser.parse_args()
    examine, largest = CHECKS[given.check]
    if given.seed is not None:
        case = random_case(given.seed, largest)
        sys.stdout.write(f"{case.graph}\n")
        examine(case)
        return 0
    failed = []
    for seed in range(given.first, given.first + given.count):
        try:
            examine(random_case(seed, largest))
        except Exception as error:  # noqa: BLE001  (any failure is a finding)
            failed.append(seed)
            sys.stdout.write(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}\n")
    sys.stdout.write(f"{len(failed)} of {given.count} failed: {failed}\n")
    return bool(failed)


if __name__ == "__main__":
    with gl.settings(cache=False):  # none of these programs will be met again
        sys.exit(main())
