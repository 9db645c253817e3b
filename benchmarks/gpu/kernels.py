"""Kernels on a GPU beside what the machine can do: a chain of elementwise operations beside a copy,
and products of large matrices beside cuBLAS, through PyTorch."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu import place as places
from benchmarks.gpu.attempts import Attempts
from benchmarks.gpu.calls import COPY, CUBLAS, FORMS, MAKERS, OURS
from benchmarks.gpu.targets import Target, section
from benchmarks.report import Report, Section
from benchmarks.rounds import Timing, interleave, number

SIZES = (512, 1024, 2048, 4096, 8192)  # of square matrices; a chain has as many numbers
LARGE = 4096  # from which on a product counts as large
TRAFFIC = {COPY: 8, "others": 12}  # bytes a number: a copy reads one array, a chain two
BANDWIDTH, PRODUCTS, OWN = 0.85, 0.9, 0.6  # asked: of a copy's bandwidth, of cuBLAS's speed
# Of means, relatively: bfloat16 keeps 8 bits, and sums of thousands of products cancel.
TOLERANCE = {"float32": 1e-4, "tensorfloat32": 5e-3, "bfloat16": 5e-2, "chain": 1e-4}


def measure(
    dtype: str = "float32",
    sizes: Iterable[int] = (),
    seconds: float = 1.0,
    place: str = "cuda",
) -> Report:
    """Both tables; about `seconds` for each row.  Everything is float32."""
    sizes = list(sizes) or list(SIZES)
    environment = places.environment(place)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        everyone = {
            name: Attempts(["benchmarks.gpu.calls", name, place], Path(folder), environment, name)
            for name in MAKERS
        }
        for attempts in everyone.values():
            stack.callback(attempts.close)
        chains = {n: compared(everyone, f"chain {n * n}", "chain", seconds) for n in sizes}
        both = {name: everyone[name] for name in (OURS, CUBLAS)}
        products = {
            (n, form): compared(both, f"product {n} {form}", form, seconds)
            for n in sizes
            for form in FORMS
        }
    absent = {what: why for a in everyone.values() for what, why in a.absent.items()}
    return report(chains, products, absent, place)


def compared(everyone: dict[str, Attempts], what: str, kind: str, seconds: float) -> Timing:
    """Everyone's seconds of one call.  Raises ValueError where results differ."""
    said = {name: attempts.ask(what) for name, attempts in everyone.items()}
    turns = {name: everyone[name].turn for name, found in said.items() if found is not None}
    means = {name: found["mean"] for name, found in said.items() if found and found["mean"]}
    middle = statistics.median(means.values()) if means else 0.0
    wrong = {n: m for n, m in means.items() if not abs(m - middle) <= TOLERANCE[kind] * middle}
    if wrong:
        raise ValueError(f"{what}: means differ from {middle}: {wrong}")
    timing = interleave(turns, seconds)
    shown = ", ".join(f"{n} {number(timing.seconds(n).median * 1e6)} us" for n in timing.wall)
    print(f"{what}: {shown}", flush=True)
    return timing


def bandwidth(timing: Timing, name: str, numbers: int) -> float:
    """Bytes a second of a chain, or of a copy."""
    per_number = TRAFFIC.get(name, TRAFFIC["others"])
    return per_number * numbers / timing.seconds(name).median


def targets(chains: dict[int, Timing], products: dict[tuple[int, str], Timing]) -> list[Target]:
    """At the largest sizes."""
    top = max(chains)
    chain = None
    if {OURS, COPY} <= chains[top].wall.keys():
        one = chains[top]
        chain = bandwidth(one, OURS, top * top) / bandwidth(one, COPY, top * top)
    found = [
        Target(f"chain of {top * top:,} numbers: share of a copy's bandwidth", BANDWIDTH, chain)
    ]
    for form in FORMS:
        large = [
            timing.ratio(CUBLAS, OURS).median
            for (n, of), timing in products.items()
            if of == form and n >= LARGE and {OURS, CUBLAS} <= timing.wall.keys()
        ]
        asked = OWN if form == "float32" else PRODUCTS
        words = f"products from {LARGE} on, {form}: share of cuBLAS's speed, least"
        found.append(Target(words, asked, min(large, default=None)))
    return found


def report(
    chains: dict[int, Timing],
    products: dict[tuple[int, str], Timing],
    absent: dict[str, str],
    place: str,
) -> Report:
    """Bandwidths, and operations a second."""
    gpu = places.describe(place)
    names = [n for n in MAKERS if any(n in timing.wall for timing in chains.values())]
    both = [n for n in (OURS, CUBLAS) if any(n in t.wall for t in products.values())]
    return Report(
        "gpu_kernels",
        f"Kernels on {gpu['name']}",
        [
            section(targets(chains, products)),
            Section(
                "A chain of eight operations over two arrays: GB/s",
                ["numbers", *names],
                [
                    [f"{n * n:,}", *(_gigabytes(timing, name, n * n) for name in names)]
                    for n, timing in chains.items()
                ],
            ),
            Section(
                "Products of square matrices: Tflop/s",
                ["", *both, "share"],
                [[f"{n}, {form}", *_speeds(t, both, n)] for (n, form), t in products.items()],
            ),
        ],
        [
            "Calls follow each other, on arrays that stay on the GPU, and are waited for together.",
            "PyTorch multiplies matrices by cuBLAS: of float32, with TensorFloat-32 switched on, "
            "and of bfloat16, where rounding the operands is not counted.",
            *(f"Left out: {what}: {why}." for what, why in absent.items()),
        ],
        {
            "products": {
                f"{n}, {form}, {name}": timing.seconds(name) * 1e6
                for (n, form), timing in products.items()
                for name in both
                if name in timing.wall
            }
        },
        "microseconds",
        {
            "gpu": gpu,
            "chains": {str(n): _raw(timing) for n, timing in chains.items()},
            "products": {f"{n} {form}": _raw(t) for (n, form), t in products.items()},
        },
        kept=place == "cuda",
    )


def _gigabytes(timing: Timing, name: str, numbers: int) -> str:
    return number(bandwidth(timing, name, numbers) / 1e9) if name in timing.wall else ""


def _speeds(timing: Timing, names: list[str], n: int) -> list[str]:
    """Tflop/s of each, and ours over cuBLAS's."""
    speeds = [
        number(2 * n**3 / timing.seconds(name).median / 1e12) if name in timing.wall else ""
        for name in names
    ]
    known = {OURS, CUBLAS} <= timing.wall.keys()
    return [*speeds, f"{timing.ratio(CUBLAS, OURS).median:.0%}" if known else ""]


def _raw(timing: Timing) -> dict[str, dict[str, float]]:
    return {name: asdict(timing.seconds(name)) for name in timing.wall}
