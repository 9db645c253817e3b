"""`python -m benchmarks [NAME ...]`: measure, print, and write the results.

Each benchmark runs in a process of its own, in which everything has one thread.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import ONE_THREAD, describe
from benchmarks.report import RESULTS

NAMES = (
    "training",
    "startup",
    "lane_costs",
    "call_overhead",
    "compile_time",
    "loops",
    "convolutions",
)


def main(arguments: list[str] | None = None) -> int:
    """The command line; its exit status."""
    options = _parser().parse_args(arguments)
    if options.here:
        for name in options.names:
            _measure(name, options)
        return 0
    for name in options.names or NAMES:
        print(f"-- {name}", flush=True)
        command = [sys.executable, "-m", "benchmarks", "--here", name, "--dtype", options.dtype]
        command += ["--output", str(options.output)]
        status = subprocess.run(command, env={**os.environ, **ONE_THREAD}, check=False).returncode
        if status:
            return status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME",
                        help=f"which: {', '.join(NAMES)} (all)")  # fmt: skip
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser


def _measure(name: str, options: argparse.Namespace) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    report = module.measure(options.dtype)
    print(report.markdown(describe()))
    for path in report.save(options.output):
        print(f"wrote {path.name}")


if __name__ == "__main__":
    sys.exit(main())
