"""`make gpu-test` as far as a machine without a GPU allows: on the fake driver."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests import gpus, on_gpu
from tests.runtime.cuda.fake import fake_library
from tests.runtime.cuda.test_models import FORMS

PRETENDED = ["--plugin", "tests.runtime.cuda.pretended"]
# Of tests, in this order: what they do to the process or to the device that they run on.
TROUBLE = """
import os, time
import pytest
from tests.gpus import real
from tests.runtime.cuda.fake import LAUNCH_FAILED, the_fake

pytestmark = pytest.mark.gpu

def test_first(): real()
def test_wrong(): assert real().capability == 0
def test_hangs(): time.sleep(600)
def test_ends(): os.abort()
def test_faults():
    the_fake().fail("cuStreamSynchronize", LAUNCH_FAILED)
    raise AssertionError("the kernel has failed")
def test_last(): real()
"""


@pytest.fixture(autouse=True)
def _driver():
    """Without a driver, or with the fake one in the processes that are started."""
    if gpus.DRIVER:
        pytest.skip("this machine has a driver: make gpu-test runs it itself")
    if isinstance(fake_library(), str):
        pytest.skip(fake_library())


@pytest.fixture
def tool(monkeypatch, tmp_path) -> Path:
    """A compute-sanitizer that runs its program, notes its options, and finds nothing."""
    script = tmp_path / "compute-sanitizer"
    script.write_text(
        f"#!{sys.executable}\n"
        "import subprocess, sys\n"
        "start = sys.argv.index(sys.executable)\n"
        f"open({str(tmp_path / 'options')!r}, 'a').write(' '.join(sys.argv[1:start]) + '\\n')\n"
        "tool = sys.argv[sys.argv.index('--tool') + 1]\n"
        "sys.exit(99 if tool == 'racecheck' else 0)\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return script


def test_without_a_gpu_nothing_is_run(capsys):
    assert on_gpu.main(["rows"]) == 2
    assert (
        "no GPU: this machine has no driver (libcuda.so.1)\nnothing was" in capsys.readouterr().out
    )


def test_rows_and_models_run_on_what_is_there(capsys):
    only = ["--only", "arctan2 or (xor and learn)"]
    assert on_gpu.main(["rows", "models", *PRETENDED, *only]) == 0
    said = capsys.readouterr().out
    assert "rows    2 passed" in said
    assert f"models  {len(FORMS)} passed" in said


def test_what_is_lost_is_counted_and_the_rest_runs(capsys, tmp_path):
    file = tmp_path / "test_trouble.py"
    file.write_text(TROUBLE)
    record = ["--record", str(tmp_path / "record")]
    assert on_gpu.main([str(file), *PRETENDED, *record, "--silence", "6"]) == 1
    said = capsys.readouterr().out
    assert "2 failed, 2 lost, 2 passed" in said
    assert "test_hangs: nothing happened for 6 s" in said
    assert "test_ends: its process ended with status -6" in said
    lines = (tmp_path / "record" / "test_trouble.jsonl").read_text().splitlines()
    outcomes = [line["outcome"] for line in map(json.loads, lines) if "test" in line]
    assert outcomes == ["passed", "failed", "lost", "lost", "failed", "passed"]
    assert on_gpu.main([str(file), *PRETENDED, *record]) == 1, "it was run again"


def test_what_has_no_time_is_not_run(capsys, monkeypatch):
    monkeypatch.setattr(on_gpu, "sanitizer", lambda: "compute-sanitizer")
    assert on_gpu.main(["rows", "sanitizer", *PRETENDED, "--limit", "0"]) == 1
    said = capsys.readouterr().out
    assert "rows                  nothing" in said
    assert "sanitizer, memcheck   not run: the time is up" in said


def test_every_tool_watches_and_what_one_finds_fails(capsys, tool):
    assert on_gpu.main(["sanitizer", *PRETENDED]) == 1
    said = capsys.readouterr().out
    assert "sanitizer, programs   clean" in said
    assert "sanitizer, memcheck   clean" in said
    assert "sanitizer, racecheck  failed: it has found errors" in said
    options = (tool.parent / "options").read_text()
    assert [line.split()[1] for line in options.splitlines()] == list(on_gpu.TOOLS)
    assert options.count("--error-exitcode 99") == len(on_gpu.TOOLS)


def test_a_tool_that_is_not_there_is_not_clean(capsys, monkeypatch):
    monkeypatch.setattr(on_gpu, "sanitizer", lambda: None)
    monkeypatch.setattr(on_gpu, "_ended", lambda *_: "clean")
    assert on_gpu.main(["sanitizer", *PRETENDED]) == 1
    assert "not run: compute-sanitizer is not there; pip install" in capsys.readouterr().out
