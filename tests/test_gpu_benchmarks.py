"""`make gpu-bench` as far as a machine without a GPU allows: rehearsed on the CPU, and on the fake
driver."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.contenders.checks import CannotError  # noqa: E402
from benchmarks.gpu import calls, costs, kernels, launching, targets, training  # noqa: E402
from benchmarks.gpu import place as places  # noqa: E402
from benchmarks.gpu.attempts import Attempts  # noqa: E402
from benchmarks.gpu.contenders import CONTENDERS, OURS, SCAN, missing  # noqa: E402
from benchmarks.machine import describe  # noqa: E402
from benchmarks.rounds import Timing  # noqa: E402

from tests import gpus  # noqa: E402
from tests.runtime.cuda.fake import fake_library  # noqa: E402


@pytest.fixture
def pretended():
    """For what is rehearsed in processes of its own, by the fake driver."""
    if gpus.DRIVER or isinstance(fake_library(), str):
        pytest.skip("the fake driver cannot be had here")
    return "pretended"


def test_training_is_compared_on_the_cpu():
    names = [OURS, *(name for name in (SCAN,) if not missing(name))]
    report = training.measure("float32", ["xor:count=3"], names, 0.0, "cpu")
    text = report.markdown(describe())
    assert not report.kept
    assert "| xor:count=3 |" in text
    assert "no GPU: a rehearsal (cpu)" in text
    assert list(report.raw["models"]["xor:count=3"]["contenders"]) == names
    assert text.count("not measured") == 5, "digits was not among the models"


def test_training_runs_on_the_fake_driver(pretended, tmp_path):
    names = [OURS, "gradloom, run in graphs"]
    found = training.compare("xor:count=2", names, "float32", 0.0, tmp_path, pretended)
    assert not found.absent
    assert found.difference < 1e-6
    assert found.cold.keys() == found.warm.keys() == set(names)


def test_what_is_asked_is_held_against_what_is_seen():
    wall = {OURS: [1e-6, 1e-6], **{name: [5e-6, 5e-6] for name in training.ASKED}}
    found = training.Found(Timing(wall, wall), cold={OURS: 4.0}, warm={OURS: 0.1})
    rows = [target.row() for target in training.targets({training.SMALL_MLP: found})]
    assert [row[-1] for row in rows] == ["no", "yes", "yes", "no", "yes"]
    assert rows[0][1:3] == ["at least 10.0", "5.00"]
    assert targets.Target("x", 1.0, None).row()[-1] == "not measured"


def test_a_model_that_ours_cannot_run_has_no_figures(monkeypatch):
    def refuse(*_):
        raise CannotError("no device")

    monkeypatch.setattr(training, "_started", refuse)
    text = training.measure("float32", ["xor"], [OURS], 0.0, "cpu").markdown(describe())
    assert "Without figures: xor: gradloom, run cannot run xor: no device." in text


def test_everyone_computes_the_same_chain_and_product():
    found = {}
    for name in calls.MAKERS:
        if name == "torch, compile":
            continue  # it takes ten seconds
        try:
            caller = calls.Calls(name, "cpu")
            found[name] = [caller.chain("24")["mean"]]
            found[name].append(caller.product("6", "highest")["mean"])
        except (CannotError, ModuleNotFoundError, AttributeError):
            assert name != calls.OURS
            continue
        assert caller.time()["wall"] > 0
    for mean in zip(*(means for means in found.values() if len(means) == 2), strict=True):
        assert mean == pytest.approx(mean[:1] * len(mean), rel=1e-5)


def test_shares_of_a_copy_and_of_cublas():
    n = kernels.LARGE
    chain = {calls.OURS: [1.8], calls.COPY: [1.0], "jax": [2.0]}
    product = {calls.OURS: [2.0], calls.CUBLAS: [1.0]}
    chains = {n: Timing(chain, chain)}
    products = {(n, form): Timing(product, product) for form in calls.FORMS}
    rows = [target.row() for target in kernels.targets(chains, products)]
    assert [row[2:] for row in rows] == [["0.833", "no"], *[["0.500", "no"]] * 3]
    report = kernels.report(chains, products, {"copy, product": "it only copies"}, "cpu")
    assert "| 4096, float32 |" in report.markdown(describe())


def test_launches_barriers_and_calls_are_timed(pretended, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "MAKERS", {calls.OURS: calls.Ours})
    monkeypatch.setattr(costs, "FORMS", {"a graph": ("persistent", 600)})
    found = costs.Costs(0.0, pretended)
    found.launch(tmp_path)
    found.loop(tmp_path, (1, 3))
    found.call(tmp_path)
    assert not found.absent
    assert found.bare.keys() == costs.BARE.keys()
    report = costs.report(found)
    assert report.raw["stage_seconds"]["a graph"]["a call"]["median"] > 0
    seen = {row[0]: row[2] for row in report.sections[0].rows}
    assert seen["NODE"]
    assert seen["LOOK"]
    assert not seen["BARRIER"]
    assert found.calls.seconds(calls.OURS).median > 0


def test_tiles_are_those_that_are_asked_for():
    from gradloom.plan import tiles

    known = tiles.TILES
    one = launching.Launching("cpu")
    one.tiled("6", "16", "16", "32")
    assert tiles.TILES is known
    assert one.time()["wall"] > 0
    assert one.rounds("3", "20")["meetings"] >= 0


def test_what_ends_or_cannot_is_absent_and_the_rest_goes_on(tmp_path):
    environment = places.environment("cpu")
    attempts = Attempts(["benchmarks.gpu.calls", "copy", "cpu"], tmp_path, environment, "copy")
    assert attempts.timed("empty", 0.0) is None
    assert attempts.timed("chain 8", 0.0) is None
    attempts.close()
    assert attempts.absent == {
        "copy, empty": "there is no driver on a CPU",
        "copy, chain 8": "there is no driver on a CPU",
    }


def test_a_process_is_told_where_it_is():
    there, here = places.environment("cuda", "persistent"), places.environment("pretended")
    assert (there["JAX_PLATFORMS"], here["JAX_PLATFORMS"]) == ("cuda", "cpu")
    assert there["GRADLOOM_DISABLE"] == "persistent"
    assert there["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert set(CONTENDERS) >= training.ASKED.keys()


def test_a_rehearsal_writes_nothing(tmp_path):
    words = ["gpu.training", "--place", "cpu", "--models", "xor:count=2", "--seconds", "0"]
    words += ["--contenders", OURS, "--output", str(tmp_path / "results")]
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "a rehearsal, of which nothing is written" in said
    assert not (tmp_path / "results").exists()
