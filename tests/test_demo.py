"""The command line: the demo in few epochs, questions about a file, the cache."""

import subprocess
import sys

import numpy as np
import pytest

import gradloom as gl
from gradloom import data
from gradloom.__main__ import UsageError, examples, main
from gradloom.demo import TASKS, demo, speeds, train

MODEL = """\
import numpy as np
import gradloom as gl
import gradloom.numpy as gnp


def loss(w, x):
    return gnp.sum(gnp.tanh(x @ w) ** 2)


slope = gl.grad(loss)
step = gl.train_step(loss, gl.optim.adam(1e-3))
number = 3
example_args = (np.ones((4, 2), "float32"), np.ones((8, 4), "float32"))
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "model.py").write_text(MODEL)
    yield tmp_path
    sys.modules.pop("model", None)


# ---- data


@pytest.mark.parametrize(
    ("images", "count", "features"), [(data.digits, 1797, 64), (data.mnist, 5000, 784)]
)
def test_images_are_split_whole(images, count, features):
    split = images()
    assert len(split.x) + len(split.x_test) == count
    assert split.x.shape[1] == split.x_test.shape[1] == features
    for x, y in ((split.x, split.y), (split.x_test, split.y_test)):
        assert x.dtype == np.float32
        assert y.dtype == np.int32
        assert len(x) == len(y)
        assert (x.min(), x.max()) == (0, 1)
        assert set(y) == set(range(10))
    again = images()
    assert all(np.array_equal(value, getattr(again, name)) for name, value in vars(split).items())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda module: None)
    with pytest.raises(gl.StateError, match=r"scikit-learn.*\n.*\n.*pip install"):
        data.digits()


# ---- demo


def test_demo_reports_what_it_did(tmp_path, monkeypatch):
    monkeypatch.setattr("gradloom.demo.ROUNDS", 1)
    said = []
    outcomes = demo(tmp_path, said.append, epochs=2, progress=False)
    assert [outcome.name for outcome in outcomes] == ["digits", "mnist"]
    text = "\n".join(said)
    for outcome in outcomes:
        assert f"{outcome.accuracy:.2%}" in text
        assert outcome.losses[1] < outcome.losses[0]
        assert len(outcome.held_out_losses) == 2
        assert min(outcome.native_steps, outcome.single_steps, outcome.eager_steps) > 0
        assert [file.name for file in outcome.files] == [
            f"{outcome.name}_{part}" for part in ("loss.png", "graph.svg", "arena.svg")
        ]
        assert all(file.stat().st_size for file in outcome.files)
    assert ("warm start" in text) == any(not outcome.cached for outcome in outcomes)

    again = []
    same = train(TASKS[0], tmp_path, again.append, epochs=2, progress=False)
    assert same.cached
    assert np.array_equal(same.losses, outcomes[0].losses)
    assert any("warm" in line for line in again)


def test_digits_are_learned(tmp_path):
    outcome = train(TASKS[0], tmp_path, lambda line: None, progress=False)
    assert outcome.accuracy >= 0.97


@pytest.mark.slow
def test_mnist_is_learned(tmp_path):
    outcome = train(TASKS[1], tmp_path, lambda line: None, progress=False)
    assert outcome.accuracy >= 0.92


def test_measuring_leaves_the_state_alone():
    step = gl.train_step(lambda p, x: ((x - p) ** 2).mean(), gl.optim.sgd(0.1))
    state = step.init(np.zeros(3))
    assert all(rate > 0 for rate in speeds(step, state, (np.ones((2, 3)),)))
    assert not state.params.any()


# ---- commands


@pytest.mark.parametrize("name", ["loss", "slope", "step"])
def test_inspect_answers_and_writes(model, capsys, name):
    assert main(["inspect", f"model.py:{name}"]) == 0
    text = capsys.readouterr().out
    assert "model.py:7 in loss" in text
    assert "side by side" in text
    assert "def program(table, arena, control, worker, team):" in text
    assert {file.name for file in (model / "gradloom-inspect").iterdir()} == {
        f"{name}_source.py",
        f"{name}_graph.svg",
        f"{name}_arena.svg",
    }


def test_inspect_takes_shapes(model, capsys):
    assert main(["inspect", "model.py:loss", "--shapes", "float64[4,2], float64[8,4]"]) == 0
    assert "float64[8,4]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model.py"], "is not FILE:FUNCTION"),
        (["absent.py:f"], "there is no file absent.py"),
        (["model.py:nope"], "nope does not exist in model.py; there are loss, slope, step"),
        (["model.py:number"], "number is not a function"),
        (["model.py:loss", "--shapes", "float99[1]"], "does not begin with a type"),
        (["model.py:step", "--shapes", "float32[1]"], "example_args = (params, *batch)"),
    ],
)
def test_inspect_says_what_to_write_instead(model, capsys, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", *arguments])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_errors_in_the_function_name_its_line(model, capsys):
    assert main(["inspect", "model.py:loss", "--shapes", "float32[3,2], float32[8,4]"]) == 1
    assert "model.py:7 in loss" in capsys.readouterr().err


def test_shapes_are_read():
    arrays = examples("float32[2,3],int64[], bool[4] ,uint32[0]")
    assert [(a.dtype.name, a.shape) for a in arrays] == [
        ("float32", (2, 3)),
        ("int64", ()),
        ("bool", (4,)),
        ("uint32", (0,)),
    ]
    with pytest.raises(UsageError):
        examples("float32[2,")


def test_cache_counts_and_clears(tmp_path, capsys):
    with gl.settings(cache_dir=str(tmp_path)):
        gl.jit(lambda x: x * 3.25)(np.ones(7))
        assert main(["cache"]) == 0
        assert f"{tmp_path}: 2 entries" in capsys.readouterr().out
        assert main(["cache", "--clear"]) == 0
        assert "deleted 2 entries" in capsys.readouterr().out
        assert main(["cache"]) == 0
        assert f"{tmp_path}: 0 entries (plans and programs), 0 bytes" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), ([], 2), (["nope"], 2)])
def test_the_command_starts(arguments, status):
    ran = subprocess.run(
        [sys.executable, "-m", "gradloom", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == status
    assert gl.__version__ in ran.stdout if status == 0 else "usage: gradloom" in ran.stderr
