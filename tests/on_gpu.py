"""`python -m tests.on_gpu`: everything that is tested on a GPU, on the one that this machine has.

Tests run in a process of their own.  One that faults leaves a device on which nothing more runs,
and a kernel that waits for ever never returns: such a test is counted as lost, and a new process
goes on with the next.  Then `compute-sanitizer` watches a few programs.  The exit status is 0 if
all that was asked for ran, and was right.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = "tests/runtime/cuda"
PARTS = {
    "rows": [f"{FOLDER}/test_every_row.py"],
    "programs": [
        "tests",
        f"--ignore={FOLDER}/test_every_row.py",
        f"--ignore={FOLDER}/test_models.py",
    ],
    "models": [f"{FOLDER}/test_models.py"],
}
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
SANITIZER = "sanitizer"
FAULTED = 17  # how a process ends whose device runs nothing more
FOUND = 99  # how compute-sanitizer ends when it has found something
SILENCE = 120.0  # seconds after which a test counts as hung: the slowest compiles for some 20
PROCESSES = 30  # that may be lost until the rest is given up


# ---- inside pytest: `-p tests.on_gpu --record FILE`


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="what was run; what it names is not run again")


@pytest.hookimpl(trylast=True)  # of what -m and -k have left
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    file = config.getoption("--record")
    done = Record(file).outcomes
    _note(file, collected=[item.nodeid for item in items])
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
    items[:] = [item for item in items if item.nodeid not in done]


def pytest_runtest_protocol(item: pytest.Item) -> None:
    _note(item.config.getoption("--record"), started=item.nodeid)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    from gradloom.errors import DeviceError
    from gradloom.runtime.cuda.driver import device

    try:
        device(0).wait()
    except DeviceError as error:
        pytest.exit(f"the device runs nothing more: {error}", returncode=FAULTED)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        _note(
            item.config.getoption("--record"),
            test=item.nodeid,
            outcome=report.outcome,
            seconds=round(report.duration, 3),
        )
    return report


def _note(file: Path, **what: Any) -> None:
    with file.open("a") as open_file:
        open_file.write(json.dumps(what) + "\n")


# ---- around pytest


@dataclass
class Record:
    """What the file of a run says so far."""

    file: Path
    collected: set[str] = field(default_factory=set)
    outcomes: dict[str, str] = field(default_factory=dict)  # by test
    started: str = ""  # the last that was begun

    def __post_init__(self) -> None:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        for line in map(json.loads, lines):
            self.collected |= set(line.get("collected", ()))
            self.started = line.get("started", self.started)
            if "test" in line:
                self.outcomes[line["test"]] = line["outcome"]

    def counts(self) -> Counter[str]:
        """How many tests passed, failed, were skipped, lost, or not run."""
        found = Counter(self.outcomes.values())
        missing = len(self.collected - self.outcomes.keys())
        return found + Counter({"not run": missing})


def tested(options: argparse.Namespace, part: str, file: Path, end: float) -> Record:
    """Run the tests of a part, in as many processes as that takes."""
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    words += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    words += ["-p", "tests.on_gpu", "--record", str(file), *PARTS.get(part, [part])]
    words += ["-p", options.plugin] if options.plugin else []
    words += ["-k", options.only] if options.only else []
    for _ in range(PROCESSES):
        process = subprocess.Popen(words, cwd=ROOT, env=_environment(), start_new_session=True)
        why = watched(process, file, options.silence, end)
        record = Record(file)
        if why == "the time is up" or process.returncode in (0, 1, 2, 4, 5):
            return record
        if record.started not in record.outcomes:
            print(f"lost: {record.started}: {why}", flush=True)
            _note(file, test=record.started, outcome="lost", why=why)
    return Record(file)


def watched(process: subprocess.Popen[bytes], file: Path, silence: float, end: float) -> str:
    """Wait for a process, which is ended when it is silent or the time is up; why it ended."""
    size, heard = -1, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        now, written = time.monotonic(), file.stat().st_size if file.exists() else 0
        if written != size:
            size, heard = written, now
        late = "the time is up" if now > end else ""
        why = f"nothing happened for {silence:.0f} s" if now - heard > silence else late
        if why:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return why
    return f"its process ended with status {process.returncode}"


def _environment() -> dict[str, str]:
    """Launches are not waited for one by one, as `GRADLOOM_VERIFY=2` does."""
    return {"GRADLOOM_VERIFY": "1", **os.environ, "PYTHONPATH": _paths()}


def _paths() -> str:
    return os.pathsep.join(map(str, [ROOT / "src", ROOT, *sys.path]))


# ---- compute-sanitizer


def sanitizer() -> str | None:
    """Where compute-sanitizer is: on PATH, in NVIDIA's wheel, or in a toolkit."""
    from cuda import pathfinder

    usual = Path("/usr/local/cuda/bin/compute-sanitizer")
    return (
        shutil.which("compute-sanitizer")
        or pathfinder.find_nvidia_binary_utility("compute-sanitizer")
        or (str(usual) if usual.exists() else None)
    )


def sanitized(options: argparse.Namespace, end: float) -> Iterator[tuple[str, str]]:
    """Each tool, and what became of it."""
    program = [sys.executable, "-m", "tests.sanitized", options.plugin]
    found = sanitizer()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**_environment(), "GRADLOOM_CACHE_DIR": folder}
        # First without a tool: what is compiled is cached, and what fails so fails by itself.
        yield "programs", _ended(program, environment, end)
        for tool in TOOLS:
            if found is None:
                repair = 'pip install "nvidia-cuda-sanitizer-api==13.0.*"'
                yield tool, f"not run: compute-sanitizer is not there; {repair}"
                continue
            # Bindings ask the driver for all functions that there ever were.
            words = [found, "--tool", tool, "--error-exitcode", str(FOUND), "--launch-timeout"]
            words += ["120", "--ignore-getprocaddress-notfound", *program]
            yield tool, _ended(words, environment, end)


def _ended(words: list[str], environment: dict[str, str], end: float) -> str:
    """How a process ended, in words."""
    left = end - time.monotonic()
    if left <= 0:
        return "not run: the time is up"
    try:
        status = subprocess.run(
            words, cwd=ROOT, env=environment, timeout=left, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return "lost: the time is up"
    if status == FOUND:
        return "failed: it has found errors"
    return "clean" if status == 0 else f"failed: status {status}"


# ---- the command


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for, print what became of it, and say by the status whether all is well."""
    options = _parser().parse_args(arguments)
    look = f"import {options.plugin or 'sys'}; from tests import gpus; print(gpus.absent())"
    for words in (["-m", "gradloom", "doctor"], ["-c", look]):
        said = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=_environment(),
            text=True,
            stdout=subprocess.PIPE,
        ).stdout.strip()
        print(said, flush=True)
    if said:
        print("nothing was run")
        return 2
    end = time.monotonic() + options.limit
    with tempfile.TemporaryDirectory() as folder:
        return _all(options, options.record or Path(folder), end)


def _all(options: argparse.Namespace, folder: Path, end: float) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    said: dict[str, str] = {}
    right = True
    for part in options.parts:
        if part == SANITIZER:
            tools = dict(sanitized(options, end))
            said |= {f"{SANITIZER}, {tool}": text for tool, text in tools.items()}
            right &= set(tools.values()) == {"clean"}
            continue
        record = tested(options, part, folder / f"{Path(part).stem}.jsonl", end)
        counts = record.counts()
        said[part] = ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "nothing"
        right &= counts["passed"] > 0 and counts.keys() <= {"passed", "skipped"}
        for test, outcome in record.outcomes.items():
            if outcome in ("failed", "lost"):
                print(f"{outcome}: {test}")
    width = max(map(len, said))
    print("\n".join(f"{part:{width}}  {text}" for part, text in said.items()))
    print("all is well" if right else "not all is well")
    return 0 if right else 1


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.on_gpu", description=__doc__)
    add = found.add_argument
    add("parts", nargs="*", default=[*PARTS, SANITIZER],
        help=f"{', '.join(PARTS)}, {SANITIZER} (all), or a file of tests")  # fmt: skip
    add("--limit", type=float, default=float("inf"), help="seconds after which the rest is not run")
    add("--silence", type=float, default=SILENCE, help="seconds after which a test counts as hung")
    add("--only", default="", help="pytest's -k")
    add("--record", type=Path, help="a folder to keep results in: what is there is not run again")
    add("--plugin", default="", help="a module to import first, such as one that fakes a GPU")
    return found


if __name__ == "__main__":
    sys.exit(main())
