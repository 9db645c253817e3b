"""Every benchmark runs at a tiny size, and its contenders compute the same."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    __main__,
    call_overhead,
    compile_time,
    lane_costs,
    loops,
    models,
    multiplier,
    peaks,
    processes,
    products,
    startup,
    summary,
    team,
    team_costs,
    training,
    worker,
)
from benchmarks.contenders import CONTENDERS, contender, missing  # noqa: E402
from benchmarks.contenders.checks import CannotError, checksums  # noqa: E402
from benchmarks.machine import cores, describe, threads_environment  # noqa: E402
from benchmarks.processes import Worker, cache_environment  # noqa: E402
from benchmarks.report import Report, Section  # noqa: E402
from benchmarks.rounds import (  # noqa: E402
    Runner,
    Spread,
    Timing,
    filling,
    number,
    take_turns,
    words,
)

from tests.tiny_models import TINY, tiny  # noqa: E402

OWN = [name for name in CONTENDERS if name.startswith("gradloom")]


def losses(name, model):
    runner = contender(name)(model, 1)
    runner.restart()
    first = runner.losses(runner.run()).tolist()
    runner.restart()
    assert runner.losses(runner.run()).tolist() == first, "the second start is another"
    return first


def test_every_model_has_a_tiny_form():
    assert TINY.keys() == models.MODELS.keys()


@pytest.mark.parametrize("name", TINY)
def test_contenders_agree_and_begin_again_alike(name):
    model = tiny(name, "float32")
    found = {}
    for who in (*OWN, "jax, step"):
        if missing(who):
            continue
        try:
            found[who] = losses(who, model)
        except CannotError:
            assert not model.optimizer
    assert training.check(found, "float32") < training.TOLERANCE["float32"]


@pytest.mark.parametrize("name", ["digits", "process", "residual"])
def test_float64_is_float64_all_through(name):
    model = tiny(name, "float64")
    assert model.dtype == "float64"
    training.check({who: losses(who, model) for who in OWN}, "float64")


def test_losses_that_differ_are_found():
    found = {"a": [1.0, 1.0], "b": [1.0, 1.0, 7.0], "wrong": [1.0, 1.5]}
    with pytest.raises(ValueError, match=r"'wrong': 0\.5"):
        training.check(found, "float32")
    with pytest.raises(ValueError, match="undefined"):
        training.check({"a": [1.0], "b": [1.0], "undefined": [math.nan]}, "float32")
    assert training.check({"a": [1.0], "b": [1.001]}, "float32") == pytest.approx(5e-4, rel=0.01)


def test_what_is_not_trained_has_checksums():
    assert checksums([[np.ones(4), np.zeros(2)], [np.full(3, 2.0)]]).tolist() == [0.5, 2.0]


# ---- what is said of what was found


def found(**seconds):
    timing = Timing(
        {n: [s, s] for n, s in seconds.items()}, {n: [s, s] for n, s in seconds.items()}
    )
    some = dict.fromkeys(seconds, 0.5)
    return training.Found(
        timing,
        dict(some),
        dict(some),
        dict.fromkeys(seconds, 5000000),
        dict.fromkeys(seconds, 7_000_000),
        dict.fromkeys(seconds, 0.0),
        1e-7,
        {"torch, compile": "too slow"},
    )


@pytest.fixture
def table():
    ours = "gradloom, run"
    return {
        "xor": found(**{ours: 1e-6, "jax, scan": 8e-6, "torch, eager": 50e-6}),
        "chain": found(**{ours: 2e-2, "jax, scan": 3e-2, "gradloom, step": 1e-2}),
    }


def test_the_best_peer_is_none_of_ours(table):
    assert summary.best(table["xor"]) == pytest.approx(8)
    assert summary.best(table["chain"]) == pytest.approx(1.5)
    assert math.isnan(summary.best(table["chain"], ("torch",)))


def test_the_summary_row_has_geometric_means(table):
    section = summary.steps("1 thread", table)
    assert section.columns == [
        *("", "gradloom, run, us a step"),
        *("gradloom, step", "torch, eager", "jax, scan", "best peer"),
    ]
    *_, last = section.rows
    assert last == ["geometric mean", "", "0.500", "50.0", "3.46", "3.46"]


def test_a_report_of_everything(table, tmp_path):
    made = {name: tiny(name, "float32") for name in table}
    top = {"flops": 1e11, "bytes": 1e10}
    report = summary.report("float32", made, {1: table, 2: table}, {1: top, 2: top}, {})
    text = report.markdown(describe())
    assert "small models (xor): best JAX form, least | 8.00 |" in text
    assert "Left out: torch, compile, of xor (1), chain (1), xor (2), chain (2): too slow." in text
    assert [path.suffix for path in report.save(tmp_path)] == [".md", ".json", ".png"]
    saved = json.loads((tmp_path / "training-float32.json").read_text())
    assert saved["threads"]["2"]["xor"]["contenders"]["jax, scan"]["ratio"]["median"] == 8


def test_memory_is_held_against_the_floor_and_the_plan(table):
    floors = {"gradloom, run": 4_000_000, "jax, scan": 5_500_000}
    section = summary.memory(table, floors)
    assert section.columns[1:4] == ["gradloom, run", "gradloom, step", "torch, eager"]
    assert section.rows[0] == ["xor", "5.0", "", "5.0", "5.0", "1.0", "7.0"]
    assert section.rows[-1] == ["floor", "4.0", "", "", "5.5", "", ""]


def test_progress_names_the_best_peer(table):
    line = training.progress("xor", 1, table["xor"])
    assert line == "1 thread, xor: 1.00 us, jax, scan 8.00 times; without torch, compile"


# ---- processes


def test_a_worker_answers_and_ends(tmp_path):
    arguments = ["benchmarks.worker", "gradloom, run", "xor", "float32", "1"]
    one = Worker(arguments, 1, tmp_path)
    first = one.ask("first")
    assert len(first["losses"]) == 20
    wall, cpu = one.turn()
    assert wall > 0 < cpu
    memory = one.ask("memory")
    assert 0 < memory["peak"] < 50e6
    assert memory["planned"] > 0
    assert len(one.ask("bits")["losses"]) == 200
    one.close()
    one.close()  # which is nothing


def test_seconds_are_those_of_the_steps_that_are_run(monkeypatch):
    model = {"count": 3, "hidden": 2}
    monkeypatch.setitem(models.MODELS, "xor", lambda dtype: models.xor(dtype, **model))
    slow = worker.Worker("gradloom, eager", "xor", "float32", "1")
    assert slow.count == 3
    slow.first()
    assert slow.count == 2 == len(slow.bits()["losses"])


def test_a_worker_that_ends_says_why(tmp_path):
    arguments = ["benchmarks.worker", "tinygrad", "chain", "float32", "1"]
    with pytest.raises(CannotError, match="perceptrons only"):
        Worker(arguments, 1, tmp_path)
    arguments = ["benchmarks.worker", "gradloom, run", "no such model", "float32", "1"]
    with pytest.raises(CannotError, match="KeyError"):
        Worker(arguments, 1, tmp_path)


def test_a_worker_that_says_nothing_ends_with_its_status(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    (tmp_path / "silent.py").write_text("raise SystemExit(3)")
    with pytest.raises(CannotError, match="ended with status 3"):
        Worker(["silent"], 1, tmp_path)


def test_one_thread_and_two_and_the_bits_of_eight():
    timing, alike = team.compare("xor", "float32", 0.0)
    assert alike
    assert timing.wall.keys() == {"1", "2"}


def test_who_is_missing_is_absent(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "missing", lambda name: "not installed" if "jax" in name else "")
    names = ["gradloom, run", "jax, scan"]
    one = training.compare("xor", names, "float32", 1, 0.0, tmp_path)
    assert one.absent == {"jax, scan": "not installed"}
    assert len(one.timing.wall["gradloom, run"]) == 5


def test_everyone_compiles_once_and_who_cannot_is_absent(monkeypatch, tmp_path):
    started = []

    class Fake:
        def __init__(self, arguments, threads, *_):
            self.what = (*arguments[1:3], threads)
            if "tinygrad" in arguments and "chain" in arguments:
                raise CannotError("perceptrons only")

        def ask(self, word):
            started.append(self.what)
            return {"compile": float(len(started))}

        def close(self):
            pass

    monkeypatch.setattr(training, "Worker", Fake)
    monkeypatch.setattr(training, "missing", lambda name: "")
    names = ["gradloom, run", "gradloom, step", "torch, eager", "torch, compile", "tinygrad"]
    found = training.compile_all(["xor", "chain"], names, "float32", [1, 2], tmp_path)
    assert found["chain"].absent == {"tinygrad": "perceptrons only"}
    assert found["xor"].compiled.keys() == {"gradloom, run", "torch, compile", "tinygrad"}
    assert started[:2] == [("gradloom, run", "xor", 1), ("gradloom, run", "chain", 1)]
    assert {w for w in started if w[2] == 2} == {
        ("torch, compile", "xor", 2),
        ("torch, compile", "chain", 2),
    }
    assert found["xor"].compiled["torch, compile"] < 6, "the later figure replaced the first"


def test_nothing_is_measured_where_ours_cannot_run(monkeypatch, tmp_path):
    def refuse(*_):
        raise CannotError("it does not compile")

    monkeypatch.setattr(training, "Worker", refuse)
    with pytest.raises(RuntimeError, match="gradloom, run cannot run xor: it does not compile"):
        training.compile_all(["xor"], ["gradloom, run"], "float32", [1], tmp_path)


def test_what_xor_takes_is_the_floor(tmp_path, table):
    assert training.floors([], "float32", 1, tmp_path, table) == table["xor"].peak
    (floor,) = training.floors(["gradloom, run"], "float32", 1, tmp_path, {}).values()
    assert 0 < floor < 50e6


def test_every_library_hears_of_threads_and_caches(tmp_path):
    one, two = threads_environment(1), threads_environment(2)
    assert {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NPROC"} <= one.keys() == two.keys()
    assert two["OMP_NUM_THREADS"] == "2"
    assert len(cores(1)) == 1
    assert all(str(tmp_path) in place for name, place in cache_environment(tmp_path).items()
               if not name.startswith("JAX_PERSISTENT"))  # fmt: skip


# ---- products and peaks


@pytest.mark.parametrize("form", products.FORMS)
@pytest.mark.parametrize("dtype", products.TOLERANCE)
def test_everyone_multiplies_alike(form, dtype):
    names = [n for n in multiplier.MAKERS if n != "torch"]
    shape = ("5", "7", "3")
    sizes = {n: multiplier.Multiplier(n, dtype, "1").prepare(*shape, form)["sizes"] for n in names}
    assert len(sizes["numpy"]) == multiplier.MOST_PAIRS
    products.check(sizes, dtype)
    sizes["numpy"][-1] *= 1.01
    with pytest.raises(ValueError, match="numpy multiplies differently"):
        products.check(sizes, dtype)


def test_sections_of_products():
    seconds = {"gradloom, kernel": 1e-6, "gradloom, call": 4e-6, "numpy": 3e-6, "torch": 2e-6}
    timing = Timing({n: [s] for n, s in seconds.items()}, {n: [s] for n, s in seconds.items()})
    shape = (32, 32, 32)
    full, short = products.sections("f", {(shape, form): timing for form in products.FORMS}, 131e9)
    assert full.rows == [["32", "66 (50%)", *["2.00"] * 4, "0.500"]]
    assert short.rows[0] == ["geometric mean", "2.00"]


def test_peaks_are_numbers(monkeypatch):
    monkeypatch.setattr(peaks, "FMA_LOOPS", 1000)
    monkeypatch.setattr(peaks, "BYTES", 2**16)
    for dtype in ("float32", "float64"):
        assert min(peaks.peaks(2, dtype).values()) > 0


# ---- the others


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
    monkeypatch.setattr(compile_time, "FOR_GPUS", ())
    report = compile_time.measure()
    assert len(report.sections[0].rows) == 6
    assert [path.suffix for path in report.save(tmp_path)] == [".md", ".json", ".png"]


def test_a_step_for_a_gpu_that_was_made_before_takes_less():
    pytest.importorskip("cuda.bindings.nvjitlink")
    kernels, taken = compile_time._for_gpu("xor")
    assert kernels > 0
    assert taken["nvJitLink"] > 0
    assert taken["warm"] < taken["cold"]


def test_call_overhead():
    assert len(call_overhead.measure("float64", seconds=0).sections[0].rows) == 7


def test_startup_counts_one_compilation_for_many_rates():
    assert startup.compilations_of_rates(3, models.xor("float32", count=1, hidden=5)) == 1


def test_first_step_comes_from_the_cache_without_numba():
    _, facts = startup.first_steps(1, others=())
    assert facts["cached"]
    assert not facts["numba_imported"]


# ---- rounds, reports, the command line


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


def test_runs_follow_each_other_after_a_start(monkeypatch):
    calls = []
    runner = Runner(lambda: calls.append("run"), lambda: calls.append("start"))
    runner.timed(2, 3)
    assert calls == ["start", "run", "run", "run"] * 2
    seconds = iter([0.0, 0.0004, 0.0, 0.03, 0.0, 0.005])  # each second one counts
    monkeypatch.setattr(Runner, "timed", lambda *_: (next(seconds), 0.0))
    assert [filling(runner) for _ in range(3)] == [(5, 10), (1, 1), (1, 4)]


def test_numbers_in_words():
    assert [number(x) for x in (0, 0.012345, 1.5, 99.95, 123456)] == [
        *("0", "0.0123", "1.50", "100.0", "123000")
    ]
    assert words(Spread(1.0, 0.5, 2.0)) == "1.00 (0.500 to 2.00)"


def test_options_go_to_those_that_take_them():
    given = ["training", "--models", "xor, digits", "--threads", "1", "--contenders", "jax, scan;b"]
    options = __main__.parser().parse_args(given)
    assert __main__.chosen("training", options) == {
        "models": ["xor", "digits"],
        "contenders": ["jax, scan", "b"],
        "threads": [1],
    }
    assert __main__.chosen("startup", options) == {}
    with pytest.raises(SystemExit):
        __main__.parser().parse_args(["no-such-benchmark"])


def test_the_command_line_names_what_there_is():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "neighbours" in told
