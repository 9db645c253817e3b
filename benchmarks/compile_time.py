"""How compile time grows with the size of a program, and with the length of a loop.

Three families of programs from 10 to 5,000 operations: a chain of elementwise operations, the
gradient of a network of more and more layers, and the gradient of a recurrent network written as a
Python loop, which unrolls it.  The last as a `scan`, too, of 10 to 10,000 rounds.  And training
steps for a GPU, which need not be there: from Python to machine code, and from the cache.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.models import MODELS
from benchmarks.report import Report, Section
from benchmarks.words import of_gradloom
from gradloom import clock, pipeline
from gradloom.program import Program
from gradloom.runtime.cuda.cubins import linked

SIZES = (10, 30, 100, 300, 1000, 2000, 5000)
LENGTHS = (10, 100, 1000, 10_000)
ROUNDS = 3
FROM = 100  # operations from which the growth is fitted: below, a program costs what any costs
WIDTH = 16
# What is measured, and the stages of a program's that each column is.
COLUMNS = {
    "trace": ("trace", "differentiate"),
    "passes": ("passes",),
    "plan": ("plan",),
    "kernels": ("kernels",),
    "driver": ("driver",),
    "LLVM": ("link", "optimise", "emit"),
    "the rest": ("imports", "load"),  # and one run
}
# Training steps for a GPU, and what of making them each column is.
FOR_GPUS = ("digits", "mnist", "wide", "lenet", "transformer", "residual")
GPU_COLUMNS = {
    "trace, passes, plan": ("trace", "differentiate", "passes", "plan"),
    "kernels": ("kernels",),
    "LLVM": ("link", "optimise", "emit"),
    "nvJitLink": ("nvjitlink",),
}

Family = Callable[[int, Any], tuple[Callable[..., Any], tuple[Any, ...]]]


def chain(size: int, np_: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Elementwise operations, one after another."""

    def f(x: Any) -> Any:
        for i in range(size):
            x = np_.sin(x) if i % 3 else x * x
        return x

    return f, (np.ones(64, "float32"),)


def layers(size: int, np_: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A deep network with equal layers."""
    count = max(size // 8, 1)
    draw = np.random.default_rng(0).normal(size=(count, WIDTH, WIDTH)).astype("float32") / 4

    def loss(weights: Any, x: Any) -> Any:
        for w in weights:
            x = np_.tanh(x @ w)
        return (x * x).sum()

    return loss, (list(draw), np.ones((8, WIDTH), "float32"))


def unrolled(size: int, np_: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A recurrent network as a Python loop."""
    rounds = max(size // 15, 1)

    def loss(w: Any, xs: Any) -> Any:
        h = xs[0]
        for t in range(rounds):
            h = np_.tanh(h @ w + xs[t])
        return (h * h).sum()

    return loss, (np.eye(WIDTH, dtype="float32"), np.ones((rounds, WIDTH), "float32"))


def scanned(length: int, np_: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The same as a loop that stays a loop."""

    def loss(w: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            return np_.tanh(h @ w + x), None

        return (gl.scan(step, xs[0], xs)[0] ** 2).sum()

    return loss, (np.eye(WIDTH, dtype="float32"), np.ones((length, WIDTH), "float32"))


FAMILIES: dict[str, tuple[Family, bool]] = {
    "a chain of elementwise operations": (chain, False),
    "the gradient of a network of many layers": (layers, True),
    "the gradient of an unrolled loop": (unrolled, True),
}


def measure(dtype: str = "float32") -> Report:
    """Seconds to compile, by the number of operations that are compiled; `dtype` is not used."""
    del dtype
    before = clock.now
    clock.now = time.process_time  # of this process, so that neighbours count for little
    try:
        return _measured()
    finally:
        clock.now = before


def _measured() -> Report:
    grown = {name: list(_points(family, graded)) for name, (family, graded) in FAMILIES.items()}
    loops = {length: _compiled(scanned, length, graded=True) for length in LENGTHS}
    steps = {name: _for_gpu(name) for name in FOR_GPUS}
    rows = [
        [name, f"{nodes:,}", *(f"{stages[s]:.3f}" for s in COLUMNS)]
        for name, points in grown.items()
        for nodes, stages in points
    ]
    slopes = {name: slope(points) for name, points in grown.items()}
    lengths = [[f"{n:,}", f"{sum(stages.values()):.3f}"] for n, (_, stages) in loops.items()]
    report = Report(
        "compile_time",
        "Compile time by the size of the program",
        [
            Section("Seconds", ["", "operations", *COLUMNS], rows),
            Section(
                f"Growth from {FROM} operations on: seconds go with operations to the power of",
                ["", "exponent"],
                [[name, f"{value:.2f}"] for name, value in slopes.items()],
            ),
            Section("A scan and its gradient", ["rounds", "seconds"], lengths),
            Section(
                "A training step for a GPU (sm_90)",
                ["", "kernels", *GPU_COLUMNS, "cold", "warm"],
                [
                    [name, f"{count}", *(f"{taken[c]:.3f}" for c in (*GPU_COLUMNS, "cold", "warm"))]
                    for name, (count, taken) in steps.items()
                ],
            ),
        ],
        [
            "An exponent of 1 is linear growth.  Each figure is the least of "
            f"{ROUNDS} compilations, nothing cached, in seconds of processor time.",
            "Equal kernels are compiled once, so a network of equal layers costs less than a "
            "chain of different operations in the kernels, and more in the driver that calls them.",
            "For a GPU, cold is from the Python function to machine code, warm the same from the "
            "cache by a process that has imported gradloom; both without loading it onto a GPU.",
        ],
        {},
        "seconds",
    )
    report.raw = {"growth": grown, "exponents": slopes, "scan": loops, "gpu": steps}
    report.picture = lambda path: draw(grown, loops, path)
    return report


def _points(family: Family, graded: bool) -> Iterator[tuple[int, dict[str, float]]]:
    for size in SIZES:
        yield _compiled(family, size, graded)


def _compiled(family: Family, size: int, graded: bool) -> tuple[int, dict[str, float]]:
    """The operations of a program, and the least seconds that each stage of compiling it took."""
    import gradloom.numpy as gnp

    function, arguments = family(size, gnp)
    found = []
    for _ in range(ROUNDS):
        pipeline._loaded.clear()
        jitted = gl.jit(gl.grad(function) if graded else function)
        start = clock.now()
        with gl.settings(cache=False):
            jitted(*arguments)
        whole = clock.now() - start
        program = jitted.program()
        taken = {
            column: sum(program.seconds.get(stage, 0.0) for stage in stages)
            for column, stages in COLUMNS.items()
        }
        taken["the rest"] += whole - sum(taken.values())
        found.append(taken)
    return program.plan.nodes, {column: min(f[column] for f in found) for column in COLUMNS}


def _for_gpu(name: str) -> tuple[int, dict[str, float]]:
    """The kernels of a model's training step, and the least seconds that making it took."""
    model = MODELS[name]("float32")
    rule = {"adam": gl.optim.adam, "sgd": gl.optim.sgd}[model.optimizer](model.rate)

    def made() -> tuple[Program, dict[str, float], float]:
        step = gl.train_step(model.loss(of_gradloom()), rule, target="cuda-ptx")
        state = step.init(model.params)
        start = clock.now()
        program = step.program(state, *(data[0] for data in model.batches))
        assert program.gpu is not None
        cubin = linked([program.gpu.ptx.text], program.gpu.arch)
        return program, {**program.seconds, **cubin.seconds}, clock.now() - start

    found = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as place, gl.settings(cache_dir=place):
            program, seconds, cold = made()
            taken = {c: sum(seconds.get(s, 0.0) for s in of) for c, of in GPU_COLUMNS.items()}
            found.append({**taken, "cold": cold, "warm": made()[-1]})
    return len(program.plan.kernels), {column: min(f[column] for f in found) for column in found[0]}


def slope(points: list[tuple[int, dict[str, float]]]) -> float:
    """The least-squares exponent of seconds by operations."""
    large = [(nodes, sum(stages.values())) for nodes, stages in points if nodes >= FROM]
    xs, ys = (np.log([p[i] for p in large]) for i in (0, 1))
    return float(np.polyfit(xs, ys, 1)[0])


def draw(
    grown: dict[str, list[tuple[int, dict[str, float]]]],
    loops: dict[int, tuple[int, dict[str, float]]],
    path: Path,
) -> None:
    """Both growths on logarithmic axes, with a line of linear growth beside the first."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(9, 3.6), sharey=True, layout="constrained"
    )
    for name, points in grown.items():
        left.plot([n for n, _ in points], [sum(s.values()) for _, s in points], "o-", label=name)
    ends = np.array([FROM, SIZES[-1]])
    last = statistics.median(sum(points[-1][1].values()) for points in grown.values())
    left.plot(ends, last * ends / ends[-1], "k--", linewidth=0.8, label="linear")
    left.set(xscale="log", yscale="log", xlabel="operations", ylabel="seconds to compile")
    left.legend(fontsize=7)
    right.plot(list(loops), [sum(s.values()) for _, s in loops.values()], "o-", color="#c2410c")
    right.set(xscale="log", xlabel="rounds of a scan, with its gradient")
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
