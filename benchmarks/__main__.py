"""`python -m benchmarks [NAME ...]`: measure, print, and write the results.

Each benchmark runs in a process of its own; those that compare contenders start one for each.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.place import PLACES
from benchmarks.machine import describe, threads_environment
from benchmarks.report import RESULTS

# Which of the options each takes, beside the dtype.
NAMES: dict[str, tuple[str, ...]] = {
    "training": ("models", "contenders", "threads", "seconds"),
    "products": ("threads", "seconds"),
    "neighbours": ("models", "contenders", "seconds"),
    "team": ("models", "seconds"),
    "startup": (),
    "lane_costs": (),
    "team_costs": (),
    "call_overhead": (),
    "compile_time": (),
    "loops": (),
    "convolutions": (),
    "gpu.training": ("models", "contenders", "seconds", "place"),
    "gpu.kernels": ("seconds", "place", "sizes"),
    "gpu.costs": ("seconds", "place", "sizes"),
}

# Without names: what is compared.  The others show where constants and costs come from.
COMPARISON = ("training", "products", "neighbours", "team", "startup")
GPU = tuple(name for name in NAMES if name.startswith("gpu."))  # all of `gpu`


def main(arguments: list[str] | None = None) -> int:
    """The command line; its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(given)
    if options.here:
        for name in options.names:
            _measure(name, options)
        return 0
    flags = [flag for flag in given if flag not in options.names]
    asked = [part for name in options.names for part in (GPU if name == "gpu" else (name,))]
    for name in asked or COMPARISON:
        print(f"-- {name}", flush=True)
        command = [sys.executable, "-m", "benchmarks", "--here", name, *flags]
        environment = {**os.environ, **(threads_environment(1) if not NAMES[name] else {})}
        status = subprocess.run(command, env=environment, check=False).returncode
        if status:
            return status
    return 0


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = found.add_argument
    add("names", nargs="*", choices=[[], *NAMES, "gpu"], metavar="NAME",
        help=f"which: {', '.join(NAMES)} ({', '.join(COMPARISON)})")  # fmt: skip
    add("--dtype", default="float32", choices=["float32", "float64"])
    add("--output", type=Path, default=RESULTS, help="folder of the results")
    add("--models", type=_words, help="which models, with commas between them (all)")
    add("--contenders", type=_several, help="which contenders, with semicolons between them (all)")
    add("--threads", type=_numbers, help="how many, with commas between them (1,2)")
    add("--seconds", type=float, help="of measuring, for each model")
    add("--sizes", type=_numbers, help="of matrix products and chains on a GPU")
    add("--place", choices=PLACES, help="of the GPU's benchmarks: cuda, or where to rehearse them")
    add("--here", action="store_true", help=argparse.SUPPRESS)
    return found


def chosen(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a benchmark's `measure`: those that were given and that it takes."""
    given = {key: getattr(options, key) for key in NAMES[name]}
    return {key: value for key, value in given.items() if value is not None}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _several(text: str) -> list[str]:
    return [word.strip() for word in text.split(";") if word.strip()]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def _measure(name: str, options: argparse.Namespace) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    report = module.measure(options.dtype, **chosen(name, options))
    print(report.markdown(describe()))
    if not report.kept:
        print("a rehearsal, of which nothing is written")
        return
    for path in report.save(options.output):
        print(f"wrote {path.name}")


if __name__ == "__main__":
    sys.exit(main())
