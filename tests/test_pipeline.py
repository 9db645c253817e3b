"""The caches, as a user's second process meets them."""

import gc
import json
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest

import gradloom as gl
from gradloom import pipeline

MODEL = """\
import json, sys
import numpy as np
import gradloom as gl

def loss(params, x, y):
    h = np.tanh(x @ params["w"] + params["b"])
    return np.mean((h - y) ** 2)

step = gl.train_step(loss, gl.optim.adam(RATE))
state = step.init({"w": np.ones((3, 2)), "b": np.zeros(2)})
state, value = step(state, np.ones((4, 3)), np.zeros((4, 2)))
found = [line for line in step.explain().splitlines() if "in loss" in line]
print(json.dumps({
    "value": float(value),
    "cached": step.program().cached,
    "compiler": "gradloom.runtime.compile" in sys.modules,
    "planner": "gradloom.plan.assemble" in sys.modules,
    "passes": "gradloom.passes.order" in sys.modules,
    "lines": found[0].split("model.py:")[1].split()[0],
}))
"""

# The same for a GPU that is not here, so it is compiled and asked, not called.
GPU_MODEL = """\
import hashlib, json, sys
import numpy as np
import gradloom as gl

def loss(params, x, y):
    h = np.tanh(x @ params["w"] + params["b"])
    return np.mean((h - y) ** 2)

step = gl.train_step(loss, gl.optim.adam(1e-3), target="TARGET")
state = step.init({"w": np.ones((3, 2)), "b": np.zeros(2)})
program = step.program(state, np.ones((4, 3)), np.zeros((4, 2)))
found = [line for line in step.explain().splitlines() if "in loss" in line]
print(json.dumps({
    "ptx": hashlib.sha256(step.ptx().encode()).hexdigest(),
    "cached": program.cached,
    "stages": list(program.seconds),
    "lines": found[0].split("model.py:")[1].split()[0],
    "compiler": sorted(sys.modules.keys() & {
        "gradloom.codegen.cuda.module", "gradloom.runtime.cuda.ptx", "gradloom.runtime.lowering",
        "gradloom.runtime.native", "cuda.bindings.nvjitlink", "numba",
    }),
    "planner": sorted(sys.modules.keys() & {
        "gradloom.plan.assemble", "gradloom.plan.device", "gradloom.passes.order",
    }),
}))
"""


@pytest.fixture
def trained(tmp_path):
    """Runs the model in a process of its own, with a cache that the runs share."""

    def run(text, **environment):
        return finished(started(tmp_path, text, **environment))

    return run


def started(place, text, **environment):
    file = place / "model.py"
    file.write_text(text)
    variables = {**os.environ, "GRADLOOM_CACHE_DIR": str(place / "cache"), **environment}
    variables["GRADLOOM_VERIFY"] = "0"
    return subprocess.Popen(
        [sys.executable, str(file)], env=variables, stdout=subprocess.PIPE, text=True
    )


def finished(process):
    out, _ = process.communicate()
    assert not process.returncode
    return json.loads(out)


def test_programs_that_nobody_has_stay_loaded_up_to_a_number(monkeypatch):
    monkeypatch.setattr(pipeline, "_loaded", {})
    monkeypatch.setattr(pipeline, "LOADED", 2)

    def fresh(number):
        f = gl.jit(lambda x: x * 2.0 + number)
        np.testing.assert_array_equal(f(np.ones(3)), 2.0 + number)
        return f, weakref.ref(f.program().executable.entry)

    first, entry = fresh(1)
    assert fresh(1)[1]() is entry()  # the same code
    fresh(2)
    fresh(1)
    fresh(3)
    assert entry() in pipeline._loaded.values()  # 2 was used before it
    fresh(4)
    fresh(5)
    assert len(pipeline._loaded) == 2
    np.testing.assert_array_equal(first(np.ones(3)), 3.0)  # who has it keeps it
    del first
    gc.collect()
    assert entry() is None


def test_a_plan_is_kept_whatever_was_traced_before():
    """Numbers that count up, of marks, checkpoints and loops, do not reach the key."""

    def loss(w, xs):
        layer = gl.checkpoint(lambda c, x: (np.tanh(c * w + x), c * x))
        last, rows = gl.scan(layer, w, xs)
        return last.sum() + (rows * rows).sum()

    texts = [gl.grad(loss).program(np.ones(3), np.ones((5, 3))).traced.text() for _ in range(2)]
    assert texts[0] == texts[1]


def test_a_second_process_neither_simplifies_nor_plans_nor_compiles(trained):
    text = MODEL.replace("RATE", "1e-3")
    first, second = trained(text), trained(text)
    assert first["compiler"]
    assert first["planner"]
    assert first["passes"]
    assert not second["compiler"]
    assert not second["planner"]
    assert not second["passes"]
    assert second["cached"]
    assert second["value"] == first["value"]


def test_lines_that_moved_are_planned_anew_but_not_compiled(trained):
    text = MODEL.replace("RATE", "1e-3")
    first, moved = trained(text), trained("\n\n\n" + text)
    assert int(moved["lines"]) == int(first["lines"]) + 3
    assert moved["planner"]
    assert not moved["compiler"]


def test_another_learning_rate_neither_plans_nor_compiles(trained):
    trained(MODEL.replace("RATE", "1e-3"))
    other = trained(MODEL.replace("RATE", "5e-2"))
    assert not other["compiler"]
    assert not other["planner"]


def test_without_the_cache_everything_is_done_again(trained):
    text = MODEL.replace("RATE", "1e-3")
    first, second = trained(text), trained(text, GRADLOOM_CACHE="0")
    assert second["compiler"]
    assert second["value"] == first["value"]


# ---- for GPUs


def for_gpu(target="cuda-ptx"):
    return GPU_MODEL.replace("TARGET", target)


def test_a_second_process_only_reads_what_is_for_a_gpu(trained):
    first, second = trained(for_gpu()), trained(for_gpu())
    assert first["compiler"]
    assert first["planner"]
    assert {"passes", "plan", "kernels", "optimise", "emit"} <= set(first["stages"])
    assert second["cached"]
    assert second["compiler"] == second["planner"] == []
    assert second["ptx"] == first["ptx"]


def test_other_gpus_and_forms_have_code_of_their_own(trained):
    first = trained(for_gpu())
    other = trained(for_gpu("cuda-ptx:sm_80"))
    launched = trained(for_gpu(), GRADLOOM_DISABLE="persistent")
    assert len({one["ptx"] for one in (first, other, launched)}) == 3
    assert not other["cached"]
    assert not launched["cached"]


def test_lines_that_moved_are_planned_anew_for_a_gpu_but_not_compiled(trained):
    first, moved = trained(for_gpu()), trained("\n\n\n" + for_gpu())
    assert int(moved["lines"]) == int(first["lines"]) + 3
    assert moved["planner"]
    assert "gradloom.runtime.cuda.ptx" not in moved["compiler"]
    assert moved["ptx"] == first["ptx"]


def test_what_was_spoilt_on_disk_is_made_again_for_a_gpu(trained, tmp_path):
    first = trained(for_gpu())
    for file in (tmp_path / "cache").glob("??/*.o"):
        content = file.read_bytes()
        file.write_bytes(content[:-20] + bytes(20))
    second, third = trained(for_gpu()), trained(for_gpu())
    assert not second["cached"]
    assert third["cached"]
    assert first["ptx"] == second["ptx"] == third["ptx"]


def test_two_processes_may_fill_the_cache_at_once_for_a_gpu(tmp_path):
    both = [started(tmp_path, for_gpu()) for _ in range(2)]
    first, second = map(finished, both)
    assert first["ptx"] == second["ptx"]
    third = finished(started(tmp_path, for_gpu()))
    assert third["cached"]
    assert third["ptx"] == first["ptx"]
