"""The thread team: the same bits at any size, and no harm to who forks, exits, fails or stops."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.teams import shared

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.codegen import driver
from gradloom.codegen.primitives import meet
from gradloom.codegen.source import load_source, program_source
from gradloom.frontend.pytree import flatten
from gradloom.runtime.team import team

SIZES = [2, 3, 8]
RNG = np.random.default_rng(0)


@pytest.fixture
def split():
    """Everything is shared that can be."""
    with gl.settings(disable=("lighten",)):
        yield


def rows(x, w):
    h = np.tanh(x @ w)
    return gnp.sum(gnp.exp(h) @ w.T), h, h.T @ h, gnp.cumsum(x, 0)


X, W = RNG.normal(size=(100, 30)), RNG.normal(size=(30, 20))


def assert_same(found, wanted):
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("size", SIZES)
def test_any_team_gives_the_same_bits(split, size):
    compiled = gl.jit(rows)
    wanted = compiled(X, W)
    shared(compiled.program().executable, size)
    for _ in range(20):
        assert_same(compiled(X, W), wanted)


def step_and_data():
    def loss(params, x, y):
        h = np.tanh(x @ params["w"] + params["b"])
        return gnp.mean((h @ params["v"] - y) ** 2)

    params = {
        "w": np.ones((5, 40), "f4") * 0.1,
        "b": np.zeros(40, "f4"),
        "v": np.ones((40, 3), "f4"),
    }
    x, y = RNG.normal(size=(130, 5)).astype("f4"), RNG.normal(size=(130, 3)).astype("f4")
    return gl.train_step(loss, gl.optim.adam(1e-2)), params, x, y


@pytest.mark.parametrize("size", SIZES)
def test_training_gives_the_same_bits(split, size):
    step, params, x, y = step_and_data()

    def trained():
        state, losses = step.run(step.init(params), x.reshape(2, 65, 5), y.reshape(2, 65, 3))
        state, history = step.fit(state, (x, y), batch_size=64, epochs=3, shuffle=gl.random.key(3))
        state, last = step(state, x[:65], y[:65])
        return [losses, history["loss"], last, *flatten(state.params)[0]]

    wanted = trained()
    for compiled in step._compiled.values():
        shared(compiled.program.executable, size)
    assert_same(trained(), wanted)


@pytest.mark.parametrize("size", [1, *SIZES])
def test_the_text_runs_on_several_threads_of_pythons(split, size):
    program = gl.jit(rows).program(X, W)
    text = program_source(program.plan, program.driver)
    wanted = load_source(text)["run"](X, W)
    module = load_source(text)
    outputs = [np.zeros(shape, dtype) for _, dtype, shape in module["OUTPUTS"]]
    table = [module["memory"](a) for a in (X, W, *outputs)]
    arena = np.zeros(module["ARENA_BYTES"], np.uint8)
    control = module["memory"](np.zeros(module["CONTROL_WORDS"], np.int64))
    with ThreadPoolExecutor(size) as pool:
        calls = [
            pool.submit(module["program"], table, arena, control, worker, size)
            for worker in range(size)
        ]
        assert [call.result(timeout=60) for call in calls] == [0] * size
    assert_same(outputs, wanted)


def test_a_barrier_lets_nobody_pass_early():
    control, passed = np.zeros(driver.FAULTS, np.int64), []

    def member(number):
        for round_ in range(20):
            passed.append((round_, number))
            meet(control.view(np.uint8), 3)

    threads = [threading.Thread(target=member, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [round_ for round_, _ in passed] == sorted(round_ for round_, _ in passed)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_who_was_woken_elsewhere_may_run_anywhere(split):
    compiled = gl.jit(rows)
    compiled(X, W)
    shared(compiled.program().executable, 2)
    compiled(X, W)
    worker = team()._workers[0]._thread.native_id
    assert worker is not None
    deadline = time.monotonic() + 60
    while os.sched_getaffinity(worker) != os.sched_getaffinity(0):
        assert time.monotonic() < deadline
        time.sleep(1e-3)


def test_who_finds_the_team_in_use_runs_alone(split):
    compiled = gl.jit(rows)
    wanted = compiled(X, W)
    shared(compiled.program().executable, 2)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: compiled(X, W), range(200)):
            assert_same(found, wanted)
    with team()._in_use:
        assert_same(compiled(X, W), wanted)


def test_an_index_out_of_range_that_a_worker_meets_is_reported(split):
    compiled = gl.jit(lambda x, i: x[i] * 2.0)
    x, good = np.arange(500.0), np.arange(500)
    compiled(x, good)
    assert any(s.grain for k in compiled.program().plan.kernels for s in k.stages)
    shared(compiled.program().executable, 2)
    bad = good.copy()
    bad[-1] = 500  # the last worker's
    for _ in range(5):
        with pytest.raises(gl.RangeError):
            compiled(x, bad)
        np.testing.assert_array_equal(compiled(x, good), x * 2.0)


def test_what_python_is_called_back_for_is_done_once(split):
    seen = []

    def told(x):
        seen.append(threading.get_ident())
        return x * 2.0

    def f(x):
        y = gl.pure_callback(told, np.zeros(300), gnp.tanh(x))
        return gnp.exp(y)

    compiled = gl.jit(f)
    x = RNG.normal(size=300)
    wanted = compiled(x)
    shared(compiled.program().executable, 3)
    seen.clear()
    np.testing.assert_array_equal(compiled(x), wanted)
    assert seen == [threading.get_ident()]


def test_all_of_a_team_stop_together(split):
    step, params, x, y = step_and_data()
    state = step.init(params)
    xs, ys = np.broadcast_to(x, (4, 130, 5)), np.broadcast_to(y, (4, 130, 3))
    step.run(state, xs, ys)
    executable = step.program().executable
    shared(executable, 3)
    frame = executable.frame()
    passes = 10**7
    results = np.zeros(passes, "f4")
    for word in range(driver.KEEP + 1):
        frame.control[word] = 0
    frame.control[driver.BATCHES] = 1
    state = step.init(params)
    arrays = [np.ascontiguousarray(x), np.ascontiguousarray(y), results]
    for slot, place in enumerate([*state.storage.addresses, *(a.ctypes.data for a in arrays)]):
        frame.table[slot] = place
    # every batch is the first: a run of one batch an epoch
    run = threading.Thread(target=executable.run_all, args=(frame, passes), daemon=True)
    run.start()
    while frame.control[driver.DONE] < 10:
        time.sleep(1e-3)
    frame.control[driver.STOP] = 1
    run.join(timeout=60)
    assert not run.is_alive()
    done = frame.control[driver.DONE]
    assert 10 <= done < passes
    assert np.all(results[:done])
    assert not np.any(results[done:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_a_team_of_its_own(split):
    compiled = gl.jit(rows)
    wanted = compiled(X, W)
    shared(compiled.program().executable, 2)
    assert_same(compiled(X, W), wanted)
    child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(compiled(X, W)[1], wanted[1]) else 1)
    deadline = time.monotonic() + 60
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found == (child, 0)
    assert_same(compiled(X, W), wanted)


EXIT = """
import numpy as np
import gradloom as gl
from tests.teams import shared
f = gl.jit(lambda x, w: np.tanh(x @ w))
f(np.ones((200, 30)), np.ones((30, 30)))
shared(f.program().executable, 3)
for _ in range({calls}):
    f(np.ones((200, 30)), np.ones((30, 30)))
{last}
"""


@pytest.mark.parametrize("last", ["", "raise SystemExit(0)", "import time; time.sleep(0.01)"])
def test_a_process_ends_while_its_workers_wait(last):
    script = EXIT.format(calls=50, last=last)
    environment = {**os.environ, "GRADLOOM_DISABLE": "lighten"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_is_the_most_that_a_call_may_use():
    x = np.ones((512, 256))
    sizes = {}
    for threads in (1, 2, 5):
        compiled = gl.jit(lambda x: np.tanh(x @ x.T) @ x, threads=threads)
        compiled(x)
        pace = compiled.program().executable.pace
        sizes[threads] = pace.team if pace else 1
    assert sizes[1] == 1
    assert sizes[2] == 2
    assert 2 <= sizes[5] <= 5
    few = gl.jit(lambda x: np.tanh(x), threads=2)
    few(np.ones(10))
    assert few.program().executable.pace is None
