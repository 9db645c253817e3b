"""Matrix products beside NumPy's BLAS and PyTorch's, in four transpose forms.

Ours twice: as the kernel alone, in a native loop over several pairs of operands, and as a call of
`gl.jit` for each pair, which makes its result.  Theirs write to results that are there (`out=`),
from a Python loop over the same pairs.  Each has a process of its own, and they take turns.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.multiplier import MAKERS
from benchmarks.peaks import peaks
from benchmarks.processes import Worker
from benchmarks.report import Report, Section
from benchmarks.rounds import Spread, Timing, interleave, number
from benchmarks.summary import geometric

Shape = tuple[int, int, int]  # rows, depth, columns
FORMS = ("nn", "nt", "tn", "tt")  # which of the operands is stored transposed
SHAPES: tuple[Shape, ...] = (
    *((n, n, n) for n in (32, 64, 128, 256, 512, 1024, 2048)),
    *((63, 65, 67), (100, 300, 500), (64, 784, 512), (2048, 64, 64), (64, 2048, 64)),
)
CALLED = 256  # cubed: above, a call from Python is nothing beside the product
KERNEL, CALL = "gradloom, kernel", "gradloom, call"
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # of the products' norms, relatively
Timings = dict[tuple[Shape, str], Timing]


def measure(
    dtype: str = "float32",
    threads: Iterable[int] = (1, 2),
    seconds: float = 0.2,
    shapes: tuple[Shape, ...] = SHAPES,
) -> Report:
    """The tables of both dtypes; `seconds` of measuring for each shape and form."""
    del dtype
    report = Report("products", "Matrix products", [], [], {}, "times")
    for count in threads:
        for kind in TOLERANCE:
            found = compare(kind, count, seconds, shapes)
            title = f"{kind}, {count} thread{'s' * (count > 1)}"
            report.sections += sections(title, found, peaks(count, kind)["flops"])
            report.raw[title] = {
                " ".join(map(str, (*shape, form))): {
                    who: asdict(timing.seconds(who)) for who in timing.wall
                }
                for (shape, form), timing in found.items()
            }
            report.bars[title] = {
                _name(shape): best(timing)
                for (shape, form), timing in found.items()
                if form == "nn"
            }
            print(f"{title}: {dict(report.sections[-1].rows)}", flush=True)
    report.notes += [
        "A form says which of the operands is stored transposed.  A ratio is of the best of NumPy "
        "and PyTorch over ours, within each round; the median of the rounds counts.",
        f"`{KERNEL}` is one native loop over pairs of operands that keeps every product, "
        f"`{CALL}` a call from Python for each pair, which makes its result.",
        "The picture shows the form nn.",
    ]
    return report


def compare(dtype: str, threads: int, seconds: float, shapes: Iterable[Shape]) -> Timings:
    """Everyone's time of every shape and form."""
    found: Timings = {}
    names = [n for n in MAKERS if n != "torch" or importlib.util.find_spec("torch")]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = {}
        for name in names:
            arguments = ["benchmarks.multiplier", name, dtype, str(threads)]
            workers[name] = Worker(arguments, threads, Path(folder))
            stack.callback(workers[name].close)
        for shape in shapes:
            for form in FORMS:
                took_part = [n for n in names if n != CALL or max(shape) <= CALLED]
                word = " ".join(map(str, ("prepare", *shape, form)))
                check({n: workers[n].ask(word)["sizes"] for n in took_part}, dtype)
                found[shape, form] = interleave({n: workers[n].turn for n in took_part}, seconds)
    return found


def check(sizes: dict[str, list[float]], dtype: str) -> None:
    """Raise ValueError where somebody's products have other norms than the first one's."""
    first, *others = map(np.array, sizes.values())
    for name, other in zip(list(sizes)[1:], others, strict=True):
        if not np.allclose(other, first, TOLERANCE[dtype]):
            raise ValueError(f"{name} multiplies differently")


def best(timing: Timing, ours: str = KERNEL) -> Spread:
    """The faster of NumPy and PyTorch over ours: above 1 we are faster."""
    others = [timing.ratio(n, ours) for n in timing.wall if not n.startswith("gradloom")]
    return min(others, key=lambda ratio: ratio.median)


def sections(title: str, found: Timings, peak: float) -> list[Section]:
    """Ours in Gflop/s and the ratios of all forms; then what stands for all."""
    rows = []
    for shape in dict.fromkeys(shape for shape, _ in found):
        timings = [found[shape, form] for form in FORMS]
        seconds = timings[0].seconds(KERNEL).median
        flops = 2.0 * shape[0] * shape[1] * shape[2]
        called = CALL in timings[0].wall
        rows.append(
            [
                _name(shape),
                f"{flops / seconds / 1e9:.0f} ({flops / seconds / peak:.0%})",
                *(number(best(timing).median) for timing in timings),
                number(best(timings[0], CALL).median) if called else "",
            ]
        )
    ratios = {where: best(timing).median for where, timing in found.items()}
    worst, form = min(ratios, key=lambda where: ratios[where])
    short = [
        ["geometric mean", number(geometric(ratios.values()))],
        [f"least ({_name(worst)}, {form})", number(ratios[worst, form])],
    ]
    columns = ["", "kernel, nn: Gflop/s (of the peak)", *FORMS, f"{CALL}, nn"]
    return [
        Section(
            f"{title}: the best of NumPy and PyTorch takes so many times as long", columns, rows
        ),
        Section(f"{title}: in short", ["", "times as long"], short),
    ]


def _name(shape: Shape) -> str:
    m, k, n = shape
    return str(m) if m == k == n else f"{m}x{k}x{n}"
